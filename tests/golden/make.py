"""Write a generation of golden files with the version that is here: ``python -m tests.golden.make NAME``.

It goes to ``tests/golden/NAME``, beside those of other versions and never over one. The files of each format stand in a
folder of their own, and beside them, in ``expected.json``, what the version that wrote them read from them.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from recbole_mind.cli import main
from recbole_mind.data import atomic_file
from recbole_mind.data.packed_file import Layout, Pack
from recbole_mind.data.packing import pack
from recbole_mind.evaluation.hits import Hits, per_user
from recbole_mind.experiments.sweep import runner
from recbole_mind.export import export
from recbole_mind.ranking.run import rank
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.gate import Checked
from recbole_mind.serving.store.store import Store
from recbole_mind.training import build, run

HERE = Path(__file__).parent
DATA = HERE / "data"  # with the data set ``small``, which all generations are of
SHORT = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "genre", "tags"],
                 "user": ["user_id", "job"]},
    "MAX_ITEM_LIST_LENGTH": 10, "embedding_size": 8, "relu_layers": [8], "train_batch_size": 64, "learning_rate": 0.01,
    "epochs": 2, "topk": [5, 10], "valid_metric": "NDCG@10", "use_gpu": False, "show_progress": False,
}  # fmt: skip
SPLIT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}
QUESTIONS: list[dict[str, Any]] = [
    {"history": ["i1", "i3", "i5", "i8", "i9"], "n": 12},
    {"history": ["i2", "nobody", "i4"], "n": 7, "exclude_seen": False, "profile": {"job": "j1"}},
    {"history": ["i1", "i3"], "n": 9, "denied": ["i4"], "allowed": ["i2", "i4", "i6", "i7", "i8"]},
    {"history": ["i11", "i14"], "n": 8, "diversity": 0.5, "category": "tags"},
    {"history": [], "n": 5},
]


def settings(data: Path, **more: object) -> dict[str, Any]:
    return {"data_path": str(data)} | SHORT | more


def expect(folder: Path, **what: Any) -> None:
    (folder / "expected.json").write_text(json.dumps(what, indent=1) + "\n")


def checkpoint(folder: Path, data: Path) -> None:
    """One of ours, with its settings beside it and the record of its run."""
    given = settings(data, eval_args=SPLIT, K=2, checkpoint_dir="saved", **FEATURES)
    result = run.run("MIND", "small", overrides=given, record=folder / "record.json")
    for path, name in ((result.checkpoint, "model.pth"), (f"{result.checkpoint}.json", "model.pth.json")):
        shutil.copy(path, folder / name)
    expect(folder, valid=result.valid, test=result.test, curve=result.curve, interests=result.interests)


def recbole_checkpoint(folder: Path, data: Path) -> None:
    """Written by RecBole's own trainer: of its models, one of which keeps the data set in it, and of one of ours."""
    from recbole.trainer import Trainer

    found = {}
    length = {"MAX_ITEM_LIST_LENGTH": SHORT["MAX_ITEM_LIST_LENGTH"]}
    of_each: dict[str, dict[str, Any]] = {
        "BPR": {},
        "GRU4RecF": length | {"selected_features": ["genre"], "hidden_size": 8},
        "MIND": length | {"relu_layers": SHORT["relu_layers"], "K": 2},
    }
    for name, more in of_each.items():
        general = {key: value for key, value in SHORT.items() if key not in ("relu_layers", "MAX_ITEM_LIST_LENGTH")}
        given = general | {"data_path": str(data), "eval_args": SPLIT} | more
        config = build.build_config(name, "small", overrides=given)
        if name != "MIND":
            config.final_config_dict.pop("timestamp_order")  # RecBole's own files know no such key
        _, train, *_ = build.build_data(config)
        path = folder / f"{name}.pth"
        trainer = Trainer(config, build.build_model(config, train))
        Trainer._save_checkpoint(trainer, 0, verbose=False, saved_model_file=str(path))
        found[name] = run.evaluate(path, overrides={"checkpoint_dir": "saved"}).test
    expect(folder, test=found)


