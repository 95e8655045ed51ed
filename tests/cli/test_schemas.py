"""JSON schemas: those that ship are the models', and say of a file what its reader says."""

from __future__ import annotations

import json
import re

import pytest
from jsonschema import Draft202012Validator

from recbole_mind import InputError
from recbole_mind.cli import schemas
from recbole_mind.config import loading, model_names, specification
from tests import ROOT

FOLDER = ROOT / "properties/schema"
NAMED = re.compile(r"# yaml-language-server: \$schema=(\S+)\n")
SHIPPED = [
    *ROOT.glob("properties/sweep/*.yaml"),
    *ROOT.glob("properties/leaderboard/*.yaml"),
    ROOT / "properties/production/gate.yaml",
    ROOT / "properties/production/serve.yaml",
    ROOT / "properties/production/watch.yaml",
]
OTHERS = ("tuning.yaml", "tuning-several.yaml", "SampledSASRec.yaml")  # plans of tuning, a model's settings
LEADERBOARDS = [path for path in ROOT.glob("benchmarks/*.yaml") if path.name not in OTHERS]


def faults(name, content):
    """What a schema that ships has against a content."""
    found = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    return [error.message for error in Draft202012Validator(found).iter_errors(content)]


def test_the_schemas_that_ship_are_the_models(tmp_path):
    schemas.main(str(tmp_path))
    made = {path.name: path.read_text("utf-8") for path in tmp_path.iterdir()}
    assert made == {path.name: path.read_text("utf-8") for path in FOLDER.iterdir()}, "make schemas"
    for text in made.values():
        Draft202012Validator.check_schema(json.loads(text))


@pytest.mark.parametrize("name", schemas.FILES)
def test_every_key_is_described(name):
    keys = schemas.schema(name)["properties"] if name not in ("tuned", "shares") else {}
    told = {key: value.get("description") for key, value in keys.items()}
    if name == "manifest":  # whose parts are described where they are defined
        told = {key: text for key, text in told.items() if "$ref" not in keys[key] and key not in ("format", "version")}
    assert all(told.values()), told


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_a_file_that_ships_names_its_schema_and_fits_it(path):
    named = NAMED.match(path.read_text("utf-8"))
    schema = (path.parent / named[1]).resolve()
    assert schema.parent == FOLDER
    content = loading.read_file(path)
    assert faults(schema.stem, content) == []
    specification.read(schemas.FILES[schema.stem], content)


@pytest.mark.parametrize("path", LEADERBOARDS, ids=lambda path: path.name)
def test_the_leaderboards_of_the_benchmarks_fit_their_schema(path, monkeypatch):
    monkeypatch.setitem(model_names._REGISTERED, "SampledSASRec", "benchmarks.sampled_sasrec")  # as their package does
    content = loading.read_file(path)
    assert faults("leaderboard", content) == []
    specification.read(schemas.FILES["leaderboard"], content)


BOARD = {"models": ["MIND"], "datasets": ["small"]}
SWEEP = {"model": "MIND", "dataset": "small"}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("leaderboard", {"models": ["MIND"]}),
        ("leaderboard", BOARD | {"model": "MIND"}),
        ("leaderboard", BOARD | {"protocols": "leave-two-out"}),
        ("leaderboard", BOARD | {"seeds": [1, 1]}),
        ("leaderboard", BOARD | {"seeds": -1}),
        ("leaderboard", BOARD | {"threads": 0}),
        ("leaderboard", BOARD | {"not_run": {"MIND": 3}}),
        ("tuned", {"leave-one-out": {"MIND": 3}}),
        ("sweep", SWEEP | {"space": {"K": {"choise": [1]}}}),
        ("sweep", SWEEP | {"space": {"K": {"choice": [1], "int": [1, 2]}}}),
        ("sweep", SWEEP | {"space": {"sigma": {"uniform": [1]}}}),
        ("sweep", SWEEP | {"space": {"K": {"int": [1, 2.5]}}}),
        ("sweep", SWEEP | {"curves": {"K": []}}),
        ("sweep", SWEEP | {"curves": {"K": [1]}, "early_stop": {"grace": 1}}),
        ("sweep", SWEEP | {"space": {"K": {"choice": [1]}}, "algo": "bayes"}),
        ("gate", {"short_windows": 3}),
        ("gate", {"short_window": 1}),
        ("gate", {"long_quantile": 1.5}),
        ("gate", {"figures": []}),
        ("watch", {"rule": "pvctr"}),
        ("watch", {"rules": ["pvctr", "ctr"]}),
        ("watch", {"days": 1}),
        ("watch", {"deviations": 0}),
        ("watch", {"least_drop": 1.5}),
        ("serve", {"max_n": 0}),
        ("serve", {"poll_seconds": 0}),
        ("shares", {"mind": 1.5}),
        ("shares", {"mind": "half"}),
        ("window", {"window_unit": "h"}),
        ("window", {"window_end": "yesterday"}),
        ("window", {"window_days": 0}),
    ],
)
def test_what_the_reader_refuses_the_schema_refuses(name, content):
    assert faults(name, content)
    usual = loading.defaults("production", name) if name in ("gate", "serve", "watch") else {}
    with pytest.raises(InputError):
        specification.read(schemas.FILES[name], usual | content)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("leaderboard", {"models": "MIND", "datasets": "small", "seeds": 3, "not_run": {"MIND": {"small": "slow"}}}),
        ("sweep", SWEEP | {"space": {"p": {"choice": [0, 1], "when": {"K": 3}}, "K": {"int": [1, 3]}}}),
        ("sweep", SWEEP | {"curves": {"K": [1, 2]}, "resources": {"gpu": 0.5}}),
        ("shares", {"mind": 1, "ytdnn": 0.0}),
        ("window", {"window_days": 3, "window_end": "2024-05-31T12:00", "item_pool": None, "epochs": 3}),
    ],
)
def test_what_the_reader_takes_the_schema_takes(name, content):
    assert faults(name, content) == []
    own = {key: value for key, value in content.items() if key != "epochs"}  # a setting beside those of the window
    specification.read(schemas.FILES[name], own)
