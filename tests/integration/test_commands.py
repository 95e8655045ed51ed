"""The commands and the ways in, as a user meets them: in processes of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recbole_mind.plugin.doctor import tested_versions
from tests.support.data import LEAVE_ONE_OUT, write_small
from tests.support.waiting import HANG, until

BIN = Path(sys.executable).parent


def run(*command, cwd, timeout=HANG):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "120"}
    return subprocess.run(
        [str(part) for part in command], cwd=cwd, capture_output=True, text=True, timeout=timeout, env=environment
    )


def python(code, cwd):
    result = run(sys.executable, "-W", "ignore", "-c", code, cwd=cwd)
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A working folder with the small data set and a file of settings for it."""
    path = tmp_path_factory.mktemp("work")
    write_small(path / "dataset")
    load = {"inter": ["user_id", "item_id", "timestamp"]}
    common = {"load_col": load, "eval_args": LEAVE_ONE_OUT, "topk": [5, 10], "epochs": 2, "train_batch_size": 64}
    (path / "small.yaml").write_text(json.dumps(common))
    return path


def recbole(folder, model, *arguments, timeout=HANG):
    files = () if any(str(a).startswith("--config_files") for a in arguments) else ("--config_files=small.yaml",)
    command = (BIN / "run_recbole", f"--model={model}", "--dataset=small", *files, *arguments)
    return run(*command, cwd=folder, timeout=timeout)


# -- ways in ------------------------------------------------------------------------------------------------------


def test_the_import_is_light(tmp_path):
    code = "import sys, recbole_mind; print(sorted({'torch', 'ray', 'recbole', 'numpy', 'yaml'} & set(sys.modules)))"
    assert python(code, tmp_path).strip() == "[]"


def test_layers_and_checkpoints_import_without_recbole(tmp_path):
    modules = [
        "layers.routing",
        "layers.attention",
        "layers.losses",
        "layers.negative_sampling",
        "layers.embeddings",
        "layers.interest_statistics",
        "config.checks",
        "training.checkpoint",
        "plugin.doctor",
        "serving.store.gate",
        "serving.store.store",
        "cli.publish",
        "serving.milvus",
        "cli.milvus",
    ]
    code = f"import sys\nfor m in {modules}: __import__('recbole_mind.' + m)\n"
    assert python(code + "print('recbole' in sys.modules, 'ray' in sys.modules)", tmp_path).strip() == "False False"


def test_our_own_path_needs_no_ray(folder):
    code = (
        "import sys; sys.modules['ray'] = None\n"
        "from recbole_mind.training.run import run\n"
        "r = run('MIND', 'small', config_files=['small.yaml'], overrides={'show_progress': False, 'epochs': 1})\n"
        "print(type(r).__name__, r.model, r.epochs, sorted(r.test)[0])"
    )
    assert python(code, folder).splitlines()[-1] == "RunResult MIND 1 hit@10"


@pytest.mark.parametrize("first", ["recbole_mind", "recbole.quick_start"])
def test_recboles_own_quick_start_knows_mind_with_our_defaults(folder, first):
    code = (
        f"import {first}, recbole_mind, sys, torch; sys.argv = ['x']\n"
        "from recbole.quick_start import run_recbole, load_data_and_model\n"
        "r = run_recbole(model='MIND', dataset='ml-100k', config_dict={'epochs': 1, 'show_progress': False,\n"
        "    'embedding_size': 8, 'relu_layers': [16], 'MAX_ITEM_LIST_LENGTH': 5, 'train_batch_size': 8192})\n"
        "import glob; path = glob.glob('saved/MIND-ml-100k-*.pth')[-1]\n"
        "torch.load(path, weights_only=True); config, model, *_ = load_data_and_model(path)\n"
        "print(r['test_result']['recall@10'] >= 0, type(model).__name__, config['p'], config['item_features'],\n"
        "      torch.is_anomaly_enabled())"
    )
    expected = "True MIND inf ['class', 'release_year'] False"
    assert python(code, folder).splitlines()[-1] == expected


