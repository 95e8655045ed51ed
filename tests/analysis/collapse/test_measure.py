"""The report on interests: figures a reader can derive, planted data whose answer is known, and what is refused."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score, normalized_mutual_info_score

from recbole_mind import InputError
from recbole_mind.analysis.collapse import figures, measure
from recbole_mind.analysis.collapse import page as report_page
from recbole_mind.analysis.collapse.categories import Categories, read
from recbole_mind.analysis.collapse.measure import Spread
from recbole_mind.analysis.collapse.mutual_information import agreement
from recbole_mind.cli import main
from recbole_mind.config.keys import known_keys
from recbole_mind.layers.interest_statistics import (
    coupling_statistics,
    effective_interests,
    history_shares,
    one_item_interests,
    pairwise_cosine,
)
from recbole_mind.training import load, run
from tests.support.data import LEAVE_ONE_OUT, small_settings
from tests.support.pages import HOSTILE, Page

# -- figures of a user --------------------------------------------------------------------------------------------


def test_shares_of_the_history_by_hand():
    weights = torch.tensor(
        [
            [[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0]],  # three behaviours, two of the first interest
            [[0.5, 0.25, 0.0, 0.0], [0.5, 0.75, 0.0, 0.0]],  # shared out: .75 and 1.25 of two
            [[0.9, 0.1, 0.0, 0.0], [0.3, 0.7, 0.0, 0.0]],  # each interest sums to 1: .75 + .125 and .25 + .875
            [[0.0, 0.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]],
        ]
    )
    shares = history_shares(weights)
    expected = [[2 / 3, 1 / 3], [3 / 8, 5 / 8], [0.875 / 2, 1.125 / 2], [0, 0]]
    torch.testing.assert_close(shares, torch.tensor(expected))
    # a recency that makes an old behaviour count less does not change whose it is
    torch.testing.assert_close(history_shares(weights * torch.tensor([0.1, 0.5, 1.0, 1.0])), shares)


def test_effective_number_by_hand():
    shares = torch.tensor([[1.0, 0.0, 0.0], [1 / 3, 1 / 3, 1 / 3], [0.5, 0.5, 0.0], [0.75, 0.25, 0.0]])
    expected = [1.0, 3.0, 2.0, math.exp(-0.75 * math.log(0.75) - 0.25 * math.log(0.25))]
    torch.testing.assert_close(effective_interests(shares), torch.tensor(expected))


def test_one_item_interests_by_hand():
    weights = torch.tensor(
        [
            [[0.95, 0.05, 0.0], [0.3, 0.3, 0.4]],  # the first interest is the first behaviour
            [[0.9, 0.1, 0.0], [0.0, 0.02, 0.0]],  # not more than 90 %; all of what little there is
            [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]],  # two behaviours for two interests: it could not be otherwise
            [[0.97, 0.02, 0.01], [0.0, 0.0, 0.0]],  # one active interest
        ]
    )
    active = torch.tensor([[True, True]] * 3 + [[True, False]])
    alone, asked = one_item_interests(weights, active, torch.tensor([3, 3, 2, 3]))
    assert alone.tolist() == [[True, False], [False, True], [False, False], [True, False]]
    assert asked.tolist() == [[True, True], [True, True], [False, False], [True, False]]


def test_pairwise_cosine_by_hand():
    x, y = [1.0, 0.0], [0.0, 2.0]
    interests = torch.tensor([[x, x, y], [x, y, y], [x, x, x]])
    active = torch.tensor([[True, True, True], [True, True, False], [True, False, False]])
    mean, lowest = pairwise_cosine(interests, active)
    torch.testing.assert_close(mean, torch.tensor([1 / 3, 0.0, math.nan]), equal_nan=True)
    torch.testing.assert_close(lowest, torch.tensor([0.0, 0.0, math.nan]), equal_nan=True)


def test_what_training_shows_by_hand():
    x, y = [1.0, 0.0], [0.0, 2.0]
    found = coupling_statistics(
        torch.tensor([[x, y], [x, x]]),
        torch.tensor([[True, True], [True, False]]),
        torch.tensor([[[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]], [[1.0, 1.0, 0.0], [0.0, 0.0, 0.0]]]),
        torch.tensor([3, 2]),
    )
    two = math.exp(-2 / 3 * math.log(2 / 3) - 1 / 3 * math.log(1 / 3))
    assert found == pytest.approx(
        {"active": 1.5, "effective_number": (two + 1) / 2, "cosine": 0.0, "one_item_share": 1 / 3}
    )
    alone = coupling_statistics(torch.ones(1, 1, 2), torch.ones(1, 1).bool(), torch.ones(1, 1, 1), torch.tensor([1]))
    assert alone == {"active": 1.0, "effective_number": 1.0}


# -- agreement with categories ------------------------------------------------------------------------------------


def test_agreement_is_scikit_learns():
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 13, 60)
    interests, categories = generator.integers(0, 3, (60, 12)), generator.integers(0, 5, (60, 12))
    categories[np.arange(12) >= lengths[:, None]] = 0
    active = generator.integers(1, 4, 60)
    found = agreement(interests, categories, active)
    counted = 0
    for row in range(60):
        real = categories[row] > 0
        own, kind = interests[row, real], categories[row, real]
        if active[row] == 1 or not 2 <= len(set(kind)) < len(kind):
            assert np.isnan([found.nmi[row], found.chance[row], found.ami[row]]).all()
            continue
        counted += 1
        assert found.nmi[row] == pytest.approx(normalized_mutual_info_score(own, kind), abs=1e-9)
        assert found.ami[row] == pytest.approx(adjusted_mutual_info_score(own, kind), abs=1e-9)
    assert counted > 20


def test_chance_is_the_mean_over_all_assignments_with_the_same_sizes():
    interests, categories = np.array([[0, 0, 1, 1, 1]]), np.array([[1, 1, 1, 2, 2]])
    found = agreement(interests, categories, np.array([2]))
    every = [normalized_mutual_info_score(order, categories[0]) for order in itertools.permutations(interests[0])]
    assert found.chance[0] == pytest.approx(np.mean(every))
    assert found.chance[0] > 0.2  # what an unadjusted figure would give to chance


@pytest.mark.parametrize(
    ("interests", "nmi", "ami"), [([0, 0, 1, 1], 1, 1), ([1, 1, 0, 0], 1, 1), ([0, 1, 0, 1], 0, -0.5), ([1] * 4, 0, 0)]
)
def test_agreement_by_hand(interests, nmi, ami):
    """Of the 6 assignments of 2 + 2 to 2 + 2, 2 agree wholly (log 2) and 4 not at all: 1/3 of log 2 is expected."""
    found = agreement(np.array([interests]), np.array([[7, 7, 8, 8]]), np.array([2]))
    assert found.nmi[0] == pytest.approx(nmi, abs=1e-12)
    assert found.ami[0] == pytest.approx(ami, abs=1e-12)
    assert found.chance[0] == pytest.approx(0 if len(set(interests)) == 1 else 1 / 3, abs=1e-12)


# -- categories of items ------------------------------------------------------------------------------------------


def categories_by_hand():
    return Categories.of("genre", [[], ["drama"], ["noir", "drama"], ["comedy", "drama", "comedy"], [], ["comedy"]])


def test_the_rarest_category_stands_for_an_item():
    found = categories_by_hand()
    assert found.names == ("comedy", "drama", "noir")
    assert found.values.tolist() == [[0, 0], [2, 0], [2, 3], [1, 2], [0, 0], [1, 0]]
    assert found.rarest().tolist() == [0, 2, 3, 1, 0, 1]


def test_coverage_by_hand():
    distinct, entropy = categories_by_hand().coverage(np.array([[1, 2, -1], [4, -1, 0], [3, 5, 1], [1, 1, 4]]))
    assert distinct.tolist() == [2, 0, 2, 1]
    # drama 1.5 and noir .5 of 2; comedy 1.5 and drama 1.5 of 3
    first = -0.75 * math.log(0.75) - 0.25 * math.log(0.25)
    assert entropy.tolist() == pytest.approx([first, 0, math.log(2), 0])


@pytest.mark.parametrize(
    ("head", "asked", "expected"),
    [
        ("item_id:token\tgenre:token_seq\tyear:float", None, "genre"),
        ("item_id:token\ttags:token_seq\tclass:token", None, "class"),
        ("item_id:token\tmain_category:token\tyear:float", None, "main_category"),
        ("item_id:token\tprice:float\tcategory:float", None, None),
        ("item_id:token\ttags:token_seq\tclass:token", "tags", "tags"),
    ],
)
def test_the_field_is_found_by_type_and_name(head, asked, expected, tmp_path):
    (tmp_path / "x.item").write_text(f"{head}\na\t1 2\t2\nb\t1 1\t3\nunknown\t9\t9\n")
    found = read(_dataset(tmp_path), asked)
    assert (found and found.field) == expected
    if found is not None:
        assert found.names == (("1", "2") if ":token_seq" in head.split(expected)[1][:11] else found.names)
        assert len(found.values) == 3
        assert not found.values[0].any()
        assert "9" not in found.names  # the item is not in the data


@pytest.mark.parametrize(
    ("content", "asked", "message"),
    [
        (
            "item_id:token\tgenre:token\na\tx\n",
            "genres",
            "category: 'genres' is not .*did you mean 'genre'.*allowed: genre",
        ),
        ("item_id:token\tprice:float\na\t1\n", "price", "allowed: none"),
        ("item_id:token\tgenre:token\na\t\n", None, "empty for every item"),
        ("thing:token\tgenre:token\na\tx\n", None, "has no column 'item_id'"),
        (None, "genre", "there is no file"),
        ("a broken heading\na\n", "genre", "line 1: spaces separate its columns"),
    ],
)
def test_a_field_that_cannot_be_is_refused(content, asked, message, tmp_path):
    if content is not None:
        (tmp_path / "x.item").write_text(content)
    with pytest.raises(InputError, match=message):
        read(_dataset(tmp_path), asked)


def test_without_a_file_there_are_no_categories(tmp_path):
    assert read(_dataset(tmp_path)) is None


class _dataset:  # noqa: N801 - stands for RecBole's
    iid_field, dataset_name, item_num = "item_id", "x", 3
    config = {"field_separator": "\t", "seq_separator": " ", "encoding": "utf-8"}  # noqa: RUF012
    field2id_token = {"item_id": ["[PAD]", "a", "b"]}  # noqa: RUF012

    def __init__(self, folder):
        self.dataset_path = str(folder)


def test_a_spread_does_not_depend_on_how_it_comes():
    values = np.random.default_rng(0).normal(size=100)
    values[::7] = np.nan
    whole, parts = Spread(-1, 1, 8), Spread(-1, 1, 8)
    whole.add(values)
    for part in np.split(values, 10):
        parts.add(part)
    assert whole.result() == parts.result()
    real = values[~np.isnan(values)]
    result = whole.result()
    assert result["users"] == len(real) == sum(result["counts"])
    assert (result["mean"], result["sd"]) == pytest.approx((real.mean(), real.std()), abs=1e-6)
    assert Spread(0, 1, 2).result() == {"users": 0}


# -- whole reports ------------------------------------------------------------------------------------------------

BLOCKS, PER_BLOCK = 5, 8


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """Five blocks of eight items, each a category; a user has two blocks, six behaviours of each, mixed."""
    folder = tmp_path_factory.mktemp("planted")
    generator = np.random.default_rng(0)
    rows = ["user_id:token\titem_id:token\ttimestamp:float"]
    for user in range(30):
        blocks = generator.choice(BLOCKS, 2, replace=False)
        items = np.concatenate([b * PER_BLOCK + generator.choice(PER_BLOCK, 6, replace=False) for b in blocks])
        rows += [f"u{user}\ti{item}\t{100 * user + t}" for t, item in enumerate(generator.permutation(items))]
    (folder / "blocks").mkdir()
    (folder / "blocks/blocks.inter").write_text("\n".join(rows) + "\n")
    items = [f"i{item}\tb{item // PER_BLOCK}\tall c{item % 3}" for item in range(BLOCKS * PER_BLOCK)]
    (folder / "blocks/blocks.item").write_text(
        "\n".join(["item_id:token\tblock:token\tgenre:token_seq", *items]) + "\n"
    )
    return folder


def checkpoint_of(folder, model="MIND", vectors=None, **more):
    """The checkpoint of a model whose item vectors are ``vectors(item numbers)``, without ReLU layers' part."""
    own = {} if model == "YouTubeDNN" else {"K": 2}
    own |= {"routing_scale": 8.0} if model == "MIND" else {}
    own |= {"routing_init": "kmeans++"} if model == "MIND" and more.get("K") != 1 else {}
    settings = small_settings(folder, load_col={"inter": ["user_id", "item_id", "timestamp"]}, mask_history=True)
    settings |= own | {"topk": [4], "valid_metric": "Recall@4", "checkpoint_dir": str(folder / "saved"), "epochs": 1}
    result = run.run(model, "blocks", overrides=settings | more)
    if vectors is not None:
        loaded = load.load(result.checkpoint)
        tokens = loaded.dataset.field2id_token["item_id"][1:]
        with torch.no_grad():
            table = loaded.model.item_encoder.embedding.weight
            table[1:] = torch.from_numpy(vectors(np.array([int(token[1:]) for token in tokens]))).float()
        trainer = load.trainer_for(loaded)
        trainer._save_checkpoint(0, verbose=False, saved_model_file=result.checkpoint)
    return result.checkpoint


