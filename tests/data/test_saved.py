"""What a run goes on from: saved data sets, saved loaders and checkpoints, only where they are of the same data."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import pytest
import torch

from recbole_mind import InputError
from recbole_mind.data import create
from recbole_mind.training import build, load
from recbole_mind.training import run as quick_start
from recbole_mind.util.files import sha256
from tests.support.data import LEAVE_ONE_OUT, small_settings, write_small


def run(folder, model="MIND", **more):
    return quick_start.run(model, "small", overrides=small_settings(folder, epochs=1, checkpoint_dir="saved") | more)


def figures(folder, **more):
    result = run(folder, **more)
    return result.valid, result.test


@pytest.fixture
def data(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / ".state"))  # of the key
    return write_small(tmp_path / "data")


def said(since=0):
    """What runs have logged, one after the other."""
    return "".join(
        path.read_text() for path in sorted(Path("log").glob("*/*.log"), key=lambda p: p.stat().st_mtime_ns)
    )[since:]


def reverse(path):
    head, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, *rows[::-1]]) + "\n")


CHANGES = {
    "another folder": (lambda _: None, {"data_path": "other"}),
    "the file's rows": (lambda data: reverse(data / "small/small.inter"), {}),
    "one digit": (lambda data: swap_times(data / "small/small.inter"), {}),
    "the items' file": (lambda data: reverse(data / "small/small.item"), {}),
    "duplicates": (lambda _: None, {"rm_dup_inter": "last"}),
    "few interactions": (lambda _: None, {"user_inter_num_interval": "[8,inf)"}),
    "columns": (lambda _: None, {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}),
    "length": (lambda _: None, {"MAX_ITEM_LIST_LENGTH": 3}),
    "encoding": (lambda _: None, {"encoding": "latin-1"}),
    "window": (lambda _: None, {"window_days": 0.02}),
    "order": (lambda _: None, {"timestamp_order": "recbole"}),
}


def swap_times(path):
    """Exchange two digits of a time: the file's size stays."""
    head, first, *rows = path.read_text().splitlines()
    path.write_text("\n".join([head, first[:-3] + "999", *rows]) + "\n")


@pytest.mark.parametrize("kept", ["save_dataset", "save_dataloaders"])
@pytest.mark.parametrize("change", CHANGES)
def test_what_was_saved_is_not_used_for_other_data(data, kept, change):
    write_small(Path("other"), seed=3)
    alter, more = CHANGES[change]
    run(data, **{kept: True})
    saved = next(Path("saved").glob("small-*.pth"))
    alter(data)
    got = figures(data, **more)
    assert f"'{saved}' is not used: " in said()
    assert got == figures(data, checkpoint_dir="fresh", **more)


@pytest.mark.parametrize("model", ["MIND", "SASRec", "BPR"])
def test_saving_changes_no_figure_and_what_was_saved_gives_the_same(data, model):
    """RecBole's own took the generators of the loaders away: the run that saves shuffled without its seed."""
    own = {"relu_layers", "embedding_size"} if model != "MIND" else set()
    given = {key: value for key, value in small_settings(data, epochs=2).items() if key not in own}
    if model == "BPR":
        given = {key: value for key, value in given.items() if key != "MAX_ITEM_LIST_LENGTH"}
        given["eval_args"] = LEAVE_ONE_OUT
    found = []
    for more in (
        {"checkpoint_dir": "fresh"},
        {"save_dataset": True, "save_dataloaders": True},
        {},
        {"learning_rate": 0.02},
    ):
        before = len(said())
        found.append(quick_start.run(model, "small", overrides=given | more).test)
        used = "is used, which was saved before" in said(before)
        assert used == (more.get("learning_rate") == 0.02 or not more)
    assert found[0] == found[1] == found[2]


