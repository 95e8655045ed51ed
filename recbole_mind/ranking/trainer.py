"""RecBole's trainer for a ranker, which chooses the epoch by the final list."""

from __future__ import annotations

from typing import Any

from recbole.trainer import Trainer

from recbole_mind.evaluation.outcome import EvaluationResult
from recbole_mind.layers.allocator import keep_freed
from recbole_mind.ranking.batches import RankingBatches
from recbole_mind.ranking.evaluate import evaluate
from recbole_mind.ranking.recalled import RecalledLists
from recbole_mind.training import checkpoint
from recbole_mind.training.trainer import SafeTrainer


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

    def evaluated(
        self,
        eval_data: Any,
        load_best_model: bool = True,
        model_file: str | None = None,
        show_progress: bool = False,
    ) -> EvaluationResult:
        """Judge the ranker on ``eval_data``, a :class:`Judged`."""
        if load_best_model:
            checkpoint.restore(self.model, checkpoint.load(model_file or self.saved_model_file, self.device))
        return EvaluationResult(evaluate(self.model, eval_data.batches, eval_data.lists).figures())


class Judged:
    """Lists to judge a ranker by."""

    def __init__(self, batches: RankingBatches, lists: RecalledLists) -> None:
        self.batches, self.lists = batches, lists
