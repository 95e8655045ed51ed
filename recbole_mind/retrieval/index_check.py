"""Whether an index that FAISS has read from a file is one that it may search: FAISS itself believes what it reads.

A file can say one size in one part and another in the next; FAISS then reads beyond its memory, or finds wrong
neighbours. So every part's type, sizes and numbers are held against the N items of size D that the manifest states,
and against each other, before FAISS sees a vector.
"""

from __future__ import annotations

import re
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, require

_FLAT = ("IndexFlat", "IndexFlatIP", "IndexFlatL2")
_HNSW = {"IndexHNSWFlat": _FLAT, "IndexHNSWSQ": ("IndexScalarQuantizer",), "IndexHNSWPQ": ("IndexPQ",)}
_IVF = ("IndexIVFFlat", "IndexIVFScalarQuantizer", "IndexIVFPQ", "IndexIVFPQFastScan")
_REFINE = ("IndexRefine", "IndexRefineFlat")
KINDS = (*_FLAT, "IndexScalarQuantizer", "IndexPQ", "IndexPQFastScan", *_HNSW, *_IVF, *_REFINE, "IndexPreTransform")
_LINEAR = ("LinearTransform", "PCAMatrix", "OPQMatrix", "RandomRotationMatrix")
TRANSFORMS = (*_LINEAR, "NormalizationTransform")
_METRICS = (faiss.METRIC_INNER_PRODUCT, faiss.METRIC_L2)  # IVF trains by the one and HNSW of PQ walks by the other
_DEEPEST = 6  # parts in one another; those of a factory string are four at most
_BLOCK = 32  # vectors of FAISS's fast-scan layout side by side


def check_kind(index: Any) -> None:
    """Check that an index, which may be empty, is of parts that :func:`check` knows.

    Raises:
        InputError: it is not.
    """
    _walk(faiss.downcast_index(index), _DEEPEST)


def check(index: Any, N: int, D: int, factory: str) -> None:
    """Check an index that was read from a file.

    Args:
        index: FAISS's.
        N: how many vectors the manifest says it has.
        D: their size.
        factory: the manifest's factory string.

    Raises:
        InputError: a part is of a type that no factory string of ours makes, or its sizes do not fit.
    """
    check_kind(index)
    _index(faiss.downcast_index(index), N, D)
    inverted = faiss.try_extract_index_ivf(index)
    said = re.search(r"IVF(\d+)", factory)
    lists = 0 if inverted is None else int(inverted.nlist)
    named = int(said[1]) if said and len(said[1]) < 10 else 0
    require(lists == named, f"it has {lists} inverted lists, and its factory is '{factory[:50]}'")
    if inverted is not None:
        _ids_once(faiss.downcast_InvertedLists(inverted.invlists), N)


def _walk(index: Any, depth: int) -> None:
    """Check the type of an index and of all that is in it."""
    name = type(index).__name__
    require(depth > 0, "its parts are nested too deeply")
    require(name in KINDS, f"it holds a part that is not allowed, {name}; allowed: {', '.join(KINDS)}")
    if name == "IndexPreTransform":
        for transform in _chain(index):
            kind = type(transform).__name__
            require(kind in TRANSFORMS, f"it transforms by {kind}; allowed: {', '.join(TRANSFORMS)}")
    for part in _parts(index):
        _walk(part, depth - 1)


def _parts(index: Any) -> list[Any]:
    """The indexes that an index holds."""
    name = type(index).__name__
    if name == "IndexPreTransform":
        found = [index.index]
    elif name in _REFINE:
        found = [index.base_index, index.refine_index]
    elif name in _HNSW:
        found = [index.storage]
    else:
        found = [index.quantizer] if name in _IVF else []
    require(None not in found, f"a part of {name} is missing")
    return [faiss.downcast_index(part) for part in found]


def _chain(index: Any) -> list[Any]:
    return [faiss.downcast_VectorTransform(index.chain.at(place)) for place in range(index.chain.size())]


# -- indexes ---------------------------------------------------------------------------------------------------------


