"""The one exception that a user can cause, and the tools to word it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable

# where a library's C++ source lay when it was built, which its messages bring along: nobody here has that file
_BUILT = re.compile(r"(?: at)? ?(?:[\w.~+-]*/)+[\w.+-]+\.(?:c|cc|cpp|cu|cuh|h|hpp):\d+:?")


class InputError(ValueError):
    """Input that cannot be used: the message is one line that names the file, key or value and what is allowed.

    The command line prints the message and exits with status 2; every other exception is a fault of ours and keeps
    its traceback.
    """

    def __init__(self, message: object) -> None:
        super().__init__(" ".join(_BUILT.sub("", str(message)).split()))


class InterruptedRun(Exception):  # noqa: N818 - nothing went wrong
    """Training was stopped with Ctrl-C; the message says what is left on disk."""


def nearest(name: object, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the known name nearest to ``name``, or an empty string."""
    by_fold = {item.casefold(): item for item in map(str, known)}
    close = difflib.get_close_matches(str(name).casefold(), by_fold, n=1, cutoff=0.6)
    return f"; did you mean '{by_fold[close[0]]}'?" if close else ""


def without_places(text: str) -> str:
    """What a library says, without the places of its source on the machine where it was built."""
    return re.sub(r"\[?(enforce fail )?(at )?[\w./+-]*[\w-]\.(cc|cpp|cxx|cu|cuh|h|hpp)(:\d+)*\]?:? *", "", text).strip()


def require(condition: bool, message: str) -> None:
    """Raise :class:`InputError` with ``message`` unless ``condition`` holds."""
    if not condition:
        raise InputError(message)
