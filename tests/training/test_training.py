"""How our models train: against a straightforward model, sparse against dense, two processes, bfloat16."""

from __future__ import annotations

import math
import multiprocessing
import os
import socket
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.utils import init_seed
from torch.nn import functional as F  # noqa: N812 - its usual name

from recbole_mind import InputError
from recbole_mind.layers.row_adam import RowAdam
from recbole_mind.training import build, checkpoint, run
from recbole_mind.training.optimizer import TableOptimizer
from tests.support.data import small_settings, write_small

FEATURES = {"item_features": ["genre", "tags"], "user_features": ["job"]}
UNIFORM = {"loss_type": "sampled", "negatives": "uniform", "num_negatives": 7}
SAMPLER = {"loss_type": "sampled", "negatives": "sampler", "train_neg_sample_args": {"sample_num": 3}}
LOSSES = {
    "CE": {"loss_type": "CE"},
    "uniform": UNIFORM,
    "popularity": UNIFORM | {"negatives": "popularity"},
    "log_uniform": UNIFORM | {"negatives": "log_uniform"},
    "in_batch": {"loss_type": "sampled", "negatives": "in_batch"},
    "sampler": SAMPLER,
    "uniform, nce": UNIFORM | {"sampled_form": "nce"},
    "popularity, nce": UNIFORM | {"negatives": "popularity", "sampled_form": "nce"},
    "in_batch, nce": {"loss_type": "sampled", "negatives": "in_batch", "sampled_form": "nce"},
    "sampler, nce": SAMPLER | {"sampled_form": "nce"},
    "BPR": {"loss_type": "BPR", "train_neg_sample_args": {"sample_num": 2}},
}
models = pytest.mark.parametrize("name", ["MIND", "ComiRecSA", "ComiRecDR", "YouTubeDNN"])


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """A data set of many items, of which a batch of 16 rows uses few."""
    return write_small(tmp_path_factory.mktemp("wide"), users=30, items=400, length=12)


def built(folder, name, **more):
    config = build.build_config(name, "small", overrides=small_settings(folder, **more))
    _, train, valid, test = build.build_data(config)
    init_seed(0, True)  # RecBole's samplers draw from NumPy's generator
    return config, build.build_model(config, train), train, valid, test


def soft(name):
    """Soft attention for a model that has any: with hard, rounding may decide which of two interests is trained."""
    return {} if name == "YouTubeDNN" else {"p": 2}


# -- one step against a straightforward model --------------------------------------------------------------------------


def every_item(encoder):
    """Item vectors [N, D], each part averaged by hand."""
    total, parts = encoder.embedding.weight, torch.ones(encoder.num_items, 1)
    for feature in encoder.features:
        present = (feature.values != 0).float()  # [N, M]
        chosen = feature.embedding.weight[feature.values] * present[:, :, None]
        total = total + chosen.sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        parts = parts + (present.sum(1, keepdim=True) > 0)
    return total / parts


def compared(model, vectors):
    return F.normalize(vectors, dim=-1) if model.similarity == "cosine" else vectors


def read(model, items, batch, logits):
    """Interests and flags: padded histories looked up in all item vectors, routed as a whole."""
    seq, lengths = batch["item_id_list"], batch["item_length"]
    mask = torch.arange(seq.shape[1]) < lengths[:, None]
    if hasattr(model, "extract"):
        interests, _ = model.extract(items[seq], mask)
        active = torch.ones(interests.shape[:2], dtype=torch.bool)
    elif hasattr(model, "routing"):
        capsules = model.routing.route(model.routing.vote(items[seq]), mask, logits)
        interests, active, lengths = capsules.interests, capsules.active, capsules.lengths
    else:
        after = (lengths[:, None] - 1 - torch.arange(seq.shape[1])).clamp(min=0)
        weights = model.recency.log_weights[0].exp()[after] * mask
        interests = (items[seq] * weights[:, :, None]).sum(1, keepdim=True) / weights.sum(1)[:, None, None]
        active = torch.ones(len(seq), 1, dtype=torch.bool)
    profile = [
        feature.embedding.weight[feature.values[batch["user_id"], 0]] for feature in model.profile_encoder.features
    ]
    joined = [part[:, None].expand(-1, interests.shape[1], -1) for part in profile]
    interests = compared(model, model.interest_layers.layers(torch.cat([interests, *joined], 2)))
    if getattr(model, "log_power", None) is not None:
        power = model.log_power.exp()
        shares = torch.where(active, lengths / lengths.amax(1, keepdim=True), 1.0) ** power
        interests = interests * shares[:, :, None]
    return interests * active[:, :, None], active


