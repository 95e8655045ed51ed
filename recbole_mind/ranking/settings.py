"""The settings of the ranking stage, whose defaults stand in ``properties/ranking/DIN.yaml``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from recbole_mind.config import loading
from recbole_mind.config.specification import Allowed, Number, OneOf, Specification, read

Sizes = Annotated[
    list[Annotated[int, Field(ge=1, lt=2**16)]], Field(min_length=1), Allowed("a list of whole numbers, at least 1")
]


class RankingSettings(Specification):
    """What ``recbole-mind rank`` takes."""

    learn_from: Annotated[str, OneOf(("validation", "training"))]
    held_out: Annotated[float, Number(0, 0.9, above=True)]
    lists: Annotated[int, Number(2, 2**31 - 1)]
    candidates: Annotated[int, Number(2, 2**20)]
    negatives: Annotated[str, OneOf(("candidates", "uniform"))]
    num_negatives: Annotated[int, Number(1, 2**16)]
    history: Annotated[int, Number(1, 2**16)]
    embedding_size: Annotated[int, Number(1, 2**16)]
    mlp_hidden_size: Sizes
    dropout_prob: Annotated[float, Number(0, 0.99)]
    start_from_recall: Annotated[bool, Allowed("True, False")]
    learning_rate: Annotated[float, Number(0, 10, above=True)]
    weight_decay: Annotated[float, Number(0, 10)]
    train_batch_size: Annotated[int, Number(1, 2**31 - 1)]
    epochs: Annotated[int, Number(1, 2**31 - 1)]
    stopping_step: Annotated[int, Number(1, 2**31 - 1)]


def settings(given: Mapping[str, Any]) -> tuple[RankingSettings, dict[str, Any]]:
    """The ranker's settings, and what of ``given`` is none of them.

    Raises:
        InputError: a value that is not allowed.
    """
    known = RankingSettings.model_fields
    own = {key: value for key, value in given.items() if key in known}
    found = read(RankingSettings, loading.defaults("ranking", "DIN") | own, "ranking")
    return found, {key: value for key, value in given.items() if key not in known}
