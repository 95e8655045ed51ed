"""Files that are crafted, endless or damaged, wherever a command takes one: one line, and no wait."""

from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config import loading
from recbole_mind.data import atomic_file
from recbole_mind.evaluation import hits
from recbole_mind.experiments import trial
from recbole_mind.experiments.leaderboard import spec as spec_
from recbole_mind.experiments.sweep import space, spec
from recbole_mind.export import _tested
from recbole_mind.serving import parquet
from recbole_mind.util import files
from recbole_mind.util.arrays import open_array

READERS = {
    "settings": loading.read_file,
    "sweep": spec.read_spec,
    "leaderboard": spec_.read_spec,
    "space": space.read_text,
    "record": trial.read_record,
    "export's record": lambda path: _tested(path, "a.pth"),
    "list": lambda path: parquet.read_tokens(path, "item_id"),
    "names": lambda path: files.read_lines(path, "names"),
    "hits": hits.Hits.load,
    "array": lambda path: open_array(path, np.float32, (None,)),
    "histories": lambda path: parquet.Histories(path, "user_id", {}),
    "interactions": lambda path: atomic_file.columns(path, atomic_file.Format()),
}


@pytest.mark.parametrize("what", READERS)
@pytest.mark.parametrize("kind", ["pipe.yaml", "/dev/zero", "folder.yaml", "gone.yaml", "sparse.yaml"])
def test_what_is_no_file_or_has_no_end_is_refused_at_once(what, kind):
    os.mkfifo("pipe.yaml")
    os.mkdir("folder.yaml")
    with open("sparse.yaml", "wb") as file:
        file.truncate(2**43)
    began = time.monotonic()
    with pytest.raises(InputError) as error:
        READERS[what](Path(kind))
    assert time.monotonic() - began < 5
    assert kind.rpartition("/")[2] in str(error.value)
    assert "\n" not in str(error.value)


YAML = {
    "deep lists": "a: " + "[" * 20_000,
    "deep mappings": "".join(f"{' ' * depth}a:\n" for depth in range(1500)),
    "deep JSON": '{"a":' * 20_000,
    "a list in itself": "a: &a [*a]",
    "lists that double": "a0: &a0 [1]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 60)),
    "half a character": 'a: "\\ud800"',
    "a time that is none": "a: !!timestamp foo",
    "a truth that is none": "a: !!bool foo",
    "an empty number": "a: !!int ''",
    "a sign": "a: !!int '-'",
    "a day that is none": "a: 2001-99-99",
    "a number of many digits": "a: " + "9" * 10_000,
    "a program": "a: !!python/object/apply:os.system [touch canary]",
    "a name": "a: !!python/name:os.system",
}


@pytest.mark.parametrize("what", YAML)
@pytest.mark.parametrize("read", [loading.read_file, spec.read_spec, spec_.read_spec])
def test_settings_that_are_crafted_are_refused_in_one_line(what, read):
    Path("a.yaml").write_text(YAML[what])
    began = time.monotonic()
    with pytest.raises(InputError, match=r"'a\.yaml' is malformed: ") as error:
        read("a.yaml")
    assert time.monotonic() - began < 10
    assert "\n" not in str(error.value)
    assert not Path("canary").exists()


def test_merges_that_double_are_refused_or_taken_in_once():
    """PyYAML from 6.0.4 on takes in what is named twice once."""
    merges = (f"a{n}: &a{n}\n  <<: [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40))
    Path("a.yaml").write_text("a0: &a0 {x: 1}\n" + "".join(merges))
    began = time.monotonic()
    try:
        assert loading.read_file("a.yaml") == {f"a{n}": {"x": 1} for n in range(40)}
    except InputError as error:
        assert "'a.yaml' is malformed: " in str(error)  # noqa: PT017 - a newer PyYAML raises none
    assert time.monotonic() - began < 10


@pytest.mark.parametrize("text", [YAML[what].removeprefix("a: ") for what in YAML if YAML[what].startswith("a: ")])
def test_a_value_on_the_command_line_is_text_if_it_is_nothing_else(text):
    found = loading.parse_value(f"{{a: {text}}}")
    assert found == f"{{a: {text}}}" or isinstance(found, dict)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, "\\ud800", "{", '{"test": 1}'])
def test_records_that_are_crafted_are_refused(text):
    Path("a.json").write_text(text)
    for read in (trial.read_record, lambda path: _tested(path, "a.pth")):
        with pytest.raises(InputError, match=r"a\.json"):
            read(Path("a.json"))
    Path("manifest.json").write_text(text)
    with pytest.raises(InputError, match=r"is not JSON|is not the manifest"):
        files.read_manifest(Path("."), "a pack", "recbole-mind pack", 1)


def test_memory_that_is_not_there_is_said_in_one_line(monkeypatch, capsys):
    def vast(_):
        raise MemoryError

    monkeypatch.setattr(main, "_main", vast)
    assert main.main([]) == 2
    assert capsys.readouterr().err.startswith("error: out of memory")


# -- the command line ----------------------------------------------------------------------------------------------


def test_a_token_that_is_not_text_is_refused(small):
    from recbole_mind.analysis.explain.case_study import explain
    from recbole_mind.training import load, run
    from tests.support.data import small_settings

    path = run.run("MIND", "small", overrides=small_settings(small, epochs=1)).checkpoint
    with pytest.raises(InputError, match=r"history: .*udcff' is not UTF-8 text"):
        explain(load.load(path), [], [["i1", "\udcff"]])
