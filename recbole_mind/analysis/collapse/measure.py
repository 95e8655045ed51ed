"""Do a model's interests collapse, do they follow categories, do its lists cover more of them than a single vector's?

One pass over the test users; of each batch nothing is kept but sums and histograms. Rows of test data are called users
here: under leave-one-out they are.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from recbole_mind.analysis.collapse import categories as item_categories
from recbole_mind.analysis.collapse.categories import Categories
from recbole_mind.analysis.collapse.mutual_information import agreement
from recbole_mind.config.model_names import MODELS, models
from recbole_mind.errors import InputError, require
from recbole_mind.evaluation.breakdown import overlaps
from recbole_mind.evaluation.evaluator import SAMPLE, kept_out
from recbole_mind.evaluation.vectors import vectors_of
from recbole_mind.layers import interest_statistics
from recbole_mind.layers.recency import Recency
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.retrieval.types import Bools, Exclusions, Floats, Ints
from recbole_mind.training import checkpoint, load
from recbole_mind.training.load import Loaded
from recbole_mind.training.result import versions

ROWS = 512  # users of a batch
WITH_INTERESTS = tuple(name for name in MODELS if name != "YouTubeDNN")  # of ours


@torch.no_grad()
def build(
    path: str | Path,
    *,
    baseline: str | Path | None = None,
    category: str | None = None,
    n: int = 50,
    overrides: Mapping[str, Any] | None = None,
    show_progress: bool = False,
) -> dict[str, Any]:
    """Measure a checkpoint's interests and lists on all test users.

    Args:
        path: a checkpoint of MIND, ComiRecSA or ComiRecDR.
        baseline: a checkpoint of YouTubeDNN, or of another sequential model that ranks by products of vectors, trained
            on the same data.
        category: a field of the .item file; see :func:`recbole_mind.analysis.collapse.categories.read`.
        n: length of the lists, which the exact search gives.
        overrides: settings that win over the checkpoints', such as ``data_path`` or ``mask_history``.
        show_progress: on the terminal.

    Returns:
        ``model``, ``dataset``, ``checkpoint``, ``users``, ``K``, ``n``, ``mask_history``; ``interests``,
        ``categories``, ``lists``, ``by_interest``, ``recency``, ``gaps`` and ``baseline``, as :class:`_Interests`,
        :class:`_Lists` and :func:`_recency` say. What is not defined is not there: ``categories`` without any,
        ``cosine`` where nobody has two interests. A spread has ``users``, ``mean``, ``sd``, and a histogram: ``edges``
        and ``counts``.

    Raises:
        InputError: input that cannot be used, or a baseline on other data.
    """
    name = checkpoint.load(path)["settings"].get("model")
    allowed = [known for known in models() if known in WITH_INTERESTS or known not in MODELS]
    message = f"report: '{name}' has no interests to report on; allowed: {', '.join(allowed)}"
    require(name in allowed, message)
    loaded = _load(path, overrides, "report")
    require(getattr(loaded.model, "num_interests", None) is not None, message)
    require(1 <= n < loaded.dataset.item_num, f"n: {n} is not allowed; it is 1 to {loaded.dataset.item_num - 1}")
    categories = item_categories.read(loaded.dataset, category)
    other = None if baseline is None else _load(baseline, overrides, "baseline")
    if other is not None:
        _check_same(loaded, other)
    model = loaded.model
    interests = _Interests(model.num_interests, categories, model.max_seq_length)
    lists = _Lists(loaded, n, categories)
    beside = None if other is None else _Lists(other, n, categories)
    compared = np.zeros(3, np.int64)  # users with fewer, as many and more categories than the baseline's
    stride, start = max(1, -(-loaded.test_data.sample_size // SAMPLE)), 0
    device = next(model.parameters()).device
    batches = _tracked(loaded.test_data, f"{name}: interests", show_progress)
    for batch, other_batch in zip(batches, itertools.repeat(None) if other is None else other.test_data):  # noqa: B905
        found = model.encoded(batch[0].to(device))
        vectors, active = found.interests.float().cpu().numpy(), found.active.cpu().numpy()
        interests.add(found, batch[0][model.ITEM_SEQ].cpu(), batch[0][model.ITEM_SEQ_LEN].cpu())
        some = np.arange(-start % stride, len(active), stride)
        start += len(active)
        covered = lists.add(batch, vectors, active, some)
        if beside is not None and other is not None and other_batch is not None:
            _check_rows(loaded, batch, other, other_batch)
            vectors, active = (part.cpu().numpy() for part in beside.source.interests(other_batch[0].to(device)))
            theirs = beside.add(other_batch, vectors, active, some[:0])
            if covered is not None and theirs is not None:
                compared += np.bincount(np.sign(covered - theirs).astype(int) + 1, minlength=3)
    report = {
        "model": name,
        "dataset": loaded.config["dataset"],
        "checkpoint": str(path),
        "users": start,
        "K": model.num_interests,
        "n": n,
        "mask_history": bool(loaded.config["mask_history"]),
        **interests.result(),
        "lists": lists.result(),
        "by_interest": [own | of for own, of in zip(interests.each(), lists.each(), strict=True)],
    }
    report |= _recency(model)
    if beside is not None and other is not None:
        report["baseline"] = {"model": other.config["model"], "checkpoint": str(baseline)} | beside.result()
        report["baseline"] |= _recency(other.model)
        if categories is not None:
            shares = _rounded(compared / start)
            report["baseline"]["more_categories"] = {"fewer": shares[0], "equal": shares[1], "more": shares[2]}
    return report | {"versions": versions()}


def _recency(model: Any) -> dict[str, Any]:
    """``recency``: of each learned curve the share of its weights that each place has, newest first, of a full history.

    ``gaps``, of a model that reads times: ``span`` of the training data's, in the file's unit, and for each curve
    ``factors``, what multiplies a weight at each knot, from the smallest gap to the span, 1 where it is largest. Empty
    for a model that has learned neither.
    """
    found: dict[str, Any] = {}
    layer = next((part for part in model.modules() if isinstance(part, Recency)), None)
    if layer is not None and layer.log_weights is not None:
        found["recency"] = layer.log_weights.detach().float().softmax(1).cpu().numpy().round(6).tolist()
    if layer is not None and layer.log_gap_weights is not None:
        phi = layer.log_gap_weights.detach().float()
        factors = (phi - phi.amax(1, keepdim=True)).exp().cpu().numpy().round(6).tolist()
        found["gaps"] = {"span": float(model.time_gaps.span), "factors": factors}
    return found


# -- what is summed up --------------------------------------------------------------------------------------------


class Spread:
    """The mean, standard deviation and histogram of numbers that come in parts; NaN is left out.

    Args:
        low: left edge of the first bin.
        high: right edge of the last one; what lies beyond either counts in it.
        bins: how many.
    """

    def __init__(self, low: float, high: float, bins: int) -> None:
        self.edges = np.linspace(low, high, bins + 1)
        self.counts = np.zeros(bins, np.int64)
        self.number, self.total, self.squares = 0, 0.0, 0.0

    def add(self, values: Any) -> None:
        """Take in some numbers."""
        values = np.asarray(values, float)
        values = values[~np.isnan(values)]
        self.number += len(values)
        self.total += values.sum()
        self.squares += (values**2).sum()
        # a value on an edge must not change its bin by rounding
        clipped = np.clip(np.round(values, 6), self.edges[0], self.edges[-1])
        self.counts += np.histogram(clipped, np.round(self.edges, 6))[0]

    def result(self) -> dict[str, Any]:
        """``users``, ``mean``, ``sd``, ``edges`` and ``counts``; ``users`` alone if there are none."""
        if not self.number:
            return {"users": 0}
        mean = self.total / self.number
        sd = max(self.squares / self.number - mean**2, 0.0) ** 0.5
        return {
            "users": self.number,
            **{"mean": round(float(mean), 6), "sd": round(float(sd), 6)},
            **{"edges": _rounded(self.edges), "counts": self.counts.tolist()},
        }


class _Interests:
    """What the interests of all users come to.

    ``interests``: spreads of ``active``, of ``effective`` (exp of the entropy of the shares of the history that the
    interests take, :func:`~recbole_mind.layers.interest_statistics.history_shares`) and of ``cosine`` (a user's mean
    over pairs); ``alike``, the share of the users with two active interests or more whose pairwise cosines all exceed
    0.95; ``one_item``, the share of interests that have collapsed onto one behaviour
    (:func:`~recbole_mind.layers.interest_statistics.one_item_interests`).

    ``categories``: the ``field``, its number of ``values``, and spreads of ``nmi``, ``chance`` and ``ami``
    (:mod:`recbole_mind.analysis.collapse.mutual_information`); the category of a behaviour is the rarest of those that
    its item has.
    """

    def __init__(self, K: int, categories: Categories | None, longest: int) -> None:
        self.K, self.categories = K, categories
        most = max(K, 2)
        self.active, self.effective = Spread(0.5, K + 0.5, K), Spread(1, most, 20)
        self.cosine = Spread(-1, 1, 40)
        self.agree = Spread(0, 1, 20), Spread(0, 1, 20), Spread(-1, 1, 40)
        self.alike = self.users = 0
        # of each interest: users who have it, its share of their history, asked and found to be one item
        self.of_each = np.zeros((4, K))
        self.label = None if categories is None else torch.from_numpy(categories.rarest())

    def add(self, found: Any, item_seq: torch.Tensor, lengths: torch.Tensor) -> None:
        active, weights = found.active.cpu(), found.weights.float().cpu()
        mean, lowest = interest_statistics.pairwise_cosine(found.interests.float().cpu(), active)
        shares = interest_statistics.history_shares(weights)
        alone, asked = interest_statistics.one_item_interests(weights, active, lengths)
        self.users += len(active)
        self.active.add(active.sum(1))
        self.effective.add(interest_statistics.effective_interests(shares.double()))
        self.cosine.add(mean)
        self.alike += int((lowest > interest_statistics.COLLAPSED).sum())
        self.of_each += np.stack([part.double().sum(0).numpy() for part in (active, shares, asked, alone)])
        if self.label is not None:
            strongest = weights.argmax(1)  # [B, L]; a tie goes to the first
            L = strongest.shape[1]
            label = self.label[item_seq[:, :L]] * (torch.arange(L) < lengths[:, None])
            scores = agreement(strongest.numpy(), label.numpy(), active.sum(1).numpy())
            for spread, values in zip(self.agree, scores, strict=True):
                spread.add(values)

    def result(self) -> dict[str, Any]:
        _, _, asked, alone = self.of_each.sum(1)
        several = self.cosine.number
        interests: dict[str, Any] = {
            "active": self.active.result(),
            "effective": self.effective.result(),
            "cosine": self.cosine.result(),
            "alike": {"users": several} | ({"share": _share(self.alike, several)} if several else {}),
            "one_item": {"interests": int(asked)} | ({"share": _share(alone, asked)} if asked else {}),
        }
        if self.categories is None:
            return {"interests": interests}
        scores = zip(("nmi", "chance", "ami"), (spread.result() for spread in self.agree), strict=True)
        values = {"field": self.categories.field, "values": len(self.categories.names)}
        return {"interests": interests, "categories": values | dict(scores)}

    def each(self) -> list[dict[str, Any]]:
        """Of each interest the share of users who have it, its mean share of a history, and of one-item users."""
        rows = []
        for k, (users, mass, asked, alone) in enumerate(self.of_each.T):
            row: dict[str, Any] = {"interest": k, "users": _share(users, self.users)}
            row["history"] = _share(mass, self.users)
            rows.append(row | ({"one_item": _share(alone, asked)} if asked else {}))
        return rows


class _Lists:
    """What the lists of all users come to.

    ``recall``, RecBole's; ``distinct``, a spread of how many categories a list holds, and ``entropy``, of their entropy
    in nats (:meth:`~recbole_mind.analysis.collapse.categories.Categories.coverage`); ``overlap`` of the lists of a
    user's interests (:func:`~recbole_mind.evaluation.breakdown.overlaps`), on up to 1000 users: ``jaccard`` and
    ``distinct``.
    """

    def __init__(self, loaded: Loaded, n: int, categories: Categories | None) -> None:
        source = vectors_of(loaded.model, loaded.test_data)
        name = loaded.config["model"]
        require(source is not None, f"baseline: '{name}' does not rank by products of vectors; allowed: YouTubeDNN")
        self.source, self.n, self.categories = source, n, categories
        items = source.item_vectors().detach().float().cpu().numpy()[1:]
        require(bool(np.isfinite(items).all()), f"model: '{name}' holds NaN or infinite values; its training diverged")
        device = next(loaded.model.parameters()).device.type
        self.index = MultiVectorIndex.build(items, "exact", device=device)
        self.recall = Spread(0, 1, 1)
        several = 1 if categories is None else len(categories.names)
        most = several if categories is None else min(several, n * categories.values.shape[1])
        self.distinct, self.entropy = Spread(-0.5, most + 0.5, most + 1), Spread(0, max(np.log(most), 1e-3), 30)
        self.jaccard, self.different = Spread(0, 1, 1), Spread(0, 1, 1)
        self.K = getattr(loaded.model, "num_interests", None) or 1
        self.listed, self.hits = np.zeros(self.K, np.int64), np.zeros(self.K, np.int64)

    def add(self, batch: Any, interests: Floats, active: Bools, some: Ints) -> Floats | None:
        """Search for a batch; the lists of the interests are compared for ``some`` of its rows.

        Returns:
            the number of categories in each list, ``[B]``, if there are any.
        """
        _, history, rows, targets = batch
        pairs = kept_out(history)
        pairs = pairs[np.argsort(pairs[:, 0], kind="stable")]
        left_out = Exclusions(pairs[:, 0], pairs[:, 1] - 1)
        result = self.index.search(interests, active, self.n, exclude=left_out)
        wanted = np.unique(torch.stack([rows, targets], dim=1).cpu().numpy(), axis=0)
        hits = result.ids[wanted[:, 0]] == wanted[:, 1:] - 1  # [P, n]
        B = len(interests)
        with np.errstate(invalid="ignore"):  # a row without a target has no recall
            self.recall.add(np.bincount(wanted[:, 0], hits.any(1), B) / np.bincount(wanted[:, 0], minlength=B))
        self.listed += np.bincount(result.interests[result.ids >= 0], minlength=self.K)
        self.hits += np.bincount(result.interests[wanted[:, 0]][hits], minlength=self.K)
        if len(some) and self.K > 1:
            own = left_out.of(some, B)
            found = overlaps(self.index, interests[some], active[some], own, self.n)
            for spread, values in zip((self.jaccard, self.different), found, strict=True):
                spread.add(values)
        if self.categories is None:
            return None
        distinct, entropy = self.categories.coverage(np.where(result.ids < 0, 0, result.ids + 1))
        self.distinct.add(distinct)
        self.entropy.add(entropy)
        return distinct

    def result(self) -> dict[str, Any]:
        found: dict[str, Any] = {"recall": self.recall.result().get("mean", 0.0)}
        if self.jaccard.number:
            means = [spread.result()["mean"] for spread in (self.jaccard, self.different)]
            found["overlap"] = {"users": self.jaccard.number, "jaccard": means[0], "distinct": means[1]}
        if self.categories is None:
            return found
        return found | {"distinct": self.distinct.result(), "entropy": self.entropy.result()}

    def each(self) -> list[dict[str, Any]]:
        """Of each interest the share of the listed items, and of the hits, that it brought."""
        listed, hits = int(self.listed.sum()), int(self.hits.sum())
        rows: Iterable[tuple[int, int]] = zip(self.listed.tolist(), self.hits.tolist(), strict=True)
        return [{"listed": _share(a, listed)} | ({"hits": _share(b, hits)} if hits else {}) for a, b in rows]


def _share(part: float, whole: float) -> float:
    return round(float(part) / max(float(whole), 1.0), 6)


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 6) for value in values]


# -- checkpoints --------------------------------------------------------------------------------------------------


def _load(path: str | Path, overrides: Mapping[str, Any] | None, key: str) -> Loaded:
    given = {"checkpoint_dir": str(Path(path).parent), "eval_batch_size": ROWS, "show_progress": False}
    loaded = load.load(path, given | dict(overrides or {}))
    full = isinstance(loaded.test_data, FullSortEvalDataLoader)
    mode = loaded.config["eval_args"]["mode"]
    require(full, f"{key}: '{path}' is tested with eval_args mode '{mode}'; allowed: full")
    sequential = loaded.config["MODEL_TYPE"].name == "SEQUENTIAL"
    require(sequential, f"{key}: '{loaded.config['model']}' reads no histories; allowed: {', '.join(models())}")
    return loaded


def _check_same(loaded: Loaded, other: Loaded) -> None:
    for what, field in (("items", loaded.dataset.iid_field), ("users", loaded.dataset.uid_field)):
        tokens = [one.dataset.field2id_token.get(field) for one in (loaded, other)]
        if tokens[1] is None or not np.array_equal(tokens[0], tokens[1]):
            raise InputError(f"baseline: its {what} are not those of the model; both must be trained on the same data")
    same = loaded.test_data.sample_size == other.test_data.sample_size
    require(same, "baseline: it is tested on other users; both must be split alike")


def _check_rows(loaded: Loaded, batch: Any, other: Loaded, other_batch: Any) -> None:
    field = loaded.dataset.uid_field
    same = torch.equal(batch[0][field], other_batch[0][field]) and torch.equal(batch[3], other_batch[3])
    require(same, "baseline: it is tested on other users; both must be split alike")


def _tracked(loader: Any, text: str, show_progress: bool) -> Iterable[Any]:
    """The batches, with the time that is left on the terminal."""
    console = Console(stderr=True)
    columns = [TextColumn("{task.description}"), BarColumn(24), TaskProgressColumn(), TextColumn("left")]
    quiet = not (show_progress and console.is_terminal)
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=quiet, transient=True) as bar:
        yield from bar.track(loader, total=len(loader), description=text)
