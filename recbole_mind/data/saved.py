"""Data sets and loaders that RecBole saves and uses again: only where they are what the run would make itself.

Beside what is saved stands a manifest, ``<file>.json``, with the folder, the sizes and hashes of the data set's files
and the settings that made it. All of it must agree, and the saved file be the one that the manifest was written for;
otherwise it is made again, or, where the settings name it, refused.

What is saved is a pickle of live objects, which runs what it says when it is opened. It is opened only if the manifest
bears a mark (HMAC) of a key that this user alone can read, so that a file that somebody else has put there is not.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import hmac
import json
import logging
import os
import pickle
import secrets
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from recbole_mind.config import in_force, keys, loading
from recbole_mind.config.model_names import MODELS
from recbole_mind.data.packed_dataset import PackedDataset
from recbole_mind.errors import InputError, require
from recbole_mind.util import json_text
from recbole_mind.util.files import JSON, parse_json, read_bytes, sha256, write_atomic

FORMAT, VERSION = "recbole-mind saved data", 3  # 2 named the modules before there were rooms
_KEY = 32  # bytes

# Settings that say where and how long a run trains and how it is judged, which no loader depends on.
_LATER = {
    "checkpoint_dir", "save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path", "show_progress",
    "state", "log_wandb", "wandb_project", "tensorboard_dir", "epochs", "learner", "learning_rate", "eval_step",
    "stopping_step", "clip_grad_norm", "weight_decay", "loss_decimal_place", "metrics", "topk", "valid_metric",
    "valid_metric_bigger", "metric_decimal_place", "checkpoint_minutes", "eval_search", "search_parameters",
    "data_path",
}  # fmt: skip
_SEEDED = {"seed", "repeatable"}


def load_dataset(config: Any, kind: str) -> Any | None:
    """The data set of the class called ``kind`` as it was saved, if it is the one that the settings ask for.

    Raises:
        InputError: ``dataset_save_path`` names what is not this data set.
    """
    path = Path(config["dataset_save_path"] or _beside(config, kind))
    content = _usable(path, config, "dataset_save_path")
    if content is None:
        return None
    dataset = pickle.loads(content)  # noqa: S301 - what this user has written
    dataset.config = config
    return dataset


def save_dataset(dataset: Any) -> None:
    """What RecBole's ``Dataset.save`` does, whole and with a manifest; nothing for a pack, which opens as fast."""
    if isinstance(dataset, PackedDataset):
        return
    _write(_beside(dataset.config, type(dataset).__name__), dataset, dataset.config, "dataset_save_path")


def load_loaders(config: Any) -> tuple[Any, ...] | None:
    """What RecBole's ``load_split_dataloaders`` does: the three loaders as they were saved, if they are this run's.

    Raises:
        InputError: ``dataloaders_save_path`` names what are not this run's.
    """
    path = Path(config["dataloaders_save_path"] or _beside_loaders(config))
    content = _usable(path, config, "dataloaders_save_path")
    if content is None:
        return None
    loaders = []
    for loader, state in pickle.loads(content):  # noqa: S301 - what this user has written
        loader.generator = loader.sampler.generator = torch.Generator()
        loader.generator.set_state(state)
        loader.update_config(config)
        loaders.append(loader)
    return tuple(loaders)


def save_loaders(config: Any, dataloaders: Sequence[Any]) -> None:
    """What RecBole's ``save_split_dataloaders`` does, leaving the loaders as they are."""
    generators = [loader.generator for loader in dataloaders]
    try:
        for loader in dataloaders:
            loader.generator = loader.sampler.generator = None  # which cannot be pickled
        content = [(loader, made.get_state()) for loader, made in zip(dataloaders, generators, strict=True)]
        _write(_beside_loaders(config), content, config, "dataloaders_save_path")
    finally:
        for loader, made in zip(dataloaders, generators, strict=True):
            loader.generator = loader.sampler.generator = made


def _beside(config: Any, kind: str) -> Path:
    return Path(config["checkpoint_dir"]) / f"{config['dataset']}-{kind}.pth"


def _beside_loaders(config: Any) -> Path:
    return Path(config["checkpoint_dir"]) / f"{config['dataset']}-for-{config['model']}-dataloader.pth"


