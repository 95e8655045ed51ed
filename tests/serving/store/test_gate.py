"""The publish gate's rules on hand-made histories, and its trial of a bundle."""

from __future__ import annotations

import importlib
import math
import sys
import types

import numpy as np
import pytest

from recbole_mind import InputError
from recbole_mind.config import loading
from recbole_mind.experiments.leaderboard.table import SMALLER
from recbole_mind.retrieval.index import MultiVectorIndex
from recbole_mind.serving.store import gate, self_check

LIMITS = gate.limits()
# mean 2, sample deviation exactly 0.1 · sqrt(14/13): seven publications at 1.9 and seven at 2.1
TWO = [1.9, 2.1] * 7
DEVIATION = 0.1 * math.sqrt(14 / 13)


def history(values, name="loss"):
    return [{name: value} for value in values]


def limits(tmp_path, text):
    (tmp_path / "gate.yaml").write_text(text)
    return gate.limits(tmp_path / "gate.yaml")


def judge(value, past, asked=LIMITS, name="loss"):
    return gate.judge({name: value}, history(past, name), asked)


def test_the_limits_are_the_issues():
    assert (LIMITS.short_window, LIMITS.short_deviations) == (14, 3)
    assert (LIMITS.long_window, LIMITS.long_quantile, LIMITS.long_factor) == (30, 0.9, 1.1)
    assert set(LIMITS.lower_is_better) == SMALLER | {"loss"}
    text = (importlib.resources.files("recbole_mind.properties") / "production" / "gate.yaml").read_text()
    documented = {line.split(":")[0] for line in text.splitlines() if ":" in line.split("#")[0] and "# (" in line}
    assert documented == set(loading.defaults("production", "gate"))


@pytest.mark.parametrize("name", ["loss", "valid.recall@10"])
@pytest.mark.parametrize("side", [-1, 1])
def test_three_deviations_pass_and_a_little_more_blocks(name, side):
    inside, outside = 2 + side * 2.99 * DEVIATION, 2 + side * 3.01 * DEVIATION
    # long before, figures lay around too, so that the long-term rules have nothing to say
    assert gate.judge({name: inside}, history(TWO, name), LIMITS).allowed
    found = gate.judge({name: outside}, history(TWO, name), LIMITS)
    assert not found.allowed
    (reason,) = found.reasons
    assert reason == (
        f"{name} {outside:.4g} is outside 1.689 to 2.311: mean 2 ± 3 × deviation 0.1038 of the last 14 publications"
    )
    assert found.figures == {name: outside}


def test_only_the_last_fourteen_count():
    assert judge(2.0, [50.0] * 16 + TWO).allowed
    assert not judge(50.0, [50.0] * 16 + TWO).allowed


def test_publications_that_do_not_differ_do_not_block_the_next():
    same = [2.0] * 14
    assert judge(2.0, same).allowed
    assert judge(2.05, same).allowed  # within 3 × 1% of the mean
    (reason,) = judge(2.07, same).reasons
    assert "deviation 0, counted as 0.02" in reason
    assert judge(2.05, [2.0] * 30).allowed  # and the quantile of equals says nothing
    assert judge(0.0, [0.0] * 30).allowed
    assert not judge(1e-3, [0.0] * 14).allowed


def test_a_short_history_says_so_and_lets_pass():
    found = judge(99.0, [2.0, 2.1, 1.9])
    assert found.allowed
    assert found.notes == (
        "all: the short-term rules need 7 publications and let pass, since there are 3",
        "all: the long-term rules need 15 publications and let pass, since there are 3",
    )
    assert judge(99.0, []).allowed
    assert not judge(99.0, [2.0, 2.1] * 4).allowed  # eight are enough for the short term
    assert (
        "all: the long-term rules need 15 publications and let pass, since there are 8" in judge(2.0, [2.0] * 8).notes
    )
    assert judge(2.0, [2.0] * 15).notes == ()


def test_a_new_figure_has_a_history_of_its_own():
    found = gate.judge({"loss": 2.0, "test.recall@50": 0.3}, history(TWO * 2), LIMITS)
    assert found.allowed
    assert found.notes[0] == "test.recall@50: the short-term rules need 7 publications and let pass, since there are 0"


# -- long term -------------------------------------------------------------------------------------------------------

RISING = [1 + place / 100 for place in range(30)]  # 1.00 to 1.29; the 90% quantile is 1 + 0.9 · 29 / 100 = 1.261


def only_long(tmp_path, text=""):
    return limits(tmp_path, f"short_deviations: ~\n{text}")


