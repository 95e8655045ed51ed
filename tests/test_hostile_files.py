"""Files that are crafted, endless or damaged, wherever a command takes one: one line, and no wait."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from recbole_mind import InputError, files, histories, settings, significance, space, trial
from recbole_mind.arrays import open_array
from recbole_mind.export import _tested

READERS = {
    "settings": settings.read_file,
    "space": space.read_text,
    "record": trial.read_record,
    "export's record": lambda path: _tested(path, "a.pth"),
    "list": lambda path: histories.read_tokens(path, "item_id"),
    "names": lambda path: files.read_lines(path, "names"),
    "hits": significance.Hits.load,
    "array": lambda path: open_array(path, np.float32, (None,)),
    "histories": lambda path: histories.Histories(path, "user_id", {}),
}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("kind", ["pipe", "/dev/zero", "folder", "gone", "sparse"])
def test_what_is_no_file_or_has_no_end_is_refused_at_once(what, kind, tmp_path):
    os.mkfifo("pipe")
    os.mkdir("folder")
    with open("sparse", "wb") as file:
        file.truncate(2**44)
    from pathlib import Path

    began = time.monotonic()
    with pytest.raises(InputError) as error:
        READERS[what](Path(kind))
    assert time.monotonic() - began < 5
    assert kind.rpartition("/")[2] in str(error.value)