def test_models_share_a_saved_data_set_with_their_own_settings(data):
    """RecBole's gave a run the settings of the run that had saved."""
    run(data, save_dataset=True)
    config = build.build_config("YouTubeDNN", "small", overrides=small_settings(data, checkpoint_dir="saved"))
    dataset = create.create_dataset(config)
    assert dataset.config is config
    assert run(data, "YouTubeDNN").test == run(data, "YouTubeDNN", checkpoint_dir="fresh").test


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda path: Path(f"{path}.json").unlink(), "there is no manifest"),
        (lambda path: Path(f"{path}.json").write_text("{"), "is corrupt"),
        (lambda path: Path(f"{path}.json").write_text("[]"), "is corrupt"),
        (lambda path: path.write_bytes(path.read_bytes() + b"x"), "it was changed after it was saved"),
        (lambda path: rewrite(path, version=1), "its manifest is of another version"),
        (lambda path: Path(f"{path}.json").write_text("[" * 100_000), "is corrupt"),
        (lambda path: Path(f"{path}.json").write_bytes(b"\xff"), "is corrupt"),
        (lambda path: rewrite(path, mark="0" * 64), "it does not bear this user's mark"),
        (lambda path: rewrite(path, note="of somebody else"), "it does not bear this user's mark"),
        (lambda _: Path(".state/recbole-mind/saved-data.key").unlink(), "it does not bear this user's mark"),
        (lambda _: Path(".state/recbole-mind/saved-data.key").chmod(0o644), "can be read by others"),
        (lambda _: Path(".state/recbole-mind/saved-data.key").write_bytes(b""), "is corrupt; remove it"),
    ],
)
def test_a_saved_data_set_is_that_of_its_manifest(data, spoil, words):
    run(data, save_dataset=True)
    path = Path("saved/small-SequentialDataset.pth")
    spoil(path)
    got = figures(data)
    assert words in said()
    assert got == figures(data, checkpoint_dir="fresh")
    with pytest.raises(InputError, match=f"dataset_save_path: '{path}' cannot be used: .*{words}"):
        run(data, dataset_save_path=str(path))


class _Runs:
    def __reduce__(self):
        return Path.touch, (Path("canary"),)


@pytest.mark.parametrize("kept", ["save_dataset", "save_dataloaders"])
@pytest.mark.parametrize("hidden", [False, True], ids=["beside", "named in a checkpoint"])
def test_what_somebody_else_has_put_there_is_not_opened(data, kept, hidden):
    """A manifest that agrees in all is easily written: it is JSON, and its hash is of what stands beside it."""
    run(data, **{kept: True})
    path = next(Path("saved").glob("small-*.pth"))
    path.write_bytes(pickle.dumps(_Runs()))
    rewrite(path, sha256=sha256(path))
    if hidden:
        checkpoint = torch.load(run(data).checkpoint, weights_only=True)
        key = "dataset_save_path" if kept == "save_dataset" else "dataloaders_save_path"
        settings = json.loads(checkpoint["settings"]) | {key: str(path)}
        torch.save(checkpoint | {"settings": json.dumps(settings)}, "theirs.pth")
        with pytest.raises(InputError, match=f"{key}: .* it does not bear this user's mark"):
            quick_start.evaluate("theirs.pth")
    else:
        run(data)
        assert "it does not bear this user's mark: somebody else saved it" in said()
    assert not Path("canary").exists()


def test_the_key_is_for_its_user_alone(data):
    run(data, save_dataset=True)
    key = Path(".state/recbole-mind/saved-data.key")
    assert key.stat().st_mode & 0o777 == 0o600
    assert key.parent.stat().st_mode & 0o777 == 0o700
    assert [path.name for path in key.parent.iterdir()] == [key.name]
    assert len(key.read_bytes()) == 32


def rewrite(path, **more):
    manifest = Path(f"{path}.json")
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | more))


@pytest.mark.parametrize("key", ["dataset_save_path", "dataloaders_save_path"])
def test_a_named_file_that_is_not_there_is_refused(data, key):
    with pytest.raises(InputError, match=f"{key}: there is no file 'nowhere.pth'"):
        run(data, **{key: "nowhere.pth"})


# -- checkpoints ---------------------------------------------------------------------------------------------------


