"""The item index of a bundle in Milvus, a vector database, for catalogues that outgrow one machine's memory.

:func:`load` puts a bundle's item vectors into a collection of its own, whose name holds the bundle's id, and switches
an alias to it when it is whole; :class:`MilvusIndex` then stands in for the bundle's own index::

    Recaller(bundle, index=MilvusIndex(bundle, "http://localhost:19530"))

Milvus proposes items for each interest in one search; they are scored, merged by maximum and filtered here as those of
a FAISS index are (:mod:`recbole_mind.retrieval.index`), from the bundle's vectors, which are mapped from disk. So the
answers are those of an exact search wherever Milvus finds the right items, ties included. Its hybrid search is not
used: none of its rankers takes the maximum. Export the bundle with an exact index: no other is needed beside Milvus.

Filters. Milvus takes lists of ids only as text, which for a pool of millions is too long, and a flag in the collection
could not be swapped at once. A pool under a fifth of the catalogue is searched exactly here. For a larger one, and for
items that one request leaves out, more is asked for than is needed: up to 16,384 items, Milvus's limit, beyond which
the search is done exactly here.

Shape legend: V vectors, D embedding size, N items.
"""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import numpy as np

from recbole_mind.errors import InputError, require
from recbole_mind.retrieval import exact, faiss_backend
from recbole_mind.retrieval.item_index import ItemIndex
from recbole_mind.retrieval.pool import Pool
from recbole_mind.retrieval.types import Floats, Found, Ints
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.util.extras import require_modules

ALIAS = "recbole_mind"
MOST = 16384  # that one search of Milvus returns for a vector
BATCH = 8 * 2**20  # bytes of vectors in one insertion; a message may have 64 MiB
CONNECT, REQUEST, INSERT, BUILD = 5.0, 5.0, 60.0, 24 * 3600.0  # seconds
# each index type's building parameters with their values for N items, and its search parameters
BUILDING: dict[str, Callable[[int], dict[str, float]]] = {
    "FLAT": lambda N: {},
    "IVF_FLAT": lambda N: {"nlist": _lists(N)},
    "IVF_SQ8": lambda N: {"nlist": _lists(N)},
    "HNSW": lambda N: {"M": 32, "efConstruction": 200},
}
SEARCHING: dict[str, dict[str, float]] = {
    "FLAT": {},
    "IVF_FLAT": {"nprobe": 32},
    "IVF_SQ8": {"nprobe": 32},
    "HNSW": {"ef": 256},
}


class LoadReport(NamedTuple):
    """What :func:`load` did.

    Attributes:
        collection: its name: the alias and the bundle's id.
        index_type: of Milvus.
        inserted: how many items; 0 where the collection was whole already.
        before: the collection that the alias stood for, which is kept; ``None`` for none.
        dropped: older collections, and a half-filled one, that are gone.
    """

    collection: str
    index_type: str
    inserted: int
    before: str | None
    dropped: tuple[str, ...]


def load(
    bundle: Bundle,
    uri: str,
    alias: str = ALIAS,
    *,
    index_type: str = "auto",
    parameters: object = None,
    token: str = "",
    progress: Callable[[int], object] = lambda inserted: None,
) -> LoadReport:
    """Put a bundle's item vectors into Milvus, and let ``alias`` stand for them once they are whole.

    The alias is switched at one stroke. The collection that it stood for before is kept for those who still search
    it, older ones are dropped. A collection that a killed process left half-filled is made anew, a whole one is kept.
    One process at a time may load for an alias.

    Args:
        bundle: an open bundle.
        uri: of a server, such as ``http://localhost:19530``, or a file ``*.db`` for milvus-lite.
        alias: letters, digits and ``_``, not starting with a digit.
        index_type: FLAT, which is exact; IVF_FLAT, IVF_SQ8 or HNSW; or ``"auto"``: FLAT up to 200,000 items, then
            IVF_FLAT.
        parameters: of building the index, as a mapping or as ``nlist=4000``.
        token: that the server asks for.
        progress: is told how many items are in.

    Raises:
        InputError: the server cannot be reached, refuses something or loses items; an unknown index type.
    """
    N = len(bundle.index)
    kind, values = _index_type(index_type, parameters, N)
    collection = collection_of(bundle, alias)
    inserted, dropped = 0, []
    with _asking(uri):
        client = _client(uri, token)
        there = _mine(client, alias)
        before = next((name for name in there if alias in client.list_aliases(name, timeout=REQUEST)["aliases"]), None)
        if collection in there:
            found = _type_of(client, collection)
            if found is None or _count(client, collection) != N:
                client.drop_collection(collection, timeout=INSERT)
                there.remove(collection)
                dropped.append(collection)
                before = None if before == collection else before
            else:
                message = f"index_type: {collection} has the index {found} already; load {kind} by another alias"
                require(index_type == "auto" or found == kind, message)
                kind = found
        if collection not in there:
            _create(client, collection, bundle.index.size)
            for inserted in _insert(client, collection, bundle.index.vectors):
                progress(inserted)
            client.flush(collection, timeout=BUILD)
            index = client.prepare_index_params()
            index.add_index("vector", index_type=kind, metric_type="IP", params=values)
            client.create_index(collection, index, timeout=BUILD)
            count = _count(client, collection)
            require(count == N, f"milvus: {collection} holds {count} items instead of {N}; load it again")
        if before is None:
            client.create_alias(collection, alias, timeout=REQUEST)
        elif before != collection:
            client.alter_alias(collection, alias, timeout=REQUEST)
        if before != collection:
            for name in set(there) - {collection, before}:
                client.drop_collection(name, timeout=INSERT)
                dropped.append(name)
    return LoadReport(collection, kind, inserted, None if before == collection else before, tuple(dropped))


