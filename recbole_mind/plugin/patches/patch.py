"""A patch of RecBole: what breaks, since when, what is put in its place, and how that is taken back."""

from __future__ import annotations

import contextlib
import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

_ABSENT = object()
_ORIGINALS: dict[str, Any] = {}  # by target, as it stood before the first change; _ABSENT where nothing did
_CHANGES: dict[str, list[Attribute]] = {}  # by target, all that were ever made, innermost first
_IN_FORCE: set[Any] = set()  # the changes, and the patches, that are


class Change(ABC):
    """A part of a patch that can be made and taken back."""

    @abstractmethod
    def make(self) -> None:
        """Make it; it is not in force."""

    @abstractmethod
    def take_back(self) -> None:
        """Take it back; it is in force."""


@dataclass(frozen=True, eq=False)
class Attribute(Change):
    """One attribute, ``module:name`` or ``module:Class.name``, that a patch sets."""

    target: str

    @abstractmethod
    def over(self, present: Any) -> Any:
        """What the attribute becomes, given what it is (``None`` if it is not there)."""

    @property
    def original(self) -> Any:
        """The attribute without any patch; ``None`` if its owner has none of its own."""
        owner, name = self._place()
        found = _ORIGINALS.get(self.target, vars(owner).get(name))
        return None if found is _ABSENT else found

    def make(self) -> None:
        changes = _CHANGES.setdefault(self.target, [])
        if not changes:
            owner, name = self._place()
            _ORIGINALS[self.target] = vars(owner).get(name, _ABSENT)
        if self not in changes:  # one that was taken back returns to where it stood
            changes.append(self)
        _IN_FORCE.add(self)
        self._set()

    def take_back(self) -> None:
        _IN_FORCE.discard(self)
        self._set()

    def _place(self) -> tuple[Any, str]:
        """The module or class that holds the attribute, and its name."""
        module, _, path = self.target.partition(":")
        *owners, name = path.split(".")
        return functools.reduce(getattr, owners, import_module(module)), name

    def _set(self) -> None:
        """Set the attribute to its original with the changes in force over it."""
        owner, name = self._place()
        if _ORIGINALS[self.target] is not _ABSENT:
            setattr(owner, name, _ORIGINALS[self.target])
        elif name in vars(owner):
            delattr(owner, name)
        for change in _CHANGES[self.target]:
            if change in _IN_FORCE:
                setattr(owner, name, change.over(getattr(owner, name, None)))


@dataclass(frozen=True, eq=False)
class Wrap(Attribute):
    """Call ``function`` in place of a function of RecBole's, which it is given as its first argument."""

    function: Callable[..., Any]

    def over(self, present: Any) -> Any:
        @functools.wraps(present, updated=())  # a class may be wrapped too
        def wrapped(*args: Any, **kwargs: Any) -> Any:
            return self.function(present, *args, **kwargs)

        return wrapped


@dataclass(frozen=True, eq=False)
class Replace(Attribute):
    """Set an attribute to ``value``."""

    value: Any

    def over(self, present: Any) -> Any:
        return self.value


def always() -> bool:
    """True: the fault is in RecBole itself, whatever else is installed."""
    return True


@dataclass(frozen=True, eq=False)
class Patch:
    """A fault of RecBole, and the changes that take it away.

    Attributes:
        name: an identifier; ``tests/plugin/patches`` holds a ``test_<name>`` that shows the fault without the patch.
        fault: what breaks.
        cure: what holds with the patch.
        since: the release, of RecBole or of a library, that breaks.
        changes: in order. Changes of one attribute stand over each other in the order in which they were made.
        needed: whether the fault is there with the libraries that are installed.
        issue: its number among RecBole's issues on GitHub, where one is known.
        source: where the fault stands, ``module`` or ``module:Class.name`` of RecBole, if not in what the changes set.
    """

    name: str
    fault: str
    cure: str
    since: str
    changes: tuple[Change, ...]
    needed: Callable[[], bool] = always
    issue: int | None = None
    source: tuple[str, ...] = ()

    def __str__(self) -> str:
        remarks = [] if self.since.startswith("RecBole") else [self.since]
        remarks += [] if self.issue is None else [f"issue {self.issue}"]
        remarks += [] if self.in_force or self.needed() else ["not needed here"]
        return f"{self.fault}: {self.cure}" + (f" ({', '.join(remarks)})" if remarks else "")

    @property
    def in_force(self) -> bool:
        """Whether it is applied."""
        return self in _IN_FORCE

    def apply(self) -> None:
        """Make the changes, where they are needed; a second call does nothing."""
        if self.in_force or not self.needed():
            return
        _IN_FORCE.add(self)
        for change in self.changes:
            change.make()

    def undo(self) -> None:
        """Take the changes back, and leave those of other patches."""
        if self.in_force:
            _IN_FORCE.discard(self)
            for change in reversed(self.changes):
                change.take_back()

    @contextlib.contextmanager
    def off(self) -> Iterator[None]:
        """A context without the patch."""
        self.undo()
        try:
            yield
        finally:
            self.apply()
