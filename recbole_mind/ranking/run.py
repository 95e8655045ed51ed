"""Train a ranker on what a trained recall brings, and judge the two stages together."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader

from recbole_mind.config import in_force, keys, loading
from recbole_mind.errors import InputError, nearest, require
from recbole_mind.ranking.batches import RankingBatches
from recbole_mind.ranking.din import RankingDIN
from recbole_mind.ranking.evaluate import TwoStages, evaluate
from recbole_mind.ranking.recalled import RecalledLists, RecallStage
from recbole_mind.ranking.settings import RankingSettings, settings
from recbole_mind.ranking.trainer import Judged, RankingTrainer
from recbole_mind.training import checkpoint, describe
from recbole_mind.training.build import build_config, check_writable, quiet
from recbole_mind.training.load import Loaded, load
from recbole_mind.training.result import versions
from recbole_mind.util import json_text
from recbole_mind.util.files import sha256, write_atomic

_JUDGED = 2000  # histories at most, by which an epoch is chosen
_OF_RECALL = ("data_path", "checkpoint_dir", "mask_history", "eval_batch_size", "use_gpu", "gpu_id", "state")
METRIC = "NDCG@10"  # of the final list, which chooses the epoch


@dataclass(frozen=True)
class RankingResult:
    """What a ranker's training came to; ``--record`` writes it as JSON.

    Attributes:
        model, dataset: of recall.
        settings: the ranker's.
        seed: of its training.
        valid, test: figures of both stages (:meth:`~recbole_mind.ranking.evaluate.TwoStages.figures`), on the held-out
            histories and on the test data.
        positives: that it learnt from.
        epochs: trained.
        seconds: wall time.
        checkpoint: the ranker's best epoch.
        recall: the checkpoint of recall, and its SHA-256.
        versions: of Python and the libraries.
    """

    model: str
    dataset: str
    settings: dict[str, Any]
    seed: int
    valid: dict[str, float]
    test: dict[str, float]
    positives: int
    epochs: int
    seconds: float
    checkpoint: str
    recall: dict[str, str]
    versions: dict[str, str]

    def write(self, path: str | Path) -> None:
        """Write the record as JSON, atomically."""
        write_atomic(path, json_text.to_json(asdict(self)))


@dataclass(frozen=True)
class Ranker:
    """A trained ranker with what it is of.

    Attributes:
        model: the ranker.
        loaded: recall, with its data.
        stage: recall, ready to bring candidates.
        settings: the ranker's.
        config: RecBole's, of the ranker.
        valid: figures on the held-out histories; empty where it was not trained here.
    """

    model: RankingDIN
    loaded: Loaded
    stage: RecallStage
    settings: RankingSettings
    config: Any
    valid: dict[str, float]

    def judged(self, lists: RecalledLists) -> TwoStages:
        """The two stages on lists."""
        return evaluate(self.model, self.batches(lists))

    def batches(self, lists: RecalledLists) -> RankingBatches:
        """Batches of the lists' targets and negatives."""
        return RankingBatches(self.config, self.loaded.train_data._dataset, self.stage, lists, self.settings)

    def test_lists(self) -> RecalledLists:
        """What recall brings for the test data."""
        return self.stage.lists(self.loaded.test_data, self.settings.candidates)


