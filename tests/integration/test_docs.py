"""Every command and every block of Python in the README and in docs/ runs, and every link leads somewhere.

The blocks of a page run in order, in one folder. A command is run as it stands, but for :data:`CHANGES`, which make it
quick and give it the files of this machine, and but for those of :data:`NOT_RUN`, which are examined without running.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import logging
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config import keys, loading, model_names
from recbole_mind.training import run
from tests.support.data import write_small
from tests.support.documents import NAMES, ROOT, anchors, blocks, links, prose
from tests.support.packages import installed
from tests.support.waiting import HANG

BIN = Path(sys.executable).parent
OURS = {"run_recbole": main.run_recbole, "recbole-mind": main.main}
# an epoch, and of ml-100k the 300 users with the shortest histories
SHORT = {"epochs": 1, "MAX_ITEM_LIST_LENGTH": 20, "train_batch_size": 1024, "user_inter_num_interval": "[5,45)"}
QUICK = " ".join(f"--{key}='{value}'" for key, value in SHORT.items())
WITH = str(SHORT)[1:-1].replace("'", '"')  # in a mapping of Python's
# what stands in the page: what is run in its place; {MIND} and {YouTubeDNN} are checkpoints
CHANGES = {
    # names that end in a time and a number
    "demo/saved/MIND-….pth": "{MIND}",
    "demo/saved/YouTubeDNN-….pth": "{YouTubeDNN}",
    " saved/MIND-….pth": " {MIND}",
    "=saved/MIND-….pth": "={MIND}",
    "saved/LastItems-….pth": '"$(ls saved/LastItems-*.pth)"',
    # less of the same
    "run_recbole --": f"run_recbole {QUICK} --",
    'dataset="ml-100k")': f'dataset="ml-100k", config_dict={{{WITH}}})',
    '"epochs": 10, ': f"{WITH}, ",
    'overrides={"mask_history": True}': f'overrides={{{WITH}, "mask_history": True}}',
    "--max-evals 40": f"--max-evals 2 {QUICK}".replace("epochs='1'", "epochs=3"),  # its early stop waits for 3
    "--max-evals 60": f"--max-evals 2 {QUICK}".replace("epochs='1'", "epochs=3"),
    "final_seeds: [1, 2, 3]": "final_seeds: [1]",
    "datasets: [ml-100k, my]": "datasets: [my]",
    "seeds: [1, 2, 3]\nbaseline": "seeds: [1]\nbaseline",
    "{epochs: 15, stopping_step: 3}": "{epochs: 1, stopping_step: 3}",
    "--output board/ --jobs 2": "--output board/ --jobs 1",  # two would start a Ray
    # a cron job, on a data set that is here
    "0 4 * * * cd /srv/mind && ": "",
    "--dataset=clicks": "--dataset=clicks --topk=[10,50]",
    "http://localhost:19530": "recall.db",  # milvus-lite in place of a server
}


# -- what is not run ------------------------------------------------------------------------------------------------


class Accepted(Exception):  # noqa: N818 - no error
    """A program has understood its arguments: (what it knows, the rest)."""


def accepted(program, arguments, monkeypatch):
    """The arguments as ``program`` reads them; it is stopped before it does anything else."""
    read, inside = argparse.ArgumentParser.parse_known_args, []

    def parse_known_args(self, args=None, namespace=None):
        if inside:  # the parser of a subcommand
            return read(self, args, namespace)
        inside.append(self)
        raise Accepted(*read(self, args, namespace))

    def parse_args(self, args=None, namespace=None):
        inside.append(self)
        known, rest = read(self, args, namespace)
        assert not rest, f"{rest} is not understood"
        raise Accepted(known, rest)

    with monkeypatch.context() as patch:
        patch.setattr(argparse.ArgumentParser, "parse_known_args", parse_known_args)
        patch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
        patch.setattr(sys, "argv", ["program", *arguments])
        try:
            program()
            raise AssertionError(f"{arguments} is not understood")
        except Accepted as found:
            known, rest = found.args
    assert not rest or getattr(known, "takes_settings", True), f"{rest} is not understood"
    keys.check_keys(loading.parse_arguments(rest), "MIND", "settings")
    return known


def _of_ours(words, monkeypatch):
    known = accepted(OURS[words[0]], words[1:], monkeypatch)
    file = getattr(known, "spec", None) or getattr(known, "space", None)
    assert file is None or any((folder / file).is_file() for folder in (ROOT, ROOT / "properties/sweep"))


def _of_a_module(words, monkeypatch):
    accepted(lambda: runpy.run_module(words[2], run_name="__main__"), words[3:], monkeypatch)


def _without_a_parser(words, monkeypatch):
    assert (ROOT / (words[2].replace(".", "/") + ".py")).is_file()
    named = [word for word in words[3:] if word.startswith("benchmarks/")]
    assert named
    assert all((ROOT / word).is_file() for word in named)


def _of_make(words, monkeypatch):
    assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)


def _of_pytest(words, monkeypatch):
    assert (ROOT / words[-1]).is_file()


def _of_pip(words, monkeypatch):
    assert words[words.index("pip") + 1] == "install"
    assert {"-c", "--no-deps"} & set(words) or any("==" in word for word in words)  # nothing that is not pinned
    for option, value in itertools.pairwise(words):
        assert option not in ("-c", "-r") or (ROOT / value).is_file()
    for extra in re.findall(r"\[(\w+)\]", " ".join(words)):
        assert re.search(rf"^{extra} =$", (ROOT / "setup.cfg").read_text(), re.MULTILINE)


def _of_ray(words, monkeypatch):
    scripts = pytest.importorskip("ray.scripts.scripts", reason="Ray is not installed")
    scripts.cli.commands[words[1]].make_context(words[1], words[2:])  # raises what it does not understand


# how a command starts: why it is not run here, how it is examined
NOT_RUN = {
    "make ": ("installs, and runs these tests", _of_make),
    "OMP_NUM_THREADS=1 .venv/bin/python -m pytest": ("is one of these tests", _of_pytest),
    "pip install": ("installs", _of_pip),
    "uv pip install": ("installs", _of_pip),
    "ray start": ("is for several machines", _of_ray),
    "recbole-mind sweep mind.yaml --output sweep/ --ray": ("needs several machines", _of_ours),
    "recbole-mind sweep mind-paper.yaml": ("takes an hour", _of_ours),
    "recbole-mind experiment events/": ("needs a log of weeks", _of_ours),
    "recbole-mind interactions events/": ("needs a log", _of_ours),
    "recbole-mind watch store": ("needs a log of weeks, and does not end", _of_ours),
    "recbole-mind leaderboard benchmarks/": ("takes hours", _of_ours),
    "python -m benchmarks.board_record": ("needs those hours' records", _without_a_parser),
    "python -m benchmarks leaderboard": ("takes hours", _of_a_module),
    "python -m benchmarks.interest_curve": ("draws over the record", _without_a_parser),
    "python -m benchmarks.two_stages": ("takes an hour", _of_a_module),
    "python -m benchmarks.ablation": ("takes hours", _of_a_module),
    "python -m benchmarks.deciles": ("needs those hours' runs", _of_a_module),
    "python -m benchmarks.defaults": ("takes half an hour", _of_a_module),
    "python -m benchmarks.experiment": ("takes minutes", _of_a_module),
    "python -m benchmarks.loop": ("takes minutes", _of_a_module),
    "python -m benchmarks.planted": ("takes minutes", _of_a_module),
    "python -m benchmarks.diversity": ("takes ten minutes", _of_a_module),
    "python -m benchmarks.recbole_models": ("takes minutes", _of_a_module),
    "python -m benchmarks.recall": ("takes hours", _of_a_module),
    "python -m benchmarks.retrieval": ("takes hours", _of_a_module),
    "python -m benchmarks.service": ("takes minutes", _of_a_module),
    "python -m benchmarks.sweep --": ("takes minutes", _of_a_module),
    "python -m benchmarks.sweep_record": ("needs those hours' records", _without_a_parser),
    "python -m benchmarks.training": ("takes an hour", _of_a_module),
    "python -m benchmarks.trace": ("takes minutes", _of_a_module),
    "python -m benchmarks.softmax": ("takes an hour", _of_a_module),
    "python -m benchmarks.tuning": ("takes hours", _of_a_module),
}


def reason_not_to_run(command):
    found = [start for start in NOT_RUN if command.startswith(start)]
    assert len(found) <= 1, f"{found} both stand for {command}"
    return found[0] if found else None


COMMANDS = [(name, command) for name in NAMES for block in blocks(name) for command in block.commands]
LEFT = [(name, command) for name, command in COMMANDS if reason_not_to_run(command)]


@pytest.mark.parametrize(("name", "command"), LEFT, ids=lambda text: text[:60])
def test_a_command_that_is_not_run_is_understood(name, command, monkeypatch):
    NOT_RUN[reason_not_to_run(command)][1](shlex.split(command, comments=True), monkeypatch)


def test_the_tables_hold_nothing_that_no_page_has():
    unused = [start for start in NOT_RUN if not any(command.startswith(start) for _, command in COMMANDS)]
    texts = [block.text for name in NAMES for block in blocks(name)]
    unused += [text for text in CHANGES if not any(text in block for block in texts)]
    assert unused == []


@pytest.mark.parametrize("arguments", [["sweep", "mind.yaml"], ["doctor", "--what"], ["evaluate", "a", "--epochz=1"]])
def test_what_a_program_does_not_understand_is_seen(arguments, monkeypatch):
    with pytest.raises((AssertionError, InputError)):
        accepted(main.main, arguments, monkeypatch)


# -- what is run ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def work(tmp_path_factory):
    """A folder with what the pages take for granted, and the checkpoints' paths by model."""
    folder, before = tmp_path_factory.mktemp("docs"), Path.cwd()
    for name, place in (("my", folder / "data"), ("clicks", folder / "dataset")):
        write_small(place, items=150, users=60, length=14)
        (place / "small").rename(place / name)
        for file in (place / name).iterdir():
            file.rename(file.with_name(f"{name}{file.suffix}"))
    (folder / "pool.txt").write_text("".join(f"i{number}\n" for number in range(1, 141)))
    shutil.copy(keys.recbole_folder() / "dataset_example/ml-100k/ml-100k.item", folder)
    os.chdir(folder)
    try:
        paths = {
            model: str(Path(run.run(model, "ml-100k", overrides=SHORT, record=record).checkpoint).resolve())
            for model, record in (("YouTubeDNN", "other.json"), ("MIND", "mind.json"))
        }
    finally:
        os.chdir(before)
    return folder, paths


