"""Settings that a run does not read: refused where a user gives them, named in the record where not."""

from __future__ import annotations

import json
import math

import pytest
import torch

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config import without_effect
from recbole_mind.experiments.leaderboard import runner
from recbole_mind.experiments.leaderboard import spec as spec_
from recbole_mind.experiments.sweep.spec import read_spec
from recbole_mind.experiments.sweep.state import Sweep
from recbole_mind.training import build, checkpoint, run
from tests.support.data import small_settings

SAMPLED = {"loss_type": "sampled"}

# what is set beside it, the setting, another value than the default, and what the line must say
IDLE = [
    ("MIND", {}, "num_negatives", 7, "loss_type CE, but takes loss_type sampled and negatives uniform"),
    ("MIND", {}, "negatives", "popularity", "loss_type CE, but takes loss_type sampled"),
    ("MIND", {}, "negative_alpha", 0.1, "loss_type CE"),
    ("MIND", {}, "sampled_form", "nce", "loss_type CE"),
    ("MIND", {"loss_type": "BPR"}, "num_negatives", 7, "loss_type BPR"),
    ("MIND", {"loss_type": "full"}, "num_negatives", 7, "loss_type sampled"),
    ("YouTubeDNN", {"loss_type": "BPR"}, "negatives", "in_batch", "loss_type BPR"),
    ("MIND", SAMPLED, "negative_alpha", 0.1, "negatives uniform, but takes loss_type sampled and negatives popularity"),
    ("ComiRecSA", SAMPLED | {"negatives": "in_batch"}, "num_negatives", 7, "negatives in_batch"),
    ("MIND", SAMPLED | {"negatives": "sampler"}, "num_negatives", 7, "negatives sampler"),
    ("MIND", {"K": 1}, "p", 8, "K 1, but takes K above 1"),
    ("ComiRecDR", {"K": 1}, "p", 2, "K 1"),
    ("MIND", {"K": 1}, "adaptive_K", False, "K 1"),
    ("MIND", {"K": 1}, "capsule_length", False, "K 1"),
    ("MIND", {"K": 1}, "whole_share", 0.3, "K 1"),
    ("ComiRecSA", {"K": 1}, "negative_interest", "nearest", "K 1"),
    ("MIND", {"K": 1}, "sigma", 3.0, "K 1"),
    ("MIND", {"K": 1}, "routing_init", "random", "K 1"),
    ("ComiRecDR", {"K": 1}, "routing_iterations", 5, "K 1"),
    ("MIND", {"p": math.inf}, "attention_form", "scale", "p inf"),
    ("ComiRecSA", {"p": 0}, "attention_form", "scale", "p 0"),
    ("MIND", {}, "profile_embedding_size", 5, "takes user_features"),
    ("MIND", {"eval_step": 0}, "stopping_step", 1, "eval_step 0"),
    ("MIND", {}, "window_unit", "ms", "takes window_days or window_end"),
    ("MIND", {}, "threshold", {"timestamp": 3}, "takes eval_args mode labeled"),
    ("MIND", {}, "preload_weight", {"item_id": "vector"}, "not read by MIND"),
    ("YouTubeDNN", {}, "additional_feat_suffix", ["ent"], "not read by YouTubeDNN"),
    ("MIND", {}, "require_pow", True, "not read by MIND"),
    ("MIND", {}, "kg_reverse_r", True, "knowledge graph"),
    ("MIND", {}, "entity_kg_num_interval", "[5,inf)", "knowledge graph"),
    ("MIND", {}, "numerical_features", ["price"], "TIME_FIELD"),
    ("MIND", {}, "normalize_field", ["price"], "TIME_FIELD"),
    ("MIND", {}, "wandb_project", "mine", "log_wandb"),
    ("MIND", {}, "tail_ratio", 0.2, "TailPercentage"),
    ("MIND", {"use_gpu": False}, "gpu_id", "3", "use_gpu False"),
]
idle = pytest.mark.parametrize(("model", "more", "key", "value", "words"), IDLE)


def config_of(small, model, more, **parts):
    given = small_settings(small) | more
    return build.build_config(model, "small", overrides=given, **parts)


@idle
def test_what_a_run_does_not_read_is_refused_by_name_value_and_remedy(small, model, more, key, value, words):
    with pytest.raises(InputError) as caught:
        config_of(small, model, more | {key: value})
    line = str(caught.value)
    assert line.startswith(f"{key}: ")
    assert "has no effect" in line
    assert words in line
    assert line.endswith("leave it out")
    assert "\n" not in line