def rank(
    path: str | Path,
    given: Mapping[str, Any] | None = None,
    *,
    seed: int | None = None,
    record: str | Path | None = None,
    resume: str | Path | None = None,
    show_progress: bool = False,
    test: bool = True,
) -> tuple[RankingResult, Ranker]:
    """Train RecBole's DIN to rank what a trained recall brings.

    Args:
        path: the checkpoint of recall.
        given: the ranker's settings (``properties/ranking/DIN.yaml``), and of recall's those that say where its data
            are and how it is run.
        seed: of the ranker's training; recall's by default.
        record: where to write the result as JSON.
        resume: a checkpoint of the ranker to go on from.
        show_progress: on a terminal.
        test: whether to judge the best epoch on the test data.

    Returns:
        what it came to, and the ranker's best epoch.

    Raises:
        InputError: input that cannot be used; nothing has been written then.
        InterruptedRun: Ctrl-C during training.
    """
    began = time.perf_counter()
    own, rest = settings(given or {})
    require(record is None or not Path(record).is_dir(), f"record: '{record}' is a folder; name a file")
    loaded = _recall(path, rest)
    seed = loaded.config["seed"] if seed is None else seed
    config = _config(loaded, own, seed, rest)
    check_writable(Path(config["checkpoint_dir"]))
    if record is not None:
        check_writable(Path(record).parent)
    with quiet(config):
        stage = RecallStage(loaded.model, own.history)
        learnt, held = _lists(loaded, stage, own, seed)
        model = _model(config, loaded, stage, own)
        model.calibrate(learnt.scores[learnt.ids > 0], 1 / (1 + own.num_negatives))
        mark = sha256(path)
        masked = bool(loaded.config["mask_history"])
        if not masked:
            logging.getLogger().warning(
                "mask_history is False: candidates hold items of the history, which recommend leaves out by default"
            )
        made = {"seed": seed, "mask_history": masked}
        trainer = RankingTrainer(config, model, {"recall": mark, "settings": own.model_dump(), **made})
        if resume is not None:
            _check_resumed(resume, path, own.model_dump() | made)
            trainer.resume_checkpoint(str(resume))
        dataset = loaded.train_data._dataset
        train = RankingBatches(config, dataset, stage, learnt, own)
        few = f"recall brings {len(train.rows)} of {len(learnt.rows)} clicks: too few to learn from"
        require(len(train.rows) > 1, f"candidates: among {own.candidates} {few}")
        judged = Judged(RankingBatches(config, dataset, stage, held, own))
        trainer.fit(train, judged, show_progress=show_progress)
        checkpoint.restore(model, checkpoint.load(trainer.saved_model_file, config["device"]))
        ranker = Ranker(model.eval(), loaded, stage, own, config, dict(trainer.best_valid_result))
        tested = ranker.judged(ranker.test_lists()).figures() if test else {}
    result = RankingResult(
        model=loaded.config["model"],
        dataset=loaded.config["dataset"],
        settings=own.model_dump(),
        seed=seed,
        valid=ranker.valid,
        test=tested,
        positives=len(train.rows),
        epochs=trainer.epochs_run,
        seconds=round(time.perf_counter() - began, 2),
        checkpoint=str(trainer.saved_model_file),
        recall={"checkpoint": str(path), "sha256": mark},
        versions=versions(),
    )
    if record is not None:
        result.write(record)
    return result, ranker


def load_ranker(
    path: str | Path, recall: str | Path, loaded: Loaded | None = None, data: Mapping[str, Any] | None = None
) -> Ranker:
    """Open a ranker.

    Args:
        path: its checkpoint.
        recall: the checkpoint of the recall that it was trained on.
        loaded: that recall, if it is open.
        data: where its data are, such as ``data_path``, if it is not.

    Raises:
        InputError: a file that cannot be used, or the ranker is of another recall.
    """
    content = checkpoint.load(path)
    loaded = _recall(recall, data or {}) if loaded is None else loaded
    _check(content, path, recall)
    own, _ = settings(content["ranking"]["settings"])
    config = _config(loaded, own, content["settings"]["seed"], {})
    with quiet(config):
        stage = RecallStage(loaded.model, own.history)
        model = _model(config, loaded, stage, own)
        checkpoint.check_data(content, model, loaded.train_data._dataset, f"ranker '{path}'")
        checkpoint.restore(model, content)
    return Ranker(model.eval(), loaded, stage, own, config, dict(content["best_valid_result"] or {}))


def _check(content: Mapping[str, Any], path: str | Path, recall: str | Path) -> None:
    found = content.get("ranking")
    if not (isinstance(found, dict) and "recall" in found and isinstance(found.get("settings"), dict)):
        raise InputError(f"checkpoint '{path}' is of no ranker; recbole-mind rank makes one")
    same = found["recall"] == sha256(recall)
    require(same, f"ranker '{path}' was trained on another recall than '{recall}'; rank that one")


def _check_resumed(path: str | Path, recall: str | Path, asked: Mapping[str, Any]) -> None:
    """Refuse to go on from a ranker's checkpoint with other settings than it was trained with."""
    content = checkpoint.load(path)
    _check(content, path, recall)
    then = content["ranking"]["settings"] | content["ranking"]
    for key, value in asked.items():
        good = then.get(key) == value
        require(good, f"{key}: ranker '{path}' was trained with {then.get(key)!r}, not {value!r}; set it so")


