"""The documented paths, and that each is what it stands for."""

import importlib

import pytest

from tests import ROOT

PATHS = {
    "recbole_mind InputError": "recbole_mind.errors InputError",
    "recbole_mind.bundle Bundle": "recbole_mind.serving.bundle.bundle Bundle",
    "recbole_mind.milvus MilvusIndex": "recbole_mind.serving.milvus MilvusIndex",
    "recbole_mind.recall Recaller": "recbole_mind.serving.recaller Recaller",
    "recbole_mind.retrieval MultiVectorIndex": "recbole_mind.retrieval.index MultiVectorIndex",
    "recbole_mind.quick_start run": "recbole_mind.training.run run",
    "recbole_mind.quick_start evaluate": "recbole_mind.training.run evaluate",
    "recbole_mind.quick_start load": "recbole_mind.training.load load",
    "recbole_mind.quick_start build_config": "recbole_mind.training.build build_config",
}


def named(path):
    module, name = path.split()
    return getattr(importlib.import_module(module), name)


@pytest.mark.parametrize("path", PATHS)
def test_a_documented_path_is_what_it_stands_for(path):
    assert named(path) is named(PATHS[path])


def test_facades_hold_no_code_of_their_own():
    for name in ("bundle", "milvus", "recall", "quick_start"):
        text = (ROOT / f"recbole_mind/{name}.py").read_text()
        assert "def " not in text
        assert "class " not in text
