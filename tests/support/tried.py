"""What a bundle might do to who opens it; called by name in a process of its own, which imports little."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from recbole_mind.errors import InputError


def crash(folder):
    ctypes.string_at(0)


def forever(folder):
    (Path(folder).parent / "pid").write_text(str(os.getpid()))
    while True:
        pass


def hungry(folder):
    return len(bytearray(2**34))


def loud(folder, word):
    print("noise")
    os.write(1, b"more noise")
    return [Path(folder).name, word]


def wrong(folder):
    raise KeyError("x")


def refuse(folder):
    raise InputError("no")


def fill(folder):
    (Path(folder).parent / "full").write_bytes(bytes(2**21))
