"""A run that was stopped and resumed gives the weights and figures of one that never was, to the last bit."""

from __future__ import annotations

import copy
import json
import os
import random
import signal
import sys
import time
import traceback
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.errors import InterruptedRun
from recbole_mind.models.base import RetrievalModel
from recbole_mind.training import build, checkpoint, load
from recbole_mind.training import run as quick_start
from recbole_mind.training.trainer import SafeTrainer
from tests.support.data import small_settings

SAMPLED = {"loss_type": "sampled", "negatives": "uniform", "num_negatives": 7}
FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}
GRU = {"hidden_size": 8, "loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
DYNAMIC = {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "dynamic": True, "candidate_num": 4}}
RUNS = {
    "sparse": ("MIND", SAMPLED | FEATURES),
    "dense": ("MIND", SAMPLED | {"sparse_updates": False}),
    "CE": ("MIND", FEATURES),
    "YouTubeDNN": (
        "YouTubeDNN",
        {"loss_type": "sampled", "negatives": "in_batch", "clip_grad_norm": {"max_norm": 0.5}},
    ),
    "sampler": ("MIND", {"loss_type": "BPR"}),
    "padded rows": ("MIND", SAMPLED | {"lazy_sequences": False}),
    "RecBole's": ("GRU4Rec", GRU),
    "RecBole's, padded rows": ("GRU4Rec", GRU | {"lazy_sequences": False}),
    "RecBole's, dynamic": ("GRU4Rec", GRU | DYNAMIC),
    "RecBole's, CE": ("GRU4Rec", {"hidden_size": 8, "loss_type": "CE", "dropout_prob": 0.3}),
    "halved": ("YouTubeDNN", SAMPLED | {"enable_amp": True}),
}
BATCHES = 4  # of an epoch
EPOCHS = 3


def settings_of(folder, case, **more):
    name, own = RUNS[case]
    settings = small_settings(folder, epochs=EPOCHS, train_batch_size=64, learning_rate=0.02, seed=4)
    settings |= {"eval_step": 1, "stopping_step": 10}
    if name == "GRU4Rec":
        settings.pop("relu_layers")
    return name, settings | own | more


class Final:
    """What a run came to: weights and optimizer after its last epoch, and its figures."""

    def __init__(self, folder, case, resume=None, **more):
        finals = []
        original = SafeTrainer.fit

        def fit(trainer, *args, **kwargs):
            result = original(trainer, *args, **kwargs)
            finals.append(
                copy.deepcopy(
                    {
                        "weights": trainer.model.state_dict(),
                        "optimizer": trainer.optimizer.state_dict(),
                        "losses": {epoch: trainer.train_loss_dict[epoch] for epoch in sorted(trainer.train_loss_dict)},
                    }
                )
            )
            return result

        name, settings = settings_of(folder, case, **more)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(SafeTrainer, "fit", fit)
            self.result = quick_start.run(name, "small", overrides=settings, resume=resume)
        (self.state,) = finals

    def assert_equal(self, other, *, losses=True):
        assert self.result.test == other.result.test
        assert self.result.valid == other.result.valid
        assert self.result.epochs == other.result.epochs
        assert self.result.interests == other.result.interests
        for part in ("weights", "optimizer"):
            assert not unequal(self.state[part], other.state[part])
        best = [checkpoint.load(run.result.checkpoint) for run in (self, other)]
        for part in ("state_dict", "optimizer", "epoch", "cur_step", "best_valid_score", "best_valid_result"):
            assert not unequal(best[0][part], best[1][part]), part
        if losses:
            last = max(self.state["losses"])
            assert self.state["losses"][last] == other.state["losses"][last]


def unequal(a, b, at=""):
    """Where two nests of tensors and values differ, or nothing."""
    if isinstance(a, torch.Tensor):
        return "" if torch.equal(a, b) else at or "."
    if isinstance(a, dict):
        if a.keys() != b.keys():
            return f"{at} keys"
        return next(filter(None, (unequal(a[key], b[key], f"{at}/{key}") for key in a)), "")
    if isinstance(a, (list, tuple)):
        return next(filter(None, (unequal(x, y, f"{at}/{i}") for i, (x, y) in enumerate(zip(a, b, strict=True)))), "")
    return "" if a == b else at or "."


