"""The command that watches a store: what it says, and that it rolls back once, with who and why."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from datetime import datetime, timedelta, timezone

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.analysis.ab_test import simulator
from recbole_mind.cli import watch
from recbole_mind.cli.main import main
from recbole_mind.serving.bundle import bundle as bundles
from recbole_mind.serving.store import store as stores
from tests.support.store import bundle, consistent, ids, opened, verify
from tests.support.waiting import HANG

START = datetime(2026, 3, 1, tzinfo=timezone.utc)
PUBLISHED = START + timedelta(days=15, hours=4)
NOW = PUBLISHED + timedelta(hours=9)


@pytest.fixture
def clock(monkeypatch):
    """The time of stores and of the watch, which a test sets."""
    monkeypatch.setattr(bundles, "verify", verify)
    now = {"now": NOW}
    monkeypatch.setattr(watch, "_now", lambda: now["now"])
    monkeypatch.setattr(stores, "_now", lambda: now["now"].isoformat(timespec="seconds"))
    return now


@pytest.fixture
def store(clock, tmp_path):
    """A store of two versions of which the second serves since ``PUBLISHED``, and the third that may follow."""
    sources = [bundle(tmp_path / f"b{place}", 2.0 + place / 100) for place in range(3)]
    made = opened(tmp_path / "store")
    for source, time in zip(sources, (START, PUBLISHED), strict=False):
        clock["now"] = time
        made.publish(source)
    clock["now"] = NOW
    return made, sources


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """Logs of sixteen days of a thousand users: the last version is as ``good`` as the one before, or ``bad``.

    Or lists are bad since four hours ``before``.
    """
    world, random = simulator.World.planted(1000, np.random.default_rng(0)), np.random.default_rng(1)
    first, second = (ids([bundle(tmp_path_factory.mktemp("b") / "b", loss)])[0][:12] for loss in (2.0, 2.01))
    found = {}
    for name, quality, hours in (("good", 0.5, 0), ("bad", 0.2, 0), ("before", 0.2, 4)):
        found[name] = tmp_path_factory.mktemp("logs") / name
        found[name].mkdir()
        user, time = world.visits(np.arange(1000), 16.0, random)
        late, fell = (time > (PUBLISHED - START).total_seconds() - 3600 * early for early in (0, hours))
        parts = ((first, ~fell, 0.5), (first, fell & ~late, quality), (second, late, quality))
        for label, chosen, q in (part for part in parts if part[1].any()):
            views = world.show(user[chosen], time[chosen], world.mixed(q), random)
            table = simulator.columns(views, "mind", label, start=START.timestamp(), prefix=f"{label}-{q}-")
            pq.write_table(pa.table(table), found[name] / f"{label}-{q}-{len(list(found[name].iterdir()))}.parquet")
    return found


def said(capsys, *arguments):
    status = main(["watch", *map(str, arguments)])
    return status, capsys.readouterr().out


def test_a_version_that_is_as_good_as_the_last_stays(store, logs, capsys):
    made, sources = store
    status, out = said(capsys, made.folder, "--events", logs["good"], "--rollback")
    lines = out.splitlines()
    assert status == 0
    assert lines[0] == f"version {ids(sources)[1][:12]}, current since 2026-03-16T04:00:"
    assert [line.split(":")[:2] for line in lines[1:]] == [
        ["mind, pvctr", " good"],
        ["mind, uvctr", " good"],
        ["mind, shown", " good"],
    ]
    assert all("the same hours of 14 days before" in line for line in lines[1:])
    assert consistent(made)[0] == ids(sources)[1]


def test_a_fall_is_an_alarm_and_a_rollback_only_where_that_is_asked(store, logs, capsys):
    made, sources = store
    a, b, _ = ids(sources)
    status, out = said(capsys, made.folder, "--events", logs["bad"])
    assert status == 1
    assert "mind, pvctr: fallen: " in out
    assert consistent(made)[0] == b
    status, out = said(capsys, made.folder, "--events", logs["bad"], "--rollback", "--who", "cron")
    assert status == 1
    assert out.splitlines()[-1] == f"version {a} is current again, in place of {b}"
    current, events = consistent(made)
    assert current == a
    last = events[-1]
    assert (last.event, last.id, last.before, last.who) == ("rolled back", a, b, "cron")
    assert last.why.startswith("recbole-mind watch: mind, pvctr: fallen: ")
    assert "views; the same hours of 14 days before: 6." in last.why
    # the version that is back is not judged by what the other one did, and is never left by a machine
    status, out = said(capsys, made.folder, "--events", logs["bad"], "--rollback")
    assert (status, out.splitlines()[1]) == (0, "nothing of it was shown, so nothing is judged")
    assert len(consistent(made)[1]) == len(events)


def test_what_had_fallen_before_is_an_alarm_without_a_rollback(store, logs, capsys):
    made, sources = store
    status, out = said(capsys, made.folder, "--events", logs["before"], "--rollback")
    assert status == 1
    assert "mind, pvctr: fell before: " in out
    assert "fallen: " not in out
    assert "rolled back" not in out
    assert consistent(made)[0] == ids(sources)[1]


def test_who_publishes_it_again_has_decided(store, logs, capsys, clock):
    made, sources = store
    assert said(capsys, made.folder, "--events", logs["bad"], "--rollback")[0] == 1
    clock["now"] = PUBLISHED + timedelta(hours=10)
    made.publish(sources[1], force="it is better than it looks")
    clock["now"] = PUBLISHED + timedelta(hours=19)
    status, out = said(capsys, made.folder, "--events", logs["bad"], "--rollback")
    assert status == 1
    reason = "the version was rolled back on 2026-03-16 and published again since, so a person is to decide"
    assert out.splitlines()[-1] == f"not rolled back: {reason}"
    assert consistent(made)[0] == ids(sources)[1]


def test_the_first_version_has_nothing_to_go_back_to(clock, logs, tmp_path, capsys):
    made, source = opened(tmp_path / "store"), bundle(tmp_path / "b", 2.01)
    clock["now"] = PUBLISHED
    made.publish(source)
    clock["now"] = NOW
    status, out = said(capsys, made.folder, "--events", logs["bad"], "--rollback")
    assert status == 1
    assert out.splitlines()[-1] == "not rolled back: there is no version before it"


def test_a_damaged_version_before_is_said(store, logs, capsys):
    made, sources = store
    path = made.version(ids(sources)[0]) / "encoder.onnx"
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    status, out = said(capsys, made.folder, "--events", logs["bad"], "--rollback")
    assert status == 1
    assert out.splitlines()[-1].startswith("not rolled back: bundle")
    assert consistent_current(made) == ids(sources)[1]


def consistent_current(made):
    return opened(made.folder).current().name


def test_a_version_that_comes_between_is_not_left(store, logs, capsys, monkeypatch):
    made, sources = store
    look = watch._now
    from recbole_mind.analysis.monitoring import rules

    judge = rules.judge

    def late(*given):
        made.publish(sources[2])
        return judge(*given)

    monkeypatch.setattr(rules, "judge", late)
    status, out = said(capsys, made.folder, "--events", logs["bad"], "--rollback")
    _, b, c = ids(sources)
    assert status == 1
    assert out.splitlines()[-1] == f"not rolled back: version {b} is not current any more; {c} is"
    assert consistent(made)[0] == c
    assert look() == NOW


def test_it_goes_on_over_what_may_be_mended_until_it_is_stopped(store, logs, capsys, monkeypatch, tmp_path):
    made, _ = store
    folder = tmp_path / "events"
    folder.mkdir()
    waited = []

    def sleep(seconds):
        waited.append(seconds)
        if len(waited) == 1:
            shutil.copytree(logs["bad"], folder, dirs_exist_ok=True)
        if len(waited) == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(watch.time, "sleep", sleep)
    assert main(["watch", str(made.folder), "--events", str(folder), "--rollback", "--every", "60"]) == 0
    out, err = capsys.readouterr()
    assert waited == [60, 60, 60]
    assert err.splitlines() == [f"error: log '{folder}': the folder has no .parquet file", "stopped"]
    assert out.count("is current again") == 1
    assert "nothing of it was shown" in out
    assert sum(event.event == "rolled back" for event in consistent(made)[1]) == 1


def test_ctrl_c_ends_it(store, logs):
    made, _ = store
    code = "import sys; from recbole_mind.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "watch", str(made.folder), "--events", str(logs["good"]), "--every", "3000"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline().startswith("version ")
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=HANG)
    assert process.returncode == 0
    assert err == "stopped\n"


def test_nothing_is_judged_before_the_first_publication(clock, logs, tmp_path, capsys):
    made = opened(tmp_path / "store")
    made.publish(bundle(tmp_path / "bad", float("nan")))  # blocked
    assert said(capsys, made.folder, "--events", logs["bad"]) == (0, "nothing was published\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["{store}"], "the following arguments are required: --events"),
        (["{bad}", "--events", "{bad}"], "is not a store; recbole-mind publish makes one"),
        (["{store}", "--events", "nowhere"], "events: 'nowhere' is not there"),
        (["{store}", "--events", "{store}"], "the folder has no .parquet file"),
        (
            ["{store}", "--events", "{bad}", "--every", "0"],
            "every: 0.0 is not allowed; allowed: seconds from 1",
        ),
        (["{store}", "--events", "{bad}", "--every", "nan"], "every: nan is not allowed"),
        (["{store}", "--events", "{bad}", "--rules", "no.yaml"], "config file 'no.yaml' cannot be read"),
    ],
)
def test_bad_arguments_are_one_line(store, logs, arguments, reason, capsys):
    given = [text.format(store=store[0].folder, bad=logs["bad"]) for text in arguments]
    assert main(["watch", *given]) == 2
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1
