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
from recbole_mind.data import atomic_file
from recbole_mind.data.packed_file import Layout, Pack
from recbole_mind.data.packing import pack
from tests.support.data import write_small
from tests.support.odd import layout, whole


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    folder = whole(tmp_path_factory.mktemp("odd"))
    pack(folder / "odd/odd.inter", folder / "odd/odd.packed", layout(folder / "odd/odd.inter"))
    return folder


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
