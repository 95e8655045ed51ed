"""``recbole-mind doctor``: does RecBole run here, and which command helps."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
import sys
from collections.abc import Callable
from importlib.resources import files
from typing import NamedTuple

from packaging.requirements import Requirement

from recbole_mind.util.extras import RECBOLE, extra_of, lacking

PYTHONS = ((3, 10), (3, 14))  # the oldest and the newest that are tested
# distributions that nothing goes without, and those of extras
_BASE = ("recbole", "torch", "numpy", "pandas", "scipy", "faiss-cpu")
_OPTIONAL = "ray hyperopt matplotlib onnx onnxruntime fastapi cryptography pyarrow pymilvus".split()  # noqa: SIM905
_CANNOT = (
    "SASRecCPR and GRU4RecCPR fail in RecBole's get_flops (recbole.quick_start); run_recbole trains them",
    "S3Rec needs its own pretraining run first",
)


class Report(NamedTuple):
    """``versions`` rows (name, installed, tested, remark), ``problems`` that stop RecBole, ``help`` commands."""

    versions: list[tuple[str, str, str, str]]
    problems: list[str]
    help: list[str]
    cannot: tuple[str, ...]


def tested_versions() -> dict[str, str]:
    """The version of each distribution that is tested on this Python: those of ``constraints.txt``."""
    lines = (files("recbole_mind.properties") / "constraints.txt").read_text("utf-8").splitlines()
    found = (Requirement(line) for line in lines if "==" in line)
    good = (each for each in found if each.marker is None or each.marker.evaluate())
    return {each.name: str(each.specifier).removeprefix("==") for each in good}


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _is_old(ray: str | None) -> bool:
    """Whether a Ray is installed that is as old as RecBole wants it."""
    return ray is not None and _numbers(ray) < (2, 7)


def _conflict(name: str, version: tuple[int, ...], ray: str | None) -> str | None:
    """What a version that is installed breaks."""
    if name == "recbole" and version != (1, 2, 1):
        return "the patches are made for 1.2.1"
    if _is_old(ray):
        if name == "numpy" and version >= (2,):
            return f"ray {ray} is built for numpy 1"
        if name == "setuptools" and version >= (81,):
            return f"ray {ray} imports pkg_resources"
    return None


def examine(version_of: Callable[[str], str | None] = _installed, *, imports: bool = True) -> Report:
    """Look at what is installed.

    Args:
        version_of: tells a distribution's version, ``None`` if it is missing.
        imports: also import RecBole, to see that it does.
    """
    oldest, newest = (".".join(map(str, python)) for python in PYTHONS)
    good = PYTHONS[0] <= sys.version_info[:2] <= PYTHONS[1]
    rows = [("Python", platform.python_version(), f"{oldest} to {newest}", "" if good else "not tested")]
    problems: list[str] = []
    help_: list[str] = []
    tested, ray = {"recbole": "1.2.1"} | tested_versions(), version_of("ray")
    for name in (*_BASE, "setuptools", *_OPTIONAL):
        found, known = version_of(name), tested.get(name, "")
        conflict = None if found is None else _conflict(name, _numbers(found), ray)
        if found is None and name in _OPTIONAL:
            remark = f"not installed; of recbole-mind[{extra_of(name)}]"
        elif found is None and name == "setuptools" and not _is_old(ray):
            continue
        elif found is None:
            remark = "missing"
            problems.append(lacking(name, "RecBole") if name == "recbole" else f"{name} is missing")
        elif conflict is not None:
            remark = conflict
            problems += [f"recbole {found}: {conflict}"] if name == "recbole" else []
        else:
            remark = "" if _numbers(found) == _numbers(known) else "not tested"
        rows.append((name, found or "-", known, remark))
        if remark == "missing" or conflict is not None:
            help_.append(RECBOLE if name == "recbole" else f"pip install '{name}=={known}'")
    if imports and not problems:
        try:
            importlib.import_module("recbole.config")
            importlib.import_module("recbole.data")
            importlib.import_module("recbole.trainer")
        except Exception as error:  # whatever stops the import is what we are here to tell
            problems.append(f"RecBole cannot be imported: {type(error).__name__}: {error}")
            help_.append("pip install -c constraints.txt recbole-mind")
    return Report(rows, problems, help_, _CANNOT)
