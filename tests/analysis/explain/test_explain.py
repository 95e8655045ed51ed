"""Explained histories: data, names, figures, files, the command, and the page in a real browser."""

from __future__ import annotations

import json
import math
import os
import re
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from sklearn.metrics import adjusted_rand_score

from recbole_mind import InputError
from recbole_mind.analysis.explain import figures, output
from recbole_mind.analysis.explain.case_study import explain
from recbole_mind.analysis.explain.histories import draw_users, past_of
from recbole_mind.analysis.explain.item_map import item_map
from recbole_mind.analysis.explain.page import page
from recbole_mind.analysis.items import Items, name_interests, read_items
from recbole_mind.cli import main
from recbole_mind.report.figure_files import png, svg
from recbole_mind.report.style import colours
from recbole_mind.training import describe, run
from tests.support.pages import HOSTILE, Page
from tests.support.planted import EVIL, MIND, planted_settings, write_planted

OURS = ("embedding_size", "relu_layers", "item_features", "user_features")  # settings that SASRec has not


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """The planted data, MIND that has found its blocks, YouTubeDNN and SASRec, all as checkpoints."""
    folder = tmp_path_factory.mktemp("explain")
    data, before = write_planted(folder / "data"), os.getcwd()
    os.chdir(folder)
    try:

        def train(model, **more):
            return str(folder / run.run(model, "planted", overrides=planted_settings(data, **more)).checkpoint)

        mind, youtube = train("MIND", **MIND), train("YouTubeDNN", epochs=1, preset="plain")
        adaptive = train("MIND", **(MIND | {"adaptive_K": True, "epochs": 1, "MAX_ITEM_LIST_LENGTH": 5}))
        other = {key: value for key, value in planted_settings(data, epochs=1).items() if key not in OURS}
        sasrec = str(folder / run.run("SASRec", "planted", overrides=other).checkpoint)
        loaded, baseline = output.open_model(mind), output.open_model(youtube)
        short = output.open_model(adaptive)
    finally:
        os.chdir(before)
    return SimpleNamespace(mind=mind, youtube=youtube, sasrec=sasrec, loaded=loaded, baseline=baseline, short=short)


@pytest.fixture(scope="module")
def explained(study):
    histories = [["b0-0", "b1-1", "nowhere", "b0-2"], ["b3-3"], ["gone", "<i>lost</i>"]]
    return explain(study.loaded, ["u0", "u1"], histories, baseline=study.baseline, n=20)


# -- data ---------------------------------------------------------------------------------------------------------


def test_planted_blocks_go_to_one_interest_each_which_has_their_name(study):
    found = explain(study.loaded, users=30)
    agreement, named = [], []
    for one in found:
        blocks, most = [item.categories[1] for item in one.behaviors], one.weights.argmax(0)
        agreement.append(adjusted_rand_score(blocks, most))
        named += [one.names[k] == block for block, k in zip(blocks, most, strict=True)]
        np.testing.assert_allclose(one.weights.sum(0), 1, atol=1e-5)  # a behaviour shares itself out
    assert np.mean(agreement) > 0.8
    assert np.mean(named) > 0.85


def test_what_is_explained_is_what_the_model_computes(study, explained):
    loaded, one = study.loaded, explained[0]
    dataset, test = loaded.dataset, loaded.test_data.dataset.inter_feat
    user = dataset.token2id(dataset.uid_field, "u0")
    row = test[np.flatnonzero(test[dataset.uid_field].numpy() == user)]
    length = int(row["item_length"][0])
    assert [item.id for item in one.behaviors] == row["item_id_list"][0, :length].tolist()
    assert one.followed.id == int(row["item_id"][0])
    capsules = loaded.model.capsules(row["item_id_list"][:, :length], row["item_length"])
    np.testing.assert_allclose(one.weights, capsules.coupling[0].detach(), atol=1e-6)
    interests, active = loaded.model.interests(row)
    assert active.all()
    np.testing.assert_allclose(one.vectors, interests[0], atol=1e-6)
    scores = loaded.model.full_sort_predict(row)[0]
    scores[[0, *(item.id for item in one.behaviors)]] = -math.inf
    assert [found.item.id for found in one.merged] == scores.topk(20).indices.tolist()
    own = interests[0] @ loaded.model.item_vectors().detach().T
    for k, recalled in enumerate(one.recalled):
        expected = own[k].clone()
        expected[[0, *(item.id for item in one.behaviors)]] = -math.inf
        assert [found.item.id for found in recalled] == expected.topk(20).indices.tolist()
        assert all(found.score == pytest.approx(found.cosine, abs=1e-5) for found in recalled)  # it is the cosine
    for found in one.merged:
        assert found.score == pytest.approx(float(own[found.interest, found.item.id]), abs=1e-5)


