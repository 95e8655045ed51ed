"""Mutated files, read in a process of its own: ``python -m tests.support.fuzz KIND FOLDER SEED FIRST LAST``.

Each mutation is made from a seed of its own, so that one that is found is made again by its number. A line is written
before a file is read and one after, so that the parent knows which one ended the process or took too long.
"""

from __future__ import annotations

import faulthandler
import hashlib
import json
import logging
import os
import random
import resource
import sys
import time
import warnings
import zipfile
from pathlib import Path
from typing import Any

from tests import ROOT

CANARY = "canary"
LONGEST = 30  # seconds for one file
MEMORY = 2**35  # bytes that the process may map
_TEXTS = [
    b"[" * 5000, b"{\"a\":" * 5000, b"&a [*a]", b"!!python/object/apply:os.system [touch canary]", b"!!timestamp x",
    b"!!int ''", b"!!bool 3", b"\xff\xfe", b"\xed\xa0\x80", b"\0", b"1e999", b"-1", b"9" * 5000, b"NaN", b"null", b"\"",
    b"\t", b"\n", b"[]", b"{}", b"<<: *a", b"!!binary x", b": ", b"? [a]", b"../../etc/passwd", b"/dev/zero", b"True",
    b"cos\nsystem\n(S'touch canary'\ntR.", b"\x8c\x02os\x8c\x06system\x93\x8c\x0ctouch canary\x85R", b"ctorch\nload\n",
]  # fmt: skip


def mutated(content: bytes, rng: random.Random, other: bytes) -> bytes:
    """A content with one to four faults: flipped bits, cut, spliced, with extreme numbers or words put in."""
    result = bytearray(content)
    for _ in range(rng.choice((1, 1, 2, 4))):
        at = rng.randrange(len(result) + 1)
        size = rng.choice((1, 2, 4, 8, rng.randrange(1, 200)))
        kind = rng.randrange(8)
        if kind == 0:
            for _ in range(rng.choice((1, 1, 3, 16))):
                if result:
                    result[rng.randrange(len(result))] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del result[at:]
        elif kind == 2:
            del result[at : at + size]
        elif kind == 3:
            start = rng.randrange(len(other) + 1)
            result[at:at] = other[start : start + size]
        elif kind == 4:
            start = rng.randrange(len(other) + 1)
            result[at : at + size] = other[start : start + size]
        elif kind == 5:
            result[at : at + size] = rng.choice((b"\xff", b"\0", b"\x7f", b"\x80")) * size
        elif kind == 6:
            result[at : at + rng.choice((0, 0, 1, 3))] = rng.choice(_TEXTS)
        else:
            result[at:at] = result[at : at + size] * rng.choice((1, 2, 50))
    return bytes(result)


# -- what is mutated, and how it is read ----------------------------------------------------------------------------


def _file(path: Path, rng: random.Random, inside: bool = False) -> None:
    content = path.read_bytes()
    path.write_bytes(mutated(content, rng, content))


def _archive(path: Path, rng: random.Random) -> None:
    """Half of the time the bytes of the file, else those of an entry, whose sum then fits again."""
    if rng.random() < 0.3:
        return _file(path, rng)
    with zipfile.ZipFile(path) as found:
        entries = {name: found.read(name) for name in found.namelist()}
    names = [name for name in entries if name.endswith(".pkl")] * 6 + list(entries)
    name = rng.choice(names)
    entries[name] = mutated(entries[name], rng, entries[rng.choice(names)])
    with zipfile.ZipFile(path, "w") as out:
        for name, content in entries.items():
            out.writestr(name, content)
    return None


def _settings_inside(path: Path, rng: random.Random) -> None:
    """Parts of our own checkpoint exchanged for others, and its settings' text mutated."""
    import torch

    content = torch.load(path, weights_only=True)
    stored = json.loads(content["settings"])
    if rng.random() < 0.15:
        content["settings"] = mutated(content["settings"].encode(), rng, b"{}").decode("utf-8", "replace")
    else:
        values = [None, -1, 2**62, 0.5, float("nan"), "x", "", [], {}, [[1]], True, {"a": 1}]
        parts = [content, content, stored, stored, content["optimizer"], content["state_dict"]]
        if content.get("position") and rng.random() < 0.2:
            parts = [content["position"]]
        for _ in range(rng.choice((1, 2))):
            where = rng.choice(parts)
            key = rng.choice(sorted(set(where) - {"settings"}, key=str))
            if rng.random() < 0.3:
                del where[key]
            else:
                where[key] = rng.choice(values if where is stored else [*values, torch.zeros(2, 3)])
        content["settings"] = json.dumps(stored)
    torch.save(content, path)


