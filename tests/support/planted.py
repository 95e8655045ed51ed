"""Planted interests as a data set: users of three blocks of items each, whose titles and genres say the block."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.support.data import small_settings

BLOCKS, PER_BLOCK, PER_USER, BEHAVIORS = 8, 10, 3, 6
EVIL = '</script><b>"Titanic" & $x$'  # a title that would break a careless page


def write_planted(folder: Path, users: int = 240) -> Path:
    """Write the data set ``planted`` under ``folder``: each user six items of each of three blocks, shuffled.

    Item ``b2-7`` has the genres ``all`` and ``block2`` and the title ``Item 7 of block 2``; ``b0-0`` has an evil one.
    """
    generator, target = np.random.default_rng(0), folder / "planted"
    target.mkdir(parents=True)
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(users):
        blocks = generator.choice(BLOCKS, PER_USER, replace=False)
        items = [f"b{b}-{i}" for b in blocks for i in generator.choice(PER_BLOCK, BEHAVIORS, replace=False)]
        rows += [f"u{user}\t{item}\t{place}" for place, item in enumerate(generator.permutation(items))]
    (target / "planted.inter").write_text("\n".join(rows) + "\n")
    lines = ["item_id:token\tprice:float\tmovie_title:token_seq\tclass:token_seq"]
    for b in range(BLOCKS):
        for i in range(PER_BLOCK):
            title = EVIL if b == i == 0 else f"Item {i} of block {b}"
            lines.append(f"b{b}-{i}\t1.5\t{title}\tall block{b}")
    (target / "planted.item").write_text("\n".join(lines) + "\n")
    return folder


def planted_settings(folder: Path, **more: object) -> dict[str, object]:
    """Settings under which MIND finds the blocks in a few seconds; it sees neither titles nor genres."""
    return small_settings(
        folder,
        **{
            "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
            "MAX_ITEM_LIST_LENGTH": 20,
            "embedding_size": 32,
            "relu_layers": [128],
            "train_batch_size": 128,
            "epochs": 8,
            "seed": 1,
            "item_features": [],
            "user_features": [],
        }
        | more,
    )


MIND = {"preset": "plain", "K": 3, "adaptive_K": False, "routing_init": "kmeans++", "routing_scale": 5.0, "p": "inf"}
