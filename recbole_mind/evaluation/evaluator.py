"""RecBole's evaluation through :mod:`recbole_mind.retrieval`: the search that serves is the search that is measured.

``eval_search`` chooses: ``dense`` is RecBole's own path; ``exact`` or a FAISS factory string searches. ``auto`` (the
default) searches exactly for this package's models, and leaves to RecBole's path other models and whatever a search
cannot serve: candidates that are sampled, metrics that need every score (AUC, GAUC, LogLoss, MAE, RMSE), and models
that give no user vector. Who names a search where it cannot serve gets an error, not another figure.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator.collector import DataStruct
from rich.console import Console
from rich.progress import track

from recbole_mind.errors import InputError
from recbole_mind.evaluation.index_cache import IndexCache
from recbole_mind.evaluation.outcome import EvaluationResult, Outcome
from recbole_mind.evaluation.rounding import rounded
from recbole_mind.evaluation.vectors import check_finite, vectors_of
from recbole_mind.retrieval.faiss_backend import check_factory, parse
from recbole_mind.retrieval.index import MultiVectorIndex, overlap
from recbole_mind.retrieval.types import Bools, Exclusions, Floats, Ints

SERVED = frozenset(
    {"rec.items", "rec.topk", "data.num_items", "data.num_users", "data.count_items", "data.count_users"}
)


SAMPLE = 1000  # users on whom an approximate search is held against the exact one


ROWS = 4096  # searched at once


def chosen(trainer: Any, eval_data: Any) -> tuple[str, Any] | None:
    """The factory to search with and what gives the vectors; ``None`` where RecBole's own path is to be taken.

    Raises:
        InputError: a search is asked for by name that cannot serve.
    """
    asked = "auto" if trainer.config["eval_search"] is None else trainer.config["eval_search"]
    ours = hasattr(trainer.model, "interests")
    if asked == "dense" or (asked == "auto" and not ours):
        return None
    unserved = None
    need = {need: name for name, metric in trainer.evaluator.metric_class.items() for need in metric.metric_need}
    other = [name for what, name in need.items() if what not in SERVED]
    if not isinstance(eval_data, FullSortEvalDataLoader):
        unserved = f"eval_args mode '{trainer.config['eval_args']['mode']}': it ranks the whole catalogue"
    elif other:
        unserved = f"metric '{other[0]}', which needs the score of every item"
    else:
        vectors = vectors_of(trainer.model, eval_data)
        if vectors is not None:
            return "exact" if asked == "auto" else asked, vectors
        unserved = f"model '{trainer.config['model']}', which does not rank by products of vectors"
    if asked == "auto":
        return None
    raise InputError(f"eval_search: '{asked}' cannot serve {unserved}; allowed: dense")


def check(trainer: Any, *loaders: Any) -> None:
    """Raise :class:`InputError` if the search that the settings name cannot serve; for the time before training."""
    if trainer.config["eval_search"] in (None, "auto", "dense"):
        return
    searches = [search for search in (chosen(trainer, loader) for loader in loaders if loader) if search]
    if searches:
        factory, vectors = searches[0]
        check_factory(factory, _items(vectors), trainer.config["search_parameters"], "eval_search")


def _items(vectors: Any) -> Floats:
    """``[N - 1, D]``, without padding."""
    table = vectors.item_vectors().detach().float()
    check_finite(table, getattr(vectors, "model", vectors))
    items: Floats = table.cpu().numpy()[1:]
    return items


def evaluate(
    trainer: Any,
    eval_data: Any,
    dense: Callable[[], dict[str, float]],
    *,
    indexes: IndexCache | None = None,
    show_progress: bool = False,
) -> EvaluationResult:
    """Evaluate a trainer's model as it is, by the search that the settings choose.

    Args:
        trainer: one of RecBole's, of whose collector and metrics the search makes use.
        eval_data: a loader.
        dense: RecBole's own evaluation, for what is not searched.
        indexes: where the index of the last search is kept, to be used again.
        show_progress: on a terminal.

    Raises:
        InputError: a search is asked for by name that cannot serve.
    """
    search = chosen(trainer, eval_data)
    if search is None:
        return EvaluationResult(dense())
    return _by_search(trainer, eval_data, *search, indexes or IndexCache(), show_progress)


@torch.no_grad()
def _by_search(
    trainer: Any, eval_data: Any, factory: str, vectors: Any, indexes: IndexCache, show_progress: bool
) -> EvaluationResult:
    """Fill RecBole's collector by a search and let RecBole's metrics speak.

    With an approximate index the result also holds ``search_recall@n``, its recall against the exact search on up to
    1000 users. Where fewer than n items are allowed, RecBole's metrics beyond accuracy (AveragePopularity, ...) see the
    padding item in the empty places; its dense path fills them with items that are masked.
    """
    n = max(trainer.config["topk"])
    trainer.model.eval()
    device = "cuda" if trainer.device.type == "cuda" else "cpu"
    index = indexes.get(_items(vectors), factory, device)
    index.set_parameters(**parse(trainer.config["search_parameters"]))
    outcome = _search(trainer, eval_data, index, vectors, n, show_progress)
    topk = torch.from_numpy(np.column_stack([outcome.hits(), outcome.numbers()]).astype(np.int64))
    collector = trainer.eval_collector.data_struct
    collector.set("rec.topk", topk)
    collector.set("rec.items", torch.from_numpy(np.maximum(outcome.ids, 0).astype(np.int64)))
    struct = trainer.eval_collector.get_data_struct()
    figures: dict[str, float] = trainer.evaluator.evaluate(struct)
    if f"recall@{n}" in outcome.search:
        figures[f"search_recall@{n}"] = outcome.search[f"recall@{n}"]
    if not trainer.config["single_spec"]:
        figures = trainer._map_reduce(figures, 4 * len(eval_data))  # as RecBole weights its processes
        if f"recall@{n}" in outcome.search:
            users = torch.tensor(outcome.search["users"], device=trainer.device)
            torch.distributed.all_reduce(users)
            whole = {f"recall@{n}": figures[f"search_recall@{n}"], "users": int(users)}
            outcome = replace(outcome, search=outcome.search | whole)
    trainer.wandblogger.log_eval_metrics(figures, head="eval")
    return EvaluationResult(figures, outcome, topk)


def _search(
    trainer: Any, eval_data: Any, index: MultiVectorIndex, vectors: Any, n: int, show_progress: bool
) -> Outcome:
    console = Console(stderr=True)
    batches = track(
        eval_data,
        description=f"{trainer.config['model']}: evaluating",
        total=len(eval_data),
        console=console,
        disable=not (show_progress and console.is_terminal),
        transient=True,
    )
    found, counts, lengths, targets, sampled = [], [], [], [], []
    stride = max(1, math.ceil(eval_data.sample_size / SAMPLE))  # the rows of all processes
    start = 0
    for group in _grouped(batches, trainer.device, vectors):
        interests, active, length, left_out, pairs = group
        result = index.search(interests, active, n, exclude=left_out)
        ids = np.where(result.ids < 0, -1, result.ids + 1).astype(np.int32)
        found.append((ids, result.interests.astype(np.int32)))
        counts.append(active.sum(1))
        lengths.append(length)
        pairs = np.unique(pairs, axis=0)
        targets.append(np.column_stack([pairs[:, 0] + start, pairs[:, 1], _places(ids, pairs)]))
        some = np.arange(-start % stride, len(active), stride)
        sampled.append((start + some, interests[some], active[some], left_out.of(some, len(active))))
        start += len(active)
    ids, origin = (np.concatenate(arrays) for arrays in zip(*found, strict=True))
    chosen_rows, sample = _joined(sampled)
    search: dict[str, Any] = {"factory": index.factory, "parameters": index.parameters}
    if index.factory != "exact":
        truth = index.search_exactly(*sample[:2], n, exclude=sample[2]).ids
        recall = overlap(np.where(ids[chosen_rows] < 0, -1, ids[chosen_rows] - 1), truth)
        search |= {f"recall@{n}": rounded(recall, trainer.config["metric_decimal_place"]), "users": len(truth)}
    rows, items_wanted, places = np.concatenate(targets).T
    return Outcome(
        ids,
        origin,
        np.concatenate(counts),
        np.concatenate(lengths),
        rows,
        items_wanted,
        places,
        search,
        sample,
        index,
    )


def _places(ids: npt.NDArray[np.int32], pairs: Ints) -> Ints:
    """Where the item of each pair ``[P, 2]`` of row and item stands in ``ids`` [B, n]; -1 where it does not."""
    places = np.full(len(pairs), -1)
    step = max(1, 2**22 // ids.shape[1])
    for start in range(0, len(pairs), step):
        part = pairs[start : start + step]
        matches = ids[part[:, 0]] == part[:, 1:]
        places[start : start + step] = np.where(matches.any(1), matches.argmax(1), -1)
    return places


def _grouped(batches: Any, device: Any, vectors: Any) -> Iterator[tuple[Floats, Bools, Ints, Exclusions, Ints]]:
    """Rows of several batches together, about :data:`ROWS` at a time.

    Yields:
        interests ``[B, K, D]``, active ``[B, K]``, lengths ``[B]``, exclusions, and ``[P, 2]`` pairs of row and target.
    """
    parts: list[tuple[Floats, Bools, Ints, Ints, Ints]] = []
    rows = 0
    for interaction, history, positive_u, positive_i in batches:
        interests, active = vectors.interests(interaction.to(device))
        length = getattr(getattr(vectors, "model", vectors), "ITEM_SEQ_LEN", None)
        left_out = kept_out(history)
        parts.append(
            (
                interests.float().cpu().numpy(),
                active.cpu().numpy(),
                interaction[length].cpu().numpy() if length else np.zeros(0, np.int64),
                left_out + np.array([rows, -1]),
                torch.stack([positive_u, positive_i], dim=1).numpy() + np.array([rows, 0]),
            )
        )
        rows += len(interests)
        if rows >= ROWS:
            yield _together(parts)
            parts, rows = [], 0
    if parts:
        yield _together(parts)


def kept_out(history: Any) -> Ints:
    """What a loader keeps out of the ranking, ``[P, 2]`` pairs of row and item, without padding."""
    if history is None:
        return np.zeros((0, 2), np.int64)
    pairs: Ints = torch.stack([torch.as_tensor(part).cpu().long() for part in history], dim=1).numpy()
    return pairs[pairs[:, 1] > 0]


def _together(parts: list[tuple[Floats, Bools, Ints, Ints, Ints]]) -> tuple[Floats, Bools, Ints, Exclusions, Ints]:
    interests, active, lengths, left_out, targets = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    left_out = left_out[np.argsort(left_out[:, 0], kind="stable")]  # it mostly is in order
    return interests, active, lengths, Exclusions(left_out[:, 0], left_out[:, 1]), targets


def _joined(sampled: list[tuple[Ints, Floats, Bools, Exclusions]]) -> tuple[Ints, tuple[Floats, Bools, Exclusions]]:
    """The sampled rows and what was searched for them, with exclusions numbered within the sample."""
    rows, interests, active, left_out = zip(*sampled, strict=True)
    starts = np.cumsum([0, *(len(part) for part in rows)])
    pairs = Exclusions(
        np.concatenate([part.rows + start for part, start in zip(left_out, starts[:-1], strict=True)]),
        np.concatenate([part.ids for part in left_out]),
    )
    return np.concatenate(rows), (np.concatenate(interests), np.concatenate(active), pairs)


def metrics_of(trainer: Any, hits: Bools, numbers: Ints) -> dict[str, float]:
    """RecBole's top-k metrics of rows with ``hits`` [R, n] among ``numbers`` [R] targets each."""
    struct = DataStruct()
    struct.set("rec.topk", torch.from_numpy(np.column_stack([hits, numbers]).astype(np.int64)))
    result: dict[str, float] = {}
    for metric in trainer.evaluator.metric_class.values():
        if set(metric.metric_need) == {"rec.topk"}:
            result |= {name: float(value) for name, value in metric.calculate_metric(struct).items()}
    return result
