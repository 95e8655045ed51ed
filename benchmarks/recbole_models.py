"""Which of RecBole's own models run here, and do they come to the same figures with other libraries?

    python -m benchmarks.recbole_models --output benchmarks/records/recbole-models-3.11.json

trains each model of RecBole for an epoch on a made data set, on the CPU and one thread, with one seed, as
``run_recbole`` does, and tests it; a model that learns in stages goes through each of them. The record holds the
figures unrounded, a digest of the trained weights, seconds of the processor, and of a model that cannot run the error
in one line. ``--models`` names some, whose entries are then replaced in a record that is there. Each runs in a process
of its own, forked when the libraries are imported, of ``--seconds`` at most. A record takes about five minutes.

    python -m benchmarks.recbole_models --compare OLD.json NEW.json --page docs/recbole-models.md

writes the table of two records into the page, between the marks that stand there.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import logging
import math
import multiprocessing
import os
import platform
import tempfile
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from recbole_mind.config import keys
from recbole_mind.errors import InputError
from recbole_mind.training.result import versions
from recbole_mind.training.run import run
from recbole_mind.util.files import write_atomic

SEED, USERS, ITEMS, SIZE = 2020, 120, 100, 64
KINDS = ("general", "sequential", "context_aware", "knowledge_aware", "exlib")
TITLES = {"exlib": "decision trees"}
MARKS = "<!-- by benchmarks/recbole_models.py -->", "<!-- end -->"

# -- the data set ----------------------------------------------------------------------------------------------------


def write_data(folder: Path) -> str:
    """Write the data set ``made`` under ``folder``, with every kind of file that a model reads; returns its digest.

    Users like one or two of four classes of items; of a class the first items are the popular ones.
    """
    g, target = np.random.default_rng(SEED), folder / "made"
    target.mkdir(parents=True)
    classes = np.arange(ITEMS) % 4
    inter, users = [], []
    for user in range(USERS):
        likes = g.choice(4, size=1 + user % 2, replace=False)
        weight = np.where(np.isin(classes, likes), 1.0, 0.1) / np.sqrt(1 + np.arange(ITEMS))
        length = int(g.integers(12, 40))
        for place, item in enumerate(g.choice(ITEMS, size=length, replace=False, p=weight / weight.sum())):
            rating = int(np.clip(g.integers(1, 4) + 2 * np.isin(classes[item], likes), 1, 5))
            inter.append(f"u{user}\ti{item}\t{rating}\t{881250000 + 1000 * user + place}")
        users.append(f"u{user}\t{int(g.integers(18, 70))}\tj{likes[0]}")
    items = [f"i{i}\t{1990 + i % 20}\tc{classes[i]}{' c4' if i % 3 else ''}\t{i / 7:.2f}" for i in range(ITEMS)]
    link = [f"i{i}\te{i}" for i in range(ITEMS)]
    triples = [f"e{i}\tis\te{ITEMS + classes[i]}" for i in range(ITEMS)]
    triples += [f"e{i}\tby\te{ITEMS + 4 + int(g.integers(10))}" for i in range(ITEMS)]
    vectors = g.standard_normal((ITEMS + 2, SIZE)).round(4)
    texts = [" ".join(map(str, vector)) for vector in vectors]
    mixed = [inter[place] for place in g.permutation(len(inter))]
    files = {
        "inter": ["user_id:token\titem_id:token\trating:float\ttimestamp:float", *mixed],
        "user": ["user_id:token\tage:token\tjob:token", *users],
        "item": ["item_id:token\tyear:token\tclass:token_seq\tprice:float", *items],
        "link": ["item_id:token\tentity_id:token", *link],
        "kg": ["head_id:token\trelation_id:token\ttail_id:token", *triples],
        "itememb": ["ent_id:token\tent_emb:float_seq", *(f"i{i}\t{texts[i]}" for i in range(ITEMS))],
        "ent": ["ent_id:token\tent_emb:float_seq", *(f"e{i}\t{texts[i]}" for i in range(ITEMS))],
        "rel": ["rel_id:token\trel_emb:float_seq", f"is\t{texts[-2]}", f"by\t{texts[-1]}"],
    }  # fmt: skip
    digest = hashlib.sha256()
    for suffix, lines in files.items():
        text = "\n".join(lines) + "\n"
        digest.update(text.encode())
        (target / f"made.{suffix}").write_text(text)
    return digest.hexdigest()[:16]


# -- the models ------------------------------------------------------------------------------------------------------

_INTER = {"inter": ["user_id", "item_id", "rating", "timestamp"]}
_SIDE = {"user": ["user_id", "age", "job"], "item": ["item_id", "year", "class"]}
_GRAPH = {"kg": ["head_id", "relation_id", "tail_id"], "link": ["item_id", "entity_id"]}
COMMON: dict[str, Any] = {"epochs": 1, "train_batch_size": 256, "show_progress": False, "use_gpu": False}
SEQUENTIAL = {"MAX_ITEM_LIST_LENGTH": 20}
OF_A_KIND: dict[str, dict[str, Any]] = {
    "general": {"load_col": _INTER},
    "sequential": {"load_col": _INTER, **SEQUENTIAL},
    "context_aware": {"load_col": _INTER | _SIDE, "threshold": {"rating": 4}},
    "knowledge_aware": {"load_col": _INTER | _GRAPH},
    "exlib": {"load_col": _INTER | _SIDE, "threshold": {"rating": 4}},
}
_FEATURES = {"load_col": _INTER | {"item": ["item_id", "class"]}, "selected_features": ["class"]}
_ORDER = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}}  # which RecBole forgets
# of a model: what it is given beside that, a mapping for each stage; {last} is the file that the stage before wrote
OF_A_MODEL: dict[str, list[dict[str, Any]]] = {
    "DIN": [{"load_col": _INTER | _SIDE}],
    "DIEN": [{"load_col": _INTER | _SIDE}],
    "FDSA": [_FEATURES],
    "GRU4RecF": [_FEATURES],
    "SASRecF": [_FEATURES],
    "GRU4RecKG": [_ORDER | {
        "load_col": _INTER | _GRAPH | {"itememb": ["ent_id", "ent_emb"]}, "additional_feat_suffix": ["itememb"],
        "alias_of_item_id": ["ent_id"], "preload_weight": {"ent_id": "ent_emb"}}],
    "KSR": [_ORDER | {
        "load_col": _INTER | _GRAPH | {"ent": ["ent_id", "ent_emb"], "rel": ["rel_id", "rel_emb"]},
        "additional_feat_suffix": ["ent", "rel"], "alias_of_entity_id": ["ent_id"], "alias_of_relation_id": ["rel_id"],
        "preload_weight": {"ent_id": "ent_emb", "rel_id": "rel_emb"}}],
    "S3Rec": [
        {"load_col": _INTER | {"item": ["item_id", "class"]}, "train_stage": stage, **more}
        for stage, more in (("pretrain", {"pretrain_epochs": 1, "save_step": 1}),
                            ("finetune", {"pre_model_path": "{last}"}))],
    "RaCT": [
        {"train_stage": "actor_pretrain", "pretrain_epochs": 1, "save_step": 1},
        {"train_stage": "critic_pretrain", "pretrain_epochs": 1, "save_step": 1, "pre_model_path": "{last}"},
        {"train_stage": "finetune", "pre_model_path": "{last}"}],
    "KD_DAGFM": [
        {"phase": "teacher_training"}, {"phase": "distillation", "warm_up": "{last}"},
        {"phase": "finetuning", "warm_up": "{last}"}],
    "NCL": [{"num_clusters": 20}],  # of 1000 there would be more than users
}  # fmt: skip


def names() -> dict[str, str]:
    """RecBole's models, and the kind of each."""
    found = {}
    for kind in KINDS:
        for path in sorted((keys.recbole_folder() / f"model/{kind}_recommender").glob("[a-z]*.py")):
            found.update({name: kind for name in keys.known_models() if name.lower() == path.stem})
    return found


