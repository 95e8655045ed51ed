"""A store of published bundles: versions, a durable history of what happened, and which version is current.

A folder with ``versions/<id>/`` and what :mod:`recbole_mind.serving.store.log` keeps: ``history.jsonl`` and
``current``. A version is whole and on disk, and its event is, before ``current`` names them: a writer killed at any
moment leaves the old version current, or the new one, and the next writer clears what it left.
"""

from __future__ import annotations

import contextlib
import getpass
import importlib
import json
import os
import secrets
import shutil
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_mind.errors import InputError, require
from recbole_mind.serving.bundle import signing
from recbole_mind.serving.bundle.sealed_folder import SIGNATURE
from recbole_mind.serving.store.log import BLOCKED, FORCED, PUBLISHED, ROLLED_BACK, SERVED, Event, Log, Pointer, is_name
from recbole_mind.util.files import MANIFEST, alone_in, read_manifest, sync, write_atomic

if TYPE_CHECKING:
    from recbole_mind.serving.store.gate import Checked, GateLimits

FORMAT, VERSION = "recbole-mind store", 1
VERSIONS = "versions"


class Store:
    """A folder of published bundles; any number may read it while one writes.

    Args:
        folder: which :meth:`publish` makes.
        verify: checks every byte of a bundle and returns its manifest;
            :func:`recbole_mind.serving.bundle.bundle.verify`.
        checks: tries a bundle; :func:`recbole_mind.serving.store.self_check.tried`.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        verify: Callable[[Path], Mapping[str, Any]] | None = None,
        checks: Callable[[Path, GateLimits], Checked] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.log = Log(self.folder)
        self._verify, self._checks = verify, checks

    # -- reading -----------------------------------------------------------------------------------------------------

    def current(self) -> Path | None:
        """The folder of the version to be served; ``None`` before the first publication.

        Raises:
            InputError: the store is damaged.
        """
        found = self.log.pointer()
        if found is None:
            return None
        folder = self.version(found.id)
        require(folder.is_dir(), f"store '{self.folder}' is damaged: version {found.id}, which is current, is missing")
        return folder

    def version(self, name: str) -> Path:
        """The folder of a version, whether it is there or not."""
        return self.folder / VERSIONS / name

    def versions(self) -> list[str]:
        """The ids of the versions that are kept, in the order in which they were last published."""
        order = {event.id: event.number for event in self.history() if event.event in SERVED}
        kept = [name for name in order if self.version(name).is_dir()]
        return sorted(kept, key=lambda name: order[name])

    def history(self) -> list[Event]:
        """What happened, oldest first; an event that was interrupted did not.

        Raises:
            InputError: there is no store, or its history is damaged.
        """
        self._check()
        return self.log.events()

    def published(self) -> list[dict[str, Any]]:
        """The figures of what was served, oldest first: of each version once, and of none that was rolled back."""
        served: dict[str, dict[str, Any]] = {}
        withdrawn: dict[str, dict[str, Any]] = {}
        for event in self.history():
            if event.event in SERVED:
                served.pop(event.id, None)
                served[event.id] = event.figures
            elif event.event == ROLLED_BACK:
                if event.before in served:
                    withdrawn[event.before] = served.pop(event.before)
                if event.id in withdrawn:
                    served[event.id] = withdrawn.pop(event.id)
        return list(served.values())

    # -- writing -----------------------------------------------------------------------------------------------------

    def publish(
        self,
        bundle: str | Path,
        force: str | None = None,
        who: str | None = None,
        limits: GateLimits | None = None,
        trusted: str | Path | None = None,
    ) -> Event:
        """Let the gate judge a bundle and make a copy of it current, or record why not.

        Args:
            bundle: its folder.
            force: why it is to be served against the gate's reasons; a bundle that does not work never is.
            who: says so; the name of the user by default.
            limits: of the gate, :func:`recbole_mind.serving.store.gate.limits`.
            trusted: a file of public keys, one of which must have signed the bundle.

        Returns:
            the event: ``published``, ``forced`` or ``blocked``. To publish what is current already is no new event.

        Raises:
            InputError: it is no whole bundle, not signed as it must be, or the store cannot be written.
        """
        from recbole_mind.serving.store import gate, self_check

        source = Path(bundle)
        require(force is None or bool(force.strip()), "force: it needs a reason, which is recorded")
        require(source.is_dir(), f"bundle '{source}' is not a folder")
        manifest = self._verified(source)
        if trusted is not None:
            signing.check(source, manifest, trusted)
        outside = source.resolve() not in [self.folder.resolve(), *self.folder.resolve().parents]
        require(outside, f"store '{self.folder}' is inside the bundle; name another place")
        name = _name(manifest)
        limits = gate.limits() if limits is None else limits
        with self._alone():
            events, pointer = self._recover()
            before = pointer.id if pointer else None
            if name == before and self._whole(name):
                with self._writing():
                    self._keep_signature(source, name)
                return next(e for e in reversed(events) if e.id == name and e.event != BLOCKED)
            checked = (self._checks or self_check.tried)(source, limits)
            decision = gate.judge(gate.figures_of(manifest), self.published(), limits)
            reasons = [*checked.faults, *checked.reasons, *decision.reasons]
            blocked = bool(checked.faults) or (bool(reasons) and force is None)
            event = Event(
                number=_next(events),
                time=_now(),
                event=BLOCKED if blocked else FORCED if reasons else PUBLISHED,
                id=name,
                before=before,
                figures=decision.figures | checked.figures,
                reasons=reasons,
                notes=list(decision.notes),
                who=_person(who),
                why=_said(force),
            )
            with self._writing():
                if not blocked:
                    self._keep(source, name)
                self.log.append(event)
                if not blocked:
                    self.log.switch(event)
        return event

    def rollback(
        self, to: str | None = None, who: str | None = None, why: str | None = None, current: str | None = None
    ) -> Event:
        """Make another version current: ``to``, its id or how it starts, or what was current before this one.

        ``current`` is the version that is to be left, if it matters that no other one has become current since.

        Raises:
            InputError: there is none, it is current already or is damaged, another version is current by now, or the
                store cannot be written.
        """
        self._check()
        with self._alone():
            events, pointer = self._recover()
            require(pointer is not None, f"store '{self.folder}' has nothing to roll back: nothing was published")
            before = pointer.id if pointer else ""
            require(current in (None, before), f"version {current} is not current any more; {before} is")
            name, gone = self._before(events, before) if to is None else (self._named(to), [])
            require(name != before, f"to: version {before} is current already; nothing was changed")
            require(
                _name(self._verified(self.version(name))) == name,
                f"store '{self.folder}' is damaged: versions/{name} holds another bundle",
            )
            event = Event(
                number=_next(events),
                time=_now(),
                event=ROLLED_BACK,
                id=name,
                before=before,
                notes=[f"version {lost}, which was current before, is not kept and was passed over" for lost in gone],
                who=_person(who),
                why=_said(why),
            )
            with self._writing():
                self.log.append(event)
                self.log.switch(event)
        return event

    def prune(self, keep: int) -> list[str]:
        """Remove all versions but the ``keep`` last published, the current one and the one before it; their ids."""
        require(
            isinstance(keep, int) and keep >= 1, f"keep: {keep!r} is not allowed; allowed: a whole number, at least 1"
        )
        self._check()
        with self._alone():
            events, pointer = self._recover()
            kept = set(self.versions()[-keep:])
            if pointer is not None:
                kept.add(pointer.id)
                with contextlib.suppress(InputError):
                    kept.add(self._before(events, pointer.id)[0])
            gone = sorted(path.name for path in (self.folder / VERSIONS).iterdir() if path.name not in kept)
            with self._writing():
                for name in gone:
                    self._remove(self.version(name))
        return gone

    # -- parts of it -------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        require((self.folder / MANIFEST).is_file(), f"'{self.folder}' is not a store; recbole-mind publish makes one")
        read_manifest(self.folder, "a store", FORMAT, VERSION)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Hold the store, which is made where there is none."""
        if not (self.folder / MANIFEST).exists() and self.folder.exists():
            require(self.folder.is_dir(), f"store '{self.folder}' is not a folder")
            foreign = [path.name for path in self.folder.iterdir() if not path.name.startswith(".")]
            require(not foreign, f"'{self.folder}' is not a store and not empty; name another folder")
        with alone_in(self.folder):
            if not (self.folder / MANIFEST).exists():
                write_atomic(self.folder / MANIFEST, json.dumps({"format": FORMAT, "version": VERSION}) + "\n")
            self._check()
            with self._writing():
                (self.folder / VERSIONS).mkdir(exist_ok=True)
                sync(self.folder)
            yield

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"store '{self.folder}' cannot be written: {error.strerror or error}") from None

    def _verified(self, folder: Path) -> Mapping[str, Any]:
        if self._verify is not None:
            return self._verify(folder)
        found: Mapping[str, Any] = importlib.import_module("recbole_mind.serving.bundle.bundle").verify(folder)
        return found

    def _whole(self, name: str) -> bool:
        try:
            return _name(self._verified(self.version(name))) == name
        except InputError:
            return False

    def _recover(self) -> tuple[list[Event], Pointer | None]:
        """What happened and what is current; what a writer that was killed has left is cleared."""
        with self._writing():
            events, pointer = self.log.recover()
            for folder in (self.folder, self.folder / VERSIONS):
                for left in folder.glob(".*.tmp"):
                    shutil.rmtree(left) if left.is_dir() else left.unlink()
        return events, pointer

    def _keep(self, source: Path, name: str) -> None:
        """Have a whole copy of a bundle in the store, on disk."""
        target = self.version(name)
        if target.exists() and self._whole(name):
            self._keep_signature(source, name)
            return
        temporary = target.with_name(f".{name}.{secrets.token_hex(4)}.tmp")
        try:
            _copy(source, temporary)
            good = _name(self._verified(temporary)) == name
            require(good, f"bundle '{source}' was changed while it was copied; nothing was published")
            if target.exists():
                self._remove(target)  # damaged
            os.rename(temporary, target)
            sync(target.parent)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def _keep_signature(self, source: Path, name: str) -> None:
        """Have a bundle's signature, which may come later than the bundle, beside the version that is kept.

        It signs the time of the export, too; so the manifest that it is of goes with it.
        """
        if not (source / SIGNATURE).is_file():
            return
        for part in (MANIFEST, SIGNATURE):
            content = (source / part).read_bytes()
            kept = self.version(name) / part
            if not kept.is_file() or kept.read_bytes() != content:
                write_atomic(kept, content)
                kept.chmod(0o444)

    def _remove(self, folder: Path) -> None:
        """Remove a version: out of sight at once, then file by file."""
        gone = folder.with_name(f".{folder.name}.{secrets.token_hex(4)}.tmp")
        os.rename(folder, gone)
        shutil.rmtree(gone)

    def _before(self, events: list[Event], current: str) -> tuple[str, list[str]]:
        """The version that was current before this one was published, or before that one, if it is not kept.

        Returns:
            it, and those between that are not kept.
        """
        seen = [current]
        while True:
            found = [e.before for e in events if e.id == seen[-1] and e.event in SERVED and e.before != e.id]
            earlier = found[-1] if found else None
            others = [name[:12] for name in self.versions() if name != current]
            hint = f"; --to makes another one current: {', '.join(others[-5:])}" if others else ""
            require(
                earlier is not None and earlier not in seen,
                f"store '{self.folder}' has nothing to roll back to: there is no version before the current one, "
                f"{current}{', that is kept' if len(seen) > 1 else ''}{hint}",
            )
            if self.version(str(earlier)).is_dir():
                return str(earlier), seen[1:]
            seen.append(str(earlier))

    def _named(self, start: str) -> str:
        """The version whose id is ``start``, or begins so."""
        kept = self.versions()
        found = [name for name in kept if name == start] or [name for name in kept if name.startswith(start)]
        found = found if start else []
        shown = ", ".join(name[:12] for name in (found or kept)[-5:]) or "none"
        what = "no" if not found else "not the beginning of one"
        require(len(found) == 1, f"to: '{start}' is {what} version; kept: {shown}")
        return found[0]


# -- small parts -----------------------------------------------------------------------------------------------------


def _next(events: list[Event]) -> int:
    return len(events) + 1


def _name(manifest: Mapping[str, Any]) -> str:
    """The bundle's id, which becomes a folder's name."""
    name = manifest.get("id")
    require(is_name(name), f"bundle's id {name!r} is not allowed; allowed: letters, digits, '_', '.', '-'")
    return str(name)


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _person(who: str | None) -> str:
    """Who does it: a name that was given, or the user's."""
    if who is not None:
        return _said(who) or "unknown"
    try:
        return _said(getpass.getuser()) or "unknown"
    except (OSError, KeyError, ImportError):
        return "unknown"


def _said(text: str | None) -> str | None:
    """What a person said, on one line and printable."""
    if text is None:
        return None
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())[:1000]


def _copy(source: Path, target: Path) -> None:
    """Copy a folder of plain files, every byte and name of it on disk at the end; nobody is to write them again."""
    target.mkdir()
    for path in sorted(source.iterdir()):
        if path.is_dir():
            _copy(path, target / path.name)
            continue
        shutil.copyfile(path, target / path.name)
        (target / path.name).chmod(0o444)
        with open(target / path.name, "rb") as file:
            os.fsync(file.fileno())
    sync(target)