@idle
def test_the_same_from_a_record_or_a_checkpoint_is_marked_instead(small, model, more, key, value, words):
    config = config_of(small, model, more, stored={key: value})
    assert key in without_effect.without_effect(config)


NO_NUMBERS = {"stopping_step", "threshold", "preload_weight", "additional_feat_suffix", "numerical_features"}
NO_NUMBERS |= {"normalize_field", "entity_kg_num_interval"}
NUMERIC = [case for case in IDLE if case[2] in set(without_effect.OURS) - NO_NUMBERS]


@pytest.mark.parametrize(("model", "more", "key", "value", "words"), NUMERIC)
def test_it_really_has_no_effect(small, model, more, key, value, words):
    """The same loss, gradients and interests as with the default."""
    found = []
    for stored in ({}, {key: value}):
        config = config_of(small, model, more | {"dropout": 0}, stored=stored)
        _, train, _, test = build.build_data(config)
        torch.manual_seed(0)
        network = build.build_model(config, train)
        torch.manual_seed(0)
        batch = next(iter(train))
        if "neg_item_id" in batch:  # RecBole's sampler draws from a generator of its own
            batch.interaction["neg_item_id"] = 1 + (batch["item_id"] + torch.arange(len(batch))) % 40
        network.train()
        loss = network.calculate_loss(batch)
        loss.backward()
        gradients = [p.grad for _, p in sorted(network.named_parameters()) if p.grad is not None and p.dim()]
        interests, _ = network.interests(next(iter(test))[0])
        found.append((loss.detach(), *gradients, interests))
    assert len(found[0]) == len(found[1])
    for usual, other in zip(*found, strict=True):
        torch.testing.assert_close(usual, other, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize(
    ("model", "given"),
    [
        ("MIND", SAMPLED | {"num_negatives": 7, "negatives": "popularity", "negative_alpha": 0.1}),
        ("MIND", SAMPLED | {"sampled_form": "nce", "negatives": "in_batch"}),
        ("MIND", {"K": 1, "routing_softmax": "behaviors", "sigma": 0.3, "routing_iterations": 2}),
        ("MIND", {"num_negatives": 1000, "negatives": "uniform", "p": math.inf, "K": 1}),  # as the defaults have it
        ("MIND", {"attention_form": "scale", "p": 3, "capsule_length": True}),
        ("MIND", {"profile_embedding_size": 5, "user_features": ["job"]}),
        ("MIND", {"window_days": 1000, "window_unit": "s"}),
        ("ComiRecDR", {"K": 1, "routing_scale": 2.0, "routing_maps": "interest"}),
    ],
)
def test_what_is_read_or_as_usual_is_taken(small, model, given):
    config = config_of(small, model, given)
    for key, value in given.items():
        assert config[key] == value
    assert not set(given) & set(without_effect.without_effect(config)) - {"num_negatives", "negatives", "p"}


def test_general_models_read_neither_sequences_nor_an_order_that_is_none(small):
    given = {key: small_settings(small)[key] for key in ("data_path", "load_col", "epochs", "topk")}
    given |= {"valid_metric": "MRR@5"}
    for key, value in (("lazy_sequences", False), ("timestamp_order", "recbole"), ("tail_ratio", 0.3)):
        with pytest.raises(InputError, match=f"{key}: .* has no effect"):
            build.build_config("BPR", "small", overrides=given | {key: value})
    build.build_config("BPR", "small", overrides=given | {"metrics": ["TailPercentage"], "tail_ratio": 0.3,
                                                                "valid_metric": "TailPercentage@5"})  # fmt: skip


@pytest.fixture(scope="module")
def trained(small, tmp_path_factory):
    """A record under CE and its checkpoint."""
    folder = tmp_path_factory.mktemp("trained")
    overrides = small_settings(small, epochs=1, checkpoint_dir=str(folder))
    run.run("MIND", "small", overrides=overrides, record=folder / "record.json")
    return folder / "record.json"


def test_a_record_its_checkpoint_and_the_file_beside_it_are_used_again(trained, small):
    content = json.loads(trained.read_text())
    assert {"num_negatives", "negatives", "negative_alpha", "sampled_form"} <= set(content["without_effect"])
    assert "loss_type" not in content["without_effect"]
    content["config"]["num_negatives"] = 7  # as a record of an older release may have it
    old = trained.with_name("old.json")
    old.write_text(json.dumps(content))
    again = build.build_config(None, None, [old])
    assert again["num_negatives"] == 7
    assert "num_negatives" in without_effect.without_effect(again)
    sampled = build.build_config(None, None, [old], {"loss_type": "sampled"})
    assert "num_negatives" not in without_effect.without_effect(sampled)
    with pytest.raises(InputError, match="num_negatives: 8 has no effect"):
        build.build_config(None, None, [old], {"num_negatives": 8})
    beside = trained.with_name("x.pth.json")
    beside.write_text(json.dumps(content["config"]))
    assert build.build_config(None, None, [beside])["num_negatives"] == 7
    by_hand = trained.with_name("mine.json")
    by_hand.write_text(json.dumps(content["config"]))
    with pytest.raises(InputError, match="num_negatives: 7 has no effect"):
        build.build_config(None, None, [by_hand])


def test_what_was_trained_before_there_was_another_form_was_ranking_nce(small, tmp_path):
    overrides = small_settings(small, epochs=2, checkpoint_dir=str(tmp_path)) | SAMPLED | {"sampled_form": "nce"}
    first = run.run("MIND", "small", overrides=overrides, record=tmp_path / "new.json")
    content = json.loads((tmp_path / "new.json").read_text())
    del content["config"]["sampled_form"]
    (tmp_path / "old.json").write_text(json.dumps(content))
    assert build.build_config(None, None, [tmp_path / "old.json"])["sampled_form"] == "nce"
    kept = checkpoint.load(first.checkpoint)
    state = {key: kept[key] for key in kept if key not in ("settings", "format", "version")}
    checkpoint.save(tmp_path / "old.pth", state, {k: v for k, v in kept["settings"].items() if k != "sampled_form"})
    assert run.evaluate(tmp_path / "old.pth").config["sampled_form"] == "nce"
    with pytest.raises(InputError, match="ranking NCE; set sampled_form=nce"):
        run.run("MIND", "small", overrides=overrides | {"sampled_form": "softmax"}, resume=tmp_path / "old.pth")
    run.run("MIND", "small", overrides=overrides, resume=tmp_path / "old.pth")


def test_a_checkpoint_is_evaluated_whatever_it_holds_but_not_with_settings_of_training(trained, small):
    path = json.loads(trained.read_text())["checkpoint"]
    content = checkpoint.load(path)
    old = {key: content[key] for key in content if key not in ("settings", "format", "version")}
    copy = trained.with_name("old.pth")
    checkpoint.save(copy, old, content["settings"] | {"negatives": "popularity", "K": 4})
    assert "negatives" in run.evaluate(copy).without_effect
    for key, value in (("learning_rate", 5.0), ("loss_type", "BPR"), ("num_negatives", 3), ("epochs", 7)):
        with pytest.raises(InputError, match=f"{key}: .* has no effect"):
            run.evaluate(copy, overrides={key: value})


def test_the_command_says_it_in_one_line(small, capsys):
    arguments = ["--model=MIND", "--dataset=small", f"--data_path={small}", "--protocol=leave-one-out"]
    assert main.run_recbole([*arguments, "--num_negatives=7", "--negatives=popularity"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: negatives: 'popularity' has no effect")
    assert error.count("\n") == 1


# -- sweeps and leaderboards -------------------------------------------------------------------------------------------


def swept(small, tmp_path, fixed, **more):
    settings = {key: value for key, value in small_settings(small).items() if key != "show_progress"} | fixed
    return Sweep(read_spec({"model": "MIND", "dataset": "small", "settings": settings} | more), tmp_path)


NEGATIVES = {"choice": [100, 300]}
ALPHA = {"uniform": [0, 1]}


@pytest.mark.parametrize(
    ("fixed", "more", "words"),
    [
        ({}, {"space": {"num_negatives": NEGATIVES}}, "space: num_negatives: .*loss_type CE.*when: {loss_type"),
        ({}, {"space": {"loss_type": {"choice": ["sampled", "CE"]}, "num_negatives": NEGATIVES}}, "num_negatives"),
        ({}, {"space": {"K": {"int": [1, 4]}, "p": {"choice": [0, 2]}}}, "space: p: .*K 1"),
        (SAMPLED, {"space": {"negatives": {"choice": ["uniform", "popularity"]}, "negative_alpha": ALPHA}},
         "space: negative_alpha: .*negatives uniform"),
        ({}, {"curves": {"num_negatives": [10, 100]}}, "curves: num_negatives"),
        ({"num_negatives": 7}, {"curves": {"K": [1, 2]}}, "settings: num_negatives: 7 has no effect in any trial"),
    ],
)  # fmt: skip
def test_a_sweep_over_what_its_trials_do_not_read_is_refused(small, tmp_path, fixed, more, words):
    with pytest.raises(InputError, match=words):
        swept(small, tmp_path, fixed, **more)


@pytest.mark.parametrize(
    ("fixed", "more"),
    [
        (SAMPLED, {"space": {"num_negatives": NEGATIVES}}),
        ({}, {"space": {"loss_type": {"choice": ["sampled", "CE"]},
                        "num_negatives": NEGATIVES | {"when": {"loss_type": "sampled"}}}}),
        ({}, {"space": {"K": {"int": [1, 4]}, "p": {"choice": [0, 2], "when": {"K": [2, 3, 4]}}}}),
        (SAMPLED, {"space": {"negatives": {"choice": ["popularity"]}, "negative_alpha": {"uniform": [0, 1]}}}),
        ({"p": 8}, {"curves": {"K": [1, 2]}}),
        ({"num_negatives": 7}, {"space": {"loss_type": {"choice": ["sampled", "CE"]}}}),
    ],
)  # fmt: skip
def test_a_sweep_over_what_is_read_in_each_trial_begins(small, tmp_path, fixed, more):
    made = swept(small, tmp_path, fixed, **more)
    points = [{"K": 1}] if "curves" in more else [{"loss_type": "CE"}] if "num_negatives" in fixed else []
    for point in points:  # a fixed setting is left out where it would do nothing
        build.build_config("MIND", "small", overrides=made.spec.overrides(point))


def test_every_sweep_that_ships_passes(small, tmp_path):

    for name in ("mind", "mind-paper", "comirecsa", "comirecdr", "youtubednn"):
        for more in ({}, {"loss_type": "CE"}):
            overrides = {"data_path": str(small), "topk": [5, 10], "load_col": small_settings(small)["load_col"]} | more
            spec = read_spec(f"{name}.yaml", dataset="small", overrides=overrides)
            Sweep(spec, tmp_path / f"{name}{len(more)}")


def board(small, tmp_path, given):
    content = {"models": ["MIND", "YouTubeDNN", "one"], "datasets": ["small"], "data_path": str(small)}
    base = {key: value for key, value in small_settings(small).items()
            if key in ("MAX_ITEM_LIST_LENGTH", "epochs", "load_col", "topk")}  # fmt: skip
    settings = {"all": base, "one": {"model": "MIND", "K": 1}}
    for name, own in given.items():
        settings[name] = settings.get(name, {}) | own
    return runner.Leaderboard(spec_.LeaderboardSpec(**content | {"settings": settings}), tmp_path)


def test_a_leaderboard_refuses_what_a_row_or_every_row_does_not_read(small, tmp_path):
    with pytest.raises(InputError, match="one, small, leave-one-out: p: 8"):
        board(small, tmp_path, {"one": {"p": 8}})
    with pytest.raises(InputError, match="settings: all: num_negatives: 7 has no effect in any row"):
        board(small, tmp_path, {"all": {"num_negatives": 7}})
    made = board(small, tmp_path, {"all": {"num_negatives": 7, "p": 8}, "MIND": SAMPLED})  # read in one row each
    overrides = {cell.label: trial.overrides for cell, trial in made.trials.items()}
    assert overrides["MIND"]["num_negatives"] == 7
    assert overrides["MIND"]["p"] == 8
    assert not {"num_negatives", "p"} & (set(overrides["one"]) | set(overrides["YouTubeDNN"]))


def test_every_rule_is_of_a_setting_that_exists():
    from recbole_mind.config.keys import known_keys
    from recbole_mind.config.model_names import MODELS

    every = frozenset().union(*map(known_keys, MODELS))
    for key, needs in without_effect.rules("MIND").items():
        assert key in every
        assert all(name in every for need in needs for name in need.keys)
