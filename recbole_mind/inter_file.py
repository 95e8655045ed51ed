"""RecBole's atomic ``.inter`` files, read a block at a time: numbers for tokens, without a Python object for each.

What is read is what pandas reads for RecBole, to the bit. Files with quotes or ragged lines are left to pandas.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from recbole_mind.splits import Ints

BLOCK = 2**21  # bytes
LONGEST = 64  # bytes of a token
# What pandas takes for a missing value; see its read_csv, na_values.
MISSING = frozenset(
    ["", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN", "<NA>"]
) | {"N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null"}

Words = list[npt.NDArray[np.uint64]]  # eight bytes of each token, then its next eight, ..., zero where it has ended
_MISSING_WORDS = np.array([int.from_bytes(token.encode(), "little") for token in MISSING], np.uint64)


class UnusualFileError(ValueError):
    """A file that only pandas can read."""


@dataclass(frozen=True)
class Column:
    """A column of a file: its place, its field's name and its type, such as ``token`` or ``float``."""

    place: int
    field: str
    kind: str


def columns(path: str | Path, separator: str, encoding: str | None) -> list[Column]:
    """The columns of a file, as RecBole reads its first line.

    Raises:
        ValueError: a heading is not ``name:type``.
    """
    with open(path, encoding=encoding) as file:
        head = file.readline()[:-1]
    found = []
    for place, heading in enumerate(head.split(separator)):
        field, kind = heading.split(":", 1)
        found.append(Column(place, field, kind))
    return found


class _Numbers:
    """Numbers for 64-bit keys, from 0, in the order in which they first occur: a sorted table."""

    def __init__(self, keys: Any = (), numbers: Any = ()) -> None:
        self.keys, self.numbers = np.array(keys, np.uint64), np.array(numbers, np.int32)

    def __len__(self) -> int:
        return len(self.keys)

    def number(self, keys: npt.NDArray[np.uint64]) -> tuple[npt.NDArray[np.int32], Ints]:
        """The numbers of ``keys`` [n], and where those that are new first stand."""
        local, found = pd.factorize(keys)
        order = np.argsort(found)
        ascending = found[order]
        places = np.searchsorted(self.keys, ascending)
        known = np.zeros(len(found), bool)
        inside = places < len(self)
        known[inside] = self.keys[places[inside]] == ascending[inside]
        numbers: npt.NDArray[np.int32] = np.empty(len(found), np.int32)
        numbers[order[known]] = self.numbers[places[known]]
        fresh = np.ones(len(found), bool)
        fresh[order[known]] = False
        numbers[fresh] = np.arange(len(self), len(self) + int(fresh.sum()))
        self.numbers = np.insert(self.numbers, places[~known], numbers[order[~known]])
        self.keys = np.insert(self.keys, places[~known], ascending[~known])
        first = np.empty(len(found), np.int64)
        first[local[::-1]] = np.arange(len(local) - 1, -1, -1)  # the last that is written is the first that occurs
        return numbers[local], first[fresh]


class Tokens:
    """Numbers for tokens, from 0, in the order in which they first occur; each is kept as its eight-byte words."""

    def __init__(self) -> None:
        self._first = _Numbers()
        self._more: list[tuple[_Numbers, _Numbers]] = []  # of each further word, and of what precedes it with it
        self._texts: list[npt.NDArray[np.uint64]] = []

    def __len__(self) -> int:
        return len(self._more[-1][1] if self._more else self._first)

    def number(self, words: Words) -> npt.NDArray[np.int32]:
        """The numbers of tokens ``[n]``, -1 for a missing one."""
        absent = missing(words)
        if absent.any():
            result: npt.NDArray[np.int32] = np.full(len(absent), -1, np.int32)
            result[~absent] = self.number([word[~absent] for word in words])
            return result
        while len(words) > 1 + len(self._more):  # so far, this word was empty, and its number is 0
            self._more.append((_Numbers([0], [0]), _Numbers(np.arange(len(self)) * 2**32, np.arange(len(self)))))
        numbers, fresh = self._first.number(words[0])
        for place, (table, pairs) in enumerate(self._more, 1):
            more = table.number(words[place])[0].astype(np.uint64) if place < len(words) else np.uint64(0)
            numbers, fresh = pairs.number(numbers.astype(np.uint64) * np.uint64(2**32) + more)
        self._texts.append(np.stack([word[fresh] for word in words], axis=1))
        return numbers

    def texts(self) -> Iterator[str]:
        """All tokens, by number.

        Raises:
            UnicodeDecodeError: one is not UTF-8.
        """
        for part in self._texts:
            if len(part):
                for token in part.astype("<u8").view(f"S{8 * part.shape[1]}").ravel().tolist():
                    yield token.decode()


