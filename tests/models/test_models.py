"""The contract that every model of this package keeps, through RecBole's own interface."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mind import InputError
from recbole_mind.config.model_names import MODELS
from recbole_mind.layers.losses import routing_regularization
from recbole_mind.training import build, describe
from tests.support import references
from tests.support.data import small_settings

FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}
INTERESTS = {"K": 3, "routing_scale": 5.0}
# name: model and settings; each runs the whole contract
CASES = {
    "MIND": ("MIND", INTERESTS | {"p": 2}),
    "MIND-1": ("MIND", INTERESTS | {"K": 1}),
    "MIND, recency": ("MIND", INTERESTS | {"recency": 0.5, "routing_softmax": "behaviors"}),
    "MIND, nearest": ("MIND", INTERESTS | {"negative_interest": "nearest", "p": math.inf, "capsule_length": True}),
    "ComiRecSA": ("ComiRecSA", {"K": 3}),
    "ComiRecSA, regularized": ("ComiRecSA", {"K": 3, "routing_regularization": 10}),
    "ComiRecSA, nearest": ("ComiRecSA", {"K": 3, "negative_interest": "nearest"}),
    "ComiRecSA, no positions": ("ComiRecSA", {"K": 3, "positions": False, "attention_size": 5, "user_features": []}),
    "ComiRecDR": ("ComiRecDR", INTERESTS),
    "ComiRecDR, bare": ("ComiRecDR", INTERESTS | {"routing_maps": "interest", "relu_layers": [], "user_features": []}),
    "YouTubeDNN": ("YouTubeDNN", {}),
}
several = pytest.mark.parametrize("case", [case for case in CASES if case != "YouTubeDNN"])


def built(small, case, **more):
    name, own = CASES[case]
    settings = small_settings(small, **(FEATURES | own | more))
    config = build.build_config(name, "small", overrides=settings)
    _, train, valid, test = build.build_data(config)
    torch.manual_seed(0)
    return config, build.build_model(config, train), train, valid, test


def test_every_model_is_under_contract():
    assert {name for name, _ in CASES.values()} == set(MODELS)


@pytest.fixture(scope="module", params=CASES)
def contract(request, small):
    """(model, a batch of training rows, the test loader) of each model, trained for a few steps."""
    _, model, train, _, test = built(small, request.param)
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
    lengths = interests.norm(dim=2)
    if getattr(model, "log_power", None) is not None:  # of unit length is each user's longest
        assert (lengths[active] > 0).all()
        assert (lengths[active] < 0.99).any()
        torch.testing.assert_close(lengths.amax(1), torch.ones(len(batch)))
        assert model.log_power.grad is not None
    else:
        torch.testing.assert_close(lengths[active], torch.ones(int(active.sum())))
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
        torch.testing.assert_close(alone[0], whole[row], atol=2e-6, rtol=0)
    longest = int(batch[model.ITEM_SEQ_LEN].max())
    short = histories(model, batch)
    short.interaction[model.ITEM_SEQ] = short[model.ITEM_SEQ][:, :longest]
    torch.testing.assert_close(model.interests(short)[0], whole, atol=2e-6, rtol=0)
    many = histories(model, batch, torch.arange(512) % len(batch))
    torch.testing.assert_close(model.interests(many)[0][: len(batch)], whole, atol=2e-6, rtol=0)


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
@pytest.mark.parametrize("case", CASES)
def test_every_loss_reaches_every_parameter_and_goes_down(small, case, loss):
    _, model, train, _, _ = built(small, case, dropout=0, **loss)
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


@pytest.mark.parametrize("case", [case for case in CASES if case != "YouTubeDNN" and "nearest" not in case])
def test_one_interest_is_the_single_interest_model(small, case):
    _, model, train, _, _ = built(small, case, K=1)
    batch = next(iter(train))
    model.eval()
    interests, active = model.interests(batch)
    assert interests.shape[1] == 1
    assert active.all()
    torch.testing.assert_close(model.user_vector(interests, active, interests[:, 0]), interests[:, 0])


def test_one_capsule_takes_all_of_every_behaviour(small):
    _, model, train, _, _ = built(small, "MIND-1")
    batch = next(iter(train))
    lengths = batch[model.ITEM_SEQ_LEN]
    capsules = model.eval().capsules(batch[model.ITEM_SEQ], lengths)
    assert torch.equal(capsules.coupling.sum((1, 2)).round().long(), lengths)


@pytest.mark.parametrize("case", ["ComiRecSA", "ComiRecDR"])
def test_comirec_has_all_interests_for_every_user(small, case):
    _, model, train, _, _ = built(small, case)
    batch = next(iter(train))
    assert int(batch[model.ITEM_SEQ_LEN].min()) == 1
    interests, active = model.interests(batch)
    assert interests.shape[1] == 3
    assert active.all()


@pytest.mark.parametrize("name", ["ComiRecSA", "ComiRecDR"])
def test_comirec_uses_an_interest_as_it_is_unless_layers_or_a_profile_are_asked_for(small, name):
    def layers(**more):
        settings = small_settings(small, **more)
        if not more.get("relu_layers"):
            del settings["relu_layers"]  # the default
        config = build.build_config(name, "small", overrides=settings)
        _, train, _, _ = build.build_data(config)
        model = build.build_model(config, train)
        batch = next(iter(train))
        vectors, place = model.eval().behaviors(batch[model.ITEM_SEQ])
        lengths = batch[model.ITEM_SEQ_LEN]
        mask = torch.arange(place.shape[1]) < lengths[:, None]
        extracted = model.extract(vectors[place], mask)[0].detach()
        as_it_is = torch.allclose(model.interests(batch)[0], model.compared(extracted), atol=1e-6, rtol=0)
        return len(model.interest_layers.layers), as_it_is

    assert layers() == (0, True)
    assert layers(user_features=["job"]) == (1, False)
    assert layers(relu_layers=[8]) == (3, False)  # too narrow to start as the identity


@several
def test_histories_read_together_and_one_by_one_give_the_same(small, case):
    """Training reads histories of like length together; a padded batch as a whole gives the same."""
    _, model, train, _, _ = built(small, case, dropout=0)
    batch = next(iter(train))
    lengths, users = batch[model.ITEM_SEQ_LEN], batch[model.USER_ID]
    vectors, place = model.behaviors(batch[model.ITEM_SEQ])
    whole, _ = model.eval().read(vectors, place, lengths, users)
    for row in range(0, len(batch), 11):
        length = int(lengths[row])
        alone, _ = model.read(vectors, place[row : row + 1, :length], lengths[row : row + 1], users[row : row + 1])
        torch.testing.assert_close(alone[0], whole[row], atol=2e-6, rtol=0)


@several
def test_records_describe_the_interests(small, case):
    _, model, _, _, test = built(small, case)
    found = describe.describe_interests(model, test)
    rows = [model.interests(batch[0]) for batch in test]
    cosines = [
        references.pairwise_cosines(v, f)
        for interests, active in rows
        for v, f in zip(interests.tolist(), active.tolist(), strict=True)
    ]
    active = sum(int(flags.sum()) for _, flags in rows)
    assert found["mean_active_interests"] == pytest.approx(active / len(cosines))
    means = [sum(row) / len(row) for row in cosines if row]
    assert ("mean_pairwise_cosine" in found) == bool(means)
    if means:
        assert found["mean_pairwise_cosine"] == pytest.approx(sum(means) / len(means), abs=1e-5)


def test_the_mean_of_a_history_by_recency(small):
    _, model, train, _, _ = built(small, "YouTubeDNN", recency=0.5, user_features=[])
    model.eval()
    batch = next(iter(train))
    found, _ = model.interests(batch)
    for row in range(0, len(batch), 9):
        items = batch[model.ITEM_SEQ][row][: batch[model.ITEM_SEQ_LEN][row]]
        weights = [0.5 ** (len(items) - 1 - j) for j in range(len(items))]
        vectors = model.item_encoder(items)
        mean = sum(w * vector for w, vector in zip(weights, vectors, strict=True)) / sum(weights)
        expected = model.compared(model.interest_layers(mean[None, None], torch.zeros(1, 0)))
        torch.testing.assert_close(found[row], expected[0])


def test_a_single_vector_has_no_interests_to_describe(small):
    _, model, _, _, test = built(small, "YouTubeDNN")
    assert describe.describe_interests(model, test) == {}


@several
@pytest.mark.parametrize(("key", "field"), [("user_features", "job"), ("item_features", "genre")])
def test_profile_and_item_features_change_the_result(small, case, key, field):
    more = {"item_features": [], "user_features": [], "relu_layers": [32]} | {key: [field]}
    _, model, train, _, _ = built(small, case, **more)
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


@pytest.mark.parametrize("loss", ["CE", "sampled", "BPR"])
@pytest.mark.parametrize("case", ["MIND", "ComiRecSA", "ComiRecDR", "YouTubeDNN"])
def test_two_threads_sum_gradients_in_one_order(case, loss, small):
    _, model, train, _, _ = built(small, case, loss_type=loss, sparse_updates=False)
    one = next(iter(train))
    rows = torch.arange(4096) % len(one)  # enough for torch to share a sum out among threads
    batch = one[rows]
    if model.sampler_fed:  # RecBole tiles: the negatives of a row stand a whole batch apart
        B = len(one) // model.num_negatives
        batch = one[torch.cat([torch.arange(4096) % B + t * B for t in range(model.num_negatives)])]

    def gradients():
        model.generator.manual_seed(3)
        model.zero_grad()
        model.calculate_loss(batch).backward()
        return [parameter.grad.clone() for parameter in model.parameters() if parameter.grad is not None]

    torch.set_num_threads(2)
    try:
        first = gradients()
        assert first
        for _ in range(5):
            assert all(torch.equal(one, other) for one, other in zip(first, gradients(), strict=True))
    finally:
        torch.set_num_threads(1)


def test_regularized_weights_of_comirec_add_their_mean_to_the_loss(small):
    def loss_of(value):
        _, model, train, _, _ = built(small, "ComiRecSA", dropout=0.0, routing_regularization=value)
        batch = next(iter(train))
        model.pooling.outer.weight.data *= 300  # weights start nearly alike
        return model.train(), batch, model.calculate_loss(batch)

    plain = loss_of(0)[2]
    model, batch, found = loss_of(10)
    weights = model.encoded(batch).weights
    mask = torch.arange(weights.shape[2]) < batch[model.ITEM_SEQ_LEN][:, None]
    torch.testing.assert_close(found - plain, 10 * routing_regularization(weights, mask).mean(), atol=1e-6, rtol=1e-4)
    assert found > plain + 0.01


# -- new users ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES)
def test_a_history_alone_will_do_where_no_user_feature_is_used(small, case):
    """RecBole's own sequential models ask for no user either: a new user has none."""
    _, model, _, _, test = built(small, case, user_features=[])
    batch = next(iter(test))[0]
    whole = histories(model, batch)
    bare = Interaction({field: whole[field] for field in (model.ITEM_SEQ, model.ITEM_SEQ_LEN)})
    assert torch.equal(model.full_sort_predict(bare), model.full_sort_predict(whole))
    assert torch.equal(model.encoded(bare).interests, model.encoded(whole).interests)
    scored = Interaction({**bare.interaction, model.ITEM_ID: whole[model.ITEM_ID]})
    assert torch.equal(model.predict(scored), model.predict(whole))
    with pytest.raises(InputError, match=r"^the interaction has no field 'item_id', the items to score$"):
        model.predict(bare)
    with pytest.raises(InputError, match=r"^the interaction has no field 'item_length', which makes the history$"):
        model.full_sort_predict(Interaction({model.ITEM_SEQ: whole[model.ITEM_SEQ]}))


@pytest.mark.parametrize("name", MODELS)
def test_user_features_need_the_user_and_are_named(small, name):
    _, model, _, _, test = built(small, name)
    whole = histories(model, next(iter(test))[0])
    bare = Interaction({field: whole[field] for field in (model.ITEM_SEQ, model.ITEM_SEQ_LEN, model.ITEM_ID)})
    for ask in (model.predict, model.full_sort_predict, model.interests, model.encoded):
        with pytest.raises(InputError, match=r"has no field 'user_id': the model uses the user features job; .*\[\]"):
            ask(bare)
