"""The bundle that serves: opened, followed, swapped while requests run; and the pool of items that may be recalled."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_mind import store
from recbole_mind.errors import InputError, require
from recbole_mind.files import read_lines, read_manifest
from recbole_mind.recall import Recaller
from recbole_mind.service_items import ItemSearch
from recbole_mind.service_metrics import Metrics

logger = logging.getLogger(__name__)
SMOKE = 10  # items that a bundle must recall for before it serves


class Serving(NamedTuple):
    """What a request sees from its start to its end."""

    recaller: Recaller
    items: ItemSearch


class Bundles:
    """Holds what serves, and brings something newer in its place.

    Args:
        folder: a bundle, or a store whose current version is served.
        metrics: where swaps are counted.
        pool: a file of the tokens that may be recalled, one a line; ``None`` for all.
        deny: a file of the tokens that are left out of them, which may be empty.
        names: of items, for people.
        load: opens a bundle.

    Raises:
        InputError: the folder is neither, or what it holds cannot serve.
    """

    def __init__(
        self,
        folder: str | Path,
        metrics: Metrics,
        pool: str | Path | None = None,
        deny: str | Path | None = None,
        names: dict[str, str] | None = None,
        load: Callable[[Path], Recaller] | None = None,
    ) -> None:
        self.folder, self.metrics, self.names = Path(folder), metrics, names or {}
        self.store = store.Store(self.folder) if _is_store(self.folder) else None
        self._load = load or (lambda path: Recaller.load(path, threads=1))
        self._serving: Serving | None = None
        self._asked: Any = None  # what was last tried: a failure is not tried again until something else is current
        files = {"pool": pool, "deny": deny}
        self._pool = {name: Path(path) for name, path in files.items() if path is not None}
        self._pool_seen: Any = None
        self._pool_text: dict[str, str] = {}
        self._pool_failed = False  # the last that was tried
        self._complaints: dict[str, str] = {}
        self._wake, self._stopped = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._pool_seen, self._pool_text = self._stamps(), self._read_pool()
        self._follow_bundle(first=True)

    @property
    def serving(self) -> Serving | None:
        """What serves now; ``None`` while a store has nothing published."""
        return self._serving

    # -- following ---------------------------------------------------------------------------------------------------

    def start(self, seconds: float) -> None:
        """Look for something newer every so many seconds, in a thread."""
        self._stopped = False
        self._thread = threading.Thread(target=self._run, args=(seconds,), name="bundles", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after a load that runs."""
        self._stopped = True
        self._wake.set()
        if self._thread is not None:
            self._thread.join()

    def reload(self) -> None:
        """Have the bundle and the pool opened again soon, whether they changed or not; for a signal's handler."""
        self._asked = self._pool_seen = None
        self._wake.set()

    def _run(self, seconds: float) -> None:
        while not self._stopped:
            self._wake.wait(seconds)
            self._wake.clear()
            if not self._stopped:
                self.look()

    def look(self) -> None:
        """Bring what is newer into service; what serves stays where that fails, and the log says why."""
        for what, follow in (("pool", self._follow_pool), ("bundle", self._follow_bundle)):
            try:
                follow()
                self._complaints.pop(what, None)
            except Exception as error:  # whatever it is, requests go on
                reason = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
                if self._complaints.get(what) != reason:
                    logger.error("the %s that serves stays: %s", what, reason)
                self._complaints[what] = reason

    # -- bundles -----------------------------------------------------------------------------------------------------

    def _follow_bundle(self, first: bool = False) -> None:
        if self.store is None:
            asked: Any = self.folder
            found = self.folder
        else:
            asked = self.store.log.pointer()
            if asked is None or asked == self._asked:
                if first:
                    logger.warning("store '%s' has no published version yet; waiting for one", self.folder)
                return
            found = self.store.version(asked.id)
        if asked == self._asked:
            return
        self._asked = asked
        if self.store is not None and self._serving is not None and self._serving.recaller.bundle_id == asked.id:
            return
        try:
            if self.store is not None:
                self.store.current()  # says what is wrong with the store
            recaller = self._load(found)
            _smoke(recaller)
            self._apply_pool(recaller)
        except Exception:
            self.metrics.swaps.labels("failed").inc()
            raise
        before = self._serving
        self._serving = Serving(recaller, ItemSearch(recaller.bundle, self.names))  # one assignment
        self.metrics.serves(recaller)
        if self._pool_failed:  # what the old bundle did not know this one may
            self._pool_seen = None
        if before is None:
            logger.info("bundle %s serves", recaller.bundle_id)
            return
        self.metrics.swaps.labels("done").inc()
        logger.info("bundle %s serves instead of %s", recaller.bundle_id, before.recaller.bundle_id)

    # -- pool --------------------------------------------------------------------------------------------------------

    def _follow_pool(self) -> None:
        stamps = self._stamps()
        if not self._pool or stamps == self._pool_seen:
            return
        self._pool_seen = stamps
        before = self._pool_text
        try:
            self._pool_text = self._read_pool()
            if self._serving is not None:
                self._apply_pool(self._serving.recaller)
            self._pool_failed = False
        except Exception:
            self._pool_text, self._pool_failed = before, True
            self.metrics.pools.labels("failed").inc()
            raise
        self.metrics.pools.labels("done").inc()
        logger.info("%s serves", self._named())

    def _apply_pool(self, recaller: Recaller) -> None:
        """Let a recaller recall the pool alone; it keeps what it has where that leaves nothing."""
        lists = {name: text.split("\n") if text else [] for name, text in self._pool_text.items()}
        pool = recaller.pool(lists.get("pool"))
        require(len(pool.rows) > 0, f"pool '{self._pool.get('pool')}': none of its items is in the catalogue")
        pool = recaller.pool(pool, lists.get("deny"))
        require(len(pool.rows) > 0, f"deny '{self._pool.get('deny')}': it leaves no item to recall")
        recaller.set_pool(pool)
        self.metrics.pool_items.set(len(pool.rows))
        self.metrics.pool_unknown.set(pool.unknown)

    def _stamps(self) -> dict[str, Any]:
        return {name: _stamp(path) for name, path in self._pool.items()}

    def _read_pool(self) -> dict[str, str]:
        """The tokens of each file, one a line.

        Raises:
            InputError: one cannot be read, or the pool holds none.
        """
        texts = {name: "\n".join(filter(None, read_lines(path, name))) for name, path in self._pool.items()}
        require(texts.get("pool") != "", f"pool '{self._pool.get('pool')}' holds no token")
        return texts

    def _named(self) -> str:
        return " and ".join(f"{name} '{path}'" for name, path in self._pool.items())


# -- parts -----------------------------------------------------------------------------------------------------------


def _is_store(folder: Path) -> bool:
    """Whether a folder is a store; another is opened as a bundle, which says what is wrong with it."""
    try:
        read_manifest(folder, "a store", store.FORMAT, store.VERSION)
    except InputError:
        require((folder / "manifest.json").is_file(), f"'{folder}' is neither a bundle nor a store")
        return False
    return True


def _smoke(recaller: Recaller) -> None:
    """Recall once for the most popular items, and once for nobody.

    Raises:
        InputError: nothing comes, or scores that are no numbers.
    """
    bundle = recaller.bundle
    history = bundle.item_tokens.tokens(bundle.popularity[:SMOKE])
    for given in (history, []):
        found = recaller.recall(given, n=SMOKE, exclude_seen=False)
        good = bool(found.items) and bool(np.isfinite(found.scores).all())
        require(good, f"bundle '{bundle.folder}' does not recall: it gives {len(found.items)} items on trial")


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """By what a file that was changed is known; ``None`` if it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
