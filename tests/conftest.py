"""Every test runs on one thread, in a folder of its own, so that logs and checkpoints stay out of the tree."""

from __future__ import annotations

import os
import shutil
import signal
import sys

import pytest
import torch

from tests.support.data import write_small
from tests.support.durations import Durations, Recorder
from tests.support.shop import write_shop

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # in the background of a script, which children inherit
    signal.signal(signal.SIGINT, signal.default_int_handler)

PAGES = tuple(f"tests/integration/test_{name}.py" for name in ("contributing", "docs", "records"))  # of what they say


def pytest_addoption(parser):
    parser.addoption("--record-durations", action="store_true", help="measure the tests, for tests/durations.json")


def pytest_configure(config):
    for kind in ("DeprecationWarning", "FutureWarning"):  # what our code calls will not be there for long
        config.addinivalue_line("filterwarnings", rf"error::{kind}:recbole_mind(\.|$)")
    if config.getoption("--record-durations"):
        config.pluginmanager.register(Recorder(), "durations-recorder")


def pytest_collection_modifyitems(items):
    """Mark tests by their folder, fixtures and recorded duration, and put those of long files first."""
    durations = Durations()
    for item in items:
        reasons = {
            "integration": item.nodeid.startswith("tests/integration/"),
            "docs": item.nodeid.startswith(PAGES),
            "browser": "browser" in item.fixturenames,
            "slow": durations.slow(item),
        }
        for name in (name for name, holds in reasons.items() if holds):
            item.add_marker(name)
    durations.longest_first(items)


@pytest.fixture(autouse=True)
def _own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")


@pytest.fixture(autouse=True)
def _no_ray_unless_marked(request):
    """Ray takes seconds to start and outlives its test: who starts one says so, and stops it."""
    yield
    ray = sys.modules.get("ray")
    if ray is not None and ray.is_initialized():
        ray.shutdown()
        assert request.node.get_closest_marker("ray"), "it starts Ray and is not marked ray"


@pytest.fixture(scope="session", autouse=True)
def _own_keys(tmp_path_factory):
    os.environ["XDG_STATE_HOME"] = str(tmp_path_factory.mktemp("state"))


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """The folder that holds the data set ``small``."""
    return write_small(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def shop(tmp_path_factory):
    """The folder that holds the data set ``shop``."""
    return write_shop(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def two_bundles(small, tmp_path_factory):
    """Two bundles of the small data set that recall differently."""
    from tests.support.bundles import exported, trained

    folder = tmp_path_factory.mktemp("two")
    return [
        exported(
            trained(folder / f"run{seed}", small, "MIND", K=3, routing_scale=10.0, seed=seed),
            folder / f"bundle{seed}",
            categories=["tags"],
        )
        for seed in (1, 2)
    ]


@pytest.fixture(scope="module")
def browser():
    """A real browser, run headless."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no Chromium is installed")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as found:
        sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []  # Chromium has none for root
        browser = found.chromium.launch(executable_path=program, args=sandbox)
        yield browser
        browser.close()
