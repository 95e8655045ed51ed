"""RecBole's own models by our command: the records of all of them, the page that shows these, and some models now."""

from __future__ import annotations

import json
import math

import pytest

from benchmarks import recbole_models as benchmark
from tests.support.documents import ROOT

VERSIONS = ("3.11", "3.13")
PAGE = ROOT / "docs/recbole-models.md"


@pytest.fixture(scope="module")
def records():
    paths = (ROOT / f"benchmarks/records/recbole-models-{version}.json" for version in VERSIONS)
    return [json.loads(path.read_text()) for path in paths]


def test_the_records_are_of_every_model_and_of_the_data_that_are_made_here(records, tmp_path):
    digest = benchmark.write_data(tmp_path)
    for version, record in zip(VERSIONS, records, strict=True):
        assert record["versions"]["python"].startswith(f"{version}.")
        assert record["data"] == digest
        assert {name: one["kind"] for name, one in record["models"].items()} == benchmark.names()


def test_the_page_shows_the_records(records):
    page = PAGE.read_text()
    assert benchmark.with_table(page, benchmark.table(*records)) == page


def test_what_runs_on_one_runs_on_the_other_with_the_same_figures(records):
    old, new = (record["models"] for record in records)
    runs = {name for name, one in old.items() if "error" not in one}
    assert runs == {name for name, one in new.items() if "error" not in one}
    assert old.keys() - runs == {"KGAT", "KGIN", "MCCLK"}
    for name in runs:
        for part in ("valid", "test"):
            assert old[name][part] == pytest.approx(new[name][part], rel=1e-14, abs=0), name


def test_agreement_is_that_of_the_figures():
    one = {"valid": {"auc": 0.5}, "test": {"auc": 0.25}, "weights": "a", "norm": 1.0, "loss": [1.0]}
    assert benchmark.agreement(one, one) == "bit for bit"
    assert benchmark.agreement(one, one | {"weights": "b"}) == "figures; weights to rounding"
    assert benchmark.agreement(one, one | {"weights": "b", "norm": 1.1}) == "figures, not weights"
    assert benchmark.agreement(one, one | {"test": {"auc": 0.25001}}) == "to 4 digits; weights bit for bit"
    assert benchmark.agreement(one, one | {"weights": "b", "test": {"auc": 0.5}}) == "to 0 digits"
    assert benchmark.agreement(one, one | {"test": {"auc": math.nan}}) == "no"
    assert benchmark.agreement(one, {"error": "it does not run"}) == "–"


# of each kind, and those that have a patch or stages
@pytest.mark.parametrize("name", ["BPR", "LightGCN", "KSR", "S3Rec", "DIN", "FM", "KD_DAGFM", "CKE"])
def test_it_is_trained_by_our_command(name, tmp_path):
    benchmark.write_data(tmp_path)
    found = benchmark.train(name, benchmark.names()[name], str(tmp_path))
    figures = [*found["valid"].values(), *found["test"].values()]
    assert figures
    assert all(0 <= value < math.inf for value in figures)
    assert all(map(math.isfinite, found["loss"]))
