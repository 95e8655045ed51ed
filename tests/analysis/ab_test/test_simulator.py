"""People with planted interests: they do what the formulas say, and their views depend on each other."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.analysis.ab_test import events, simulator
from recbole_mind.analysis.ab_test.simulator import World
from recbole_mind.errors import InputError


@pytest.fixture(scope="module")
def world():
    return World.planted(2000, np.random.default_rng(0))


@pytest.fixture(scope="module")
def shown(world):
    random = np.random.default_rng(1)
    return world.show(*world.visits(np.arange(world.users), 10.0, random), world.mixed(0.5), random)


def test_interests_are_few_and_whole(world):
    assert ((world.interests > 0).sum(1) == 3).all()
    assert world.interests.sum(1) == pytest.approx(np.ones(world.users))
    assert world.appetite.mean() == pytest.approx(1, abs=0.05)
    assert np.bincount(world.clusters).tolist() == [10] * 20


def test_a_click_is_a_place_that_is_looked_at_and_an_interest(world):
    user, item = np.array([7]), np.array([[0, 15, 100]])
    found = world.probabilities(user, item)[0]
    for place, one in enumerate(item[0]):
        relevance = min(1, 0.6 * world.appetite[7] * world.interests[7, one // 10])
        assert found[place] == pytest.approx(relevance / np.log2(2 + place))


def test_clicks_come_as_often_as_the_formula_says(world, shown):
    assert shown.clicked.mean() == pytest.approx(world.click_rate(0.5), rel=0.02)
    by_place = shown.clicked.mean(0) / world.examined
    assert by_place == pytest.approx(np.full(10, by_place.mean()), rel=0.06)  # position bias, and nothing else
    assert shown.clicked[:, 0].mean() > 2 * shown.clicked[:, 9].mean()
    requests = np.bincount(shown.user, minlength=world.users) / 10
    assert requests.mean() == pytest.approx(world.activity.mean(), rel=0.02)


def test_a_better_list_is_clicked_more_by_as_much_as_is_wanted(world):
    rates = [world.click_rate(quality) for quality in (0, 0.3, 1)]
    assert rates == sorted(rates)
    assert world.quality_of(world.click_rate(0.3)) == pytest.approx(0.3)
    with pytest.raises(InputError, match=r"rate: 0.9 is not allowed"):
        world.quality_of(0.9)
    with pytest.raises(InputError, match=r"quality: 1.1 is not allowed"):
        world.mixed(1.1)
    with pytest.raises(InputError, match="interests: 30 is not allowed; allowed: 1 to 20"):
        World.planted(3, np.random.default_rng(0), interests=30)


def test_no_list_has_an_item_twice(shown):
    ordered = np.sort(shown.items, 1)
    assert (ordered[:, 1:] > ordered[:, :-1]).all()
    assert (ordered >= 0).all()
    assert (ordered < 200).all()


def test_a_list_of_quality_1_and_a_history_are_of_the_users_clusters(world):
    random = np.random.default_rng(2)
    user = np.arange(50)
    lists = world.mixed(1.0)(user, random)
    assert (world.interests[user[:, None], world.clusters[lists]] > 0).all()
    found = world.history(3, 4000, random)
    shares = np.bincount(world.clusters[found], minlength=20) / 4000
    assert shares == pytest.approx(world.interests[3], abs=0.03)


def test_views_of_a_user_depend_on_each_other_unless_all_are_alike():
    def overdispersion(unlike):
        random = np.random.default_rng(3)
        world = World.planted(3000, random, unlike=unlike, interests=1)
        seen = world.show(np.arange(3000).repeat(5), np.zeros(15000), world.mixed(1.0), random)
        clicks = seen.clicked.reshape(3000, -1).sum(1)
        alone = seen.clicked.reshape(3000, 5, 10).mean((0, 1))
        return clicks.var() / (5 * (alone * (1 - alone)).sum())

    assert overdispersion(0.5) > 2
    assert overdispersion(0) == pytest.approx(1, abs=0.1)


def test_the_same_seed_shows_the_same(world):
    one, two = (world.show(np.arange(20), np.zeros(20), world.mixed(0.5), np.random.default_rng(5)) for _ in range(2))
    assert (one.items == two.items).all()
    assert (one.clicked == two.clicked).all()


def test_users_are_assigned_once_and_evenly():
    found = simulator.assigned(np.arange(101), ["a", "b"], np.random.default_rng(0))
    assert sorted(np.concatenate(list(found.values()))) == list(range(101))
    assert [len(users) for users in found.values()] == [51, 50]


def test_a_log_on_disk_says_what_the_arrays_say(world, tmp_path):
    random, views = np.random.default_rng(6), {}
    for name, users in simulator.assigned(np.arange(200), ["a", "b"], random).items():
        views[name] = world.show(*world.visits(users, 2.5, random), world.mixed(0.5), random)
        table = pa.table(simulator.columns(views[name], name, f"bundle-{name}"))
        pq.write_table(table, tmp_path / f"{name}.parquet")
    arrays, read = simulator.impressions(views), events.read(tmp_path)
    assert read.left_out == {}
    assert read.channels == arrays.channels == ["a", "b"]
    assert read.days == arrays.days
    assert len(read.days) == 3
    for channel in range(2):
        for day in (None, 0, 1, 2):
            one, two = (np.sort(np.stack(log.by_user(channel, day)), 1) for log in (read, arrays))
            assert (one == two).all()


def test_a_visit_sends_back_what_was_shown_and_clicked(world):
    sent = []

    def post(path, body):
        sent.append((path, body))
        return {"items": [f"i{item}" for item in range(10)], "request": "r1"} if path == "/recall" else {}

    shown, clicked = simulator.visit(post, world, 4, [3, 5], np.random.default_rng(1))
    (_, question), (_, answer) = sent
    assert [path for path, _ in sent] == ["/recall", "/events"]
    assert question == {"history": ["i3", "i5"], "n": 10, "user": "u4"}
    kinds = [event["event"] for event in answer["events"]]
    assert (shown, clicked) == (10, kinds.count("click"))
    assert kinds.count("impression") == 10
    assert [event["position"] for event in answer["events"][:10]] == list(range(1, 11))
    assert {event["request"] for event in answer["events"]} == {"r1"}
    assert simulator.visit(lambda *_: {"items": [], "request": "r"}, world, 4, [], np.random.default_rng(1)) == (0, 0)