def _write(path: Path, content: Any, config: Any, key: str) -> None:
    """Write what is saved, then its manifest, each whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    manifest = Path(f"{path}.json")
    manifest.unlink(missing_ok=True)
    write_atomic(path, lambda file: pickle.dump(content, file))
    about = _origin(config, key) | {"sha256": sha256(path)}
    write_atomic(manifest, json_text.to_json(about | {"mark": _mark(about)}))


def _mark(about: dict[str, Any]) -> str:
    """The mark of this user on what a manifest says."""
    return hmac.new(_key(), json_text.to_json(about).encode(), hashlib.sha256).hexdigest()


def _key() -> bytes:
    """This user's key, which is made when it is first needed.

    Raises:
        InputError: it can be neither read nor made, or others may read it.
    """
    folder = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local/state") / "recbole-mind"
    path = folder / "saved-data.key"
    called = f"the key of saved data '{path}'"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not path.exists():
            fresh = folder / f".{secrets.token_hex(8)}.tmp"
            descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "wb") as file:
                file.write(secrets.token_bytes(_KEY))
            with contextlib.suppress(FileExistsError):  # another run was first
                os.link(fresh, path)
            fresh.unlink()
        status = path.stat()
        key = read_bytes(path)
    except OSError as error:
        raise InputError(f"{called} cannot be used: {error.strerror}") from None
    require(len(key) == _KEY, f"{called} is corrupt; remove it, and a new one is made")
    alone = status.st_uid == os.geteuid() and not stat.S_IMODE(status.st_mode) & 0o077
    require(alone, f"{called} can be read by others; remove it, and a new one is made")
    return key


def _origin(config: Any, key: str) -> dict[str, Any]:
    """What a data set or its loaders are made from, as JSON gives it back."""
    folder = Path(config["data_path"])
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.glob(f"{glob.escape(config['dataset'])}.*"))
        if path.is_file()
    }
    pool = config["item_pool"]
    if pool is not None and Path(pool).is_file():
        files["item_pool"] = {"bytes": Path(pool).stat().st_size, "sha256": sha256(pool)}
    content = {
        "format": FORMAT,
        "version": VERSION,
        "data_path": str(folder.resolve()),
        "files": files,
        "settings": _settings(config, of_loaders=key == "dataloaders_save_path"),
    }
    return dict(json.loads(json_text.to_json(content)))


def _settings(config: Any, *, of_loaders: bool) -> dict[str, Any]:
    """The settings that make the loaders, or the data set that they are made of."""
    found = {key: value for key, value in in_force.settings_of(config).items() if key not in _LATER}
    if of_loaders:
        return found
    found["window_end"] = json_text.plain(config.external_config_dict.get("window_end"))  # reading it fills in the end
    overall = loading.read_file(keys.recbole_folder() / "properties/overall.yaml")
    own = set(loading.defaults("model", config["model"])) - {*keys.DATA_KEYS, "packed", "item_features"}
    gone = (set(overall) - _SEEDED) | (own - {"user_features"})
    if config["model"] in MODELS:
        gone.add("model")  # our models share a data set
    return {key: value for key, value in found.items() if key not in gone}


def _usable(path: Path, config: Any, key: str) -> bytes | None:
    """The file at ``path`` if it is what the settings would make; say why, if it is there and is not."""
    named = config[key] is not None
    require(path.is_file() or not named, f"{key}: there is no file '{path}'")
    if not path.is_file():
        return None
    content = read_bytes(path, 2**50)  # once: what is judged is what is opened
    reason = _difference(path, content, _origin(config, key))
    if reason is None:
        logging.getLogger().info(f"'{path}' is used, which was saved before")
        return content
    if named:
        raise InputError(f"{key}: '{path}' cannot be used: {reason}; leave it out")
    logging.getLogger().warning(f"'{path}' is not used: {reason}")
    return None


def _difference(path: Path, content: bytes, now: dict[str, Any]) -> str | None:
    """What a saved file has another origin in than ``now``, or why it is not known to be this user's."""
    try:
        then = parse_json(read_bytes(f"{path}.json", JSON).decode("utf-8"))
        if (then["format"], then["version"]) != (FORMAT, VERSION):
            return "its manifest is of another version"
        if then["sha256"] != hashlib.sha256(content).hexdigest():
            return "it was changed after it was saved"
        mark = str(then.pop("mark")).encode("utf-8", "replace")
        if not hmac.compare_digest(mark, _mark(then).encode()):
            return "it does not bear this user's mark: somebody else saved it, who could have it run anything"
        if then["data_path"] != now["data_path"]:
            return f"it was made from '{then['data_path']}'"
        for name in sorted(set(then["files"]) | set(now["files"])):
            if then["files"].get(name) != now["files"].get(name):
                return f"'{name}' has changed since"
        before, after = then["settings"], now["settings"]
        for name in sorted(set(before) | set(after)):
            if before.get(name) != after.get(name):
                return f"it was made with {name} {before.get(name)!r}"
    except InputError as error:
        return str(error)
    except OSError:
        return f"there is no manifest '{path.name}.json', which says what it was made from"
    except (ValueError, KeyError, TypeError, AttributeError):
        return f"its manifest '{path.name}.json' is corrupt"
    return None
