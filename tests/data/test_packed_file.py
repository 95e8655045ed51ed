"""Packs: the same ids, batches and figures as from the text, and everything that must be refused."""

from __future__ import annotations

import json
import logging
import os
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
import torch

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.data import atomic_file, inter_file, packing
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.packed_dataset import PackedDataset, pack_data
from recbole_mind.data.packed_file import Layout, Pack
from recbole_mind.data.packing import pack
from recbole_mind.training import build, load, run
from tests.data.test_history_store import PLAIN, SOME, batches, prepare, protocol, same, write
from tests.support.data import LEAVE_ONE_OUT, small_settings, write_small


def whole(folder, seed=0):
    """The data set ``odd`` without missing numbers: RecBole would fill them with the mean."""
    path = write(folder, seed) / "odd/odd.inter"
    head, *rows = (line.split("\t") for line in path.read_text().splitlines())
    rows = [[*row[:2], row[2] or "2.5", *row[3:]] for row in rows]
    rows.insert(3, ["u99", "NA", "1", "881250000", "k0", "", "0.5"])  # RecBole leaves out rows without an item
    rows.insert(5, ["", "i98", "1", "881250000", "k9", "", "0.5"])
    path.write_text("\n".join("\t".join(row) for row in [head, *rows]) + "\n")
    return folder


def layout(path, *loaded):
    columns = atomic_file.columns(path, Format())
    return Layout(columns, loaded or PLAIN, "\t", "user_id", "item_id", "timestamp")


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = whole(tmp_path_factory.mktemp("odd"))
    pack(folder / "odd/odd.inter", folder / "odd/odd.packed", layout(folder / "odd/odd.inter"))
    return folder


def both(folder, **more):
    more = {"train_neg_sample_args": None, "filter_inter_by_user_or_item": False} | more
    text, found = prepare(folder, True, packed=False, **more), prepare(folder, True, **more)
    assert type(found[0]) is PackedDataset
    assert type(text[0]) is not PackedDataset
    return text, found


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


@pytest.mark.parametrize("seed", [0, 1])
def test_rows_that_go_through_many_blocks_and_buckets_are_sorted_stably(tmp_path, monkeypatch, seed):
    path = whole(tmp_path, seed) / "odd/odd.inter"
    want = pack(path, tmp_path / "one", layout(path))
    monkeypatch.setattr(packing, "BUCKET", 11)
    monkeypatch.setattr(packing, "BLOCK", 7)
    monkeypatch.setattr(inter_file, "BLOCK", 300)
    seen = []
    got = pack(path, tmp_path / "many", layout(path), lambda *done: seen.append(done))
    assert {what for what, _, _ in seen} == {"reading", "sharing out", "sorting"}
    assert all(dict((what, done == total) for what, done, total in seen).values())
    rows = [line.split("\t")[:5] for line in path.read_text().splitlines()[1:]]
    rows = [row for row in rows if row[0] and row[1] != "NA"]
    users, items = (list(dict.fromkeys(row[place] for row in rows)) for place in (0, 1))
    rows.sort(key=lambda row: (users.index(row[0]), float(row[3])))
    for one in (want, got):
        assert one.interactions == len(rows)
        assert one.texts("user_id") == users
        assert one.column("user_id").tolist() == [1 + users.index(row[0]) for row in rows]
        assert one.column("item_id").tolist() == [1 + items.index(row[1]) for row in rows]
        assert one.column("timestamp").tolist() == [float(row[3]) for row in rows]
        assert one.column("rating").dtype == np.float32
        assert (one.column("kind") == 0).tolist() == [row[4] == "" for row in rows]
        assert np.diff(one.offsets()).tolist() == [0] + [sum(row[0] == user for row in rows) for user in users]
        assert one.tokens == {"user_id": len(users), "item_id": len(items), "kind": 3}
    assert (want.source, want.fields) == (got.source, got.fields)


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


# -- packs that are refused ---------------------------------------------------------------------------------------


def spoil(name, change):
    def spoiled(folder):
        path = folder / name
        path.write_bytes(change(path.read_bytes()))

    return spoiled