def killed(folder, case, when, resume=None, **more):
    """Run in a process of its own until ``when(patch)`` has it kill itself with SIGKILL."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        try:
            signal.alarm(100)
            patch = pytest.MonkeyPatch()
            when(patch)
            name, settings = settings_of(folder, case, **more)
            quick_start.run(name, "small", overrides=settings, resume=resume)
        except BaseException:
            traceback.print_exc()
        os._exit(1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), status
    assert os.WTERMSIG(status) == signal.SIGKILL


def die():
    os.kill(os.getpid(), signal.SIGKILL)


def after_batch(number, *, kept=True):
    """Die after the batch of this number, counted over epochs from 1, with or without keeping it."""

    def when(patch):
        original, done = SafeTrainer._step_done, [0]

        def step_done(trainer):
            done[0] += 1
            if done[0] == number and not kept:
                die()
            original(trainer)
            if done[0] == number:
                die()

        patch.setattr(SafeTrainer, "_step_done", step_done)

    return when


def before(function, number):
    """Die as ``function`` of the trainer is called for this time."""

    def when(patch):
        original, done = getattr(SafeTrainer, function), [0]

        def wrapped(trainer, *args, **kwargs):
            done[0] += 1
            if done[0] == number:
                die()
            return original(trainer, *args, **kwargs)

        patch.setattr(SafeTrainer, function, wrapped)

    return when


def files(folder):
    return sorted(path.name for path in Path(folder).iterdir())


def last_of(folder):
    (path,) = Path(folder).glob("*.last.pth")
    return path


def best_of(folder):
    (path,) = (path for path in Path(folder).glob("*.pth") if not path.name.endswith(".last.pth"))
    return path


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    """Runs that were never stopped, by case, each made once."""
    made = {}

    def get(case, **more):
        key = (case, *sorted(more.items()))
        if key not in made:
            folder = tmp_path_factory.mktemp("whole")
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(folder)
                made[key] = Final(small, case, checkpoint_dir=str(folder / "saved"), **more)
        return made[key]

    return get


def test_the_cases_have_the_batches_that_the_tests_count_on(small):
    for case in ("sparse", "padded rows", "RecBole's"):
        name, settings = settings_of(small, case)
        config = build.build_config(name, "small", overrides=settings)
        assert len(build.build_data(config)[1]) == BATCHES, case


# -- killed ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("case", "kept"), [*((case, True) for case in RUNS), ("sparse", False), ("RecBole's", False)])
def test_a_killed_run_goes_on_from_its_last_batch_to_the_same_end(small, whole, case, kept):
    killed(small, case, after_batch(BATCHES + 3, kept=kept), checkpoint_minutes=0)
    content = checkpoint.load(last_of("saved"))["position"]
    assert (content["epoch"], content["batch"]) == (1, 3 if kept else 2)
    resumed = Final(small, case, resume=last_of("saved"))
    resumed.assert_equal(whole(case))
    assert files("saved") == [Path(resumed.result.checkpoint).name, Path(resumed.result.checkpoint).name + ".json"]


@pytest.mark.parametrize("case", ["sparse", "dense", "padded rows", "RecBole's", "RecBole's, padded rows"])
def test_a_killed_run_goes_on_from_its_best_epoch_to_the_same_end(small, whole, case):
    killed(small, case, after_batch(2 * BATCHES + 2), checkpoint_minutes=None)
    assert not list(Path("saved").glob("*.last.pth"))
    content = checkpoint.load(best_of("saved"))
    assert (content["position"]["epoch"], content["position"]["batch"]) == (content["epoch"] + 1, 0)
    resumed = Final(small, case, resume=best_of("saved"))
    resumed.assert_equal(whole(case))


@pytest.mark.parametrize(
    ("case", "when", "place"),
    [
        ("sparse", after_batch(1), (0, 1)),  # before anything was validated
        ("sparse", after_batch(BATCHES - 1), (0, BATCHES - 1)),
        ("sparse", after_batch(BATCHES), (0, BATCHES)),  # all batches done, the epoch not ended
        ("RecBole's", after_batch(2 * BATCHES), (1, BATCHES)),
        ("sparse", before("_valid_epoch", 2), (1, BATCHES)),  # after the flush
        ("sparse", before("_save_checkpoint", 1), (0, BATCHES)),  # after the validation
        ("sparse", after_batch(BATCHES + 1, kept=False), (0, BATCHES)),  # the best is newer than the last batch kept
        ("RecBole's", after_batch(BATCHES + 1, kept=False), (0, BATCHES)),
        ("sparse", after_batch(EPOCHS * BATCHES), (EPOCHS - 1, BATCHES)),
    ],
    ids=[
        "first",
        "last but one",
        "last",
        "last of RecBole's",
        "validating",
        "saving",
        "next epoch",
        "RecBole's next epoch",
        "the very last",
    ],
)
def test_a_run_may_be_killed_anywhere(small, whole, case, when, place):
    killed(small, case, when, checkpoint_minutes=0)
    content = checkpoint.load(last_of("saved"))["position"]
    assert (content["epoch"], content["batch"]) == place
    resumed = Final(small, case, resume=last_of("saved"))
    resumed.assert_equal(whole(case))


@pytest.mark.parametrize("case", ["sparse"])
def test_a_run_may_be_killed_again_and_again(small, whole, case):
    killed(small, case, after_batch(3), checkpoint_minutes=0)
    for batches in (1, 3, 3):  # to batch 4, then 7, then 10
        killed(small, case, after_batch(batches), resume=last_of("saved"), checkpoint_minutes=0)
    content = checkpoint.load(last_of("saved"))["position"]
    assert (content["epoch"], content["batch"]) == (2, 2)
    Final(small, case, resume=last_of("saved")).assert_equal(whole(case))


def test_every_generator_goes_on_where_it_stood(small, monkeypatch):
    """Python's, NumPy's and torch's own, which a model or a transform may draw from."""
    original = RetrievalModel.calculate_loss

    def noisy(model, batch, share):
        return original(model, batch, share) * (1 + random.random() + np.random.rand() + float(torch.rand(())))

    monkeypatch.setattr(RetrievalModel, "calculate_loss", noisy)
    expected = Final(small, "YouTubeDNN", checkpoint_dir="whole")
    killed(small, "YouTubeDNN", after_batch(BATCHES + 2), checkpoint_minutes=0)
    Final(small, "YouTubeDNN", resume=last_of("saved")).assert_equal(expected)