def _folder(path: Path, rng: random.Random) -> None:
    """A file of a folder, and half of the time the manifest's hashes made to fit."""
    name = rng.choice(sorted(file.name for file in path.iterdir()))
    _file(path / name, rng)
    manifest = path / "manifest.json"
    if name != manifest.name and manifest.exists() and rng.random() < 0.8:
        content = json.loads(manifest.read_text())
        whole = (path / name).read_bytes()
        content["files"][name] = {"bytes": len(whole), "sha256": hashlib.sha256(whole).hexdigest()}
        manifest.write_text(json.dumps(content))


def _checkpoint(path: Path) -> None:
    from recbole_mind.training import checkpoint, load

    checkpoint.load(path)
    load.load(path)


def _resumed(path: Path) -> None:
    from recbole_mind.training import checkpoint, run

    stored = checkpoint.load(path)["settings"]
    keys = ("data_path", "load_col", "eval_args", "MAX_ITEM_LIST_LENGTH", "embedding_size", "relu_layers", "topk")
    given = {key: stored[key] for key in keys if key in stored} | {"valid_metric": "NDCG@10", "show_progress": False}
    run.run("MIND", "small", overrides=given | {"epochs": 2, "learning_rate": 0.01}, resume=path)


def _dataset(path: Path) -> None:
    from recbole_mind.training import build
    from tests.support.data import small_settings

    given = small_settings(path.parent, item_features=["genre", "tags"], user_features=["job"])
    build.build_data(build.build_config("MIND", "small", overrides=given))


def _packed(path: Path) -> None:
    from recbole_mind.data.packed_file import Pack
    from recbole_mind.training import build
    from tests.support.data import small_settings

    Pack.open(path)
    given = small_settings(path.parent.parent / "data", packed=str(path), load_col=None)
    build.build_data(build.build_config("MIND", "small", overrides=given))


def _histories(path: Path) -> None:
    from recbole_mind.serving.parquet import Histories

    found = Histories(path, "user_id", {"job": False})
    found.check(7, lambda _: None)
    for table in found.batches(0, 7):
        found.asked(table)


def _tokens(path: Path) -> None:
    from recbole_mind.serving.bundle.token_index import TokenIndex

    found = TokenIndex.open(path, "items", 40)
    names = found.tokens(range(40))
    found.ids([*names, "none"])
    assert len(names) == 40


def _array(path: Path) -> None:
    import numpy as np

    from recbole_mind.util.arrays import open_array

    open_array(path, np.float32, (None, 4)).sum()


def _settings(path: Path) -> None:

    from recbole_mind.training import build

    build.build_config("MIND", "ml-100k", [path])


def _sweep(path: Path) -> None:
    from recbole_mind.experiments.sweep import spec

    spec.read_spec(path)


def _leaderboard(path: Path) -> None:
    from recbole_mind.experiments.leaderboard import spec as spec_

    spec_.read_spec(path)


def _record(path: Path) -> None:
    from recbole_mind.config import loading
    from recbole_mind.experiments import trial

    trial.read_record(path)
    loading.read_file(path)


def _hits(path: Path) -> None:
    from recbole_mind.evaluation.hits import Hits

    Hits.load(path)


def _text(path: Path) -> None:
    from recbole_mind.experiments.sweep.space import read_text

    read_text(path)


KINDS: dict[str, tuple[str, Any, Any]] = {
    "ours": ("ours.pth", _archive, _checkpoint),
    "ours, inside": ("ours.pth", _settings_inside, _checkpoint),
    "ours, resumed": ("ours.pth", _settings_inside, _resumed),
    "recbole": ("recbole.pth", _archive, _checkpoint),
    "recbole, matrices": ("matrices.pth", _archive, _checkpoint),
    "npy": ("array.npy", _file, _array),
    "npz": ("hits.npz", _archive, _hits),
    "tokens": ("tokens", _folder, _tokens),
    "json": ("record.json", _file, _record),
    "yaml": ("settings.yaml", _file, _settings),
    "sweep": ("sweep.yaml", _file, _sweep),
    "leaderboard": ("leaderboard.yaml", _file, _leaderboard),
    "hyper.test": ("hyper.test", _file, _text),
    "parquet": ("histories.parquet", _file, _histories),
    "packed": ("packed", _folder, _packed),
    "atomic": ("small", _folder, _dataset),
}


