"""The whole loop on one machine, with people whose interests are known: train, serve two channels, clicks, retrain.

    python -m benchmarks.loop --output benchmarks/records/loop.json

600 people with planted interests bring twelve behaviours each. MIND and YouTubeDNN are trained on them, exported, and
served by ``recbole-mind serve``, a service a channel; half of the people ask each, look down its list and click, and
both services keep what they did. ``recbole-mind experiment``'s statistics say which list was better; what the lists
really are worth to these people is known, and stands beside it. ``recbole-mind interactions`` makes a data set of the
first one and the clicks, on which the better model is trained again. About a minute on one core.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import platform
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.served import served
from recbole_mind.analysis.ab_test import comparison, events, simulator
from recbole_mind.analysis.ab_test.words import significant
from recbole_mind.cli.main import main as command
from recbole_mind.export import export
from recbole_mind.serving.recaller import Recaller
from recbole_mind.training import run
from recbole_mind.training.result import versions
from recbole_mind.util.files import write_atomic

SEED, HISTORY, REQUESTS = 24, 12, 4  # behaviours of a user to begin with, and how often each comes
CHANNELS = {"mind": "MIND", "youtube": "YouTubeDNN"}
SETTINGS: dict[str, Any] = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
    "MAX_ITEM_LIST_LENGTH": 20,
    "embedding_size": 32,
    "relu_layers": [64],
    "train_batch_size": 256,
    "epochs": 30,
    "stopping_step": 5,
    "topk": [10],
    "valid_metric": "NDCG@10",
    "show_progress": False,
}


def write_histories(people: simulator.World, folder: Path, random: np.random.Generator) -> list[list[int]]:
    """Each user's first behaviours, written as the data set ``planted``."""
    histories = [people.history(user, HISTORY, random).tolist() for user in range(people.users)]
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user, items in enumerate(histories):
        rows += [f"u{user}\ti{item}\t{1_600_000_000 + 60 * place}" for place, item in enumerate(items)]
    (folder / "planted").mkdir(parents=True)
    (folder / "planted/planted.inter").write_text("\n".join(rows) + "\n")
    return histories


def trained(model: str, dataset: str, data: Path, bundle: Path, epochs: int) -> Path:
    """A bundle of a model."""
    settings = SETTINGS | {"data_path": str(data), "checkpoint_dir": str(bundle.parent / "saved"), "epochs": epochs}
    result = run.run(model, dataset, overrides=settings, seed=SEED)
    export(str(result.checkpoint), bundle)
    return bundle


def worth(bundle: Path, people: simulator.World, histories: list[list[int]]) -> float:
    """What share of the items that a bundle shows would be clicked: the known answer, of all people."""
    recaller, whole = Recaller.load(bundle, threads=1), np.zeros(2)
    for user, history in enumerate(histories):
        found = recaller.recall([f"i{item}" for item in history], n=len(people.examined))
        items = np.array([[int(token[1:]) for token in found.items]])
        whole += people.probabilities(np.array([user]), items).sum(), items.size
    return float(whole[0] / whole[1])


@contextlib.contextmanager
def service(bundle: Path, log: Path, channel: str) -> Iterator[Callable[[str, dict[str, Any]], Any]]:
    """A service of a bundle that keeps events; what posts to it."""
    with served(str(bundle), "--events", str(log), "--channel", channel) as (_, port):
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

        def post(path: str, body: dict[str, Any]) -> Any:
            connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = json.loads(answer.read())
            if answer.status != 200:
                raise RuntimeError(f"{path}: {content}")
            return content

        yield post
        connection.close()


def visited(
    bundles: Mapping[str, Path],
    logs: Mapping[str, Path],
    people: simulator.World,
    histories: list[list[int]],
    random: np.random.Generator,
) -> dict[str, list[int]]:
    """Everybody asks the service of a channel, some times over; how many items were shown and clicked in each."""
    seen = {}
    for channel, users in simulator.assigned(np.arange(people.users), list(bundles), random).items():
        seen[channel] = [0, 0]
        with service(bundles[channel], logs[channel], channel) as post:
            for user in np.tile(users, REQUESTS):
                shown, clicked = simulator.visit(post, people, int(user), histories[user], random)
                seen[channel] = [seen[channel][0] + shown, seen[channel][1] + clicked]
    return seen


def loop(folder: Path, users: int, epochs: int) -> dict[str, Any]:
    """Go round once, in a folder; all figures."""
    random = np.random.default_rng(SEED)
    people = simulator.World.planted(users, random, clusters=12, per_cluster=20, liked=0.8)
    data, logs = folder / "dataset", {channel: folder / f"events-{channel}" for channel in CHANNELS}
    histories = write_histories(people, data, random)
    bundles = {
        channel: trained(model, "planted", data, folder / channel, epochs) for channel, model in CHANNELS.items()
    }
    truth = {channel: worth(bundle, people, histories) for channel, bundle in bundles.items()}
    seen = visited(bundles, logs, people, histories, random)
    judged = comparison.compare(events.read(*logs.values()), control="youtube")
    difference = judged.differences["mind"]["pvctr"]
    for channel, rates in judged.channels.items():
        print(
            f"{channel}: {rates.clicks:,} of {rates.impressions:,} clicked, {rates.pvctr.value:.2%}; "
            f"worth {truth[channel]:.2%}",
            flush=True,
        )
    one = difference.difference
    decided = "" if significant(difference) else ", which is not beyond chance"
    print(f"mind - youtube: {one.value:+.2%} ({one.low:+.2%} to {one.high:+.2%}){decided}", flush=True)
    print(f"known: {truth['mind'] - truth['youtube']:+.2%}", flush=True)
    better = max(judged.channels, key=lambda channel: judged.channels[channel].pvctr.value)
    first = data / "planted/planted.inter"
    if command(["interactions", *map(str, logs.values()), "-o", str(data / "live"), "--data", str(first)]) != 0:
        raise RuntimeError("no data set was made of the log")
    again = worth(trained(CHANNELS[better], "live", data, folder / "again", epochs), people, histories)
    ends = people.click_rate(0), people.click_rate(1)
    print(
        f"{better}, trained again: worth {again:.2%}, before {truth[better]:.2%}; any items {ends[0]:.2%}", flush=True
    )
    return {
        "users": users,
        "seen": seen,
        "worth": truth,
        "experiment": comparison.as_json(judged)["channels"],
        "difference": comparison.as_json(judged)["differences"]["mind"]["pvctr"],
        "known difference": truth["mind"] - truth["youtube"],
        "better": better,
        "worth again": again,
        "worth of any items": ends[0],
        "worth of items drawn by interest": ends[1],
    }


def main() -> None:
    """Go round once, print, write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output", type=Path, required=True, help="where the record goes")
    parser.add_argument("--users", type=int, default=600)
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    output, before = arguments.output.absolute(), Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)  # RecBole writes its logs where it stands
        try:
            figures = loop(Path(folder), arguments.users, arguments.epochs)
        finally:
            os.chdir(before)
    given = f"--output {arguments.output} --users {arguments.users} --epochs {arguments.epochs}"
    record = {
        "what": "train, serve two channels, clicks, retrain",
        "command": f"python -m benchmarks.loop {given}",
        "seed": SEED,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count()},
        "versions": versions(),
        **figures,
    }
    write_atomic(output, json.dumps(record, indent=1) + "\n")


if __name__ == "__main__":
    main()