class MilvusIndex(ItemIndex):
    """A bundle's items in Milvus, searched like the bundle's own index; for ``Recaller``.

    It searches the bundle's collection by its name, so that a switch of the alias to another bundle does not change
    its answers. Any number of threads may use one at once.

    Args:
        bundle: an open bundle, whose items :func:`load` has put there.
        uri: of the server, or the file of milvus-lite.
        alias: must stand for the bundle's collection.
        parameters: of searching, as a mapping or as ``nprobe=64``.
        token: that the server asks for.

    Raises:
        InputError: the server cannot be reached, or holds another bundle; a parameter that the index has not.
    """

    def __init__(
        self, bundle: Bundle, uri: str, alias: str = ALIAS, *, parameters: object = None, token: str = ""
    ) -> None:
        self._own, self._uri = bundle.index, uri
        self.metric, self.threads = bundle.index.metric, bundle.index.threads
        self.collection = collection_of(bundle, alias)
        with _asking(uri):
            self._client = _client(uri, token)
            there = _mine(self._client, alias)
            named = [name for name in there if alias in self._client.list_aliases(name, timeout=REQUEST)["aliases"]]
            hint = f"recbole-mind milvus {bundle.folder} loads it"
            require(bool(named), f"milvus: alias '{alias}' stands for no bundle; {hint}")
            found, wanted = named[0][-64:], bundle.id
            message = f"milvus: alias '{alias}' stands for bundle {found[:12]}, not for {wanted[:12]}; {hint}"
            require(found == wanted, message)
            kind = _type_of(self._client, self.collection)
            count = _count(self._client, self.collection)
        whole = kind is not None and count == len(self._own)
        require(whole, f"milvus: {self.collection} holds {count} items instead of {len(self._own)}; {hint}")
        self.factory = f"Milvus {kind}"
        defaults = SEARCHING.get(str(kind), {})
        self._parameters = defaults | faiss_backend.check(faiss_backend.parse(parameters), defaults, self.factory)

    @property
    def vectors(self) -> Floats:
        return self._own.vectors

    @property
    def parameters(self) -> dict[str, float]:
        return dict(self._parameters)

    def search(self, interests: Any, active: Any, n: int, exclude: Any = None, allowed: Any = None) -> Found:
        return self._own.search_by(self._propose, interests, active, n, exclude, allowed)

    def _propose(self, vectors: Floats, m: int, pool: Pool | None) -> Ints:
        """The m best items of the pool, or some more, for each of ``vectors`` [V, D]; -1 for none."""
        N = len(self)
        wanted = min(m, N if pool is None else len(pool.ids))
        width = min(N, wanted + exact.EXTRA)  # Milvus sums in float32: what comes next may belong before the last
        result = np.full((len(vectors), width), -1)
        left, limit = np.arange(len(vectors)), width if pool is None else int(1.2 * width * N / len(pool.ids)) + 1
        while len(left):
            limit = min(limit, MOST, N)
            unfinished = []
            for row, ids in zip(left, self._nearest(vectors[left], limit), strict=True):
                kept = ids if pool is None else ids[pool.holds(ids)]
                result[row, : len(kept[:width])] = kept[:width]
                if len(kept) < wanted and len(ids) == limit < N:
                    unfinished.append(row)
            left = np.array(unfinished, np.int64)
            if limit == MOST:
                break
            limit *= 2
        if len(left):
            result[left, :wanted] = self._own.search_exactly(vectors[left][:, None], None, wanted, allowed=pool).ids
        return result

    def _nearest(self, vectors: Floats, limit: int) -> list[Ints]:
        """The nearest items of each of ``vectors`` [V, D] in one search, at most ``limit``."""
        values = dict(self._parameters)
        if "ef" in values:
            values["ef"] = max(values["ef"], limit)  # Milvus asks for it
        with _asking(self._uri):
            found = self._client.search(
                self.collection,
                data=list(vectors),
                anns_field="vector",
                limit=limit,
                output_fields=["id"],  # milvus-lite returns the vectors too where none is named
                search_params={"metric_type": "IP", "params": values},
                timeout=REQUEST,
            )
        return [np.array(hits.ids, np.int64) for hits in found]


