"""A recall that was trained for a moment, and what it brings."""

from __future__ import annotations

import pytest

from recbole_mind.ranking.recalled import RecallStage
from recbole_mind.ranking.run import _recall
from tests.support.bundles import trained


@pytest.fixture(scope="session")
def recall(tmp_path_factory, small):
    """The checkpoint of a MIND."""
    return trained(tmp_path_factory.mktemp("recall"), small, "MIND", K=3, epochs=2)


@pytest.fixture(scope="session")
def loaded(recall):
    return _recall(recall, {})


@pytest.fixture(scope="session")
def stage(loaded):
    return RecallStage(loaded.model, 5)
