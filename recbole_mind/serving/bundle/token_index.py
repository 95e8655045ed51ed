"""Raw tokens of items, users and features: which row has which, and back, without a table in memory.

The text of all tokens stands in one file. Sorted 64-bit hashes find the one row that a token can be in, and its text
decides. All files are mapped, so that ten million tokens open at once and cost little memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, require
from recbole_mind.retrieval.types import Ints
from recbole_mind.util.arrays import open_array, save_array

BLOCK = 2**16  # tokens hashed at once
FEW, SHORT = 2, 64  # so few tokens of so many characters are found one by one: numpy takes ten times as long for one
_START, _TRIES = 0x9E3779B97F4A7C15, 8
_MIX, _WORD = 0xD6E8FEB86659FD93, 2**64 - 1
Bytes = npt.NDArray[np.uint8]
Words = npt.NDArray[np.uint64]


class TokenIndex:
    """N different tokens by their row.

    Args:
        text: the tokens' UTF-8, each ended by a newline.
        ends: ``[N]`` where each token's newline stands.
        hashes: ``[N]``, ascending.
        rows: ``[N]`` the row of each hash.
        multiplier: of the hash.
    """

    def __init__(self, text: Bytes, ends: Ints, hashes: Words, rows: npt.NDArray[np.int32], multiplier: int) -> None:
        self._text, self._ends, self._hashes, self._rows, self._multiplier = text, ends, hashes, rows, multiplier

    def __len__(self) -> int:
        return len(self._ends)

    @classmethod
    def of(cls, tokens: Sequence[str]) -> TokenIndex:
        """Take in the tokens of rows 0, 1, 2, ...

        Raises:
            InputError: one is empty, holds a newline, or stands there twice.
        """
        require(len(tokens) < 2**31, f"tokens: {len(tokens)} are too many; allowed: below 2**31")
        for token in tokens:
            require(bool(token) and "\n" not in token, f"token {token!r} is empty or holds a newline")
        text, ends = _joined(tokens)
        multiplier = _START
        for _ in range(_TRIES):
            parts = [_hashed(*_part(text, ends, at, at + BLOCK), multiplier) for at in range(0, len(ends), BLOCK)]
            hashes = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
            rows = np.argsort(hashes, kind="stable").astype(np.int32)
            hashes = hashes[rows]
            same = np.flatnonzero(hashes[1:] == hashes[:-1])
            if not len(same):
                return cls(text, ends, hashes, rows, multiplier)
            for at in same[:BLOCK]:
                one, other = tokens[rows[at]], tokens[rows[at + 1]]
                require(one != other, f"token {one!r} stands for two rows, {rows[at]} and {rows[at + 1]}")
            multiplier = (multiplier * 0xD1342543DE82EF95 + 2) % 2**64
        raise InputError("tokens: no hash tells them apart")

    def save(self, folder: Path, name: str) -> None:
        """Write the files ``<name>.*.npy`` into ``folder``."""
        for part, array in (
            ("text", self._text),
            ("ends", self._ends),
            ("hashes", self._hashes),
            ("rows", self._rows),
            ("multiplier", np.array([self._multiplier], np.uint64)),
        ):
            save_array(folder / f"{name}.{part}.npy", array)

    @classmethod
    def open(cls, folder: Path, name: str, number: int) -> TokenIndex:
        """Open what :meth:`save` wrote of ``number`` tokens.

        Raises:
            InputError: a file is missing, or holds something else.
        """
        text, ends, hashes, rows, multiplier = (
            open_array(folder / f"{name}.{part}.npy", dtype, (size,))
            for part, dtype, size in (
                ("text", np.uint8, None),
                ("ends", np.int64, number),
                ("hashes", np.uint64, number),
                ("rows", np.int32, number),
                ("multiplier", np.uint64, 1),
            )
        )
        good = not number or (ends[0] > 0 and ends[-1] + 1 == len(text) and bool((np.diff(ends) > 1).all()))
        good = good and (not number or (rows.min() >= 0 and rows.max() < number)) and bool((np.diff(hashes) > 0).all())
        require(good and _is_text(text, ends), f"'{name}.*.npy' do not hold the tokens of {number} rows in UTF-8")
        return cls(text, ends, hashes, rows, int(multiplier[0]))

    def ids(self, tokens: Sequence[str]) -> Ints:
        """The row of each token, ``[M]``; -1 for one that is unknown."""
        if 0 < len(tokens) <= FEW and len(self) and all(isinstance(t, str) and len(t) <= SHORT for t in tokens):
            return np.array([self._found_one(token) for token in tokens])
        result = np.full(len(tokens), -1)
        for start in range(0, len(tokens) if len(self) else 0, BLOCK):
            text, ends = _joined(tokens[start : start + BLOCK])
            result[start : start + BLOCK] = self._found(text, ends)
        return result

    def _found_one(self, token: str) -> int:
        """The row of one token, in plain Python: what :meth:`_found` does, and :func:`_hashed`."""
        text = token.encode("utf-8", "surrogatepass") + b"\n"
        total, power, odd = 0, 1, self._multiplier | 1
        for byte in text:
            total += (byte + 1) * power
            power = power * odd & _WORD
        total &= _WORD
        total = (total ^ total >> 32) * _MIX & _WORD
        total ^= total >> 32
        place = int(np.searchsorted(self._hashes, np.uint64(total)))
        if place == len(self) or int(self._hashes[place]) != total:
            return -1
        row = int(self._rows[place])
        start = int(self._ends[row - 1]) + 1 if row else 0
        return row if self._text[start : int(self._ends[row]) + 1].tobytes() == text else -1

    def _found(self, text: Bytes, ends: Ints) -> Ints:
        """The rows of joined tokens."""
        hashes = _hashed(text, ends, self._multiplier)
        place = np.minimum(np.searchsorted(self._hashes, hashes), len(self) - 1)
        rows = self._rows[place].astype(np.int64)
        starts, sizes = _starts(ends), np.diff(ends, prepend=-1)  # with the newline
        there = self._ends[rows] - np.where(rows > 0, self._ends[rows - 1], -1) == sizes
        there &= self._hashes[place] == hashes
        # the text of each, side by side
        chosen = np.flatnonzero(there)
        sizes = sizes[chosen]
        first = sizes.cumsum() - sizes
        within = np.arange(sizes.sum()) - np.repeat(first, sizes)
        mine = self._text[np.repeat(self._ends[rows[chosen]] + 1 - sizes, sizes) + within]
        same = mine == text[np.repeat(starts[chosen], sizes) + within]
        if len(chosen):
            there[chosen] = np.logical_and.reduceat(same, first)
        return np.where(there, rows, -1)

    def tokens(self, rows: Any) -> list[str]:
        """The tokens of ``rows`` [M]."""
        rows = np.asarray(rows, np.int64)
        if not len(rows):
            return []
        ends = self._ends[rows]
        sizes = ends - np.where(rows > 0, self._ends[rows - 1], -1)
        within = np.arange(sizes.sum()) - np.repeat(sizes.cumsum() - sizes, sizes)
        text: Bytes = self._text[np.repeat(ends + 1 - sizes, sizes) + within]
        return text.tobytes().decode().split("\n")[:-1]


def _joined(tokens: Sequence[str]) -> tuple[Bytes, Ints]:
    """The UTF-8 of tokens, each ended by a newline, and ``[M]`` where the newlines are.

    A token with a newline in it, which no row has, keeps its place: its end is its own.
    """
    try:
        whole = "\n".join((*tokens, ""))
        lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
        if whole.isascii():
            return np.frombuffer(whole.encode(), np.uint8), (lengths + 1).cumsum() - 1
        parts = list(map(str.encode, tokens, repeat("utf-8"), repeat("surrogatepass")))
    except TypeError:
        wrong = next((token for token in tokens if not isinstance(token, str)), None)
        raise InputError(f"token {wrong!r} is not allowed; allowed: text") from None
    lengths = np.fromiter(map(len, parts), np.int64, len(parts))
    return np.frombuffer(b"\n".join([*parts, b""]), np.uint8), (lengths + 1).cumsum() - 1


def _is_text(text: Bytes, ends: Ints) -> bool:
    """Whether joined tokens are UTF-8, and newlines stand at their ends and nowhere else."""
    if len(ends) and not bool((text[ends] == ord("\n")).all()):
        return False
    newlines = 0
    for start in range(0, len(ends), BLOCK):
        part, _ = _part(text, ends, start, start + BLOCK)
        newlines += int(np.count_nonzero(part == ord("\n")))
        try:
            part.tobytes().decode()
        except UnicodeDecodeError:
            return False
    return newlines == len(ends)


def _starts(ends: Ints) -> Ints:
    return np.concatenate([np.zeros(1, np.int64), ends[:-1] + 1])


def _part(text: Bytes, ends: Ints, start: int, stop: int) -> tuple[Bytes, Ints]:
    """Tokens ``start`` to ``stop`` of joined ones."""
    first = int(ends[start - 1]) + 1 if start else 0
    ends = ends[start:stop]
    return text[first : int(ends[-1]) + 1], ends - first


def _hashed(text: Bytes, ends: Ints, multiplier: int) -> Words:
    """Σ_i (byte_i + 1) m^i modulo 2^64 of each joined token, newline included; m is odd, and the bits are mixed."""
    starts = _starts(ends)
    sizes = np.diff(ends, prepend=-1)
    powers = np.cumprod(
        np.concatenate([np.ones(1, np.uint64), np.full(int(sizes.max()) - 1, multiplier | 1, np.uint64)])
    )
    within = np.arange(len(text)) - np.repeat(starts, sizes)
    sums: Words = np.add.reduceat((text.astype(np.uint64) + np.uint64(1)) * powers[within], starts)
    sums ^= sums >> np.uint64(32)
    sums *= np.uint64(_MIX)
    sums ^= sums >> np.uint64(32)
    return sums


def ids_of(tokens: TokenIndex, given: list[Any], name: str) -> Ints:
    """The row of each raw token ``given``, -1 where it is unknown; what is no token is refused under ``name``."""
    try:
        return tokens.ids(given)
    except InputError as error:
        raise InputError(f"{name}: {error}") from None
