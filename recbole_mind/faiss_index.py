"""FAISS's indexes: building one, the search parameters it has, and their object for one call."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, nearest, require
from recbole_mind.exact import Floats

# nprobe: inverted lists visited; efSearch: nodes kept while a graph is walked; k_factor: candidates for each result of
# a refining index. On clustered vectors these recall more than .99; a search may ask for others.
DEFAULTS: dict[str, float] = {"nprobe": 32, "efSearch": 128, "k_factor": 4}


def _inner(index: Any) -> Any:
    """What a transforming or refining index wraps, ``None`` for any other."""
    if isinstance(index, faiss.IndexRefine):
        return faiss.downcast_index(index.base_index)
    if isinstance(index, faiss.IndexPreTransform):
        return faiss.downcast_index(index.index)
    return None


def available(index: Any) -> list[str]:
    """Names of the search parameters that ``index`` has."""
    whole = faiss.downcast_index(index)  # does not own what it shows: the caller's object must live as long
    names = ["k_factor"] if isinstance(whole, faiss.IndexRefine) else []
    if _inner(whole) is not None:
        return names + available(_inner(whole))
    if isinstance(whole, faiss.IndexIVF):
        return [*names, "nprobe", *available(whole.quantizer)]
    return [*names, "efSearch"] if isinstance(whole, faiss.IndexHNSW) else names


def takes_filter(index: Any) -> bool:
    """Whether ``index`` can leave items out while it searches."""
    whole = faiss.downcast_index(index)
    if _inner(whole) is not None:
        return takes_filter(_inner(whole))
    return isinstance(whole, (faiss.IndexIVF, faiss.IndexHNSW, faiss.IndexFlat))


def parse(given: object) -> dict[str, Any]:
    """Search parameters as a mapping, or as FAISS writes them: ``nprobe=32,k_factor=2``.

    Raises:
        InputError: neither.
    """
    if given is None:
        return {}
    if isinstance(given, Mapping):
        return dict(given)
    pairs = [part.partition("=") for part in str(given).split(",") if part.strip()]
    values = {}
    for name, equals, text in pairs:
        try:
            values[name.strip()] = float(text)
        except ValueError:
            equals = ""
        require(bool(equals), f"search_parameters: '{given}' is not understood; write nprobe=32,k_factor=2")
    return values


def check(given: Mapping[str, Any], allowed: Iterable[str], factory: str) -> dict[str, float]:
    """Return search parameters as FAISS takes them.

    Raises:
        InputError: a name that the index does not have, or a value that is not allowed.
    """
    names = list(allowed)
    values = {}
    for name, value in given.items():
        hint = f"{nearest(name, names)}; allowed: {', '.join(names) or 'none'}"
        require(name in names, f"search parameter '{name}' is unknown to index '{factory}'{hint}")
        number = isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
        good = number and 1 <= value < 2**31 and (name == "k_factor" or float(value).is_integer())
        kind = "a number" if name == "k_factor" else "a whole number"
        if not good:
            raise InputError(f"{name}: {value!r} is not allowed; allowed: {kind}, at least 1")
        values[name] = float(value) if name == "k_factor" else int(value)
    return values


def search_parameters(index: Any, values: Mapping[str, float], bitmap: npt.NDArray[np.uint8] | None) -> Any:
    """The object that ``index.search`` takes, with ``values`` and a filter for one call; ``None`` if there is neither.

    Args:
        index: a FAISS index.
        values: search parameters by name.
        bitmap: one bit an item, set where it may be returned.
    """
    whole = faiss.downcast_index(index)
    inner = _inner(whole)
    if inner is not None:
        below = search_parameters(inner, values, bitmap)
        if isinstance(whole, faiss.IndexRefine):
            return faiss.IndexRefineSearchParameters(k_factor=values["k_factor"], base_index_params=below)
        if isinstance(whole, faiss.IndexPreTransform) and below is not None:
            return faiss.SearchParametersPreTransform(index_params=below)
        return below
    filtered = {} if bitmap is None else {"sel": faiss.IDSelectorBitmap(bitmap)}
    if isinstance(whole, faiss.IndexIVF):
        coarse = search_parameters(whole.quantizer, values, None)
        below = {} if coarse is None else {"quantizer_params": coarse}
        return faiss.SearchParametersIVF(nprobe=int(values["nprobe"]), **filtered, **below)
    if isinstance(whole, faiss.IndexHNSW):
        return faiss.SearchParametersHNSW(efSearch=int(values["efSearch"]), **filtered)
    return faiss.SearchParameters(**filtered) if filtered else None


def check_factory(factory: str, D: int, parameters: object, key: str) -> None:
    """Raise :class:`InputError`, naming ``key``, unless ``factory`` makes an index with the search ``parameters``."""
    index = None if factory == "exact" else _untrained(factory, D, key)
    check(parse(parameters), [] if index is None else available(index), factory)


def check_size(factory: str, D: int, N: int, key: str) -> None:
    """Raise :class:`InputError`, naming ``key``, if N items are too few for the inverted lists of ``factory``."""
    index = _untrained(factory, D, key)
    inverted = faiss.try_extract_index_ivf(index)
    lists = 0 if inverted is None else inverted.nlist
    require(lists <= N, f"{key}: '{factory}' needs {lists} items or more, not {N}")


def _untrained(factory: str, D: int, key: str = "factory") -> Any:
    try:
        if re.search(r"(?<!\d)0+(?!\d)", factory):  # FAISS ends the process over HNSW0
            raise RuntimeError("a number in it is 0")
        return faiss.index_factory(D, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, AssertionError) as error:
        example = "allowed: exact, or a factory string such as 'IVF512,Flat'"
        raise InputError(f"{key}: '{factory}' is no index that FAISS makes: {_reason(error)}; {example}") from None


def _reason(error: Exception) -> str:
    """What FAISS says, without the place in its source."""
    return re.sub(r"^Error in .*? at \S+: (Error: )?", "", str(error).strip().replace("\n", " "))


def build(items: Floats, factory: str) -> Any:
    """Make the index that ``factory`` describes of items ``[N, D]``, by inner product.

    k-means sees 64 items a list, drawn with a fixed seed; FAISS's own 256 take four times as long for no better recall.

    Raises:
        InputError: FAISS knows no such index, or it needs more items.
    """
    N, D = items.shape
    check_size(factory, D, N, "factory")
    index = _untrained(factory, D)
    sample = N
    inverted = faiss.try_extract_index_ivf(index)
    if inverted is not None:
        inverted.cp.max_points_per_centroid = 64
        inverted.cp.min_points_per_centroid = 1
        sample = min(N, max(64 * inverted.nlist, 2**17))
    try:
        rows = np.arange(N) if sample == N else np.random.default_rng(0).choice(N, sample, replace=False)
        if not index.is_trained:
            index.train(items if sample == N else items[np.sort(rows)])
        index.add(items)
    except RuntimeError as error:
        raise InputError(f"factory: '{factory}' cannot be built of {N} items: {_reason(error)}") from None
    return index


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    """A context in which FAISS takes ``threads`` threads."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