def settings_of(name: str, kind: str) -> list[dict[str, Any]]:
    """The settings of each stage of a model, but for the folder of the data."""
    return [COMMON | OF_A_KIND[kind] | stage for stage in OF_A_MODEL.get(name, [{}])]


def train(name: str, kind: str, data: str) -> dict[str, Any]:
    """Train and test a model, and say what it came to."""
    found: dict[str, Any] = {}

    def observe(evaluated: Any) -> None:
        trainer = evaluated.trainer
        digest, squares = hashlib.sha256(), 0.0
        for key, value in sorted(getattr(trainer.model, "state_dict", dict)().items()):
            array = value.detach().to_dense().cpu().numpy()
            digest.update(f"{key} {array.dtype} {array.shape}".encode() + array.tobytes())
            squares += float((array.astype(np.float64) ** 2).sum())
        losses = list(getattr(trainer, "train_loss_dict", {}).values())
        found.update(loss=[float(sum(loss) if isinstance(loss, tuple) else loss) for loss in losses])
        found.update(weights=digest.hexdigest()[:16], norm=math.sqrt(squares), last=trainer.saved_model_file)

    for stage in settings_of(name, kind):
        given = {key: found["last"] if value == "{last}" else value for key, value in stage.items()}
        result = run(name, "made", overrides=given | {"data_path": data}, seed=SEED, observe=observe)
    del found["last"]
    return {"valid": result.valid, "test": result.test, **found}


