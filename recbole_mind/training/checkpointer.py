"""The two files of a run: its best epoch, and where it stands."""

from __future__ import annotations

import math
import secrets
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recbole_mind.config import in_force
from recbole_mind.errors import InputError, require
from recbole_mind.training import checkpoint
from recbole_mind.training.position import check_position, check_same


class Checkpointer:
    """When the files of a run are written, and what is in them.

    The best epoch is kept as ``best``; every ``checkpoint_minutes`` and on Ctrl-C, where the run stands goes to
    ``<best>.last.pth``, which is removed when the run is done.

    Args:
        config: the settings in force.

    Attributes:
        best: where the best epoch goes.
        leads: whether this process, of several, writes files.
        saves: whether it writes any in this training.
        due: the time, by ``time.monotonic``, at which the last file is to be written again.
    """

    def __init__(self, config: Any) -> None:
        self._config = config
        self.best = ""
        self.leads = bool(config["single_spec"] or config["local_rank"] == 0)
        self.start(saves=True)

    @property
    def last(self) -> str:
        """Where the state of an unfinished run goes."""
        return str(Path(self.best).with_suffix(".last.pth"))

    def move(self, best: str) -> None:
        """Keep the best epoch, and what goes with it, at another path."""
        self.best = best

    def start(self, *, saves: bool) -> None:
        """A training begins, which is to be saved or not."""
        self.saves = saves and self.leads
        self._wait()

    def _wait(self) -> None:
        minutes = self._config["checkpoint_minutes"] if self.saves else None
        self.due = math.inf if minutes is None else time.monotonic() + 60 * minutes

    def save(self, path: str, model: Any, optimizer: Any, state: Mapping[str, Any]) -> None:
        """Write weights, optimizer and the trainer's ``state``."""
        other = model.other_parameter() or {}
        content = {
            "best": None,
            **state,
            "state_dict": model.state_dict(),
            # modules are in state_dict
            "other_parameter": {key: value for key, value in other.items() if not isinstance(value, torch.nn.Module)},
            "optimizer": optimizer.state_dict(),
        }
        checkpoint.save(path, content, in_force.settings_of(self._config))

    def save_last(self, model: Any, optimizer: Any, state: Mapping[str, Any]) -> None:
        """Write where the run stands, which goes with the best epoch beside it."""
        self.save(self.last, model, optimizer, {**state, "best": Path(self.best).name})
        self._wait()

    def finish(self) -> None:
        """Remove the last file of a run that is done."""
        if self.leads:
            for path in (self.last, f"{self.last}.json"):
                Path(path).unlink(missing_ok=True)

    def kept(self) -> str:
        """What is on disk to go on from, in words."""
        for path in (self.last, self.best):
            if Path(path).exists():
                return f"the last good checkpoint is '{path}'; --resume={path} goes on"
        return "no checkpoint was written yet"


def fresh_name(config: Any) -> str:
    """A file name for a new run: one for all its processes, and another than a run's of the same second."""
    stamp = f"{time.strftime('%Y%m%d-%H%M%S')}-{secrets.token_hex(3)}"
    name = [f"{config['model']}-{config['dataset']}-seed{config['seed']}-{stamp}.pth"]
    if not config["single_spec"]:
        torch.distributed.broadcast_object_list(name, src=0)
    return name[0]


def resume(path: str, config: Any, model: Any, optimizer: Any, device: torch.device) -> dict[str, Any]:
    """Load weights and optimizer of a checkpoint that training goes on from, and return all that it holds.

    Raises:
        InputError: it is no usable checkpoint, of another model or other settings, or of another optimizer.
    """
    content = checkpoint.load(path, device)
    check_same(config, content["settings"], f"checkpoint '{path}'")
    checkpoint.restore(model, content)
    try:
        optimizer.load_state_dict(content["optimizer"])
    except Exception:  # torch does not check what it is given
        raise InputError(
            f"checkpoint '{path}' holds the state of another optimizer; set learner and sparse_updates as they were, "
            "or start anew"
        ) from None
    if content.get("position") is not None:
        check_position(content["position"])
    return content


def best_of(path: str, content: Mapping[str, Any]) -> str:
    """The file of the best epoch that a checkpoint goes with: itself, or the one that a last file names.

    Raises:
        InputError: it is gone.
    """
    best = Path(path).with_name(str(content.get("best") or Path(path).name))
    if math.isfinite(content["best_valid_score"]):
        require(best.is_file(), f"checkpoint '{path}' goes with '{best}', which does not exist")
    return str(best)
