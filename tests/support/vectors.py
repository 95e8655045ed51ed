"""Vectors, indexes and the reference that the tests of retrieval share."""

from functools import lru_cache

import numpy as np

from recbole_mind.retrieval.index import MultiVectorIndex
from tests.support import references

KINDS = ("integers", "grid", "normal", "mixed", "tiny", "cancelling")


def draw(rng, kind, N, B, K, D):
    """Items [N, D] and interests [B, K, D]; sums of products are exact in float64, but for normal ones."""
    vectors = []
    for shape in ((N, D), (B, K, D)):
        array = rng.standard_normal(shape) if kind == "normal" else rng.integers(-256, 257, shape) / 64
        if kind == "integers":
            array = np.round(array / 2)
        if kind in ("mixed", "tiny"):  # 2**-100 is about 1e-30
            array *= 2.0 ** (-100 if kind == "tiny" else rng.integers(-40, 41, (*shape[:-1], 1)))
        vectors.append(array.astype(np.float32))
    items, interests = vectors
    if kind == "cancelling" and D > 2:  # float32 sums lose what is between two long terms
        items[::12, 0] *= 2**26
        items[:, -1], interests[..., -1] = -items[:, 0], interests[..., 0]
    return items, interests


def build(items, factory="exact", metric="ip", threads=1):
    return MultiVectorIndex.build(items, factory, metric, device="cpu", threads=threads)


def reference(items, interests, active, n, exclude=None, allowed=None):
    vectors = items.tolist(), interests.tolist()
    return references.retrieve(*vectors, active.tolist(), n, exclude, None if allowed is None else set(allowed))


def assert_same(found, expected):
    for name, ours, theirs in zip(("ids", "scores", "interests"), found, expected, strict=True):
        np.testing.assert_array_equal(ours, np.asarray(theirs, ours.dtype), err_msg=name)


RNG = np.random.default_rng(5)
ITEMS, INTERESTS = draw(RNG, "normal", 300, 7, 3, 16)
ACTIVE = np.array([[True] * 3, [True, False, True], [False] * 3, *[[False, True, True]] * 4])
EXCLUDE = [RNG.permutation(300)[: 12 * user].tolist() for user in range(7)]
LARGE_POOL = np.arange(120, 280)


@lru_cache
def indexed(factory):
    return build(ITEMS, factory)
