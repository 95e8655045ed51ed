"""RecBole made to run: registration, settings, checkpoints, records. Everything in one process."""

from __future__ import annotations

import json
import pickle
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_mind import InputError
from recbole_mind.config import loading
from recbole_mind.data.history_mask import HISTORY_ROW
from recbole_mind.training import build, checkpoint, load, run
from recbole_mind.util import files
from tests.support.data import sequences, small_settings

# -- data ---------------------------------------------------------------------------------------------------------


def loaders(folder, model="MIND", **more):
    config = build.build_config(model, "small", overrides=small_settings(folder, **more))
    return config, *build.build_data(config)


@pytest.mark.parametrize("order", ["data", "recbole"])
def test_targets_follow_the_original_time_and_recboles_float32_does_not(small, order):
    true = sequences(small)
    _, dataset, _, _, test = loaders(small, timestamp_order=order)
    rows = test._dataset.inter_feat
    right = 0
    for user, item, history, length in zip(
        rows["user_id"], rows["item_id"], rows["item_id_list"], rows["item_length"], strict=True
    ):
        name = dataset.id2token("user_id", int(user))
        got = [dataset.id2token("item_id", int(i)) for i in history[: int(length)]]
        want = true[name]
        right += want[-1] == dataset.id2token("item_id", int(item)) and want[-1 - len(got) : -1] == got
    assert (right == len(rows)) == (order == "data")


# -- runs and records ---------------------------------------------------------------------------------------------


def test_a_record_says_everything_and_its_settings_give_the_same_numbers(small, tmp_path):
    record = tmp_path / "out" / "a.json"
    overrides = small_settings(small, p="inf", seed=11, mask_history=True, item_features=["genre"])
    first = run.run("MIND", "small", overrides=overrides, record=record)
    content = json.loads(record.read_text())
    keys = "model dataset protocol seed config data valid test epochs seconds phases checkpoint versions report"
    assert set(content) == {*keys.split(), "curve", "without_effect", "interests"}
    idle = {"attention_form", "negatives", "num_negatives", "sampled_form", "negative_alpha", "profile_embedding_size"}
    assert idle < set(content["without_effect"]) < set(content["config"])
    assert not {"p", "K", "sigma", "loss_type", "stopping_step"} & set(content["without_effect"])
    assert len(content["curve"]) == content["epochs"]
    assert max(content["curve"]) == content["valid"][content["config"]["valid_metric"].lower()]
    assert content["model"] == "MIND"
    assert content["seed"] == 11
    assert content["config"]["p"] == "inf"
    assert content["config"]["sigma"] == 1.0
    assert content["protocol"]["mask_history"] is True
    assert content["protocol"]["timestamp_order"] == "data"
    assert content["versions"]["recbole"] == "1.2.1"
    assert content["data"] == {"read": (kept := content["data"]["kept"]), "kept": kept, "left_out": {}}
    lines = [line.split("\t") for line in (small / "small/small.inter").read_text().splitlines()[1:]]
    users, items = (len({line[place] for line in lines}) for place in (0, 1))
    assert kept == {"interactions": len(lines), "users": users, "items": items}
    assert set(content["test"]) == {f"{m}@{k}" for m in ("recall", "mrr", "ndcg", "hit", "precision") for k in (5, 10)}
    again = run.run(config_files=[record])
    assert again.test == first.test
    assert again.valid == first.valid
    assert again.config == content["config"] == first.config


def test_the_same_seed_gives_the_same_numbers_and_another_seed_others(small):
    figures = [
        run.run("MIND", "small", overrides=small_settings(small, loss_type="sampled", num_negatives=20), seed=seed)
        for seed in (5, 5, 6)
    ]
    assert figures[0].test == figures[1].test
    assert figures[0].interests == figures[1].interests
    assert figures[0].test != figures[2].test


def test_runs_leave_no_logging_handler_and_no_argument_behind(small, monkeypatch):
    import logging

    monkeypatch.setattr(sys, "argv", ["script", "--epochs=7", "--nonsense=1", "--seed=__import__('os').abort()"])
    before = list(logging.getLogger().handlers)
    result = run.run("YouTubeDNN", "small", overrides=small_settings(small, epochs=1))
    assert result.epochs == 1
    assert logging.getLogger().handlers == before
    assert sys.argv[1] == "--epochs=7"


def test_infinity_is_read_in_every_spelling(small, tmp_path):
    for text in ("inf", ".inf", "Infinity"):
        path = tmp_path / "p.yaml"
        path.write_text(f"p: {text}\n")
        config = build.build_config("MIND", "small", [path], small_settings(small))
        assert config["p"] == float("inf")
        parsed = loading.parse_arguments([f"--p={text}"])
        assert build.build_config("MIND", "small", (), small_settings(small, **parsed))["p"] == float("inf")
    assert loading.parse_arguments(["--p", "inf", "--K=3", "--x", "[1, 2]", "--y=None", "--lr=1e-3"]) == {
        "p": "inf", "K": 3, "x": [1, 2], "y": None, "lr": 1e-3,
    }  # fmt: skip