def missing(words: Words) -> npt.NDArray[np.bool_]:
    """Which tokens ``[n]`` are what pandas takes for a missing value."""
    result: npt.NDArray[np.bool_] = np.isin(words[0], _MISSING_WORDS)
    for word in words[1:]:
        result &= word == 0
    return result


def blocks(
    path: str | Path,
    chosen: Sequence[Column],
    width: int,
    separator: str,
    size: int = BLOCK,
    look: Callable[[bytes], None] | None = None,
) -> Iterator[tuple[dict[str, Words], dict[str, npt.NDArray[np.float64]]]]:
    """Columns of a file, a block of whole lines at a time: tokens and floats.

    Args:
        path: an ``.inter`` file in UTF-8.
        chosen: which columns.
        width: how many there are.
        separator: one character.
        size: bytes of a block, about.
        look: shown all that is read.

    Raises:
        UnusualFileError: there are quotes, lines of another width, or something that is no number.
    """
    with open(path, "rb") as file:
        look = look or (lambda _: None)
        look(file.readline())
        rest = b""
        while (block := file.read(size)) or rest:
            look(block)
            whole, newline, rest = (rest + block).rpartition(b"\n") if block else (rest.rstrip(b"\r"), b"\n", b"")
            lines = (whole + newline).replace(b"\r\n", b"\n")
            if not rest and not file.peek(1):
                lines = lines.rstrip(b"\n") + b"\n"  # pandas overlooks empty lines
            if lines.strip(b"\n"):
                yield _parse(lines, chosen, width, separator.encode())


def _parse(
    lines: bytes, chosen: Sequence[Column], width: int, separator: bytes
) -> tuple[dict[str, Words], dict[str, npt.NDArray[np.float64]]]:
    if any(odd in lines for odd in (b'"', b"\r", b"\0")):
        raise UnusualFileError("it holds quotes")
    text = np.frombuffer(lines + bytes(LONGEST), np.uint8)
    ends = np.flatnonzero((text == separator[0]) | (text == ord("\n"))).astype(np.int32)
    if len(ends) % width or (text[ends] == ord("\n")).sum() * width != len(ends):
        raise UnusualFileError("its lines are not of one width")
    if (text[ends[width - 1 :: width]] != ord("\n")).any():
        raise UnusualFileError("its lines are not of one width")
    starts = np.concatenate([np.zeros(1, np.int32), ends[:-1] + 1])
    eights: npt.NDArray[np.uint64] = np.ndarray(
        (len(text) - 7,), "<u8", text, strides=(1,)
    )  # the eight bytes from each place on
    masks = np.array([2 ** (8 * count) - 1 for count in range(9)], np.uint64)
    tokens = {}
    for column in chosen:
        if column.kind == "token":
            start = starts[column.place :: width]
            length = ends[column.place :: width] - start
            longest = int(length.max())
            if longest > LONGEST:
                raise UnusualFileError(f"it holds a token of more than {LONGEST} bytes")
            tokens[column.field] = [
                eights[np.minimum(start + done, len(eights) - 1)] & masks[np.clip(length - done, 0, 8)]
                for done in range(0, max(longest, 1), 8)
            ]
    floats = {column.place: column.field for column in chosen if column.kind == "float"}
    if not floats:
        return tokens, {}
    try:
        frame = pd.read_csv(
            io.BytesIO(lines),
            sep=separator.decode(),
            header=None,
            usecols=list(floats),
            dtype=np.float64,
            engine="c",
            low_memory=False,
        )
    except ValueError as error:
        raise UnusualFileError(str(error)) from None
    return tokens, {field: frame[place].to_numpy() for place, field in floats.items()}


def read(path: str | Path, chosen: Sequence[Column], width: int, separator: str, size: int = BLOCK) -> pd.DataFrame:
    """Columns of a whole file: categories, in the order in which they first occur, and float64.

    Raises:
        UnusualFileError: see :func:`blocks`.
    """
    tokens = {column.field: Tokens() for column in chosen if column.kind == "token"}
    parts: dict[str, list[Any]] = {column.field: [] for column in chosen}
    for words, floats in blocks(path, chosen, width, separator, size):
        for field, numbered in tokens.items():
            parts[field].append(numbered.number(words.pop(field)))
        for field in floats:
            parts[field].append(floats[field])
    frame: dict[str, Any] = {}
    for field in list(parts):
        values: Any = np.concatenate(parts.pop(field) or [np.zeros(0, np.int32 if field in tokens else np.float64)])
        if field in tokens:
            names = pd.Index(list(tokens.pop(field).texts()), dtype=object)
            values = pd.Categorical.from_codes(values, categories=names, validate=False)
        frame[field] = values
    return pd.DataFrame(frame, copy=False)