@pytest.mark.parametrize(
    ("model", "settings"),
    [
        ("GRU4Rec", ("--hidden_size=16", "--num_layers", "1")),
        ("YouTubeDNN", ("--embedding_size=16", "--relu_layers=[32]")),
        ("MIND", ("--p", "inf", "--K=2", "--item_features=genre,", "--user_features=['job']")),
        ("MIND", ("--p=0.5", "--attention_form=scale", "--routing_softmax", "behaviors", "--similarity=dot")),
        ("MIND", ("--routing_init=kmeans++", "--routing_scale=5", "--loss_type=BPR", "--adaptive_K=False")),
        ("BPR", ("--embedding_size=16",)),
    ],
)
def test_the_command_trains_any_model_and_ends_with_a_table_and_a_record(folder, model, settings):
    settings = [s.replace("genre,", "['genre', 'tags']") for s in settings]
    result = recbole(folder, model, *settings, "--seed=7", "--record=out/r.json", "--mask_history=True")
    assert result.returncode == 0, result.stderr[-2000:]
    record = json.loads((folder / "out/r.json").read_text())
    assert record["model"] == model
    assert record["seed"] == 7
    assert record["protocol"]["mask_history"] is True
    assert (folder / record["checkpoint"]).exists()
    for metric, value in record["test"].items():
        assert f"{value:.4f}" in next(line for line in result.stdout.splitlines() if line.startswith(metric))
    assert "history kept out of the ranking" in result.stdout
    assert ("active per user" in result.stdout) == (model == "MIND")
    assert f"{model} epoch 1/2" in result.stderr
    assert "left" in result.stderr
    assert "Traceback" not in result.stderr


def test_two_processes_train_one_model(folder):
    port = 20000 + os.getpid() % 20000
    result = recbole(
        folder, "MIND", "--nproc=2", f"--port={port}", "--use_gpu=False", "--record=two.json", "--epochs=3"
    )
    assert result.returncode == 0, result.stderr[-3000:]
    record = json.loads((folder / "two.json").read_text())
    assert record["epochs"] == 3
    assert "local_rank" not in record["config"]
    again = recbole(folder, "MIND", f"--resume={record['checkpoint']}", "--epochs=4", "--record=one.json")
    assert again.returncode == 0, again.stderr[-2000:]  # a checkpoint of two processes serves one


# -- bad input ----------------------------------------------------------------------------------------------------


def test_two_processes_evaluate_by_search_as_by_dense_scores(folder):
    found = {}
    for search in ("dense", "exact", "IVF8,Flat"):
        name = f"two-{search[:3]}.json"
        arguments = ("--nproc=2", "--use_gpu=False", "--epochs=1", f"--eval_search={search}", f"--record={name}")
        result = recbole(folder, "MIND", *arguments, f"--port={5700 + len(found)}")
        assert result.returncode == 0, result.stderr
        found[search] = json.loads((folder / name).read_text())
    assert found["exact"]["test"] == found["dense"]["test"]
    assert found["exact"]["valid"] == found["dense"]["valid"]
    search = found["IVF8,Flat"]["protocol"]["search"]
    assert search["recall@10"] == found["IVF8,Flat"]["test"]["search_recall@10"]
    assert search["users"] == 40


def refused(result, *words):
    """One line on stderr that holds ``words``; exit status 2."""
    assert result.returncode == 2, (result.returncode, result.stdout[-300:], result.stderr[-1500:])
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0], lines[0]


def test_bad_input_gets_one_line_and_status_2(folder, tmp_path):
    """One process for all that is refused before training; see also tests/config/test_checks.py."""
    (folder / "bad.yaml").write_text("a: [1\nb: 2")
    refused(recbole(folder, "MIND", "--epochz=3"), "unknown key 'epochz'", "did you mean 'epochs'")
    refused(recbole(folder, "NoSuch"), "model: 'NoSuch' is unknown", "MIND")
    refused(recbole(folder, "MIND", "--dataset=nowhere"), "dataset", "nowhere", "ml-100k")
    refused(recbole(folder, "MIND", "--config_files=bad.yaml"), "bad.yaml", "line 2")
    refused(recbole(folder, "MIND", "--item_features=['colour']"), "item_features: 'colour'", "genre, tags")
    refused(recbole(folder, "MIND", "--record=/proc/none/r.json"), "/proc/none", "cannot be written")
    refused(run(BIN / "recbole-mind", "nonsense", cwd=folder), "nonsense", "doctor")


def test_ctrl_c_leaves_the_last_good_checkpoint(folder):
    command = [BIN / "run_recbole", "--model=MIND", "--dataset=small", "--config_files=small.yaml", "--epochs=100000"]
    command += ["--checkpoint_dir=stopped", "--stopping_step=100000"]
    process = subprocess.Popen(
        [str(part) for part in command],
        cwd=folder,
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a test run in the background ignores it
    )
    until(lambda: list((folder / "stopped").glob("*.pth")), process)
    time.sleep(1)  # somewhere in an epoch
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=HANG)
    assert process.returncode == 2, stderr
    last = stderr.strip().splitlines()[-1]
    path = next(path for path in (folder / "stopped").glob("*.pth") if path.name in last)
    assert f"the last good checkpoint is 'stopped/{path.name}'" in last
    assert "Traceback" not in stderr
    result = recbole(folder, "MIND", f"--resume=stopped/{path.name}", "--epochs=1")
    assert result.returncode == 0, result.stderr[-1500:]