def _index(index: Any, N: int, D: int) -> None:
    """Check that an index, whose types are known, holds N vectors of size D."""
    name = type(index).__name__
    _same(name, "vectors", index.ntotal, N)
    _same(name, "size", index.d, D)
    require(bool(index.is_trained), f"{name} is not trained")
    require(index.metric_type in _METRICS, f"{name} has metric {index.metric_type}; allowed: inner product and L2")
    if name in _IVF:
        _inverted(index, name, N, D)
    elif name in _HNSW:
        (storage,) = _parts(index)
        _index(storage, N, D)
        require(type(storage).__name__ in _HNSW[name], f"{name} keeps its vectors as {type(storage).__name__}")
        _graph(index.hnsw, N)
    elif name in _REFINE:
        for part in _parts(index):
            _index(part, N, D)
        good = name == "IndexRefine" or type(_parts(index)[1]).__name__ in _FLAT
        require(good, f"{name} refines by another kind of index than it should")
    elif name == "IndexPreTransform":
        _index(_parts(index)[0], N, _transformed(index, D))
    else:
        _codes(index, name, N, D)


def _codes(index: Any, name: str, N: int, D: int) -> None:
    """Check an index that is a table of codes."""
    size = _code_size(index, name, D)
    if name == "IndexPQFastScan":
        padded = -(-N // _BLOCK) * _BLOCK
        _same(name, "vectors with padding", index.ntotal2, padded)
        _same(name, "bytes", index.codes.size(), padded * _fast_scan(index, name) // 2)
    else:
        _same(name, "bytes of a code", index.code_size, size)
        _same(name, "bytes", index.codes.size(), N * size)
    if name == "IndexPQ":
        require(index.search_type == 0, f"{name} searches by {index.search_type}; allowed: 0")


def _inverted(index: Any, name: str, N: int, D: int) -> None:
    """Check an index of inverted lists: the quantizer that chooses among them, and the lists."""
    nlist = int(index.nlist)
    (quantizer,) = _parts(index)
    _index(quantizer, nlist, D)
    size = _code_size(index, name, D)
    require(index.invlists is not None, f"{name} has no lists")
    require(index.direct_map.type == 0, f"{name} has a map of its vectors, which ours have not")
    lists = faiss.downcast_InvertedLists(index.invlists)
    _same(name, "lists", lists.nlist, nlist)
    if name == "IndexIVFPQFastScan":
        require(isinstance(lists, faiss.BlockInvertedLists), f"{name} keeps its lists in another file or layout")
        block = _BLOCK * _fast_scan(index, name) // 2
        _same(name, "vectors of a block", lists.n_per_block, _BLOCK)
        _same(name, "bytes of a block", lists.block_size, block)
        _blocks(lists, nlist, block)
        return
    require(type(lists).__name__ == "ArrayInvertedLists", f"{name} refers to other files, or its lists are not arrays")
    _same(name, "bytes of a code", index.code_size, size)
    _same(name, "bytes of a code in its lists", lists.code_size, size)


def _ids_once(lists: Any, N: int) -> None:
    """Check that inverted lists hold each of the ids 0 to N - 1 once."""
    sizes = [int(lists.list_size(place)) for place in range(lists.nlist)]
    require(sum(sizes) == N, f"its lists hold {sum(sizes)} vectors instead of {N}")
    found = np.zeros(N, bool)
    for place, size in enumerate(sizes):
        if size:
            ids = faiss.rev_swig_ptr(lists.get_ids(place), size)
            require(int(ids.min()) >= 0 and int(ids.max()) < N, "its lists hold an id that no item has")
            found[ids] = True
    require(bool(found.all()), "its lists do not hold each item once")


def _blocks(lists: Any, nlist: int, block: int) -> None:
    """Check that each list of a fast-scan index has codes for all its ids; FAISS shows them only as it writes them."""
    writer = faiss.VectorIOWriter()
    faiss.write_InvertedLists(lists, writer)
    content = faiss.rev_swig_ptr(writer.data.data(), writer.data.size())
    at = 4 + 4 * 8  # after the letters of the format and four sizes
    for _ in range(nlist):
        ids = int(content[at : at + 8].view(np.int64)[0])
        at += 8 + 8 * ids
        codes = int(content[at : at + 8].view(np.int64)[0])
        at += 8 + codes
        require(codes == -(-ids // _BLOCK) * block, f"a list of {ids} vectors has {codes} bytes")


# -- parts -----------------------------------------------------------------------------------------------------------


def _code_size(index: Any, name: str, D: int) -> int:
    """The bytes of a vector's code, by the quantizer of the index, which is checked."""
    if "PQ" in name:
        return _product(index.pq, name, D)
    if "Scalar" in name:
        return _scalar(index.sq, name, D)
    return 4 * D


def _product(pq: Any, name: str, D: int) -> int:
    M, bits = int(pq.M), int(pq.nbits)
    require(0 < M <= D and D % M == 0 and 0 < bits <= 16, f"{name} splits size {D} into {M} parts of {bits} bits")
    size = (M * bits + 7) // 8
    wanted = (D, D // M, 2**bits, size, D * 2**bits)
    found = (pq.d, pq.dsub, pq.ksub, pq.code_size, pq.centroids.size())
    require(found == wanted, f"{name} has a product quantizer of {list(found)} instead of {list(wanted)}")
    return size


def _fast_scan(index: Any, name: str) -> int:
    """The parts of a code with padding, whose layout is checked."""
    M = int(index.pq.M)
    even = M + M % 2
    wanted = (M, even, 4, 16, _BLOCK, 0)
    found = (index.M, index.M2, index.nbits, index.ksub, index.bbs, index.implem)
    require(found == wanted and index.pq.nbits == 4, f"{name} has a layout of {list(found)} instead of {list(wanted)}")
    _same(name, "bytes of a code", index.code_size, (M * 4 + 7) // 8)
    return even


def _scalar(sq: Any, name: str, D: int) -> int:
    kind = faiss.ScalarQuantizer
    trained = {kind.QT_8bit: 2 * D, kind.QT_6bit: 2 * D, kind.QT_4bit: 2 * D, kind.QT_fp16: 0, kind.QT_bf16: 0}
    trained |= {kind.QT_8bit_uniform: 2, kind.QT_4bit_uniform: 2, kind.QT_8bit_direct: 0}
    require(sq.qtype in trained, f"{name} has the unknown scalar quantizer {sq.qtype}")
    size = int(kind(D, sq.qtype).code_size)
    wanted, found = (D, size, trained[sq.qtype]), (sq.d, sq.code_size, sq.trained.size())
    require(found == wanted, f"{name} has a scalar quantizer of {list(found)} instead of {list(wanted)}")
    return size


def _transformed(index: Any, D: int) -> int:
    """The size of vectors after all transformations, which are checked."""
    for transform in _chain(index):
        name = type(transform).__name__
        _same(name, "size that it takes", transform.d_in, D)
        require(bool(transform.is_trained), f"{name} is not trained")
        D_out = int(transform.d_out)
        if name in _LINEAR:
            require(0 < D_out <= 2**16, f"{name} makes vectors of size {D_out}")
            _same(name, "numbers", transform.A.size(), D * D_out)
            if transform.have_bias:
                _same(name, "numbers of its bias", transform.b.size(), D_out)
        else:
            _same(name, "size that it makes", D_out, D)
        D = D_out
    return D


def _graph(hnsw: Any, N: int) -> None:
    """Check a graph over N vectors: each has its neighbours' places, and each neighbour stands on that level."""
    sizes = (hnsw.levels.size(), hnsw.offsets.size())
    require(sizes == (N, N + 1), f"its graph has {list(sizes)} nodes instead of {[N, N + 1]}")
    levels, offsets = faiss.vector_to_array(hnsw.levels), faiss.vector_to_array(hnsw.offsets).astype(np.int64)
    width = faiss.vector_to_array(hnsw.cum_nneighbor_per_level).astype(np.int64)
    neighbors = faiss.rev_swig_ptr(hnsw.neighbors.data(), hnsw.neighbors.size())
    good = len(width) > 1 and width[0] == 0 and bool((np.diff(width) > 0).all()) and width[-1] < 2**20
    good = good and int(levels.min()) >= 1 and int(levels.max()) < len(width)
    require(good, "its graph has levels that cannot be")
    good = offsets[0] == 0 and bool((np.diff(offsets) == width[levels]).all()) and offsets[-1] == len(neighbors)
    require(bool(good), "its graph has neighbours for other nodes")
    entry = int(hnsw.entry_point)
    require(0 <= entry < N and hnsw.max_level == levels.max() - 1, "its graph has no way in")
    require(levels[entry] == levels.max(), "its graph has no way in")
    require(int(neighbors.min()) >= -1 and int(neighbors.max()) < N, "its graph has a neighbour that no item is")
    for level in range(1, int(levels.max())):
        _level(level, levels, offsets, width, neighbors)


def _level(level: int, levels: Any, offsets: Any, width: Any, neighbors: npt.NDArray[np.int32]) -> None:
    nodes = np.flatnonzero(levels > level)
    found = neighbors[offsets[nodes][:, None] + np.arange(width[level], width[level + 1])]
    require(bool((levels[found[found >= 0]] > level).all()), "its graph has a neighbour that is not on its level")


def _same(name: str, what: str, found: Any, wanted: int) -> None:
    if int(found) != wanted:
        raise InputError(f"{name} has {found} for its {what} instead of {wanted}")
