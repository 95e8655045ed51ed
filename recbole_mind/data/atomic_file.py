"""RecBole's atomic files, ``.inter``, ``.item`` and their like, as text: every character stands for itself.

A file has a line of ``name:type`` columns and then a line for each row, whose cells are what stands between two
separators: there is no quoting and no escape. Lines end in LF or CRLF; empty ones count for nothing. A fault is told by
file and line, with what helps, and never with the file's bytes.
"""

from __future__ import annotations

import codecs
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd

from recbole_mind.data import times
from recbole_mind.errors import InputError, nearest, require
from recbole_mind.util.files import open_regular

KINDS = ("token", "token_seq", "float", "float_seq")
# What RecBole takes for a missing value, since pandas does; see its read_csv, na_values.
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"]
) | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}
ROWS = 2**16  # that are held as text at once

_HEAD = 2**24  # bytes that the first line stays below
_SEPARATORS = {"\t": "tabs", ",": "commas", ";": "semicolons", "|": "bars", " ": "spaces", "::": "'::'"}
_MARKS = [  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
]


@dataclass(frozen=True)
class Format:
    """How the files of a data set are written.

    Attributes:
        separator: between the cells of a line (``field_separator``).
        sequence: between the values of a cell (``seq_separator``).
        encoding: a codec of Python.
    """

    separator: str = "\t"
    sequence: str = " "
    encoding: str = "utf-8"

    @classmethod
    def of(cls, config: Any) -> Format:
        """What RecBole's settings say.

        Raises:
            InputError: a separator is empty, or the encoding unknown.
        """
        found = {}
        for key in ("field_separator", "seq_separator"):
            value = config[key]
            good = isinstance(value, str) and bool(value) and "\n" not in value
            require(good, f"{key}: {value!r} is not allowed; allowed: one character or more, such as ','")
            found[key] = "\t" if value == "\\t" else value  # what a shell hands over
        return cls(found["field_separator"], found["seq_separator"], encoding_of(config["encoding"]))

    @property
    def plain(self) -> bool:
        """Whether a file can be cut into lines and cells before it is decoded: UTF-8, with an ASCII separator."""
        return self.encoding == "utf-8" and len(self.separator) == 1 and self.separator.isascii()


@dataclass(frozen=True)
class Column:
    """A column of a file: its place, its field's name and its type, one of :data:`KINDS`."""

    place: int
    field: str
    kind: str


@dataclass(frozen=True)
class Clock:
    """Which column of interactions is their time; rows without a user or an item, which are left out, need none."""

    time: str
    user: str
    item: str


def encoding_of(value: object) -> str:
    """The codec that ``encoding`` names, as Python calls it; UTF-8 where it names none.

    Raises:
        InputError: there is no such codec of text.
    """
    if value is None or (isinstance(value, str) and value.lower() == "none"):
        return "utf-8"
    allowed = "allowed: utf-8, utf-16, latin-1, gbk, or another text encoding that Python knows"
    try:
        found = codecs.lookup(value if isinstance(value, str) else "")
        "".encode(found.name)
    except (LookupError, ValueError):
        raise InputError(f"encoding: {value!r} is unknown; {allowed}") from None
    return "utf-8" if found.name == "utf-8-sig" else found.name


# -- lines ---------------------------------------------------------------------------------------------------------


def lines(path: str | Path, encoding: str) -> Iterator[tuple[int, str]]:
    """The lines of a text that are not empty, each with its number, from 1, and without its end.

    Raises:
        InputError: the file cannot be read, or not in ``encoding``.
    """
    _check_mark(path, encoding)
    try:
        with open(path, encoding="utf-8-sig" if encoding == "utf-8" else encoding, newline="\n") as file:
            for number, line in enumerate(file, 1):
                text = line.removesuffix("\n").removesuffix("\r")
                if "\0" in text:
                    raise InputError(
                        f"'{path}', line {number}: it holds NUL characters, which text in {encoding} does not; "
                        "--encoding names the file's own, such as utf-16-le"
                    )
                if text:
                    yield number, text.removeprefix("\ufeff") if number == 1 else text
    except UnicodeError:
        raise InputError(
            f"'{path}', line {_undecodable(path, encoding)}: it is not {encoding} text; --encoding names the file's "
            "own, such as latin-1 or gbk"
        ) from None
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from None


def _check_mark(path: str | Path, encoding: str) -> None:
    """Refuse a file whose byte order mark is another encoding's, or whose first line has no end."""
    try:
        with open_regular(path) as file:
            start = file.readline(_HEAD)
    except OSError as error:
        raise InputError(f"'{path}' cannot be read: {error.strerror}") from None
    require(len(start) < _HEAD, f"'{path}', line 1: it is longer than {_HEAD:,} bytes; it names the columns")
    found = next((name for mark, name in _MARKS if start.startswith(mark)), None)
    if found is not None and not encoding.startswith(found):
        raise InputError(f"'{path}', line 1: it is {found} text, not {encoding}; --encoding={found} reads it")


def _undecodable(path: str | Path, encoding: str) -> int:
    """The number of the line that cannot be decoded."""
    decoder, number = codecs.getincrementaldecoder(encoding)(), 1
    with open(path, "rb") as file:
        block = True
        while block:
            data = file.read(2**16)
            block = bool(data)
            try:
                number += decoder.decode(data, final=not block).count("\n")
            except UnicodeDecodeError as error:
                good = error.object[: error.start]
                return number + good.decode(encoding, "ignore").count("\n")
    return number


# -- columns -------------------------------------------------------------------------------------------------------


