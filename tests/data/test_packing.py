"""Packing: sorted through blocks and buckets, whole or not at all."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.data import atomic_file, inter_file, packing
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.packed_dataset import pack_data
from recbole_mind.data.packed_file import Pack
from recbole_mind.data.packing import pack
from recbole_mind.training import build
from tests.support.data import LEAVE_ONE_OUT
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
