"""From settings to what a run is made of: RecBole's configuration, data and loaders, model and trainer."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from recbole_mind.config import ignored_values, keys, loading, protocols
from recbole_mind.config.model_names import is_ours
from recbole_mind.data import columns
from recbole_mind.errors import InputError, require
from recbole_mind.util.files import open_regular
from recbole_mind.util.foreign_errors import in_words


def build_config(
    model: str | None,
    dataset: str | None,
    config_files: Sequence[str | Path] = (),
    overrides: Mapping[str, Any] | None = None,
    stored: Mapping[str, Any] | None = None,
) -> Any:
    """Build RecBole's ``Config``: defaults of RecBole, ours from ``properties/``, files in order, then ``overrides``.

    ``stored`` settings, a checkpoint's, stand before all of these but the defaults; like those of a record among the
    files they need not be read by the run, while what the user gives must be
    (:mod:`recbole_mind.config.without_effect`).

    Raises:
        InputError: a model, data set, file, key or value that cannot be used.
    """
    merged, kept = loading.Given(stored or {}), set(stored or {})
    for path in config_files:
        content = loading.read_file(path)
        named = model or content.get("model") or merged.get("model") or (overrides or {}).get("model")
        keys.check_keys(content, keys.check_model(named), f"config file '{path}'")
        merged.update(content)
        kept = (kept - set(content)) | content.stored
    merged.update(overrides or {})
    kept -= set(overrides or {})
    name = keys.check_model(model or merged.get("model"))
    keys.check_keys(overrides or {}, name, "settings")
    data = dataset or merged.get("dataset")
    require(isinstance(data, str) and bool(data), "dataset: no data set is named; use --dataset=ml-100k")
    require(Path(str(data)).name == data, f"dataset: '{data}' is not a name; data_path is the folder that holds it")
    merged.pop("model", None)
    merged.pop("dataset", None)
    # a numerical field is embedded as float32, so that the order of its original values is lost
    embedded = merged.get("numerical_features")
    numerical = isinstance(embedded, (list, tuple)) and merged.get("TIME_FIELD", "timestamp") in embedded
    usual: dict[str, Any] = {"timestamp_order": "recbole" if numerical else "data", "checkpoint_minutes": 10}
    usual |= {"lazy_sequences": True, "metric_decimal_place": None}
    merged.stored = frozenset(kept | (set(usual) - set(merged)))
    merged.update({key: value for key, value in usual.items() if key not in merged})
    in_file = "" if "local_rank" in merged else min(keys.COMMAND & set(merged), default="")
    require(not in_file, f"{in_file}: it is an argument of the command, --{in_file}, and no setting")
    from recbole.config import Config

    with in_words("settings"), argv_hidden():
        return Config(model=name, dataset=data, config_dict=merged)


def build_data(config: Any) -> tuple[Any, Any, Any, Any]:
    """Read and split the data: the data set and the loaders for training, validation and test.

    Raises:
        InputError: the data set is missing, too small, or lacks what the settings ask of it.
    """
    from recbole_mind.data.create import create_dataset, create_loaders

    name, folder = config["dataset"], config["data_path"]
    if not os.path.isdir(folder):
        urls = loading.read_file(keys.recbole_folder() / "properties/dataset/url.yaml")
        if name not in urls:
            raise InputError(
                f"dataset: '{name}' is unknown: there is no folder '{folder}'; set data_path to the folder that holds "
                f"'{name}/{name}.inter', or use ml-100k, which ships with RecBole"
            )
    with in_words(f"dataset: '{name}' in '{folder}' cannot be used"):
        dataset = create_dataset(config)
        check_data(config, dataset)
        columns.check_label(config, dataset)
        columns.check_features(config, dataset)
        require(dataset.item_num > 2, f"dataset: '{name}' has {dataset.item_num - 1} item; at least 2 are needed")
        loaders = create_loaders(config, dataset)
    most = max(config["topk"])
    require(most < dataset.item_num, f"topk: {most} is more than the {dataset.item_num - 1} items of '{name}'")
    first = 3 if config["MODEL_TYPE"].name == "SEQUENTIAL" else 2
    left_out = "LS" in config["eval_args"]["split"] and not config["benchmark_filename"]
    hint = f"; leave-one-out takes {first} behaviours of a user for a test target, {first + 1} for a validation target"
    hint = hint if left_out else ""
    for phase, loader in zip(("training", "validation", "test"), loaders, strict=True):
        needed = phase != "validation" or config["protocol"] is not None
        require(len(loader._dataset) > 0 or not needed, f"dataset: '{name}' leaves no row for {phase}{hint}")
        if len(loader._dataset) and is_ours(config.model_class) and config["benchmark_filename"]:
            lengths = loader._dataset.inter_feat[config["ITEM_LIST_LENGTH_FIELD"]]
            low, high, most = int(lengths.min()), int(lengths.max()), config["MAX_ITEM_LIST_LENGTH"]
            require(low >= 1, f"dataset: '{name}' holds an empty history for {phase}; each row needs one item or more")
            require(high <= most, f"dataset: '{name}' holds a history of {high} items; MAX_ITEM_LIST_LENGTH is {most}")
    return (dataset, *loaders)


def build_model(config: Any, train_data: Any) -> Any:
    """The model of ``config``, on its device."""
    from recbole.utils import get_model

    model_class = get_model(config["model"])
    if config["model"] == "LDiffRec":  # which would open a pickle
        _check_array(Path(train_data._dataset.dataset_path) / "item_emb.npy")
    with in_words(f"model: '{config['model']}' cannot be built on '{config['dataset']}' with these settings"):
        model = model_class(config, train_data._dataset).to(config["device"])
    warn_of_users(config, model, train_data._dataset)
    return model


def _check_array(path: Path) -> None:
    """Refuse a ``.npy`` that is there and holds anything else than numbers."""
    if path.exists():
        try:
            with open_regular(path) as file:
                kind = np.load(file, allow_pickle=False).dtype.kind
        except Exception:  # numpy has no common word for a file that is not its own
            kind = "?"
        require(kind in "biuf", f"'{path}' is not an array of numbers")


def build_trainer(config: Any, model: Any) -> Any:
    """The trainer of a model: ours, or RecBole's own, made safe where it trains by gradient."""
    from recbole.trainer import Trainer
    from recbole.utils import get_trainer

    from recbole_mind.training.trainer import RetrievalTrainer, safe_trainer

    base = RetrievalTrainer if is_ours(type(model)) else get_trainer(config["MODEL_TYPE"], config["model"])
    trainer_class = safe_trainer(base) if issubclass(base, Trainer) else base
    with in_words(f"model: '{config['model']}' cannot be trained with these settings"):
        return trainer_class(config, model)


def check_writable(folder: Path) -> None:
    """Make the folder; refuse one that cannot be written into."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"output folder '{folder}' cannot be written: {error.strerror}; choose another") from None


@contextlib.contextmanager
def quiet(config: Any) -> Iterator[None]:
    """Log to ``log/<model>/`` at the level of ``state``, warnings to the terminal too; leave no handler behind."""
    root, strict = logging.getLogger(), ignored_values.Strict()
    before, level = root.handlers[:], root.level
    root.handlers = []
    from recbole.utils import init_logger

    check_writable(Path("log") / config["model"])  # RecBole makes it too, and cannot share the work
    init_logger(config)
    root.setLevel(min(root.level, logging.WARNING))  # the handlers keep the level of state
    root.addFilter(strict)
    debug = str(config["state"]).lower() == "debug"
    for handler in root.handlers:
        if type(handler) is logging.StreamHandler:
            handler.setLevel(logging.DEBUG if debug else max(handler.level, logging.WARNING))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # RecBole's use of pandas and torch, which the pins cover
            yield
    finally:
        root.removeFilter(strict)
        for handler in root.handlers:
            handler.close()
        root.handlers = before
        root.setLevel(level)


@contextlib.contextmanager
def argv_hidden() -> Iterator[None]:
    """A context in which RecBole's ``Config`` sees no command line."""
    kept, sys.argv = sys.argv, sys.argv[:1]
    try:
        yield
    finally:
        sys.argv = kept


def check_data(config: Any, dataset: Any) -> None:
    """Raise :class:`InputError` where a data set that has been read lacks the time, or cannot be split as asked."""
    from recbole_mind.data.dataset import SequentialDataset

    if config["benchmark_filename"] is not None:
        return
    what = "eval_args" if config["protocol"] is None else f"protocol: '{config['protocol']}'"
    if config["eval_args"]["order"] == "TO":
        field, name = config["TIME_FIELD"], config["dataset"]
        known = field in dataset.inter_feat
        require(known, f"{what} orders by time, and '{name}' has no field '{field}'; see TIME_FIELD and load_col")
    if protocols.list_split(config["eval_args"]) and config["MODEL_TYPE"].name == "SEQUENTIAL":
        by = "users" if protocols.user_split(config["eval_args"]) else "last behaviours"
        ours = isinstance(dataset, SequentialDataset)
        require(ours, f"{what} splits by {by}, which the data set of model '{config['model']}' cannot do")


def warn_of_users(config: Any, model: Any, dataset: Any) -> None:
    """Say so where ``model`` learns a vector for each user, which no user of a test by users has learnt."""
    if not protocols.user_split(config["eval_args"]) or dataset.user_num == dataset.item_num:
        return
    from torch import nn

    tables = [name for name, part in model.named_modules() if isinstance(part, nn.Embedding)]
    learnt = [name for name in tables if model.get_submodule(name).num_embeddings == dataset.user_num]
    if learnt:
        logging.getLogger().warning(
            f"{config['model']} learns a vector for each user ({', '.join(learnt)}); those of the users of validation "
            "and test stay as they were drawn"
        )