def test_similarities_are_to_the_own_interest_or_to_the_nearest(study, explained):
    one = explained[0]
    names = ["all interests together", "YouTubeDNN", "random items"]
    assert [row.name for row in one.similarities] == [*(one.title(k) for k in range(3)), *names]
    assert [row.interest for row in one.similarities] == [0, 1, 2, -1, -1, -1]
    for k in range(3):
        assert one.similarities[k].cosines.tolist() == pytest.approx([found.cosine for found in one.recalled[k]])
    assert one.similarities[3].cosines.tolist() == pytest.approx([found.cosine for found in one.merged], abs=1e-6)
    theirs = explain(study.baseline, ["u0"], n=20)[0]
    items, interests = study.loaded.model.item_vectors().detach(), torch.as_tensor(one.vectors)
    near = (items[[found.item.id for found in theirs.merged]] @ interests.T).amax(1)
    np.testing.assert_allclose(one.similarities[4].cosines, near, atol=1e-5)
    assert len(one.similarities[5].cosines) == 20
    assert np.median(one.similarities[5].cosines) < np.median(one.similarities[3].cosines)


def test_unknown_items_one_item_and_long_histories(study, explained):
    mixed, single, lost = explained[2:]
    assert [item.token for item in mixed.behaviors] == ["b0-0", "b1-1", "b0-2"]
    assert mixed.unknown == ("nowhere",)
    assert mixed.notes == ("1 item is not in the catalogue and not read: nowhere.",)
    assert (mixed.user, mixed.followed, mixed.label) == (None, None, "history 1")
    assert single.weights.shape == (3, 1)  # K interests for everybody
    assert lost.fallback == "unknown items"
    assert (lost.names, lost.weights.shape, len(lost.merged)) == ((), (0, 0), 20)
    counts = describe.popularity(study.loaded.train_data)
    assert [found.score for found in lost.merged] == sorted(counts[1:], reverse=True)[:20]
    assert "gone, <i>lost</i>" in lost.notes[0]
    tokens = [f"b{i % 8}-{i % 10}" for i in range(200)]
    long, few = explain(study.short, histories=[tokens, ["b1-1", "b2-2", "b1-3"]])
    assert [item.token for item in long.behaviors] == tokens[-5:]
    assert long.earlier == 195
    assert "holds 200 known items; the newest 5 are read" in long.notes[0]
    assert {found.item.token for found in long.merged}.isdisjoint(tokens)  # the whole history is left out
    assert few.notes == ("1 of 3 interests is active with 3 behaviours.",)  # ⌊log₂ 3⌋


def test_one_vector_is_explained_as_one_interest(study):
    one = explain(study.baseline, ["u3"])[0]
    assert one.kind == "share of the mean"
    np.testing.assert_allclose(one.weights, np.full((1, 17), 1 / 17), atol=1e-6)
    assert "has one vector" in one.notes[-1]
    assert [row.name for row in one.similarities] == [one.title(0), "random items"]


def test_draws_follow_the_seed_and_show_most_interests_first(study):
    first = draw_users(study.loaded, 5, seed=3)
    assert first == draw_users(study.loaded, 5, seed=3)
    entropies = []
    for one in explain(study.loaded, first):
        entropies.append(-float((one.shares * np.log(one.shares)).sum()))
    assert entropies == sorted(entropies, reverse=True)
    assert [one.user for one in explain(study.loaded, 2, seed=3)] == first[:2]


def test_the_past_of_a_user_ends_before_the_held_out_item(study):
    past = past_of(study.loaded, "u5")
    assert len(past.ids) == 17
    assert past.followed not in past.ids


def test_input_that_cannot_be_explained_is_refused(study):
    with pytest.raises(InputError, match=r"user: 'u999' is not in 'planted'; did you mean 'u99'\?; allowed"):
        explain(study.loaded, ["u999"])
    with pytest.raises(InputError, match=r"user: '\[PAD\]' is not in"):
        explain(study.loaded, ["[PAD]"])
    with pytest.raises(InputError, match="history: number 1 is empty"):
        explain(study.loaded, histories=[[]])
    with pytest.raises(InputError, match="users: -1 is not allowed"):
        explain(study.loaded, -1)
    with pytest.raises(InputError, match=r"title: 'movie_titel' is not .*; did you mean 'movie_title'\?; allowed"):
        explain(study.loaded, ["u0"], title="movie_titel")
    with pytest.raises(InputError, match=r"category: 'price' is not a token or token_seq field"):
        explain(study.loaded, ["u0"], category="price")
    with pytest.raises(InputError, match=r"model: 'SASRec' has no interests to explain; allowed: MIND"):
        output.open_model(study.sasrec)


