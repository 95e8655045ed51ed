"""Histories of many users in a Parquet file, read in batches: memory does not grow with the file."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from recbole_mind.errors import InputError, nearest, require, without_places
from recbole_mind.serving import times
from recbole_mind.util.files import check_file, open_regular, read_lines

USER, HISTORY, TIMES, ITEM, N = "user", "history", "times", "item", "n"
_BUFFER = 2**20  # bytes of a column that are read at once


class Asked(NamedTuple):
    """What is asked for one user; ``n`` and ``times`` are ``None`` where the file leaves them open."""

    user: str
    history: list[str]
    profile: dict[str, Any]
    n: int | None
    times: list[float] | None = None


class Histories:
    """A Parquet file with one row a user.

    Columns: the user, ``user`` or the name in the training data, text or whole numbers; ``history``, a list of raw item
    tokens, oldest first; where they are there, ``times``, a list of as many numbers, ``n`` and the profile's fields.
    Others are not read.

    Args:
        path: the file.
        user_field: the user's name in the training data.
        fields: of the profile, and whether each has several values.

    Raises:
        InputError: it cannot be read, is no Parquet file, is empty, or lacks a column or has one of another type.
    """

    def __init__(self, path: str | Path, user_field: str, fields: Mapping[str, bool]) -> None:
        self.path = Path(path)
        self._file = _opened(self.path, "histories")
        self.rows = int(self._file.metadata.num_rows)
        self._schema = self._file.schema_arrow
        names = self._schema.names
        twice = [name for name in names if names.count(name) > 1]
        require(not twice, f"histories '{path}': column '{twice[0] if twice else ''}' stands there twice")
        self._user = USER if USER in names else user_field
        self._profile_user = user_field
        self._fields = [field for field in fields if field in names and field != self._user]
        known = {self._user, HISTORY, TIMES, N, user_field, *fields}
        self.ignored = [name for name in names if name not in known]
        tall = HISTORY not in names and ITEM in names
        require(
            not tall, f"histories '{path}' has a row for each interaction; one for each user, with a list, is needed"
        )
        for name in (self._user, HISTORY):
            hint = f"{nearest(name, names)}; columns: {', '.join(names) or 'none'}"
            words = f"'{USER}' or '{user_field}'" if name == self._user else f"'{name}'"
            require(name in names, f"histories '{path}' has no column {words}{hint}")
        require(self.rows > 0, f"histories '{path}' is empty")
        self._check_type(HISTORY, "a list of text, oldest first", _is_list(self._type(HISTORY), _is_text))
        self._check_type(self._user, "text or whole numbers", _is_token(self._type(self._user)))
        if TIMES in names:
            self._check_type(TIMES, "a list of numbers", _is_list(self._type(TIMES), _is_number))
        if N in names:
            self._check_type(N, "whole numbers", pa.types.is_integer(self._type(N)))
        if user_field in names and user_field != self._user and user_field not in self._fields:
            self._fields.append(user_field)
        for field in self._fields:
            found, several = self._type(field), fields.get(field, False)
            allowed = "text or whole numbers" + (", or a list of them" if several else "")
            self._check_type(field, allowed, _is_token(found) or (several and _is_list(found, _is_token)))
        self._columns = [self._user, HISTORY, *self._fields, *(name for name in (TIMES, N) if name in names)]

    def _type(self, name: str) -> Any:
        return self._schema.field(name).type

    def _check_type(self, name: str, allowed: str, good: bool) -> None:
        message = f"histories '{self.path}': column '{name}' is {self._type(name)}; allowed: {allowed}"
        require(good, message)

    def check(self, size: int, watch: Callable[[int], None]) -> None:
        """Read all of it once, ``size`` rows at a time, so that what is wrong in the last row is said at the start.

        Raises:
            InputError: the file is damaged, or a user, history, item or n is missing or not allowed; it names the row.
        """
        start = 0
        for table in self.batches(0, size):
            for name in (self._user, HISTORY, N):
                if name in table.column_names:
                    self._check_column(name, table.column(name), start)
            if TIMES in table.column_names:
                self._check_times(table, start)
            start += len(table)
            watch(start)

    def _check_column(self, name: str, column: Any, start: int) -> None:
        def first(is_wrong: Callable[[Any], bool]) -> None:
            place, value = next((pair for pair in enumerate(column.to_pylist()) if is_wrong(pair[1])), (-1, None))
            if place >= 0:
                what = "is missing" if value is None else "holds a missing item" if name == HISTORY else f"is {value}"
                allowed = {N: "at least 1", HISTORY: "a list of text, which may be empty"}.get(name, "one in each row")
                raise InputError(f"histories '{self.path}': row {start + place + 1}: {name} {what}; allowed: {allowed}")

        if name == N:
            first(lambda value: value is not None and value < 1)
        elif column.null_count:
            first(lambda value: value is None)
        elif name == HISTORY and any(chunk.flatten().null_count for chunk in column.chunks):
            first(lambda value: None in value)

    def _check_times(self, table: Any, start: int) -> None:
        rows = zip(table.column(HISTORY).to_pylist(), table.column(TIMES).to_pylist(), strict=True)
        for place, (history, own) in enumerate(rows, start + 1):
            try:
                times.checked(own, len(history))
            except InputError as error:
                raise InputError(f"histories '{self.path}': row {place}: {error}") from None

    def batches(self, start: int, size: int) -> Iterator[Any]:
        """Tables of ``size`` rows from row ``start`` on; the last one may be shorter.

        Raises:
            InputError: the file is damaged.
        """
        groups, first = [], 0
        for group in range(self._file.num_row_groups):
            rows = self._file.metadata.row_group(group).num_rows
            if first + rows > start:
                groups.append(group)
            else:
                first += rows
        skip, parts, held = start - first, [], 0
        with _damage(self.path):
            pieces = self._file.iter_batches(min(size, 2**14), row_groups=groups, columns=self._columns)
            for piece in pieces:
                piece.validate(full=True)  # what is no UTF-8 would fail much later
                dropped = min(skip, len(piece))
                skip, piece = skip - dropped, piece.slice(dropped)
                while len(piece):
                    parts.append(piece.slice(0, size - held))
                    held, piece = held + len(parts[-1]), piece.slice(len(parts[-1]))
                    if held == size:
                        yield pa.Table.from_batches(parts)
                        parts, held = [], 0
        if parts:
            yield pa.Table.from_batches(parts)

    def asked(self, table: Any) -> list[Asked]:
        """What is asked in the rows of a table that :meth:`batches` gave."""
        columns = {name: table.column(name).to_pylist() for name in self._columns}
        users = [str(user) for user in columns[self._user]]
        numbers = columns.get(N) or [None] * len(users)
        profiles: list[dict[str, Any]] = [{self._profile_user: user} for user in users]
        for field in self._fields:
            for profile, value in zip(profiles, columns[field], strict=True):
                if value is not None:
                    profile[field] = [str(v) for v in value if v is not None] if isinstance(value, list) else str(value)
        clocks = columns.get(TIMES) or [None] * len(users)
        return list(map(Asked, users, columns[HISTORY], profiles, numbers, clocks))


def read_tokens(path: str | Path, item_field: str, called: str = "pool") -> list[str]:
    """Raw item tokens of a file: one a line, or a column of Parquet named ``item`` or as in the training data.

    ``called`` stands before its name in messages.

    Raises:
        InputError: it cannot be read, or holds something else.
    """
    path = Path(path)
    check_file(path, called)
    try:
        with open_regular(path) as file:
            is_parquet = file.read(4) == b"PAR1"
    except OSError as error:
        raise InputError(f"{called} '{path}' cannot be read: {error.strerror}") from None
    if not is_parquet:
        return [line for line in read_lines(path, called) if line]
    file = _opened(path, called)
    names = file.schema_arrow.names
    chosen = next((name for name in (ITEM, item_field, *(names if len(names) == 1 else [])) if name in names), None)
    allowed = f"'{ITEM}' or '{item_field}'"
    require(chosen is not None, f"{called} '{path}' has no column {allowed}; columns: {', '.join(names)}")
    found = file.schema_arrow.field(chosen).type
    require(_is_token(found), f"{called} '{path}': column '{chosen}' is {found}; allowed: text or whole numbers")
    with _damage(path):
        return [str(token) for token in file.read([chosen]).column(0).to_pylist() if token is not None]


def _opened(path: Path, what: str) -> Any:
    try:
        with open_regular(path):  # Arrow's own words name a place in its source
            return pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
    except pa.ArrowException:
        raise InputError(f"{what} '{path}' is not a Parquet file, or is damaged") from None
    except OSError as error:
        raise InputError(f"{what} '{path}' cannot be read: {error.strerror or 'it is damaged'}") from None


@contextlib.contextmanager
def _damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = without_places((str(error).strip().splitlines() or [""])[0])[:200]
        raise InputError(f"'{path}' is damaged: {reason}") from None


def _is_text(found: Any) -> bool:
    found = found.value_type if pa.types.is_dictionary(found) else found
    return bool(pa.types.is_string(found) or pa.types.is_large_string(found) or pa.types.is_string_view(found))


def _is_token(found: Any) -> bool:
    return _is_text(found) or bool(pa.types.is_integer(found))


def _is_number(found: Any) -> bool:
    return bool(pa.types.is_integer(found) or pa.types.is_floating(found))


def _is_list(found: Any, is_part: Callable[[Any], bool]) -> bool:
    lists: Iterable[Callable[[Any], bool]] = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
    return any(check(found) for check in lists) and is_part(found.value_type)
