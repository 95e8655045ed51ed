"""FAISS files that say one thing here and another there: refused before FAISS sees a vector, and never searched."""

from __future__ import annotations

import json

import faiss
import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.retrieval import index_check
from recbole_mind.retrieval import storage as index_files
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.util.files import sha256
from tests.support.vectors import ITEMS, build

N, D = ITEMS.shape


def made(factory):
    return build(ITEMS, factory)._index


def whole(index):
    return faiss.downcast_index(index)


def flat(size, number):
    index = faiss.IndexFlatIP(size)
    index.add(np.ones((number, size), np.float32))
    return index


def quantizer(size, number=8):
    """An index whose lists are chosen by centroids of another size: what read beyond the heap, or ended the process."""

    def change(index):
        index.own_fields = False
        index.quantizer = change.kept = flat(size, number)

    return change


def storage(size, number):
    def change(index):
        index.own_fields = False
        index.storage = change.kept = flat(size, number)

    return change


def refined(number):
    def change(index):
        index.own_refine_index = False
        index.refine_index = change.kept = flat(D, number)

    return change


def transform(d_in, d_out):
    def change(index):
        first = faiss.downcast_VectorTransform(index.chain.at(0))
        first.d_in, first.d_out = d_in, d_out

    return change


def put(**values):
    def change(index):
        for name, value in values.items():
            holder = index
            *path, last = name.split("__")
            for part in path:
                holder = getattr(holder, part)
            setattr(holder, last, value)

    return change


def neighbor(value):
    def change(index):
        neighbors = faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())
        neighbors[0] = value

    return change


def off_level(index):
    """Lead from a level to a node that is not on it, whose neighbours there would be read beyond the end."""
    levels = faiss.vector_to_array(index.hnsw.levels)
    offsets = faiss.vector_to_array(index.hnsw.offsets)
    width = faiss.vector_to_array(index.hnsw.cum_nneighbor_per_level)
    neighbors = faiss.rev_swig_ptr(index.hnsw.neighbors.data(), index.hnsw.neighbors.size())
    high, low = int(np.flatnonzero(levels > 1)[0]), int(np.flatnonzero(levels == 1)[-1])
    neighbors[int(offsets[high]) + int(width[1])] = low


def ids(values):
    def change(index):
        lists = faiss.downcast_InvertedLists(index.invlists)
        faiss.rev_swig_ptr(lists.get_ids(0), lists.list_size(0))[: len(values)] = values

    return change


def shorter(index):
    faiss.downcast_InvertedLists(index.invlists).code_size = 4 * D - 4


CRAFTED = {
    "centroids of a million numbers": ("IVF8,Flat", quantizer(1_000_000), "IndexFlatIP has 1000000 for its size"),
    "centroids of one number more": ("IVF8,Flat", quantizer(D + 1), f"IndexFlatIP has {D + 1} for its size"),
    "centroids of two numbers": ("IVF8,SQ8", quantizer(2), "IndexFlatIP has 2 for its size"),
    "fewer centroids than lists": ("IVF8,Flat", quantizer(D, 7), "IndexFlatIP has 7 for its vectors"),
    "an empty quantizer": ("IVF8,PQ8x4", quantizer(D, 0), "IndexFlatIP has 0 for its vectors"),
    "more lists than there are": ("IVF8,Flat", put(nlist=9), ""),
    "lists of other codes": ("IVF8,Flat", shorter, ""),
    "an id beyond the items": ("IVF8,Flat", ids([N]), "its lists hold an id that no item has"),
    "an id below": ("IVF8,Flat", ids([-2]), "its lists hold an id that no item has"),
    "an id twice": ("IVF8,PQ4x4fs", ids([0, 0]), "its lists do not hold each item once"),
    "a scalar quantizer of another size": ("IVF8,SQ8", put(sq__d=D + 8), ""),
    "a product quantizer of another size": ("IVF8,PQ8x4", put(pq__d=2 * D), ""),
    "a product quantizer with wider parts": ("PQ4x4", put(pq__nbits=8), ""),
    "a graph over other vectors": ("HNSW8", storage(D + 1, N), ""),
    "a graph over fewer vectors": ("HNSW8", storage(D, N - 1), ""),
    "a neighbour beyond the items": ("HNSW8", neighbor(N), ""),
    "a neighbour that is not on its level": ("HNSW8", off_level, "a neighbour that is not on its level"),
    "no way in": ("HNSW8", put(hnsw__entry_point=N), ""),
    "a refinement of fewer vectors": ("IVF8,Flat,RFlat", refined(N - 1), f"IndexFlatIP has {N - 1} for its vectors"),
    "a transformation of more": ("PCA4,IVF8,SQ8", transform(D, 400), ""),
    "a transformation to less": ("PCA4,IVF8,SQ8", transform(D, 2), ""),
    "more vectors than there are": ("SQ8", put(ntotal=N * 1000), ""),
    "another metric": ("SQ8", put(metric_type=faiss.METRIC_Canberra), "has metric 20"),
}


