"""What every model on :class:`~recbole_mind.models.RetrievalModel` keeps, through RecBole's own interface.

Shape legend: B rows of a batch, L history length (padded), K interests, D embedding size, N items.
"""

from __future__ import annotations

import atexit
import copy
import json
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from recbole_mind.config.model_names import is_ours
from recbole_mind.errors import InputError
from recbole_mind.export import TOLERANCE, write_encoder
from recbole_mind.models import RetrievalModel
from recbole_mind.serving.bundle.encoder import Encoder
from recbole_mind.testing.small_data import small_settings, write_small
from recbole_mind.training import build, load, run

FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}
LOSSES: list[dict[str, Any]] = [
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
]


@dataclass(frozen=True)
class Built:
    """A ``model`` with its ``config`` and the loaders ``train``, ``valid`` and ``test`` of the small data set."""

    config: Any
    model: Any
    train: Any
    valid: Any
    test: Any


@dataclass(frozen=True)
class Trained:
    """A ``model`` after 20 steps, the ``batch`` of training rows that it saw, and the ``test`` loader."""

    model: Any
    batch: Interaction
    test: Any


@cache
def _folder() -> Path:
    """The folder of the small data set, of this process."""
    folder = tempfile.TemporaryDirectory(prefix="recbole-mind-testing-")
    atexit.register(folder.cleanup)
    return write_small(Path(folder.name))


def built(model: str, settings: Mapping[str, Any]) -> Built:
    """Build ``model`` on the small data set, with item and user features unless ``settings`` say otherwise."""
    config = build.build_config(model, "small", overrides=small_settings(_folder(), **(FEATURES | dict(settings))))
    _, train, valid, test = build.build_data(config)
    torch.manual_seed(0)
    return Built(config, build.build_model(config, train), train, valid, test)


@cache
def _trained(model: str, settings: str) -> Trained:
    made = built(model, json.loads(settings))
    batch = next(iter(made.train))
    optimizer = torch.optim.Adam(made.model.parameters(), lr=0.05)
    for _ in range(20):
        optimizer.zero_grad()
        made.model.calculate_loss(batch).backward()
        optimizer.step()
    return Trained(made.model, batch, made.test)


def histories(model: Any, batch: Interaction, rows: Any = slice(None)) -> Interaction:
    """Only what a ranking reads of some ``rows`` of a batch."""
    return Interaction(
        {field: batch[field][rows] for field in (model.ITEM_SEQ, model.ITEM_SEQ_LEN, model.USER_ID, model.ITEM_ID)}
    )


