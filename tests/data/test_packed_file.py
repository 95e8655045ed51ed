"""Packs: the same ids, batches and figures as from the text, and everything that must be refused."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.data import atomic_file, inter_file, packing
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.packed_dataset import pack_data
from recbole_mind.data.packed_file import Layout, Pack
from recbole_mind.data.packing import pack
from recbole_mind.training import build
from tests.support.data import LEAVE_ONE_OUT, write_small
from tests.support.odd import PLAIN, layout, whole


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = whole(tmp_path_factory.mktemp("odd"))
    pack(folder / "odd/odd.inter", folder / "odd/odd.packed", layout(folder / "odd/odd.inter"))
    return folder


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


# -- packs ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def packed():
    inter = write_small(Path("data")) / "small/small.inter"
    columns = atomic_file.columns(inter, atomic_file.Format())
    pack(inter, "packed", Layout(columns, ["user_id", "item_id", "timestamp"], "\t", "user_id", "item_id", "timestamp"))
    Pack.open("packed")
    return Path("packed")


def resealed(folder, name, content):
    (folder / name).write_bytes(content)
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["files"][name] = {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
    (folder / "manifest.json").write_text(json.dumps(manifest))


def changed(folder, name, change):
    values = np.load(folder / name)
    change(values)
    np.save("changed.npy", values)
    return Path("changed.npy").read_bytes()


PACKS = {
    "tokens that are not UTF-8": ("tokens-item_id.txt", lambda f, n: (f / n).read_bytes().replace(b"i", b"\xff", 1)),
    "a token less": ("tokens-item_id.txt", lambda f, n: (f / n).read_bytes().partition(b"\n")[2]),
    "an item beyond the tokens": ("column-item_id.npy", lambda f, n: changed(f, n, lambda v: v.__setitem__(0, 10**6))),
    "an item below": ("column-item_id.npy", lambda f, n: changed(f, n, lambda v: v.__setitem__(0, -5))),
    "a user of another's rows": ("column-user_id.npy", lambda f, n: changed(f, n, lambda v: v.__setitem__(0, 9))),
    "offsets beyond": ("offsets.npy", lambda f, n: changed(f, n, lambda v: v.__setitem__(3, 10**9))),
    "offsets that go back": ("offsets.npy", lambda f, n: changed(f, n, lambda v: v.__setitem__(3, -1))),
    "no array": ("column-timestamp.npy", lambda f, n: b"no array"),
    "a pickle": ("column-timestamp.npy", lambda f, n: b"\x93NUMPY\x01\x00v\x00{'descr': '|O'}"),
}


@pytest.mark.parametrize("what", PACKS)
def test_a_pack_whose_hashes_fit_what_does_not_is_refused(packed, what):
    name, make = PACKS[what]
    resealed(packed, name, make(packed, name))
    with pytest.raises(InputError, match=r"pack 'packed' is corrupt: "):
        Pack.open(packed)