def bundle(folder: Path, data: Path) -> None:
    """Of MIND with an exact index, and of YouTubeDNN with one of FAISS."""
    found = {}
    for model, factory, more in (("MIND", "exact", {"K": 2}), ("YouTubeDNN", "HNSW8", {})):
        given = settings(data, eval_args=SPLIT, checkpoint_dir="saved", **FEATURES, **more)
        path = run.run(model, "small", overrides=given).checkpoint
        export(str(path), folder / model, factory=factory)
        recaller = Recaller.load(folder / model, threads=1)
        found[model] = [recaller.recall(**question)._asdict() for question in QUESTIONS]
    expect(folder, questions=QUESTIONS, answers=found)


def classic_bundle(folder: Path, data: Path) -> None:
    """Of RecBole's ItemKNN, with lists of similar items, and of Pop, with popularity alone."""
    found = {}
    of_ours = ("MAX_ITEM_LIST_LENGTH", "embedding_size", "relu_layers", "learning_rate", "epochs")
    general = {key: value for key, value in SHORT.items() if key not in of_ours}
    for model, more in (("ItemKNN", {"k": 8}), ("Pop", {})):
        given = general | {"data_path": str(data), "eval_args": SPLIT, "checkpoint_dir": "saved"} | more
        export(str(run.run(model, "small", overrides=given).checkpoint), folder / model, categories=["genre", "tags"])
        recaller = Recaller.load(folder / model, threads=1)
        found[model] = [recaller.recall(**question)._asdict() for question in QUESTIONS]
    expect(folder, questions=QUESTIONS, answers=found)


def ranked_bundle(folder: Path, data: Path) -> None:
    """Of MIND with a ranker, and the checkpoints of both."""
    given = settings(data, eval_args=SPLIT, K=2, checkpoint_dir="saved", **FEATURES)
    recall = folder / "recall.pth"
    shutil.copy(str(run.run("MIND", "small", overrides=given).checkpoint), recall)
    of_ranker = {"history": 5, "embedding_size": 4, "mlp_hidden_size": [8, 4], "candidates": 12, "epochs": 4}
    more = {"train_batch_size": 16, "learning_rate": 0.05, "checkpoint_dir": "saved", "data_path": str(data)}
    result, ranker = rank(recall, of_ranker | more)
    shutil.copy(result.checkpoint, folder / "ranker.pth")
    export(recall, folder / "MIND", ranker=folder / "ranker.pth", overrides={"data_path": str(data)})
    recaller = Recaller.load(folder / "MIND", threads=1)
    questions = [question | {"candidates": 20} for question in QUESTIONS if "diversity" not in question]
    answers = [recaller.recommend(**question)._asdict() for question in questions]
    expect(folder, questions=questions, answers=answers, test=ranker.judged(ranker.test_lists()).figures())


def store(folder: Path, data: Path) -> None:
    """Two versions, a third try that is blocked, and one step back; needs the bundles of this generation."""
    bundles = [folder.parent / "bundle" / name for name in ("YouTubeDNN", "MIND")]
    held = Store(folder / "store")
    held.publish(bundles[0], who="ann", force="the first")
    held.publish(bundles[1], who="ben", force="another model")
    Store(folder / "store", checks=lambda *_: Checked((), ("a recall fails",), {})).publish(bundles[0], who="eve")
    held.rollback(who="ann", why="clicks fell")
    events = [asdict(event) for event in held.history()]
    expect(folder, events=events, current=held.current().name, versions=held.versions())


