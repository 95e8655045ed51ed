"""Bundles of models that were trained for a moment on the small data set."""

from __future__ import annotations

import os
from pathlib import Path

from recbole_mind.export import export
from recbole_mind.training import run
from tests.support.data import small_settings
from tests.support.sealing import reseal

__all__ = ["FEATURES", "exported", "reseal", "trained", "trained_classic"]
FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}


def trained(folder: Path, small: Path, model: str, **settings: object) -> str:
    """Train ``model`` for an epoch in ``folder``; the path of its checkpoint."""
    before = Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)  # RecBole writes its logs where it stands
    try:
        given = small_settings(small, **({"epochs": 1} | FEATURES | settings))
        return str(folder / run.run(model, "small", overrides=given, record="record.json").checkpoint)
    finally:
        os.chdir(before)


def trained_classic(folder: Path, small: Path, model: str, **settings: object) -> str:
    """Train ``ItemKNN`` or ``Pop``, which know no sizes and no rates, in ``folder``; the path of its checkpoint."""
    of_ours = ("MAX_ITEM_LIST_LENGTH", "embedding_size", "relu_layers", "learning_rate", "epochs")
    given = {key: value for key, value in small_settings(small).items() if key not in of_ours} | settings
    before = Path.cwd()
    folder.mkdir(parents=True, exist_ok=True)
    os.chdir(folder)
    try:
        return str(folder / run.run(model, "small", overrides=given, record="record.json").checkpoint)
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


RANKING = {
    "history": 5, "embedding_size": 4, "mlp_hidden_size": [8, 4], "candidates": 12, "num_negatives": 4, "epochs": 8,
    "stopping_step": 8, "train_batch_size": 16, "learning_rate": 0.05,
}  # fmt: skip


def ranked(checkpoint: str, **settings: object) -> str:
    """Train a ranker of the recall in ``checkpoint`` for a moment, beside it; the path of its checkpoint."""
    from recbole_mind.ranking.run import rank

    before, folder = Path.cwd(), Path(checkpoint).parent
    os.chdir(folder)
    try:
        result, _ = rank(checkpoint, RANKING | {"checkpoint_dir": str(folder)} | settings)
        return result.checkpoint
    finally:
        os.chdir(before)