def test_a_loss_above_the_quantile_blocks(tmp_path):
    asked = only_long(tmp_path)
    assert judge(1.26, RISING, asked).allowed
    (reason,) = judge(1.2611, RISING, asked).reasons
    assert reason == "loss 1.261 is above 1.261, the 90% quantile of the last 30 publications"
    assert judge(1.0, RISING, asked).allowed  # a small loss never is a reason in the long term
    assert judge(1.27, RISING, only_long(tmp_path, "long_quantile: ~")).allowed
    assert judge(1.27, RISING, only_long(tmp_path, "long_quantile: 1")).allowed


def test_a_loss_over_the_maximum_and_a_tenth_blocks(tmp_path):
    asked = only_long(tmp_path, "long_quantile: ~")
    assert judge(1.41, RISING, asked).allowed  # 1.1 × 1.29 = 1.419
    (reason,) = judge(1.42, RISING, asked).reasons
    assert reason == "loss 1.42 is above 1.419, 1.1 × the maximum 1.29 of the last 30 publications"
    assert len(judge(1.42, RISING, only_long(tmp_path)).reasons) == 2
    assert judge(9.0, RISING, only_long(tmp_path, "long_quantile: ~\nlong_factor: ~")).allowed


def test_only_the_last_thirty_count(tmp_path):
    asked = only_long(tmp_path, "long_quantile: ~")
    assert not judge(2.0, [5.0, *RISING], asked).allowed
    assert judge(2.0, [*RISING, 5.0], asked).allowed


def test_a_maximum_below_zero_leaves_room_above_it(tmp_path):
    asked = only_long(tmp_path, "long_quantile: ~")
    past = [-2.0, -1.0] * 8  # -1 + 0.1 · 1 = -0.9
    assert judge(-0.91, past, asked).allowed
    assert not judge(-0.89, past, asked).allowed


def test_where_more_is_better_the_rules_are_mirrored(tmp_path):
    asked = only_long(tmp_path)
    past = [0.2 + place / 100 for place in range(30)]  # 0.20 to 0.49
    for name in ("valid.recall@10", "test.ndcg@5"):
        assert judge(0.181, past, asked, name).allowed  # 0.9 × 0.20
        assert judge(5.0, past, asked, name).allowed
        (reason,) = judge(0.179, past, asked, name).reasons
        assert reason == f"{name} 0.179 is below 0.18, 0.9 × the minimum 0.2 of the last 30 publications"
    assert not judge(0.55, past, asked, "test.giniindex@10").allowed  # of which less is better
    assert judge(0.1, past, asked, "test.giniindex@10").allowed
    wide = only_long(tmp_path, "quantile_figures: [valid.*]")
    (reason,) = judge(0.19, past, wide, "valid.recall@10").reasons
    assert reason == "valid.recall@10 0.19 is below 0.229, the 10% quantile of the last 30 publications"


# -- what is no number -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, "nan", True])
@pytest.mark.parametrize("past", [[], TWO])
def test_what_is_no_finite_number_blocks(value, past):
    (reason,) = judge(value, past).reasons
    assert reason == f"loss is {value}, which is no finite number"


def test_a_figure_that_is_missing_blocks():
    found = gate.judge({"valid.recall@10": 0.1}, [{"loss": 2.0, "valid.recall@10": 0.1}], LIMITS)
    assert found.reasons == ("loss is missing; the last publication's was 2",)
    assert found.figures == {"valid.recall@10": 0.1, "loss": None}
    assert gate.judge({"valid.recall@10": 0.1}, [{"valid.recall@10": 0.1}], LIMITS).allowed  # it never was
    forced = [{"loss": 2.0}, found.figures]
    assert gate.judge({"valid.recall@10": 0.1}, forced, LIMITS).allowed  # as the last, which a person forced
    assert gate.judge({"valid.recall@10": None}, [], LIMITS).reasons == ("valid.recall@10 is missing",)
    assert not gate.judge({}, [], LIMITS).allowed
    assert gate.judge({"other": 1.0}, [], LIMITS).reasons == (
        f"the bundle states none of the figures {', '.join(LIMITS.figures)}",
    )


def test_figures_of_the_past_that_are_no_numbers_are_left_out():
    past = [*history(TWO), {"loss": "nan"}, {"loss": None}, {}]
    assert judge(2.2, [before.get("loss") for before in past]).allowed
    assert not judge(2.4, [before.get("loss") for before in past]).allowed


def test_only_the_chosen_figures_are_judged(tmp_path):
    asked = limits(tmp_path, "figures: [loss, valid.ndcg@10]")
    past = [{"loss": 2.0, "valid.ndcg@10": 0.3, "test.recall@10": 0.3}] * 14
    found = gate.judge({"loss": 2.0, "valid.ndcg@10": 0.3, "test.recall@10": 9.0}, past, asked)
    assert found.allowed
    assert found.figures == {"loss": 2.0, "valid.ndcg@10": 0.3}


