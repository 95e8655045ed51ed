"""Our own runs make their data set and loaders without RecBole's entry, which makes the same."""

from __future__ import annotations

import logging

import pytest
import recbole.data
from recbole.config import Config  # noqa: F401 - after which the patches are applied
from recbole.data import dataset as recbole_dataset
from recbole.data import utils

from recbole_mind.data import create, loaders
from recbole_mind.data.dataset import SequentialDataset
from recbole_mind.plugin.patches import data as patched
from recbole_mind.training import build
from tests.support.data import small_settings

PADDED = recbole_dataset.SequentialDataset


@pytest.mark.parametrize(
    ("model", "lazy", "kinds"),
    [
        ("MIND", True, (SequentialDataset, loaders.TrainLoader, loaders.RankingLoader)),
        ("SASRec", True, (SequentialDataset, loaders.TrainLoader, loaders.RankingLoader)),
        ("MIND", False, (PADDED, loaders.TrainLoader, loaders.RankingLoader)),
        (
            "SASRec",
            False,
            (PADDED, recbole.data.dataloader.TrainDataLoader, recbole.data.dataloader.FullSortEvalDataLoader),
        ),
    ],
)
def test_our_runs_make_their_data_without_the_patches_of_recboles_entry(small, monkeypatch, model, lazy, kinds):
    def entry(*_):
        raise AssertionError("a run went by RecBole's entry")

    for name in ("create_dataset", "data_preparation"):
        for module in (recbole.data, utils):
            monkeypatch.setattr(module, name, entry)
    own = () if model == "MIND" else ("relu_layers", "embedding_size")
    settings = {key: value for key, value in small_settings(small).items() if key not in own}
    with patched.LAZY_SEQUENCES.off(), patched.SAVED_DATA.off():
        config = build.build_config(model, "small", overrides=settings | {"lazy_sequences": lazy})
        dataset, train, _, test = build.build_data(config)
    assert (type(dataset), type(train), type(test)) == kinds


@pytest.mark.parametrize("lazy", [True, False])
def test_what_one_entry_saves_the_other_uses(small, caplog, lazy):
    """A data set and loaders that our run saved, for RecBole's functions, and the other way round."""
    settings = small_settings(small, save_dataset=True, save_dataloaders=True, lazy_sequences=lazy)
    entries = [(create.create_dataset, create.create_loaders), (recbole.data.create_dataset, utils.data_preparation)]
    for place, (first, second) in enumerate((entries, entries[::-1])):
        config = build.build_config("MIND", "small", overrides=settings | {"checkpoint_dir": f"saved{place}"})
        made = first[1](config, first[0](config))
        with caplog.at_level(logging.INFO):
            caplog.clear()
            again = second[1](config, second[0](config))
        assert caplog.text.count("is used, which was saved before") == 2
        assert [type(loader) for loader in made] == [type(loader) for loader in again]
        for one, two in zip(made[2], again[2], strict=True):
            assert one[3].tolist() == two[3].tolist()
