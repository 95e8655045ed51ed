"""Multi-vector retrieval: the items with the largest max over a user's interests of v_k·e_i (MIND, Eq. 3).

An index is exact, or any index that a FAISS factory string describes. A FAISS index proposes items for each interest;
they are scored again from the item vectors, merged by maximum without duplicates and cut, so that scores, the order of
ties (lower id first) and filters are the same for every kind of index and only the recall differs. Taking n for each
interest loses nothing: an item among the n best by maximum is among the n best of the interest that gives its maximum.

Shape legend: B users, K interests, D embedding size, N items. An item's id is its row in the item vectors.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mind.errors import nearest, require
from recbole_mind.retrieval import exact, faiss_backend, rescoring, storage
from recbole_mind.retrieval.gpu import device_of, on_device
from recbole_mind.retrieval.item_index import METRICS, ItemIndex
from recbole_mind.retrieval.pool import Pool
from recbole_mind.retrieval.rescoring import Propose
from recbole_mind.retrieval.types import Bools, Exclusions, Floats, Found, Ints
from recbole_mind.retrieval.validation import LARGEST, as_array, as_exclusions, as_vectors, is_whole, normalized

MEMORY = 256 * 2**20  # bytes


_NAMES = ("factory", "metric", "device", "threads", "memory", "nprobe", "efSearch", "k_factor")


logger = logging.getLogger(__name__)


class MultiVectorIndex(ItemIndex):
    """The index of this package: exact, or any that a FAISS factory string describes.

    Attributes:
        factory: ``"exact"`` or the FAISS factory string.
        metric: ``"ip"`` or ``"cosine"``.
        threads: how many threads a search takes.
        memory: bytes of working space for a search, beside the results.
        nprobe, efSearch, k_factor: FAISS's search parameters, where the index has them.
    """

    def __init__(self, items: Floats, factory: str, metric: str, index: Any, *, device: str, threads: int) -> None:
        self._items = items
        self._items.flags.writeable = False
        self.factory, self.metric, self._index = factory, metric, index
        self.device, self.threads, self.memory = device, threads, MEMORY
        norms = [exact.lengths(items[i : i + 2**16]).max() for i in range(0, len(items), 2**16)]
        self._largest_norm = float(np.max(norms))
        self._parameters: dict[str, float] = {}
        self._on_device = None
        if device != "cpu":
            self._on_device = on_device(items, device)
        if index is not None:
            self._parameters = {name: faiss_backend.DEFAULTS[name] for name in faiss_backend.available(index)}

    def __setattr__(self, name: str, value: Any) -> None:
        known = name.startswith("_") or name in _NAMES or hasattr(type(self), name)
        require(known, f"index: it has no '{name}'{nearest(name, _NAMES)}; allowed: {', '.join(_NAMES)}")
        super().__setattr__(name, value)

    # -- making one ------------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        items: Any,
        factory: str = "exact",
        metric: str = "ip",
        *,
        device: str = "auto",
        threads: int | None = None,
    ) -> MultiVectorIndex:
        """Build an index over item vectors.

        Args:
            items: ``[N, D]`` float32, an array or a tensor; copied, unless it is a read-only array.
            factory: ``"exact"``; a FAISS factory string, such as ``"IVF4096,Flat"`` or ``"HNSW32"``; or ``"auto"``:
                exact up to 200,000 items, then ``IVF<4√N>,Flat``, and ``IVF<4√N>,SQ8`` above five million.
            metric: ``"ip"``, or ``"cosine"``, which brings items and interests to unit length.
            device: where an exact search scans: ``"cpu"``, ``"cuda"``, or ``"auto"``: a GPU if torch has one.
            threads: of building and searching; FAISS's number by default.

        Raises:
            InputError: vectors that are not ``[N, D]`` float32, empty, not finite or longer than 1e18; an unknown
                metric or factory string; too few items for it.
        """
        require(metric in METRICS, f"metric: '{metric}' is unknown; allowed: {', '.join(METRICS)}")
        require(isinstance(factory, str) and bool(factory), f"factory: {factory!r} is not allowed; allowed: a string")
        vectors = as_vectors(items, "items", 2)
        N = len(vectors)
        require(N > 0, "items: an index needs at least 1 item, not 0")
        require(N < 2**31, f"items: {N} are too many for one index; allowed: below 2**31")
        if metric == "cosine":
            vectors = normalized(vectors)
        elif vectors.flags.writeable:
            vectors = vectors.copy()
        threads = faiss_backend.threads_of(threads)
        if factory == "auto":
            factory = faiss_backend.automatic(N)
            logger.info("%d items: searched by '%s'", N, factory)
        device = device_of(device)
        if factory == "exact":
            return cls(vectors, factory, metric, None, device=device, threads=threads)
        with faiss_backend.using_threads(threads):
            index = faiss_backend.build(vectors, factory)
        return cls(vectors, factory, metric, index, device="cpu", threads=threads)

    def save(self, folder: str | Path) -> None:
        """Write the index into ``folder``, whole or not at all; an index that is there is replaced.

        Raises:
            InputError: the folder cannot be written.
        """
        description = {
            "factory": self.factory,
            "metric": self.metric,
            "parameters": self.parameters,
            "items": list(self._items.shape),
        }
        storage.save(Path(folder), description, self._items, self._index)

    @classmethod
    def load(
        cls, folder: str | Path, *, device: str = "auto", threads: int | None = None, hashed: bool = False
    ) -> MultiVectorIndex:
        """Open an index that :meth:`save` wrote; its content is checked against its hashes first, unless it is
        ``hashed`` already. The item vectors are mapped from the file, which must not be changed while they are used.

        Raises:
            InputError: a file is missing, truncated, changed or of another version.
        """
        description, items, index = storage.load(Path(folder), hashed=hashed)
        items.flags.writeable = False
        found = cls(
            items,
            description["factory"],
            description["metric"],
            index,
            device=device_of(device) if index is None else "cpu",
            threads=faiss_backend.threads_of(threads),
        )
        require(found._largest_norm < LARGEST, f"index '{folder}' is corrupt: its vectors are not all finite")
        found.set_parameters(**description["parameters"])
        return found

    def is_of(self, items: Any) -> bool:
        """Whether this index is of these item vectors ``[N, D]``."""
        vectors = as_vectors(items, "items", 2)
        vectors = normalized(vectors) if self.metric == "cosine" else vectors
        return np.array_equal(vectors, self._items)

    def verify(self, items: Any) -> None:
        """Check that this index is of these item vectors ``[N, D]``.

        Raises:
            InputError: it is of others, such as those of another model.
        """
        N, D = self._items.shape
        message = f"index: its {N} vectors of size {D} are not the item vectors of this model; build it again"
        require(self.is_of(items), message)

    # -- what it is ------------------------------------------------------------------------------------------------

    @property
    def vectors(self) -> Floats:
        return self._items

    @property
    def is_exact(self) -> bool:
        return self.factory == "exact"

    @property
    def parameters(self) -> dict[str, float]:
        """FAISS's search parameters in force."""
        return dict(self._parameters)

    def set_parameters(self, **values: Any) -> None:
        """Set search parameters by FAISS's names.

        Raises:
            InputError: the index has no such parameter, or the value is out of range.
        """
        self._parameters |= faiss_backend.check(values, self._parameters, self.factory)

    @property
    def lists(self) -> int:
        """How many inverted lists it has; 0 for an index without."""
        return 0 if self._index is None else faiss_backend.lists(self._index)

    nprobe = property(
        lambda self: self._parameters.get("nprobe"), lambda self, value: self.set_parameters(nprobe=value)
    )
    efSearch = property(  # noqa: N815 - FAISS's name
        lambda self: self._parameters.get("efSearch"), lambda self, value: self.set_parameters(efSearch=value)
    )
    k_factor = property(
        lambda self: self._parameters.get("k_factor"), lambda self, value: self.set_parameters(k_factor=value)
    )

    def on_one_thread(self) -> MultiVectorIndex:
        index = copy.copy(self)
        index.threads = 1
        return index

    # -- searching -------------------------------------------------------------------------------------------------

    def search(
        self, interests: Any, active: Any, n: int, exclude: Any = None, allowed: Any = None, **parameters: Any
    ) -> Found:
        """Search as :meth:`~recbole_mind.retrieval.item_index.ItemIndex.search` says.

        Args:
            interests, active, n, exclude, allowed: see there.
            parameters: FAISS's search parameters for this call alone.
        """
        return self._searched(interests, active, n, exclude, allowed, parameters, complete=True)

    def _searched(
        self,
        interests: Any,
        active: Any,
        n: int,
        exclude: Any,
        allowed: Any,
        parameters: Mapping[str, Any],
        *,
        complete: bool,
    ) -> Found:
        """Search; a ``complete`` answer is searched exactly for whom the index proposes too few items."""
        interests, active, excluded, pool = self._checked(interests, active, n, exclude, allowed)
        checked = faiss_backend.check(parameters, self._parameters, self.factory) if parameters else {}
        values = self._parameters | checked
        by_faiss = self._index is not None
        if by_faiss and pool is not None:
            by_faiss = pool.vectors is None and faiss_backend.takes_filter(self._index)
        if not by_faiss:
            return self._exactly(interests, active, int(n), excluded, pool)

        def propose(vectors: Floats, m: int, pool: Pool | None) -> Ints:
            with faiss_backend.using_threads(self.threads):
                bitmap = None if pool is None else pool.bitmap
                parameters = faiss_backend.search_parameters(self._index, values, bitmap)
                ids: Ints = self._index.search(vectors, m, params=parameters)[1]
            return ids

        return self._merged(propose, interests, active, int(n), excluded, pool, complete=complete)

    def search_exactly(self, interests: Any, active: Any, n: int, exclude: Any = None, allowed: Any = None) -> Found:
        """Do the same without FAISS: the truth that an approximate search is held against."""
        interests, active, excluded, pool = self._checked(interests, active, n, exclude, allowed)
        return self._exactly(interests, active, int(n), excluded, pool)

    def search_by(
        self, propose: Propose, interests: Any, active: Any, n: int, exclude: Any = None, allowed: Any = None
    ) -> Found:
        """Do the same with the candidates that ``propose`` finds somewhere else, such as in a vector database.

        A small pool is searched exactly here all the same.
        """
        interests, active, excluded, pool = self._checked(interests, active, n, exclude, allowed)
        if pool is not None and pool.vectors is not None:
            return self._exactly(interests, active, int(n), excluded, pool)
        return self._merged(propose, interests, active, int(n), excluded, pool)

    def recall(
        self, interests: Any, active: Any, n: int, exclude: Any = None, allowed: Any = None, **parameters: Any
    ) -> float:
        """The share of the exact n best that the index finds, the mean over users who have any.

        What :meth:`search` adds by an exact search, where the index proposes fewer than n, does not count.
        """
        found = self._searched(interests, active, n, exclude, allowed, parameters, complete=False)
        return overlap(found.ids, self.search_exactly(interests, active, n, exclude, allowed).ids)

    def _checked(
        self, interests: Any, active: Any, n: int, exclude: Any, allowed: Any
    ) -> tuple[Floats, Bools, Exclusions, Pool | None]:
        interests, active = self._query(interests, active)
        require(is_whole(n) and n > 0, f"n: {n!r} is not allowed; allowed: a whole number, at least 1")
        excluded = as_exclusions(exclude, len(interests), len(self))
        return interests, active, excluded, None if allowed is None else self.pool(allowed)

    def _query(self, interests: Any, active: Any) -> tuple[Floats, Bools]:
        vectors = as_vectors(interests, "interests", 3)
        require(
            vectors.shape[2] == self.size,
            f"interests: size {vectors.shape[2]} does not match the index, whose vectors have size {self.size}",
        )
        flags = np.ones(vectors.shape[:2], bool) if active is None else as_array(active, "active")
        require(
            flags.dtype == bool and flags.shape == vectors.shape[:2],
            f"active: {list(flags.shape)} {flags.dtype} does not match interests {list(vectors.shape)}; "
            "allowed: [B, K] booleans",
        )
        return normalized(vectors) if self.metric == "cosine" else vectors, flags

    def _exactly(self, interests: Floats, active: Bools, n: int, excluded: Exclusions, pool: Pool | None) -> Found:
        items, on_device, subset = self._items, self._on_device, None
        if pool is not None and pool.vectors is not None and on_device is None:
            items = pool.vectors
            place = np.searchsorted(pool.ids, excluded.ids)
            there = pool.ids[np.minimum(place, len(pool.ids) - 1)] == excluded.ids if len(pool.ids) else place < 0
            excluded = Exclusions(excluded.rows[there], place[there])
        elif pool is not None:
            subset = pool.ids
        found = exact.search(
            items,
            interests,
            active,
            n,
            excluded=excluded,
            subset=subset,
            largest_norm=self._largest_norm,
            threads=self.threads,
            memory=self.memory,
            on_device=on_device,
        )
        if items is not self._items and pool is not None:  # places in the pool are in the order of ids
            found = found._replace(ids=np.where(found.ids < 0, -1, pool.ids[found.ids] if len(pool.ids) else -1))
        return found

    def _merged(
        self,
        propose: Propose,
        interests: Floats,
        active: Bools,
        n: int,
        excluded: Exclusions,
        pool: Pool | None,
        *,
        complete: bool = True,
    ) -> Found:
        return rescoring.search(
            propose,
            self._exactly if complete else None,
            self._items,
            interests,
            active,
            n,
            excluded,
            pool,
            largest_norm=self._largest_norm,
            threads=self.threads,
            memory=self.memory,
        )


def overlap(found: Ints, truth: Ints) -> float:
    """The share of the ids in ``truth`` [B, n] that ``found`` [B, n] holds too, the mean over rows that have any."""
    size = max(int(truth.max(initial=0)), int(found.max(initial=0))) + 1
    row = np.arange(len(truth))[:, None] * size
    hits = (np.isin(row + truth, (row + found)[found >= 0]) & (truth >= 0)).sum(1)
    number = (truth >= 0).sum(1)
    return float((hits[number > 0] / number[number > 0]).mean()) if number.any() else 1.0