# -- words --------------------------------------------------------------------------------------------------------


def test_titles_and_categories_are_read_beside_the_models_data(study):
    dataset = study.loaded.dataset
    assert dataset.item_feat is None or "movie_title" not in dataset.item_feat
    items = read_items(dataset)
    assert (items.title_field, items.category_field) == ("movie_title", "class")
    number = items.tokens.index("b2-7")
    assert (items.titles[number], items.categories[number]) == ("Item 7 of block 2", ("all", "block2"))
    assert items.titles[items.tokens.index("b0-0")] == EVIL
    assert read_items(dataset, title="class").titles[number] == "all block2"


def test_names_by_hand():
    base = {"drama": 0.4, "horror": 0.05, "war": 0.05}
    # each interest takes two behaviours; drama is everywhere, so it names nothing
    weights = np.array([[1.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 1.0]])
    categories = [("drama", "horror"), ("drama", "horror"), ("drama", "war"), ("drama", "war", "unknown")]
    # drama: 1·log(1/√(.4·1)) = .46; horror: 1·log(1/√(.05·.5)) = 1.84; .46 is less than half of it
    assert name_interests(weights, categories, base) == ["horror", "war"]
    # of one interest b is everybody's alone: drama 1·log(1/.4) = .92, horror and war .5·log(.5/.05) = 1.15
    assert name_interests(weights.sum(0, keepdims=True), categories, base) == ["horror, war"]
    assert name_interests(weights[:1], [("drama",)] * 4, base) == ["drama"]
    assert name_interests(weights, [()] * 4, base) == ["", ""]
    # below the least support: 1 of 20 behaviours
    many = [("rare",), *[("drama",)] * 19]
    assert name_interests(np.ones((1, 20)), many, {"rare": 1e-6, "drama": 0.4}) == ["drama"]


def test_base_rates_by_hand():
    items = Items(["[PAD]", "a", "b"], ["", "", ""], [(), ("x", "y"), ("x",)], None, None)
    assert items.base_rates(np.array([0, 3, 6])) == {"x": 0.9, "y": 0.3}


# -- figures ------------------------------------------------------------------------------------------------------


def test_the_heat_map_is_the_weights_with_titles_and_names(explained):
    one = explained[0]
    figure = figures.coupling(one)
    assert isinstance(figure, Figure)
    heat, _, dots = figure.axes
    np.testing.assert_allclose(heat.collections[0].get_array().reshape(one.weights.shape), one.weights)
    assert [tick.get_text().replace("\n", " ") for tick in heat.get_yticklabels()] == [one.title(k) for k in range(3)]
    titles = [tick.get_text().replace(r"\$", "$") for tick in dots.get_xticklabels()]
    assert titles == [item.title for item in one.behaviors]
    assert png(figure).startswith(b"\x89PNG")
    assert png(figure) == png(figures.coupling(one))


@pytest.mark.parametrize("length", [1, 5, 50])
def test_titles_of_the_heat_map_do_not_touch(study, length):
    tokens = [f"b{i % 8}-{i % 10}" for i in range(length)]
    figure = figures.coupling(explain(study.loaded, histories=[tokens])[0])
    boxes = [tick.get_window_extent() for axes in figure.axes for tick in axes.get_xticklabels() if tick.get_text()]
    assert len(boxes) == min(length, 20)
    assert all(left.x1 <= right.x0 + 1 for left, right in pairwise(boxes))


def test_bars_of_the_similarity_figure_are_shares(explained):
    axes = figures.similarity(explained[0]).axes[0]
    heights = np.array([[-bar.get_height() for bar in bars] for bars in axes.containers])
    assert len(heights) == 6
    np.testing.assert_allclose(heights.sum(1), heights.sum(1)[0])  # of twenty items each
    medians = [f"{np.median(row.cosines):.2f}".replace("-", "−") for row in explained[0].similarities]
    assert [text.get_text() for text in axes.texts[:6]] == medians