def straightforward(model, batch, drawn):
    """The loss of a batch, with every id looked up in all item vectors; ``drawn`` holds negatives and logits."""
    items = every_item(model.item_encoder)
    target = batch["item_id"]
    negatives = None if model.loss_type == "CE" else drawn.get("negatives")
    if "neg_item_id" in batch:
        n = model.num_negatives
        rows = len(target) // n
        negatives = torch.stack([batch["neg_item_id"][t * rows : (t + 1) * rows] for t in range(n)], 1)
        batch, target = batch[:rows], target[:rows]
    elif model.negatives == "in_batch" and model.loss_type == "sampled":
        negatives = target
    interests, active = read(model, items, batch, drawn.get("logits"))
    label = compared(model, items[target])
    if hasattr(model, "attention"):
        assert model.attention.p == 2
        scores = torch.einsum("bkd,bd->bk", interests, label)
        weights = (scores.sign() * scores.abs() ** 2).masked_fill(~active, -math.inf).softmax(1)
        user = torch.einsum("bk,bkd->bd", weights, interests)
    else:
        user = interests[:, 0]
    met, on = (interests, active) if model.negative_interest == "nearest" else (user[:, None], active[:, :1])
    positive = (user * label).sum(1) / model.temperature
    if model.loss_type == "CE":
        others = torch.einsum("bkd,nd->bkn", met, compared(model, items)[1:]) / model.temperature
        others = others.masked_fill(~on[:, :, None], -math.inf).amax(1)
        return F.cross_entropy(others.scatter(1, target[:, None] - 1, positive[:, None]), target - 1)
    shape = "bkd,bnd->bkn" if negatives.dim() == 2 else "bkd,nd->bkn"
    others = torch.einsum(shape, met, compared(model, items[negatives])) / model.temperature
    others = others.masked_fill(~on[:, :, None], -math.inf).amax(1)
    if model.loss_type == "BPR":
        return F.softplus(others - positive[:, None]).mean()
    log_q = model.proposal.log_q
    if model.sampled_form == "nce":
        positive, others = positive - log_q[target], others - log_q[negatives]
    else:  # s - log(n Q): n draws, each row's own from what is no target; in a batch a row's own target is no draw
        n = negatives.shape[-1] - (model.negatives == "in_batch")
        left = torch.log1p(-log_q[target].exp())[:, None] if "neg_item_id" in batch else 0.0
        others = others - (math.log(n) + log_q[negatives] - left)
    logits = others.masked_fill(negatives == target[:, None], -math.inf)
    return F.cross_entropy(torch.cat([positive[:, None], logits], 1), torch.zeros_like(target))


