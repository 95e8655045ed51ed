"""Indexes on disk, and what an index refuses."""

import json
import os
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from recbole_mind.errors import InputError
from recbole_mind.retrieval import storage
from recbole_mind.retrieval.index import MultiVectorIndex
from tests import ROOT
from tests.support.vectors import (
    ACTIVE,
    EXCLUDE,
    INTERESTS,
    ITEMS,
    LARGE_POOL,
    assert_same,
    build,
    indexed,
)

# -- on disk -----------------------------------------------------------------------------------------------------------


def endings(folder):
    return sorted(path.suffix for path in folder.iterdir())


def test_an_index_that_asks_for_more_than_its_file_holds_is_refused(tmp_path):
    index, limit = build(ITEMS, "IVF8,Flat"), faiss.get_deserialization_vector_byte_limit()
    index.save(tmp_path)
    path = next(tmp_path.glob("*.faiss"))
    data = bytearray(path.read_bytes())
    coarse = faiss.downcast_index(faiss.extract_index_ivf(index._index).quantizer)
    place = data.index(faiss.vector_to_array(coarse.codes).tobytes()) - 8
    assert int.from_bytes(data[place : place + 8], "little") == 8 * ITEMS.shape[1]
    data[place : place + 8] = (2**34).to_bytes(8, "little")  # 64 GiB of centroids
    path.write_bytes(data)
    with pytest.raises(InputError, match=r"^index '.*' is corrupt: .*vector_byte_limit.*$"):
        storage.load(tmp_path, hashed=True)
    assert faiss.get_deserialization_vector_byte_limit() == limit


@pytest.mark.parametrize("factory", ["IVF8_HNSW8,Flat,RFlat", "HNSW8", "PCA4,IVF8,SQ8", "IVF8,PQ4x4fs", "IVF8,PQ8x4"])
def test_any_index_that_was_saved_loads(factory, tmp_path):
    index = build(ITEMS, factory)
    index.save(tmp_path)
    query = INTERESTS, ACTIVE, 10, EXCLUDE
    assert_same(MultiVectorIndex.load(tmp_path, device="cpu", threads=1).search(*query), index.search(*query))


@pytest.mark.parametrize(("factory", "metric"), [("exact", "ip"), ("exact", "cosine"), ("IVF8,Flat", "cosine")])
def test_a_loaded_index_is_the_saved_one(factory, metric, tmp_path):
    index = build(ITEMS, factory, metric)
    index.set_parameters(**{} if factory == "exact" else {"nprobe": 2})
    index.save(tmp_path / "new" / "index")
    loaded = MultiVectorIndex.load(tmp_path / "new" / "index", device="cpu", threads=1)
    assert (loaded.factory, loaded.metric, loaded.parameters) == (factory, metric, index.parameters)
    query = INTERESTS, ACTIVE, 10, EXCLUDE, LARGE_POOL
    assert_same(loaded.search(*query), index.search(*query))
    loaded.verify(ITEMS)


def test_saving_again_leaves_only_the_new_files(tmp_path):
    build(ITEMS, "IVF8,Flat").save(tmp_path)
    build(ITEMS[:50]).save(tmp_path)
    assert endings(tmp_path) == [".json", ".npy"]
    assert len(MultiVectorIndex.load(tmp_path, device="cpu")) == 50


def manifest(change):
    def damage(folder):
        content = json.loads((folder / "manifest.json").read_text())
        change(content)
        (folder / "manifest.json").write_text(json.dumps(content))

    return damage


def shorten(folder):
    path = next(folder.glob("*.npy"))
    path.write_bytes(path.read_bytes()[:-4])


def move_out(folder):
    path = next(folder.glob("*.npy"))
    path.rename(folder.parent / path.name)
    manifest(lambda content: content["files"]["items"].update(name=f"../{path.name}"))(folder)