@pytest.mark.parametrize("what", CRAFTED)
def test_a_crafted_index_is_refused_before_it_is_searched(what, tmp_path):
    factory, change, reason = CRAFTED[what]
    build(ITEMS, factory).save(tmp_path)
    index = made(factory)
    change(whole(index))
    path = next(tmp_path.glob("*.faiss"))
    faiss.write_index(index, str(path))
    content = json.loads((tmp_path / "manifest.json").read_text())
    content["files"]["index"]["sha256"] = sha256(path)
    (tmp_path / "manifest.json").write_text(json.dumps(content))
    with pytest.raises(InputError, match=rf"^index '.*' is corrupt: {path.name}: [^\n]*{reason}[^\n]*$") as refused:
        MultiVectorIndex.load(tmp_path, device="cpu")
    assert " at /" not in str(refused.value)  # of the machine that FAISS was built on


@pytest.mark.parametrize("kind", ["IDMap,Flat", "NSG8", "IVF8,RaBitQ", "RQ2x4", "Pad32,Flat"])
def test_an_index_that_cannot_be_checked_is_not_made(kind):
    with pytest.raises(InputError, match=rf"^factory: '{kind}' is not taken, since [^\n]*: it [^\n]*; allowed: "):
        build(ITEMS, kind)


@pytest.mark.parametrize(
    "factory",
    [
        *("Flat", "SQ8", "SQfp16", "SQ4", "SQ6", "SQbf16", "PQ4x4", "PQ4x4fs", "HNSW8", "HNSW8_SQ8", "HNSW8_PQ4x4"),
        *("IVF8,Flat", "IVF8,SQ8", "IVF8,PQ8x4", "IVF8,PQ4x4fs", "IVF8,PQ4x4fsr", "IVF8_HNSW8,Flat,RFlat", "RR,Flat"),
        *("IVF8,PQ8x4,Refine(SQ8)", "OPQ4,PQ4x4", "PCA4,IVF8,SQ8", "L2norm,Flat", "PCAR4,Flat", "OPQ4_8,IVF8,PQ4x4"),
    ],
)
def test_what_a_factory_string_makes_is_sound(factory, tmp_path):
    index_check.check(made(factory), N, D, factory)
    build(ITEMS, factory).save(tmp_path)
    assert index_files.load(tmp_path)[2].ntotal == N


def test_a_factory_that_names_other_lists_is_refused():
    with pytest.raises(InputError, match=r"^it has 8 inverted lists, and its factory is 'IVF9,Flat'$"):
        index_check.check(made("IVF8,Flat"), N, D, "IVF9,Flat")
    with pytest.raises(InputError, match=r"^IndexHNSWFlat has 300 for its vectors instead of 299$"):
        index_check.check(made("HNSW8"), N - 1, D, "HNSW8")
