"""The ranker's settings."""

from __future__ import annotations

import pytest

from recbole_mind.config import loading
from recbole_mind.errors import InputError
from recbole_mind.ranking.settings import RankingSettings, settings


def test_the_defaults_are_those_of_the_file_and_others_are_left():
    own, rest = settings({"candidates": 50, "data_path": "data"})
    assert own.model_dump() == loading.defaults("ranking", "DIN") | {"candidates": 50}
    assert rest == {"data_path": "data"}
    assert set(loading.defaults("ranking", "DIN")) == set(RankingSettings.model_fields)


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("learn_from", "test", "validation, training"),
        ("negatives", "hard", "candidates, uniform"),
        ("held_out", 0.0, "0 to 0.9"),
        ("candidates", 1, "at least 2|from 2"),
        ("mlp_hidden_size", [], "a list of whole numbers"),
        ("mlp_hidden_size", 32, "a list of whole numbers"),
        ("start_from_recall", "yes", "True, False"),
        ("epochs", 1.5, "a whole number"),
        ("dropout_prob", 1.0, "0.99"),
    ],
)
def test_other_values_are_refused_by_name(key, value, words):
    with pytest.raises(InputError, match=f"ranking: {key}.*({words})"):
        settings({key: value})
