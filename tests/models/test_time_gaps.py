"""Gaps of time out of interactions: those of the file, whatever RecBole has made of its times."""

import shutil

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mind.cli import main
from recbole_mind.data.packed_dataset import PackedDataset
from recbole_mind.errors import InputError
from recbole_mind.layers.recency import OCTAVES, log_gaps
from recbole_mind.training import build
from tests.support.data import small_settings

SETTINGS = {"K": 3, "recency_gaps": True}


def made(small, **more):
    config = build.build_config("MIND", "small", overrides=small_settings(small, **(SETTINGS | more)))
    data, train, _, _ = build.build_data(config)
    return build.build_model(config, train), data, train


def when(small):
    rows = [line.split("\t") for line in (small / "small/small.inter").read_text().splitlines()[1:]]
    return {(user, item): int(time) for user, item, time in rows}


@pytest.mark.parametrize(
    "settings", [{}, {"normalize_all": False}, {"timestamp_order": "recbole"}], ids=["usual", "raw", "recbole"]
)
def test_gaps_are_the_files(small, settings):
    if settings.get("timestamp_order") == "recbole":
        settings = settings | {"normalize_all": True}  # raw seconds are no float32
    model, data, train = made(small, **settings)
    times = when(small)
    span = max(times.values()) - min(times.values())
    assert float(model.time_gaps.span) == pytest.approx(span, rel=1e-6)
    users, items = data.field2id_token["user_id"], data.field2id_token["item_id"]
    for batch in train:
        found = model.time_gaps(batch)
        assert found.dtype == torch.float32
        for row in range(len(batch)):
            length, user = int(batch["item_length"][row]), str(users[int(batch["user_id"][row])])
            own = [times[user, str(items[item])] for item in batch["item_id_list"][row, :length].tolist()]
            expected = [(own[-1] - time) / span for time in own]
            np.testing.assert_allclose(found[row, :length], expected, atol=1e-3 / span if not settings else 1e-6)


def test_usual_gaps_are_the_training_datas(small):
    model, _, train = made(small, train_batch_size=10_000)
    batch = next(iter(train))  # all rows
    gaps, lengths = model.time_gaps(batch), batch["item_length"]
    usual = model.routing.recency.usual
    for place in range(4):
        own = [float(gaps[row, length - 1 - place]) for row, length in enumerate(lengths.tolist()) if length > place]
        assert float(usual[place]) == pytest.approx(float(log_gaps(torch.tensor(own)).median()), abs=1e-3)
    assert 0 < float(usual[1]) < OCTAVES


def test_an_interaction_without_times_is_read_with_usual_ones(small):
    model, _, train = made(small)
    batch = next(iter(train))
    torch.nn.init.normal_(model.routing.recency.log_gap_weights)
    bare = {key: batch[key] for key in ("item_id_list", "item_length", "user_id")}
    usual, _ = model.interests(Interaction(bare))
    told, _ = model.interests(Interaction(bare | {"timestamp_list": 1.5 * batch["timestamp_list"]}))
    assert model.time_gaps(Interaction(bare)) is None
    assert not torch.allclose(usual, told)
    expected, _ = model.eval()(
        batch["item_id_list"], batch["item_length"], batch["user_id"], torch.full_like(model.time_gaps(batch), -1)
    )
    assert torch.equal(usual, expected)


def test_models_without_gaps_have_no_clock(small):
    model, _, _ = made(small, recency_gaps=False)
    assert model.time_gaps is None
    assert not [name for name in model.state_dict() if "gap" in name or "usual" in name]


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_anything_but_a_truth_value_is_refused(small, value):
    with pytest.raises(InputError, match="recency_gaps"):
        made(small, recency_gaps=value)


def test_a_data_set_that_was_saved_without_its_unit_is_refused(small, monkeypatch):
    _, _, train = made(small)
    monkeypatch.delattr(train.dataset, "time_unit")
    config = build.build_config("MIND", "small", overrides=small_settings(small, **SETTINGS))
    with pytest.raises(InputError, match="recency_gaps: True needs times"):
        build.build_model(config, train)


def test_gaps_of_a_pack_are_those_of_the_text(small, tmp_path):
    shutil.copytree(small / "small", tmp_path / "small")
    assert main.main(["pack", "small", f"--data_path={tmp_path}"]) == 0
    settings = {"normalize_all": False, "train_batch_size": 10_000}
    (text, _, of_text), (packed, data, of_pack) = (
        made(folder, **settings, packed=asked) for folder, asked in ((small, False), (tmp_path, None))
    )
    assert isinstance(data, PackedDataset)
    assert packed.time_gaps.span == text.time_gaps.span
    one, other = next(iter(of_text)), next(iter(of_pack))
    order = [np.lexsort((batch["item_length"], batch["user_id"])) for batch in (one, other)]
    found = [
        model.time_gaps(batch)[rows] for model, batch, rows in zip((text, packed), (one, other), order, strict=True)
    ]
    lengths = one["item_length"][order[0]]
    real = torch.arange(found[0].shape[1]) < lengths[:, None]
    torch.testing.assert_close(found[0][real].sort().values, found[1][real].sort().values)


def test_recboles_own_data_set_does_not_know_the_unit(small):
    with pytest.raises(InputError, match="recency_gaps: True needs times of one"):
        made(small, lazy_sequences=False)