def separate(items):
    """A direction for each block, and a little of an item's own."""
    noise = np.random.default_rng(1).normal(size=(len(items), 16)) * 0.05
    return np.eye(16)[items // PER_BLOCK] + noise


@pytest.fixture(scope="module")
def checkpoints(planted, tmp_path_factory):
    return {
        "planted": checkpoint_of(planted, vectors=separate),
        "collapsed": checkpoint_of(planted, vectors=lambda items: np.ones((len(items), 16))),
        "one": checkpoint_of(planted, vectors=separate, K=1),
        "ComiRecSA": checkpoint_of(planted, "ComiRecSA"),
        "ComiRecDR": checkpoint_of(planted, "ComiRecDR"),
        "YouTubeDNN": checkpoint_of(planted, "YouTubeDNN", vectors=separate),
    }


def test_planted_blocks_are_found(checkpoints):
    report = measure.build(checkpoints["planted"], category="block", n=4, baseline=checkpoints["YouTubeDNN"])
    assert (report["users"], report["K"], report["n"]) == (30, 2, 4)
    assert report["categories"]["field"] == "block"
    assert report["categories"]["values"] == BLOCKS
    assert report["categories"]["ami"]["users"] == 30
    assert report["categories"]["ami"]["mean"] == pytest.approx(1, abs=1e-6)
    assert report["categories"]["nmi"]["mean"] == pytest.approx(1, abs=1e-6)
    assert 0 < report["categories"]["chance"]["mean"] < 0.2
    interests = report["interests"]
    # the last of the history is held out: 6 and 5 behaviours
    two = math.exp(-6 / 11 * math.log(6 / 11) - 5 / 11 * math.log(5 / 11))
    assert interests["active"]["mean"] == 2
    assert 1.9 < interests["effective"]["mean"] <= two + 0.01
    assert interests["cosine"]["mean"] < 0.5
    assert interests["alike"] == {"users": 30, "share": 0.0}
    assert interests["one_item"]["share"] == 0
    assert sum(row["listed"] for row in report["by_interest"]) == pytest.approx(1, abs=1e-5)
    assert sum(row["history"] for row in report["by_interest"]) == pytest.approx(1, abs=1e-5)
    assert report["lists"]["overlap"]["users"] == 30
    assert report["lists"]["distinct"]["mean"] <= 4
    assert sum(report["baseline"]["more_categories"].values()) == pytest.approx(1, abs=1e-5)
    assert report["baseline"]["model"] == "YouTubeDNN"


def test_a_planted_collapse_is_seen(checkpoints):
    report = measure.build(checkpoints["collapsed"], category="block", n=4)
    interests = report["interests"]
    assert interests["alike"] == {"users": 30, "share": 1.0}
    assert interests["cosine"]["mean"] == pytest.approx(1, abs=1e-3)
    assert report["lists"]["overlap"]["jaccard"] == 1.0
    assert abs(report["categories"]["ami"]["mean"]) < 0.15  # what routing makes of equal behaviours is chance
    assert "baseline" not in report


def test_one_interest_has_what_is_defined_for_it(checkpoints, tmp_path):
    report = measure.build(checkpoints["one"], n=4)
    assert report["interests"]["active"]["mean"] == report["interests"]["effective"]["mean"] == 1
    assert report["interests"]["cosine"] == {"users": 0}
    assert "share" not in report["interests"]["alike"]
    assert report["categories"]["field"] == "genre"
    assert report["categories"]["ami"] == {"users": 0}
    assert "overlap" not in report["lists"]
    report_page.write(report, tmp_path / "out")
    names = sorted(path.name for path in (tmp_path / "out/figures").iterdir())
    assert names == ["coverage.png", "interests.png", "recency.png"]


@pytest.mark.parametrize("name", ["ComiRecSA", "ComiRecDR"])
def test_weights_of_comirec_count_as_coupling(checkpoints, name):
    report = measure.build(checkpoints[name], category="block", n=4)
    assert report["model"] == name
    assert 1 <= report["interests"]["effective"]["mean"] <= 2
    assert report["categories"]["ami"]["users"] == 30


def test_recall_hits_and_overlap_are_the_evaluations(checkpoints):
    report = measure.build(checkpoints["planted"], n=4)
    evaluated = run.evaluate(checkpoints["planted"])
    assert report["lists"]["recall"] == pytest.approx(evaluated.test["recall@4"], abs=1e-4)
    assert report["lists"]["overlap"]["jaccard"] == pytest.approx(evaluated.report["lists"]["jaccard"], abs=1e-4)
    hits = [row["hits"] for row in report["by_interest"]]
    assert hits == pytest.approx(list(evaluated.report["hits_by_interest"].values()), abs=1e-4)
    assert report["interests"]["cosine"]["mean"] == pytest.approx(evaluated.interests["mean_pairwise_cosine"], abs=1e-5)
    assert report["interests"]["active"]["mean"] == evaluated.interests["mean_active_interests"]


def test_neither_the_second_time_nor_the_size_of_batches_changes_a_report(checkpoints, tmp_path):
    def built(**more):
        return measure.build(checkpoints["planted"], baseline=checkpoints["YouTubeDNN"], n=4, **more)

    def made(place):
        report_page.write(built(), tmp_path / place)
        files = sorted(path for path in (tmp_path / place).rglob("*") if path.is_file())
        return {path.name: path.read_bytes() for path in files}

    first = made("a")
    assert first == made("b")
    assert set(first) == {
        "report.json",
        "report.md",
        "report.html",
        "interests.png",
        "by-interest.png",
        "categories.png",
        "coverage.png",
        "recency.png",
    }
    report = json.loads(first["report.json"])
    assert report == json.loads(json.dumps(built(overrides={"eval_batch_size": 7})))
    assert report["baseline"]["more_categories"].keys() == {"fewer", "equal", "more"}
    text = first["report.md"].decode()
    for part in ("adjusted mutual information", "YouTubeDNN (baseline)", "## By interest", "figures/coverage.png"):
        assert part in text
    page = Page(first["report.html"].decode())
    assert not page.open
    assert [link for link in page.links if not link.startswith("#")] == []


def test_hostile_names_are_text(checkpoints):
    report = json.loads(json.dumps(measure.build(checkpoints["planted"], baseline=checkpoints["YouTubeDNN"], n=4)))
    report |= {"model": HOSTILE, "dataset": HOSTILE}
    report["baseline"]["model"] = report["categories"]["field"] = HOSTILE
    page = Page(report_page.to_html(report, []))
    assert not page.open
    assert "script" not in page.seen
    assert page.seen.count("style") == 1
    assert {("h1", f"Interests of {HOSTILE} on {HOSTILE}"), ("th", HOSTILE)} <= set(page.texts)
    assert ("th", f"{HOSTILE} (baseline)") in page.texts
    assert any(tag == "td" and f"'{HOSTILE}'" in words for tag, words in page.texts)


def test_figures_for_a_notebook_come_from_the_json_too(checkpoints):
    report = measure.build(checkpoints["planted"], baseline=checkpoints["YouTubeDNN"], n=4)
    report = json.loads(json.dumps(report))
    spreads = figures.spreads(report)
    assert [axes.get_xlabel() for axes in spreads.axes] == list(figures.SPREADS.values())
    shares = sum(bar.get_height() for bar in spreads.axes[0].patches)
    assert shares == pytest.approx(1)
    assert len(figures.by_interest(report).axes[0].patches) == 2 * (3 if "hits" in report["by_interest"][0] else 2)
    labels = [text.get_text() for text in figures.coverage(report).axes[0].get_legend().get_texts()]
    assert labels[0].startswith("MIND, mean ")
    assert labels[1].startswith("YouTubeDNN (baseline), mean ")
    assert "genre" in figures.agreement(report).axes[0].get_xlabel()
    lines = figures.recency(report).axes[0].get_lines()
    assert [line.get_label() for line in lines] == ["interest 1", "interest 2", "YouTubeDNN"]
    assert lines[1].get_ydata().tolist() == report["recency"][1]


def test_the_weights_of_places_are_the_models(checkpoints, planted):
    report = measure.build(checkpoints["planted"], baseline=checkpoints["YouTubeDNN"], n=4)
    theta = load.load(checkpoints["planted"]).model.routing.recency.log_weights.detach().numpy()
    expected = np.exp(theta) / np.exp(theta).sum(1, keepdims=True)
    np.testing.assert_allclose(report["recency"], expected, atol=1e-6)
    assert np.sum(report["baseline"]["recency"]) == pytest.approx(1, abs=1e-5)
    fixed = checkpoint_of(planted, recency=0.5)
    assert "recency" not in measure.build(fixed, n=4)


def test_the_factors_of_gaps_are_the_models_and_are_drawn(planted):
    path = checkpoint_of(planted, recency_gaps=True)
    report = measure.build(path, n=4)
    model = load.load(path).model
    phi = model.routing.recency.log_gap_weights.detach().numpy()
    np.testing.assert_allclose(report["gaps"]["factors"], np.exp(phi - phi.max(1, keepdims=True)), atol=1e-6)
    assert report["gaps"]["span"] == float(model.time_gaps.span)
    (axes,) = figures.gaps(report).axes
    lines = axes.get_lines()
    assert [line.get_label() for line in lines] == [f"interest {k + 1}" for k in range(len(phi))]
    assert lines[0].get_xdata()[-1] == report["gaps"]["span"]
    assert lines[1].get_ydata().tolist() == report["gaps"]["factors"][1]
    assert "gaps" not in measure.build(checkpoint_of(planted, recency_gaps=False), n=4)


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_writes_and_prints(checkpoints, tmp_path, capsys):
    done = main.main(["report", checkpoints["planted"], "--category", "block", "--n", "4", "-o", str(tmp_path / "out")])
    printed = capsys.readouterr().out
    assert done == 0
    assert "Do the interests collapse?" in printed
    assert "recall@4" in printed
    assert (tmp_path / "out/report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["YouTubeDNN"], "report: 'YouTubeDNN' has no interests to report on; allowed: MIND, ComiRecSA, ComiRecDR"),
        (["planted", "--n", "0"], "n: 0 is not allowed; it is 1 to 40"),
        (["planted", "--n", "41"], "n: 41 is not allowed; it is 1 to 40"),
        (["planted", "--n", "4", "--category", "gener"], "did you mean 'genre'?; allowed: block, genre"),
        (["planted", "--n", "4", "--baseline", "nothing.pth"], "nothing.pth"),
        (["planted", "--no_such=1"], "no_such"),
    ],
)
def test_bad_input_is_one_line(checkpoints, arguments, message, tmp_path, capsys):
    name, *more = arguments
    assert main.main(["report", checkpoints[name], *more, "-o", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err.strip()
    assert message in error
    assert "\n" not in error
    assert not (tmp_path / "out").exists()


def test_a_folder_that_is_a_file_is_refused_before_any_work(checkpoints, tmp_path, capsys):
    (tmp_path / "out").write_text("")
    assert main.main(["report", "no.pth", "-o", str(tmp_path / "out")]) == 2
    assert "is not a folder" in capsys.readouterr().err


def test_a_baseline_on_other_data_is_refused(checkpoints, small):
    settings = small_settings(small, checkpoint_dir=str(small / "saved"), epochs=1)
    other = run.run("YouTubeDNN", "small", overrides=settings).checkpoint
    with pytest.raises(InputError, match="baseline: its items are not those of the model"):
        measure.build(checkpoints["planted"], baseline=other, n=4, overrides=None)


def test_any_sequential_model_that_ranks_by_products_is_a_baseline(planted, checkpoints):
    def trained(model):
        settings = small_settings(planted, load_col={"inter": ["user_id", "item_id", "timestamp"]}, mask_history=True)
        settings |= {"topk": [4], "valid_metric": "Recall@4", "checkpoint_dir": str(planted / "saved"), "epochs": 1}
        settings |= {"train_neg_sample_args": None} if model == "SASRec" else {}
        own = {key: value for key, value in settings.items() if key in known_keys(model)}
        return run.run(model, "blocks", overrides=own).checkpoint

    name = trained("SASRec")
    report = measure.build(checkpoints["planted"], baseline=name, n=4)
    expected = run.evaluate(name, overrides={"eval_search": "exact"}).test["recall@4"]
    assert report["baseline"]["recall"] == pytest.approx(expected, abs=1e-4)
    with pytest.raises(InputError, match="baseline: 'BPR' reads no histories; allowed: MIND"):
        measure.build(checkpoints["planted"], baseline=trained("BPR"), n=4)
    with pytest.raises(InputError, match="report: 'SASRec' has no interests to report on; allowed: MIND"):
        measure.build(name, n=4)


# -- training -----------------------------------------------------------------------------------------------------


def test_tensorboard_shows_interests_and_training_stays_the_same(small, tmp_path, monkeypatch):
    from recbole_mind.training.trainer import RetrievalTrainer

    def trained(name, shown):
        written = []

        def spy(self, tag, value, step, *more, **keywords):
            written.append((tag, float(value), step))

        monkeypatch.setattr("torch.utils.tensorboard.SummaryWriter.add_scalar", spy)
        if not shown:
            monkeypatch.setattr(RetrievalTrainer, "_show_interests", lambda self, valid_data: None)
        settings = small_settings(small, checkpoint_dir=str(tmp_path / f"{name}{shown}"), eval_args=LEAVE_ONE_OUT)
        result = run.run(name, "small", overrides=settings)
        monkeypatch.undo()
        monkeypatch.chdir(tmp_path)
        weights = torch.load(result.checkpoint, weights_only=True)["state_dict"]
        interests = [entry for entry in written if entry[0].startswith("Interests/")]
        return result.test, result.valid, result.curve, weights, interests

    for name in ("MIND", "ComiRecSA", "YouTubeDNN"):
        first, second = trained(name, True), trained(name, False)
        assert first[:3] == second[:3]
        assert first[3].keys() == second[3].keys()
        assert all(torch.equal(first[3][key], second[3][key]) for key in first[3])
        assert second[4] == []
        if name == "YouTubeDNN":
            assert first[4] == []
            continue
        assert {tag for tag, _, _ in first[4]} == {
            f"Interests/{kind}" for kind in ("active", "effective_number", "cosine", "one_item_share")
        }
        assert sorted({step for _, _, step in first[4]}) == [0, 1]
        assert trained(name, True)[4] == first[4]
