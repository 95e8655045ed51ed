"""Small data sets in RecBole's atomic format, written by the tests that need them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
LOAD = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "genre", "tags"], "user": ["user_id", "job"]}
# of a run that takes a second; the data set and its fields come beside it
SHORT_RUN = {
    "MAX_ITEM_LIST_LENGTH": 10,
    "embedding_size": 16,
    "relu_layers": [32],
    "train_batch_size": 64,
    "epochs": 2,
    "topk": [5, 10],
    "valid_metric": "NDCG@10",
}


def write_small(folder: Path, *, users: int = 40, items: int = 50, length: int = 12, seed: int = 0) -> Path:
    """Write the data set ``small`` under ``folder``: two groups of items, each user in one of them; returns folder.

    Time stamps are seconds since 1970, a second apart, so that float32 cannot tell them apart.
    """
    generator = np.random.default_rng(seed)
    target = folder / "small"
    target.mkdir(parents=True, exist_ok=True)
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(users):
        half = np.arange(1 + user % 2, items + 1, 2)
        count = int(generator.integers(5, length + 1))
        for place, item in enumerate(generator.choice(half, size=count, replace=False)):
            rows.append(f"u{user}\ti{item}\t{881250000 + 100 * user + place}")
    order = generator.permutation(len(rows) - 1) + 1  # the file is not in time order
    (target / "small.inter").write_text("\n".join([rows[0], *(rows[i] for i in order)]) + "\n")
    genres = [f"i{i}\tg{i % 2}\t{' '.join(f't{j}' for j in range(i % 4))}" for i in range(1, items + 1)]
    (target / "small.item").write_text("\n".join(["item_id:token\tgenre:token\ttags:token_seq", *genres]) + "\n")
    jobs = [f"u{u}\tj{u % 3}" for u in range(users)]
    (target / "small.user").write_text("\n".join(["user_id:token\tjob:token", *jobs]) + "\n")
    return folder


def small_settings(folder: Path, **more: object) -> dict[str, object]:
    """Settings under which the small data set trains in a second."""
    return {
        "data_path": str(folder),
        "load_col": LOAD,
        "eval_args": LEAVE_ONE_OUT,
        "MAX_ITEM_LIST_LENGTH": 10,
        "embedding_size": 16,
        "relu_layers": [32],
        "train_batch_size": 64,
        "learning_rate": 0.01,
        "epochs": 2,
        "topk": [5, 10],
        "valid_metric": "NDCG@10",
        "show_progress": False,
    } | more


def sequences(folder: Path) -> dict[str, list[str]]:
    """Each user's items of the data set ``small``, in the true order of time, read without RecBole."""
    rows = [line.split("\t") for line in (folder / "small/small.inter").read_text().splitlines()[1:]]
    result: dict[str, list[str]] = {}
    for user, item, _ in sorted(rows, key=lambda row: int(row[2])):
        result.setdefault(user, []).append(item)
    return result
