"""What RecBole's own code raises over a setting or the data, in one line of plain words.

RecBole checks little before it trains: what a model cannot do with its settings ends in whatever Python or torch say
where it breaks. Such an error is the user's to mend, and so an :class:`~recbole_mind.errors.InputError`; its traceback
goes to the run's log. An error in this package's code is a fault of ours and passes as it is.
"""

from __future__ import annotations

import ast
import contextlib
import logging
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

from recbole_mind.errors import InputError, InterruptedRun, without_places

# Ours that only hold fields: where RecBole's model asks them for one that is not there, the model is at fault.
_CONTAINERS = ("recbole_mind.data.interaction", "recbole_mind.data.history_store")
NO_MEMORY = ("out of memory", "can't allocate memory", "cannot allocate memory")  # what torch says
_LONGEST = 300  # characters of an error's own words


@contextlib.contextmanager
def in_words(what: str) -> Iterator[None]:
    """A context in which errors that RecBole's code raises become :class:`InputError`.

    Args:
        what: what could not be done, the first half of the line, such as ``"model: 'BPR' cannot be trained on 'a'"``.
    """
    try:
        yield
    except (InputError, InterruptedRun):
        raise
    except Exception as error:
        place = place_of(error)
        if place is None and not isinstance(error, OSError):  # a file that cannot be opened is not a fault of ours
            raise
        logging.getLogger().info(what, exc_info=error)
        where = "" if place is None else f" ({place})"
        raise InputError(f"{what}: {words(error)}{where}") from error


def place_of(error: BaseException) -> str | None:
    """Where in RecBole's code ``error`` arose, there or in a library that it calls; ``None`` if it arose in ours."""
    last, line = "", 0
    for frame, number in traceback.walk_tb(_traceback(error)):
        name = str(frame.f_globals.get("__name__", ""))
        if name.partition(".")[0] not in ("recbole", "recbole_mind"):
            continue
        if isinstance(error, KeyError) and name in _CONTAINERS:
            continue
        last, line = name, number
    if not last.startswith("recbole."):
        return None
    return f"RecBole's {last}, line {line}"


def words(error: BaseException) -> str:
    """What ``error`` says, in one line without Python's names of errors."""
    text = " ".join(str(error.args[0] if isinstance(error, KeyError) and error.args else error).split())
    text = without_places(re.sub(r"\b[A-Z]\w*(Error|Exception)\b(: ?)?", "", text))
    number = re.match(
        r"(?:not enough|too many) values to unpack \(expected (?:at least )?(\d+)(?:, got (\d+))?\)", text
    )
    if number:
        text = f"{number[1]} values are expected, and {number[2] or 'more'} are there"
    if isinstance(error, MemoryError) or any(said in text.lower() for said in NO_MEMORY):
        return f"out of memory: {text}"
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} ..."
    if isinstance(error, KeyError):
        return f"it asks for '{text}', which is not there"
    if isinstance(error, AssertionError):
        return text or f"it requires {_asserted(error)}"
    if isinstance(error, ImportError):
        return text if error.name is None else f"the library '{error.name}' is not installed"
    if isinstance(error, OSError) and error.filename == "":
        return "it opens a file that no setting names"
    if isinstance(error, OSError) and error.filename is not None:
        return f"'{error.filename}' cannot be opened: {error.strerror}"
    for kind, said in _SAID:
        if isinstance(error, kind):
            return f"{said}: {text}" if text else said
    return text or ("it is not implemented" if isinstance(error, NotImplementedError) else "it says no reason")


_SAID: tuple[tuple[type[BaseException], str], ...] = (
    (IndexError, "something is asked for beyond the end"),
    (AttributeError, "something that it needs is not there"),
    (TypeError, "a value is of another kind than it takes"),
    (ZeroDivisionError, "it divides by zero"),
)


def _asserted(error: AssertionError) -> str:
    """The condition of the ``assert`` that failed, as it stands in the source."""
    *_, last = traceback.walk_tb(_traceback(error))
    tree = ast.parse(Path(last[0].f_code.co_filename).read_text("utf-8"))
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Assert)]
    around = [node.test for node in found if node.lineno <= last[1] <= (node.end_lineno or node.lineno)]
    return ast.unparse(around[0]) if around else "a condition that does not hold"


def _traceback(error: BaseException) -> TracebackType:
    if error.__traceback__ is None:
        raise ValueError("the error was not raised")
    return error.__traceback__
