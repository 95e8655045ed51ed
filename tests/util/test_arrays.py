"""Arrays on disk: mapped as they were saved, and what is crafted is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.util.arrays import open_array, save_array

# -- arrays and tokens -----------------------------------------------------------------------------------------------


def test_an_array_is_mapped_as_it_was_saved(tmp_path):
    array = np.arange(12, dtype=np.int32).reshape(4, 3)
    save_array(tmp_path / "a.npy", array)
    np.testing.assert_array_equal(open_array(tmp_path / "a.npy", np.int32, (4, None)), array)
    save_array(tmp_path / "none.npy", array[:0])
    assert open_array(tmp_path / "none.npy", np.int32, (0, 3)).shape == (0, 3)
    for wanted in ((np.int64, (4, 3)), (np.int32, (3, 4)), (np.int32, (12,))):
        with pytest.raises(InputError, match=r"'a.npy' holds int32 \[4, 3\] in 48 bytes; allowed: "):
            open_array(tmp_path / "a.npy", *wanted)


HEADS = ["{", "{'descr': '<f4'", "\x27" * 3, "(" * 5000, "{'descr': '|O', 'fortran_order': False, 'shape': (1,)}",
         "{'descr': '<f4', 'fortran_order': False, 'shape': (2**40,)}", "[" * 90 + "]" * 90,
         "{'descr': '<f4', 'fortran_order': False, 'shape': (1099511627776,)}",
         "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,)}", "\x00", "-" * 3000 + "1"]  # fmt: skip


@pytest.mark.parametrize("head", HEADS)
def test_arrays_whose_head_is_crafted_are_refused(head):
    text = head.encode() + b"\n"
    Path("a.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text + bytes(4))
    with pytest.raises(InputError, match=r"'a\.npy' (is not an array|holds)"):
        open_array(Path("a.npy"), np.float32, (None,))
