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


@pytest.fixture(scope="session")
def two_bundles(small, tmp_path_factory):
    """Two bundles of the small data set that recall differently."""
    from tests.bundles import exported, trained

    folder = tmp_path_factory.mktemp("two")
    return [
        exported(
            trained(folder / f"run{seed}", small, "MIND", K=3, routing_scale=10.0, seed=seed),
            folder / f"bundle{seed}",
            categories=["tags"],
        )
        for seed in (1, 2)
    ]