def test_no_value_is_evaluated(small, tmp_path):
    marker = tmp_path / "ran"
    attack = f"open({str(marker)!r}, 'w')"
    assert loading.parse_value(attack) == attack
    from recbole.config import Config

    with build.argv_hidden():
        sys.argv.append(f"--dataset_save_path={attack}")
        config = Config(model="MIND", dataset="ml-100k", config_dict={"dataloaders_save_path": attack})
    assert config["dataloaders_save_path"] == attack
    assert config["dataset_save_path"] == attack
    assert not marker.exists()


# -- checkpoints --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return run.run("MIND", "small", overrides=small_settings(small, checkpoint_dir=str(folder / "saved")))


def test_a_checkpoint_opens_without_pickle_and_gives_the_same_figures(trained):
    torch.load(trained.checkpoint, weights_only=True)
    beside = json.loads(Path(f"{trained.checkpoint}.json").read_text())
    assert beside == trained.config
    loaded = load.load(trained.checkpoint)
    trainer = build.build_trainer(loaded.config, loaded.model)
    trainer.eval_collector.data_collect(loaded.train_data)
    result = trainer.evaluate(loaded.test_data, load_best_model=False)
    assert {key: float(value) for key, value in result.items()} == trained.test


def test_recboles_own_functions_open_both_kinds_of_checkpoint(trained, small):
    from recbole.quick_start import load_data_and_model
    from recbole.trainer import Trainer

    config, model, _, train, _, test = load_data_and_model(trained.checkpoint)
    assert type(model).__name__ == "MIND"
    trainer = Trainer(config, model)
    trainer.fit(train, test, saved=True)  # RecBole's own trainer writes RecBole's own, pickled, checkpoint
    with pytest.raises(pickle.UnpicklingError):
        torch.load(trainer.saved_model_file, weights_only=True)
    result = trainer.evaluate(test, load_best_model=True)
    _, again, *_ = load_data_and_model(trainer.saved_model_file)
    assert torch.equal(again.item_vectors(), trainer.model.item_vectors())
    assert result["recall@10"] >= 0


def test_training_resumes_from_a_checkpoint(trained, small, tmp_path):
    path = tmp_path / "copy.pth"
    path.write_bytes(Path(trained.checkpoint).read_bytes())
    epoch = checkpoint.load(path)["epoch"]
    done = run.run("MIND", "small", overrides=small_settings(small, epochs=1), resume=path)
    assert done.valid == pytest.approx(trained.valid)  # RecBole gives None for a finished run
    assert done.test == pytest.approx(trained.test)
    assert done.epochs == epoch + 1
    assert done.protocol["resumed"] is True
    assert checkpoint.load(path)["epoch"] == epoch  # RecBole overwrites it with -1
    result = run.run("MIND", "small", overrides=small_settings(small, epochs=4), resume=path)
    assert result.epochs == 4


class _Foreign:
    def __reduce__(self):
        return (print, ("arbitrary code ran",))


def test_a_bad_checkpoint_is_refused_with_its_name_and_reason(trained, tmp_path, small, capsys):
    good = Path(trained.checkpoint).read_bytes()
    other_version = torch.load(trained.checkpoint, weights_only=True) | {"version": 99}
    cases = {
        "truncated": (good[: len(good) // 2], "truncated"),
        "empty": (b"", "truncated, corrupt or not a checkpoint|truncated or corrupt"),
        "text": (b"not a checkpoint at all", "not a checkpoint|corrupt"),
        "version": (other_version, "format version 99; this release reads version 1"),
        "foreign": ({"weights": torch.zeros(1)}, "is not a checkpoint of"),
        "nameless": ({"state_dict": {}}, "holds no settings"),
        "settings": (other_version | {"version": 1, "settings": "{bad"}, "is corrupt: it lacks settings"),
        "optimizer": (
            {k: v for k, v in other_version.items() if k != "optimizer"} | {"version": 1},
            "is corrupt: it lacks optimizer",
        ),
        "malicious": ({"state_dict": {}, "config": _Foreign()}, "is refused: it would run builtins.print"),
    }
    for name, (content, message) in cases.items():
        path = tmp_path / f"{name}.pth"
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            torch.save(content, path)
        with pytest.raises(InputError, match=message) as error:
            checkpoint.load(path)
        assert str(path) in str(error.value)
    assert "arbitrary code ran" not in capsys.readouterr().out
    other = run.run("YouTubeDNN", "small", overrides=small_settings(small, epochs=1))
    with pytest.raises(InputError, match="is of model YouTubeDNN, not MIND"):
        run.run("MIND", "small", overrides=small_settings(small), resume=other.checkpoint)
    overrides = small_settings(small, embedding_size=8)
    with pytest.raises(InputError, match="does not fit this model"):
        run.run("MIND", "small", overrides=overrides, resume=trained.checkpoint)


def test_a_write_that_fails_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    files.write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(InputError, match="cannot be written: No space left"):
        files.write_atomic(path, "new")
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".a")] == []


