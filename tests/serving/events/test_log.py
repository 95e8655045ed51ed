"""The log of events: what it has taken is there once, whatever happens."""

import errno
import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import threading
import zlib
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from recbole_mind.analysis.ab_test import events as reading
from recbole_mind.errors import InputError
from recbole_mind.serving.events import log as module
from recbole_mind.serving.events.log import SCHEMA, Event, EventLog
from tests import ROOT


def event(number, kind="impression", **more):
    values = {"time": 1_770_000_000.25 + number, "request": f"r{number}", "channel": "mind", "bundle": "0123456789ab"}
    values |= {"user": f"u{number % 7}", "item": f"i{number % 50}", "position": 1 + number % 10, "event": kind}
    return Event(**(values | more))


def kept(folder):
    """The requests of the log's Parquet files, in order."""
    files = sorted(Path(folder).glob("*.parquet"))
    return [request for path in files for request in pq.read_table(path)["request"].to_pylist()]


def names(folder):
    """Number and kind of the log's files, which begin with a name of their process."""
    files = sorted(path.name for path in Path(folder).iterdir() if not path.name.startswith("."))
    assert all(re.fullmatch(r"events-\d{8}T\d{6}-[0-9a-f]{8}-\d{6}\.(text|parquet)", name) for name in files), files
    return [name.rpartition("-")[2] for name in files]


def test_events_come_back_as_they_were_given(tmp_path):
    log = EventLog(tmp_path / "log")
    given = [event(1), event(2, "click", position=None, user='quo"te\n', item="é"), event(3, answered="other")]
    log.append(given)
    log.append([])
    log.close()
    assert names(tmp_path / "log") == ["000001.parquet"]
    table = pq.read_table(next((tmp_path / "log").glob("*.parquet")))
    assert table.schema.remove_metadata().equals(SCHEMA)
    found = [Event(**(row | {"time": row["time"].timestamp()})) for row in table.to_pylist()]
    assert found == [each._replace(answered=each.answered or each.channel) for each in given]


def test_a_text_of_before_channels_could_answer_for_each_other_is_read(tmp_path):
    log = EventLog(tmp_path)
    log.append([event(1)])
    path = next(tmp_path.glob("*.text"))
    text = path.read_bytes()
    log._held.close()  # as if killed
    content = json.dumps([list(event(1))[:8]]).encode()
    path.write_bytes(b"%08x %s\n" % (zlib.crc32(content), content))
    assert path.read_bytes() != text
    again = EventLog(tmp_path)
    again.close()
    assert again.damaged == 0
    table = pq.read_table(next(tmp_path.glob("*.parquet")))
    assert table["answered"].to_pylist() == table["channel"].to_pylist() == [event(1).channel]


def test_a_text_that_is_large_or_old_becomes_parquet(tmp_path, monkeypatch):
    log = EventLog(tmp_path, rows=10, seconds=60)
    for number in range(25):
        log.append([event(number)])
    assert names(tmp_path) == ["000001.parquet", "000002.parquet", "000003.text"]
    log.tend()
    assert len(kept(tmp_path)) == 20
    real = module.time.monotonic
    monkeypatch.setattr(module.time, "monotonic", lambda: real() + 61)
    log.tend()
    assert kept(tmp_path) == [f"r{number}" for number in range(25)]
    log.tend(now=True)
    assert len(names(tmp_path)) == 3  # nothing is made of nothing
    log.append([event(25)])
    log.tend(now=True)
    assert names(tmp_path)[-1] == "000004.parquet"
    log.close()


def test_one_process_appends(tmp_path):
    log = EventLog(tmp_path)
    with pytest.raises(InputError, match="another run is writing"):
        EventLog(tmp_path)
    log.close()
    EventLog(tmp_path).close()


def test_what_was_left_is_taken_up(tmp_path):
    log = EventLog(tmp_path)
    log.append([event(0), event(1)])
    log.append([event(2)])
    path = next(tmp_path.glob("*.text"))
    text = path.read_bytes()
    log.close()
    whole = path.with_suffix(".parquet").read_bytes()
    for end in range(len(text) + 1):  # killed after any byte of a line that was being written
        for left in tmp_path.glob("events-*"):
            left.unlink()
        path.write_bytes(text[:end])
        (tmp_path / f".{path.stem}.parquet.0123.tmp").write_bytes(b"PAR1")
        again = EventLog(tmp_path)
        first = text.index(b"\n") + 1
        number = 3 if end == len(text) else 2 if end >= first else 0
        assert kept(tmp_path) == [f"r{place}" for place in range(number)]
        assert again.damaged == (end not in (0, first, len(text)))
        assert not list(tmp_path.glob(".events*"))
        again.append([event(9)])
        again.close()
        assert sorted(kept(tmp_path)) == [*(f"r{place}" for place in range(number)), "r9"]
    # killed between the Parquet file and the end of the text: nothing is there twice
    for left in tmp_path.glob("events-*"):
        left.unlink()
    path.write_bytes(text)
    path.with_suffix(".parquet").write_bytes(whole)
    EventLog(tmp_path).close()
    assert kept(tmp_path) == ["r0", "r1", "r2"]
    assert names(tmp_path) == ["000001.parquet"]


