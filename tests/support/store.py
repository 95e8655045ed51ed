"""Stand-ins for bundles, and a store of them."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

from recbole_mind import InputError
from recbole_mind.serving.store import gate
from recbole_mind.serving.store.store import Store

SOUND = gate.Checked((), (), {"index_recall": 1.0})


def verify(folder):
    """What stands in for a bundle's check: every file but the manifest has its hash there, and so has the whole."""
    try:
        manifest = json.loads((Path(folder) / "manifest.json").read_text())
    except FileNotFoundError:
        raise InputError(f"bundle '{folder}' has no manifest.json") from None
    for name, digest in manifest["files"].items():
        path = Path(folder) / name
        good = path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest
        if not good:
            raise InputError(f"bundle '{folder}' is corrupt: {name}")
    return manifest


def bundle(folder, loss, name=None, **more):
    """Write a bundle, with a folder in it, whose loss is said."""
    (folder / "items").mkdir(parents=True)
    content = {"encoder.onnx": b"e" * 1000, "items/vectors.npy": f"{loss}".encode() * 500}
    for path, text in content.items():
        (folder / path).write_bytes(text)
    files = {path: hashlib.sha256(text).hexdigest() for path, text in content.items()}
    whole = hashlib.sha256(json.dumps([files, loss, more]).encode()).hexdigest()
    manifest = {"id": name or whole, "files": files, "loss": loss, "metrics": {"valid": {"recall@10": 0.1}}} | more
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def opened(folder, checks=SOUND):
    return Store(folder, verify=verify, checks=lambda source, limits: checks)


def ids(bundles):
    return [verify(folder)["id"] for folder in bundles]


def consistent(store):
    """Assert that a store is whole, and return what is current and what happened."""
    again = opened(store.folder)
    events, current = again.history(), again.current()
    switches = [event for event in events if event.event != "blocked"]
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    if current is None:
        assert switches == []
        return None, events
    assert verify(current)["id"] == current.name == switches[-1].id
    for event in switches:
        assert verify(again.version(event.id))["id"] == event.id
    return current.name, events


def full():
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