class Page:
    """Runs the blocks of a page in the folder that it is in; ``apart``, all commands in processes of their own."""

    def __init__(self, name, paths, apart):
        self.name, self.paths, self.apart, self.names = name, paths, apart, {"__name__": name}
        self.environment = os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
        self.services, self.address = contextlib.ExitStack(), ""

    def changed(self, text):
        for old, new in CHANGES.items():
            text = text.replace(old, new)
        for model, path in self.paths.items():
            text = text.replace(f"{{{model}}}", path)
        return text

    def run(self, block):
        text = self.changed(block.text)
        if block.file:
            Path(block.file).parent.mkdir(parents=True, exist_ok=True)
            Path(block.file).write_text(text, "utf-8")
            if block.language == "toml":
                installed(text, Path.cwd())
        elif block.language == "python":
            exec(compile("\n" * block.line + text, self.name, "exec"), self.names)
        for command in block.commands:
            if not reason_not_to_run(command):
                self.command(self.changed(command))

    def command(self, command):
        words = shlex.split(command, comments=True)
        print(f"$ {command}", file=sys.stderr)
        if words[:2] == ["recbole-mind", "serve"]:
            self.address = self.services.enter_context(served(words, self.environment))
        elif words[0] == "curl":
            asked(words[1:], self.address)
        elif words[0] in OURS and not self.apart and not {"&&", "--nproc=2"} & set(words):
            assert OURS[words[0]](words[1:]) == 0, command  # in this process, which has imported everything already
        else:
            done = subprocess.run(["bash", "-c", command], env=self.environment, capture_output=True, text=True)
            assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}"


