"""Blocks of a file of interactions against ten lines of Python."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind.data import atomic_file, inter_file
from recbole_mind.data.atomic_file import Format

# -- reading ------------------------------------------------------------------------------------------------------

TOKENS = st.one_of(
    st.sampled_from(sorted(atomic_file.MISSING)),
    st.text(st.characters(exclude_characters="\t\n\r\0", exclude_categories=["Cs"]), max_size=24),
    st.text("ab\"'\\,", max_size=4),
)
NUMBERS = st.one_of(
    st.floats(width=64).map(repr),
    st.integers(-(2**63), 2**63).map(str),
    st.sampled_from(
        ["", "NA", " 7", "7 ", "+5", "5.", ".5", "1e3", "1E-3", "1_000", "Infinity", "0.1000000000000000055"]
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(TOKENS, NUMBERS, TOKENS), min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(20, 200),
)
def test_blocks_are_read_as_ten_lines_read_the_file(tmp_path_factory, rows, newline, ended, size):
    path = tmp_path_factory.mktemp("read") / "a.inter"
    lines = ["user:token\ttime:float\titem:token", *("\t".join(row) for row in rows)]
    path.write_bytes((newline.join(lines) + newline * ended).encode())
    found = atomic_file.columns(path, Format())
    assert [(column.field, column.kind) for column in found] == [
        ("user", "token"),
        ("time", "float"),
        ("item", "token"),
    ]
    want = [line.removesuffix("\r").split("\t") for line in path.read_bytes().decode().split("\n")[1:]]
    want = [[None if cell in atomic_file.MISSING else cell for cell in row] for row in want if row != [""]]
    numbers = np.array([np.nan if row[1] is None else float(row[1]) for row in want])
    whole = atomic_file.read(path, Format(), found)
    assert np.array_equal(whole["time"].to_numpy(), numbers, equal_nan=True)
    for place, field in ((0, "user"), (2, "item")):
        assert [x if isinstance(x, str) else None for x in whole[field]] == [row[place] for row in want]
    if any(len(token.encode()) > inter_file.LONGEST for row in want for token in row[::2] if token):
        with pytest.raises(inter_file.UnusualFileError, match="64 bytes"):
            inter_file.read(path, found, 3, "\t", size)
        return
    got = inter_file.read(path, found, 3, "\t", size)
    for field in ("user", "item"):
        assert [x if isinstance(x, str) else None for x in got[field]] == [
            x if isinstance(x, str) else None for x in whole[field]
        ]
        first = list(dict.fromkeys(x for x in whole[field] if isinstance(x, str)))
        assert list(got[field].cat.categories) == first
    assert np.array_equal(got["time"].to_numpy(), numbers, equal_nan=True)


def test_the_nearest_float64_is_read_of_a_number_of_many_digits_without_a_word(tmp_path):
    generator = np.random.default_rng(0)
    numbers = generator.standard_normal(2000) * 10.0 ** generator.integers(-300, 300, 2000)
    path = tmp_path / "a.inter"
    path.write_text("\n".join(["time:float", *map(repr, numbers.tolist())]) + "\n")
    inter_file._precisely.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = inter_file.read(path, atomic_file.columns(path, Format()), 1, "\t")
    assert np.array_equal(got["time"].to_numpy(), numbers)
