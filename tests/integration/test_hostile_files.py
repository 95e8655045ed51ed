"""Files that are crafted, endless or damaged, wherever a command takes one: one line, and no wait."""

from __future__ import annotations

import hashlib
import json
import os
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config import loading
from recbole_mind.data import atomic_file
from recbole_mind.data.packed_file import Layout, Pack
from recbole_mind.data.packing import pack
from recbole_mind.errors import without_places
from recbole_mind.evaluation import hits
from recbole_mind.experiments import trial
from recbole_mind.experiments.leaderboard import spec as spec_
from recbole_mind.experiments.sweep import space, spec
from recbole_mind.export import _tested
from recbole_mind.serving import parquet
from recbole_mind.serving.bundle.token_index import Tokens
from recbole_mind.util import files
from recbole_mind.util.arrays import open_array
from tests.support.data import write_small

READERS = {
    "settings": loading.read_file,
    "sweep": spec.read_spec,
    "leaderboard": spec_.read_spec,
    "space": space.read_text,
    "record": trial.read_record,
    "export's record": lambda path: _tested(path, "a.pth"),
    "list": lambda path: parquet.read_tokens(path, "item_id"),
    "names": lambda path: files.read_lines(path, "names"),
    "hits": hits.Hits.load,
    "array": lambda path: open_array(path, np.float32, (None,)),
    "histories": lambda path: parquet.Histories(path, "user_id", {}),
    "interactions": lambda path: atomic_file.columns(path, atomic_file.Format()),
}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("kind", ["pipe.yaml", "/dev/zero", "folder.yaml", "gone.yaml", "sparse.yaml"])
def test_what_is_no_file_or_has_no_end_is_refused_at_once(what, kind):
    os.mkfifo("pipe.yaml")
    os.mkdir("folder.yaml")
    with open("sparse.yaml", "wb") as file:
        file.truncate(2**43)
    began = time.monotonic()
    with pytest.raises(InputError) as error:
        READERS[what](Path(kind))
    assert time.monotonic() - began < 5
    assert kind.rpartition("/")[2] in str(error.value)
    assert "\n" not in str(error.value)


YAML = {
    "deep lists": "a: " + "[" * 20_000,
    "deep mappings": "".join(f"{' ' * depth}a:\n" for depth in range(1500)),
    "deep JSON": '{"a":' * 20_000,
    "a list in itself": "a: &a [*a]",
    "merges that double": "a0: &a0 {x: 1}\n"
    + "".join(f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)),
    "lists that double": "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "half a character": 'a: "\\ud800"',
    "a time that is none": "a: !!timestamp foo",
    "a truth that is none": "a: !!bool foo",
    "an empty number": "a: !!int ''",
    "a sign": "a: !!int '-'",
    "a day that is none": "a: 2001-99-99",
    "a number of many digits": "a: " + "9" * 10_000,
    "a program": "a: !!python/object/apply:os.system [touch canary]",
    "a name": "a: !!python/name:os.system",
}


@pytest.mark.parametrize("what", YAML)
@pytest.mark.parametrize("read", [loading.read_file, spec.read_spec, spec_.read_spec])
def test_settings_that_are_crafted_are_refused_in_one_line(what, read):
    Path("a.yaml").write_text(YAML[what])
    began = time.monotonic()
    with pytest.raises(InputError, match=r"'a\.yaml' is malformed: ") as error:
        read("a.yaml")
    assert time.monotonic() - began < 10
    assert "\n" not in str(error.value)
    assert not Path("canary").exists()


@pytest.mark.parametrize("text", [YAML[what].removeprefix("a: ") for what in YAML if YAML[what].startswith("a: ")])
def test_a_value_on_the_command_line_is_text_if_it_is_nothing_else(text):
    found = loading.parse_value(f"{{a: {text}}}")
    assert found == f"{{a: {text}}}" or isinstance(found, dict)


