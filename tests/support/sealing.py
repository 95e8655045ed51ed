"""What someone who means harm does to a changed bundle; it imports little."""

from __future__ import annotations

import json
from pathlib import Path

from recbole_mind.serving.bundle import sealed_folder
from recbole_mind.util.files import sha256


def reseal(folder: Path, **changes: object) -> None:
    """Make a changed folder a bundle again, as someone who means harm would."""
    path = folder / "manifest.json"
    manifest = json.loads(path.read_text()) | changes
    if "files" not in changes:
        names = [file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file() and file != path]
        manifest["files"] = {
            name: {"sha256": sha256(folder / name), "bytes": (folder / name).stat().st_size} for name in names
        }
    manifest["id"] = sealed_folder._identity(manifest)
    manifest["seal"] = sealed_folder._seal(manifest)
    path.write_bytes(sealed_folder.canonical(manifest))