def test_a_manifests_figures():
    manifest = {"loss": 2.5, "metrics": {"valid": {"recall@10": 0.1}, "test": {"ndcg@5": 0.2}}}
    assert gate.figures_of(manifest) == {"loss": 2.5, "valid.recall@10": 0.1, "test.ndcg@5": 0.2}
    assert gate.figures_of({"loss": None, "metrics": {"valid": {}}}) == {}


# -- limits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("short_windows: 3", "unknown key 'short_windows'; did you mean 'short_window'"),
        ("short_window: 1", "short_window: 1 is not allowed; allowed: a whole number, at least 2"),
        ("short_least: 15", "short_least: 15 is not allowed; allowed: at most short_window, 14"),
        ("short_deviations: 0", "short_deviations: 0 is not allowed; allowed: a number above 0"),
        ("long_quantile: 1.5", "long_quantile: 1.5 is not allowed; allowed: a number from 0 to 1"),
        ("long_factor: 0.9", "long_factor: 0.9 is not allowed; allowed: a number, at least 1"),
        ("index_recall: ~", "index_recall: None is not allowed"),
        ("figures: []", "figures: [] is not allowed"),
        ("figures: [loss, loss]", "figures: ['loss', 'loss'] names one twice"),
        ("figures: 3", "figures: 3 is not allowed"),
        ("least_deviation: -1", "least_deviation: -1 is not allowed"),
        ("samples: many", "samples: 'many' is not a number"),
    ],
)
def test_limits_out_of_range_are_refused_by_name(tmp_path, text, words):
    with pytest.raises(InputError) as error:
        limits(tmp_path, text)
    assert f"gate.yaml': {words}" in str(error.value)
    assert "\n" not in str(error.value)


# -- trying a bundle -------------------------------------------------------------------------------------------------


class Found(types.SimpleNamespace):
    pass


class StandInRecaller:
    """A recaller on the stand-in bundle: an interest is the mean of the history."""

    def __init__(self, bundle):
        self.bundle = bundle

    def interests(self, history, profile=None):
        return Found(vectors=self.bundle.index.vectors[self.rows(history)].mean(0, keepdims=True))

    def recall(self, history, n=10):
        if not history:
            return Found(items=["i1", "i2"], scores=[2.0, 1.0], fallback="empty history")
        found = self.bundle.index.search(self.interests(history).vectors[None], None, n, exclude=[self.rows(history)])
        return Found(items=[f"i{row}" for row in found.ids[0]], scores=found.scores[0].tolist(), fallback=None)

    def rows(self, history):
        return [int(token[1:]) for token in history]


@pytest.fixture
def trial(monkeypatch):
    """A bundle that stands in for a real one: ``trial(factory, change)`` says what comes of trying it."""

    def run(factory="exact", change=lambda bundle, recaller: None, asked=LIMITS):
        vectors = np.random.default_rng(1).normal(size=(2000, 16)).astype(np.float32)
        index = MultiVectorIndex.build(vectors, factory, "cosine", threads=1)
        tokens = types.SimpleNamespace(tokens=lambda rows: [f"i{row}" for row in rows])
        kind = types.SimpleNamespace(kind="interests")
        bundle = types.SimpleNamespace(index=index, item_tokens=tokens, profile=(), manifest=kind, ranks=False)
        recaller = StandInRecaller(bundle)
        change(bundle, recaller)
        load = types.SimpleNamespace(load=lambda folder, **more: bundle)
        monkeypatch.setitem(sys.modules, "recbole_mind.serving.bundle.bundle", types.SimpleNamespace(Bundle=load))
        monkeypatch.setitem(
            sys.modules, "recbole_mind.serving.recaller", types.SimpleNamespace(Recaller=lambda _: recaller)
        )
        return self_check.self_checks("folder", asked)

    return run


def test_a_sound_bundle_passes(trial):
    assert trial() == gate.Checked((), (), {"index_recall": 1.0})
    found = trial("IVF16,Flat")
    assert found.faults == ()
    assert 0 < found.figures["index_recall"] <= 1


def test_an_index_that_finds_too_little_is_a_reason_that_can_be_forced(trial, tmp_path):
    def one_list(bundle, recaller):
        bundle.index.set_parameters(nprobe=1)

    # at 100 the list falls short: what an exact search adds then is not the index's
    for n in (10, 100):
        found = trial("IVF64,Flat", one_list, limits(tmp_path, f"index_recall_at: {n}"))
        share = found.figures["index_recall"]
        assert share < 0.95
        assert found.faults == ()
        assert found.reasons == (
            f"the index finds {share:.1%} of the {n} items that exact search finds; index_recall asks for 95.0%",
        )
    assert trial("IVF64,Flat", one_list, limits(tmp_path, "index_recall_at: 10\nindex_recall: 0.01")).reasons == ()


