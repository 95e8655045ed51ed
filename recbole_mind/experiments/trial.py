"""One run of many: trained, tested and recorded in a process that may die at any moment."""

from __future__ import annotations

import glob
import hashlib
import json
import shutil
import traceback
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import numpy as np

from recbole_mind.config import model_names
from recbole_mind.config.keys import WINDOW_KEYS
from recbole_mind.errors import InputError, InterruptedRun, require
from recbole_mind.util.files import JSON, parse_json, read_text, sha256, write_atomic
from recbole_mind.util.foreign_errors import NO_MEMORY
from recbole_mind.util.json_text import to_json

if TYPE_CHECKING:
    from recbole_mind.training.result import RunResult
    from recbole_mind.training.steps import Evaluated

# Settings that say where and how a run happens, not what comes out of it.
_ELSEWHERE = {
    "data_path", "checkpoint_dir", "show_progress", "state", "log_wandb", "wandb_project", "tensorboard_dir", "packed",
    "checkpoint_minutes", "worker", "use_gpu", "gpu_id", "save_dataset", "save_dataloaders", "dataset_save_path",
    "dataloaders_save_path", "seed",
}  # fmt: skip
_CODE = ("recbole-mind", "recbole", "torch", "numpy", "faiss-cpu")  # whose versions decide figures


@dataclass(frozen=True)
class Trial:
    """A run to be made.

    Attributes:
        model, dataset, seed, overrides: what :func:`recbole_mind.training.run.run` takes.
        record: where its record goes; the users' hits go beside it, as ``.hits.npz``.
        about: what the record says beside the result, ``fingerprint`` among it (:func:`fingerprint`).
        threads: of torch.
        test: whether the test set is looked at; otherwise the record has figures of the validation set alone.
        registered: models of other packages that the worker is to know too.
    """

    model: str
    dataset: str
    seed: int
    overrides: dict[str, Any]
    record: Path
    about: dict[str, Any]
    threads: int
    test: bool = True
    registered: dict[str, str] = field(default_factory=model_names.registered)

    @property
    def hits(self) -> Path:
        """Where the hits of each user go."""
        return hits_beside(self.record)

    @property
    def folder(self) -> Path:
        """Where its checkpoints stand while it runs."""
        return self.record.parent.parent / "running" / self.record.name.removesuffix(".json")

    def finished(self) -> dict[str, Any] | None:
        """Its record, if the run is done and neither settings, nor code, nor data have changed since.

        Raises:
            InputError: there is a file that is no record.
        """
        content = self.found()
        if content is None or "error" in content or content["fingerprint"] != self.about["fingerprint"]:
            return None
        kept = content.get("hits")  # of the file that belongs to this record
        return content if kept is None or (self.hits.is_file() and sha256(self.hits) == kept) else None

    def found(self) -> dict[str, Any] | None:
        """Whatever record there is.

        Raises:
            InputError: the file is no record.
        """
        return read_record(self.record) if self.record.exists() else None


def hits_beside(record: Path) -> Path:
    """The file of the users' hits that goes with a record's."""
    return record.with_name(f"{record.name.removesuffix('.json')}.hits.npz")


def read_record(path: Path) -> dict[str, Any]:
    """Read a record of :func:`execute`.

    Raises:
        InputError: the file is unreadable, or no record.
    """
    try:
        content = parse_json(read_text(path, "record", JSON))
    except InputError:
        raise
    except ValueError:
        raise InputError(
            f"record '{path}' is corrupt: it is not JSON; move it away and the run is made again"
        ) from None
    known = isinstance(content, dict) and ("error" in content or {"test", "valid", "seconds"} <= set(content))
    known = known and isinstance(content.get("fingerprint"), dict)
    require(known, f"'{path}' is not a record of a leaderboard; move it away")
    return dict(content)


def fingerprint(config: Any, threads: int) -> dict[str, str]:
    """What a run's figures depend on, but for its seed: hashes of its settings and data, and versions."""
    from recbole_mind.config import in_force
    from recbole_mind.training.result import versions

    settings = {key: value for key, value in in_force.settings_of(config).items() if key not in _ELSEWHERE}
    settings |= {"threads": threads, "device": config["device"].type}
    for key in WINDOW_KEYS:
        if settings.get(key) is None:
            settings.pop(key, None)  # as before there were windows
    if settings.get("loss_type") != "sampled" or settings.get("sampled_form") == "nce":
        settings.pop("sampled_form", None)  # as before there was another form
    if "item_pool" in settings and Path(settings["item_pool"]).is_file():
        settings["item_pool"] = sha256(settings["item_pool"])
    found = versions()
    code = [f"{name} {found[name]}" for name in _CODE if name in found]
    name = str(config["model"])
    if model_names.is_model(name) and name not in model_names.MODELS:  # whose package may have no versions
        code.append(f"{name} {sha256(model_names.module_file(name))}")
    return {
        "settings": _hash(to_json(settings)),
        "code": " ".join(code),
        "data": data_hash(config["data_path"], config["dataset"]),
    }


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