@pytest.mark.parametrize(("similarity", "features"), [("dot", {}), ("cosine", FEATURES)], ids=["ids", "features"])
@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize(
    "name", ["MIND", "MIND, nearest", "ComiRecSA", "ComiRecSA, nearest", "ComiRecDR", "YouTubeDNN"]
)
def test_loss_and_gradients_are_those_of_a_straightforward_model(small, monkeypatch, name, loss, features, similarity):
    more = {"temperature": 0.07 if similarity == "cosine" else 1.0, "similarity": similarity, "dropout": 0.0}
    name, _, nearest = name.partition(", ")
    if nearest:
        more |= {"negative_interest": "nearest"} | ({"capsule_length": True} if name == "MIND" else {})
    _, model, train, _, _ = built(small, name, train_batch_size=50, **LOSSES[loss], **features, **more, **soft(name))
    for table in model.modules():  # large enough for gradients of every part
        if isinstance(table, torch.nn.Embedding):
            table.weight.data[1:] = torch.randn(table.weight[1:].shape, generator=torch.Generator().manual_seed(1))
    drawn = {}

    def note(owner, function, key):
        original = getattr(owner, function)

        def noted(*arguments):
            assert key not in drawn
            drawn[key] = original(*arguments)
            return drawn[key]

        monkeypatch.setattr(owner, function, noted)

    if name == "MIND":
        note(model.routing, "draw", "logits")
    if loss.partition(",")[0] in ("uniform", "popularity", "log_uniform"):
        note(model.proposal, "sample", "negatives")
    batch = next(iter(train))
    model.train()
    found = model.calculate_loss(batch)
    expected = straightforward(model, batch, drawn)
    assert float(found.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)
    parameters = {key: value for key, value in model.named_parameters() if value.requires_grad}
    gradients = [
        torch.autograd.grad(value, list(parameters.values()), allow_unused=True) for value in (found, expected)
    ]
    for key, mine, reference in zip(parameters, *gradients, strict=True):
        if reference is None:
            assert mine is None, key
            continue
        if key.endswith("embedding.weight"):  # padding is held at zero by both kinds of updates
            mine, reference = mine[1:], reference[1:]
        assert reference.any(), key
        size = float(reference.abs().max())
        torch.testing.assert_close(mine, reference, atol=2e-5 * size, rtol=1e-3, msg=lambda text, key=key: key + text)


@pytest.mark.parametrize("more", [{}, {"lazy_sequences": False}], ids=["lazy", "RecBole's"])
def test_log_q_of_recboles_sampler_is_what_it_draws_by(small, more):
    """Popularity to RecBole's power, of the targets of all phases; the row's own target is drawn again."""
    arguments = {"distribution": "popularity", "alpha": 0.5, "sample_num": 2}
    _, model, train, _, _ = built(small, "MIND", **SAMPLER | {"train_neg_sample_args": arguments} | more)
    counts = torch.bincount(train._sampler.dataset.inter_feat["item_id"], minlength=model.n_items).double()
    assert counts.sum() > len(train._dataset)  # validation and test targets are among them
    expected = counts.sqrt() / counts.sqrt().sum()
    torch.testing.assert_close(model.proposal.log_q.double().exp(), expected, atol=1e-6, rtol=1e-5)
    target, rows = int(counts.argmax()), 200_000
    drawn = train._sampler.sample_by_user_ids(np.ones(rows, int), np.full(rows, target), 1)
    row = torch.tensor([target])
    own = (model.proposal.log_q - model.proposal.log_accepted(row)).exp()
    own[target] = 0
    assert float(own.sum()) == pytest.approx(1, abs=1e-5)
    observed = torch.bincount(drawn, minlength=model.n_items)
    torch.testing.assert_close(observed / rows, own, atol=4e-3, rtol=0)


def test_a_batch_of_one_row_has_no_negatives_and_no_loss(small):
    _, model, train, _, _ = built(small, "MIND", **LOSSES["in_batch"], dropout=0)
    loss = model.calculate_loss(next(iter(train))[:1])
    loss.backward()
    assert float(loss.detach()) == 0


@models
def test_the_models_own_generator_decides_dropout_negatives_and_logits(small, name):
    _, model, train, _, _ = built(small, name, **UNIFORM, dropout=0.4)
    batch = next(iter(train))
    model.train()
    values = []
    for _ in range(2):
        model._generator = None
        torch.manual_seed(len(values))
        values.append([float(model.calculate_loss(batch).detach()) for _ in range(2)])
    assert values[0] == values[1]
    assert values[0][0] != values[0][1]


