"""What tests of several patches need: RecBole's ``Config`` of a small data set, and a process group of one."""

from __future__ import annotations

import socket

import pytest
import torch

from recbole_mind.training import build
from tests.support.data import small_settings


@pytest.fixture
def made(small):
    """RecBole's own way to a configuration of the small data set: ``made(model, **settings)``."""
    from recbole.config import Config

    def make(model, folder=small, **more):
        given = small_settings(folder, epochs=1, train_neg_sample_args=None) | more
        for key in () if model == "MIND" else ("embedding_size", "relu_layers"):
            given.pop(key)
        with build.argv_hidden():
            return Config(model, "small", config_dict=given)

    return make


@pytest.fixture
def port():
    with socket.socket() as found:
        found.bind(("localhost", 0))
        return found.getsockname()[1]


@pytest.fixture
def process_group(port):
    """A group of one process on the CPU."""
    torch.distributed.init_process_group("gloo", f"tcp://localhost:{port}", rank=0, world_size=1)
    yield
    torch.distributed.destroy_process_group()