def test_what_does_not_work_is_a_fault(trial):
    def fault(change):
        found = trial(change=change)
        assert found.figures == {}
        return found.faults

    def broken(bundle, recaller):
        recaller.recall = lambda history, n: 1 / 0

    def silent(bundle, recaller):
        recaller.recall = lambda history, n: Found(items=[], scores=[], fallback=None)

    assert fault(broken)[0] == "a recall fails: division by zero"
    assert [text.split(" gives")[0] for text in fault(silent)] == ["a recall", "a recall for an empty history"]


def test_an_encoder_that_does_not_know_the_index_is_a_reason(trial):
    turn = np.linalg.qr(np.random.default_rng(2).normal(size=(16, 16)))[0].astype(np.float32)

    def turned(bundle, recaller):
        before = recaller.interests
        recaller.interests = lambda history: Found(vectors=before(history).vectors @ turn)

    found = trial(change=turned)
    assert found.faults == ()
    (reason,) = found.reasons
    assert reason.startswith("interests are no nearer to their own histories than to other items")


def test_a_bundle_that_does_not_load_is_a_fault(trial, monkeypatch):
    def refused(folder, **more):
        raise InputError("'norms.npy' holds NaN")

    trial()
    monkeypatch.setattr(sys.modules["recbole_mind.serving.bundle.bundle"].Bundle, "load", refused)
    assert self_check.self_checks("folder", LIMITS) == gate.Checked((), ("'norms.npy' holds NaN",), {})


@pytest.mark.parametrize(
    "change",
    [
        {"items": ["i1", "i1"]},
        {"scores": [1.0, 2.0]},
        {"scores": [math.nan, 0.0]},
        {"fallback": "unknown items"},
    ],
    ids=str,
)
def test_a_recall_that_makes_no_sense_is_a_fault(trial, change):
    good = {"items": ["x", "y"], "scores": [2.0, 1.0], "fallback": None}

    def odd(bundle, recaller):
        before = recaller.recall
        recaller.recall = lambda history, n: Found(**(good | change)) if history else before(history, n)

    (fault,) = trial(change=odd).faults
    assert fault.startswith("a recall gives 2 items")


# -- the ranker ------------------------------------------------------------------------------------------------------


def ranked(**metrics):
    return gate.figures_of({"loss": 2.0, "ranker": {"metrics": {"auc": 0.7, "pcoc": 1.0, "loss": 0.3} | metrics}})


def test_a_rankers_figures_are_judged_beside_recalls():
    assert ranked() == {"loss": 2.0, "ranker.auc": 0.7, "ranker.pcoc": 1.0, "ranker.loss": 0.3}
    past = [ranked(auc=0.7 + 0.001 * (place % 2), loss=0.3 + 0.001 * (place % 2)) for place in range(15)]
    assert gate.judge(ranked(), past, LIMITS).allowed
    (worse, long) = gate.judge(ranked(auc=0.6), past, LIMITS).reasons
    assert worse.startswith("ranker.auc 0.6 is outside")
    assert long.startswith("ranker.auc 0.6 is below 0.63, 0.9 × the minimum 0.7")
    assert any(
        "ranker.loss 0.5 is above 0.33" in reason for reason in gate.judge(ranked(loss=0.5), past, LIMITS).reasons
    )
    (missing,) = gate.judge({"loss": 2.0, "ranker.pcoc": 1.0, "ranker.loss": 0.3}, past, LIMITS).reasons
    assert missing == "ranker.auc is missing; the last publication's was 0.7"


@pytest.mark.parametrize(("pcoc", "blocked"), [(1.49, False), (0.68, False), (1.51, True), (0.66, True), (0.0, True)])
def test_probabilities_far_from_the_clicks_block_without_any_history(pcoc, blocked, tmp_path):
    found = gate.judge(ranked(pcoc=pcoc), [], LIMITS)
    assert found.allowed != blocked
    assert not blocked or found.reasons[0].startswith(f"ranker.pcoc {pcoc:.4g} is outside 0.6667 to 1.5")
    assert gate.judge(ranked(pcoc=pcoc), [], limits(tmp_path, "pcoc_factor: ~")).allowed


def test_of_a_pcoc_neither_more_nor_less_is_better():
    past = [ranked(pcoc=1 + 0.2 * (place % 2)) for place in range(15)]
    assert gate.judge(ranked(pcoc=0.85), past, LIMITS).allowed  # below 0.9 × the minimum, within three deviations
    assert not gate.judge(ranked(pcoc=0.7), past, LIMITS).allowed