def test_the_map_holds_what_is_shown(study, explained):
    one = explained[0]
    spread = item_map(study.loaded, one, items=30)
    shown = {item.id for item in one.behaviors} | {found.item.id for part in one.recalled for found in part}
    assert shown <= set(spread.ids.tolist())
    table = torch.nn.functional.normalize(study.loaded.model.item_vectors().detach(), dim=1).numpy()
    near = spread.of([item.id for item in one.behaviors[:2]])
    # a projection makes no distance longer
    ids = [item.id for item in one.behaviors[:2]]
    assert np.linalg.norm(near[0] - near[1]) <= np.linalg.norm(table[ids[0]] - table[ids[1]]) + 1e-5
    assert spread.interests.shape == (3, 2)
    figure = figures.map_of(one, spread)
    assert {colours(3)[0], colours(3)[2]} <= {
        "#" + "".join(f"{round(255 * part):02x}" for part in colour[:3])
        for dots in figure.axes[0].collections
        for colour in dots.get_facecolor()
    }


def test_a_history_of_nothing_known_has_no_figure(explained):
    with pytest.raises(InputError, match="history 3 has no interests"):
        figures.coupling(explained[4])


# -- files and the command ----------------------------------------------------------------------------------------


def test_files_have_names_of_their_own():
    assert output.file_names(["user a/b", "user a-b", "user A-B", "history 1", "user ../.."]) == [
        "user-a-b",
        "user-a-b-2",
        "user-A-B-3",
        "history-1",
        "user",
    ]


def test_the_command_writes_page_figures_and_data(study, tmp_path, capsys):
    (tmp_path / "out/figures").mkdir(parents=True)
    stale, other = tmp_path / "out/figures/user-9-coupling.png", tmp_path / "out/figures/mine.png"
    stale.touch(), other.touch()
    arguments = ["explain", study.mind, "--user", "u0", "--history", "b0-0 b1-1 nowhere", "--users", "1", "--seed", "1"]
    assert main.main([*arguments, "--baseline", study.youtube, "-o", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr().out
    assert "user u0" in printed
    assert "history 1: 1 item is not in the catalogue and not read: nowhere." in printed
    assert not stale.exists()
    assert other.exists()
    content = json.loads((tmp_path / "out/explain.json").read_text())
    assert [one["label"] for one in content["histories"]][::2] == ["user u0", "history 1"]
    assert "of up to 300 users drawn at random" in content["chosen"]
    first = content["histories"][0]
    assert len(first["interests"]) == 3
    assert len(first["interests"][0]["weights"]) == len(first["behaviors"]) == 17
    for kind in output.KINDS:
        assert (tmp_path / f"out/figures/user-u0-{kind}.png").stat().st_size > 5000
        assert "<svg" in (tmp_path / f"out/figures/history-1-{kind}.svg").read_text()
    assert "YouTubeDNN" in (tmp_path / "out/explain.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--user", "nobody"], "user: 'nobody' is not in 'planted'"),
        (["--history", " "], "--history: an empty one is not allowed"),
        (["--users", "0"], "--users: 0 is not allowed"),
        (["--seed", "-1"], "--seed: -1 is not allowed"),
        (["--title", "no"], "title: 'no' is not a token or token_seq field"),
        (["--colour", "red"], "colour"),
    ],
)
def test_what_cannot_be_used_is_one_line_and_leaves_nothing(study, tmp_path, capsys, arguments, said):
    assert main.main(["explain", study.mind, *arguments, "-o", str(tmp_path / "out")]) == 2
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1
    assert said in printed
    assert not (tmp_path / "out").exists()


