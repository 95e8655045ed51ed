"""Mutated FAISS indexes, ONNX graphs, manifests and arrays: each recalls or is refused in one line, and none ends us.

``RECBOLE_MIND_FUZZ`` sets how many, a tenth of it of each kind, 10000 for a release.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

from recbole_mind.retrieval.index import MultiVectorIndex
from tests import ROOT
from tests.support.fuzzed import PATTERNS
from tests.support.sealing import reseal

EXAMPLES = int(os.environ.get("RECBOLE_MIND_FUZZ", "100"))
NUMBER = max(50, EXAMPLES // 10)
FACTORIES = ("IVF4,Flat", "HNSW8", "IVF4,PQ4x4fs", "PCA8,IVF4,SQ8", "IVF4,PQ4x4,RFlat", "IVF4_HNSW8,Flat")
# seeds that found something: a file of the index that is missing and a manifest nested deeply ended in tracebacks
SEEDS = {"json": ("1",)}


@pytest.fixture(scope="module")
def bundles(two_bundles, tmp_path_factory):
    """A bundle with each kind of index."""
    folder = tmp_path_factory.mktemp("indexes")
    made = []
    for place, factory in enumerate(FACTORIES):
        made.append(shutil.copytree(two_bundles[0], folder / str(place)))
        items = np.load(next(made[-1].glob("index/items-*.npy")))
        MultiVectorIndex.build(items, factory, device="cpu", threads=1).save(made[-1] / "index")
        reseal(made[-1])
    return made


@pytest.mark.parametrize("kind", PATTERNS)
def test_a_mutated_bundle_recalls_or_is_refused(kind, bundles, tmp_path):
    for seed in {*SEEDS.get(kind, ()), "0"}:
        mutated(kind, seed, bundles, tmp_path)


@pytest.mark.parametrize("kind", ["json", "npy"])
def test_a_mutated_bundle_without_interests_recalls_or_is_refused(kind, tmp_path):
    mutated(kind, "0", [ROOT / "tests/golden/classic/classic_bundle" / name for name in ("ItemKNN", "Pop")], tmp_path)


def mutated(kind, seed, bundles, work):
    """Mutate the bundles, and see that nothing else comes of any."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.fuzzed", kind, str(NUMBER), seed, work, *bundles],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    (line,) = done.stdout.splitlines()
    found = json.loads(line)
    assert found["wrong"] == []
    assert sum(found["counts"].values()) == NUMBER
    assert found["counts"]["refused"] > 0
