"""``recbole-mind doctor``: does RecBole run here, and which command helps."""

from __future__ import annotations

import importlib
import importlib.metadata
import platform
from collections.abc import Callable
from typing import NamedTuple

# Distribution, versions known to work, the first version that breaks RecBole 1.2.1 (None: none known), what breaks,
# and whether we can do without the right version (because it is patched, or only RecBole's own quick start needs it).
_NEEDS: tuple[tuple[str, str, tuple[int, ...] | None, str, bool], ...] = (
    ("recbole", "1.2.1", (1, 2, 2), "the patches are made for 1.2.1", False),
    ("torch", "2.13.0", None, "", False),
    ("numpy", "1.26.4", (2,), "ray 2.6.3 is built for numpy 1", True),
    ("pandas", "2.3.3", (3,), "pandas 3 fails on item features", False),
    ("setuptools", "80.10.2", (81,), "ray 2.6.3 imports pkg_resources", True),
    ("ray", "2.6.3", (2, 6, 4), "RecBole's own quick start imports it; ours does not", True),
    ("scipy", "1.17.1", None, "", False),
    ("faiss-cpu", "1.15.1", None, "the search and its indexes", False),
)
_CANNOT = (
    "Python 3.12 and later: ray 2.6.3 has no wheel for them, so RecBole's own quick_start cannot be imported",
    "SASRecCPR and GRU4RecCPR fail in RecBole's get_flops (recbole.quick_start); run_recbole trains them",
    "S3Rec needs its own pretraining run first",
)


class Report(NamedTuple):
    """``versions`` rows (name, installed, known to work, remark), ``problems`` that stop RecBole, ``help`` commands."""

    versions: list[tuple[str, str, str, str]]
    problems: list[str]
    help: list[str]
    cannot: tuple[str, ...]


def _numbers(version: str) -> tuple[int, ...]:
    parts = version.split("+")[0].split(".")
    return tuple(int(part) for part in parts if part.isdigit())


def _installed(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def examine(version_of: Callable[[str], str | None] = _installed, *, imports: bool = True) -> Report:
    """Look at what is installed.

    Args:
        version_of: tells a distribution's version, ``None`` if it is missing.
        imports: also import RecBole, to see that it does.
    """
    rows, problems, help_ = [("Python", platform.python_version(), "3.10, 3.11", "")], [], []
    for name, known, breaks, reason, optional in _NEEDS:
        found = version_of(name)
        remark = ""
        if found is None:
            remark = f"missing; {reason}" if reason else "missing"
        elif breaks is not None and _numbers(found) >= breaks:
            remark = f"too new; {reason}"
        elif _numbers(found) != _numbers(known):
            remark = "not tested"
        rows.append((name, found or "-", known, remark))
        if remark.startswith(("missing", "too new")):
            help_.append(f"pip install '{name}=={known}'")
            if not optional:
                problems.append(f"{name} {found or ''} {remark}".replace("  ", " "))
    if imports and not problems:
        try:
            importlib.import_module("recbole.config")
            importlib.import_module("recbole.data")
            importlib.import_module("recbole.trainer")
        except Exception as error:  # whatever stops the import is what we are here to tell
            problems.append(f"RecBole cannot be imported: {type(error).__name__}: {error}")
            help_.append("pip install -c constraints.txt recbole-mind")
    return Report(rows, problems, help_, _CANNOT)
