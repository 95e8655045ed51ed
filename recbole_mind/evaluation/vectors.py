"""Vectors of users and items of any model that the search can serve."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar

import torch
from torch import Tensor

from recbole_mind.errors import require


class SingleVector:
    """A model of RecBole that ranks by the product of one user vector and the item vectors.

    Sequential models give the vector by ``forward``, others by ``get_user_embedding`` or by the embeddings that graph
    models keep for ranking. Whether the products are the model's own scores is tried on real rows, not assumed.
    """

    _ARGUMENTS: ClassVar[dict[str, str]] = {  # of forward, in RecBole's models
        "item_seq": "ITEM_SEQ",
        "seq_item": "ITEM_SEQ",
        "item_seq_len": "ITEM_SEQ_LEN",
        "seq_item_len": "ITEM_SEQ_LEN",
        "user": "USER_ID",
    }

    def __init__(self, model: Any) -> None:
        self.model = model

    def interests(self, interaction: Any) -> tuple[Tensor, Tensor]:
        """One vector for each row, ``[B, 1, D]``, and ``[B, 1]`` flags."""
        model = self.model
        if hasattr(model, "ITEM_SEQ"):
            names = inspect.signature(model.forward).parameters
            vectors = model.forward(*(interaction[getattr(model, self._ARGUMENTS[name])] for name in names))
        elif getattr(model, "restore_user_e", None) is not None:
            vectors = model.restore_user_e[interaction[model.USER_ID]]
        else:
            vectors = model.get_user_embedding(interaction[model.USER_ID])
        return vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool)

    def item_vectors(self) -> Tensor:
        """``[N, D]``."""
        kept: Tensor | None = getattr(self.model, "restore_item_e", None)
        table: Tensor = self.model.item_embedding.weight if kept is None else kept
        return table[: self.model.n_items]

    @torch.no_grad()
    def agrees(self, interaction: Any) -> bool:
        """Whether the products are the scores by which the model ranks, to a thousandth of their spread.

        Graph models compute the embeddings that they keep while they score, so that this comes before every search.
        """
        self.model.eval()
        try:
            scores = self.model.full_sort_predict(interaction).view(len(interaction), -1)
            vectors, _ = self.interests(interaction)
            products = vectors[:, 0] @ self.item_vectors().T
        except (AttributeError, TypeError, KeyError, RuntimeError, IndexError, NotImplementedError):
            return False
        check_finite(scores, self.model)
        return products.shape == scores.shape and float((products - scores).abs().max()) <= 1e-3 * float(scores.std())


def check_finite(values: Tensor, model: Any) -> None:
    """Raise :class:`InputError` if a value is NaN or infinite."""
    finite = bool(torch.isfinite(values).all())
    require(finite, f"model: '{type(model).__name__}' holds NaN or infinite values; its training has diverged")


def vectors_of(model: Any, eval_data: Any) -> Any:
    """What gives ``interests(interaction)`` and ``item_vectors()`` for ``model``; ``None`` if nothing does."""
    if hasattr(model, "interests") and hasattr(model, "item_vectors"):
        return model
    adapter = SingleVector(model)
    device = next(model.parameters(), torch.empty(0)).device
    few = next(iter(eval_data))[0][:64].to(device)
    return adapter if adapter.agrees(few) else None
