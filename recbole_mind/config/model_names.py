"""The names of models, ours and those of other packages, and where each stands: a leaf that all rooms above may ask.

A package makes its models known by entry points of the group ``recbole_mind.models``, a script by
:func:`register_model`. Neither imports a model before it is used.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from recbole_mind.errors import InputError, require

GROUP = "recbole_mind.models"
MODELS = {
    "MIND": "recbole_mind.models.mind",
    "ComiRecSA": "recbole_mind.models.comirec",
    "ComiRecDR": "recbole_mind.models.comirec",
    "YouTubeDNN": "recbole_mind.models.youtube_dnn",
}
_TARGET = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*(:[A-Za-z_]\w*)?", re.ASCII)
_REGISTERED: dict[str, str] = {}


class _Installed(NamedTuple):
    """Entry points: the ``targets`` of models by name, and why others are ``refused``."""

    targets: dict[str, str]
    refused: dict[str, str]


def is_ours(model_class: Any) -> bool:
    """Whether a model class is one on our :class:`~recbole_mind.models.base.RetrievalModel`, wherever it stands."""
    return getattr(model_class, "is_retrieval_model", False) is True


def register_model(name: str, target: str) -> None:
    """Make a model of another package known to RecBole and to this package, in this process and its workers.

    Nothing is imported before the model is used. Commands learn of a model by its entry point alone.

    Args:
        name: what ``--model`` and RecBole's ``model`` call it.
        target: the module that holds a class of this name, ``"package.module"``, or ``"package.module:Class"``. The
            class derives from :class:`recbole_mind.models.RetrievalModel`; its defaults stand beside the module, in
            ``<name>.yaml``.

    Raises:
        InputError: a name that cannot be one, or is another model's; a target that cannot be imported by name.
    """
    reason = _fault(name, target)
    require(reason is None, f"model: {reason}")
    others = _installed().targets | _REGISTERED
    taken = {known.lower(): known for known in others}.get(name.lower())
    same = taken in (None, name) and others.get(name, target) == target
    require(same, f"model: '{name}' is registered already, for '{others.get(str(taken))}'; take another name")
    _REGISTERED[name] = target


def registered() -> dict[str, str]:
    """What :func:`register_model` was told in this process: the targets by name, for a worker to be told too."""
    return dict(_REGISTERED)


def register_all(targets: Mapping[str, str]) -> None:
    """Tell this process of the models that were :func:`registered` in another one."""
    for name, target in targets.items():
        register_model(name, target)


def models() -> dict[str, str]:
    """The target of every model on our ``RetrievalModel`` by its name: ours first, then those of other packages."""
    return MODELS | _installed().targets | _REGISTERED


def is_model(name: object) -> bool:
    """Whether ``name`` is one of :func:`models`; entry points are read only for a name that is not known else."""
    return name in MODELS or name in _REGISTERED or name in _installed().targets


def _target(name: str) -> str:
    return MODELS.get(name) or _REGISTERED.get(name) or _installed().targets[name]


def check_clash(name: str) -> None:
    """Raise :class:`InputError` for a name that an entry point of another package claims and must not."""
    reason = _installed().refused.get(name)
    require(reason is None, f"model: {reason}")


def check_known(name: str) -> None:
    """Raise :class:`InputError` for a class on ``RetrievalModel``, called ``name``, that nobody has made known."""
    message = f"model: '{name}' is not registered; recbole_mind.register_model('{name}', 'package.module') does it"
    require(is_model(name), message)


def load_class(name: str) -> Any:
    """Import the class of one of :func:`models`.

    Raises:
        InputError: the module cannot be found or holds no such class; or the class is not on ``RetrievalModel``.
    """
    module, _, attribute = _target(name).partition(":")
    attribute = attribute or name
    try:
        found = getattr(importlib.import_module(module), attribute, None)
    except ModuleNotFoundError as error:
        if not f"{module}.".startswith(f"{error.name}."):
            raise  # a library that the module needs
        raise InputError(f"model: '{name}' is to be in the module '{module}': {error}") from None
    require(found is not None, f"model: '{name}' is to be '{attribute}' of the module '{module}', which has none")
    good = isinstance(found, type) and is_ours(found)
    require(good, f"model: '{name}' is '{module}:{attribute}', which is no class on recbole_mind.models.RetrievalModel")
    return found


def module_file(name: str) -> Path:
    """The file of the module of one of :func:`models`; what it lies in is imported, and not the module itself.

    Raises:
        InputError: the module cannot be found.
    """
    module = _target(name).partition(":")[0]
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        spec = None
    if spec is None or spec.origin is None:
        raise InputError(f"model: '{name}' is to be in the module '{module}', which cannot be found")
    return Path(spec.origin)


def defaults_file(name: str) -> Path:
    """The YAML file of a model of another package, beside its module.

    Raises:
        InputError: the module cannot be found, or there is no such file.
    """
    path = module_file(name).with_name(f"{name}.yaml")
    require(path.is_file(), f"model: '{name}' has no file of defaults '{path}'; an empty one will do")
    return path


@cache
def _installed() -> _Installed:
    """The models that the entry points of installed packages name."""
    from importlib.metadata import entry_points

    found = _Installed({}, {})
    for point in entry_points(group=GROUP):
        package = "a package" if point.dist is None else f"package {point.dist.name}"
        reason = _fault(point.name, point.value)
        other = next((known for known in found.targets if known.lower() == point.name.lower()), None)
        if reason is None and other is not None and (other, found.targets[other]) != (point.name, point.value):
            reason = f"'{point.name}' is also the model '{found.targets[other]}'"
        if reason is None:
            found.targets[point.name] = point.value
        else:
            found.refused[point.name] = f"{reason}; so says an entry point of {package}"
    for name in found.refused:
        found.targets.pop(name, None)
    return found


def _fault(name: Any, target: Any) -> str | None:
    """Why a model of another package cannot have this name and target."""
    if not (isinstance(name, str) and name.isidentifier() and not name.startswith("_")):
        return f"{name!r} is not a name; allowed: letters, digits and '_', not first"
    if name.lower() in {known.lower() for known in MODELS}:
        return f"'{name}' is the name of a model of recbole-mind; another package's needs another"
    spec = importlib.util.find_spec("recbole")
    if spec is not None and spec.origin is not None:
        folder = Path(spec.origin).parent / "model"
        if any(folder.glob(f"*_recommender/{name.lower()}.py")):
            return f"'{name}' is the name of a model of RecBole; another package's needs another"
    if not (isinstance(target, str) and _TARGET.fullmatch(target)) or target.partition(":")[0] == "__main__":
        return f"'{name}' is to be {target!r}; allowed: 'package.module' or 'package.module:Class', and no script"
    return None