@models
def test_the_loss_in_evaluation_mode_has_no_dropout(small, name):
    _, model, train, _, _ = built(small, name, loss_type="CE", dropout=0.5)
    batch = next(iter(train))
    model.eval()
    dropped = [float(model.calculate_loss(batch).detach()) for _ in range(2)]
    model.dropout = 0.0
    assert dropped == [float(model.calculate_loss(batch).detach())] * 2


# -- sparse against dense updates --------------------------------------------------------------------------------------


def trained(folder, name, **more):
    """The trainer of a run after its last epoch, and the weights that it started from."""
    config, model, train, valid, _ = built(folder, name, **more)
    start = {key: value.clone() for key, value in model.state_dict().items()}
    trainer = build.build_trainer(config, model)
    trainer.fit(train, valid, saved=False)
    return trainer, start


def close(found, expected, start, *, atol):
    """Compare weights that have moved from ``start``."""
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, atol=atol, rtol=1e-3, msg=lambda text, key=key: f"{key}: {text}")
        if value.is_floating_point() and key in start and key != "routing.initial_logits":
            assert (value - start[key]).abs().max() > 10 * atol, key


@pytest.mark.parametrize("features", [{}, FEATURES], ids=["ids", "features"])
@pytest.mark.parametrize("loss", ["uniform", "in_batch", "sampler", "BPR"])
@models
def test_sparse_updates_train_to_the_weights_of_dense_ones(wide, name, loss, features):
    settings = LOSSES[loss] | features | {"train_batch_size": 16, "epochs": 1, "initializer_range": 0.3}
    settings |= {"dropout": 0.2, "eval_step": 0, "learning_rate": 0.003} | soft(name)
    (sparse, start), (dense, _) = (trained(wide, name, sparse_updates=value, **settings) for value in (True, False))
    assert isinstance(sparse.optimizer, TableOptimizer)
    assert type(dense.optimizer) is torch.optim.Adam
    assert len(sparse.optimizer.tables) == (4 if features else 1)
    close(sparse.model.state_dict(), dense.model.state_dict(), start, atol=2e-4)
    assert sparse.train_loss_dict == pytest.approx(dense.train_loss_dict, rel=1e-3)


@pytest.mark.parametrize("features", [{}, FEATURES], ids=["ids", "features"])
def test_sparse_updates_clip_gradients_as_dense_ones_do(wide, features):
    settings = UNIFORM | features | {"train_batch_size": 16, "eval_step": 0, "learning_rate": 0.003}
    settings |= {"epochs": 1, "initializer_range": 0.3, "clip_grad_norm": {"max_norm": 0.05, "norm_type": 2}}
    (sparse, start), (dense, _) = (trained(wide, "MIND", sparse_updates=value, **settings) for value in (True, False))
    close(sparse.model.state_dict(), dense.model.state_dict(), start, atol=5e-5)


def test_dynamic_negatives_are_ranked_with_rows_that_are_up_to_date(wide, monkeypatch):
    """RecBole ranks candidates with the model in the middle of an epoch, when rows may be behind."""
    arguments = {"sample_num": 1, "dynamic": True, "candidate_num": 8}
    settings = {"loss_type": "BPR", "train_neg_sample_args": arguments, "train_batch_size": 16, "eval_step": 0}
    config, model, train, _, _ = built(wide, "MIND", epochs=1, initializer_range=0.3, learning_rate=0.05, **settings)
    trainer = build.build_trainer(config, model)
    original, gaps = model.predict, []

    def noted(interaction):
        scores = original(interaction)
        if isinstance(trainer.optimizer, TableOptimizer):
            trainer.optimizer.flush()  # to dense Adam's table
        gaps.append(float((original(interaction) - scores).abs().max()))
        return scores

    monkeypatch.setattr(model, "predict", noted)
    trainer.fit(train, saved=False)
    assert len(gaps) > 5
    assert max(gaps) < 1e-4