def test_a_file_of_settings_may_be_long_and_not_too_long():
    Path("a.yaml").write_text("".join(f"key{n}: [1, 2]\n" for n in range(5_000)))
    assert len(loading.read_file("a.yaml")) == 5_000
    Path("a.yaml").write_text("a: 1\n" * 500_000)
    with pytest.raises(InputError, match="cannot be read: it is larger than 2 MiB"):
        loading.read_file("a.yaml")


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "\\ud800", "{", '{"test": 1}'])
def test_records_that_are_crafted_are_refused(text):
    Path("a.json").write_text(text)
    for read in (trial.read_record, lambda path: _tested(path, "a.pth")):
        with pytest.raises(InputError, match=r"a\.json"):
            read(Path("a.json"))
    Path("manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"is not JSON|is not the manifest"):
        files.read_manifest(Path("."), "a pack", "recbole-mind pack", 1)


def test_memory_that_is_not_there_is_said_in_one_line(monkeypatch, capsys):
    def vast(_):
        raise MemoryError

    monkeypatch.setattr(main, "_main", vast)
    assert main.main([]) == 2
    assert capsys.readouterr().err.startswith("error: out of memory")


def test_the_places_of_a_librarys_source_are_left_out():
    for text, words in (
        ("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator", "err == 0. DefaultCPUAllocator"),
        ("Error in faiss::x at /project/third-party/faiss/Index.cpp:12: d is wrong", "Error in faiss::x d is wrong"),
        ("/arrow/cpp/src/parquet/thrift.h:99: no more", "no more"),
        ("'a.c/b' is gone, 3.h is kept", "'a.c/b' is gone, is kept"),
    ):
        assert without_places(text) == words


# -- arrays, hits and tokens ---------------------------------------------------------------------------------------


def test_hits_that_come_to_more_than_they_say_are_refused():
    found = np.eye(4, 8, dtype=bool)
    hits.Hits(found, np.ones(4, int), "u").save("good.npz")
    assert (hits.Hits.load("good.npz").found == found).all()
    arrays = dict(np.load("good.npz"))
    wrong = [("shape", np.array([2**40, 8])), ("shape", np.array([2**62, 2**62])), ("shape", np.array([0, 8]))]
    for key, value in (*wrong, ("found", np.array([{}], object)), ("numbers", np.array(["x"] * 4))):
        np.savez("bad.npz", **(arrays | {key: value}))
        with pytest.raises(InputError, match=r"hits 'bad\.npz' is corrupt"):
            hits.Hits.load("bad.npz")
    with zipfile.ZipFile("good.npz") as good, zipfile.ZipFile("bad.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name).replace(b"'shape': (", b"'shape': '("))
    with pytest.raises(InputError, match=r"hits 'bad\.npz' is corrupt"):
        hits.Hits.load("bad.npz")
    with (
        zipfile.ZipFile("bad.npz", "w", zipfile.ZIP_DEFLATED) as out,
        out.open("found.npy", "w", force_zip64=True) as to,
    ):
        for _ in range(2**11 + 1):
            to.write(bytes(2**20))
    began = time.monotonic()
    with pytest.raises(InputError, match=r"they come to 2,148,532,224 bytes"):
        hits.Hits.load("bad.npz")
    assert time.monotonic() - began < 1


HEADS = ["{", "{'descr': '<f4'", "\x27" * 3, "(" * 5000, "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
         "{'descr': '<f4', 'fortran_order': False, 'shape': (2**40,)}", "[" * 90 + "]" * 90,
         "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}",
         "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "\x00", "-" * 3000 + "1"]  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_arrays_whose_head_is_crafted_are_refused(head):
    text = head.encode() + b"\n"
    Path("a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(4))
    with pytest.raises(InputError, match=r"'a\.npy' (is not an array|holds)"):
        open_array(Path("a.npy"), np.float32, (None,))


@pytest.mark.parametrize(("old", "new"), [(b"\xc3\xa9", b"\xff\xfe"), (b"\xc3\xa9", b"\xed\xa0"), (b"item", b"it\nm"),
                                          (b"0\n", b"00")])  # fmt: skip
def test_tokens_that_are_not_utf_8_are_refused(old, new):
    names = [f"item é {n}" for n in range(30)]
    Tokens.of(names).save(Path("tokens"), "items")
    assert Tokens.open(Path("tokens"), "items", 30).tokens(range(30)) == names
    path = Path("tokens/items.text.npy")
    path.write_bytes(path.read_bytes().replace(old, new, 1))
    with pytest.raises(InputError, match="do not hold the tokens of 30 rows in UTF-8"):
        Tokens.open(Path("tokens"), "items", 30)


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


# -- the command line ----------------------------------------------------------------------------------------------


def test_a_token_that_is_not_text_is_refused(small):
    from recbole_mind.analysis.explain.case_study import explain
    from recbole_mind.training import load, run
    from tests.support.data import small_settings

    path = run.run("MIND", "small", overrides=small_settings(small, epochs=1)).checkpoint
    with pytest.raises(InputError, match=r"history: .*udcff' is not UTF-8 text"):
        explain(load.load(path), [], [["i1", "\udcff"]])
