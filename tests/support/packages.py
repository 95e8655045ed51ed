"""Packages of other people, as pip would install them, without pip."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.documents import blocks


def last_items(folder: Path) -> Path:
    """Write the package of docs/adding-a-model.md, installed, into ``folder``; returns it."""
    for block in blocks("docs/adding-a-model.md"):
        if block.file and not block.file.startswith("tests/"):
            path = folder / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, "utf-8")
            if block.language == "toml":
                installed(block.text, folder)
    return folder


def installed(project: str, place: Path) -> None:
    """What ``pip install -e`` makes of a ``pyproject.toml`` in ``place``, a folder on the path: its metadata."""
    name, version = (re.search(rf'^{key} = "(.+)"$', project, re.MULTILINE)[1] for key in ("name", "version"))
    groups = re.findall(r'^\[project\.entry-points\."(.+)"\]\n((?:.+\n)*)', project, re.MULTILINE)
    folder = place / (f"{name.replace('-', '_')}-{version}.dist-info")
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    (folder / "entry_points.txt").write_text("".join(f"[{group}]\n{lines}" for group, lines in groups).replace('"', ""))
