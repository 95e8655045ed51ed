"""RecBole's atomic ``.inter`` files, read a block at a time: numbers for tokens, without a Python object for each.

What is read is what :mod:`recbole_mind.data.atomic_file` reads, to the bit, which also says what is wrong with a file.
"""

from __future__ import annotations

import csv
import functools
import io
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pandas as pd

from recbole_mind.data import atomic_file, times
from recbole_mind.data.atomic_file import MISSING, Clock, Column, Format
from recbole_mind.data.splits import Ints
from recbole_mind.errors import InputError

BLOCK = 2**21  # bytes
LONGEST = 64  # bytes of a token
DIGITS = 15  # of a whole number that float64 holds exactly
Words = list[npt.NDArray[np.uint64]]  # eight bytes of each token, then its next eight, ..., zero where it has ended
_MISSING_WORDS = np.array([int.from_bytes(token.encode(), "little") for token in MISSING], np.uint64)


class UnusualFileError(ValueError):
    """A file that is not cut into blocks: ``atomic_file`` reads it, or says what is wrong with it."""


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
    clock: Clock | None = None,
) -> Iterator[tuple[dict[str, Words], dict[str, npt.NDArray[np.float64]]]]:
    """Columns of a file, a block of whole lines at a time: tokens and floats.

    Args:
        path: an ``.inter`` file in UTF-8.
        chosen: which columns.
        width: how many there are.
        separator: one character of ASCII.
        size: bytes of a block, about.
        look: shown all that is read.
        clock: which of the columns is the time.

    Raises:
        UnusualFileError: there are NUL characters, lines of another width, long tokens, what is not UTF-8, or something
            that is no number or time.
    """
    reader = times.Reader()
    with open(path, "rb") as file:
        look = look or (lambda _: None)
        look(file.readline())
        rest = b""
        while (block := file.read(size)) or rest:
            look(block)
            whole, newline, rest = (rest + block).rpartition(b"\n") if block else (rest, b"\n", b"")
            lines = (whole + newline).replace(b"\r\n", b"\n")
            while b"\n\n" in lines:  # empty lines count for nothing
                lines = lines.replace(b"\n\n", b"\n")
            lines = lines.removeprefix(b"\n")
            if lines:
                yield _parse(lines, chosen, width, separator.encode(), reader, clock)