def manifest(**more):
    return spoil("manifest.json", lambda text: json.dumps(json.loads(text) | more).encode())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (spoil("column-item_id.npy", lambda data: data[:-4]), r"column-item_id.npy has \d+ bytes, not \d+"),
        (spoil("column-item_id.npy", lambda data: data[:-1] + b"\7"), "column-item_id.npy was changed"),
        (spoil("tokens-user_id.txt", lambda data: data.replace(b"u1\n", b"u7\n")), "tokens-user_id.txt was changed"),
        (lambda folder: (folder / "offsets.npy").unlink(), "is incomplete: offsets.npy: No such file"),
        (lambda folder: (folder / "manifest.json").unlink(), "cannot be read: manifest.json: No such file"),
        (spoil("manifest.json", lambda data: data[:-20]), "is corrupt: manifest.json is not JSON"),
        (spoil("manifest.json", lambda data: b"[]"), "is not the manifest of a pack of recbole-mind"),
        (manifest(version=2), "has format version 2; this release reads version 1"),
        (manifest(files={}), "is corrupt: manifest.json is incomplete"),
        (manifest(fields=3), "is corrupt: manifest.json is incomplete"),
        (manifest(source={"bytes": 1}), "is corrupt: manifest.json is incomplete"),
        (
            manifest(interactions=7),
            r".column-user_id.npy. holds int32 \[105\] in 420 bytes; allowed: int32 \[7\]",
        ),
    ],
)
def test_a_bad_pack_is_refused_with_its_name_and_reason(own, change, words):
    folder = own / "odd/odd.packed"
    change(folder)
    with pytest.raises(InputError, match=words) as error:
        Pack.open(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_file_that_is_named_from_outside_is_not_read(own):
    folder = own / "odd/odd.packed"
    content = json.loads((folder / "manifest.json").read_text())
    content["fields"]["../x"] = "float"
    content["heading"].append("../x")
    content["files"]["column-../x.npy"] = {"bytes": 1, "sha256": ""}
    (folder / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=r"'column-\.\./x\.npy' is not the name of a file in it"):
        Pack.open(folder)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda text: text.replace("\ti1\t", f"\t{'i' * 65}\t"),
            "cannot be packed: it holds a token of more than 64 bytes",
        ),
        (
            lambda text: text.replace("\tk1", "", 1),
            r"odd.inter', line \d+: it has 6 fields, and the first line names 7",
        ),
        (lambda text: text.replace("\t2.5\t", "\t\t", 1), "1 lines lack a number for 'rating'"),
        (
            lambda text: text.replace("\t2.5\t", "\tmuch\t", 1),
            r", line \d+: 'much' is no number, and 'rating' holds numbers",
        ),
        (lambda text: text.splitlines()[0] + "\n", "holds no row below its first line"),
        (
            lambda text: text.replace("kind:token", "kind:token_seq"),
            "field 'kind' is of type token_seq; allowed: token",
        ),
        (lambda text: text.replace("timestamp:float", "time:float"), "has no field 'timestamp', the time"),
        (
            lambda text: text.replace("\t88125", "\tyesterday", 1),
            r"line \d+: 'yesterday\d+' is no time, and 'timestamp' orders",
        ),
        (lambda text: text.replace("item_id:token", "item_id:float"), "has no field 'item_id:token'"),
        (lambda text: text.replace("kind:token", "../kind:token"), "is not in|cannot be the name of a file"),
    ],
)
def test_a_file_that_cannot_be_packed_leaves_the_old_pack(own, change, words):
    source, folder = own / "odd/odd.inter", own / "odd/odd.packed"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    source.write_text(change(source.read_text()))
    fields = [column.field for column in atomic_file.columns(source, Format()) if not column.kind.endswith("t_seq")]
    fields = [field for field in fields if field != "tags"]
    with pytest.raises(InputError, match=words) as error:
        pack(source, folder, layout(source, *fields))
    assert str(source) in str(error.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert sorted(path.name for path in folder.parent.iterdir()) == ["odd.inter", "odd.item", "odd.packed", "odd.user"]


def test_a_pack_replaces_a_pack_and_nothing_else(own, monkeypatch):
    source, folder = own / "odd/odd.inter", own / "odd/odd.packed"
    again = pack(source, folder, layout(source, "user_id", "item_id", "timestamp"))
    assert list(again.fields) == ["user_id", "item_id", "timestamp"]
    assert not (folder / "column-rating.npy").exists()
    with pytest.raises(InputError, match="holds something else; name another"):
        pack(source, own / "odd", layout(source))
    assert source.exists()

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing.os, "fsync", full)
    with pytest.raises(InputError, match=r"cannot be packed into '.*odd.packed': No space left on device"):
        pack(source, folder, layout(source))
    assert Pack.open(folder) == again
    assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


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


def test_what_is_packed_is_what_the_settings_load(odd, tmp_path):
    given = {"data_path": str(odd), "load_col": {"inter": PLAIN}, "eval_args": LEAVE_ONE_OUT}
    config = build.build_config("MIND", "odd", overrides=given | {"unload_col": None})
    assert list(pack_data(config, tmp_path / "some").fields) == PLAIN
    config = build.build_config("MIND", "odd", overrides=given | {"load_col": None})
    with pytest.raises(InputError, match="field 'tags' is of type token_seq"):
        pack_data(config, tmp_path / "all")
    for key, value in {"item_inter_num_interval": "[5,inf)", "rm_dup_inter": "last", "normalize_all": True}.items():
        config = build.build_config("MIND", "odd", overrides=given | {key: value})
        with pytest.raises(InputError, match=rf"{key}: .* cannot be packed: a pack holds"):
            pack_data(config, tmp_path / "all")
    whole = tmp_path / "odd"
    whole.mkdir()
    (whole / "odd.inter").write_text((odd / "odd/odd.inter").read_text().replace("\t", "::"))
    more = {"field_separator": "::", "data_path": str(tmp_path)}
    config = build.build_config("MIND", "odd", overrides=given | more)
    with pytest.raises(InputError, match="field_separator: '::' cannot be packed"):
        pack_data(config, tmp_path / "all")


def test_files_and_samples_need_no_recbole():
    modules = "packed_file", "inter_file", "splits", "history_store"
    code = "; ".join(
        ["import sys", *(f"import recbole_mind.data.{name}" for name in modules), "assert 'recbole' not in sys.modules"]
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_columns_stay_on_disk(odd):
    store = both(odd, load_col={"inter": PLAIN})[1][0].inter_feat.interaction.store
    assert all(isinstance(store.pack.column(field).base, np.memmap) for field in PLAIN)
    before = store.pack.column("item_id").copy()
    store.columns["item_id"][:] = 0  # stays in this process
    assert np.array_equal(store.pack.column("item_id"), before)
    assert torch.equal(store.columns["item_id"], torch.zeros(len(before), dtype=torch.int32))
