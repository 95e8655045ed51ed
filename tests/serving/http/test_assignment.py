"""Who has which channel, and who moves when shares change."""

import hashlib
import hmac
import itertools
import logging
import math

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.http.assignment import Assignment, read_shares
from recbole_mind.serving.http.metrics import Metrics

USERS = [f"u{number}" for number in range(100_000)]
TWO, THREE = ("mind", "ytdnn"), ("a", "b", "c")


@pytest.fixture
def dealt(tmp_path):
    """Makes an assignment of channels by shares, with one key for the test."""
    numbers = itertools.count()

    def make(channels, shares=None, experiment="", key="key"):
        path = None
        if shares is not None:
            path = tmp_path / f"shares{next(numbers)}.yaml"
            path.write_text("".join(f"{name}: {share}\n" for name, share in zip(channels, shares, strict=True)))
        return Assignment(channels, tmp_path / key, experiment, path, Metrics(channels))

    return make


def within(count, share):
    """Whether a count is within five standard deviations of the binomial distribution."""
    many = len(USERS)
    return abs(count - many * share) <= 5 * math.sqrt(many * share * (1 - share))


@pytest.mark.parametrize(
    ("channels", "shares"),
    [(TWO, (0.9, 0.1)), (TWO, (0.999, 0.001)), (TWO, (0, 1)), (THREE, (0.2, 0.5, 0.3)), (THREE, (0.5, 0, 0.5))],
)
def test_channels_have_their_shares(dealt, channels, shares):
    found = dealt(channels, shares)
    given = [found.channel(user) for user in USERS]
    for name, share in zip(channels, shares, strict=True):
        assert within(given.count(name), share), (name, given.count(name))
    nobody = [found.channel(None) for _ in USERS]
    for name, share in zip(channels, shares, strict=True):
        assert within(nobody.count(name), share), (name, nobody.count(name))


def test_without_a_file_shares_are_equal(dealt):
    found = dealt(THREE)
    given = [found.channel(user) for user in USERS]
    assert all(within(given.count(name), 1 / 3) for name in THREE)
    assert found._metrics.registry.get_sample_value("recbole_mind_channel_share", {"channel": "b"}) == 1 / 3


def test_users_are_spread_evenly(dealt):
    """A hundred parts of the line, none more full than chance would have it: chi-square with 99 degrees of freedom."""
    found, counts = dealt(TWO), [0] * 100
    for user in USERS:
        counts[int(100 * found.point(user))] += 1
    assert 45 < sum((count - 1000) ** 2 / 1000 for count in counts) < 175  # p of either about 1e-6


def test_a_user_keeps_the_channel(dealt):
    found, again = dealt(TWO, (0.7, 0.3)), dealt(TWO, (0.7, 0.3))  # another process that has the key
    assert [found.point(user) for user in USERS[:1000]] == [again.point(user) for user in USERS[:1000]]
    odd = ["", "é", "\U0001f600", "a\0b", "x" * 10_000]
    assert [found.channel(user) for user in odd] == [again.channel(user) for user in odd]


def test_a_known_key_gives_known_numbers(tmp_path):
    """HMAC-SHA256 over the experiment, a zero byte and the user, its first 53 bits: what other programs may compute."""
    (tmp_path / "key").write_bytes(bytes(range(32)))
    (tmp_path / "key").chmod(0o600)
    found = Assignment(TWO, tmp_path / "key", "spring", None, Metrics(TWO))
    digest = hmac.new(bytes(range(32)), b"spring\0" + "ü1".encode(), hashlib.sha256).hexdigest()
    assert found.point("ü1") == int(digest[:16], 16) // 2**11 / 2**53
    assert 0 <= found.point("ü1") < 1


@pytest.mark.parametrize("change", [{"key": "other"}, {"experiment": "spring"}])
def test_another_key_or_experiment_deals_users_anew(dealt, change):
    one, two = dealt(TWO), dealt(TWO, **change)
    same = sum(one.channel(user) == two.channel(user) for user in USERS)
    assert within(same, 0.5)


@pytest.mark.parametrize(
    ("channels", "before", "after", "moved"),
    [
        (TWO, (0.9, 0.1), (0.8, 0.2), 0.1),
        (TWO, (0.9, 0.1), (0.9, 0.1), 0),
        (TWO, (1, 0), (0.99, 0.01), 0.01),
        (THREE, (0.5, 0.3, 0.2), (0.4, 0.4, 0.2), 0.1),  # what a gives, its neighbour takes
        (THREE, (0.4, 0.3, 0.3), (0.5, 0.3, 0.2), 0.2),  # what c gives goes through b
    ],
)
def test_as_many_users_move_as_a_border_passes(dealt, channels, before, after, moved):
    one, two = dealt(channels, before), dealt(channels, after)
    pairs = [(one.channel(user), two.channel(user), one.point(user)) for user in USERS]
    changed = [(old, new, point) for old, new, point in pairs if old != new]
    assert within(len(changed), moved)
    borders = [(sum(before[:place]), sum(after[:place])) for place in range(1, len(channels))]
    for old, new, point in changed:  # these and no others
        assert any(min(border) <= point < max(border) for border in borders), (old, new)
    if len(channels) == 2:  # all in one direction: as few as can be
        assert {(old, new) for old, new, _ in changed} <= {("mind", "ytdnn")}