def columns(path: str | Path, form: Format) -> list[Column]:
    """The columns that the first line of a file names.

    Raises:
        InputError: the file cannot be read or is empty, or a column is not ``name:type``, or stands twice.
    """
    number, head = next(lines(path, form.encoding), (0, ""))
    empty = f"'{path}' is empty" if number == 0 else f"'{path}', line 1: it is empty"
    require(number == 1, f"{empty}; the first line names the columns, such as user_id:token and item_id:token")
    where, found = f"'{path}', line 1", list[Column]()
    for place, heading in enumerate(head.split(form.separator)):
        field, colon, kind = heading.partition(":")
        if not (field and kind in KINDS):
            _refuse_heading(where, head, heading, kind if colon else None, form)
        require(field not in {column.field for column in found}, f"{where}: column '{field}' stands twice")
        found.append(Column(place, field, kind))
    return found


def _refuse_heading(where: str, head: str, heading: str, kind: str | None, form: Format) -> NoReturn:
    """Say what is wrong with a heading, most often that another character separates the columns."""
    shown = repr(heading if len(heading) <= 60 else f"{heading[:60]}…")
    if form.separator not in head:
        typed = [mark for mark in _SEPARATORS if mark in head and all(_typed(cell) for cell in head.split(mark))]
        mark = next(iter([*typed, *(mark for mark in _SEPARATORS if mark in head)]), None)
        if mark is not None:
            remedy = "leave field_separator out" if mark == "\t" else f"--field_separator='{mark}'"
            untyped = "" if typed else f"; and each column is name:type, with a type of {', '.join(KINDS)}"
            usual = _SEPARATORS.get(form.separator, repr(form.separator))
            raise InputError(
                f"{where}: {_SEPARATORS[mark]} separate its columns, not {usual}; {remedy} reads it{untyped}"
            )
    hint = "" if kind is None else nearest(kind, KINDS)
    quotes = "; there is no quoting" if '"' in heading else ""
    raise InputError(
        f"{where}: column {shown} is not name:type{hint}; allowed types: {', '.join(KINDS)}, as in user_id:token"
        f"{quotes}"
    )


def _typed(heading: str) -> bool:
    return heading.partition(":")[2].strip() in KINDS


# -- rows ----------------------------------------------------------------------------------------------------------


def rows(path: str | Path, form: Format) -> Iterator[tuple[int, list[str]]]:
    """The rows of a file, each with the number of its line, as many cells as there are columns.

    Raises:
        InputError: the file cannot be read, or a row has another number of cells.
    """
    found = columns(path, form)
    content = lines(path, form.encoding)
    next(content)
    for number, line in content:
        cells = line.split(form.separator)
        if len(cells) != len(found):
            between = _SEPARATORS.get(form.separator, repr(form.separator))
            raise InputError(
                f"'{path}', line {number}: it has {len(cells)} fields, and the first line names {len(found)}; "
                f"{between} separate them, and there is no quoting"
            )
        yield number, cells


def read(path: str | Path, form: Format, chosen: Sequence[Column], clock: Clock | None = None) -> pd.DataFrame:
    """Columns of a file as RecBole keeps them while it reads.

    Args:
        path: the file.
        form: how it is written.
        chosen: which of its columns.
        clock: which of them is the time by which the rows are ordered: a number, or ISO 8601, as seconds since 1970.

    Returns:
        text, or NaN where it is missing, for ``token``; float64 for ``float`` and the time; an array for each row of
        ``token_seq`` and ``float_seq``.

    Raises:
        InputError: the file cannot be read, has no row, or holds what is no number or no time.
    """
    parts: list[list[Any]] = [[] for _ in chosen]
    for part in chunks(path, form, chosen, clock):
        for values, more in zip(parts, part, strict=True):
            values.append(more)
    frame: dict[str, Any] = {}
    for column, values in zip(chosen, parts, strict=True):
        whole: Any = np.concatenate(values)
        frame[column.field] = pd.Series(list(whole) if column.kind.endswith("_seq") else whole, dtype=whole.dtype)
    return pd.DataFrame(frame)


def chunks(path: str | Path, form: Format, chosen: Sequence[Column], clock: Clock | None = None) -> Iterator[list[Any]]:
    """The columns of :func:`read`, for some rows at a time."""
    content = rows(path, form)
    reader = times.Reader()
    fields = {column.field: place for place, column in enumerate(chosen)}
    part = list(islice(content, ROWS))
    require(bool(part), f"'{path}' holds no row below its first line")
    while part:
        numbers = [number for number, _ in part]
        cells = [[row[column.place] for _, row in part] for column in chosen]
        needed = np.ones(len(part), bool)
        if clock is not None:
            for key in (clock.user, clock.item):
                needed &= [cell not in MISSING for cell in cells[fields[key]]] if key in fields else True
        found = []
        for column, texts in zip(chosen, cells, strict=True):
            try:
                if clock is not None and column.field == clock.time:
                    found.append(reader.read(texts, needed))
                else:
                    found.append(_values(texts, column.kind, form.sequence))
            except times.WrongCellError as error:
                raise InputError(f"'{path}', line {numbers[error.place]}: {error.said(column.field)}") from None
        yield found
        part = list(islice(content, ROWS))


def _values(texts: list[str], kind: str, separator: str) -> Any:
    """The values of a column's cells ``[n]``.

    Raises:
        times.WrongCellError: one is no number.
    """
    if kind == "token":
        return np.array([np.nan if text in MISSING else text for text in texts], object)
    if kind == "float":
        return times.numbers(texts, MISSING)
    result: Any = np.empty(len(texts), object)
    for place, text in enumerate(texts):
        values = [] if text in MISSING else [value for value in text.split(separator) if value]
        if kind == "token_seq":
            result[place] = np.array(values)
            continue
        try:
            result[place] = times.numbers(values, frozenset())
        except times.WrongCellError as error:
            raise times.WrongCellError(place, values[error.place], "number") from None
    return result
