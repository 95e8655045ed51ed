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

from recbole_mind.util.extras import RECBOLE, lacking

PYTHONS = ((3, 10), (3, 14))  # the oldest and the newest that are tested
# distributions that nothing goes without, and those of an extra, by whose name they are asked for
_BASE = ("recbole", "torch", "numpy", "pandas", "scipy", "faiss-cpu")
_EXTRAS = {
    "ray": "sweep", "hyperopt": "sweep", "matplotlib": "report", "onnx": "serve", "onnxruntime": "serve",
    "fastapi": "serve", "cryptography": "serve", "pyarrow": "serve", "pymilvus": "milvus",
}  # fmt: skip
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


def _conflict(name: str, version: tuple[int, ...], ray: str | None) -> str | None:
    """What a version that is installed breaks."""
    if name == "recbole" and version != (1, 2, 1):
        return "the patches are made for 1.2.1"
    if ray is not None and _numbers(ray) < (2, 7):
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
    for name in (*_BASE, "setuptools", *_EXTRAS):
        found, known = version_of(name), tested.get(name, "")
        if found is None:
            if name == "setuptools" and (ray is None or _numbers(ray) >= (2, 7)):
                continue  # only an old Ray needs it
            remark = "missing"
            if name in _EXTRAS:
                remark = f"not installed; of recbole-mind[{_EXTRAS[name]}]"
            else:
                problems.append(lacking(name, "RecBole") if name == "recbole" else f"{name} is missing")
                help_.append(RECBOLE if name == "recbole" else f"pip install '{name}=={known}'")
        else:
            conflict = _conflict(name, _numbers(found), ray)
            remark = conflict or ("" if _numbers(found) == _numbers(known) else "not tested")
            if conflict:
                help_.append(RECBOLE if name == "recbole" else f"pip install '{name}=={known}'")
                if name == "recbole":
                    problems.append(f"recbole {found}: {conflict}")
        rows.append((name, found or "-", known, remark))
    if imports and not problems:
        try:
            importlib.import_module("recbole.config")
            importlib.import_module("recbole.data")
            importlib.import_module("recbole.trainer")
        except Exception as error:  # whatever stops the import is what we are here to tell
            problems.append(f"RecBole cannot be imported: {type(error).__name__}: {error}")
            help_.append("pip install -c constraints.txt recbole-mind")
    return Report(rows, problems, help_, _CANNOT)
