"""The tests stand as the package does: a file for each module, in a folder for each room."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess

import pytest

from tests import ROOT

PACKAGE = ROOT / "recbole_mind"
# modules without a test file of their own name: where they are tested, why there, and which they are
ELSEWHERE = [
    ("tests/test_facades.py", "documented paths that hold no code",
     "bundle milvus quick_start recall"),
    ("tests/integration/test_commands.py", "a command is tested in a process of its own",
     "cli/demo cli/doctor cli/evaluate cli/explain cli/export cli/history cli/leaderboard cli/main cli/milvus cli/pack "
     "cli/parsing cli/printing cli/progress cli/publish cli/rank cli/recall cli/report cli/rollback cli/serve "
     "cli/sweep cli/train"),
    ("tests/integration/test_experiment.py", "a command is tested as it is typed",
     "cli/experiment"),
    ("tests/integration/test_interactions.py", "a command is tested as it is typed",
     "cli/interactions"),
    ("tests/data/test_logged_interactions.py", "they show in the file that is written",
     "data/log_columns data/log_parts"),
    ("tests/integration/test_watch.py", "a command is tested as it is typed",
     "cli/watch"),
    ("tests/analysis/ab_test/test_page.py", "what stands on the page",
     "analysis/ab_test/figures analysis/ab_test/words"),
    ("tests/models/test_models.py", "every model runs through one contract",
     "models/base models/mind models/settings models/youtube_dnn"),
    ("tests/models/test_comirec.py", "the routing of ComiRec beside its models",
     "layers/comirec_routing"),
    ("tests/training/test_training.py", "the parts of a run show in a run",
     "training/build training/checkpoint training/describe training/gradients training/hits_recorder "
     "training/interests_watch training/load training/progress training/result training/run training/steps"),
    ("tests/ranking/test_run.py", "a ranker trains in a run",
     "ranking/trainer"),
    ("tests/training/test_hostile_checkpoints.py", "both readers are held against every crafted file",
     "training/archive training/recbole_checkpoint"),
    ("tests/integration/test_commands.py", "it starts processes of the command",
     "training/launch"),
    ("tests/evaluation/test_evaluator.py", "an evaluation and what is made of it",
     "evaluation/breakdown evaluation/index_cache evaluation/vectors"),
    ("tests/retrieval/test_index.py", "every way to search runs through one suite, against loops",
     "retrieval/exact retrieval/faiss_backend retrieval/gpu retrieval/pool retrieval/rescoring retrieval/types "
     "retrieval/validation"),
    ("tests/serving/bundle/test_bundle.py", "what is exported is what a bundle holds",
     "export serving/bundle/encoder serving/bundle/onnx_session"),
    ("tests/serving/bundle/test_ranker.py", "what is exported is held against the model",
     "export_graph export_ranker"),
    ("tests/serving/test_recaller.py", "types, and what a recaller asks",
     "serving/interest_search serving/results serving/retriever"),
    ("tests/serving/test_batch.py", "the line of a recall for many",
     "serving/progress"),
    ("tests/serving/store/test_gate.py", "the gate tries what it judges",
     "serving/store/self_check"),
    ("tests/experiments/leaderboard/test_table.py", "one table, in every format",
     "experiments/leaderboard/csv experiments/leaderboard/figures experiments/leaderboard/html "
     "experiments/leaderboard/labels experiments/leaderboard/latex experiments/leaderboard/markdown "
     "experiments/leaderboard/render experiments/leaderboard/terminal"),
    ("tests/experiments/test_executor.py", "work on a Ray of any release",
     "util/ray_releases"),
    ("tests/experiments/leaderboard/test_runner.py", "specifications are run",
     "experiments/leaderboard/spec experiments/trial"),
    ("tests/experiments/sweep/test_runner.py", "a sweep is run, killed and gone on with",
     "experiments/sweep/early_stopping experiments/sweep/journal experiments/sweep/monitor experiments/sweep/output "
     "experiments/sweep/plan experiments/sweep/ray_runner experiments/sweep/result experiments/sweep/spec "
     "experiments/sweep/state"),
    ("tests/experiments/sweep/test_space.py", "which values a setting may have",
     "experiments/sweep/setting_types"),
    ("tests/experiments/sweep/test_figures.py", "figures and the page that holds them",
     "experiments/sweep/outcomes experiments/sweep/page report/axis_scale report/figure_files report/figure_page "
     "report/figure_set report/style"),
    ("tests/analysis/collapse/test_measure.py", "a report is made and read as a whole",
     "analysis/collapse/categories analysis/collapse/figures analysis/collapse/mutual_information "
     "analysis/collapse/page"),
    ("tests/analysis/explain/test_explain.py", "a case study is made and read as a whole",
     "analysis/explain/case_study analysis/explain/figures analysis/explain/histories analysis/explain/item_map "
     "analysis/explain/output analysis/explain/page analysis/items"),
]  # fmt: skip


EXCEPTIONS = {module: place for place, _, those in ELSEWHERE for module in those.split()}


def file_for(module):
    folder, _, name = module.rpartition("/")
    return f"tests/{folder}/test_{name}.py".replace("//", "/")


def modules():
    paths = (path.relative_to(PACKAGE).with_suffix("").as_posix() for path in PACKAGE.rglob("*.py"))
    return sorted(path for path in paths if not path.endswith("__init__"))


@pytest.mark.parametrize("module", modules())
def test_every_module_has_a_test_file_of_its_name(module):
    if module not in EXCEPTIONS:
        assert (ROOT / file_for(module)).is_file(), f"write {file_for(module)}, or say in ELSEWHERE where it is tested"


@pytest.mark.parametrize("module", EXCEPTIONS)
def test_what_is_tested_elsewhere_is_there_and_has_no_file(module):
    assert module in modules(), f"there is no module {module}: leave it out of ELSEWHERE"
    assert not (ROOT / file_for(module)).exists(), f"{file_for(module)} is there: leave {module} out of ELSEWHERE"
    assert (ROOT / EXCEPTIONS[module]).is_file()


@pytest.mark.parametrize("target", ["test", "quick", "durations", "fuzz"])
def test_the_files_that_make_names_exist(target):
    said = subprocess.run(["make", "-n", target], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "pytest" in said
    assert all((ROOT / path).is_file() for path in re.findall(r"\btests/\S+\.py", said))


def test_the_tests_that_pages_name_exist():
    stems = {path.stem for path in (ROOT / "tests").rglob("test_*.py")}
    for page in (ROOT / "docs").glob("*.md"):
        named = set(re.findall(r"`(?:tests/[\w/]*)?(test_\w+)(?:\.py)?`", page.read_text()))
        assert named - stems == set(), page.name


ROOMS = sorted(path.parent for path in PACKAGE.glob("*/**/__init__.py"))


@pytest.mark.parametrize("folder", ROOMS, ids=lambda folder: folder.relative_to(PACKAGE).as_posix())
def test_each_room_says_what_is_public(folder):
    name = ".".join(folder.relative_to(ROOT).parts)
    room = importlib.import_module(name)
    listed = re.search(r"^Public: (.*)\.$", inspect.cleandoc(room.__doc__), re.MULTILINE | re.DOTALL)
    public = list(getattr(room, "__all__", ())) + (re.findall(r"``([\w.]+)``", listed[1]) if listed else [])
    assert public
    for path in public:
        module, _, attribute = path.rpartition(".")
        assert hasattr(importlib.import_module(f"{name}.{module}") if module else room, attribute), path
