"""What each patch of RecBole was written for: digests of RecBole's source, by patch and function.

``python -m tests.support.sources`` records those of the RecBole that is installed, once its patches hold.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
from pathlib import Path

from recbole_mind.plugin import patches
from recbole_mind.plugin.patches.patch import Attribute, Patch, Replace
from tests import ROOT

PATH = ROOT / "tests" / "plugin" / "patches" / "sources.json"


def targets(patch: Patch) -> list[str]:
    """The functions and classes of RecBole that a patch is made for; a module, where it sets a name in one."""
    found = set(patch.source)
    for change in patch.changes:
        if isinstance(change, Attribute) and change.target.startswith("recbole."):
            original = change.original
            own = inspect.isroutine(original) or inspect.isclass(original)
            own = own and original.__module__.startswith("recbole.")
            found.add(change.target if own else change.target.partition(":")[0])
    return sorted(found)


def source(target: str) -> str:
    """The source of a function, a class or a module of RecBole, as it is without patches."""
    if ":" in target:
        return inspect.getsource(Replace(target, None).original)
    spec = importlib.util.find_spec(target)
    assert spec is not None, target
    assert spec.origin is not None, target
    return Path(spec.origin).read_text(encoding="utf-8")


def digest(target: str) -> str:
    return hashlib.sha256(source(target).encode()).hexdigest()[:16]


def recorded() -> dict[str, dict[str, str]]:
    content: dict[str, dict[str, str]] = json.loads(PATH.read_text())
    return content


def check(patch: Patch, known: dict[str, str]) -> None:
    """Fail where RecBole's source is not the one that ``known`` holds digests of."""
    now = {target: digest(target) for target in targets(patch)}
    other = sorted(target for target in now.keys() | known.keys() if now.get(target) != known.get(target))
    assert not other, (
        f"patch '{patch.name}' was written for another source of {', '.join(other)} than that of RecBole "
        f"{importlib.metadata.version('recbole')}: see whether it still holds, then run python -m tests.support.sources"
    )


if __name__ == "__main__":
    found = {patch.name: {target: digest(target) for target in targets(patch)} for patch in patches.catalogue()}
    PATH.write_text(json.dumps(found, indent=1) + "\n")