def test_evaluation_between_epochs_sees_tables_that_are_up_to_date(wide):
    """The figures of each epoch, not the last one's alone."""
    settings = UNIFORM | {"train_batch_size": 16, "epochs": 3, "learning_rate": 0.02, "topk": [20]}
    settings |= {"valid_metric": "NDCG@20", "metrics": ["NDCG"], "eval_search": "exact"}
    found = {}
    for value in (True, False):
        config, model, train, valid, _ = built(wide, "MIND", sparse_updates=value, **settings)
        trainer = build.build_trainer(config, model)
        scores = []
        trainer.fit(train, valid, saved=False, callback_fn=lambda _, score, scores=scores: scores.append(score))
        found[value] = scores
    assert len(set(found[False])) > 1
    assert found[True] == pytest.approx(found[False], abs=0.02)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"loss_type": "CE"}, ["loss_type CE", "auto"]),
        (UNIFORM | {"weight_decay": 0.01}, ["weight_decay"]),
        (UNIFORM | {"learner": "sgd"}, ["learner sgd"]),
        ({"loss_type": "CE", "weight_decay": 0.01, "learner": "sgd"}, ["CE", "weight_decay", "sgd"]),
    ],
)
def test_sparse_updates_that_would_not_be_adams_are_refused(small, settings, words):
    overrides = small_settings(small, sparse_updates=True, **settings)
    with pytest.raises(InputError) as error:
        build.build_config("MIND", "small", overrides=overrides)
    assert str(error.value).startswith("sparse_updates: True")
    assert "\n" not in str(error.value)
    for word in words:
        assert word in str(error.value)
    overrides = small_settings(small, sparse_updates="auto", **settings)
    assert build.build_config("MIND", "small", overrides=overrides)["sparse_updates"] is False


@pytest.mark.parametrize("settings", [UNIFORM, {"loss_type": "BPR"}, UNIFORM | {"learner": "Adam"}, SAMPLER])
@models
def test_sparse_updates_are_chosen_where_they_can_be(small, name, settings):
    config = build.build_config(name, "small", overrides=small_settings(small, **settings))
    assert config["sparse_updates"] is True
    config = build.build_config(name, "small", overrides=small_settings(small, sparse_updates=False, **settings))
    assert config["sparse_updates"] is False


@pytest.mark.parametrize("value", ["often", None, 2, [True], 1, 1.0])
def test_sparse_updates_take_no_other_value(small, value):
    """1 among them: taken for True it would train CE on tables that get no gradient."""
    with pytest.raises(InputError, match="sparse_updates"):
        build.build_config("MIND", "small", overrides=small_settings(small, sparse_updates=value))


def test_the_dense_optimizer_leaves_no_sparse_table_behind(wide):
    """The same model with sparse and then with dense updates."""
    config, model, train, _, _ = built(wide, "YouTubeDNN", eval_step=0, epochs=1, **UNIFORM)
    build.build_trainer(config, model).fit(train, saved=False)
    config["sparse_updates"] = False
    before = model.item_encoder.embedding.weight.detach().clone()
    build.build_trainer(config, model).fit(train, saved=False)
    assert not torch.equal(model.item_encoder.embedding.weight, before)


@pytest.mark.parametrize(("first", "second"), [(True, False), (False, True)])
def test_a_checkpoint_of_other_updates_is_refused_in_one_line_or_goes_on(small, first, second):
    """Checkpoints of the release before have dense Adam's state for a sampled loss, which is sparse now."""
    settings = small_settings(small, epochs=1, **UNIFORM)
    done = run.run("YouTubeDNN", "small", overrides=settings | {"sparse_updates": first})
    overrides = settings | {"sparse_updates": second, "epochs": 2}
    refused = ""
    try:
        assert run.run("YouTubeDNN", "small", overrides=overrides, resume=done.checkpoint).epochs == 2
    except InputError as error:
        refused = str(error)
    assert not refused or ("sparse_updates" in refused and "\n" not in refused)