def flip(folder):
    path = next(folder.glob("*.faiss"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def swap(N):
    """Put in the FAISS file of an index of N items, under its right name and hash."""

    def damage(folder):
        build(ITEMS[:N], "IVF8,Flat").save(folder / "other")
        foreign = json.loads((folder / "other" / "manifest.json").read_text())["files"]["index"]
        os.replace(folder / "other" / foreign["name"], folder / foreign["name"])
        manifest(lambda content: content["files"].update(index=foreign))(folder)

    return damage


DAMAGES = [
    ("no manifest", "exact", lambda folder: (folder / "manifest.json").unlink()),
    ("no JSON", "exact", lambda folder: (folder / "manifest.json").write_bytes(b"\xff{")),
    ("a list", "exact", lambda folder: (folder / "manifest.json").write_text("[]")),
    ("another format", "exact", manifest(lambda content: content.update(format="other"))),
    ("another version", "exact", manifest(lambda content: content.update(version=99))),
    ("no list of files", "exact", manifest(lambda content: content.pop("files"))),
    ("a list of no files", "exact", manifest(lambda content: content.update(files=[]))),
    ("another metric", "exact", manifest(lambda content: content.update(metric="l2"))),
    ("no items", "exact", manifest(lambda content: content["files"].pop("items"))),
    ("a path out of the folder", "exact", move_out),
    ("another shape", "exact", manifest(lambda content: content.update(items=[300, 17]))),
    ("a parameter it has not", "exact", manifest(lambda content: content.update(parameters={"efSearch": 9}))),
    ("truncated items", "exact", shorten),
    ("missing items", "exact", lambda folder: next(folder.glob("*.npy")).unlink()),
    ("a missing folder", "exact", lambda folder: folder.rename(folder.with_name("elsewhere"))),
    ("a flipped bit in FAISS's file", "IVF8,Flat", flip),
    ("FAISS's file of another size", "IVF8,Flat", swap(200)),
    ("FAISS's file in an exact index", "exact", swap(300)),
]


@pytest.mark.parametrize(("what", "factory", "damage"), DAMAGES)
def test_a_damaged_index_is_refused(what, factory, damage, tmp_path):
    build(ITEMS, factory).save(tmp_path / "index")
    damage(tmp_path / "index")
    with pytest.raises(InputError, match=r"^[^\n]*index[^\n]*$"):
        MultiVectorIndex.load(tmp_path / "index", device="cpu")


FAILURES = {
    "FAISS's file": (faiss, "write_index"),
    "manifest": (storage, "write_atomic"),
    "rename": (os, "replace"),
}


@pytest.mark.parametrize("where", FAILURES)
def test_a_failed_save_leaves_the_old_index_and_no_temporary_file(where, tmp_path, monkeypatch):
    index = build(ITEMS, "IVF8,Flat")
    index.save(tmp_path)

    def fail(first, second):
        if where == "FAISS's file":
            Path(second).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(*FAILURES[where], fail)
        with pytest.raises((InputError, OSError), match="No space left"):
            build(ITEMS[:100], "IVF4,Flat").save(tmp_path)
    assert endings(tmp_path) == [".faiss", ".json", ".npy"]
    loaded = MultiVectorIndex.load(tmp_path, threads=1)
    assert_same(loaded.search(INTERESTS, ACTIVE, 9), index.search(INTERESTS, ACTIVE, 9))
    index.save(tmp_path)
    assert endings(tmp_path) == [".faiss", ".json", ".npy"]


@pytest.mark.parametrize("others", [ITEMS[:-1], ITEMS[:, :-1], ITEMS[::-1], ITEMS + np.float32(1e-3)])
@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_an_index_of_other_vectors_is_refused(metric, others):
    index = build(ITEMS, metric=metric)
    index.verify(ITEMS)
    with pytest.raises(InputError, match=r"^index: [^\n]*$"):
        index.verify(others)


def test_the_reason_is_the_file(tmp_path):
    build(ITEMS).save(tmp_path)
    shorten(tmp_path)
    with pytest.raises(InputError, match=r"is corrupt: items-\w+\.npy is truncated or was changed$"):
        MultiVectorIndex.load(tmp_path)
    build(ITEMS).save(tmp_path)
    with pytest.raises(InputError, match=r"^threads: 0"):
        MultiVectorIndex.load(tmp_path, threads=0)


# -- what is refused ---------------------------------------------------------------------------------------------------


def spoilt(array, value):
    return np.where(array == array.max(), np.float32(value), array)


NOT_FINITE = (np.nan, np.inf, -np.inf, 1e30)
BAD_ITEMS = [
    *[("items", {"items": ITEMS.astype(dtype)}) for dtype in (np.float64, np.int32)],
    *[("items", {"items": array}) for array in (ITEMS[0], INTERESTS, ITEMS[:0], ITEMS[:, :0])],
    *[("items", {"items": spoilt(ITEMS, value)}) for value in NOT_FINITE],
    ("metric", {"metric": "l2"}),
    *[("factory", {"factory": name}) for name in ("FOO", "", None, "IVF4096,Flat", "IVF0,Flat", "HNSW0", "IDMap,Flat")],
    *[("threads", {"threads": value}) for value in (0, -1, 1.5, True)],
    *[("device", {"device": value, "factory": name}) for value in ("nonsense", 2.5) for name in ("exact", "Flat")],
]
BAD_QUERIES = [
    *[("interests", {"interests": array}) for array in (INTERESTS[:, :, :8], INTERESTS[0], INTERESTS[None])],
    *[("interests", {"interests": INTERESTS.astype(dtype)}) for dtype in (np.float64, np.int64, np.float16)],
    *[("interests", {"interests": spoilt(INTERESTS, value)}) for value in NOT_FINITE],
    ("interests", {"interests": INTERESTS[:, :0], "active": None}),
    ("interests", {"interests": torch.zeros(7, 3, 16, dtype=torch.bfloat16)}),
    ("exclude", {"exclude": [[3, [4]], *[[]] * 6]}),
    ("exclude", {"exclude": [None, *[[]] * 6]}),
    ("allowed", {"allowed": [1, [2]]}),
    ("allowed", {"allowed": build(ITEMS[:200]).pool([1])}),
    *[("active", {"active": array}) for array in (ACTIVE[:, :2], ACTIVE[0], ACTIVE.astype(int))],
    *[("n", {"n": n}) for n in (0, -1, True, 2.5, "10", None)],
    *[("exclude", {"exclude": np.full((7, 2), value)}) for value in (300, -2, 1.0)],
    *[("exclude", {"exclude": [[value]] * 7}) for value in (300, -1, 1.0, "a")],
    *[("exclude", {"exclude": value}) for value in (np.ones((6, 2), int), np.ones(7, int), [[1]] * 6, 5, "abcdefg")],
    *[("allowed", {"allowed": value}) for value in ([0, 300], [-1], [1.0], [[1]], np.ones(299, bool), 5, "a")],
    ("search parameter 'nprob' .*did you mean 'nprobe'", {"nprob": 4}),
    ("search parameter 'efSearch'", {"efSearch": 4}),
    ("search parameter 'nprobe'", {"nprobe": 4, "factory": "exact"}),
    *[("nprobe", {"nprobe": value}) for value in (0, 1.5, -1, True, "8", None, np.nan, np.inf, 2**31)],
    *[("k_factor", {"k_factor": value, "factory": "IVF8,Flat,RFlat"}) for value in (0.5, np.nan)],
]


@pytest.mark.parametrize(("name", "changes"), BAD_ITEMS)
def test_bad_items_are_refused_in_one_line_that_names_the_argument(name, changes):
    with pytest.raises(InputError, match=rf"^{name}: [^\n]*$"):
        MultiVectorIndex.build(**{"items": ITEMS, "device": "cpu"} | changes)


@pytest.mark.parametrize(("name", "changes"), BAD_QUERIES)
def test_a_bad_query_is_refused_in_one_line_that_names_the_argument(name, changes):
    arguments = {"interests": INTERESTS, "active": ACTIVE, "n": 5} | changes
    index = indexed(arguments.pop("factory", "IVF8,Flat"))
    with pytest.raises(InputError, match=rf"^{name}(?!\w)[^\n]*$"):
        index.search(**arguments)


def test_unsigned_ids_are_ids():
    found = build(ITEMS).search(INTERESTS, ACTIVE, 5, exclude=np.full((7, 1), 3, np.uint64))
    assert_same(found, build(ITEMS).search(INTERESTS, ACTIVE, 5, exclude=[[3]] * 7))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_refused():
    with pytest.raises(InputError, match=r"^device: 'cuda' [^\n]*$"):
        MultiVectorIndex.build(ITEMS, device="cuda")


def test_retrieval_is_imported_without_recbole():
    code = (
        "import sys, recbole_mind.retrieval.index\n"
        "print([name for name in sys.modules if name.split('.')[0] == 'recbole'])"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr
