"""Which models and which settings there are, RecBole's and ours."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from recbole_mind.config.loading import _Loader, defaults
from recbole_mind.config.model_names import check_clash, is_model, models
from recbole_mind.errors import InputError, nearest, require
from recbole_mind.util.extras import lacking

# What every model takes through our commands; MIND's YAML describes them.
WINDOW_KEYS = ("window_days", "window_end", "window_unit", "item_pool")


DATA_KEYS = ("mask_history", "timestamp_order", "lazy_sequences", *WINDOW_KEYS)


COMMON = (*DATA_KEYS, "protocol", "packed", "eval_search", "search_parameters", "checkpoint_minutes")


# What makes figures comparable, beside a protocol's settings: the same for all that stand in one table.
JUDGING = frozenset(
    {"user_inter_num_interval", "item_inter_num_interval", "val_interval", "filter_inter_by_user_or_item", "threshold"}
    | {"rm_dup_inter", "timestamp_order", "repeatable", "benchmark_filename", "TIME_FIELD", "USER_ID_FIELD"}
    | {"ITEM_ID_FIELD", "RATING_FIELD", "metric_decimal_place", *WINDOW_KEYS}
)


# Of the command alone: in a file nothing would read them.
COMMAND = frozenset({"nproc", "world_size", "ip", "port", "group_offset", "config_files"})


# Keys that RecBole 1.2.1 reads but that stand in none of its YAML files.
_UNLISTED = (  # noqa: SIM905
    "encoding tail_ratio nproc world_size offset ip port local_rank group_offset config_files model dataset "
    "benchmark_filename train_neg_sample_args"
).split()


def recbole_folder() -> Path:
    """The folder that RecBole is installed in."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise InputError(lacking("recbole", "this"))
    return Path(spec.origin).parent


def known_models() -> frozenset[str]:
    """Names of the models that RecBole ships, as its classes are spelt, of ours and of other packages'."""
    return _recbole_models() | set(models())


@cache
def _recbole_models() -> frozenset[str]:
    found: set[str] = set()
    for path in (recbole_folder() / "model").glob("*_recommender/*.py"):
        classes = re.findall(r"^class (\w+)\(", path.read_text("utf-8"), re.MULTILINE)
        found.update(name for name in classes if name.lower() == path.stem)
    return frozenset(found)


def check_model(name: object) -> str:
    """Return ``name`` if there is such a model.

    Raises:
        InputError: there is none, with the nearest name; or it needs a library that is not installed.
    """
    if not isinstance(name, str) or not name:
        raise InputError("model: no model is named; use --model=MIND")
    require(name.isidentifier() and not name.startswith("_"), f"model: '{name}' is no model's name")
    trees = ["xgboost", "lightgbm"]
    if name.lower() in trees:  # RecBole imports both for either
        for library in sorted(trees, key=name.lower().__ne__):
            found = importlib.util.find_spec(library) is not None
            require(found, f"model: '{name}' needs {library}; pip install {library}")
    check_clash(name)
    if name not in known_models():
        ours = ", ".join(models())
        raise InputError(
            f"model: '{name}' is unknown{nearest(name, known_models())}; allowed: {ours}, RecBole's models"
        )
    return name


def check_has_interests(name: object, what: str, *beside: str) -> None:
    """Raise :class:`InputError`, for a purpose such as ``"to export"``, unless a model is one on ``RetrievalModel``.

    Other models that the purpose takes stand ``beside`` ours in the message.
    """
    known = is_model(check_model(name))
    require(known, f"model: '{name}' has no interests {what}; allowed: {', '.join((*models(), *beside))}")


@cache
def model_defaults(model: str) -> dict[str, Any]:
    """RecBole's defaults of ``model``; those of LightGBM and XGBoost stand in files of names in lower case."""
    for name in (model, model.lower()):
        path = recbole_folder() / f"properties/model/{name}.yaml"
        if path.is_file():
            return dict(yaml.load(path.read_text("utf-8"), Loader=_Loader) or {})  # noqa: S506 - a safe loader
    return {}


@cache
def known_keys(model: str) -> frozenset[str]:
    """Every key that RecBole or ``model`` reads."""
    from recbole.utils import argument_list

    folder = recbole_folder() / "properties"
    keys = set(_UNLISTED) | set(COMMON) | set(defaults("model", model)) | set(model_defaults(model))
    paths = [folder / "overall.yaml", folder / "dataset/sample.yaml"]
    for path in [*paths, *folder.glob("quick_start_config/*.yaml"), folder / "dataset/ml-100k.yaml"]:
        if path.is_file():
            keys |= set(yaml.load(path.read_text("utf-8"), Loader=_Loader) or {})  # noqa: S506 - a safe loader
    for path in (recbole_folder() / "model").glob(f"*/{model.lower()}.py"):  # some read keys that stand in no file
        keys |= set(re.findall(r"config\[[\"'](\w+)[\"']\]", path.read_text("utf-8")))
    for kind in ("general", "training", "evaluation", "dataset"):
        keys |= set(getattr(argument_list, f"{kind}_arguments"))
    return frozenset(keys)


def check_keys(settings: Mapping[str, Any], model: str, source: str) -> None:
    """Raise :class:`InputError` for a key that nothing reads; ``source`` says where it stands."""
    for key in settings:
        if key not in known_keys(model):
            raise InputError(f"{source}: unknown key '{key}' for {model}{nearest(key, known_keys(model))}")