def collection_of(bundle: Bundle, alias: str = ALIAS) -> str:
    """The name of a bundle's collection.

    Raises:
        InputError: an alias that Milvus does not allow.
    """
    good = isinstance(alias, str) and re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,99}", alias) is not None
    require(good, f"alias: {alias!r} is not allowed; allowed: letters, digits and '_', not starting with a digit")
    return f"{alias}_{bundle.id}"


# -- parts of it --------------------------------------------------------------------------------------------------


def _lists(N: int) -> int:
    return max(1, min(65536, math.isqrt(16 * N)))


def _index_type(asked: Any, parameters: object, N: int) -> tuple[str, dict[str, float]]:
    """The index type and its building parameters."""
    kind = ("FLAT" if N <= faiss_backend.EXACT_UP_TO else "IVF_FLAT") if asked == "auto" else asked
    require(kind in BUILDING, f"index_type: {kind!r} is not allowed; allowed: auto, {', '.join(BUILDING)}")
    values = BUILDING[kind](N)
    return kind, values | faiss_backend.check(faiss_backend.parse(parameters), values, kind)


def _client(uri: str, token: str) -> Any:
    require_modules("Milvus", "pymilvus")
    import pymilvus

    logging.getLogger("pymilvus").setLevel(logging.CRITICAL)  # it prints a traceback of what it then raises
    return pymilvus.MilvusClient(uri, token=token, timeout=CONNECT)


@contextmanager
def _asking(uri: str) -> Iterator[None]:
    """Turn what the client raises into one line, without a password that the address may hold."""
    try:
        yield
    except InputError:
        raise
    except Exception as error:  # pymilvus's own, gRPC's, and those of milvus-lite's start
        text = getattr(error, "message", None) or str(error) or type(error).__name__
        parts = urlsplit(uri) if isinstance(uri, str) else None
        shown = uri
        if parts is not None and parts.password is not None:
            text, shown = (s.replace(f"{parts.username}:{parts.password}@", "") for s in (str(text), uri))
        raise InputError(f"milvus: '{shown}': {str(text)[:300]}") from None


def _mine(client: Any, alias: str) -> list[str]:
    """The collections that :func:`load` made for an alias."""
    pattern = re.compile(re.escape(alias) + "_[0-9a-f]{64}")
    return sorted(name for name in client.list_collections(timeout=REQUEST) if pattern.fullmatch(name))


def _type_of(client: Any, collection: str) -> str | None:
    """The type of a collection's index, which is made last of all; ``None`` without one."""
    if "vector" not in client.list_indexes(collection, timeout=REQUEST):
        return None
    description: Mapping[str, Any] = client.describe_index(collection, "vector", timeout=REQUEST)
    return str(description["index_type"])


def _count(client: Any, collection: str) -> int:
    """How many items a collection holds; it is loaded for that."""
    client.load_collection(collection, timeout=BUILD)
    found = client.query(collection, filter="", output_fields=["count(*)"], consistency_level="Strong", timeout=INSERT)
    return int(found[0]["count(*)"])


def _create(client: Any, collection: str, D: int) -> None:
    from pymilvus import DataType

    schema = client.create_schema(auto_id=False, enable_dynamic_field=False)
    schema.add_field("id", DataType.INT64, is_primary=True)
    schema.add_field("vector", DataType.FLOAT_VECTOR, dim=D)
    # what is searched was flushed long ago: to wait for the newest writes would cost each search a fifth of a second
    client.create_collection(collection, schema=schema, consistency_level="Bounded", timeout=INSERT)


def _insert(client: Any, collection: str, vectors: Floats) -> Iterator[int]:
    """Insert all vectors ``[N, D]``; how many are in, after each batch."""
    step = max(1, BATCH // (4 * vectors.shape[1]))
    for start in range(0, len(vectors), step):
        rows = enumerate(np.asarray(vectors[start : start + step]), start)
        client.insert(collection, [{"id": row, "vector": vector} for row, vector in rows], timeout=INSERT)
        yield min(start + step, len(vectors))