def test_models_that_keep_matrices_are_saved_and_loaded(small):
    overrides = {key: value for key, value in small_settings(small).items() if key in
                 ("data_path", "load_col", "eval_args", "topk", "valid_metric", "show_progress")}  # fmt: skip
    result = run.run("ItemKNN", "small", overrides=overrides | {"epochs": 1})
    loaded = load.load(result.checkpoint)
    users = {"user_id": torch.tensor([1, 2])}
    from recbole.data.interaction import Interaction

    scores = loaded.model.full_sort_predict(Interaction(users))
    assert np.isfinite(scores.numpy()).all()
    assert scores.abs().sum() > 0


def test_a_nan_loss_is_named(small):
    overrides = small_settings(small, learning_rate=1e30, similarity="dot", temperature=1e-6)
    with pytest.raises(InputError, match=r"training loss is .* learning_rate .* too high"):
        run.run("YouTubeDNN", "small", overrides=overrides)


def test_recboles_checkpoint_keeps_the_order_that_it_was_trained_in(small):
    """Another order would put training targets into the test set."""
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer

    overrides = small_settings(small, timestamp_order="recbole")
    for key in ("embedding_size", "relu_layers"):
        overrides.pop(key)
    config = build.build_config("GRU4Rec", "small", overrides=overrides | {"hidden_size": 8})
    config.final_config_dict.pop("timestamp_order")  # RecBole's own files know no such key
    train, _, test = data_preparation(config, create_dataset(config))
    trainer = Trainer(config, build.build_model(config, train))
    trainer.fit(train, saved=True)
    loaded = load.load(trainer.saved_model_file)
    assert torch.equal(loaded.test_data._dataset.inter_feat["item_id"], test._dataset.inter_feat["item_id"])
    data = overrides | {"hidden_size": 8, "timestamp_order": "data"}
    with pytest.raises(InputError, match="timestamp_order 'recbole', which splits the data another way"):
        run.run("GRU4Rec", "small", overrides=data, resume=trainer.saved_model_file)


def test_runs_of_the_same_second_keep_apart(small):
    config, _, train, _, _ = loaders(small)
    model = build.build_model(config, train)
    names = {build.build_trainer(config, model).saved_model_file for _ in range(3)}
    assert len(names) == 3


def test_saved_loaders_are_used_only_for_the_same_order_and_mask(small):
    _, _, _, _, clean = loaders(small, mask_history=True)
    again = {"save_dataloaders": True, "checkpoint_dir": "loaders"}
    loaders(small, timestamp_order="recbole", **again)
    _, _, _, _, test = loaders(small, mask_history=True, **again)
    for field in ("item_id", HISTORY_ROW):
        assert torch.equal(test._dataset.inter_feat[field], clean._dataset.inter_feat[field])


@pytest.mark.parametrize("name", ["GRU4RecF", "EASE"])
def test_models_with_modules_or_matrices_of_their_own_survive_both_trainers(small, name):
    """What such a model keeps beside its weights must not stop a run, ours or RecBole's."""
    from recbole.trainer import Trainer

    keys = ("data_path", "load_col", "eval_args", "topk", "valid_metric", "show_progress")
    overrides = {key: value for key, value in small_settings(small).items() if key in keys} | {"epochs": 1}
    overrides |= {"selected_features": ["genre"], "hidden_size": 8} if name == "GRU4RecF" else {}
    result = run.run(name, "small", overrides=overrides)
    loaded = load.load(result.checkpoint)
    if name == "EASE":
        trainer = Trainer(loaded.config, loaded.model)
        trainer.fit(loaded.train_data, saved=True)
        figures = trainer.evaluate(loaded.test_data, load_best_model=True)
        assert {key: float(value) for key, value in figures.items()} == result.test


def test_a_sequence_needs_no_load_col(small):
    overrides = small_settings(small, epochs=1, item_features=["genre"])
    overrides.pop("load_col")
    assert run.run("MIND", "small", overrides=overrides).epochs == 1


def test_arguments_of_a_host_script_do_not_stop_mind(small, monkeypatch):
    from recbole.config import Config

    monkeypatch.setattr(sys, "argv", ["worker.py", "--node-ip-address=1", "--K=2"])
    config = Config("MIND", "small", config_dict=small_settings(small))
    assert config["K"] == 2
    assert config["node-ip-address"] is None