def prepare(folder: Path) -> None:
    """Write the good files, each of which is read without a word."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq
    from recbole.trainer import Trainer

    from recbole_mind.data import atomic_file
    from recbole_mind.data.packed_file import Layout
    from recbole_mind.data.packing import pack
    from recbole_mind.evaluation import hits
    from recbole_mind.serving.bundle import token_index
    from recbole_mind.training import build, run
    from tests.support.data import small_settings, write_small

    data = write_small(folder / "data")
    write_small(folder)
    given = small_settings(data, epochs=1, checkpoint_dir=str(folder / "saved"))
    result = run.run("MIND", "small", overrides=given, record=folder / "record.json")
    (folder / "ours.pth").write_bytes(Path(result.checkpoint).read_bytes())
    record = json.loads((folder / "record.json").read_text())
    (folder / "record.json").write_text(json.dumps(record | {"fingerprint": {"data": "x"}}))
    fields = ("data_path", "load_col", "eval_args", "topk", "valid_metric", "show_progress")
    for model, name in (("BPR", "recbole.pth"), ("ItemKNN", "matrices.pth")):
        config = build.build_config(model, "small", overrides={key: given[key] for key in fields})
        config.final_config_dict.pop("timestamp_order")  # RecBole's own files know no such key
        _, train, _, _ = build.build_data(config)
        trainer = Trainer(config, build.build_model(config, train))
        Trainer._save_checkpoint(trainer, 0, verbose=False, saved_model_file=str(folder / name))
    rng = np.random.default_rng(0)
    np.save(folder / "array.npy", rng.random((50, 4), np.float32))
    found = rng.random((40, 10)) < 0.1
    hits.Hits(found, np.maximum(found.sum(1), 1), "users").save(folder / "hits.npz")
    token_index.TokenIndex.of([f"item {n} é" for n in range(40)]).save(folder / "tokens", "items")
    history = [[f"i{n}" for n in rng.integers(1, 50, 5)] for _ in range(30)]
    columns = {"user": [f"u{n}" for n in range(30)], "history": history, "n": [5] * 30, "job": ["j1"] * 30}
    pq.write_table(pa.table(columns), folder / "histories.parquet", row_group_size=10)
    (folder / "settings.yaml").write_text(
        "K: 3\np: inf\nlearning_rate: 1e-3\ntopk: [5, 10]\nmetrics: [Recall, NDCG]\nvalid_metric: NDCG@10\n"
        "eval_args: {split: {LS: valid_and_test}, order: TO, group_by: user, mode: full}\nrelu_layers: &a [32, 16]\n"
        "load_col:\n  inter: [user_id, item_id, timestamp]\nmask_history: true\nitem_features: null\n"
    )
    shipped = ROOT / "properties/sweep/mind.yaml"
    (folder / "sweep.yaml").write_bytes(shipped.read_bytes())
    (folder / "leaderboard.yaml").write_text(
        f"models: [Pop, MIND-1, MIND]\ndatasets: [small]\ndata_path: {data}\nprotocols: [leave-one-out]\n"
        "seeds: [1, 2]\nsettings:\n  all: {topk: [5, 10], valid_metric: NDCG@10, epochs: 1}\n"
        "  MIND-1: {model: MIND, K: 1}\n  MIND: {K: 2}\n"
    )
    (folder / "hyper.test").write_text("K choice [1,2,3]\nlearning_rate loguniform -8,0\nsigma uniform 0.1,2\n")
    inter = data / "small/small.inter"
    layout = Layout(atomic_file.columns(inter, atomic_file.Format()), ["user_id", "item_id", "timestamp"], "\t",
                    "user_id", "item_id", "timestamp")  # fmt: skip
    pack(inter, folder / "packed", layout)


def _copied(source: Path, target: Path) -> None:
    import shutil

    shutil.rmtree(target.parent, ignore_errors=True)
    target.parent.mkdir()
    shutil.copytree(source, target) if source.is_dir() else shutil.copy(source, target)


def main(kind: str, folder: Path, seed: int, first: int, last: int) -> None:
    """Read mutations ``first`` to ``last`` of a kind."""
    from recbole_mind import InputError

    name, change, read = KINDS[kind]
    warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    out = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    target = folder / "now" / name
    _copied(folder / name, target)
    read(target)  # unchanged, it is read
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    for number in range(first, last):
        _copied(folder / name, target)
        change(target, random.Random(f"{kind} {seed} {number}"))
        out.write(json.dumps({"begin": number}) + "\n")
        faulthandler.dump_traceback_later(LONGEST, exit=True)
        began, found = time.monotonic(), "opened"
        try:
            read(target)
        except InputError as error:
            found = f"refused: {error}" if "\n" not in str(error) else f"FAULT: two lines: {error}"
        except MemoryError:
            found = "refused: out of memory"  # as the command says
        except BaseException as error:
            import traceback

            place = traceback.extract_tb(error.__traceback__)
            own = next((f for f in reversed(place) if "recbole_mind" in f.filename), place[-1])
            found = f"FAULT: {type(error).__name__}: {error} ({Path(own.filename).name}:{own.lineno})"
        faulthandler.cancel_dump_traceback_later()
        if Path(CANARY).exists():
            found = "FAULT: it ran a command"
        out.write(json.dumps({"end": number, "found": found, "seconds": time.monotonic() - began}) + "\n")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:6]))
