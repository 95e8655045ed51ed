"""A sweep on disk: what was suggested and what ended, so that one that was killed goes on."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_mind.errors import InputError, require
from recbole_mind.experiments.sweep.plan import Plan
from recbole_mind.util.files import JSON, parse_json, read_bytes, write_atomic
from recbole_mind.util.json_text import to_json

STATE = "sweep.json"
_FORMAT, _VERSION = "recbole-mind sweep", 1


class Journal:
    """The files of a sweep.

    Args:
        folder: that holds them; its parent must exist.
        plan: of the sweep.
    """

    def __init__(self, folder: str | Path, plan: Plan) -> None:
        self.folder = Path(folder).resolve()
        self.plan = plan

    def read(self, resume: bool) -> dict[int, tuple[dict[str, Any], int]]:
        """The trials that were suggested, their settings and seed by number; empty in a folder without a sweep.

        Raises:
            InputError: there is a sweep and ``resume`` is not set, or another one, or something else.
        """
        path = self.folder / STATE
        if not path.exists():
            strange = any(self.folder.glob("records/*.json"))
            require(not strange, f"output: '{self.folder}' holds records of something else; choose another folder")
            return {}
        held = f"output: '{self.folder}' holds a sweep; --resume goes on with it, or choose another folder"
        require(resume, held)
        try:
            content = parse_json(read_bytes(path, JSON).decode("utf-8"))
        except (OSError, ValueError):
            raise InputError(f"resume: '{path}' is corrupt: it is not JSON") from None
        good = isinstance(content, dict) and content.get("format") == _FORMAT
        require(good, f"resume: '{path}' is not the state of a sweep")
        found = content.get("version")
        require(found == _VERSION, f"resume: '{path}' has format version {found}; this release reads {_VERSION}")
        try:
            space, before = content["space"], dict(content["fingerprint"])
            suggested = {
                int(entry["number"]): (dict(entry["settings"]), int(entry["seed"])) for entry in content["trials"]
            }
        except (KeyError, TypeError, ValueError):
            raise InputError(f"resume: '{path}' is corrupt: it is incomplete") from None
        other = f"resume: '{self.folder}' holds another sweep: its space, settings, algorithm or seed are not these"
        require(space == self.plan.spec.mark(), other)
        changed = [name for name, value in self.plan.mark.items() if before.get(name) != value]
        since = f"resume: the {', '.join(changed)} changed since the sweep began; begin again in another folder"
        require(not changed, since)
        return suggested

    def write(self, suggested: Mapping[int, tuple[dict[str, Any], int]]) -> None:
        """Keep what was suggested."""
        spec = self.plan.spec
        trials = [{"number": number, "settings": drawn, "seed": seed} for number, (drawn, seed) in suggested.items()]
        about = {"format": _FORMAT, "version": _VERSION, "models": spec.models, "dataset": spec.dataset}
        more = {"algo": spec.algo, "seed": spec.seed, "space": spec.mark(), "fingerprint": self.plan.mark}
        write_atomic(self.folder / STATE, to_json(about | more | {"trials": trials}))

    def record(self, name: int | str) -> Path:
        """The file of a trial's record."""
        return self.folder / "records" / f"{name}.json"

    def clear(self) -> None:
        """Remove what trials have left behind."""
        shutil.rmtree(self.folder / "running", ignore_errors=True)
        for path in itertools.chain(self.folder.glob(".*.tmp"), self.folder.glob("records/.*.tmp")):
            path.unlink(missing_ok=True)
