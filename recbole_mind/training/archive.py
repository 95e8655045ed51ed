"""The zip archive that ``torch.save`` writes, judged before anything in it is opened.

A checkpoint is one pickle, ``data.pkl``, and a stored entry of bytes for each storage of tensors. What is compressed,
overlaps or claims more than the file has is refused, so that nothing grows when it is read; so are the older forms,
torch's before 1.6 and tar files, which are one pickle after the other.
"""

from __future__ import annotations

import os
import pickletools
import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from recbole_mind.util.files import open_regular

_ENTRY = re.compile(
    r"(?P<root>[^/]+)/(data\.pkl|byteorder|version|\.format_version|\.storage_alignment|\.data/serialization_id"
    r"|data/[0-9]+)"
)
_END, _LOCATOR = struct.Struct("<4s4H2LH"), struct.Struct("<4sLQL")  # of the archive, as APPNOTE 4.3 has them
OPERATIONS = 10_000_000  # of a pickle; RecBole's largest, of a knowledge graph's neighbours, are some hundred thousand
# What the pickles of protocol 2 and 4 consist of, which torch and RecBole write, and nothing else.
_ALLOWED = frozenset(
    (  # noqa: SIM905
        "PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE BININT BININT1 BININT2 LONG1 BINFLOAT BINUNICODE SHORT_BINUNICODE "
        "BINUNICODE8 BINBYTES SHORT_BINBYTES BINBYTES8 EMPTY_LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 "
        "TUPLE3 EMPTY_DICT SETITEM SETITEMS EMPTY_SET ADDITEMS FROZENSET BINPUT LONG_BINPUT MEMOIZE BINGET LONG_BINGET "
        "GLOBAL STACK_GLOBAL REDUCE BUILD NEWOBJ BINPERSID"
    ).split()
)


class BadArchiveError(Exception):
    """Why a file is no archive of ``torch.save``; the words go on after the file's name."""


class RefusedError(BadArchiveError):
    """A file asks for what no checkpoint needs."""


class Archive:
    """An open archive of ``torch.save``.

    Args:
        path: of the file.

    Raises:
        OSError: it cannot be opened.
        BadArchiveError: it is something else, or is damaged.
    """

    def __init__(self, path: str | Path) -> None:
        self.file: BinaryIO = open_regular(path)
        try:
            self._zip, self._root = _open(self.file, os.fstat(self.file.fileno()).st_size)
        except BaseException:
            self.file.close()
            raise

    def __enter__(self) -> Archive:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def read(self, name: str) -> bytes:
        """The bytes of an entry, checked by their sum.

        Raises:
            BadArchiveError: there is none, or it is damaged.
        """
        try:
            return self._zip.read(f"{self._root}/{name}")
        except Exception:
            raise BadArchiveError(f"is truncated or corrupt: its part '{name[:60]}' cannot be read") from None

    def globals(self) -> set[str] | None:
        """The classes and functions that a pickle of protocol 2 names, ``module name``; ``None`` of another.

        Raises:
            BadArchiveError: it is no pickle, or holds an operation that ``torch.save`` does not write.
        """
        found: set[str] = set()
        told = True
        for name, argument in _operations(self.read("data.pkl")):
            if name == "GLOBAL":
                found.add(str(argument))
            told &= name != "STACK_GLOBAL" and (name != "PROTO" or argument == 2)
        return found if told else None


def _open(file: BinaryIO, size: int) -> tuple[zipfile.ZipFile, str]:
    damaged = "is truncated, corrupt or not a checkpoint of torch 1.6 or later"
    try:
        found = zipfile.ZipFile(file)
        entries = found.infolist()
    except Exception:  # the library has no common word for what is not its own
        raise BadArchiveError(damaged) from None
    matches = [_ENTRY.fullmatch(entry.filename) for entry in entries]
    roots = {match["root"] for match in matches if match is not None}
    names = {entry.filename for entry in entries}
    if None in matches or len(roots) != 1 or len(names) != len(entries):
        raise BadArchiveError("is an archive of other files than a checkpoint has")
    (root,) = roots
    if f"{root}/data.pkl" not in names:
        raise BadArchiveError("is an archive without a checkpoint's data.pkl")
    for entry in entries:
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size or entry.flag_bits & 1:
            raise BadArchiveError("is compressed or encrypted, which no checkpoint is")
        if entry.header_offset < 0 or entry.header_offset + entry.file_size > size:
            raise BadArchiveError(damaged)
    if sum(entry.file_size for entry in entries) > size:
        raise BadArchiveError("claims to hold more than the file does")
    _check_end(file, size, damaged)
    if f"{root}/byteorder" in names and found.read(f"{root}/byteorder") != b"little":
        raise BadArchiveError("is of a machine with another order of bytes")
    return found, root


def _check_end(file: BinaryIO, size: int, damaged: str) -> None:
    """Refuse an archive with two tables of contents, of which Python would read one and torch the other."""
    file.seek(size - min(size, _END.size + _LOCATOR.size))
    tail = file.read()
    mark, *_, comment = _END.unpack(tail[-_END.size :])
    if mark != b"PK\5\6" or comment:
        raise BadArchiveError(damaged)
    locator = tail[: -_END.size]
    if locator[:4] == b"PK\6\7":
        _, _, place, _ = _LOCATOR.unpack(locator)
        if place != size - _END.size - _LOCATOR.size - 56:  # the 64-bit end stands right before
            raise BadArchiveError(damaged)


def _operations(text: bytes) -> Iterator[tuple[str, object]]:
    """The operations of a pickle, none of which is more than data, a name of the list, or a call of one."""
    number = 0
    try:
        for operation, argument, _ in pickletools.genops(text):
            number += 1
            if operation.name not in _ALLOWED:
                raise RefusedError(f"pickle's {operation.name}")
            if operation.name == "LONG_BINPUT" and int(str(argument)) > number:  # pickle would make room for so many
                raise BadArchiveError("is corrupt: its pickle counts on more than it holds")
            if number > OPERATIONS:
                raise BadArchiveError(f"is too large: its pickle has more than {OPERATIONS:,} operations")
            yield operation.name, argument
    except BadArchiveError:
        raise
    except Exception:
        raise BadArchiveError("is truncated or corrupt: its data.pkl is no pickle") from None
