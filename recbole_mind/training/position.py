"""Where a training run stands: what it needs, besides weights and optimizer, to go on as if it had never stopped."""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from recbole_mind.config import window
from recbole_mind.errors import require
from recbole_mind.util import json_text

# What a run's best score so far was reached with, and its optimizer goes on with.
_KEPT = (
    "valid_metric", "metrics", "topk", "eval_args", "mask_history", "repeatable", "learner", "learning_rate",
    "weight_decay", "metric_decimal_place",
)  # fmt: skip


class Position:
    """What a place between two batches of a training depends on, beside the batches done.

    Args:
        loader: the training loader.
        model: the model in training.

    Every random number of a run comes from the generators of Python, NumPy and torch, the loader's and the model's.
    The order of an epoch is drawn when it begins, so that the loader's generator counts as of then.
    """

    def __init__(self, loader: Any, model: Any) -> None:
        self.loader, self.model = loader, model
        self._resumed: dict[str, Any] | None = None  # a state to go to when the next epoch begins
        self.begin()

    def begin(self) -> None:
        """An epoch is about to begin."""
        generator = getattr(self.loader, "generator", None)
        self._order = None if generator is None else generator.get_state()

    def state(self, epoch: int, batch: int, loss: float) -> dict[str, Any]:
        """The place, as tensors and plain values.

        Args:
            epoch: the one that runs.
            batch: how many of its batches are done.
            loss: the sum of their losses.
        """
        kind, keys, *rest = np.random.get_state()  # RecBole's samplers draw from it
        own = getattr(self.model, "generator", None)
        return {
            "epoch": epoch,
            "batch": batch,
            "batches": len(self.loader),
            "loss": loss,
            "order": self._order,
            "python": random.getstate(),
            "numpy": [str(kind), torch.from_numpy(np.asarray(keys).astype(np.int64)), *rest],
            "torch": torch.get_rng_state(),
            "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            "model": own.get_state() if isinstance(own, torch.Generator) else None,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go to the place of ``state``: the loader's next epoch begins after the batches done.

        Raises:
            InputError: it is in the middle of an epoch of another number of batches.
        """
        batches = len(self.loader)
        require(
            state["batch"] == 0 or batches == state["batches"],
            f"train_batch_size: the checkpoint stands in an epoch of {state['batches']} batches, not {batches}; set it "
            "as it was",
        )
        self._order = state["order"]
        if self._order is not None:
            self.loader.generator.set_state(self._order.cpu())
        self._resumed = state

    def batches(self) -> Any:
        """The batches of this epoch that are still to do."""
        state, self._resumed = self._resumed, None
        order = getattr(self.loader, "order", None)
        if state is not None and order is not None:
            order.skip(state["batch"])
        batches = iter(self.loader)
        if state is not None:
            if order is None:  # RecBole's loader cannot skip
                for _ in range(state["batch"]):
                    next(batches)
            self._restore_random(state)
        return batches

    def _restore_random(self, state: dict[str, Any]) -> None:
        random.setstate(_tuple(state["python"]))
        kind, keys, *rest = state["numpy"]
        np.random.set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))
        torch.set_rng_state(state["torch"].cpu())
        if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([part.cpu() for part in state["cuda"]])
        if state["model"] is not None:
            self.model.generator.set_state(state["model"].cpu())


def check_same(in_force: Any, trained: Mapping[str, Any], what: str) -> None:
    """Raise :class:`InputError` unless ``what`` has the model and the split that the settings ask for."""
    found = trained["model"]
    require(str(found).lower() == in_force["model"].lower(), f"{what} is of model {found}, not {in_force['model']}")
    protocol = trained.get("protocol")
    require(
        protocol == in_force["protocol"],
        f"{what} was trained under protocol {protocol}, not {in_force['protocol']}",
    )
    order = trained.get("timestamp_order", "recbole")
    require(
        order == (in_force["timestamp_order"] or "recbole"),
        f"{what} was trained with timestamp_order '{order}', which splits the data another way",
    )
    window.check_same(in_force, trained, what)
    for key in _KEPT:
        if key in trained:
            then, now = (None if value is False else value for value in (trained[key], json_text.plain(in_force[key])))
            require(then == now, f"{key}: {what} was trained with {then!r}, and cannot go on with {now!r}; set it so")
    if trained.get("loss_type") == in_force["loss_type"] == "sampled" and "sampled_form" not in trained:
        good = in_force["sampled_form"] == "nce"
        require(good, f"{what} is of a release whose sampled softmax was ranking NCE; set sampled_form=nce to go on")


def check_position(state: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` if ``state`` is none that :meth:`Position.state` gave."""
    try:
        good = all(type(state[key]) is int and 0 <= state[key] < 2**31 for key in ("epoch", "batch", "batches"))
        good = good and isinstance(state["loss"], (int, float))
        generator = torch.Generator()
        for part in (state["order"], state["torch"], *state["cuda"], state["model"]):
            good = good and (part is None or (isinstance(part, torch.Tensor) and part.dtype == torch.uint8))
        for part in (state["torch"], *([] if state["order"] is None else [state["order"]])):
            generator.set_state(part.cpu())
        random.Random().setstate(_tuple(state["python"]))  # noqa: S311 - nothing secret
        kind, keys, *rest = state["numpy"]
        np.random.RandomState().set_state((kind, keys.cpu().numpy().astype(np.uint32), *rest))
    except Exception:  # each generator has words of its own for a state that is not its own
        good = False
    require(good, "the checkpoint is corrupt: where its training stood is of another kind than it was saved as")


def _tuple(value: Any) -> Any:
    return tuple(_tuple(part) for part in value) if isinstance(value, (list, tuple)) else value