def test_no_two_processes_give_a_file_the_same_name(tmp_path):
    """Files of several logs may be moved into one folder, and finished ones out of a log's own."""
    seen = set()
    for number, folder in enumerate((tmp_path / "a", tmp_path / "b", tmp_path / "a")):
        log = EventLog(folder)
        log.append([event(number)])
        log.close()
        for path in folder.glob("*.parquet"):
            assert path.name not in seen
            seen.add(path.name)
            path.unlink()
    assert len(seen) == 3


def test_a_text_that_could_not_be_begun_is_not_written_to(tmp_path, monkeypatch):
    log = EventLog(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "sync", lambda _: (_ for _ in ()).throw(OSError(errno.EMFILE, "too many open files")))
        with pytest.raises(OSError, match="too many"):
            log.append([event(0)])
    for number in range(1, 4):
        log.append([event(number)])
        if number == 2:  # a write that fails in its middle takes nothing from the lines before
            with monkeypatch.context() as patch:
                patch.setattr(module, "_write", lambda file, line: (os.write(file, line[:9]), os.fsync(99_999)))
                with pytest.raises(OSError, match="Bad file"):
                    log.append([event(99)])
    log.close()
    assert kept(tmp_path) == ["r1", "r2", "r3"]
    assert log.damaged == 0


def test_a_log_that_cannot_make_parquet_is_a_log_all_the_same(tmp_path, monkeypatch, caplog):
    log = EventLog(tmp_path)
    log.append([event(0)])
    log._held.close()  # as if it had been killed
    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomic", lambda *_: (_ for _ in ()).throw(InputError("the disk is full")))
        again = EventLog(tmp_path)
        again.append([event(1)])
        again.tend(now=True)
    assert caplog.text.count("the disk is full") == 3
    again.close()
    assert sorted(kept(tmp_path)) == ["r0", "r1"]


def test_a_line_that_was_changed_does_not_count(tmp_path):
    log = EventLog(tmp_path)
    for number in range(3):
        log.append([event(number)])
    log._held.close()
    path = next(tmp_path.glob("*.text"))
    lines = path.read_bytes().split(b"\n")
    lines[1] = lines[1].replace(b"r1", b"r7")
    path.write_bytes(b"\n".join(lines))
    again = EventLog(tmp_path)
    assert again.damaged == 1
    assert kept(tmp_path) == ["r0", "r2"]
    again.close()


def test_a_full_disk_takes_nothing_and_loses_nothing(tmp_path):
    log = EventLog(tmp_path)
    taken, refused = [], set()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))
    try:
        for number in range(100):
            try:
                log.append([event(number)] * 2)
            except OSError as error:
                refused.add(error.errno)
            else:
                taken += [f"r{number}"] * 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, handler)
    assert 0 < len(taken) < 200
    assert refused == {errno.EFBIG}
    log.append([event(500)])
    log.close()
    assert sorted(kept(tmp_path)) == sorted([*taken, "r500"])
    assert log.damaged == 0


def test_a_text_that_cannot_become_parquet_is_tried_again(tmp_path, monkeypatch, caplog):
    log = EventLog(tmp_path, rows=2)

    def full(*_):
        raise InputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(module, "write_atomic", full)
        for number in range(5):
            log.append([event(number)])
        assert "to be tried again: the disk is full" in caplog.text
        assert kept(tmp_path) == []
    log.close()
    assert kept(tmp_path) == [f"r{number}" for number in range(5)]


def test_threads_append_beside_each_other(tmp_path):
    log = EventLog(tmp_path, rows=50)

    def work(thread):
        for number in range(40):
            log.append([event(1000 * thread + number)])

    threads = [threading.Thread(target=work, args=(thread,)) for thread in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    log.close()
    found = kept(tmp_path)
    assert sorted(found) == sorted(f"r{1000 * thread + number}" for thread in range(8) for number in range(40))


WRITER = """
import sys
from tests.serving.events.test_log import event
from recbole_mind.serving.events.log import EventLog
log = EventLog(sys.argv[1], rows=7)
for number in range(int(sys.argv[2]), 10**9):
    log.append([event(number), event(number, "click")])
    print(number, flush=True)
"""


@pytest.mark.slow
def test_kill_9_loses_nothing_that_was_taken(tmp_path):
    """Killed at random moments, while it appends and while it makes Parquet."""
    moments, start, said = random.Random(1), 0, []
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for _ in range(6):
        run = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(start)],
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
        )
        first = int(run.stdout.readline())
        killer = threading.Timer(moments.uniform(0.05, 0.6), run.kill)
        killer.start()
        lines = run.stdout.read().split("\n")
        run.wait()
        said += [first, *(int(line) for line in lines[:-1])]
        start = said[-1] + 100  # what may have been taken without being said is another number
    EventLog(tmp_path).close()
    found = kept(tmp_path)
    assert len(said) > 50
    assert {f"r{number}" for number in said} <= set(found)
    assert all(found.count(f"r{number}") == 2 for number in said)
    unsaid = set(found) - {f"r{number}" for number in said}
    assert len(unsaid) <= 6  # at most one a kill was on the disk before it was said
    counted = reading.read(tmp_path)
    assert counted.clicked.all()
    assert counted.left_out == {}