# -- a process of its own --------------------------------------------------------------------------------------------


def _child(pipe: Connection, name: str, kind: str, data: str, folder: str) -> None:
    os.chdir(folder)
    for descriptor in (1, 2):  # what RecBole prints
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    logging.disable(logging.WARNING)
    try:
        found = train(name, kind, data)
    except InputError as error:
        found = {"error": str(error).replace(data, "DATA")}
    except BaseException as error:  # whatever it is, is what we are here to tell
        found = {"error": f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"}
    pipe.send({"seconds": round(time.process_time(), 1), **found})


def measure(name: str, kind: str, data: Path, seconds: float) -> dict[str, Any]:
    """What a model comes to in a process that may take ``seconds``."""
    context = multiprocessing.get_context("fork")
    receive, send = context.Pipe(duplex=False)
    with tempfile.TemporaryDirectory() as folder:
        process = context.Process(target=_child, args=(send, name, kind, str(data), folder))
        process.start()
        send.close()
        try:
            found = receive.recv() if receive.poll(seconds) else {"error": f"it takes more than {seconds:g} s"}
        except EOFError:
            process.join()
            found = {"error": f"its process ends with status {process.exitcode}"}
        process.kill()
        process.join()
    return {"kind": kind, "seconds": seconds, **found}


def libraries() -> dict[str, str]:
    """Versions of what the figures depend on, those of the decision trees too, which RecBole asks nobody to install."""
    trees = [name for name in ("lightgbm", "xgboost") if importlib.util.find_spec(name)]
    return versions() | {name: importlib.import_module(name).__version__ for name in trees}


# -- two records -----------------------------------------------------------------------------------------------------


def agreement(old: dict[str, Any], new: dict[str, Any]) -> str:
    """In words, how far the figures of a model in two records agree: ``bit for bit``, or to how many digits."""
    if "error" in old or "error" in new:
        return "–"
    worst = 0.0
    for part in ("valid", "test"):
        for metric in old[part].keys() | new[part].keys():
            a, b = old[part].get(metric, math.nan), new[part].get(metric, math.nan)
            worst = max(worst, 0.0 if a == b else abs(a - b) / max(abs(a), abs(b)))
            if math.isnan(a) or math.isnan(b):
                return "no"
    same = old["weights"] == new["weights"]
    near = math.isclose(old["norm"], new["norm"], rel_tol=1e-7)
    if worst == 0 and not (same or near):
        return "figures, not weights"
    if worst == 0:
        return "bit for bit" if same and old["loss"] == new["loss"] else "figures; weights to rounding"
    weights = "; weights bit for bit" if same and old["norm"] else ""
    return f"to {max(0, math.floor(-math.log10(worst)))} digits{weights}"


def table(old: dict[str, Any], new: dict[str, Any]) -> str:
    """The table of two records, in Markdown."""
    if old["data"] != new["data"]:
        raise InputError(f"the records are of different data: {old['data']} and {new['data']}")
    heads = [".".join(record["versions"]["python"].split(".")[:2]) for record in (old, new)]
    lines = []
    for kind in KINDS:
        lines += [
            f"| {TITLES.get(kind, kind.replace('_', '-'))} | {heads[0]} | {heads[1]} | the same figures | seconds |"
        ]
        lines += ["|---|---|---|---|---|"]
        for name in sorted(old["models"], key=str.lower):
            pair = old["models"][name], new["models"][name]
            if pair[0]["kind"] == kind:
                runs = ["no" if "error" in one else "yes" for one in pair]
                took = " / ".join(f"{one['seconds']:.0f}" for one in pair)
                lines.append(f"| {name} | {runs[0]} | {runs[1]} | {agreement(*pair)} | {took} |")
        lines.append("")
    for name in sorted(old["models"], key=str.lower):
        said = [one["models"][name].get("error", "").rpartition("these settings: ")[2] for one in (old, new)]
        if said[0] and said[0] == said[1]:
            lines.append(f"- **{name}**: {said[0]}.")
        else:
            lines += [f"- **{name}** on {head}: {text}." for head, text in zip(heads, said, strict=True) if text]
    return "\n".join(lines) + "\n"


def with_table(page: str, text: str) -> str:
    """The page with ``text`` between the marks."""
    before, _, rest = page.partition(MARKS[0])
    _, _, after = rest.partition(MARKS[1])
    return f"{before}{MARKS[0]}\n\n{text}\n{MARKS[1]}{after}"


def record(output: Path, models: list[str], seconds: float) -> None:
    """Measure ``models`` and write the record, completed after each of them."""
    for module in ("recbole.quick_start", "recbole.trainer", "recbole.model.sequential_recommender",
                   "recbole.model.general_recommender", "recbole.model.context_aware_recommender",
                   "recbole.model.knowledge_aware_recommender", "recbole_mind.training.steps"):  # fmt: skip
        importlib.import_module(module)
    kinds, found = names(), {}
    if output.exists() and models:
        found = json.loads(output.read_text())["models"]
    with tempfile.TemporaryDirectory() as folder, threadpool_limits(1):
        importlib.import_module("torch").set_num_threads(1)
        digest = write_data(Path(folder))
        for name in models or kinds:
            found[name] = measure(name, kinds[name], Path(folder), seconds)
            print(name, found[name].get("error") or "runs", f"{found[name]['seconds']:.1f} s", flush=True)
            content = {
                "what": "RecBole's own models, an epoch each on a made data set, tested",
                "command": f"python -m benchmarks.recbole_models --output {output}",
                "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "threads": 1},
                "versions": libraries(),
                "seed": SEED,
                "data": digest,
                "models": {key: found[key] for key in sorted(found, key=str.lower)},
            }
            write_atomic(output, json.dumps(content, indent=1) + "\n")


def main() -> None:
    """Write a record, or the table of two."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, help="where the record goes")
    parser.add_argument("--models", nargs="+", default=[], choices=sorted(names()), metavar="MODEL", help="not all")
    parser.add_argument("--seconds", type=float, default=600, help="that a model may take")
    parser.add_argument("--compare", type=Path, nargs=2, metavar="RECORD", help="two records")
    parser.add_argument("--page", type=Path, help="where their table goes; without it, it is printed")
    arguments = parser.parse_args()
    if arguments.output:
        record(arguments.output, arguments.models, arguments.seconds)
    if arguments.compare:
        text = table(*(json.loads(path.read_text()) for path in arguments.compare))
        if arguments.page:
            write_atomic(arguments.page, with_table(arguments.page.read_text(), text))
        else:
            print(text)


if __name__ == "__main__":
    main()
