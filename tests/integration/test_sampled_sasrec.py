"""The baseline of the leaderboards that is made on our models' base."""

import runpy
import sys

import pytest
import torch

import benchmarks  # noqa: F401 - registers it
from recbole_mind.training import build, run
from tests.support.data import small_settings


@pytest.fixture
def built(small):
    settings = small_settings(small, train_batch_size=64)
    config = build.build_config("SampledSASRec", "small", overrides=settings)
    _, train, _, _ = build.build_data(config)
    torch.manual_seed(0)
    return build.build_model(config, train).eval(), next(iter(train))


def test_histories_of_like_length_are_read_as_each_alone(built):
    model, batch = built
    together, _ = model.interests(batch)
    for row in range(len(batch)):
        item_seq, length = batch["item_id_list"][row : row + 1], batch["item_length"][row : row + 1]
        alone = model.encode(model.item_encoder(item_seq[:, : int(length)]), length, None).interests
        torch.testing.assert_close(alone[0], together[row])


def test_only_what_came_before_is_read(built):
    model, batch = built
    behaviors = model.item_encoder(batch["item_id_list"])
    lengths = (batch["item_length"] // 2).clamp(min=1)
    later = torch.arange(behaviors.shape[1])[None] >= lengths[:, None]
    changed = torch.where(later[:, :, None], torch.randn_like(behaviors), behaviors)
    torch.testing.assert_close(
        model.encode(changed, lengths, None).interests, model.encode(behaviors, lengths, None).interests
    )
    assert not torch.allclose(
        model.encode(behaviors.flip(1), batch["item_length"], None).interests,
        model.encode(behaviors, batch["item_length"], None).interests,
    )


def test_it_trains_from_the_command(small, capsys, monkeypatch):
    settings = small_settings(small, epochs=3, loss_type="sampled", num_negatives=20)
    first, second = (run.run("SampledSASRec", "small", overrides=settings | {"hidden_dropout_prob": 0.1}) for _ in "ab")
    assert first.test == second.test
    assert first.curve == second.curve
    monkeypatch.setattr(sys, "argv", ["benchmarks", "leaderboard", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("benchmarks", run_name="__main__")
    assert stopped.value.code == 0
    assert "leaderboard" in capsys.readouterr().out