# -- what an epoch tells -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["GRU4Rec", "MIND"])
def test_the_loss_of_an_epoch_is_that_of_its_batches(small, name):
    more = {"hidden_size": 8} if name == "GRU4Rec" else {"dropout": 0.0}
    drop = ("relu_layers",) if name == "GRU4Rec" else ()
    overrides = {key: value for key, value in small_settings(small, epochs=2, **more).items() if key not in drop}
    config = build.build_config(name, "small", overrides=overrides)
    _, train, valid, _ = build.build_data(config)
    model = build.build_model(config, train)
    losses = []
    original = model.calculate_loss

    def noted(*args, **keywords):
        losses.append(original(*args, **keywords))
        return losses[-1]

    model.calculate_loss = noted
    trainer = build.build_trainer(config, model)
    trainer.fit(train, valid)
    half = len(losses) // 2
    expected = {0: float(sum(losses[:half]).detach()), 1: float(sum(losses[half:]).detach())}
    assert half == len(train)
    assert trainer.train_loss_dict == pytest.approx(expected, rel=1e-5)
    kept = checkpoint.load(trainer.saved_model_file)  # the mean, which does not grow with the data
    assert kept["mean_loss"] == pytest.approx(expected[kept["epoch"]] / half, rel=1e-5)


# -- two processes -----------------------------------------------------------------------------------------------------

BASE = {"epochs": 2, "eval_step": 0, "dropout": 0.3, "use_gpu": False, "initializer_range": 0.3} | FEATURES
# name: model, settings, what is left for the last batch
SHARED = {
    "uniform": ("MIND", UNIFORM, 1),
    "in_batch": ("MIND", LOSSES["in_batch"], 3),
    "CE": ("MIND", {"loss_type": "CE"}, 1),
    "YouTubeDNN": ("YouTubeDNN", UNIFORM | {"sparse_updates": False}, 5),
    "ComiRecSA": ("ComiRecSA", UNIFORM | {"horizon": 5}, 1),
    "ComiRecDR": ("ComiRecDR", LOSSES["in_batch"], 1),
    "clipped": ("MIND", UNIFORM | {"clip_grad_norm": {"max_norm": 0.05, "norm_type": 2}, "item_features": []}, 1),
    "resumed": ("MIND", UNIFORM | {"lazy_sequences": False}, 1),
}


def share_work(rank, folder, cases, ports, queue):
    """One of two processes: each case in turn, in a group of its own."""
    torch.set_num_threads(1)
    for (case, (name, settings)), port in zip(cases.items(), ports, strict=False):
        group = {"nproc": 2, "world_size": 2, "ip": "localhost", "port": port, "offset": 0, "local_rank": rank}
        given, resume = settings | group | {"checkpoint_dir": str(folder / case)}, None
        if case == "resumed":
            resume = run.run(name, "small", overrides=given | {"epochs": 1}).checkpoint
            given["port"] = ports[-1]
        result = run.run(name, "small", overrides=given, resume=resume)
        if rank == 0:
            queue.put((case, result.checkpoint, result.test))


def free_ports(number):
    sockets = [socket.socket() for _ in range(number)]
    for one in sockets:
        one.bind(("localhost", 0))
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


