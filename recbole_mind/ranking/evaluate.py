"""What a ranker makes of recalled lists: the final lists, and how far its probabilities can be believed."""

from __future__ import annotations

import hashlib
import math
from typing import Any, NamedTuple

import numpy as np
import torch
from sklearn.metrics import log_loss, roc_auc_score

from recbole_mind.errors import require
from recbole_mind.evaluation.hits import Hits, per_user
from recbole_mind.ranking.batches import RankingBatches
from recbole_mind.retrieval.types import Bools

TOPK = (10, 50)
_CANDIDATES = 20_000  # at a time


class TwoStages(NamedTuple):
    """What the two stages come to on some lists.

    Attributes:
        recall: what recall alone found, and
        ranked: what the ranker made of its candidates.
        auc: of the ranker's probabilities on targets and drawn negatives.
        pcoc: their mean over the share of targets: 1 is calibrated, as the negatives are drawn.
        loss: their binary cross entropy.
    """

    recall: Hits
    ranked: Hits
    auc: float
    pcoc: float
    loss: float

    def figures(self) -> dict[str, float]:
        """By name: those of the final list, ``recall_...`` those of recall alone, and the three of the ranker."""
        found = {}
        for name, hits in (("", self.ranked), ("recall_", self.recall)):
            for metric in ("ndcg", "recall"):
                for k in TOPK:
                    found[f"{name}{metric}@{k}"] = float(per_user(hits, f"{metric}@{k}").mean())
        return found | {"auc": self.auc, "pcoc": self.pcoc, "loss": self.loss}


@torch.no_grad()
def ranked_order(model: Any, batches: RankingBatches) -> torch.Tensor:
    """``[R, M]``, the places of each list's candidates by the ranker, best first; ties stay in recall's order."""
    lists = batches.lists
    R, M = lists.ids.shape
    model.eval()
    device = model.popularity.device
    logits = torch.full((R, M), -torch.inf)
    step = max(1, _CANDIDATES // M)
    for begin in range(0, R, step):
        rows = torch.arange(begin, min(begin + step, R)).repeat_interleave(M)
        part = slice(begin, begin + step)
        ids, scores, origins = (values[part].flatten() for values in (lists.ids, lists.scores, lists.origins))
        found = model.logits(batches.interaction(rows, ids, scores, origins).to(device)).cpu()
        logits[part] = found.masked_fill(ids == 0, -torch.inf).view(-1, M)
    return logits.argsort(dim=1, descending=True, stable=True)


@torch.no_grad()
def evaluate(model: Any, batches: RankingBatches) -> TwoStages:
    """Judge a ranker.

    Args:
        model: the ranker.
        batches: of the lists that it is judged on, with their targets.
    """
    lists = batches.lists
    found, numbers = lists.found(), lists.numbers()
    kept = numbers > 0
    order = ranked_order(model, batches).numpy()
    after: Bools = np.take_along_axis(found, order, axis=1)
    short = max(0, max(TOPK) - found.shape[1])
    found, after = (np.pad(part, ((0, 0), (0, short))) for part in (found, after))
    users = hashlib.sha256(lists.users.numpy()[kept].tobytes()).hexdigest()
    top = max(TOPK)
    recall, ranked = (Hits(hits[kept, :top], numbers[kept], users) for hits in (found, after))
    return TwoStages(recall, ranked, *_calibration(model, batches))


@torch.no_grad()
def _calibration(model: Any, batches: RankingBatches) -> tuple[float, float, float]:
    """AUC, PCOC and loss on the lists' targets that recall brings and on drawn negatives; NaN where it brings none."""
    if not len(batches.rows):
        return math.nan, math.nan, math.nan
    generator = torch.Generator().manual_seed(0)
    labels, guesses = [], []
    for chosen in torch.split(torch.arange(len(batches.rows)), 1024):
        drawn = batches.batch(chosen, generator)
        guesses.append(model.predict(drawn.to(model.popularity.device)).cpu().double().numpy())
        labels.append(drawn[model.LABEL_FIELD].numpy())
    label, guess = np.concatenate(labels), np.concatenate(guesses)
    diverged = "the ranker's probabilities are no numbers: learning_rate is too high for these settings; try a tenth"
    require(bool(np.isfinite(guess).all()), diverged)
    if label.all():  # each draw was a target
        return math.nan, float(guess.mean()), float(-np.log(guess).mean())
    loss = log_loss(label, guess.clip(1e-7, 1 - 1e-7))
    return float(roc_auc_score(label, guess)), float(guess.mean() / label.mean()), float(loss)
