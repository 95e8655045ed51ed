"""The settings that are in force in RecBole's ``Config``, as JSON can hold them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_mind.config.keys import known_keys
from recbole_mind.util.json_text import plain

_DERIVED = {
    "MODEL_TYPE", "MODEL_INPUT_TYPE", "eval_type", "device", "single_spec", "local_rank", "nproc", "world_size",
    "offset", "ip", "port", "gpu_id", "valid_neg_sample_args", "test_neg_sample_args", "config_files",
}  # fmt: skip


def settings_of(config: Any) -> dict[str, Any]:
    """Every setting in force in RecBole's ``config``, as plain values that build the same ``Config`` again."""
    return values_in_force(config.final_config_dict)


def values_in_force(final: Mapping[str, Any]) -> dict[str, Any]:
    """Of the final values of a ``Config`` those that are settings, with paths that hold elsewhere too."""
    known = known_keys(final["model"]) - _DERIVED  # models add keys of their own while they are built
    settings = {key: value for key, value in final.items() if key in known}
    path = Path(str(settings["data_path"]))
    settings["data_path"] = "dataset/" if settings["dataset"] == "ml-100k" else str(path.parent)
    negatives = settings.get("train_neg_sample_args")
    if negatives and negatives.get("distribution") == "none":
        settings["train_neg_sample_args"] = None
    result: dict[str, Any] = plain(settings)
    return result
