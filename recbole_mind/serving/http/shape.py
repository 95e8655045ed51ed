"""The shape of a JSON body, counted from its bytes before anything is made of them: a refusal costs what it weighs.

A parser makes an object of each value and pydantic an error of each wrong one, some hundred bytes of a client's two.
What is counted here is what stands outside of strings; NumPy does it without holding up other threads.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from recbole_mind.serving.http.refused import Refused

DEPTH = 8  # lists and objects within one another; a question has three
BARE = 4096  # bytes of numbers, true, false and null, but for lists of numbers
NUMBER = 24  # bytes of one in a list: a float64 has 17 digits, a sign, a point and an exponent
_BRACKETS = bytes(sorted(b"[]{}"))
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in _BRACKETS)
_STRUCTURE = b' \t\r\n",:' + _BRACKETS


class Shape(NamedTuple):
    """What a body may hold: ``keys`` of objects, ``containers`` (lists and objects), ``items`` in them, ``numbers``."""

    keys: int
    containers: int
    items: int
    numbers: int = 0

    def check(self, body: bytes) -> None:
        """Look at a body of JSON, or of something else, which a parser then finds out at the place where it stands.

        Raises:
            Refused: it has more of something.
        """
        text = _outside(body)
        brackets = text.translate(None, _NO_BRACKETS)
        if len(brackets) > DEPTH:
            # of opening brackets, 0x5b and 0x7b, closing ones lack it; so many that the rest is refused by its number
            steps = np.frombuffer(brackets[:4096], np.uint8) & 2
            if (steps.astype(np.int32) - 1).cumsum().max() > DEPTH:
                raise Refused(400, "json", "the body is nested too deeply")
        opened = brackets.count(b"[") + brackets.count(b"{")
        bare = len(text.translate(None, _STRUCTURE))
        for found, most, what in (
            (text.count(b":"), self.keys, "keys"),
            (opened, self.containers, "lists and objects"),
            (text.count(b",") + opened, self.items, "values"),
            (bare, BARE + NUMBER * self.numbers, "characters outside of strings"),
        ):
            if found > most:
                raise Refused(422, "invalid", f"the body has {found} {what}; at most {most} are allowed")


def _outside(body: bytes) -> bytes:
    """The bytes of a body that stand outside of its strings, whose closing quotes are kept."""
    if b"\\" in body:  # pairs first: the quote after an even number of backslashes ends a string
        body = body.replace(b"\\\\", b"__").replace(b'\\"', b"__")
    array = np.frombuffer(body, np.uint8)
    within = np.cumsum(array == ord('"'), dtype=np.uint8) & 1  # a sum modulo 256 keeps its parity
    return bytes(array[within == 0])