def test_a_folder_that_cannot_be_and_other_models_are_refused(study, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main.main(["explain", study.mind, "-o", str(tmp_path / "file")]) == 2
    assert main.main(["explain", study.mind, "-o", str(tmp_path / "file/below")]) == 2
    assert main.main(["explain", study.sasrec, "-o", str(tmp_path / "out")]) == 2
    assert main.main(["explain", str(tmp_path / "none.pth"), "-o", str(tmp_path / "out")]) == 2
    first, second, third, fourth = capsys.readouterr().err.splitlines()
    assert "is no folder that can be written to" in first
    assert "is no folder that can be written to" in second
    assert "'SASRec' has no interests to explain; allowed: MIND, ComiRecSA, ComiRecDR, YouTubeDNN" in third
    assert "none.pth" in fourth


# -- the page -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def written(study, explained, tmp_path_factory):
    """The page as a file."""
    maps = [item_map(study.loaded, one) if one.names else None for one in explained]
    path = tmp_path_factory.mktemp("page") / "explain.html"
    path.write_text(page(explained, maps, "Planted", "Chosen & <shown>."))
    return path


def test_the_page_loads_nothing_and_escapes_the_data(written):
    parsed = Page(written.read_text())
    assert parsed.open == []
    assert [link for link in parsed.links if not link.startswith(("#", "data:image/png;base64,"))] == []
    assert not {"b", "i", "img", "iframe", "link"} & set(parsed.seen)
    assert parsed.seen.count("script") == 1
    assert any(EVIL in words for _, words in parsed.texts)
    ids = re.findall(r' id="([^"]*)"', written.read_text())
    assert len(ids) == len(set(ids))
    assert {link[1:] for link in parsed.links if link.startswith("#")} <= set(ids)


def test_hostile_words_are_text(study, explained):
    one = replace(explained[0], label=HOSTILE, names=(HOSTILE, "b", ""), notes=(HOSTILE,), kind=HOSTILE)
    item = one.behaviors[0]._replace(title=HOSTILE, categories=(HOSTILE,))
    one = replace(one, behaviors=(item, *one.behaviors[1:]), merged=(one.merged[0]._replace(item=item),))
    parsed = Page(page([one], [item_map(study.loaded, one)], HOSTILE, HOSTILE))
    assert not parsed.open
    assert parsed.seen.count("script") == parsed.seen.count("style") == 1
    assert {(tag, HOSTILE) for tag in ("title", "h1", "h2", "p", "li", "small")} <= set(parsed.texts)
    texts = {tag for tag, words in parsed.texts if HOSTILE in words}
    assert {"option", "h4", "th", "td"} <= texts


def test_a_point_of_the_map_has_its_title_as_a_hint(study, explained):
    one = explained[0]
    parsed = Page(svg(figures.map_of(one, item_map(study.loaded, one))))
    hints = [words for tag, words in parsed.texts if tag == "title"]
    shown = [*one.behaviors, *(found.item for part in one.recalled for found in part[: figures.RECALLED])]
    assert sorted(hints) == sorted([*(item.title for item in shown), *(one.title(k) for k in range(3))])
    assert "a" not in parsed.seen


def test_the_same_histories_give_the_same_files(study, explained, tmp_path):
    first, second = (output.write(study.loaded, explained[3:], tmp_path / name) for name in "ab")
    assert len(first) == 2 + 6
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]


def test_a_page_of_one_unknown_history(explained):
    text = page([explained[4]], [None], "nothing", "")
    assert "The most popular items" in text
    assert "&lt;i&gt;lost&lt;/i&gt;" in text


@pytest.mark.parametrize("size", [(390, 844), (1280, 900)])
def test_the_page_in_a_browser(browser, explained, written, size):
    context = browser.new_context(viewport=dict(zip(("width", "height"), size, strict=True)), offline=True)
    shown, faults = context.new_page(), []
    shown.on("pageerror", lambda error: faults.append(str(error)))
    shown.on("console", lambda said: faults.append(said.text))
    shown.on("request", lambda asked: faults.append(asked.url) if not asked.url.startswith("file:") else None)
    shown.goto(written.as_uri())

    def visible():
        return [part.get_attribute("aria-label") for part in shown.locator("section.one").all() if part.is_visible()]

    labels = [one.label for one in explained]
    assert visible() == labels[:1]
    assert shown.locator("nav.pick select option").count() == 5
    assert shown.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert shown.locator("section.one:visible .heat tbody tr").count() == 17
    assert shown.get_by_label("previous").is_disabled()
    shown.get_by_label("next").click()
    assert visible() == labels[1:2]
    shown.locator("nav.pick select").focus()
    shown.keyboard.press("ArrowDown")  # without a mouse
    assert visible() == labels[2:3]
    assert EVIL in shown.inner_text("section.one:visible")
    shown.reload()
    assert visible() == labels[2:3]
    shown.locator("nav.pick select").select_option(index=4)
    assert visible() == labels[4:]
    assert shown.get_by_label("next").is_disabled()
    context.close()
    assert faults == []


def test_without_scripts_all_is_shown(browser, written):
    context = browser.new_context(java_script_enabled=False)
    shown = context.new_page()
    shown.goto(written.as_uri())
    assert shown.locator("section.one:visible").count() == 5
    assert not shown.locator("nav.pick").is_visible()
    context.close()