@pytest.fixture(scope="module")
def shared(wide, tmp_path_factory):
    """Checkpoints and figures of each case, after two processes and after one."""
    folder = tmp_path_factory.mktemp("shared")
    config = build.build_config("MIND", "small", overrides=small_settings(wide))
    n = len(build.build_data(config)[1].dataset)
    cases = {}
    for case, (name, settings, left) in SHARED.items():
        size = next(size for size in range(24, n) if n % size == left)
        cases[case] = name, small_settings(wide, train_batch_size=size, **(BASE | settings))
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    arguments = (folder, cases, free_ports(len(cases) + 1), queue)
    one, two = {}, {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        for name in {name for name, _ in cases.values()}:
            Path("log", name).mkdir(parents=True)
        torch.multiprocessing.spawn(share_work, args=arguments, nprocs=2, join=True)
        while not queue.empty():
            case, path, test = queue.get()
            two[case] = path, test
        for case, (name, settings) in cases.items():
            result = run.run(name, "small", overrides=settings | {"checkpoint_dir": str(folder / f"{case} 1")})
            one[case] = result.checkpoint, result.test
    return one, two, cases


@pytest.mark.parametrize("case", SHARED)
def test_two_processes_train_to_the_weights_of_one(shared, wide, case):
    one, two, cases = shared
    (mine, _), (reference, _) = two[case], one[case]
    found, expected = checkpoint.load(mine), checkpoint.load(reference)
    name, settings = cases[case]
    config = build.build_config(name, "small", overrides=settings)
    start = build.build_model(config, build.build_data(config)[1]).state_dict()
    close(found["state_dict"], expected["state_dict"], start, atol=3e-4)
    assert Path(mine).parent != Path(reference).parent


def test_two_processes_test_as_one(shared):
    one, two, _ = shared
    for case in SHARED:
        assert two[case][1] == pytest.approx(one[case][1], abs=0.04), case


def test_processes_that_make_the_log_folder_at_once_do_not_stop_each_other(small, monkeypatch):
    """RecBole looks for the folder first and then makes it; here another process is quicker."""
    original = os.makedirs

    def late(path, *args, **kwargs):
        if "log" in str(path):
            Path(path).mkdir(parents=True, exist_ok=True)
        original(path, *args, **kwargs)

    monkeypatch.setattr(os, "makedirs", late)
    assert run.run("YouTubeDNN", "small", overrides=small_settings(small, epochs=1)).epochs == 1


# -- bfloat16 ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ["CE", "uniform", "in_batch", "sampler", "BPR"])
@models
def test_bfloat16_trains_near_float32(small, name, loss):
    settings = {"epochs": 3} | LOSSES[loss] | FEATURES | soft(name)
    found = {}
    for amp in (True, False):
        trainer, start = trained(small, name, enable_amp=amp, **settings)
        weights = trainer.model.state_dict()
        for key, value in weights.items():
            assert torch.isfinite(value).all(), key
            assert value.dtype != torch.bfloat16
        moved = torch.cat([(weights[key] - start[key]).flatten() for key, _ in trainer.model.named_parameters()])
        found[amp] = trainer.train_loss_dict, float(trainer.best_valid_score), moved
    for epoch, loss_value in found[False][0].items():
        assert found[True][0][epoch] == pytest.approx(loss_value, rel=0.03)
        assert found[True][0][epoch] != loss_value  # something was computed in bfloat16
    assert found[True][1] == pytest.approx(found[False][1], abs=0.08)
    assert F.cosine_similarity(found[True][2], found[False][2], dim=0) > 0.9


def test_a_scaler_is_refused_for_bfloat16(small):
    with pytest.raises(InputError, match="enable_scaler: True"):
        build.build_config("MIND", "small", overrides=small_settings(small, enable_scaler=True))


def test_optimizer_keeps_tables_out_of_torchs_adam(small):
    config, model, _, _, _ = built(small, "MIND", **UNIFORM, **FEATURES)
    optimizer = build.build_trainer(config, model).optimizer
    inside = {id(p) for group in optimizer.param_groups for p in group["params"]}
    tables = {name for name, module in model.named_modules() if isinstance(getattr(module, "rows", None), RowAdam)}
    assert set(optimizer.tables) == tables
    for key, parameter in model.named_parameters():
        assert (id(parameter) in inside) == (key.removesuffix(".weight") not in tables), key
