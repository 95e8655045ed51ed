"""The contract that every model of this package keeps, through RecBole's own interface."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mind import InputError, quick_start
from recbole_mind.registry import MODELS
from tests.data import small_settings

FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}
CAPSULES = {"K": 3, "routing_scale": 5.0}


def built(small, name, **more):
    settings = small_settings(small, **FEATURES, **more)
    config = quick_start.build_config(name, "small", overrides=settings)
    _, train, valid, test = quick_start.build_data(config)
    torch.manual_seed(0)
    return config, quick_start.build_model(config, train), train, valid, test


@pytest.fixture(scope="module", params=sorted(MODELS))
def contract(request, small, tmp_path_factory):
    """(model, a batch of training rows, the test loader) of each model, trained for a few steps."""
    more = CAPSULES if request.param == "MIND" else {}
    _, model, train, _, test = built(small, request.param, **more)
    batch = next(iter(train))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        model.calculate_loss(batch).backward()
        optimizer.step()
    return model, batch, test


def histories(model, batch, rows=slice(None), padded_to=None):
    """The batch's histories, padded anew."""
    seq = batch[model.ITEM_SEQ][rows]
    if padded_to:
        seq = torch.nn.functional.pad(seq, (0, padded_to - seq.shape[1]))
    return Interaction(
        {
            model.ITEM_SEQ: seq,
            model.ITEM_SEQ_LEN: batch[model.ITEM_SEQ_LEN][rows],
            model.USER_ID: batch[model.USER_ID][rows],
            model.ITEM_ID: batch[model.ITEM_ID][rows],
        }
    )


def test_interests_have_the_promised_shape_and_unit_length(contract):
    model, batch, _ = contract
    interests, active = model.interests(batch)
    assert interests.shape == (len(batch), active.shape[1], 16)
    assert active[:, 0].all()
    torch.testing.assert_close(interests[active].norm(dim=1), torch.ones(int(active.sum())))
    assert (interests[~active] == 0).all()


def test_predict_full_sort_and_interests_agree_by_hand(contract):
    model, batch, _ = contract
    interests, active = model.interests(batch)
    items = model.item_vectors().detach()
    full = model.full_sort_predict(batch)
    assert full.shape == (len(batch), model.n_items)
    for row in range(0, len(batch), 7):
        for item in range(1, model.n_items, 5):
            by_hand = max(
                float(interests[row, k] @ items[item]) for k in range(active.shape[1]) if bool(active[row, k])
            )
            assert math.isclose(float(full[row, item]), by_hand, abs_tol=1e-5)
    target = batch[model.ITEM_ID]
    torch.testing.assert_close(model.predict(batch), full[torch.arange(len(batch)), target], atol=1e-5, rtol=0)


def test_two_evaluations_are_bit_equal(contract):
    model, batch, _ = contract
    model.train()
    first, _ = model.interests(batch)
    model.calculate_loss(batch)  # draws random numbers in between
    second, _ = model.interests(batch)
    assert torch.equal(first, second)


def test_interests_depend_neither_on_the_batch_nor_on_the_padding(contract):
    model, batch, _ = contract
    whole, _ = model.interests(histories(model, batch))
    for row in range(0, len(batch), 9):
        alone, _ = model.interests(histories(model, batch, slice(row, row + 1)))
        torch.testing.assert_close(alone[0], whole[row], atol=1e-6, rtol=0)
    longest = int(batch[model.ITEM_SEQ_LEN].max())
    short = histories(model, batch)
    short.interaction[model.ITEM_SEQ] = short[model.ITEM_SEQ][:, :longest]
    torch.testing.assert_close(model.interests(short)[0], whole, atol=1e-6, rtol=0)
    many = histories(model, batch, torch.arange(512) % len(batch))
    torch.testing.assert_close(model.interests(many)[0][: len(batch)], whole, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    "loss",
    [
        {"loss_type": "CE"},
        {"loss_type": "full"},
        {"loss_type": "sampled", "negatives": "uniform", "num_negatives": 20},
        {"loss_type": "sampled", "negatives": "popularity", "num_negatives": 20},
        {"loss_type": "sampled", "negatives": "log_uniform", "num_negatives": 20},
        {"loss_type": "sampled", "negatives": "in_batch"},
        {"loss_type": "BPR"},
        {"loss_type": "bpr", "train_neg_sample_args": {"distribution": "popularity", "sample_num": 3}},
        {"loss_type": "sampled", "negatives": "sampler", "train_neg_sample_args": {"sample_num": 4}},
        {
            "loss_type": "sampled",
            "negatives": "sampler",
            "train_neg_sample_args": {"distribution": "popularity", "sample_num": 4, "alpha": 0.5},
        },
        {"loss_type": "CE", "similarity": "dot", "temperature": 1.0},
    ],
    ids=lambda value: "-".join(str(v) for v in value.values())[:40],
)
@pytest.mark.parametrize("name", sorted(MODELS))
def test_every_loss_reaches_every_parameter_and_goes_down(small, name, loss):
    more = CAPSULES | {"p": 2} if name == "MIND" else {}
    _, model, train, _, _ = built(small, name, dropout=0, **loss, **more)
    batch = next(iter(train))
    model.calculate_loss(batch).backward()
    untouched = [key for key, value in model.named_parameters() if value.grad is None or not value.grad.abs().sum()]
    assert untouched == []
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    first = last = None
    for _ in range(30):
        optimizer.zero_grad()
        last = model.calculate_loss(batch)
        last.backward()
        optimizer.step()
        first = last.item() if first is None else first
    assert last.item() < 0.9 * first