@pytest.mark.parametrize("name", ["", "a b", "-a", "a" * 33, "ä"])
def test_a_channel_has_a_plain_name(dealt, name):
    with pytest.raises(InputError, match=r"channel: '.*' is not allowed; allowed: up to 32 of A-Z a-z 0-9 _ -"):
        dealt((name, "b"))


# -- the file of shares ----------------------------------------------------------------------------------------------

BAD = [
    ("mind: 0.9\n", "channel 'ytdnn' is missing; allowed: 0 for no user"),
    ("mind: 0.9\nytdn: 0.1\n", "'ytdn' is no channel; did you mean 'ytdnn'\\?; allowed: mind, ytdnn"),
    ("mind: 0.9\nytdnn: 0.2\n", "the shares add up to 1.1; allowed: 1"),
    ("mind: 0\nytdnn: 0\n", "the shares add up to 0; allowed: 1"),
    ("mind: 1.5\nytdnn: -0.5\n", "mind: 1.5 is not allowed; allowed: a number from 0 to 1"),
    ("mind: half\nytdnn: 0.5\n", "mind: 'half' is not allowed; allowed: a number from 0 to 1"),
    ("mind: .nan\nytdnn: 0.5\n", "mind: nan is not allowed; allowed: a number from 0 to 1"),
    ("mind: true\nytdnn: 0\n", "mind: True is not allowed; allowed: a number from 0 to 1"),
    ("mind: 0.9\nmind: 0.1\n", "malformed: line 2: 'mind' stands twice"),
    ("- 0.9\n- 0.1\n", "it must hold 'key: value' pairs"),
    ("mind: [0.9\n", "malformed"),
    ("", "channel 'mind' is missing"),
    ("\xff", "cannot be read"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_a_faulty_file_is_refused(tmp_path, text, message):
    path = tmp_path / "shares.yaml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(InputError, match=message) as refused:
        read_shares(path, TWO)
    assert str(path) in str(refused.value)
    with pytest.raises(InputError):
        Assignment(TWO, tmp_path / "key", "", path, Metrics(TWO))
    assert not (tmp_path / "key").exists()
    with pytest.raises(InputError, match="cannot be read"):
        read_shares(tmp_path / "nowhere", TWO)


def test_shares_that_were_rounded_are_shares(tmp_path):
    path = tmp_path / "shares.yaml"
    path.write_text("c: 0.333\na: 0.333\nb: 0.333\n")
    found = Assignment(THREE, tmp_path / "key", "", path, Metrics(THREE))
    assert found._borders[-1] == 1
    given = [found.channel(user) for user in USERS]
    assert all(within(given.count(name), 1 / 3) for name in THREE)


def test_the_file_is_followed(tmp_path, caplog):
    path = tmp_path / "shares.yaml"
    path.write_text("mind: 1\nytdnn: 0\n")
    metrics = Metrics(TWO)
    found = Assignment(TWO, tmp_path / "key", "", path, metrics)
    caplog.set_level(logging.INFO, "recbole_mind")

    def figure(name, **labels):
        return metrics.registry.get_sample_value(f"recbole_mind_{name}", labels)

    assert {found.channel(user) for user in USERS[:100]} == {"mind"}
    path.write_text("mind: 0.25\nytdnn: 0.75\n")
    found.look()
    assert {found.channel(user) for user in USERS[:100]} == {"mind"}  # it may still be written
    found.look()
    assert figure("channel_share", channel="ytdnn") == 0.75
    assert figure("share_loads_total", result="done") == 1
    assert "shares: mind 0.25, ytdnn 0.75" in caplog.text
    given = [found.channel(user) for user in USERS]
    assert within(given.count("ytdnn"), 0.75)
    for failed, bad in enumerate(["mind: 2\nytdnn: 0\n", "mind: 0.5\n", "{"], 1):
        path.write_text(bad)
        for _ in range(4):
            found.look()
        assert figure("share_loads_total", result="failed") == failed
    lines = [record for record in caplog.records if record.levelname == "ERROR"]
    assert len(lines) == 3
    assert all("\n" not in line.getMessage() and str(path) in line.getMessage() for line in lines)
    assert [found.channel(user) for user in USERS] == given
    assert figure("channel_share", channel="ytdnn") == 0.75
    path.unlink()
    for _ in range(3):
        found.look()
    assert figure("share_loads_total", result="failed") == 4
    path.write_text("mind: 0\nytdnn: 1\n")
    found.reload()
    found.look()
    assert {found.channel(user) for user in USERS[:100]} == {"ytdnn"}


def test_nothing_ends_the_following(tmp_path, monkeypatch, caplog):
    path = tmp_path / "shares.yaml"
    path.write_text("mind: 1\nytdnn: 0\n")
    found = Assignment(TWO, tmp_path / "key", "", path, Metrics(TWO))
    monkeypatch.setattr(found._file, "look", lambda: (_ for _ in ()).throw(RuntimeError("unforeseen")))
    found.look()
    assert "the shares stay: RuntimeError: unforeseen" in caplog.text
    assert found.channel("u1") == "mind"
