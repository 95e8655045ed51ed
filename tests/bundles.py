"""Bundles of models that were trained for a moment on the small data set."""

from __future__ import annotations

import json
import os
from pathlib import Path

from recbole_mind import bundle_files, quick_start
from recbole_mind.export import export
from recbole_mind.files import sha256
from tests.data import small_settings

FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}


def trained(folder: Path, small: Path, model: str, **settings: object) -> str:
    """Train ``model`` for an epoch in ``folder``; the path of its checkpoint."""
    before = Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # RecBole writes its logs where it stands
    try:
        given = small_settings(small, **({"epochs": 1} | FEATURES | settings))
        return str(folder / quick_start.run(model, "small", overrides=given, record="record.json").checkpoint)
    finally:
        os.chdir(before)


def exported(checkpoint: str, folder: Path, **options: object) -> Path:
    """Export a checkpoint to ``folder``."""
    before = Path.cwd()
    os.chdir(Path(checkpoint).parent)
    try:
        export(checkpoint, folder, **options)
    finally:
        os.chdir(before)
    return folder


def reseal(folder: Path, **changes: object) -> None:
    """Make a changed folder a bundle again, as someone who means harm would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    if "files" not in changes:
        names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file() and file != path]
        manifest["files"] = {
            name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names
        }
    manifest["id"] = bundle_files._identity(manifest)
    manifest["seal"] = bundle_files._seal(manifest)
    path.write_bytes(bundle_files.canonical(manifest))
