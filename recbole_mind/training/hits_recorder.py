"""Which of the items at the top of each row were targets, from RecBole's own evaluation."""

from __future__ import annotations

from typing import Any

from recbole.evaluator import Evaluator
from torch import Tensor


class HitsRecorder(Evaluator):
    """RecBole's evaluator, which keeps what it last judged until it is asked for."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self._topk: Tensor | None = None

    def evaluate(self, dataobject: Any) -> Any:
        self._topk = dataobject.get("rec.topk").cpu() if "rec.topk" in dataobject else None
        return super().evaluate(dataobject)

    def take(self) -> Tensor | None:
        """RecBole's ``rec.topk`` ``[R, k + 1]``, once; ``None`` where no metric took it."""
        topk, self._topk = self._topk, None
        return topk