def test_an_early_stop_comes_when_it_would_have_come(small, whole):
    more = {"stopping_step": 1, "epochs": 30, "learning_rate": 0.05}
    expected = whole("sparse", **more)
    assert 3 <= expected.result.epochs < 30
    stop = (expected.result.epochs - 1) * BATCHES + 2  # in the last epoch, when patience is partly spent
    killed(small, "sparse", after_batch(stop), checkpoint_minutes=0, **more)
    Final(small, "sparse", resume=last_of("saved"), **more).assert_equal(expected)


@pytest.mark.parametrize("case", ["dense", "RecBole's"])
def test_epochs_that_are_not_validated_are_kept_too(small, whole, case):
    more = {"eval_step": 3}
    expected = whole(case, **more)
    killed(small, case, after_batch(2 * BATCHES + 1), checkpoint_minutes=0, **more)
    assert not [name for name in files("saved") if "last" not in name]
    Final(small, case, resume=last_of("saved"), **more).assert_equal(expected)


def test_more_epochs_than_asked_at_first(small, whole):
    Final(small, "sparse", epochs=2, stopping_step=10)
    resumed = Final(small, "sparse", resume=best_of("saved"))
    if checkpoint.load(best_of("saved"))["epoch"] >= 1:
        resumed.assert_equal(whole("sparse"))
    assert resumed.result.epochs == EPOCHS


def test_the_loss_of_the_interrupted_epoch_is_whole(small, whole):
    killed(small, "sparse", after_batch(2 * BATCHES + 2), checkpoint_minutes=0)
    resumed = Final(small, "sparse", resume=last_of("saved"))
    expected = whole("sparse").state["losses"]
    assert resumed.state["losses"] == {2: expected[2]}


# -- the files ---------------------------------------------------------------------------------------------------------


def test_the_last_file_goes_away_with_a_run_that_ends(small, monkeypatch):
    seen = []
    original = SafeTrainer._step_done

    def step_done(trainer):
        original(trainer)
        seen.append(sum("last" in name for name in files("saved")))

    monkeypatch.setattr(SafeTrainer, "_step_done", step_done)
    result = Final(small, "sparse", checkpoint_minutes=0).result
    assert seen == [2] * (EPOCHS * BATCHES)  # the file and its settings
    assert files("saved") == [Path(result.checkpoint).name, Path(result.checkpoint).name + ".json"]


