"""FAISS's indexes: building one, the search parameters it has, and their object for one call."""

from __future__ import annotations

import logging
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, nearest, require
from recbole_mind.retrieval import index_check, validation
from recbole_mind.retrieval.types import Floats

# nprobe: inverted lists visited; efSearch: nodes kept while a graph is walked; k_factor: candidates for each result of
# a refining index. Export raises nprobe where that finds too little; a search may ask for others.
DEFAULTS: dict[str, float] = {"nprobe": 32, "efSearch": 128, "k_factor": 4}
FEW = 2**17  # vectors: with fewer, FAISS may warn of too few for its k-means; lists are trained on so many if there are
EXACT_UP_TO, FLAT_UP_TO = 200_000, 5_000_000  # items, for factory "auto"
_SAID: set[tuple[str, str]] = set()  # of FAISS's warnings: the index and the text without its numbers


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
    message = f"search_parameters: {given!r} is not understood; allowed: such as nprobe=32,k_factor=2"
    if isinstance(given, Mapping):
        require(all(isinstance(name, str) for name in given), message)
        return dict(given)
    require(isinstance(given, str), message)
    values: dict[str, Any] = {}
    for part in str(given).split(","):
        name, _, text = part.partition("=")
        require(name.strip() not in values, message)
        try:
            values[name.strip()] = float(text)
        except ValueError:
            raise InputError(message) from None
    return values


def check(given: Mapping[str, Any], allowed: Iterable[str], factory: str) -> dict[str, float]:
    """Return search parameters as FAISS takes them.

    Raises:
        InputError: a name that the index does not have, or a value that is not allowed.
    """
    names = list(allowed)
    values = {}
    for name, value in given.items():
        if name not in names:
            hint = f"{nearest(name, names)}; allowed: {', '.join(names) or 'none'}"
            raise InputError(f"search parameter '{name}' is unknown to index '{factory}'{hint}")
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


def check_factory(factory: str, items: Floats, parameters: object, key: str) -> None:
    """Raise :class:`InputError`, naming ``key``, unless ``factory`` can be built of ``items`` and has ``parameters``.

    A large catalogue is tried in part, so that the answer comes at once.
    """
    if factory == "exact":
        check(parse(parameters), [], factory)
        return
    index = _untrained(factory, items.shape[1], key)
    check(parse(parameters), available(index), factory)
    build(items[: max(20_000, lists(index))], factory, key, of=len(items))


def lists(index: Any) -> int:
    """How many inverted lists an index has; 0 for one without."""
    inverted = faiss.try_extract_index_ivf(index)
    return 0 if inverted is None else int(inverted.nlist)


def _untrained(factory: str, D: int, key: str = "factory") -> Any:
    try:
        if re.search(r"(?<!\d)0+(?!\d)|HNSW1(?!\d)", factory):  # FAISS ends the process over HNSW0 and HNSW1
            raise RuntimeError("a number in it is too small")
        index = faiss.index_factory(D, factory, faiss.METRIC_INNER_PRODUCT)
    except (RuntimeError, AssertionError) as error:
        example = "allowed: exact, or a factory string such as 'IVF512,Flat'"
        raise InputError(f"{key}: '{factory}' is no index that FAISS makes: {_reason(error)}; {example}") from None
    try:
        index_check.check_kind(index)
    except InputError as error:
        raise InputError(
            f"{key}: '{factory}' is not taken, since it could not be checked when it is opened: {error}"
        ) from None
    return index


def _reason(error: Exception) -> str:
    """What FAISS says, without the place in its source."""
    return re.sub(r"^Error in .*? at \S+: (Error: )?", "", str(error).strip().replace("\n", " "))


def build(items: Floats, factory: str, key: str = "factory", of: int | None = None) -> Any:
    """Make the index that ``factory`` describes of items ``[N, D]``, by inner product.

    k-means sees 64 items a list, drawn with a fixed seed; FAISS's own 256 take four times as long for no better recall.

    Raises:
        InputError: FAISS knows no such index, or it needs more items; ``key`` and ``of``, the size of the whole
            catalogue, are for its words.
    """
    N, D = items.shape
    index = _untrained(factory, D, key)
    sample, number = N, lists(index)
    require(number <= N, f"{key}: '{factory}' needs {number} items or more, not {of or N}")
    if number:
        inverted = faiss.extract_index_ivf(index)
        inverted.cp.max_points_per_centroid = 64
        inverted.cp.min_points_per_centroid = 1
        sample = min(N, max(64 * number, FEW))
    try:
        rows = np.arange(N) if sample == N else np.random.default_rng(0).choice(N, sample, replace=False)
        if not index.is_trained:
            with _said_once(factory) if sample < FEW else nullcontext():
                index.train(items if sample == N else items[np.sort(rows)])
        index.add(items)
    except RuntimeError as error:
        raise InputError(f"{key}: '{factory}' cannot be built of {of or N} items: {_reason(error)}") from None
    return index


@contextmanager
def _said_once(factory: str) -> Iterator[None]:
    """A context in which what FAISS writes to standard error hundreds of times is said once, and its like not again.

    An index may hold hundreds of k-means, each of which warns of too few points; an evaluation builds it anew. What is
    no warning of FAISS's is written as it came.
    """
    sys.stderr.flush()
    try:
        before = os.dup(2)
    except OSError:  # there is no standard error
        yield
        return
    with tempfile.TemporaryFile() as file:
        os.dup2(file.fileno(), 2)
        try:
            yield
        finally:
            sys.stderr.flush()
            os.dup2(before, 2)
            os.close(before)
            file.seek(0)
            lines = file.read().decode("utf-8", "replace").splitlines(keepends=True)
            for line in lines:
                said = factory, re.sub(r"\d+", "", line)
                if not line.startswith("WARN"):
                    sys.stderr.write(line)
                elif said not in _SAID:
                    _SAID.add(said)
                    text = line.partition(" ")[2].strip()
                    logging.getLogger(__name__).warning(f"FAISS, index '{factory}': {text}; said once")


def automatic(N: int) -> str:
    """The factory for a catalogue of N items: exact while that is fast, then inverted lists, then compressed ones."""
    if N <= EXACT_UP_TO:
        return "exact"
    return f"IVF{round(4 * N**0.5)},{'Flat' if N <= FLAT_UP_TO else 'SQ8'}"


def threads_of(asked: Any) -> int:
    """How many threads ``asked`` means; ``None`` is FAISS's own number.

    Raises:
        InputError: no whole number, at least 1.
    """
    if asked is None:
        return int(faiss.omp_get_max_threads())
    good = validation.is_whole(asked) and asked > 0
    require(good, f"threads: {asked!r} is not allowed; allowed: a whole number, at least 1")
    return int(asked)


@contextmanager
def using_threads(threads: int) -> Iterator[None]:
    """A context in which FAISS takes ``threads`` threads."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
