"""How settings are read: YAML and JSON files, arguments of the command line, our defaults in ``properties/``."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.resources import files as resources
from pathlib import Path
from typing import Any

import yaml

from recbole_mind.config.model_names import MODELS, defaults_file, is_model
from recbole_mind.errors import InputError, require
from recbole_mind.util.files import read_text

_PROPERTIES = Path(str(resources("recbole_mind.properties")))  # what is installed is no archive

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
    """Every setting that was in force in a run, with what was before it could be set: the form of its sampled loss, and
    what the first defaults had not.
    """
    before = dict(defaults("preset", "plain").get(str(content.get("model")), {}))
    before |= {"sampled_form": "nce"} if content.get("loss_type") == "sampled" else {}
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


def defaults(kind: str, name: str) -> dict[str, Any]:
    """Our defaults from ``properties/<kind>/<name>.yaml``, empty where there are none.

    Those of a model of another package are what all our models share, under what its own file says.
    """
    if kind == "model" and name not in MODELS and is_model(name):
        return shared_defaults() | _read_file(defaults_file(name))
    return _read_defaults(_PROPERTIES / kind / f"{name}.yaml")


def names(kind: str) -> list[str]:
    """Names of the files of ``properties/<kind>/``, such as the protocols."""
    return sorted(path.name.removesuffix(".yaml") for path in (_PROPERTIES / kind).iterdir() if path.suffix == ".yaml")


def shared_defaults() -> dict[str, Any]:
    """The settings that all our models have, as YouTubeDNN has them: its class adds recency alone to the base."""
    every = [defaults("model", name) for name in MODELS]
    return {
        key: value
        for key, value in defaults("model", "YouTubeDNN").items()
        if all(key in own for own in every) and not key.startswith("recency")
    }


def model_files(name: str) -> list[Path]:
    """The files of ours that say what the settings of a model are, the last one first in force."""
    if name in MODELS or not is_model(name):
        return [_PROPERTIES / f"model/{name}.yaml"]
    return [_PROPERTIES / "model/YouTubeDNN.yaml", defaults_file(name)]


_read_file = cache(read_file)


@cache
def _read_defaults(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    return dict(yaml.load(path.read_text("utf-8"), Loader=_Loader))  # noqa: S506 - a safe loader