def append(path):
    head, *rows = path.read_text().splitlines()
    user, item, _ = rows[0].split("\t")
    path.write_text("\n".join([head, *rows, f"{user}\t{item}\t999999999"]) + "\n")


def rename_users(path):
    path.write_text(path.read_text().replace("\nu1\t", "\nv1\t"))


@pytest.mark.parametrize(
    ("change", "words", "evaluates"),
    [
        (
            lambda data: reverse(data / "small/small.inter"),
            "'item_id' of 'small' has other values or another order",
            False,
        ),
        (
            lambda data: append(data / "small/small.inter"),
            "'small' holds other interactions, or is split otherwise",
            True,
        ),
        (lambda data: swap_times(data / "small/small.inter"), "'small' holds other interactions", True),
    ],
)
def test_a_run_goes_on_only_with_the_data_that_it_began_with(data, change, words, evaluates):
    """--resume went on with weights of other items, and compared old figures with new ones."""
    checkpoint = run(data).checkpoint
    change(data)
    with pytest.raises(InputError, match=words):
        quick_start.run("MIND", "small", overrides=small_settings(data, epochs=2), resume=checkpoint)
    if evaluates:
        assert quick_start.evaluate(checkpoint).test
    else:
        with pytest.raises(InputError, match=words):
            quick_start.evaluate(checkpoint)


def test_recboles_own_way_of_resuming_asks_the_same(data):
    checkpoint = run(data).checkpoint
    reverse(data / "small/small.inter")
    config = build.build_config("MIND", "small", overrides=small_settings(data, epochs=2))
    _, train, valid, _ = build.build_data(config)
    trainer = build.build_trainer(config, build.build_model(config, train))
    trainer.resume_checkpoint(checkpoint)
    with pytest.raises(InputError, match="'item_id' of 'small' has other values"):
        trainer.fit(train, valid)
    with pytest.raises(InputError, match="'item_id' of 'small' has other values"):
        trainer.evaluate(valid, model_file=checkpoint)


def test_a_model_with_a_vector_for_each_user_needs_the_same_users(data):
    given = {key: small_settings(data)[key] for key in ("data_path", "load_col", "epochs", "topk", "valid_metric")}
    of_users = quick_start.run("BPR", "small", overrides=given).checkpoint
    of_histories = run(data).checkpoint
    rename_users(data / "small/small.inter")
    (data / "small/small.user").unlink()
    with pytest.raises(InputError, match="'user_id' of 'small' has other values or another order now"):
        quick_start.evaluate(of_users)
    assert quick_start.evaluate(of_histories, overrides={"user_features": []}).test


@pytest.mark.parametrize(
    "more",
    [
        {"valid_metric": "Recall@5"},
        {"metrics": ["Recall", "NDCG"]},
        {"topk": [5, 10, 20]},
        {"mask_history": True},
        {"learning_rate": 0.5},
        {"learner": "sgd"},
        {"eval_args": LEAVE_ONE_OUT | {"mode": "uni9"}},
    ],
    ids=lambda more: next(iter(more)),
)
def test_a_run_goes_on_with_the_measure_and_the_optimizer_that_it_began_with(data, more):
    checkpoint = run(data).checkpoint
    with pytest.raises(InputError, match=f"^{next(iter(more))}: .* was trained with"):
        quick_start.run("MIND", "small", overrides=small_settings(data, epochs=2) | more, resume=checkpoint)


def test_checkpoints_of_before_still_tell_other_items(data):
    """0.1.0 kept one hash of items and features."""
    from recbole_mind.training import checkpoint as module

    path = run(data).checkpoint
    content = torch.load(path, weights_only=True)
    loaded = load.load(path)
    content["tokens"] = module._tokens(loaded.dataset, *module._used(loaded.dataset))
    del content["data"]
    torch.save(content, path)
    assert quick_start.evaluate(path).test
    reverse(data / "small/small.inter")
    with pytest.raises(InputError, match="'item_id' or a feature of 'small' has other values"):
        quick_start.evaluate(path)