class ModelContract:
    """The suite for a model on :class:`~recbole_mind.models.RetrievalModel`; a subclass says which.

    ::

        class TestLastItems(ModelContract):
            model = "LastItems"
            settings = {"K": 3}

    The model is known by its entry point or by :func:`recbole_mind.register_model`. The suite writes a small data set
    of 40 users and 50 items into a temporary folder and trains on it for seconds.

    Attributes:
        model: its name.
        settings: under which it is tried, beside those that make it small.
    """

    model: ClassVar[str] = ""
    settings: ClassVar[Mapping[str, Any]] = {}

    @pytest.fixture
    def case(self) -> tuple[str, Mapping[str, Any]]:
        """The model's name and settings."""
        assert self.model, "a suite on ModelContract says which model it is of: model = 'LastItems'"
        return self.model, self.settings

    @pytest.fixture(autouse=True)
    def _place(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """RecBole writes logs and checkpoints where it stands."""
        monkeypatch.chdir(tmp_path)

    @pytest.fixture
    def make(self, case: tuple[str, Mapping[str, Any]]) -> Callable[..., Built]:
        """What builds the model anew, with other settings if they are given."""
        return lambda **more: built(case[0], {**case[1], **more})

    @pytest.fixture
    def trained(self, case: tuple[str, Mapping[str, Any]]) -> Trained:
        """The model after a few steps; every test of a process has the same one."""
        return _trained(case[0], json.dumps(dict(case[1])))

    # -- interests and scores -----------------------------------------------------------------------------------------

    def test_it_is_a_model_on_our_base(self, trained: Trained) -> None:
        assert isinstance(trained.model, RetrievalModel)
        assert is_ours(type(trained.model))

    def test_interests_have_the_promised_shape_and_length(self, trained: Trained) -> None:
        interests, active = trained.model.interests(trained.batch)
        assert interests.shape == (len(trained.batch), active.shape[1], trained.model.size)
        assert active.shape[1] == (trained.model.num_interests or 1)
        assert active.dtype == torch.bool
        assert active[:, 0].all()
        assert (interests[~active] == 0).all()
        lengths = interests.norm(dim=2)
        assert (lengths[active] > 0).all()
        if trained.model.similarity == "cosine":  # the longest has unit length, and with most models each has
            torch.testing.assert_close(lengths.amax(1), torch.ones(len(trained.batch)))

    def test_predict_full_sort_and_interests_agree_by_hand(self, trained: Trained) -> None:
        model, batch = trained.model, trained.batch
        interests, active = model.interests(batch)
        items = model.item_vectors().detach()
        full = model.full_sort_predict(batch)
        assert full.shape == (len(batch), model.n_items)
        for row in range(0, len(batch), 7):
            for item in range(1, model.n_items, 5):
                by_hand = max(float(interests[row, k] @ items[item]) for k in range(active.shape[1]) if active[row, k])
                assert math.isclose(float(full[row, item]), by_hand, abs_tol=1e-5)
        chosen = full[torch.arange(len(batch)), batch[model.ITEM_ID]]
        torch.testing.assert_close(model.predict(batch), chosen, atol=1e-5, rtol=0)

    def test_two_evaluations_are_bit_equal(self, trained: Trained) -> None:
        model, batch = trained.model, trained.batch
        model.train()
        first, _ = model.interests(batch)
        model.calculate_loss(batch)  # draws random numbers in between
        assert model.training
        assert torch.equal(first, model.interests(batch)[0])

    def test_interests_depend_neither_on_the_batch_nor_on_the_padding(self, trained: Trained) -> None:
        model, batch = trained.model, trained.batch
        whole, _ = model.interests(histories(model, batch))
        for row in range(0, len(batch), 9):
            alone, _ = model.interests(histories(model, batch, slice(row, row + 1)))
            torch.testing.assert_close(alone[0], whole[row], atol=5e-6, rtol=0)
        short = histories(model, batch)
        short.interaction[model.ITEM_SEQ] = short[model.ITEM_SEQ][:, : int(batch[model.ITEM_SEQ_LEN].max())]
        torch.testing.assert_close(model.interests(short)[0], whole, atol=2e-6, rtol=0)
        many = histories(model, batch, torch.arange(512) % len(batch))
        torch.testing.assert_close(model.interests(many)[0][: len(batch)], whole, atol=2e-6, rtol=0)

    def test_a_history_of_one_behaviour_is_read(self, trained: Trained) -> None:
        model, one = trained.model, histories(trained.model, trained.batch, slice(0, 4))
        one.interaction[model.ITEM_SEQ] = torch.zeros_like(one[model.ITEM_SEQ])
        one[model.ITEM_SEQ][:, 0] = torch.arange(1, 5)
        one.interaction[model.ITEM_SEQ_LEN] = torch.ones_like(one[model.ITEM_SEQ_LEN])
        for values in (model.interests(one)[0], model.full_sort_predict(one), model.encoded(one).weights):
            assert torch.isfinite(values).all()

    def test_weights_say_what_each_interest_is_made_of(self, trained: Trained) -> None:
        model, batch = trained.model, trained.batch
        interests, active = model.interests(batch)
        found = model.encoded(batch)
        torch.testing.assert_close(found.interests, interests, atol=2e-6, rtol=0)
        assert torch.equal(found.active, active)
        L = found.weights.shape[2]
        assert found.weights.shape == (*active.shape, L)
        padding = torch.arange(L) >= batch[model.ITEM_SEQ_LEN][:, None]
        assert (found.weights >= 0).all()
        assert (found.weights.masked_select(padding[:, None]) == 0).all()

    # -- training -----------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: "-".join(str(value) for value in loss.values())[:40])
    def test_every_loss_reaches_every_parameter_and_goes_down(
        self, make: Callable[..., Built], loss: dict[str, Any]
    ) -> None:
        made = make(dropout=0, **loss)
        model, batch = made.model, next(iter(made.train))
        model.calculate_loss(batch).backward()
        parameters = model.named_parameters()
        untouched = [key for key, value in parameters if value.grad is None or not value.grad.abs().sum()]
        assert untouched == []
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        values = []
        for _ in range(30):
            optimizer.zero_grad()
            value: Any = model.calculate_loss(batch)
            value.backward()
            optimizer.step()
            values.append(value.item())
        assert values[-1] < 0.9 * values[0]

    def test_reading_together_and_one_by_one_give_the_same(self, make: Callable[..., Built]) -> None:
        """Training may read histories in another way than evaluation; the interests are the same."""
        made = make(dropout=0)
        model, batch = made.model, next(iter(made.train))
        lengths, users = batch[model.ITEM_SEQ_LEN], batch[model.USER_ID]
        vectors, place = model.behaviors(batch[model.ITEM_SEQ])
        whole, _ = model.eval().read(vectors, place, lengths, users)
        for row in range(0, len(batch), 11):
            one = slice(row, row + 1)
            alone, _ = model.read(vectors, place[one, : int(lengths[row])], lengths[one], users[one])
            torch.testing.assert_close(alone[0], whole[row], atol=2e-6, rtol=0)

    def test_it_survives_a_copy(self, trained: Trained) -> None:
        """RecBole counts FLOPs on a deep copy."""
        model, batch = trained.model, trained.batch
        model.train()
        model.calculate_loss(batch)
        twin = copy.deepcopy(model)
        assert torch.equal(model.interests(batch)[0], twin.interests(batch)[0])

    def test_a_run_is_the_same_again_and_its_checkpoint_too(self, case: tuple[str, Mapping[str, Any]]) -> None:
        name, settings = case
        given = small_settings(_folder(), **(FEATURES | {"epochs": 1} | dict(settings)))
        first, second = (run.run(name, "small", overrides=given) for _ in range(2))
        assert first.test == second.test
        assert run.evaluate(str(first.checkpoint)).test == first.test
        one, other = (load.load(str(made.checkpoint)) for made in (first, second))
        batch = next(iter(one.test_data))[0]
        assert torch.equal(one.model.full_sort_predict(batch), other.model.full_sort_predict(batch))

    # -- serving ------------------------------------------------------------------------------------------------------

    def test_the_exported_encoder_says_what_the_model_says(self, trained: Trained, tmp_path: Path) -> None:
        pytest.importorskip("onnx", reason="onnx is not installed: pip install 'recbole-mind[serve]'")
        model, batch = trained.model, trained.batch
        write_encoder(tmp_path / "encoder.onnx", model)
        encoder = Encoder((tmp_path / "encoder.onnx").read_bytes())
        for length in (1, 2, int(batch[model.ITEM_SEQ_LEN].max())):
            asked = histories(model, batch, batch[model.ITEM_SEQ_LEN] == length)
            seq = asked[model.ITEM_SEQ][:, :length]
            profile = model.profile_encoder(asked[model.USER_ID])
            lengths = asked[model.ITEM_SEQ_LEN].numpy()
            found = encoder(model.item_encoder(seq).detach().numpy(), lengths, profile.detach().numpy())
            wanted = model.encoded(asked)
            np.testing.assert_allclose(found.interests, wanted.interests.detach(), rtol=0, atol=TOLERANCE)
            np.testing.assert_array_equal(found.active, wanted.active)
            np.testing.assert_allclose(found.weights, wanted.weights.detach(), rtol=0, atol=TOLERANCE)

    # -- what it is asked ---------------------------------------------------------------------------------------------

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
    def test_a_history_that_cannot_be_read_is_refused(
        self, trained: Trained, change: Callable[[Any, Interaction], object], message: str
    ) -> None:
        bad = copy.deepcopy(histories(trained.model, trained.batch))
        change(trained.model, bad)
        with pytest.raises(InputError, match=message):
            trained.model.full_sort_predict(bad)

    def test_a_candidate_out_of_range_is_refused(self, trained: Trained) -> None:
        model, bad = trained.model, copy.deepcopy(histories(trained.model, trained.batch))
        bad[model.ITEM_ID].fill_(model.n_items + 3)
        with pytest.raises(InputError, match=f"item_id: item id {model.n_items + 3} is out of range"):
            model.predict(bad)

    def test_a_history_alone_will_do_where_no_user_feature_is_used(self, make: Callable[..., Built]) -> None:
        """RecBole's own sequential models ask for no user either: a new user has none."""
        made = make(user_features=[])
        model, batch = made.model, next(iter(made.test))[0]
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

    def test_user_features_need_the_user_and_are_named(self, make: Callable[..., Built]) -> None:
        made = make(user_features=["job"])
        model, whole = made.model, histories(made.model, next(iter(made.test))[0])
        bare = Interaction({field: whole[field] for field in (model.ITEM_SEQ, model.ITEM_SEQ_LEN, model.ITEM_ID)})
        for ask in (model.predict, model.full_sort_predict, model.interests, model.encoded):
            with pytest.raises(
                InputError, match=r"has no field 'user_id': the model uses the user features job; .*\[\]"
            ):
                ask(bare)
