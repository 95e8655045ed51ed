"""The data set ``a``, written as a test wants it, and what a run makes of it."""

from __future__ import annotations

import numpy as np

from recbole_mind.config.keys import known_keys
from recbole_mind.training import build
from tests.support.data import LEAVE_ONE_OUT, SHORT_RUN

HEAD = "user_id:token\titem_id:token\ttimestamp:float"


def rows(users=12, items=20, length=8, seed=0):
    """Interactions of ``users``, as cells: user, item, seconds since 1970, in no order."""
    generator = np.random.default_rng(seed)
    found = []
    for user in range(users):
        for place, item in enumerate(generator.choice(items, length, replace=False)):
            found.append([f"u{user}", f"i{item}", str(1_700_000_000 + 1000 * user + place)])
    return [found[place] for place in generator.permutation(len(found))]


def write_rows(folder, found, head=HEAD, name="a", ending=".inter", encoding="utf-8", separator="\t", newline="\n"):
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    text = newline.join([head.replace("\t", separator), *(separator.join(row) for row in found)]) + newline
    path = target / f"{name}{ending}"
    path.write_bytes(text.encode(encoding))
    return path


def overrides(folder, model="MIND", **more):
    """Settings of a run of a second; those that ``model`` does not know are left out."""
    found = SHORT_RUN | {"data_path": str(folder), "epochs": 1, "show_progress": False, "use_gpu": False} | more
    return {key: value for key, value in found.items() if key in known_keys(model)}


def targets(folder, model="MIND", **more):
    """Each user's test target, as it stands in the file."""
    config = build.build_config(model, "a", overrides=overrides(folder, model, eval_args=LEAVE_ONE_OUT, **more))
    dataset, _, _, test = build.build_data(config)
    feat = test.dataset.inter_feat
    pairs = zip(feat["user_id"], feat["item_id"], strict=True)
    return {dataset.id2token("user_id", int(u)): dataset.id2token("item_id", int(i)) for u, i in pairs}
