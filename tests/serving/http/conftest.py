"""Fixtures of the tests of the service."""

import pytest

from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from tests.support.serving import running


@pytest.fixture(scope="module")
def served(two_bundles, tmp_path_factory):
    names = tmp_path_factory.mktemp("names") / "names.tsv"
    names.write_text("i1\tThe first one\ni2\tAnother One\tmore\r\n\ni40\t\n")
    given = {"max_history": 60, "max_n": 50, "max_tokens": 40, "max_token": 20, "max_body": 4000, "body_seconds": 2}
    with running(two_bundles[0], given, names=names) as service:
        yield service


@pytest.fixture(scope="module")
def recaller(two_bundles):
    return Recaller.load(two_bundles[0], threads=1)


@pytest.fixture
def published(two_bundles, tmp_path):
    """A store of two versions of which the second is current, and their ids."""
    store = Store(tmp_path / "store")
    return store, [store.publish(bundle, force="for a test").id for bundle in two_bundles]
