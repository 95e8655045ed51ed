"""Explained histories as files: a page, JSON, and the figures as PNG and SVG."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_mind.analysis.explain.case_study import Explained, ExplainedItem, Recommended
from recbole_mind.config import keys
from recbole_mind.errors import InputError, require
from recbole_mind.training import checkpoint, load
from recbole_mind.training.load import Loaded
from recbole_mind.util.files import check_place, write_atomic

KINDS = ("coupling", "similarity", "map")
_OURS = re.compile(rf".+-({'|'.join(KINDS)})\.(png|svg)")


def open_model(path: str | Path, overrides: Mapping[str, Any] | None = None) -> Loaded:
    """Load a checkpoint of a model that can be explained; another is refused before its data is read.

    Raises:
        InputError: no such checkpoint, or a model without interests.
    """
    name = checkpoint.load(path)["settings"]["model"]
    keys.check_has_interests(name, "to explain")
    return load.load(path, {"checkpoint_dir": str(Path(path).parent), "use_gpu": False} | dict(overrides or {}))


def check_target(folder: str | Path) -> None:
    """Refuse a folder that cannot be, before any work.

    Raises:
        InputError: it, or what it would be in, is a file or cannot be written.
    """
    try:
        check_place(Path(folder).absolute())
    except OSError as error:
        reason = f"'{error.filename}' is no folder that can be written to"
        raise InputError(f"output: '{folder}' cannot be written: {reason}") from None


def write(
    loaded: Loaded, explained: Sequence[Explained], folder: str | Path, *, statement: str = "", seed: int = 0
) -> list[Path]:
    """Write ``explain.html``, ``explain.json`` and ``figures/<history>-coupling.png`` and so on.

    All is made before anything is written, each file whole or not at all; figures that an earlier call left there and
    this one does not make are removed. The same histories give the same bytes.

    Args:
        loaded: the model that the histories were explained with.
        explained: at least one.
        folder: where they go; it is made.
        statement: how the histories were chosen, for the page.
        seed: of the items that are drawn for the maps.

    Returns:
        the paths of what was written, the page first.

    Raises:
        InputError: the folder cannot be written.
    """
    from recbole_mind.analysis.explain import figures  # matplotlib takes a second
    from recbole_mind.analysis.explain.item_map import item_map
    from recbole_mind.analysis.explain.page import page
    from recbole_mind.report.figure_files import png, svg

    require(bool(explained), "nothing to explain: name a user or a history")
    maps = [item_map(loaded, one, seed=seed) if one.names else None for one in explained]
    title = f"{loaded.config['model']} on {loaded.config['dataset']}: interests explained"
    about = {"model": loaded.config["model"], "dataset": loaded.config["dataset"], "chosen": statement}
    content = about | {"histories": [_plain(one) for one in explained]}
    contents: dict[str, bytes | str] = {
        "explain.html": page(explained, maps, title, statement),
        "explain.json": json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n",
    }
    for one, spread, name in zip(explained, maps, file_names([one.label for one in explained]), strict=True):
        if spread is None:
            continue
        drawn = figures.coupling(one), figures.similarity(one), figures.map_of(one, spread)
        for kind, figure in zip(KINDS, drawn, strict=True):
            contents[f"figures/{name}-{kind}.png"] = png(figure)
            contents[f"figures/{name}-{kind}.svg"] = svg(figure, whole=True)
    for name, whole in contents.items():
        write_atomic(Path(folder) / name, whole)
    for path in Path(folder).glob("figures/*"):
        if f"figures/{path.name}" not in contents and _OURS.fullmatch(path.name):
            path.unlink()
    return [Path(folder) / name for name in contents]


def file_names(labels: Sequence[str]) -> list[str]:
    """A name that any file system takes for each label, no two alike."""
    names: list[str] = []
    taken: set[str] = set()
    for label in labels:
        kind, _, token = label.partition(" ")
        stem = f"{kind}-{re.sub(r'[^A-Za-z0-9_]+', '-', token).strip('-')[:60]}".rstrip("-")
        name, count = stem, 1
        while name.casefold() in taken:
            count += 1
            name = f"{stem}-{count}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _plain(one: Explained) -> dict[str, Any]:
    return {
        "label": one.label,
        "user": one.user,
        "behaviors": [_item(item) for item in one.behaviors],
        "earlier": one.earlier,
        "unknown": list(one.unknown),
        "followed": None if one.followed is None else _item(one.followed),
        "weight": one.kind,
        "interests": [
            {
                "name": name,
                "share": round(float(one.shares[k]), 6),
                "weights": [round(float(weight), 6) for weight in one.weights[k]],
                "recalled": [_found(found) for found in one.recalled[k]],
            }
            for k, name in enumerate(one.names)
        ],
        "merged": [_found(found) | {"interest": found.interest} for found in one.merged],
        "similarities": {
            f"interest {row.interest + 1}" if row.interest >= 0 else row.name: [
                round(float(cosine), 6) for cosine in row.cosines
            ]
            for row in one.similarities
        },
        "fallback": one.fallback,
        "notes": list(one.notes),
    }


def _item(item: ExplainedItem) -> dict[str, Any]:
    return {"token": item.token, "title": item.title, "categories": list(item.categories)}


def _found(found: Recommended) -> dict[str, Any]:
    return _item(found.item) | {"score": round(found.score, 6), "cosine": round(found.cosine, 6)}
