"""Hits on disk."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.evaluation import hits
from tests.support.waiting import at_once

# -- arrays, hits and tokens ---------------------------------------------------------------------------------------


def test_hits_that_come_to_more_than_they_say_are_refused():
    found = np.eye(4, 8, dtype=bool)
    hits.Hits(found, np.ones(4, int), "u").save("good.npz")
    assert (hits.Hits.load("good.npz").found == found).all()
    arrays = dict(np.load("good.npz"))
    wrong = [("shape", np.array([2**40, 8])), ("shape", np.array([2**62, 2**62])), ("shape", np.array([0, 8]))]
    for key, value in (*wrong, ("found", np.array([{}], object)), ("numbers", np.array(["x"] * 4))):
        np.savez("bad.npz", **(arrays | {key: value}))
        with pytest.raises(InputError, match=r"hits 'bad\.npz' is corrupt"):
            hits.Hits.load("bad.npz")
    with zipfile.ZipFile("good.npz") as good, zipfile.ZipFile("bad.npz", "w") as bad:
        for name in good.namelist():
            bad.writestr(name, good.read(name).replace(b"'shape': (", b"'shape': '("))
    with pytest.raises(InputError, match=r"hits 'bad\.npz' is corrupt"):
        hits.Hits.load("bad.npz")
    with (
        zipfile.ZipFile("bad.npz", "w", zipfile.ZIP_DEFLATED) as out,
        out.open("found.npy", "w", force_zip64=True) as to,
    ):
        for _ in range(2**11 + 1):
            to.write(bytes(2**20))
    with at_once(1), pytest.raises(InputError, match=r"they come to 2,148,532,224 bytes"):
        hits.Hits.load("bad.npz")
