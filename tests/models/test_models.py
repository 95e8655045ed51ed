"""Our models keep the contract of every model, and what each promises beside it."""

from __future__ import annotations

import math

import pytest
import torch

from recbole_mind.config.model_names import MODELS
from recbole_mind.errors import InputError
from recbole_mind.layers.batch_shards import ALONE
from recbole_mind.layers.losses import routing_regularization
from recbole_mind.testing import ModelContract
from recbole_mind.training import build, describe
from tests.support import references
from tests.support.data import small_settings

FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}
INTERESTS = {"K": 3, "routing_scale": 5.0}
# name: model and settings; each runs the whole contract
CASES = {
    "MIND": ("MIND", INTERESTS | {"p": 2}),
    "MIND, plain": ("MIND", INTERESTS | {"preset": "plain"}),
    "MIND-1": ("MIND", INTERESTS | {"K": 1}),
    "MIND, recency": ("MIND", INTERESTS | {"recency": 0.5, "routing_softmax": "behaviors"}),
    "MIND, nearest": ("MIND", INTERESTS | {"negative_interest": "nearest", "p": math.inf, "capsule_length": True}),
    "MIND, learned recency": ("MIND", INTERESTS | {"recency": "learned", "whole_share": 0.1}),
    "MIND, a curve for each": ("MIND", INTERESTS | {"recency": "per_interest", "recency_start": 0.2}),
    "MIND, gaps": ("MIND", INTERESTS | {"recency_gaps": True}),
    "MIND, gaps alone": ("MIND", INTERESTS | {"recency_gaps": True, "recency": 1.0}),
    "MIND, whole": ("MIND", INTERESTS | {"whole_share": 0.1, "similarity": "dot"}),
    "MIND, horizon": ("MIND", INTERESTS | {"horizon": 4, "recency_gaps": True}),
    "ComiRecSA": ("ComiRecSA", {"K": 3}),
    "ComiRecSA, learned recency": ("ComiRecSA", {"K": 3, "recency": "learned"}),
    "ComiRecSA, regularized": ("ComiRecSA", {"K": 3, "routing_regularization": 10}),
    "ComiRecSA, nearest": ("ComiRecSA", {"K": 3, "negative_interest": "nearest"}),
    "ComiRecSA, no positions": ("ComiRecSA", {"K": 3, "positions": False, "attention_size": 5, "user_features": []}),
    "ComiRecSA, gaps": ("ComiRecSA", {"K": 3, "recency_gaps": True, "routing_regularization": 10}),
    "ComiRecDR, gaps": ("ComiRecDR", INTERESTS | {"recency_gaps": True}),
    "ComiRecDR": ("ComiRecDR", INTERESTS),
    "ComiRecDR, recency": ("ComiRecDR", INTERESTS | {"recency": 0.5}),
    "ComiRecDR, learned recency": ("ComiRecDR", INTERESTS | {"recency": "learned"}),
    "ComiRecDR, bare": ("ComiRecDR", INTERESTS | {"routing_maps": "interest", "relu_layers": [], "user_features": []}),
    "YouTubeDNN": ("YouTubeDNN", {}),
    "YouTubeDNN, gaps": ("YouTubeDNN", {"recency_gaps": True}),
    "YouTubeDNN, horizon": ("YouTubeDNN", {"horizon": 50}),
    "YouTubeDNN, learned recency": ("YouTubeDNN", {"recency": "learned"}),
}
several = pytest.mark.parametrize("case", [case for case, (name, _) in CASES.items() if name != "YouTubeDNN"])


def built(small, case, **more):
    name, own = CASES[case]
    settings = small_settings(small, **(FEATURES | own | more))
    config = build.build_config(name, "small", overrides=settings)
    _, train, valid, test = build.build_data(config)
    torch.manual_seed(0)
    return config, build.build_model(config, train), train, valid, test


def test_every_model_is_under_contract():
    assert {name for name, _ in CASES.values()} == set(MODELS)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
class TestContract(ModelContract):
    pass


@pytest.mark.parametrize("case", CASES)
def test_interests_have_unit_length_unless_capsules_weigh_them(small, case):
    _, model, train, _, _ = built(small, case)
    batch = next(iter(train))
    model.calculate_loss(batch).backward()
    interests, active = model.interests(batch)
    lengths = interests.norm(dim=2)
    if getattr(model, "log_power", None) is not None:  # of unit length is each user's longest
        assert (lengths[active] < 0.99).any()
        assert model.log_power.grad is not None
    else:
        expected = torch.ones(int(active.sum()))
        if model.similarity == "cosine":
            torch.testing.assert_close(lengths[active], expected)


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


def test_a_target_is_any_of_the_next_behaviours(small):
    horizon, earlier = 4, []
    _, model, train, _, _ = built(small, "YouTubeDNN", horizon=horizon, train_batch_size=10_000)
    batch = next(iter(train))
    for _ in range(100):
        cut = model._earlier(batch, ALONE)
        lengths = cut["item_length"]
        earlier.append(batch["item_length"] - lengths)
        inside = torch.arange(batch["item_id_list"].shape[1]) < lengths[:, None]
        assert torch.equal(cut["item_id_list"], batch["item_id_list"] * inside)
        assert torch.equal(cut["item_id"], batch["item_id"])
    taken = torch.stack(earlier)
    for length in batch["item_length"].unique().tolist():
        own = taken[:, batch["item_length"] == length]
        most = min(length, horizon)  # at least one behaviour stays
        share = torch.bincount(own.flatten(), minlength=horizon) / own.numel()
        expected = torch.tensor([1 / most] * most + [0.0] * (horizon - most))
        torch.testing.assert_close(share, expected, rtol=0, atol=4 * (0.25 / own.numel()) ** 0.5)


def test_a_horizon_trains_as_the_shorter_histories_would(small):
    _, model, train, _, _ = built(small, "MIND, horizon", dropout=0)
    batch = next(iter(train))
    state = model.generator.get_state()
    loss = model.calculate_loss(batch)
    model.generator.set_state(state)
    cut = model._earlier(batch, ALONE)
    assert bool((cut["item_length"] < batch["item_length"]).any())
    model.horizon = 1
    assert torch.equal(model.calculate_loss(cut), loss)


@pytest.mark.parametrize("value", [0, -1, 1.5, "two", True, None])
def test_a_bad_horizon_is_refused(small, value):
    with pytest.raises(InputError, match=r"horizon: .* allowed: a whole number, at least 1"):
        built(small, "MIND", horizon=value)


@pytest.mark.parametrize(
    "case", [case for case in several.args[1] if not {"p", "whole_share", "negative_interest"} & set(CASES[case][1])]
)
def test_one_interest_is_the_single_interest_model(small, case):
    _, model, train, _, _ = built(small, case, K=1)
    batch = next(iter(train))
    model.eval()
    interests, active = model.interests(batch)
    assert interests.shape[1] == 1
    assert active.all()
    torch.testing.assert_close(model.user_vector(interests, active, interests[:, 0]), interests[:, 0])


def test_one_capsule_takes_all_of_every_behaviour(small):
    _, model, train, _, _ = built(small, "MIND-1", recency=1.0)
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
