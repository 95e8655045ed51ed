"""Fixtures of the tests of stores."""

from __future__ import annotations

import pytest

from tests.support.store import bundle, opened


@pytest.fixture
def made(tmp_path):
    """Three bundles, and a store in which the first is published."""
    bundles = [bundle(tmp_path / f"b{place}", 2.0 + place / 100) for place in range(3)]
    store = opened(tmp_path / "store")
    store.publish(bundles[0], who="ann")
    return store, bundles