def test_a_saved_model_is_evaluated_again_with_its_groups(folder):
    trained = recbole(folder, "MIND", "--checkpoint_dir=evaluated", "--record=trained.json")
    assert trained.returncode == 0, trained.stderr
    path = json.loads((folder / "trained.json").read_text())["checkpoint"]
    again = run(BIN / "recbole-mind", "evaluate", path, "--search=dense", "--mask-history=false", cwd=folder)
    assert again.returncode == 0, again.stderr
    assert "ranked by RecBole's dense scores" in again.stdout
    found = run(BIN / "recbole-mind", "evaluate", path, "--search=IVF4,Flat", "--search_parameters=nprobe=4",
                "--record=evaluated.json", cwd=folder)  # fmt: skip
    assert found.returncode == 0, found.stderr
    for words in ("recall@10 1.0 of the exact search", "active interests", "history length", "hits by interest"):
        assert words in " ".join(found.stdout.split())
    record = json.loads((folder / "evaluated.json").read_text())
    assert record["protocol"]["search"]["parameters"] == {"nprobe": 4}
    assert record["test"]["search_recall@10"] == 1.0
    assert sum(row["users"] for row in record["report"]["by_history_length"]) == 40
    refused(run(BIN / "recbole-mind", "evaluate", path, "--search=FOO", cwd=folder), "eval_search", "FOO", "factory")
    refused(run(BIN / "recbole-mind", "evaluate", path, "--mask-history=maybe", cwd=folder), "mask-history", "maybe")
    refused(run(BIN / "recbole-mind", "evaluate", "nothing.pth", cwd=folder), "nothing.pth", "does not exist")


def test_a_corrupt_checkpoint_gets_one_line_too(folder):
    (folder / "broken.pth").write_bytes(b"PK\x03\x04 and nothing more")
    refused(recbole(folder, "MIND", "--resume=broken.pth"), "broken.pth", "corrupt")


@pytest.mark.slow
def test_the_demo_prints_one_table_and_writes_three_records(tmp_path):
    """The README's first command, with smaller models; then a run from the record's settings, to the last digit."""
    code = (
        "from recbole_mind.cli import main\n"
        "from recbole_mind.config import loading\n"
        "d = loading.defaults('examples', 'demo')['all']\n"
        "d.update(epochs=1, MAX_ITEM_LIST_LENGTH=5)\n"
        "print('exit', main.main(['demo', '-o', 'out']))\n"
        "print('exit', main.run_recbole(['--config_files=out/record.json', '--record=again.json']))\n"
    )
    out = python(code, tmp_path)
    assert out.count("exit 0") == 2
    records = [json.loads((tmp_path / "out" / f"{n}.json").read_text()) for n in ("Pop", "YouTubeDNN", "record")]
    assert [record["model"] for record in records] == ["Pop", "YouTubeDNN", "MIND"]
    assert "Pop  YouTubeDNN    MIND" in out
    for record in records:
        for metric, value in record["test"].items():
            assert f"{metric} " in out
            assert f"{value:.4f}" in out
        assert record["protocol"]["mask_history"] is True
        assert record["protocol"]["split"] == {"LS": "valid_and_test"}
    assert json.loads((tmp_path / "again.json").read_text())["test"] == records[2]["test"]


# -- doctor -------------------------------------------------------------------------------------------------------


def test_the_doctor_says_what_runs_and_what_is_mended(folder):
    result = run(BIN / "recbole-mind", "doctor", cwd=folder)
    assert result.returncode == 0, result.stdout
    for text in ("recbole", "1.2.1", "torch", "Mended", "float32", "Cannot be mended", "RecBole runs here"):
        assert text in result.stdout


def test_the_doctor_exits_1_with_the_command_that_helps(folder):
    code = (
        "import recbole_mind.plugin.doctor as d, recbole_mind.cli.main as c\n"
        "versions = {'recbole': '1.2.1', 'torch': '2.13.0', 'numpy': '2.5.5', 'faiss-cpu': '1.15.1',\n"
        "            'setuptools': '80.10.2', 'scipy': '1.17.1', 'ray': '2.6.3'}\n"
        "real = d.examine; d.examine = lambda: real(versions.get)\n"
        "print('exit', c.main(['doctor']))"
    )
    out = python(code, folder)
    assert "exit 1" in out
    assert "RecBole cannot run: pandas is missing" in out
    assert f"pip install 'pandas=={tested_versions()['pandas']}'" in out
    assert f"pip install 'numpy=={tested_versions()['numpy']}'" in out  # not for that ray, but not fatal
    assert "recbole-mind[report]" in " ".join(out.split())