@pytest.mark.parametrize(("minutes", "expected"), [(None, 0), (10, 0), (1e-9, EPOCHS * BATCHES)])
def test_the_last_file_is_written_as_often_as_asked(small, monkeypatch, minutes, expected):
    written = []
    original = SafeTrainer._save_last
    monkeypatch.setattr(SafeTrainer, "_save_last", lambda trainer: (written.append(1), original(trainer)))
    Final(small, "sparse", checkpoint_minutes=minutes)
    assert len(written) == expected


def test_nothing_is_written_where_nothing_is_to_be_saved(small):
    name, settings = settings_of(small, "sparse", checkpoint_minutes=0, epochs=1)
    quick_start.run(name, "small", overrides=settings, saved=False)
    assert files("saved") == []


def one_line(error, *words):
    assert "\n" not in str(error.value)
    for word in words:
        assert str(word) in str(error.value)


def test_a_last_file_whose_best_epoch_is_gone_is_refused(small):
    killed(small, "sparse", after_batch(BATCHES + 2), checkpoint_minutes=0)
    best, last = best_of("saved"), last_of("saved")
    best.unlink()
    with pytest.raises(InputError) as error:
        Final(small, "sparse", resume=last)
    one_line(error, last, best, "does not exist")
    assert last.exists()


def test_a_best_epoch_may_be_renamed(small, whole):
    """It goes with nothing but itself."""
    killed(small, "sparse", after_batch(2 * BATCHES + 2), checkpoint_minutes=None)
    path = best_of("saved").rename("mine.pth")
    resumed = Final(small, "sparse", resume=path)
    resumed.assert_equal(whole("sparse"))
    assert Path(resumed.result.checkpoint).name == "mine.pth"


def test_both_files_may_move_to_another_folder(small, whole):
    killed(small, "sparse", after_batch(2 * BATCHES + 2), checkpoint_minutes=0)
    Path("saved").rename("elsewhere")
    resumed = Final(small, "sparse", resume=last_of("elsewhere"))
    resumed.assert_equal(whole("sparse"))
    assert Path(resumed.result.checkpoint).parent.name == "elsewhere"
    assert not list(Path("elsewhere").glob("*.last.pth"))


@pytest.mark.parametrize("seen", ["load", "evaluate"])
def test_a_last_file_opens_with_its_tables_up_to_date(small, seen):
    """Rows that sparse updates have left behind, mid-epoch, are not what the run has learned."""
    found = []
    more = {"train_batch_size": 8, "num_negatives": 1, "learning_rate": 0.1, "epochs": 1}
    for case in (True, False):
        folder = f"saved-{case}"
        killed(small, "dense", after_batch(9), checkpoint_minutes=0, sparse_updates=case, checkpoint_dir=folder, **more)
        if seen == "load":
            found.append(load.load(last_of(folder)).model.item_vectors().detach())
        else:
            figures = quick_start.evaluate(last_of(folder), overrides={"topk": [20], "valid_metric": "NDCG@20"}).test
            found.append(torch.tensor([figures["ndcg@20"], figures["mrr@20"]]))
    torch.testing.assert_close(found[0], found[1], atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "change", [{"train_batch_size": 16}, {"seed": 5, "num_negatives": 9}], ids=["batch size", "seed and negatives"]
)
def test_changed_settings_end_a_resumed_run_without_a_traceback(small, change):
    """What was to be resumed exactly cannot be, but it is either refused in a line or trained to the end."""
    killed(small, "sparse", after_batch(2 * BATCHES + 2), checkpoint_minutes=0)
    refused = ""
    try:
        assert Final(small, "sparse", resume=last_of("saved"), **change).result.epochs == EPOCHS
    except InputError as error:
        refused = str(error)
    assert "\n" not in refused


def test_a_larger_batch_does_not_skip_what_is_left_of_the_epoch_in_silence(small):
    """After 3 batches of 64, an epoch of batches of 128 has one batch more, not 2 - 3."""
    killed(small, "sparse", after_batch(3), checkpoint_minutes=0)
    with pytest.raises(InputError, match="train_batch_size"):
        Final(small, "sparse", resume=last_of("saved"), train_batch_size=128, epochs=1)