def _recall(path: str | Path, rest: Mapping[str, Any]) -> Loaded:
    keys.check_has_interests(checkpoint.load(path)["settings"]["model"], "to rank")
    for key in rest:
        known = (*RankingSettings.model_fields, *_OF_RECALL)
        message = f"{key}: it is no setting of a ranker{nearest(key, known)}; allowed: {', '.join(known)}"
        require(key in _OF_RECALL, message)
    loaded = load(path, {"checkpoint_dir": str(Path(path).parent)} | dict(rest))
    for loader in (loaded.valid_data, loaded.test_data):
        whole = isinstance(loader, FullSortEvalDataLoader)
        require(whole, f"eval_args: recall '{path}' is judged by sampled candidates; allowed: one with mode full")
    return loaded


def _config(loaded: Loaded, own: RankingSettings, seed: int, rest: Mapping[str, Any]) -> Any:
    """RecBole's settings of a DIN on the data of recall."""
    most = loaded.config["MAX_ITEM_LIST_LENGTH"]
    message = f"history: {own.history} is not allowed; allowed: at most {most}, the MAX_ITEM_LIST_LENGTH of recall"
    require(own.history <= most, message)
    size = loaded.model.size
    fits = not own.start_from_recall or own.embedding_size <= size
    allowed = f"allowed: with start_from_recall at most {size}, recall's"
    require(fits, f"embedding_size: {own.embedding_size} is not allowed; {allowed}")
    of_recall = {*loading.defaults("model", loaded.config["model"]), "preset"}
    stored = {key: value for key, value in in_force.settings_of(loaded.config).items() if key not in of_recall}
    stored |= {"data_path": str(Path(loaded.config["data_path"]).parent)}
    stored |= {key: rest[key] for key in ("checkpoint_dir", "use_gpu", "gpu_id") if key in rest}
    trained = own.model_dump(
        include={"embedding_size", "mlp_hidden_size", "dropout_prob", "learning_rate", "weight_decay", "epochs",
                 "stopping_step", "train_batch_size"}
    )  # fmt: skip
    chosen = {
        "seed": seed,
        "pooling_mode": "mean",
        "MAX_ITEM_LIST_LENGTH": own.history,
        "metrics": ["NDCG"],
        "topk": [10],
        "valid_metric": METRIC,
        "train_neg_sample_args": None,
        "learner": "adam",
        "eval_step": 1,
    }
    return build_config("DIN", loaded.config["dataset"], stored=stored | chosen | trained)


def _lists(loaded: Loaded, stage: RecallStage, own: RankingSettings, seed: int) -> tuple[RecalledLists, RecalledLists]:
    """The lists to learn from, and those held out."""
    generator = torch.Generator().manual_seed(seed)
    new = own.learn_from == "validation"
    loader = loaded.valid_data if new else loaded.train_data
    R = len(loader._dataset)
    require(R > 1 or not new, "learn_from: 'validation' has nothing to learn from; allowed: training")
    drawn = torch.randperm(R, generator=generator)[: own.lists]
    if new:
        lists = stage.lists(loader, own.candidates, torch.zeros(R, dtype=torch.bool).index_fill(0, drawn, True))
    else:
        masked = bool(loaded.config["mask_history"])
        lists = stage.lists(stage.rows_of(loader._dataset, drawn.sort().values, masked), own.candidates)
    order = torch.randperm(len(lists), generator=generator)
    number = max(1, min(_JUDGED, round(own.held_out * len(order))))
    require(number < len(order), f"held_out: {own.held_out} leaves nothing of {len(order)} histories to learn from")
    return lists.chosen(order[number:].sort().values), lists.chosen(order[:number].sort().values)


def _model(config: Any, loaded: Loaded, stage: RecallStage, own: RankingSettings) -> RankingDIN:
    from recbole.utils import init_seed

    init_seed(config["seed"], config["reproducibility"])
    popularity = torch.from_numpy(describe.popularity(loaded.train_data))
    interests = loaded.model.num_interests or 1
    model = RankingDIN(config, loaded.train_data._dataset, interests, stage.scale, popularity)
    if own.start_from_recall:
        model.start_from(stage.vectors)
    model.to(config["device"])
    return model
