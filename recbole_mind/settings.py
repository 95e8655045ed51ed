"""Settings: which keys exist, what they may be, and how they are read from YAML and the command line."""

from __future__ import annotations

import ast
import importlib.util
import json
import math
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import yaml

from recbole_mind.errors import InputError, nearest, require
from recbole_mind.files import read_text
from recbole_mind.registry import MODELS

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


_LARGEST = 2**21  # bytes of a file of settings: 20 s to read
_VALUES, _DEPTH = 200_000, 100  # in a file of settings, and in each other


class Given(dict[str, Any]):
    """Settings, of which those that are ``stored`` come from a record, a checkpoint or a default, not from the user."""

    stored: frozenset[str] = frozenset()


class _Loader(yaml.SafeLoader):
    """Safe YAML that reads 1e-3 as a number, as RecBole does (YAML 1.1 asks for 1.0e-3), and no key twice."""

    def compose_mapping_node(self, anchor: Any) -> Any:
        """A mapping, each of whose own keys stands once; what ``<<`` brings may stand again."""
        node: Any = super().compose_mapping_node(anchor)
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if key.value in seen:
                    raise yaml.composer.ComposerError(None, None, f"'{key.value}' stands twice", key.start_mark)
                seen.add(key.value)
        return node

    def flatten_mapping(self, node: Any) -> None:
        """Take in what ``<<`` brings, unless it doubles and doubles again."""
        super().flatten_mapping(node)
        if len(node.value) > _VALUES:
            raise yaml.constructor.ConstructorError(None, None, "'<<' brings too many keys", node.start_mark)


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"^[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"), list("-+0123456789")
)


# what Python calls None, and RecBole's documentation writes, is null in files as it is on the command line
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile("(?i:none)$"), ["N", "n"])


# -- reading ------------------------------------------------------------------------------------------------------


def read_file(path: str | Path) -> Given:
    """Read settings from a YAML or JSON file, or from a record that ``--record`` wrote.

    Those of a record, or of the file beside a checkpoint, are all that were in force: they count as ``stored``.

    Raises:
        InputError: the file is missing, unreadable, malformed, or holds something else than ``key: value`` pairs.
    """
    text = read_text(path, "config file", _LARGEST)
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
        _weigh(content, _VALUES)
    except RecursionError:
        raise InputError(f"config file '{path}' is malformed: it is nested too deep") from None
    except Exception as error:  # its constructors raise whatever Python's do
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or "it is not YAML"
        raise InputError(f"config file '{path}' is malformed: {where}{problem}") from None
    content = {} if content is None else content
    require(
        isinstance(content, dict) and all(isinstance(key, str) for key in content),
        f"config file '{path}' is malformed: it must hold 'key: value' pairs",
    )
    if {"config", "versions", "protocol"} <= set(content):  # a record
        require(isinstance(content["config"], dict), f"record '{path}' holds no settings under 'config'")
        content = content["config"]
        whole = True
    else:
        whole = str(path).endswith(".pth.json")
    result = Given(as_stored(content) if whole else content)
    result.stored = frozenset(content) if whole else frozenset()
    return result


def _weigh(value: Any, left: int, depth: int = 0) -> int:
    """What is left of a number of values; one that stands in several places, by an alias of YAML, counts in each.

    Raises:
        RecursionError: they are nested too deep, as what holds itself is.
        YAMLError: there are too many, or half a character.
    """
    left -= 1
    if left < 0:
        raise yaml.MarkedYAMLError(problem=f"it comes to more than {_VALUES:,} values")
    if depth > _DEPTH:
        raise RecursionError
    if isinstance(value, str) and not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError:
            raise yaml.MarkedYAMLError(problem="a text of it is no Unicode") from None
    parts: Iterable[Any] = ()
    if isinstance(value, Mapping):
        parts = (part for pair in value.items() for part in pair)
    elif isinstance(value, (list, tuple, set)):
        parts = value
    for part in parts:
        left = _weigh(part, left, depth + 1)
    return left


