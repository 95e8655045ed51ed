"""Named protocols: who is tested on what, by hand; that every model follows them; and all that is refused."""

from __future__ import annotations

import json
import logging
import math
import re
import shutil

import numpy as np
import pytest
import torch

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.config import protocols
from recbole_mind.config.keys import known_keys
from recbole_mind.data.packed_dataset import PackedDataset, pack_data
from recbole_mind.training import build, describe, run
from tests import ROOT
from tests.support.data import LEAVE_ONE_OUT, LOAD, small_settings

NAMES = ["leave-one-out", "mind", "comirec", "last-fifth"]
LENGTHS = [2, 3, 5, 7, 10, 13, 1, 6, 4, 9, 12, 8]


def by_users(ratios=(8, 1, 1), history=0.8, seed=0, **more):
    return {"split": {"US": {"ratios": list(ratios), "history": history, "seed": seed}}, "order": "TO"} | more


# -- the samples --------------------------------------------------------------------------------------------------


def write(folder, lengths, items=40, repeats=True, seed=3):
    """The data set ``hand``; its sequences of tokens by user. The file is not in the order of time."""
    g = np.random.default_rng(seed)
    sequences = {
        f"u{user}": [f"i{item}" for item in g.choice(items, size=length, replace=repeats)]
        for user, length in enumerate(lengths)
    }
    rows = [
        f"{user}\t{item}\t{881250000 + place}"
        for user, sequence in sequences.items()
        for place, item in enumerate(sequence)
    ]
    g.shuffle(rows)
    (folder / "hand").mkdir(parents=True)
    (folder / "hand/hand.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
    return sequences


def hand(folder, model="GRU4Rec", **more):
    """Data set and loaders of ``hand``."""
    given = {"data_path": str(folder), "topk": [2, 5], "valid_metric": "Recall@5", "eval_batch_size": 3} | more
    config = build.build_config(model, "hand", overrides=given)
    return config, *build.build_data(config)


def rows_of(dataset, loader, training=False):
    """``(user, history, targets, masked)`` of each row, in tokens."""
    users, items = (dataset.field2id_token[field] for field in ("user_id", "item_id"))
    result = []
    for batch in loader:
        interaction, masked, rows, targets = (batch, None, None, None) if training else batch
        for row in range(len(interaction)):
            history = interaction["item_id_list"][row][: interaction["item_length"][row]]
            found = interaction["item_id"][row : row + 1] if training else targets[rows == row]
            out = [] if masked is None else items[masked[1][masked[0] == row].numpy()].tolist()
            user = users[int(interaction["user_id"][row])]
            result.append((user, items[history.numpy()].tolist(), items[found.numpy()].tolist(), out))
    return result


def expected(sequences, found, share, width):
    """The rows that a loop makes of the users in ``found``."""
    result = {}
    for user in found:
        sequence = sequences[user]
        cut = len(sequence) - 1 if share is None else int(len(sequence) * share)
        result[user] = (sequence[:cut][-width:], set(sequence[cut:]), sequence[:cut])
    return result


@pytest.mark.parametrize("history", [0.8, "last"])
@pytest.mark.parametrize("model", ["GRU4Rec", "MIND"])
def test_every_row_is_what_a_loop_makes(tmp_path, model, history):
    sequences = write(tmp_path, LENGTHS * 3)
    more = {"MAX_ITEM_LIST_LENGTH": 5, "mask_history": True}
    config, dataset, train, valid, test = hand(tmp_path, model, eval_args=by_users((2, 1, 1), history), **more)
    trained = rows_of(dataset, train, training=True)
    users = {user for user, *_ in trained}
    want = [
        (user, sequences[user][max(0, place - 5) : place], [sequences[user][place]], [])
        for user in users
        for place in range(1, len(sequences[user]))
    ]
    assert sorted(trained) == sorted(want)  # all prefixes, of training users alone
    for loader in (valid, test):
        rows = rows_of(dataset, loader)
        wanted = expected(sequences, [user for user, *_ in rows], 0.8 if history == 0.8 else None, 5)
        assert len(rows) == len(wanted) > 3
        for user, before, targets, masked in rows:
            assert user not in users
            assert before == wanted[user][0]
            assert before
            assert sorted(targets) == sorted(wanted[user][1])  # the different ones
            assert targets
            assert sorted(masked) == sorted(item for item in wanted[user][2] if item not in targets)
        users |= set(wanted)
    assert users == {user for user, sequence in sequences.items() if len(sequence) > 1}
    assert config["seed"] == 2020


def test_the_same_users_for_every_seed_and_model_and_others_for_another_split_seed(tmp_path):
    write(tmp_path, LENGTHS * 3)
    found = []
    for model, seed, split in (("GRU4Rec", 1, 0), ("SASRec", 2, 0), ("MIND", 3, 0), ("MIND", 3, 1)):
        _, dataset, _, valid, test = hand(tmp_path, model, seed=seed, eval_args=by_users(seed=split))
        found.append([[user for user, *_ in rows_of(dataset, loader)] for loader in (valid, test)])
    assert found[0] == found[1] == found[2] != found[3]


def test_users_too_short_are_dropped_and_counted(tmp_path, caplog):
    write(tmp_path, [1, 2, 4, 9] * 5)
    with caplog.at_level(logging.INFO):
        _, dataset, train, valid, test = hand(tmp_path, eval_args=by_users((2, 1, 1), 0.3, seed=4))
    kept = [len({user for user, *_ in rows_of(dataset, loader)}) for loader in (valid, test)]
    trained = len({user for user, *_ in rows_of(dataset, train, training=True)})
    (line,) = (record.message for record in caplog.records if "dropped" in record.message)
    assert f"{trained} for training, {kept[0]} for validation, {kept[1]} for test" in line
    short = [10 - trained, 5 - kept[0], 5 - kept[1]]
    assert f"{sum(short)} dropped, too short to be cut ({', '.join(map(str, short))})" in line
    assert kept[0] < 5


def test_mind_keeps_users_and_items_with_ten(tmp_path):
    sequences = write(tmp_path, [9, 10, 25, 30] * 20, items=12)
    _, dataset, train, valid, test = hand(tmp_path, protocol="mind", topk=[5], valid_metric="NDCG@5")
    rows = [row for loader in (valid, test) for row in rows_of(dataset, loader)]
    trained = {user for user, *_ in rows_of(dataset, train, training=True)}
    assert trained | {user for user, *_ in rows} == {user for user, items in sequences.items() if len(items) >= 10}
    assert [len(loader.dataset) for loader in (valid, test)] == [3, 3]  # of 60
    for user, before, targets, _ in rows:
        assert (before, targets) == (sequences[user][:-1], sequences[user][-1:])


@pytest.mark.parametrize("name", ["mind", "comirec"])
def test_a_pack_gives_the_same_rows(tmp_path, name):
    write(tmp_path, [10, 14, 30] * 10, items=12)
    more = {"topk": [5], "valid_metric": "NDCG@5", "protocol": name}
    text = hand(tmp_path, packed=False, **more)
    pack_data(build.build_config("MIND", "hand", overrides={"data_path": str(tmp_path)}))
    found = hand(tmp_path, **more)
    assert type(found[1]) is PackedDataset
    for one, two in zip(text[2:], found[2:], strict=True):
        training = one is text[2]
        assert rows_of(text[1], one, training) == rows_of(found[1], two, training)


# -- the figures --------------------------------------------------------------------------------------------------


def ranked(folder, order, masked, metrics=("Recall", "Hit", "NDCG")):
    """Trainer and test loader of a model that gives every user the tokens of ``order`` first, in that order."""
    more = {"eval_args": by_users((1, 1, 1)), "mask_history": masked, "metrics": list(metrics)}
    config, dataset, train, _, test = hand(folder, "YouTubeDNN", valid_metric=f"{metrics[0]}@5", **more)
    model = build.build_model(config, train)
    scores = torch.linspace(0.1, 0, dataset.item_num)
    for place, token in enumerate(order):
        scores[dataset.token2id("item_id", token)] = 10.0 - place
    model.interests = lambda batch: (torch.ones(len(batch), 1, 1), torch.ones(len(batch), 1, dtype=torch.bool))
    model.item_vectors = lambda: scores[:, None]
    model.full_sort_predict = lambda batch: scores.repeat(len(batch), 1)
    trainer = build.build_trainer(config, model)
    trainer.eval_collector.data_collect(train)
    return trainer, test


def figures(trainer, test, search):
    trainer.config["eval_search"] = search
    return dict(trainer.evaluate(test, load_best_model=False))


@pytest.mark.parametrize("search", ["exact", "dense"])
def test_figures_by_hand(tmp_path, search):
    """One test user with seven behaviours: five are history, and of the two targets one ranks first, one fourth."""
    sequences = write(tmp_path, [7, 7, 7], repeats=False)
    for masked in (False, True):
        _, dataset, _, _, test = hand(tmp_path, eval_args=by_users((1, 1, 1)))
        ((user, history, targets, _),) = rows_of(dataset, test)
        assert (history, sorted(targets)) == (sequences[user][:5], sorted(sequences[user][5:]))
        others = [item for name, items in sequences.items() if name != user for item in items]
        others = [item for item in others if item not in sequences[user]]
        order = [targets[0], history[0], others[0], targets[1], others[1]]
        trainer, test = ranked(tmp_path, order, masked)
        found = figures(trainer, test, search)
        ideal = 1 + 1 / math.log2(3)
        place = 3 if masked else 4  # without the item of the history
        expected = {
            "recall@2": 0.5,
            "recall@5": 1.0,
            "hit@2": 1.0,
            "hit@5": 1.0,
            "ndcg@2": 1 / ideal,
            "ndcg@5": (1 + 1 / math.log2(place + 1)) / ideal,
        }
        assert found == pytest.approx(expected, abs=1e-12)


def test_a_target_bought_before_and_twice_counts_once_and_stays_in_the_ranking(tmp_path):
    folder = tmp_path / "hand"
    folder.mkdir()
    rows = [
        f"u{user}\t{item}\t{place}"
        for user in range(6)
        for place, item in enumerate("hijklmnoab" if user % 2 else "abcdefghaa")
    ]
    (folder / "hand.inter").write_text("user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n")
    for search in ("exact", "dense"):
        trainer, test = ranked(tmp_path, "bacde", True)
        u4, u5 = rows_of(test.dataset, test)
        assert (u4[0], u4[2], sorted(u4[3])) == ("u4", ["a"], list("bcdefgh"))
        assert (u5[0], sorted(u5[2]), sorted(u5[3])) == ("u5", ["a", "b"], list("hijklmno"))
        # u4's list is a, as b was bought before, and that is all there is; u5's is b, a
        found = figures(trainer, test, search)
        assert set(found.values()) == {1.0}
        trainer, test = ranked(tmp_path, "bacde", False)  # u4's list is b, a
        found = figures(trainer, test, search)
        assert found["ndcg@2"] == found["ndcg@5"] == pytest.approx((1 / math.log2(3) + 1) / 2, abs=1e-12)
        assert found["recall@2"] == found["hit@2"] == 1.0


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("model", ["MIND", "GRU4Rec", "SASRec"])
def test_search_and_dense_scores_agree_with_several_targets(tmp_path, model, masked):
    sequences = write(tmp_path, [12, 25, 7, 30] * 10)
    more = {"eval_args": by_users((2, 1, 1)), "mask_history": masked}
    metrics = ["Recall", "Hit", "NDCG", "MRR", "MAP", "Precision"]
    config, dataset, train, _, test = hand(tmp_path, model, metrics=metrics, **more)
    torch.manual_seed(1)
    network = build.build_model(config, train)
    trainer = build.build_trainer(config, network)
    trainer.eval_collector.data_collect(train)
    trainer.config["eval_search"] = "exact"
    evaluation = trainer.evaluated(test, load_best_model=False)
    exact, outcome = dict(evaluation.figures), evaluation.outcome
    users = [user for user, *_ in rows_of(dataset, test)]
    wanted = expected(sequences, users, 0.8, 50)
    assert outcome.numbers().tolist() == [len(wanted[user][1]) for user in users]
    assert figures(trainer, test, "dense") == exact
    if model == "MIND":
        from recbole_mind.evaluation import breakdown

        report = breakdown.report(trainer, outcome, describe.popularity(train))
        assert sum(group["targets"] for group in report["by_target_popularity"]) == len(outcome.targets)
        assert sum(group["users"] for group in report["by_history_length"]) == len(test.dataset) == 10
        assert sum(report["hits_by_interest"].values()) == pytest.approx(1, abs=1e-3)
        whole = sum(group["users"] * group["recall@5"] for group in report["by_history_length"]) / 10
        assert whole == pytest.approx(exact["recall@5"], abs=1e-4)


# -- every model --------------------------------------------------------------------------------------------------


def under(folder, model, name, **more):
    """Settings of a quick run on the data set ``hand`` under a protocol."""
    known = known_keys(model)
    given = {key: value for key, value in small_settings(folder).items() if key in known and key != "eval_args"}
    given |= {"load_col": None, "protocol": name, "epochs": 1, "valid_metric": "NDCG@5"}
    return given | {"topk": [2, 5]} | more


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    write(folder, [10, 14, 30] * 14, items=20)
    return folder


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("model", ["MIND", "YouTubeDNN", "SASRec", "GRU4Rec"])
def test_every_model_follows_every_protocol(long, model, name, tmp_path):
    record = tmp_path / "record.json"
    result = run.run(model, "hand", overrides=under(long, model, name), record=record)
    assert result.protocol["name"] == result.config["protocol"] == name
    assert result.protocol["changed"] == ["topk", "valid_metric"]
    assert result.protocol["mask_history"] == (name != "comirec")
    splits = {"leave-one-out": "LS", "last-fifth": "LF"}
    assert list(result.protocol["split"]) == [splits.get(name, "US")]
    assert ("hit@2" in result.test) == (name in ("comirec", "last-fifth"))
    again = run.evaluate(result.checkpoint)
    assert (again.test, again.valid, again.protocol["name"]) == (result.test, result.valid, name)
    assert run.run(config_files=[record]).test == result.test
    if model == "MIND":
        masked = run.evaluate(result.checkpoint, overrides={"mask_history": name == "comirec"})
        assert masked.protocol["changed"] == ["mask_history", "topk", "valid_metric"]
        with pytest.raises(InputError, match="splits the data in another way"):
            run.evaluate(result.checkpoint, overrides={"protocol": NAMES[NAMES.index(name) - 1]})
        other = under(long, model, NAMES[NAMES.index(name) - 1])
        with pytest.raises(InputError, match="was trained under protocol"):
            run.run(model, "hand", overrides=other, resume=result.checkpoint)


@pytest.mark.parametrize("model", ["Pop", "ItemKNN", "BPR"])
def test_models_without_a_sequence_take_leave_one_out(long, model):
    result = run.run(model, "hand", overrides=under(long, model, "leave-one-out"))
    assert result.protocol["mask_history"] is True
    assert result.protocol["changed"] == ["topk", "valid_metric"]
    _, _, test, *_ = splits_of(long, model)
    _, _, same, *_ = splits_of(long, "GRU4Rec")
    assert test == same


def splits_of(folder, model):
    """For each part ``{user: target}``, in tokens."""
    config = build.build_config(model, "hand", overrides=under(folder, model, "leave-one-out"))
    dataset, *loaders = build.build_data(config)
    tokens = [dataset.field2id_token[field] for field in ("user_id", "item_id")]
    return [
        dict(
            zip(
                tokens[0][loader.dataset.inter_feat["user_id"].numpy()],
                tokens[1][loader.dataset.inter_feat["item_id"].numpy()],
                strict=True,
            )
        )
        for loader in loaders
    ]


def test_a_vector_for_each_user_is_warned_of(long, caplog):
    for model, number in (("Caser", 1), ("GRU4Rec", 0)):
        config = build.build_config(model, "hand", overrides=under(long, model, "comirec"))
        _, train, _, _ = build.build_data(config)
        caplog.clear()
        build.build_model(config, train)
        lines = [
            r.message for r in caplog.records if r.levelno == logging.WARNING and "vector for each user" in r.message
        ]
        assert len(lines) == number
    assert number == 0


# -- settings -----------------------------------------------------------------------------------------------------


def test_what_is_given_wins_over_the_protocol(small, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("protocol: comirec\nmask_history: True\ntopk: [5]\n")
    base = {"data_path": str(small), "load_col": LOAD}
    config = build.build_config("MIND", "small", [path], base | {"topk": [7], "valid_metric": "Hit@7"})
    assert (config["topk"], config["mask_history"], config["valid_metric"]) == ([7], True, "Hit@7")
    assert config["metrics"] == ["Recall", "Hit", "NDCG"]
    assert protocols.changed(config) == ["mask_history", "topk", "valid_metric"]
    config = build.build_config("MIND", "small", [path], {**base, "protocol": "mind", "topk": [10]})
    assert config["item_inter_num_interval"] == "[10,inf)"
    assert config["eval_args"]["split"]["US"]["ratios"] == [18, 1, 1]
    config = build.build_config("MIND", "small", [path], {**base, "protocol": None, "valid_metric": "MRR@5"})
    assert config["eval_args"]["split"] == {"LS": "valid_and_test"}
    assert protocols.changed(config) == []


def test_the_protocol_holds_for_recboles_own_configuration(small):
    from recbole.config import Config

    given = {"data_path": str(small), "load_col": LOAD, "protocol": "comirec"}
    config = Config(model="MIND", dataset="small", config_dict=given)
    assert (config["topk"], config["valid_metric"]) == ([20, 50], "Recall@50")
    assert protocols.user_split(config["eval_args"]).ratios == (8, 1, 1)


def test_each_protocol_is_documented_and_ranks_the_whole_catalogue():
    from importlib.resources import files

    assert protocols.known() == sorted(NAMES)
    for name in NAMES:
        own = protocols.chosen({"protocol": name})
        assert own["eval_args"]["mode"] == {"valid": "full", "test": "full"}
        assert {"mask_history", "metrics", "topk", "valid_metric"} <= set(own)
        text = (files("recbole_mind.properties") / "protocol" / f"{name}.yaml").read_text()
        commented = {line.split(":")[0] for line in text.splitlines() if "# (" in line}
        assert commented == set(own)
    assert protocols.chosen({}) == {}


def test_the_result_says_the_protocol_in_words(long, capsys):
    arguments = [f"--data_path={long}", "--protocol=comirec", "--epochs=1", "--topk=[5]", "--valid_metric=Hit@5"]
    assert main.run_recbole(["--model=YouTubeDNN", "--dataset=hand", "--show_progress=False", *arguments]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert (
        "protocol comirec, but for topk, valid_metric: users 8:1:1 for training, validation, test (seed 0), the first "
        "80% of a held-out user as history, time order 'data', whole catalogue ranked, history not masked"
    ) in shown


@pytest.mark.parametrize(
    ("model", "more", "words"),
    [
        ("MIND", {"protocol": "mnd"}, ["protocol: 'mnd' is unknown", "did you mean 'mind'", "comirec, last-fifth"]),
        ("GRU4Rec", {"protocol": ["mind"]}, ["protocol", "is unknown", "allowed: comirec"]),
        ("MIND", {"protocol": "mind", "eval_args": LEAVE_ONE_OUT}, ["'mind' sets eval_args", "leave one out"]),
        ("SASRec", {"protocol": "comirec", "eval_args": {"mode": "uni20"}}, ["'comirec' sets eval_args"]),
        ("MIND", {"protocol": "mind", "benchmark_filename": ["a", "b", "c"]}, ["'mind'", "benchmark_filename"]),
        ("MIND", {"eval_args": by_users(), "benchmark_filename": ["a"]}, ["split US", "benchmark_filename"]),
        ("BPR", {"protocol": "comirec"}, ["'comirec'", "model 'BPR'", "each user in training", "sequential models"]),
        ("ItemKNN", {"protocol": "mind"}, ["'mind'", "model 'ItemKNN'", "sequential models"]),
        ("Pop", {"eval_args": by_users()}, ["split US", "model 'Pop'"]),
        ("MIND", {"protocol": "mind", "lazy_sequences": False}, ["lazy_sequences: False", "'mind'", "allowed: True"]),
        ("MIND", {"eval_args": by_users(order="RO")}, ["split US", "order 'RO'", "allowed: TO"]),
        ("MIND", {"eval_args": by_users(mode="uni20")}, ["split US", "'uni20'", "allowed: full"]),
        ("MIND", {"eval_args": by_users(ratios=(8, 2))}, ["ratios: [8, 2]", "three numbers above 0"]),
        ("MIND", {"eval_args": by_users(ratios=(8, 2, 0))}, ["ratios: [8, 2, 0]", "above 0"]),
        ("MIND", {"eval_args": by_users(ratios="abc")}, ["ratios", "three numbers"]),
        ("MIND", {"eval_args": by_users(history="first")}, ["history: 'first'", "last, a share"]),
        ("MIND", {"eval_args": by_users(history=1)}, ["history: 1 ", "below 1"]),
        ("MIND", {"eval_args": by_users(seed=-1)}, ["seed: -1", "at least 0"]),
        ("MIND", {"eval_args": by_users(seed=True)}, ["seed: True"]),
        ("MIND", {"eval_args": {"split": {"US": [8, 1, 1]}, "order": "TO"}}, ["split US: [8, 1, 1]", "such as"]),
        ("MIND", {"eval_args": {"split": {"US": {"ratios": [8, 1, 1]}}, "order": "TO"}}, ["lacks 'history'"]),
        ("MIND", {"eval_args": {"split": {"US": {"ratio": [8, 1, 1]}}}}, ["unknown key 'ratio'", "'ratios'"]),
        ("MIND", {"eval_args": {"split": {"US": {}, "LS": "valid_and_test"}}}, ["beside LS", "leave one out"]),
    ],
    ids=lambda value: str(value)[:60] if isinstance(value, dict) else "",
)
def test_what_contradicts_is_refused(small, model, more, words):
    with pytest.raises(InputError) as error:
        build.build_config(model, "small", overrides={"data_path": str(small), "load_col": LOAD} | more)
    for word in words:
        assert word in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", NAMES)
def test_data_without_a_time_are_refused(tmp_path, name):
    folder = tmp_path / "plain"
    folder.mkdir()
    rows = [f"u{user}\ti{item}" for user in range(20) for item in range(12)]
    (folder / "plain.inter").write_text("\n".join(["user_id:token\titem_id:token", *rows]) + "\n")
    for model in ("MIND", "SASRec", *(["Pop"] if name == "leave-one-out" else [])):
        with pytest.raises(
            InputError, match=rf"protocol: '{name}' orders by time, and 'plain' has no field 'timestamp'"
        ):
            run.run(model, "plain", overrides={"data_path": str(tmp_path), "protocol": name})
    with pytest.raises(InputError, match="eval_args orders by time"):
        run.run("SASRec", "plain", overrides={"data_path": str(tmp_path), "valid_metric": "MRR@10"})


@pytest.mark.parametrize(
    ("lengths", "more", "message"),
    [
        (
            [9] * 30,
            {"protocol": "mind"},
            r"user_inter_num_interval: '\[10,inf\)' and .* leave no interaction of 'hand'",
        ),
        ([12] * 9, {"protocol": "mind", "item_inter_num_interval": "[1,inf)"}, "'mind' .*no user for validation, test"),
        (
            [12] * 4,
            {"protocol": "comirec"},
            "protocol: 'comirec' on dataset 'hand' leaves no user for validation, test",
        ),
        ([1] * 30 + [2] * 0, {"protocol": "comirec"}, "leaves no user for training, validation, test"),
        ([3] * 6, {"eval_args": by_users((1, 1, 1), 0.3)}, "^dataset 'hand' leaves no user for validation, test"),
        ([2] * 9, {"protocol": "leave-one-out"}, "'hand'.*leaves no row for validation"),
        (
            [9] * 9,
            {"eval_args": {"split": {"RS": [0, 1, 1]}, "order": "TO"}},
            "^dataset: 'hand' leaves no row for training",
        ),
    ],
)
def test_a_part_without_users_is_refused_by_name(tmp_path, lengths, more, message):
    write(tmp_path, lengths)
    given = {"data_path": str(tmp_path), "topk": [5], "valid_metric": "Recall@5"} | more
    for model in ("MIND", "GRU4Rec"):
        with pytest.raises(InputError, match=message):
            run.run(model, "hand", overrides=given)


def test_a_model_with_a_data_set_of_its_own_cannot_be_split_by_users(long):
    with pytest.raises(InputError, match="splits by users, which the data set of model 'FEARec' cannot do"):
        run.run("FEARec", "hand", overrides=under(long, "FEARec", "comirec"))


def test_a_run_under_no_protocol_says_so(long, tmp_path):
    given = under(long, "YouTubeDNN", None, eval_args=LEAVE_ONE_OUT)
    result = run.run("YouTubeDNN", "hand", overrides=given, record=tmp_path / "record.json")
    assert (result.protocol["name"], result.protocol["changed"]) == (None, [])
    assert json.loads((tmp_path / "record.json").read_text())["config"]["protocol"] is None
    shutil.rmtree("saved")


# -- short histories ----------------------------------------------------------------------------------------------

SHORT = [1, 2, 3, 4, 5]  # behaviours of users u0 to u4; others have enough
PLACES = {  # of each user's targets among the behaviours, counted from 1, in training, validation and test
    "MIND": [([], [], []), ([2], [], []), ([2], [], [3]), ([2], [3], [4]), ([2, 3], [4], [5])],
    "BPR": [([1], [], []), ([1], [], [2]), ([1], [2], [3]), ([1, 2], [3], [4]), ([1, 2, 3], [4], [5])],
}


@pytest.mark.parametrize(
    ("model", "kind"),
    [("MIND", "lazy"), ("MIND", "padded"), ("MIND", "packed"), ("SASRec", "lazy"), ("SASRec", "padded"), ("BPR", "")],
)
def test_leave_one_out_of_short_histories_is_as_the_page_says(tmp_path, model, kind, capsys):
    sequences = write(tmp_path, [*SHORT, 9, 9, 9], repeats=False)
    more = {"padded": {"lazy_sequences": False}, "lazy": {"packed": False}}.get(kind, {})
    overrides = {"data_path": str(tmp_path), "protocol": "leave-one-out", "topk": [3], "valid_metric": "NDCG@3"} | more
    config = build.build_config(model, "hand", overrides=overrides)
    if kind == "packed":
        pack_data(config)
    with build.quiet(config):
        dataset, *parts = build.build_data(config)
    assert isinstance(dataset, PackedDataset) == (kind == "packed")
    found = []
    for part in parts:
        rows = part.dataset.inter_feat
        pairs = zip(dataset.id2token("user_id", rows["user_id"]), dataset.id2token("item_id", rows["item_id"]),
                    strict=True)  # fmt: skip
        found.append(sorted((user, sequences[user].index(item) + 1) for user, item in pairs))
    want = PLACES["BPR" if model == "BPR" else "MIND"]
    for user, places in enumerate(want):
        assert tuple([place for name, place in part if name == f"u{user}"] for part in found) == places
    said = capsys.readouterr().err
    users, first = (8, "1 behaviour") if model == "BPR" else (7, "2 behaviours")
    test, valid = (2, 3) if model == "BPR" else (3, 4)
    assert (
        f"leave-one-out: of {users} users with at least {first}, 1 have no test target (it takes {test}) and 2 have no "
        f"validation target (it takes {valid})"
    ) in " ".join(said.split())


def test_no_word_of_short_histories_where_there_are_none(tmp_path, capsys):
    write(tmp_path, [4, 5, 9, 9])
    overrides = {"data_path": str(tmp_path), "protocol": "leave-one-out", "topk": [3], "valid_metric": "NDCG@3"}
    config = build.build_config("MIND", "hand", overrides=overrides)
    with build.quiet(config):
        build.build_data(config)
    assert "leave-one-out" not in capsys.readouterr().err


def test_the_page_tells_the_rule_of_short_histories():
    text = (ROOT / "docs/protocols.md").read_text("utf-8")
    rows = [line.split("|")[1:4] for line in text.splitlines() if line.startswith(("| 1 |", "| 2 |", "| 3 |"))]
    words = {"training": 0, "validation": 1, "test": 2}
    for number, (_, sequential, plain) in enumerate(rows):
        for said, model in ((sequential, "MIND"), (plain, "BPR")):
            named = [phase for phase, part in words.items() if phase in said]
            assert named == [phase for phase, part in words.items() if PLACES[model][number][part]]


# -- each user's last behaviours ----------------------------------------------------------------------------------

LAST_FIFTH = {"split": {"LF": {"valid": 0.1, "test": 0.2}}, "order": "TO", "group_by": "user"}


def portions(length, ratios):
    """RecBole's rule for one user: what follows the first part is rounded down, but to one where there is enough."""
    numbers = [0, int(ratios[1] * length), int(ratios[2] * length)]
    numbers[0] = length - sum(numbers)
    for part in (2, 1):
        if numbers[0] <= 1:
            break
        if 0 < ratios[part] * length < 1:
            numbers[part], numbers[0] = numbers[part] + 1, numbers[0] - 1
    return numbers


@pytest.mark.parametrize("model", ["GRU4Rec", "MIND"])
def test_last_fifth_is_what_a_loop_makes(tmp_path, model):
    sequences = write(tmp_path, LENGTHS * 2)
    more = {"MAX_ITEM_LIST_LENGTH": 5, "mask_history": True, "eval_args": LAST_FIFTH}
    _, dataset, *loaders = hand(tmp_path, model, **more)
    want = [[], {}, {}]
    for user, sequence in sequences.items():
        first, second, _ = portions(len(sequence), [0.7, 0.1, 0.2])
        want[0] += [(user, sequence[max(0, place - 5) : place], [sequence[place]], []) for place in range(1, first)]
        ends = (first, first + second, len(sequence))
        for phase in (1, 2):
            begin, end = ends[phase - 1 : phase + 1]
            if 1 <= begin < end:
                before, after = sequence[:begin], set(sequence[begin:end])
                want[phase][user] = (before[-5:], after, set(before) - after)
    assert sorted(rows_of(dataset, loaders[0], training=True)) == sorted(want[0])
    for loader, wanted in zip(loaders[1:], want[1:], strict=True):
        rows = rows_of(dataset, loader)
        assert len(rows) == len(wanted) > 15
        for user, before, targets, masked in rows:
            assert (before, set(targets), set(masked)) == wanted[user]
            assert len(targets) == len(set(targets))


@pytest.mark.parametrize("kind", ["packed", "shuffled"])
def test_last_fifth_of_a_pack_is_the_same(tmp_path, kind):
    write(tmp_path, LENGTHS * 2)
    _, dataset, *loaders = hand(tmp_path, "MIND", eval_args=LAST_FIFTH, packed=False)
    config, *_ = hand(tmp_path, "MIND", eval_args=LAST_FIFTH)
    pack_data(config)
    _, other, *packed = hand(tmp_path, "MIND", eval_args=LAST_FIFTH)
    assert isinstance(other, PackedDataset)
    for ours, theirs in zip(loaders, packed, strict=True):
        training = ours is loaders[0]
        assert sorted(rows_of(dataset, ours, training)) == sorted(rows_of(other, theirs, training))


def test_models_without_a_sequence_have_the_same_targets(tmp_path):
    write(tmp_path, LENGTHS * 3, repeats=False)
    found = []
    for model in ("MIND", "Pop"):
        config, dataset, _, valid, test = hand(tmp_path, model, eval_args=LAST_FIFTH)
        parts = []
        for loader in (valid, test):
            targets = {}
            for batch in loader:
                interaction, _, rows, items = batch
                for row, item in zip(rows.tolist(), items.tolist(), strict=True):
                    user = dataset.id2token("user_id", int(interaction["user_id"][row]))
                    targets.setdefault(user, set()).add(dataset.id2token("item_id", item))
            parts.append(targets)
        found.append(parts)
        assert config["eval_args"]["split"] == LAST_FIFTH["split"]  # as the record says
    ours, theirs = found
    for phase in (0, 1):
        assert ours[phase] == {user: theirs[phase][user] for user in ours[phase]}
        assert len(ours[phase]) > 20
        assert set(theirs[phase]) - set(ours[phase]) == set()


@pytest.mark.parametrize(
    ("split", "words"),
    [
        ({"LF": {"valid": 0.5, "test": 0.5}}, "fractions above 0 that leave some for training"),
        ({"LF": {"valid": 0, "test": 0.2}}, "fractions above 0"),
        ({"LF": {"test": 0.2}}, "allowed: such as {valid: 0.1, test: 0.2}"),
        ({"LF": [0.1, 0.2]}, "allowed: such as {valid: 0.1, test: 0.2}"),
        ({"LF": {"valid": 0.1, "test": 0.2}, "RS": [8, 1, 1]}, "stands beside RS; leave one out"),
    ],
)
def test_fractions_that_cannot_be_are_refused(small, split, words):
    with pytest.raises(InputError, match=re.escape(words)):
        build.build_config(
            "MIND", "small", overrides=small_settings(small) | {"eval_args": LAST_FIFTH | {"split": split}}
        )


@pytest.mark.parametrize(
    ("more", "words"),
    [({"order": "RO"}, "by time"), ({"group_by": "none"}, "each user's behaviours"), ({"mode": "uni50"}, "catalogue")],
)
@pytest.mark.parametrize("model", ["MIND", "Pop"])
def test_last_behaviours_in_another_order_are_refused(small, model, more, words):
    given = {"data_path": str(small), "eval_args": LAST_FIFTH | more}
    with pytest.raises(InputError, match=words):
        build.build_config(model, "small", overrides=given)
