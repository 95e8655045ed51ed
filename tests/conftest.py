"""Every test runs on one thread, in a folder of its own, so that logs and checkpoints stay out of the tree."""

from __future__ import annotations

import pytest
import torch

from tests.data import write_small

torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The folder that holds the data set ``small``."""
    return write_small(tmp_path_factory.mktemp("data"))