def test_a_checkpoint_without_a_place_goes_on_from_its_epoch(small):
    """Checkpoints of the release before, and RecBole's own."""
    killed(small, "dense", after_batch(2 * BATCHES + 2), checkpoint_minutes=None)
    path = best_of("saved")
    content = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in content.items() if key not in ("position", "best")}, path)
    resumed = Final(small, "dense", resume=path)
    assert resumed.result.epochs == EPOCHS
    assert set(resumed.state["losses"]) == set(range(int(content["epoch"]) + 1, EPOCHS))


# -- Ctrl-C ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def _interruptible():
    """A test run in the background ignores SIGINT."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupting(monkeypatch, number, function="calculate_loss"):
    """Have SIGINT arrive in the middle of a batch."""
    original, done = getattr(RetrievalModel, function), [0]

    def wrapped(model, *args, **kwargs):
        done[0] += 1
        if done[0] == number:
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.01)
        return original(model, *args, **kwargs)

    monkeypatch.setattr(RetrievalModel, function, wrapped)


@pytest.mark.usefixtures("_interruptible")
@pytest.mark.parametrize(("number", "minutes"), [(3, 10), (2 * BATCHES, None), (2 * BATCHES + 3, 0)])
def test_ctrl_c_ends_the_batch_keeps_it_and_resumes_to_the_same_end(small, whole, monkeypatch, number, minutes):
    with monkeypatch.context() as patch:
        interrupting(patch, number)
        with pytest.raises(InterruptedRun) as error:
            Final(small, "sparse", checkpoint_minutes=minutes)
    last = last_of("saved")
    one_line(error, f"epoch {(number - 1) // BATCHES + 1} of {EPOCHS}", f"'{last}'", f"--resume={last}")
    content = checkpoint.load(last)["position"]
    assert content["epoch"] * BATCHES + content["batch"] == number
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    Final(small, "sparse", resume=last).assert_equal(whole("sparse"))


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_in_a_validation_leaves_what_was_kept(small, whole, monkeypatch):
    with monkeypatch.context() as patch:
        interrupting(patch, 2, "interests")
        with pytest.raises(InterruptedRun) as error:
            Final(small, "sparse", checkpoint_minutes=0)
    one_line(error, last_of("saved"))
    Final(small, "sparse", resume=last_of("saved")).assert_equal(whole("sparse"))


@pytest.mark.usefixtures("_interruptible")
def test_a_second_ctrl_c_does_not_wait(small, monkeypatch):
    original = RetrievalModel.calculate_loss

    def twice(model, batch, share):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.01)
        pytest.fail("it waited")
        return original(model, batch, share)

    monkeypatch.setattr(RetrievalModel, "calculate_loss", twice)
    with pytest.raises(InterruptedRun, match="no checkpoint was written yet"):
        Final(small, "sparse")
    assert files("saved") == []


@pytest.mark.usefixtures("_interruptible")
def test_ctrl_c_at_the_command_is_one_line_status_2_and_an_exact_resume(small, whole, monkeypatch, capsys):
    """RecBole's own model; tests/integration/test_commands.py has it in a process of its own."""
    name, settings = settings_of(small, "RecBole's")
    Path("mine.json").write_text(json.dumps(settings))
    original, done = SafeTrainer._step_done, []

    def step_done(trainer):
        done.append(1)
        if len(done) == BATCHES + 3:
            os.kill(os.getpid(), signal.SIGINT)
        original(trainer)

    arguments = [f"--model={name}", "--dataset=small", "--config_files=mine.json"]
    with monkeypatch.context() as patch:
        patch.setattr(SafeTrainer, "_step_done", step_done)
        assert main.run_recbole(arguments) == 2
    last = last_of("saved")
    stopped = capsys.readouterr().err.strip().splitlines()
    assert len(stopped) == 1
    assert stopped[0].startswith(f"stopped in epoch 2 of {EPOCHS}: ")
    assert stopped[0].endswith(f"--resume={last} goes on")
    assert main.run_recbole([*arguments, f"--resume={last}", "--record=again.json"]) == 0
    record = json.loads(Path("again.json").read_text())
    assert record["test"] == whole("RecBole's").result.test
    assert record["protocol"]["resumed"] is True
