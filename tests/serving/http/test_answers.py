"""The ranked list over HTTP: what Recaller.recommend gives, or one refusal where there is no ranker."""

import pytest

from recbole_mind.serving.http.schema import RecommendAnswer
from recbole_mind.serving.recaller import Recaller
from tests.support.bundles import exported, ranked, trained
from tests.support.questions import HISTORY
from tests.support.serving import running


@pytest.fixture(scope="module")
def folder(small, tmp_path_factory):
    checkpoint = trained(tmp_path_factory.mktemp("trained"), small, "MIND", K=3)
    target = tmp_path_factory.mktemp("b") / "bundle"
    return exported(checkpoint, target, ranker=ranked(checkpoint), categories=["tags"])


@pytest.fixture(scope="module")
def ranking(folder):
    with running(folder, {"max_n": 40}) as service:
        yield service


@pytest.mark.parametrize(
    ("question", "n", "candidates"),
    [
        ({"history": HISTORY}, 40, 40),  # the defaults, as far as the service allows
        ({"history": [*HISTORY, "x"], "n": 7, "candidates": 20, "exclude_seen": False}, 7, 20),
        ({"history": HISTORY, "n": 9, "candidates": 3}, 9, 9),  # no fewer than n
        ({"history": HISTORY, "n": 9, "allowed": ["i2", "i3", "i4", "y"], "denied": ["i4", "z"]}, 9, 40),
        ({"history": HISTORY, "n": 5, "candidates": 10, "diversity": 0.5, "category": "tags"}, 5, 10),
        ({"history": HISTORY, "n": 5, "profile": {"job": "j1", "a": "1"}}, 5, 40),
        ({"history": [], "n": 5}, 5, 40),
        ({"history": ["x"], "n": 5}, 5, 40),
    ],
)
def test_what_is_recommended_is_the_recallers(ranking, folder, question, n, candidates):
    answer = ranking.post("/recommend", question)
    recaller = Recaller.load(folder)
    given = {key: value for key, value in question.items() if key not in ("n", "candidates", "history")}
    wanted = recaller.recommend(question["history"], n, candidates, **given)._asdict()
    wanted["unknown_profile"] = list(wanted["unknown_profile"])
    assert answer.json == wanted | {"names": None, "bundle": recaller.bundle_id}
    RecommendAnswer.model_validate(answer.json)


def test_without_a_ranker_it_is_refused_and_said(served, ranking):
    assert served.post("/recommend", {"history": HISTORY}).error == (404, "no_ranker", None)
    assert (served.get("/version").json["ranker"], ranking.get("/version").json["ranker"]) == (False, True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"n": 0}, "n"),
        ({"candidates": 41}, "candidates"),
        ({"per_interest": True}, "per_interest"),
        ({"user": "u"}, "user"),
    ],
)
def test_other_questions_are_refused_by_field(ranking, change, field):
    assert ranking.post("/recommend", {"history": HISTORY} | change).error == (422, "invalid", field)


def test_a_recommendation_is_counted_and_its_events_are_kept(folder, tmp_path):
    with running(folder, events=tmp_path / "events", channel="mind") as service:
        answer = service.post("/recommend", {"history": HISTORY, "n": 3, "user": "u1"}).json
        event = {"request": answer["request"], "item": answer["items"][0], "event": "click"}
        assert service.post("/events", {"events": [event]}).json == {"taken": 1, "repeated": 0}
        assert service.figure("recbole_mind_recalls_total") == 1