def leaderboard(folder: Path, data: Path) -> None:
    """Records, hits and the board of three models and two seeds."""
    said = {
        "models": ["Pop", "YouTubeDNN", "MIND"], "datasets": ["small"], "data_path": str(data), "seeds": [1, 2],
        "protocols": ["leave-one-out"], "baseline": "YouTubeDNN", "settings": {"all": SHORT, "MIND": {"K": 2}},
    }  # fmt: skip
    said["settings"]["all"] = {key: value for key, value in SHORT.items() if key not in ("use_gpu", "show_progress")}
    (folder / "board.yaml").write_text(yaml.safe_dump(said))
    assert main.main(["leaderboard", str(folder / "board.yaml"), "--output", "board"]) == 0
    shutil.copytree("board/records", folder / "records")
    shutil.copy("board/leaderboard.csv", folder)


def sweep(folder: Path, data: Path) -> None:
    """The state, records and results of a search of four trials, whose winner was tested with two seeds."""
    fixed = {key: value for key, value in SHORT.items() if key not in ("use_gpu", "show_progress", "learning_rate")}
    said = {
        "model": "MIND", "dataset": "small", "algo": "random", "max_evals": 4, "final_seeds": [1, 2],
        "settings": fixed | {"data_path": str(data), "protocol": "leave-one-out"},
        "space": {"K": {"int": [1, 3]}, "learning_rate": {"loguniform": [0.001, 0.02]}},
    }  # fmt: skip
    (folder / "space.yaml").write_text(yaml.safe_dump(said))
    result = runner.run(folder / "space.yaml", "sweep")
    for name in ("sweep.json", "best.yaml", "trials.csv", "records"):
        (shutil.copytree if name == "records" else shutil.copy)(f"sweep/{name}", folder / name)
    expect(folder, best=result.best, value=result.value, metric=result.metric, test=result.test, trials=result.trials)


def hits(folder: Path, data: Path) -> None:
    """Of each user of a run; needs the leaderboard of this generation."""
    source = folder.parent / "leaderboard/records/small@leave-one-out@MIND@1.hits.npz"
    shutil.copy(source, folder / "hits.npz")
    found = Hits.load(source)
    metrics = ("recall@5", "hit@10", "precision@5", "mrr@10", "ndcg@10", "map@10")
    figures = {metric: per_user(found, metric).tolist() for metric in metrics}
    expect(folder, users=found.users, numbers=found.numbers.tolist(), per_user=figures)


def packed(folder: Path, data: Path) -> None:
    """The interactions as columns."""
    inter = data / "small/small.inter"
    columns = atomic_file.columns(inter, atomic_file.Format())
    pack(inter, folder / "small.packed",
         Layout(columns, ["user_id", "item_id", "timestamp"], "\t", "user_id", "item_id", "timestamp"))  # fmt: skip
    expect(folder, histories=histories(Pack.open(folder / "small.packed")))


def histories(found: Pack) -> dict[str, list[str]]:
    """The items of each user of a pack, in the order of time."""
    offsets, users, items = found.offsets(), found.texts(found.user), found.texts(found.item)
    ids = found.column(found.item)
    return {
        user: [items[i - 1] for i in ids[offsets[place] : offsets[place + 1]]] for place, user in enumerate(users, 1)
    }


FORMATS: tuple[Callable[[Path, Path], None], ...] = (
    checkpoint, recbole_checkpoint, bundle, classic_bundle, ranked_bundle, store, leaderboard, sweep, hits, packed,
)  # fmt: skip


def make(name: str, *formats: str) -> Path:
    """Write the generation ``name`` of all formats, or of those that are named; returns its folder."""
    target = HERE / name
    target.mkdir()  # which refuses one that is there
    before = Path.cwd()
    with tempfile.TemporaryDirectory(prefix="golden-") as work:
        try:
            os.chdir(work)
            shutil.copytree(DATA, "data")
            for write in [write for write in FORMATS if not formats or write.__name__ in formats]:
                (target / write.__name__).mkdir()
                write(target / write.__name__, Path(work, "data"))
        finally:
            os.chdir(before)
    return target


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", help="of the generation")
    parser.add_argument("formats", nargs="*", help="that it holds; by default all")
    known = parser.parse_args()
    made = make(known.name, *known.formats)
    print(made, f"{sum(path.stat().st_size for path in made.rglob('*') if path.is_file()):,} bytes")