def as_stored(content: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting that was in force in a run, with what was before it could be set: the form of its sampled loss."""
    before = {"sampled_form": "nce"} if content.get("loss_type") == "sampled" else {}
    return before | dict(content)


def parse_value(text: str) -> Any:
    """Read one value from the command line: a Python literal, else YAML, else the text; nothing is evaluated."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
        pass
    # of YAML only what Python's literals lack: its lists and mappings, true, null and 1e-3; '|', '01' and 'no' are text
    if not re.fullmatch(r"[\[{].*|true|false|null|~|none|[-+]?\d[\d.]*e[-+]?\d+", text.strip(), re.I | re.S):
        return text
    try:
        value = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader
        _weigh(value, _VALUES)
    except Exception:  # its constructors raise whatever Python's do
        return text
    return value


def with_nulls(value: Any) -> Any:
    """``value`` with null for each text ``None`` in it: what RecBole's own reader of YAML leaves as text."""
    if isinstance(value, Mapping):
        return {key: with_nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [with_nulls(item) for item in value]
    return None if isinstance(value, str) and value.lower() == "none" else value


def parse_arguments(arguments: Iterable[str]) -> dict[str, Any]:
    """Read ``--key=value`` and ``--key value``.

    Raises:
        InputError: an argument is neither, or a key is given twice with different values.
    """
    result: dict[str, Any] = {}
    remaining = list(arguments)
    while remaining:
        argument = remaining.pop(0)
        key, equals, text = argument[2:].partition("=")
        require(argument.startswith("--") and bool(key), f"argument '{argument}' is not understood; use --key=value")
        if not equals:
            require(bool(remaining) and not remaining[0].startswith("--"), f"argument '{argument}' needs a value")
            text = remaining.pop(0)
        value = parse_value(text)
        require(result.get(key, value) == value, f"argument '--{key}' is given twice, with different values")
        result[key] = value
    return result


@cache
def defaults(kind: str, name: str) -> dict[str, Any]:
    """Our defaults from ``properties/<kind>/<name>.yaml``, empty where there are none."""
    path = resources("recbole_mind.properties") / kind / f"{name}.yaml"
    if not path.is_file():
        return {}
    return dict(yaml.load(path.read_text("utf-8"), Loader=_Loader))  # noqa: S506 - a safe loader


# -- which models, which keys -------------------------------------------------------------------------------------


def recbole_folder() -> Path:
    """The folder that RecBole is installed in."""
    spec = importlib.util.find_spec("recbole")
    if spec is None or spec.origin is None:
        raise InputError("recbole is not installed; pip install recbole==1.2.1")
    return Path(spec.origin).parent


@cache
def known_models() -> frozenset[str]:
    """Names of the models that RecBole ships, as its classes are spelt, and of ours."""
    found = set(MODELS)
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
    if name not in known_models():
        ours = ", ".join(MODELS)
        raise InputError(
            f"model: '{name}' is unknown{nearest(name, known_models())}; allowed: {ours}, RecBole's models"
        )
    return name


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


def check_types(given: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` where a number or a truth value is the default and something else is given."""
    for key, value in given.items():
        usual = default.get(key)
        if isinstance(usual, bool):
            require(isinstance(value, bool), f"{key}: {value!r} is not allowed; allowed: True, False")
        elif isinstance(usual, (int, float)):
            good = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
            require(good, f"{key}: {value!r} is not allowed; allowed: a number such as {usual}")
    for key, low in (("epochs", 0), ("train_batch_size", 1), ("eval_batch_size", 1), ("stopping_step", 0), ("seed", 0)):
        value = given.get(key, low)
        good = isinstance(value, int) and low <= value < 2**32
        require(good, f"{key}: {value!r} is not allowed; allowed: a whole number, at least {low}, below 2**32")
    for key in ("data_path", "checkpoint_dir"):
        require(isinstance(given.get(key, ""), str), f"{key}: {given.get(key)!r} is not allowed; allowed: a path")
    for key in ("dataset_save_path", "dataloaders_save_path"):
        value = given.get(key)
        require(value is None or isinstance(value, str), f"{key}: {value!r} is not allowed; allowed: a path, None")
    rate = given.get("learning_rate", 1)
    require(isinstance(rate, str) or rate > 0, f"learning_rate: {rate!r} is not allowed; allowed: a number above 0")


# -- what our models' settings may be -----------------------------------------------------------------------------


def number(settings: dict[str, Any], key: str, allowed: str, *, low: float, strict: bool, whole: bool = False) -> None:
    """Check and convert one number in place; ``low`` itself is allowed unless ``strict``."""
    value = settings[key]
    if isinstance(value, str):  # "inf", ".inf" and what a sweep hands over
        try:
            value = float(value.strip().lower().replace(".inf", "inf"))
        except ValueError:
            raise InputError(f"{key}: '{settings[key]}' is not a number; allowed: {allowed}") from None
    good = isinstance(value, (int, float)) and not isinstance(value, bool) and not math.isnan(value)
    good = good and (value > low if strict else value >= low)
    good = good and (key == "p" or math.isfinite(value)) and (not whole or float(value).is_integer())
    require(good, f"{key}: {settings[key]!r} is not allowed; allowed: {allowed}")
    settings[key] = int(value) if whole else float(value)


def choice(settings: Mapping[str, Any], key: str, allowed: Iterable[str]) -> None:
    """Check that a value is one of those allowed."""
    allowed = list(allowed)
    value = settings[key]
    hint = f"{nearest(str(value), allowed)}; allowed: {', '.join(allowed)}"
    require(value in allowed, f"{key}: '{value}' is unknown{hint}")


def names(settings: dict[str, Any], key: str) -> None:
    """Check a list of field names and make it one, in place."""
    value = settings[key]
    value = [] if value is None else [value] if isinstance(value, str) else value
    good = isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value)
    require(good, f"{key}: {settings[key]!r} is not allowed; allowed: a list of field names")
    require(len(set(value)) == len(value), f"{key}: {settings[key]!r} names a field twice")
    settings[key] = list(value)


def check_common(settings: dict[str, Any]) -> None:
    """Check, in place, the keys that every model takes through our commands."""
    for key in ("mask_history", "lazy_sequences"):
        if settings.get(key) is not None:
            require(isinstance(settings[key], bool), f"{key}: {settings[key]!r} is not allowed; allowed: True, False")
    if settings.get("checkpoint_minutes") is not None:
        number(settings, "checkpoint_minutes", "a number of minutes, at least 0, or ~", low=0, strict=False)
    pack = settings.get("packed")
    require(
        pack is None or pack is False or (isinstance(pack, str) and bool(pack)),
        f"packed: {pack!r} is not allowed; allowed: a folder, False, or None for the folder beside the file",
    )
    if settings.get("timestamp_order") is not None:
        choice(settings, "timestamp_order", ("data", "recbole"))
    search, parameters = settings.get("eval_search"), settings.get("search_parameters")
    search = "auto" if search is None else search
    allowed = "auto, dense, exact, or a FAISS factory string such as IVF512,Flat"
    require(isinstance(search, str) and bool(search), f"eval_search: {search!r} is not allowed; allowed: {allowed}")
    require(
        parameters is None or search not in ("auto", "dense"),
        f"search_parameters: {parameters!r} is for a FAISS index; eval_search '{search}' has none",
    )


def evaluated(metrics: Iterable[str], topk: Iterable[int]) -> list[str]:
    """Names of the figures that an evaluation gives."""
    whole = ("auc", "gauc", "logloss", "mae", "rmse")
    names = [n if n in whole else f"{n}@{k}" for n in (name.lower() for name in metrics) for k in topk]
    return list(dict.fromkeys(names))


def check_valid_metric(settings: Mapping[str, Any]) -> None:
    """Raise :class:`InputError` unless ``valid_metric`` is one of the figures that an evaluation gives."""
    given = evaluated(settings["metrics"], settings["topk"])
    metric = str(settings["valid_metric"]).lower()
    require(metric in given, f"valid_metric: '{metric}' is not evaluated; allowed: {', '.join(given)}")


def by_window(settings: Any) -> bool:
    """Whether the settings ask for a window of time."""
    return any(key in settings and settings[key] is not None for key in ("window_days", "window_end"))


def check_protocol(settings: dict[str, Any], given: Iterable[str], *, sequential: bool) -> None:
    """Raise :class:`InputError` for settings that contradict each other over history and time."""
    mode = settings["eval_args"].get("mode", "full") if isinstance(settings["eval_args"], dict) else "full"
    modes = set(mode.values()) if isinstance(mode, dict) else {mode}
    if settings.get("mask_history"):
        require(modes == {"full"}, f"mask_history: True ranks the whole catalogue; eval_args mode {mode!r} does not")
        repeatable = not sequential and settings.get("repeatable")
        require(not repeatable, "mask_history: True contradicts repeatable: True")
    if settings.get("TIME_FIELD") in (settings.get("numerical_features") or []):
        asked = "timestamp_order" in given and settings["timestamp_order"] == "data"
        require(not asked, "timestamp_order: 'data' needs TIME_FIELD to stay out of numerical_features")
        settings["timestamp_order"] = "recbole"


def plain(value: Any) -> Any:
    """Turn a setting into what JSON can hold and :func:`read_file` reads back; infinity becomes the text ``inf``."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, (bool, int, float, str)) or value is None:
        return value
    if hasattr(value, "item"):
        return plain(value.item())
    return str(value)


def to_json(content: Any) -> str:
    """JSON text of ``content``, strict: no NaN, no infinity."""
    return json.dumps(plain(content), indent=2, allow_nan=False) + "\n"
