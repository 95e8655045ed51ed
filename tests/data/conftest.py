"""Fixtures of the tests of data."""

from __future__ import annotations

import pytest

from tests.support.odd import prepare, write


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return write(tmp_path_factory.mktemp("odd"))


@pytest.fixture(scope="module")
def pair(odd):
    """RecBole's training data and ours."""
    return [prepare(odd, choice, train_neg_sample_args=None)[1]._dataset for choice in (False, True)]
