"""The bundle that serves: opened, followed, swapped while requests run; and the pool of items that may be recalled."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, MutableMapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from recbole_mind.errors import InputError, require
from recbole_mind.serving import sandbox
from recbole_mind.serving.bundle import bundle, signing
from recbole_mind.serving.http.followed_file import stamp_of
from recbole_mind.serving.http.item_search import ItemSearch
from recbole_mind.serving.http.metrics import ChannelMetrics
from recbole_mind.serving.http.pool_files import Lists, PoolFiles
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store import store
from recbole_mind.serving.store.log import BLOCKED, HISTORY, SERVED
from recbole_mind.util.files import read_manifest

logger = logging.getLogger(__name__)
SMOKE = 10  # items that a bundle must recall for before it serves
AGAIN = 60.0  # seconds until a bundle that could not serve is tried again


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
        trusted_keys: a file of public keys, one of which must have signed a bundle; read for each.
        channel: what the log calls it, if it is one of several: then what the folder holds may be such that it cannot
            serve; it is tried again like a newer one.

    Raises:
        InputError: the folder is neither, or what it holds cannot serve.
    """

    def __init__(
        self,
        folder: str | Path,
        metrics: ChannelMetrics,
        pool: str | Path | None = None,
        deny: str | Path | None = None,
        names: dict[str, str] | None = None,
        load: Callable[[Path], Recaller] | None = None,
        trusted_keys: str | Path | None = None,
        channel: str | None = None,
    ) -> None:
        self._log = logger if channel is None else _OfChannel(logger, {"channel": channel})
        self.folder, self.metrics, self.names = Path(folder), metrics, names or {}
        self.store = store.Store(self.folder) if _is_store(self.folder) else None
        self._load = load or (lambda path: Recaller.load(path, threads=1))
        self._trusted_keys = trusted_keys
        self._serving: Serving | None = None
        self._asked: Any = None  # what was last tried
        self._failed = False  # what was last tried, which is tried again
        self._again = 0.0  # then
        self._files = PoolFiles(pool, deny)
        self._lists = self._files.lists  # what serves
        self._refused: Lists | None = None  # newer ones that leave the bundle that serves nothing to recall
        self._complaints: dict[str, str] = {}
        self._tried: set[str] = set()  # ids of bundles that a process of its own opened
        self._trial: sandbox.Sandboxed | None = None  # that runs
        self._history: Any = None  # as it was last read
        self.behind = False  # whether something else is to serve, or nobody can tell
        self._wake, self._stopped = threading.Event(), False
        self._thread: threading.Thread | None = None
        self._waits = False  # for a first version
        if channel is None:
            self._follow_bundle()
        else:
            self.look()

    @property
    def serving(self) -> Serving | None:
        """What serves now; ``None`` while a store has nothing published."""
        return self._serving

    @property
    def fault(self) -> str | None:
        """Why what is to be served could not be brought into service at the last look."""
        return self._complaints.get("bundle")

    # -- following ---------------------------------------------------------------------------------------------------

    def start(self, seconds: float) -> None:
        """Look for something newer every so many seconds, in a thread."""
        self._stopped = False
        self._thread = threading.Thread(target=self._run, args=(seconds,), name="bundles", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the thread, after a load that runs; a trial is ended."""
        self._stopped = True
        self._wake.set()
        trial = self._trial
        if trial is not None:
            trial.stop()
        if self._thread is not None:
            self._thread.join()

    def reload(self) -> None:
        """Have the bundle and the pool opened again soon, whether they changed or not; for a signal's handler."""
        self._asked = self._refused = None
        self._files.forget()
        self._wake.set()

    def _run(self, seconds: float) -> None:
        while not self._stopped:
            self._wake.wait(seconds)
            self._wake.clear()
            if not self._stopped:
                self.look()

    def look(self) -> None:
        """Bring what is newer into service; what serves stays where that fails, and the log says why."""
        for error in self._files.look():
            self.metrics.pools.labels("failed").inc()
            self._log.error("what serves stays: %s", error)
        self._watch()
        for what, follow in (("pool", self._follow_pool), ("bundle", self._follow_bundle)):
            good = True
            try:
                follow()
                self._complaints.pop(what, None)
            except Exception as error:  # whatever it is, requests go on
                good = False
                known = isinstance(error, InputError)
                reason = str(error if known else InputError(f"{type(error).__name__}: {error}"))
                if self._complaints.get(what) != reason:
                    stays = f"the {what} that serves stays" if self._serving else "no bundle serves"
                    self._log.error("%s: %s", stays, reason)
                self._complaints[what] = reason
            if what == "bundle":
                self._looked(good and not self._failed)
        if self.store is not None:
            self._count_blocks(self.store)

    def _looked(self, good: bool) -> None:
        """Note whether what is to be served serves."""
        if good and self.behind:
            self._log.info("bundle %s is the one to be served", self._serving and self._serving.recaller.bundle_id)
        self.behind = not good
        self.metrics.looked(good)

    def _count_blocks(self, found: store.Store) -> None:
        """Show how many publications the gate has blocked since the last one that it let pass."""
        stamp = stamp_of(found.folder / HISTORY)
        if stamp == self._history:
            return
        self._history = stamp
        blocks = 0
        try:
            for event in found.history():
                blocks = blocks + 1 if event.event == BLOCKED else 0 if event.event in SERVED else blocks
        except InputError as error:
            self._log.error("what the gate blocked is not known: %s", error)
        else:
            self.metrics.gate_blocks.set(blocks)

    # -- bundles -----------------------------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Take what serves out of service where a file of it was changed: large ones are read as they are needed."""
        serving = self._serving
        changed = None if serving is None else serving.recaller.bundle.changed(replaced=self.store is not None)
        if serving is None or changed is None:
            return
        self._serving, self._asked, self._failed = None, None, False  # it is opened again if it is whole
        self.metrics.changed.inc()
        self._log.error("bundle %s is out of service: '%s' was changed under it", serving.recaller.bundle_id, changed)

    def _try(self, folder: Path) -> str:
        """Check a bundle's signature, and open it in a process of its own, unless one of its id was opened; its id.

        Raises:
            InputError: it is not signed as it must be, cannot be opened, or takes too long or too much.
        """
        manifest = bundle.read(folder)
        name = str(manifest["id"])
        if self._trusted_keys is not None:
            signing.check(folder, manifest, self._trusted_keys)
        if name in self._tried:
            return name
        self._trial = sandbox.Sandboxed(folder, __name__, "try_bundle")
        try:
            if not self._stopped:
                self._trial.run()
                self._tried.add(name)
        finally:
            self._trial = None
        return name

    def _follow_bundle(self) -> None:
        if self._failed and time.monotonic() >= self._again:
            self._asked = None  # memory, a disk or a copy that was under way may be there by now
        if self.store is None:
            asked: Any = self.folder
            found = self.folder
        else:
            asked = self.store.log.pointer()
            lost = asked is None and self._serving is not None
            require(not lost, f"store '{self.folder}' does not name a current version any more")
            if asked is None or asked == self._asked:
                if asked is None and not self._waits:
                    self._waits = True
                    self._log.warning("store '%s' has no published version yet; waiting for one", self.folder)
                return
            found = self.store.version(asked.id)
        if asked == self._asked:
            return
        self._asked = asked
        if self.store is not None and self._serving is not None and self._serving.recaller.bundle_id == asked.id:
            self._failed = False
            return
        try:
            if self.store is not None:
                self.store.current()  # says what is wrong with the store
            tried = self._try(found)
            recaller = self._load(found)
            require(recaller.bundle_id == tried, f"bundle '{found}' was changed while it was opened")
            _smoke(recaller)
            lists = self._fitting(recaller)
        except Exception:
            if self._stopped:
                return
            self._failed, self._again = True, time.monotonic() + AGAIN
            self.metrics.swaps.labels("failed").inc()
            raise
        self._failed = False
        before = self._serving
        self._serving = Serving(recaller, ItemSearch(recaller.bundle, self.names))  # one assignment
        self.metrics.serves(recaller)
        self._serves_pool(recaller, lists)
        if before is None:
            self._log.info("bundle %s serves", recaller.bundle_id)
            return
        self.metrics.swaps.labels("done").inc()
        self._log.info("bundle %s serves instead of %s", recaller.bundle_id, before.recaller.bundle_id)

    # -- pool --------------------------------------------------------------------------------------------------------

    def _follow_pool(self) -> None:
        """Let what serves recall what the files say now."""
        lists = self._files.lists
        if lists in (self._lists, self._refused):
            return
        self._refused = lists
        if self._failed:  # the bundle may fit them
            self._asked = None
        if self._serving is None:
            return
        recaller = self._serving.recaller
        try:
            recaller.set_pool(self._files.select(recaller, lists))
        except Exception:
            self.metrics.pools.labels("failed").inc()
            raise
        self._refused = None
        self._serves_pool(recaller, lists)
        self.metrics.pools.labels("done").inc()
        self._log.info("%s serves", self._files)

    def _fitting(self, recaller: Recaller) -> Lists:
        """Let a new recaller recall what the files say now, or else what they said when the old one took them."""
        lists = self._files.lists
        try:
            recaller.set_pool(self._files.select(recaller, lists))
        except InputError:
            if self._serving is None or lists == self._lists:
                raise
            recaller.set_pool(self._files.select(recaller, self._lists))
            return self._lists
        return lists

    def _serves_pool(self, recaller: Recaller, lists: Lists) -> None:
        """Note what is recalled by what serves now."""
        self._lists = lists
        self._refused = None if lists == self._files.lists else self._files.lists
        self.metrics.pool_items.set(len(recaller.standing.rows))
        self.metrics.pool_unknown.set(recaller.standing.unknown)


# -- parts -----------------------------------------------------------------------------------------------------------


class _OfChannel(logging.LoggerAdapter):  # type: ignore[type-arg] # which Python 3.10 does not take here
    """Says in each line of which channel it speaks."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[Any, MutableMapping[str, Any]]:
        channel = (self.extra or {})["channel"]
        return f"channel {channel}: {msg}", {**kwargs, "extra": {"channel": channel}}


def _is_store(folder: Path) -> bool:
    """Whether a folder is a store; another is opened as a bundle, which says what is wrong with it."""
    try:
        read_manifest(folder, "a store", store.FORMAT, store.VERSION)
    except InputError:
        require((folder / "manifest.json").is_file(), f"'{folder}' is neither a bundle nor a store")
        return False
    return True


def try_bundle(folder: str) -> None:
    """Open a bundle and recall, as the service does; for a process of its own."""
    _smoke(Recaller.load(folder, threads=1))


def _smoke(recaller: Recaller) -> None:
    """Recall once for the most popular items, and once for nobody; rank them too, where there is a ranker.

    Raises:
        InputError: nothing comes, or scores that are no numbers.
    """
    opened = recaller.bundle
    history = opened.item_tokens.tokens(opened.popularity[:SMOKE])
    for given in (history, []):
        found = recaller.recall(given, n=SMOKE, exclude_seen=False)
        good = bool(found.items) and bool(np.isfinite(found.scores).all())
        require(good, f"bundle '{opened.folder}' does not recall: it gives {len(found.items)} items on trial")
        if opened.ranks:
            recaller.recommend(given, SMOKE, SMOKE, exclude_seen=False)