@contextlib.contextmanager
def served(words, environment):
    """Start a service on any port, see that it lives, and stop it in the end; its address."""
    command = [BIN / words[0], *words[1:], "--port=0"]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
    try:
        found = None
        for line in process.stderr:
            found = re.search(r"listening at (http://\S+)", line)
            if found:
                break
        assert found, "the service ends before it listens"
        with urllib.request.urlopen(f"{found[1]}/health", timeout=HANG) as answer:
            assert answer.status == 200
        yield found[1]
    finally:
        process.terminate()
        process.communicate(timeout=HANG)  # what it still says wants a reader
        assert process.returncode == 0


def asked(arguments, address):
    """What ``curl`` does; a refusal is an error here."""
    parser = argparse.ArgumentParser()
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d", type=str.encode)
    parser.add_argument("url")
    known = parser.parse_args(arguments)
    url = known.url.replace("http://127.0.0.1:8000", address)
    request = urllib.request.Request(url, known.d, dict(head.split(": ", 1) for head in known.H))
    with urllib.request.urlopen(request, timeout=HANG) as answer:
        assert answer.read()


@pytest.fixture
def logging_as_before():
    """RecBole's quick start gives the root logger handlers that write to a file of this folder."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    yield
    root.handlers[:], root.level = handlers, level


RUN = [name for name in NAMES if any(block.language in ("sh", "python") for block in blocks(name))]


@pytest.mark.slow
@pytest.mark.parametrize("name", RUN)
def test_every_block_of_a_page_runs(name, work, tmp_path, monkeypatch, logging_as_before):
    folder, paths = work
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("saved", "log*"))
    apart = name == "docs/adding-a-model.md"
    if apart:  # the package of the page is installed there, and told to this process by a call
        monkeypatch.setenv("PYTHONPATH", str(tmp_path))
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.setattr(model_names, "_REGISTERED", {})
    monkeypatch.setattr(sys, "argv", ["docs"])  # RecBole reads it
    page = Page(name, paths, apart)
    with page.services:
        for block in blocks(name):
            page.run(block)


# -- what holds the pages together ----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_every_block_says_what_it_is(name):
    for block in blocks(name):
        assert block.language in ("sh", "python", "yaml", "toml", "text", "mermaid"), f"{name}:{block.line}"
        assert block.language != "yaml" or block.file, f"{name}:{block.line}: which file is it?"


@pytest.mark.parametrize("name", NAMES)
def test_links_and_files_that_are_named_exist(name):
    for link in links(name):
        if not link.startswith("https://"):
            path, _, anchor = link.partition("#")
            target = ((ROOT / name).parent / path).resolve() if path else ROOT / name
            assert target.exists(), link
            assert not anchor or anchor in anchors(target.relative_to(ROOT).as_posix()), link
    for path in re.findall(r"`((?:benchmarks|docs|properties|recbole_mind|tests)/[^`\s]*)`", prose(name)):
        assert list(ROOT.glob(path.removesuffix("/"))), path


def test_every_page_is_linked_from_the_front_page():
    assert set(NAMES) - {"README.md"} <= {link.partition("#")[0] for link in links("README.md")}


def test_every_room_has_its_place():
    rooms = [
        path.parent.relative_to(ROOT / "recbole_mind").as_posix() for path in ROOT.glob("recbole_mind/*/**/__init__.py")
    ]
    named = set(re.findall(r"`([a-z_/]+)`", prose("docs/code.md")))
    assert [room for room in rooms if room not in named] == []


def test_the_front_pages_figures_are_the_leaderboards():
    records = [
        json.loads((ROOT / f"benchmarks/records/{name}.json").read_text()) for name in ("leaderboard", "nearest")
    ]
    _, _, table = prose("README.md").partition("| Recall@10 / NDCG@10 / Recall@50 |")
    head, _, *rows = table.partition("\n\n")[0].splitlines()
    boards = {}  # of a row in both, the later figures
    for board in (board for record in records for board in record["board"]["tables"]):
        boards.setdefault(board["dataset"], {}).update({row["label"]: row["cells"] for row in board["rows"]})
    shown = {}
    for label, *cells in ([cell.strip() for cell in row.strip("|").split("|")] for row in rows):
        shown[label] = [cell.replace("*", "").split(" / ") for cell in cells]
    metrics = ("recall@10", "ndcg@10", "recall@50")
    names = [name.strip() for name in head.strip("|").split("|")]
    assert names == list(boards)
    assert len(shown) == 9
    for label, figures in shown.items():
        means = [[f"{boards[name][label][metric]['mean']:.4f}".lstrip("0") for metric in metrics] for name in names]
        assert figures == means, label
