"""Packed data sets: the same ids, batches and figures as from the text."""

from __future__ import annotations

import logging
import os
import pickle
import shutil

import numpy as np
import pytest
import torch

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.data.packed_dataset import PackedDataset
from recbole_mind.data.packed_file import Pack
from recbole_mind.data.packing import pack
from recbole_mind.training import build, load, run
from tests.support.data import small_settings, write_small
from tests.support.odd import PLAIN, SOME, batches, both, layout, prepare, protocol, same, whole


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = whole(tmp_path_factory.mktemp("odd"))
    pack(folder / "odd/odd.inter", folder / "odd/odd.packed", layout(folder / "odd/odd.inter"))
    return folder


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"load_col": {"inter": PLAIN}},
        {"load_col": {"inter": ["timestamp", "item_id", "user_id"], "item": "*"}},
        {"load_col": {"inter": PLAIN}, "unload_col": None, "mask_history": True},
        {"unused_col": {"inter": ["timestamp"], "item": ["price"]}},
        {"numerical_features": ["price"]},
        {"alias_of_item_id": ["genre"]},
        {"load_col": {"inter": PLAIN}, "filter_inter_by_user_or_item": True, "user_inter_num_interval": "[1,inf)"},
        {"item_inter_num_interval": "[1,40]"},
        {"val_interval": {"price": "[1,3]"}},
        protocol({"RS": [0.6, 0.2, 0.2]}),
        protocol({"RS": [0.6, 0.2, 0.2]}, group_by="none"),
        protocol({"TS": [0.6, 0.2, 0.2]}),
        protocol({"LS": "valid_and_test"}, "uni5"),
        {"model": "MIND", "lazy_sequences": True},
    ],
)
def test_a_pack_gives_the_same_ids_and_batches(odd, more):
    text, found = both(odd, **more)
    for name in ("field2type", "field2source", "field2seqlen", "field2token_id"):
        assert list(getattr(text[0], name).items()) == list(getattr(found[0], name).items()), name
    for field, names in text[0].field2id_token.items():
        assert names.tolist() == found[0].field2id_token[field].tolist()
    assert str(text[0]) == str(found[0])
    same(text[0].inter_feat, found[0].inter_feat, "whole")
    for one, two in zip(text[1:], found[1:], strict=True):
        same(one._dataset.inter_feat, two._dataset.inter_feat)
        same(batches(one, 2), batches(two, 2))


def test_a_data_set_says_how_large_it_is_before_it_is_split(odd):
    from recbole.data import create_dataset

    text, found = (part[0] for part in both(odd, load_col={"inter": PLAIN}))
    fresh = [create_dataset(data.config) for data in (text, found)]
    assert str(fresh[0]) == str(fresh[1])


# -- which pack is taken ------------------------------------------------------------------------------------------


@pytest.fixture
def own(odd, tmp_path):
    shutil.copytree(odd, tmp_path / "own", copy_function=shutil.copy2)
    return tmp_path / "own"


PLAIN_ONLY = {"load_col": {"inter": PLAIN}, "train_neg_sample_args": None, "filter_inter_by_user_or_item": False}


def kind(folder, **more):
    return type(prepare(folder, True, **PLAIN_ONLY | more)[0]).__name__