def test_sampler_fed_negatives_belong_to_their_row(small):
    """RecBole tiles the batch: row i + t·B is the t-th negative of positive i, and it is never the row's target."""
    _, model, train, _, _ = built(
        small, "YouTubeDNN", loss_type="BPR", train_neg_sample_args={"sample_num": 3}, dropout=0
    )
    batch = next(iter(train))
    rows = len(batch) // 3
    assert torch.equal(batch[model.ITEM_ID][:rows], batch[model.ITEM_ID][rows : 2 * rows])
    with torch.no_grad():
        interests, _ = model.interests(batch[:rows])
        positive = (interests[:, 0] * model.item_vectors(batch[model.ITEM_ID][:rows])).sum(1)
        total = 0.0
        for t in range(3):
            negative = model.item_vectors(batch[model.NEG_ITEM_ID][t * rows : (t + 1) * rows])
            margin = (positive - (interests[:, 0] * negative).sum(1)) / model.temperature
            total += float(-torch.nn.functional.logsigmoid(margin).sum())
    assert math.isclose(model.calculate_loss(batch).item(), total / (3 * rows), rel_tol=1e-5)


def test_one_interest_is_the_single_interest_model(small):
    _, model, train, _, _ = built(small, "MIND", K=1, routing_scale=5.0)
    batch = next(iter(train))
    model.eval()
    interests, active = model.interests(batch)
    assert interests.shape[1] == 1
    assert active.all()
    capsules = model.capsules(batch[model.ITEM_SEQ], batch[model.ITEM_SEQ_LEN])
    lengths = batch[model.ITEM_SEQ_LEN]
    assert torch.equal(capsules.coupling.sum((1, 2)).round().long(), lengths)  # each behaviour counts once
    torch.testing.assert_close(model.user_vector(interests, active, interests[:, 0]), interests[:, 0])


def test_profile_and_item_features_change_the_result(small):
    for key, other in (("user_features", "job"), ("item_features", "genre")):
        more = {"item_features": [], "user_features": []} | {key: [other]}
        config = quick_start.build_config("MIND", "small", overrides=small_settings(small, **more))
        _, train, _, _ = quick_start.build_data(config)
        model = quick_start.build_model(config, train)
        encoder = model.profile_encoder if key == "user_features" else model.item_encoder
        batch = next(iter(train))
        before = model.full_sort_predict(batch)
        encoder.features[0].embedding.weight.data += torch.randn_like(encoder.features[0].embedding.weight)
        model.interest_layers.layers[0].weight.data += 0.1
        assert not torch.allclose(before, model.full_sort_predict(batch))


def test_the_model_survives_a_copy(contract):
    """RecBole counts FLOPs on a deep copy."""
    model, batch, _ = contract
    model.train()
    model.calculate_loss(batch)
    twin = copy.deepcopy(model)
    assert torch.equal(model.interests(batch)[0], twin.interests(batch)[0])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda m, b: b[m.ITEM_SEQ_LEN].fill_(0), "empty history"),
        (lambda m, b: b[m.ITEM_SEQ].fill_(0), "only padding"),
        (lambda m, b: b[m.ITEM_SEQ_LEN].fill_(99), "longer than the history of 10"),
        (lambda m, b: b[m.ITEM_SEQ].fill_(m.n_items), "out of range 1 to"),
        (lambda m, b: b[m.ITEM_SEQ].fill_(-1), "out of range 1 to"),
    ],
)
def test_a_history_that_cannot_be_read_is_refused(contract, change, message):
    model, batch, _ = contract
    bad = copy.deepcopy(histories(model, batch))
    change(model, bad)
    with pytest.raises(InputError, match=message):
        model.full_sort_predict(bad)


def test_a_candidate_out_of_range_is_refused(contract):
    model, batch, _ = contract
    bad = copy.deepcopy(histories(model, batch))
    bad[model.ITEM_ID].fill_(model.n_items + 3)
    with pytest.raises(InputError, match=f"item_id: item id {model.n_items + 3} is out of range"):
        model.predict(bad)
