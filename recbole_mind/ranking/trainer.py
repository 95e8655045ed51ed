"""RecBole's trainer for a ranker, which chooses the epoch by the final list."""

from __future__ import annotations

from typing import Any, NamedTuple

from recbole.trainer import Trainer

from recbole_mind.evaluation.outcome import EvaluationResult
from recbole_mind.layers.allocator import keep_freed
from recbole_mind.ranking.batches import RankingBatches
from recbole_mind.ranking.evaluate import evaluate
from recbole_mind.training.trainer import SafeTrainer


class Judged(NamedTuple):
    """What a ranker is judged by; unlike a loader it is there even where recall brings no click."""

    batches: RankingBatches


class RankingTrainer(SafeTrainer, Trainer):
    """How a ranker trains.

    Args:
        config: RecBole's.
        model: the ranker.
        of_recall: what says which recall it is of, for its checkpoint.
    """

    def __init__(self, config: Any, model: Any, of_recall: dict[str, Any]) -> None:
        super().__init__(config, model)
        self._of_recall = of_recall
        keep_freed()

    def _state(self, epoch: int, result: dict[str, float] | None) -> dict[str, Any]:
        return super()._state(epoch, result) | {"ranking": self._of_recall}

    def _judged(self, eval_data: Judged, show_progress: bool) -> EvaluationResult:
        return EvaluationResult(evaluate(self.model, eval_data.batches).figures())