def test_the_pack_beside_the_file_is_taken_while_it_is_of_that_file(own, caplog):
    source, folder = own / "odd/odd.inter", own / "odd/odd.packed"
    assert kind(own) == kind(own, packed=str(folder)) == "PackedDataset"
    assert kind(own, packed=False) == kind(own, lazy_sequences=True, packed=False) == "SequentialDataset"
    os.utime(source, (1, 1))  # as a copy has it
    assert kind(own) == "PackedDataset"
    text = source.read_text()
    source.write_text(text.replace("u1\t", "u2\t", 1))
    with caplog.at_level(logging.WARNING):
        assert kind(own) == "SequentialDataset"
    assert "is not of" in caplog.text
    assert "is read instead" in caplog.text
    with pytest.raises(
        InputError, match=r"pack '.*odd.packed' is not of '.*odd.inter' as it is now; run `recbole-mind"
    ):
        kind(own, packed=str(folder))
    source.unlink()
    assert kind(own) == "PackedDataset"  # it stands for the file
    shutil.rmtree(folder)
    with pytest.raises(ValueError, match="there is no file"):
        kind(own)
    with pytest.raises(InputError, match=r"pack 'nowhere' cannot be read: manifest.json: No such file"):
        kind(own, packed="nowhere")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"timestamp_order": "recbole"}, "timestamp_order: 'recbole' does not go with pack"),
        ({"rm_dup_inter": "first"}, "rm_dup_inter: 'first' does not"),
        ({"threshold": {"rating": 3}}, "threshold: {'rating': 3} does not"),
        ({"normalize_all": True}, "normalize_all: True does not"),
        ({"normalize_field": ["timestamp"]}, "normalize_field: ['timestamp'] does not"),
        ({"numerical_features": ["rating"]}, "numerical_features: ['rating'] does not"),
        ({"val_interval": {"rating": "[2,3]"}}, "val_interval: {'rating': '[2,3]'} does not"),
        ({"alias_of_item_id": ["kind"]}, "alias_of_item_id: ['kind'] does not"),
        ({"USER_ID_FIELD": "kind"}, "USER_ID_FIELD: 'kind' does not"),
        ({"load_col": {"inter": [*PLAIN, "tags"]}}, "load_col: field 'tags' is not in pack"),
        ({"load_col": None}, "load_col: field 'tags' is not in pack"),
        ({"user_inter_num_interval": "[3,inf)"}, "user_inter_num_interval: "),
        ({"item_inter_num_interval": "[9,inf)"}, "do not have [9,inf) interactions"),
        ({"load_col": SOME, "filter_inter_by_user_or_item": True}, "filter_inter_by_user_or_item: 1 in pack"),
    ],
)
def test_settings_that_would_change_the_interactions_are_refused(odd, more, words):
    with pytest.raises(InputError) as error:
        kind(odd, packed=str(odd / "odd/odd.packed"), **more)
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_the_setting_is_checked(odd):
    for value in (True, 3, "", ["a"]):
        with pytest.raises(InputError, match=r"packed: .* is not allowed; allowed: a folder, False, or None"):
            build.build_config("MIND", "odd", overrides={"data_path": str(odd), "packed": value})


def test_saved_loaders_name_the_pack_and_notice_another(own, tmp_path):
    more = {"load_col": {"inter": PLAIN}, "checkpoint_dir": str(tmp_path / "saved"), "train_neg_sample_args": None}
    want = [batches(loader) for loader in prepare(own, True, **more)[1:]]
    prepare(own, True, save_dataset=True, save_dataloaders=True, **more)
    (saved,) = (tmp_path / "saved").glob("*.pth")
    assert saved.stat().st_size < 60_000 + 12 * 200
    same(want, [batches(loader) for loader in prepare(own, True, **more)[1:]])
    source = own / "odd/odd.inter"
    source.write_text(source.read_text() + "u1\ti1\t1\t881250000\tk0\t\t0.5\n")
    pack(source, own / "odd/odd.packed", layout(source))
    with open(saved, "rb") as file, pytest.raises(InputError, match="is another one than when this was saved"):
        pickle.load(file)


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_packs_and_runs_give_the_same_figures(tmp_path, capsys):
    folder = write_small(tmp_path)
    more = small_settings(folder, load_col={"inter": ["user_id", "item_id", "timestamp"]}, mask_history=True)
    want = run.run("MIND", "small", overrides=more)
    assert main.main(["pack", "small", f"--data_path={folder}"]) == 0
    out = capsys.readouterr().out
    assert "of 40 users with 50 items in " in out
    assert "small.packed" in out
    for choice in (None, False, str(folder / "small/small.packed")):
        got = run.run("MIND", "small", overrides=more | {"packed": choice})
        assert (got.valid, got.test, got.report) == (want.valid, want.test, want.report)
    assert type(load.load(got.checkpoint).dataset) is PackedDataset
    assert main.main(["pack", "small", f"--data_path={folder}", "--output", str(tmp_path / "other")]) == 0
    assert Pack.open(tmp_path / "other").interactions == Pack.open(folder / "small/small.packed").interactions
    assert main.main(["pack", "absent", f"--data_path={folder}"]) == 2
    assert "absent.inter' is not there" in capsys.readouterr().err


def test_columns_stay_on_disk(odd):
    store = both(odd, load_col={"inter": PLAIN})[1][0].inter_feat.interaction.store
    assert all(isinstance(store.pack.column(field).base, np.memmap) for field in PLAIN)
    before = store.pack.column("item_id").copy()
    store.columns["item_id"][:] = 0  # stays in this process
    assert np.array_equal(store.pack.column("item_id"), before)
    assert torch.equal(store.columns["item_id"], torch.zeros(len(before), dtype=torch.int32))