@cache
def data_hash(folder: str, dataset: str) -> str:
    """One hash of a data set's files in RecBole's atomic format."""
    paths = [path for path in sorted(Path(folder).glob(f"{glob.escape(dataset)}.*")) if path.is_file()]
    return _hash("\n".join(f"{path.suffix} {sha256(path)}" for path in paths))


@cache
def source_hash() -> str:
    """One hash of all modules of this package: the version does not tell two commits apart."""
    root = Path(__file__).parents[1]
    paths = sorted((path.relative_to(root).as_posix(), path) for path in root.rglob("*.py"))
    return _hash("\n".join(f"{name} {sha256(path)}" for name, path in paths))


def execute(trial: Trial, epoch_done: Callable[[dict[str, Any]], bool] | None = None) -> dict[str, Any]:
    """Make the run and write its record, as soon as it ends and whole; an unfinished run goes on where it was.

    Another process that makes the same run, such as a worker whose leaderboard was killed, is waited for.

    Args:
        trial: the run.
        epoch_done: is given what the record would be, after each evaluation on the validation set, and stops the run
            by returning ``True``; its record then says ``stopped``, the epoch.

    Returns:
        the record; of a run that failed, one with ``error`` and without figures.
    """
    import torch

    trial.folder.parent.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(f"{trial.folder}.lock"):
        done = trial.finished()
        if done is not None:
            return done
        torch.set_num_threads(trial.threads)
        try:
            model_names.register_all(trial.registered)
            record = _run(trial, epoch_done)
        except InterruptedRun:
            raise  # its checkpoint stays, to go on from
        except InputError as error:
            record = {**trial.about, "error": str(error)}
        except MemoryError as error:
            record = {**trial.about, "error": f"out of memory: {error}"}
        except Exception as error:  # one run's fault must not take the others with it
            lacks_memory = any(text in str(error).lower() for text in NO_MEMORY)
            kind = "out of memory" if lacks_memory else type(error).__name__
            first = (str(error).splitlines() or [""])[0]
            record = {**trial.about, "error": f"{kind}: {first}", "traceback": traceback.format_exc()}
        write_atomic(trial.record, to_json(record))
        shutil.rmtree(trial.folder, ignore_errors=True)
    return record


def _run(trial: Trial, epoch_done: Callable[[dict[str, Any]], bool] | None) -> dict[str, Any]:
    from recbole_mind.training import run

    more: dict[str, Any] = {"hits": None, "threads": trial.threads, "source": source_hash()}

    def describe(trainer: Any) -> None:
        parameters = trainer.model.named_parameters()
        more["parameters"] = sum(values.numel() for name, values in parameters if name != "fake_loss")  # RecBole's
        more["device"] = trainer.device.type

    def record(result: RunResult) -> dict[str, Any]:
        return {**trial.about, **asdict(result), "checkpoint": None, **more}

    def watch(trainer: Any, result: RunResult) -> bool:
        describe(trainer)
        stops = epoch_done is not None and epoch_done(record(result))
        if stops:
            more["stopped"] = result.epochs
        return stops

    def observe(tested: Evaluated) -> None:
        describe(tested.trainer)
        if tested.result.topk is not None:
            _write_hits(trial.hits, tested.result.topk.numpy(), tokens_of(tested.eval_data))
            more["hits"] = sha256(trial.hits)

    mark, now = trial.folder / "fingerprint", json.dumps([trial.about["fingerprint"], trial.overrides], default=str)
    unfinished = sorted(trial.folder.glob("*.last.pth"))
    if not (mark.is_file() and mark.read_text("utf-8") == now):
        shutil.rmtree(trial.folder, ignore_errors=True)
        unfinished = []
    write_atomic(mark, now)
    result = run.run(
        trial.model,
        trial.dataset,
        overrides=trial.overrides | {"checkpoint_dir": str(trial.folder)},
        seed=trial.seed,
        resume=unfinished[-1] if unfinished else None,
        test=trial.test,
        observe=observe,
        epoch_done=None if epoch_done is None else watch,
    )
    return record(result)


def tokens_of(test_data: Any) -> Any:
    """The users of an evaluation's rows, as they stand in the file: ``[R]``."""
    data = test_data.dataset
    users = getattr(test_data, "uid_list", None)
    if users is None:
        users = data.inter_feat[data.uid_field]
    return data.id2token(data.uid_field, np.asarray(users))


def _write_hits(path: Path, found: Any, tokens: Any) -> None:
    """Keep ``found`` [R, k + 1], RecBole's ``rec.topk``, in the order of the users' tokens."""
    from recbole_mind.evaluation.hits import Hits

    order = np.argsort(tokens, kind="stable")
    users = _hash("\n".join(tokens[order].tolist()))
    Hits(found[order, :-1].astype(bool), found[order, -1].astype(np.int64), users).save(path)