def _parse(
    lines: bytes, chosen: Sequence[Column], width: int, separator: bytes, reader: times.Reader, clock: Clock | None
) -> tuple[dict[str, Words], dict[str, npt.NDArray[np.float64]]]:
    if b"\0" in lines:
        raise UnusualFileError("it holds NUL characters")
    if not lines.isascii():
        try:
            lines.decode()
        except UnicodeDecodeError:
            raise UnusualFileError("it is not UTF-8 text") from None
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
        if column.kind == "token" and (clock is None or column.field != clock.time):
            start = starts[column.place :: width]
            length = ends[column.place :: width] - start
            longest = int(length.max())
            if longest > LONGEST:
                raise UnusualFileError(f"it holds a token of more than {LONGEST} bytes")
            tokens[column.field] = [
                eights[np.minimum(start + done, len(eights) - 1)] & masks[np.clip(length - done, 0, 8)]
                for done in range(0, max(longest, 1), 8)
            ]
    needed = np.ones(len(ends) // width, bool)
    if clock is not None:
        for field in {clock.user, clock.item} & set(tokens):
            needed &= ~missing(tokens[field])
    floats = {}
    for column in chosen:
        if column.field in tokens:
            continue
        start = starts[column.place :: width]
        whole = _whole(text, start, ends[column.place :: width] - start)
        if whole is not None and not reader.iso:
            reader.iso = False if clock is not None and column.field == clock.time else reader.iso
            floats[column.field] = whole
            continue
        try:
            if clock is not None and column.field == clock.time:
                floats[column.field] = _times(lines, column, separator, reader, needed)
            else:
                floats[column.field] = _floats(lines, column, separator)
        except ValueError as error:
            raise UnusualFileError(str(error)) from None
    return tokens, floats


def _whole(text: npt.NDArray[np.uint8], starts: Ints, lengths: Ints) -> npt.NDArray[np.float64] | None:
    """The numbers of cells ``[n]`` of nothing but digits, few enough to be exact; ``None`` if one is another."""
    longest = int(lengths.max())
    if longest > DIGITS or not lengths.all():
        return None
    values: npt.NDArray[np.int64] = np.zeros(len(starts), np.int64)
    for place in range(longest):
        inside = place < lengths
        digits = text[starts + place] - np.uint8(ord("0"))  # another character wraps to more than 9
        if (digits[inside] > 9).any():
            return None
        values = np.where(inside, 10 * values + digits, values)
    return values.astype(np.float64)


def _cells(lines: bytes, column: Column, separator: bytes, kind: Any, **more: Any) -> Any:
    """The cells of a column as pandas reads them where every character stands for itself."""
    frame = pd.read_csv(
        io.BytesIO(lines),
        sep=separator.decode(),
        header=None,
        usecols=[column.place],
        dtype=kind,
        engine="c",
        low_memory=False,
        quoting=csv.QUOTE_NONE,
        lineterminator="\n",
        **more,
    )
    return frame[column.place]


@functools.cache
def _precisely() -> dict[str, str]:
    """What has pandas read the nearest float64 of each number; from 3.1 on it does so by itself."""
    hard = [math.sqrt(n) * 10.0 ** (n - 20) for n in range(2, 40)]  # pandas 2 by itself misses seven
    found = pd.read_csv(io.StringIO("\n".join(map(repr, hard))), header=None, dtype=np.float64, engine="c")
    return {} if found[0].tolist() == hard else {"float_precision": "round_trip"}


def _floats(lines: bytes, column: Column, separator: bytes) -> npt.NDArray[np.float64]:
    """The numbers of a column, to the nearest float64, NaN where one is missing."""
    try:
        found: npt.NDArray[np.float64] = _cells(lines, column, separator, np.float64, **_precisely()).to_numpy()
    except ValueError:  # Python knows more spellings
        texts = _cells(lines, column, separator, str, keep_default_na=False)
        found = times.numbers(texts.fillna("").tolist(), MISSING)
    return found


def _times(
    lines: bytes, column: Column, separator: bytes, reader: times.Reader, needed: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float64]:
    """The times of a column: see :class:`recbole_mind.data.times.Reader`."""
    if not reader.iso:
        try:
            found = _floats(lines, column, separator)
        except ValueError:
            found = np.full(len(needed), np.nan)
        if (np.abs(found[needed]) < times.EXACT).all():
            reader.iso = False
            return found
    texts = _cells(lines, column, separator, str, keep_default_na=False)
    return reader.read(texts.fillna("").tolist(), needed)


def read(
    path: str | Path,
    chosen: Sequence[Column],
    width: int,
    separator: str,
    size: int = BLOCK,
    clock: Clock | None = None,
) -> pd.DataFrame:
    """Columns of a whole file: categories, in the order in which they first occur, and float64.

    Raises:
        UnusualFileError: see :func:`blocks`.
    """
    kinds = {column.field: column.kind == "token" and not (clock and column.field == clock.time) for column in chosen}
    tokens = {field: Tokens() for field, is_token in kinds.items() if is_token}
    parts: dict[str, list[Any]] = {field: [] for field in kinds}
    for words, floats in blocks(path, chosen, width, separator, size, clock=clock):
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


def refuse(path: str | Path, form: Format, chosen: Sequence[Column], clock: Clock | None, reason: str) -> NoReturn:
    """Say which line of a file is wrong, whatever its size; else ``reason``, why it is not cut into blocks.

    Raises:
        InputError: always.
    """
    for _ in atomic_file.chunks(path, form, chosen, clock):
        pass
    raise InputError(reason)
