"""Offline recall: the lists are the recaller's, whatever stops the run, and memory does not grow with the file."""

import errno
import hashlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from recbole_mind.cli import main
from recbole_mind.errors import InputError, InterruptedRun
from recbole_mind.serving import batch, progress
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from tests import ROOT
from tests.support.bundles import exported, trained

ITEMS = [f"i{number}" for number in range(1, 51)]
LISTS = pa.list_(pa.string())


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    settings = {"K": 3, "user_features": ["user_id", "job"]}
    return trained(tmp_path_factory.mktemp("trained"), small, "MIND", **settings)


@pytest.fixture(scope="module")
def bundle(checkpoint, tmp_path_factory):
    return exported(checkpoint, tmp_path_factory.mktemp("b") / "bundle")


def drawn(users, longest=15, seed=0):
    """Histories of known and unknown items, some of them empty."""
    generator = np.random.default_rng(seed)
    return [list(generator.choice([*ITEMS, "x", "y"], size)) for size in generator.integers(0, longest, users)]


def written(path, histories, row_group_size=None, **columns):
    table = pa.table(
        {"user": [f"u{place}" for place in range(len(histories))], "history": pa.array(histories, LISTS)} | columns
    )
    pq.write_table(table, path, row_group_size=row_group_size)
    return path


def lists(path):
    return pq.read_table(path).to_pylist()


# -- what comes ------------------------------------------------------------------------------------------------------


def test_each_user_has_what_the_recaller_gives(bundle):
    histories = [*drawn(70), ["x", "z"], []]
    numbers = [None, 3, 200] * 24
    jobs = ["j1", None, "nobody's"] * 24
    written("h.parquet", histories, 7, job=jobs, n=pa.array(numbers, pa.int32()), colour=["red"] * 72)
    said = []
    found = batch.recall(bundle, "h.parquet", "out.parquet", n=12, batch=16, threads=2, say=said.append)
    assert said == ["columns that are not read: colour"]
    assert pq.read_schema("out.parquet").remove_metadata() == batch.SCHEMA
    recaller = Recaller.load(bundle)
    results = []
    for place, row in enumerate(lists("out.parquet")):
        profile = {"user_id": f"u{place}", "job": jobs[place]}
        wanted = recaller.recall(histories[place], profile, numbers[place] or 12)
        results.append(wanted)
        assert row == {
            "user": f"u{place}",
            "items": wanted.items,
            "scores": wanted.scores,
            "interests": wanted.interests,
            "fallback": wanted.fallback,
        }
    assert len(results) == found.users == found.made == 72
    assert found.fallbacks == sum(result.fallback is not None for result in results) >= 2
    assert found.unknown == sum(result.unknown for result in results)
    assert found.given == sum(map(len, histories))
    assert found.bundle == recaller.bundle_id
    assert {result.fallback for result in results} == {None, "empty history", "unknown items"}


def test_neither_row_groups_nor_threads_nor_batches_change_a_list(bundle):
    histories = drawn(50)
    written("one.parquet", histories)
    written("many.parquet", histories, 3)
    batch.recall(bundle, "one.parquet", "a.parquet", n=10, batch=50, threads=1)
    batch.recall(bundle, "many.parquet", "b.parquet", n=10, batch=7, threads=3)
    assert lists("a.parquet") == lists("b.parquet")
    assert pq.ParquetFile("b.parquet").num_row_groups == 8


def test_seen_items_come_when_asked_for(bundle):
    histories = [["i1", "i3", "i5", "i7"]]
    written("h.parquet", histories)
    for include in (False, True):
        batch.recall(bundle, "h.parquet", "out.parquet", n=50, exclude_seen=not include)
        (row,) = lists("out.parquet")
        assert set(histories[0]) <= set(ITEMS) - set(row["items"]) if not include else set(row["items"]) == set(ITEMS)


def test_only_the_pool_comes_and_its_unknown_tokens_are_counted(bundle):
    written("h.parquet", [["i1", "i3"], [], ["i2", "i4", "i6"]])
    Path("pool.txt").write_bytes(b"\xef\xbb\xbfi2\r\ni4\n\ni6\nnew\n")
    pq.write_table(pa.table({"item": ["i2", "i4", None, "i6", "new"], "other": [1] * 5}), "pool.parquet")
    for pool in ("pool.txt", "pool.parquet"):
        said = []
        found = batch.recall(bundle, "h.parquet", "out.parquet", pool=pool, say=said.append)
        assert said == ["pool: 3 items; 1 tokens are unknown to the bundle"]
        assert [sorted(row["items"]) for row in lists("out.parquet")] == [["i2", "i4", "i6"]] * 2 + [[]]
        assert (found.empty, found.fallbacks) == (1, 1)
        assert (found.unknown_allowed, found.unknown_denied) == (1, 0)


def test_what_is_denied_is_left_out_and_makes_another_recall(bundle):
    written("h.parquet", [["i1", "i3"], []])
    Path("pool.txt").write_text("i2\ni4\ni6\n")
    Path("deny.txt").write_text("i4\nnew\n")
    said = []
    summary = batch.recall(bundle, "h.parquet", "out.parquet", pool="pool.txt", deny="deny.txt", say=said.append)
    assert (summary.unknown_allowed, summary.unknown_denied) == (0, 1)
    assert said == ["pool: 2 items; 1 tokens are unknown to the bundle"]
    assert [sorted(row["items"]) for row in lists("out.parquet")] == [["i2", "i6"]] * 2
    batch.recall(bundle, "h.parquet", "all.parquet", deny="deny.txt")
    assert [set(row["items"]) for row in lists("all.parquet")][1] == set(ITEMS) - {"i4"}
    said = json.loads(pq.read_schema("out.parquet").metadata[b"recbole-mind"])
    assert said["deny"] == hashlib.sha256(b"i4\nnew\n").hexdigest()
    Path("deny.txt").write_text("i2\ni4\ni6\n")
    with pytest.raises(InputError, match="it leaves no item"):
        batch.recall(bundle, "h.parquet", "out.parquet", pool="pool.txt", deny="deny.txt")


def test_lists_that_come_through_a_pipe_are_refused(bundle):
    written("h.parquet", [["i1", "i3"]])
    os.mkfifo("list")
    for name in ("pool", "deny"):
        with pytest.raises(InputError, match=f"{name} 'list' is not a file"):
            batch.recall(bundle, "h.parquet", "out.parquet", **{name: "list"})


def test_a_store_means_its_current_version(bundle):
    written("h.parquet", drawn(5))
    store = Store("store")
    with pytest.raises(InputError, match="'store' cannot be read"):
        batch.recall("store", "h.parquet", "out.parquet")
    event = store.publish(bundle, force="a test")
    assert batch.recall("store", "h.parquet", "out.parquet").bundle == event.id


def test_whole_numbers_may_name_users_and_values(bundle):
    table = pa.table({"user_id": [7, 8], "history": pa.array([["i1"], ["i2"]], pa.large_list(pa.large_string()))})
    pq.write_table(table, "h.parquet")
    batch.recall(bundle, "h.parquet", "out.parquet", n=1)
    assert [row["user"] for row in lists("out.parquet")] == ["7", "8"]


# -- what stops a run ------------------------------------------------------------------------------------------------


def parts(output="out.parquet"):
    return {path.name: path.stat().st_mtime_ns for path in Path(f"{output}.parts").glob("part-*.parquet")}


def test_a_killed_run_goes_on_to_the_same_file(bundle):
    written("h.parquet", drawn(200))
    batch.recall(bundle, "h.parquet", "whole.parquet", n=30, batch=8)
    code = "import sys; from recbole_mind.cli.main import main; sys.exit(main(sys.argv[1:]))"
    arguments = ["recall", bundle, "--histories=h.parquet", "-o", "out.parquet", "--n=30", "--batch=8"]
    command = [sys.executable, "-c", code, *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    before = {}
    for number in (2, 11):
        run = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
        while len(parts()) < number:
            assert run.poll() is None
            time.sleep(0.001)
        run.send_signal(signal.SIGKILL)
        assert run.wait() == -signal.SIGKILL
        assert not Path("out.parquet").exists()
        now = parts()
        assert before.items() <= now.items()  # none was made again
        before = now
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert f"{8 * len(before)} of 200 users were done before" in done.stderr
    assert "200 users" in done.stdout
    assert Path("out.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    assert sorted(path.name for path in Path().iterdir()) == ["h.parquet", "out.parquet", "whole.parquet"]


def test_a_run_killed_while_its_parts_are_removed_is_run_again(bundle, monkeypatch):
    written("h.parquet", drawn(40))
    batch.recall(bundle, "h.parquet", "whole.parquet", batch=8)
    unlink = os.unlink
    for after in itertools.count():  # each file that is removed may be the last one
        removed = []

        def killed(path, *arguments, after=after, removed=removed, **keywords):
            if Path(path).name.startswith(("part-", "manifest")):
                if len(removed) == after:
                    raise SystemExit
                removed.append(path)
            unlink(path, *arguments, **keywords)

        try:
            with monkeypatch.context() as patch:
                patch.setattr(os, "unlink", killed)
                batch.recall(bundle, "h.parquet", "out.parquet", batch=8)
        except SystemExit:
            batch.recall(bundle, "h.parquet", "out.parquet", batch=8)
        else:
            break
        assert Path("out.parquet").read_bytes() == Path("whole.parquet").read_bytes()
        assert not Path("out.parquet.parts").exists()
    assert after == 6  # five parts and the manifest


def stopped(bundle, monkeypatch, output="out.parquet", after=3, **options):
    """Press Ctrl-C after some batches."""
    real, calls = Recaller.recall_batch, []

    def pressed(*arguments, **keywords):
        calls.append(arguments)
        if len(calls) > after:
            raise KeyboardInterrupt
        return real(*arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(Recaller, "recall_batch", pressed)
        with pytest.raises(InterruptedRun, match=r"out.parquet.parts'; the same command goes on from there"):
            batch.recall(bundle, "h.parquet", output, **({"batch": 8, "threads": 1} | options))


def test_ctrl_c_keeps_what_is_done(bundle, monkeypatch):
    written("h.parquet", drawn(60))
    stopped(bundle, monkeypatch)
    assert len(parts()) == 3
    calls = []
    watch = lambda what, done, total: calls.append((what, done, total))  # noqa: E731
    found = batch.recall(bundle, "h.parquet", "out.parquet", batch=8, threads=1, watch=watch)
    assert found.made == 60 - 24
    assert found.given == sum(map(len, drawn(60)))  # the counts are of all users
    assert [done for what, done, _ in calls if what == "recalling"] == [24, 32, 40, 48, 56, 60]
    batch.recall(bundle, "h.parquet", "whole.parquet", batch=8)
    assert Path("out.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def test_parts_of_something_else_are_never_mixed_in(bundle, checkpoint, monkeypatch, tmp_path):
    other = exported(checkpoint, tmp_path / "other", factory="IVF2,Flat")
    Path("pool").write_text("\n".join(ITEMS))
    changes = {
        "bundle": {"bundle": other},
        "n": {"n": 7},
        "exclude_seen": {"exclude_seen": False},
        "batch": {"batch": 9},
        "pool": {"pool": "pool"},
        "histories": {},
    }
    for key, options in changes.items():
        written("h.parquet", drawn(40))
        stopped(bundle, monkeypatch, n=5)
        if key == "histories":
            written("h.parquet", drawn(40, seed=1))
        said = []
        given = {"bundle": bundle, "n": 5, "batch": 8} | options
        found = batch.recall(histories="h.parquet", output="out.parquet", say=said.append, **given)
        assert f"the parts of an unfinished run are removed: it was of another {key}" in said
        assert found.made == 40
        batch.recall(histories="h.parquet", output="again.parquet", **given)
        assert Path("out.parquet").read_bytes() == Path("again.parquet").read_bytes()


def test_a_damaged_part_is_made_again_and_other_files_are_left_alone(bundle, monkeypatch):
    written("h.parquet", drawn(40))
    stopped(bundle, monkeypatch)
    part = Path("out.parquet.parts/part-0000001.parquet")
    part.write_bytes(part.read_bytes()[:-5])
    assert batch.recall(bundle, "h.parquet", "out.parquet", batch=8).made == 24  # the second, fourth and fifth
    batch.recall(bundle, "h.parquet", "whole.parquet", batch=8)
    assert Path("out.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    Path("other.parquet.parts").mkdir()
    Path("other.parquet.parts/part-0000000.parquet").touch()
    with pytest.raises(InputError, match=r"other.parquet.parts' holds other files"):
        batch.recall(bundle, "h.parquet", "other.parquet")
    assert Path("other.parquet.parts/part-0000000.parquet").exists()


@pytest.mark.parametrize("place", [0, 0.2, 0.5, 0.7])
def test_a_flipped_bit_in_a_part_is_noticed_and_the_part_made_again(bundle, monkeypatch, place):
    written("h.parquet", drawn(40))
    batch.recall(bundle, "h.parquet", "whole.parquet", batch=8)
    with monkeypatch.context() as patch:
        patch.setattr(batch, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        with pytest.raises(InterruptedRun):
            batch.recall(bundle, "h.parquet", "out.parquet", batch=8)
    part = Path("out.parquet.parts/part-0000002.parquet")
    data = bytearray(part.read_bytes())
    end = pq.read_metadata(part).row_group(0).column(3)  # what stands before the footer
    data[4 + int(place * (end.data_page_offset + end.total_compressed_size))] ^= 1
    part.write_bytes(data)
    with pytest.raises(InputError, match=r"part-0000002.parquet' was damaged and is removed; the same command makes"):
        batch.recall(bundle, "h.parquet", "out.parquet", batch=8)
    assert not Path("out.parquet").exists()
    assert batch.recall(bundle, "h.parquet", "out.parquet", batch=8).made == 8  # that part alone
    assert Path("out.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def test_a_full_disk_leaves_no_half_file(bundle, monkeypatch):
    written("h.parquet", drawn(300))
    Path("out.parquet").write_text("the old one")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    for limit in (2_000, 30_000):  # at a part, and at the whole
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
        try:
            with pytest.raises(InputError, match=rf"cannot be written: {os.strerror(errno.EFBIG)}"):
                batch.recall(bundle, "h.parquet", "out.parquet", n=20, batch=30)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert Path("out.parquet").read_text() == "the old one"
        assert len(parts()) == (0 if limit == 2_000 else 10)
    assert batch.recall(bundle, "h.parquet", "out.parquet", n=20, batch=30).made == 0
    assert len(lists("out.parquet")) == 300


def test_only_one_process_writes_an_output(bundle):
    written("h.parquet", drawn(5))
    with batch.alone_in("out.parquet.parts"), pytest.raises(InputError, match="another run is writing"):
        batch.recall(bundle, "h.parquet", "out.parquet")


# -- memory ----------------------------------------------------------------------------------------------------------


def test_memory_does_not_grow_with_the_file(bundle):
    generator = np.random.default_rng(0)
    for name, rows in (("small", 64), ("large", 1024)):
        text = pa.array(generator.integers(10**9, 10**10, rows * 1000)).cast(pa.string())
        histories = pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * 1000), text)
        written(f"{name}.parquet", histories)
    assert Path("large.parquet").stat().st_size > 8e6  # a million tokens: 67 MB of Python's strings
    code = (
        "import resource, sys; from recbole_mind.serving import batch as offline\n"
        "for name in ('small', 'large'):\n"
        "    offline.recall(sys.argv[1], f'{name}.parquet', 'out.parquet', n=5, batch=32, threads=1)\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
    )
    command = [sys.executable, "-c", code, bundle]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())
    assert many - few < 24 * 1024  # KiB


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_came_of_it(bundle, capsys):
    written("h.parquet", [["i1", "x", "i3", "i5"], [], ["x"]])
    assert main.main(["recall", str(bundle), "--histories", "h.parquet", "-o", "out.parquet", "--n", "5"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("out.parquet: 3 users, ")
    assert "users/s" in said
    assert "2 fallbacks, 40.00% unknown items in histories, 0 empty lists" in said
    about = json.loads(pq.read_schema("out.parquet").metadata[b"recbole-mind"])
    assert about["n"] == 5
    assert about["bundle"][:12] in said


def test_the_time_left_is_that_of_this_run(capsys, monkeypatch):
    clock = iter([100.0, 100.0, 130.0, 160.0, 220.0])
    bar = progress.UsersProgress()
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    for what, done in (("checking", 0), ("recalling", 500), ("recalling", 560), ("recalling", 620), ("recalling", 740)):
        bar.watch(what, done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "recalling: 620 of 1,000 users, 2/s, about 3 min left",
        "recalling: 740 of 1,000 users, 2/s, about 2 min left",
    ]


def table(**columns):
    return lambda path: pq.write_table(pa.table(columns), path)


TWO = {"user": ["a", "b"], "history": pa.array([["i1"], ["i2"]], LISTS)}
BAD = {
    "no such file": (lambda path: None, "'bad.parquet' cannot be read: No such file"),
    "a folder": (lambda path: Path(path).mkdir(), "histories 'bad.parquet' cannot be read"),
    "text": (lambda path: Path(path).write_text("user,history\n"), "'bad.parquet' is not a Parquet file"),
    "no byte": (lambda path: Path(path).touch(), "'bad.parquet' is not a Parquet file"),
    "no row": (table(user=pa.array([], pa.string()), history=pa.array([], LISTS)), "'bad.parquet' is empty"),
    "no users": (table(history=TWO["history"]), "has no column 'user' or 'user_id'; columns: history"),
    "no histories": (table(user=["a"], historys=["b"]), "no column 'history'; did you mean 'historys'"),
    "a row an interaction": (table(user=["a"], item=["i1"]), "has a row for each interaction"),
    "histories of numbers": (table(**TWO | {"history": [[1], [2]]}), "'history' is list<element: int64>; allowed: a"),
    "a history of text": (table(**TWO | {"history": ["i1", "i2"]}), "column 'history' is string; allowed: a list"),
    "users of fractions": (table(**TWO | {"user": [0.5, 1.5]}), "column 'user' is double; allowed: text or whole"),
    "no user": (table(**TWO | {"user": ["a", None]}), "row 2: user is missing"),
    "no history": (
        table(**TWO | {"history": pa.array([["i1"], None], LISTS)}),
        "row 2: history is missing; allowed: a list of text, which may be empty",
    ),
    "no item": (table(**TWO | {"history": pa.array([["i1", None], []], LISTS)}), "row 1: history holds a missing item"),
    "n of nothing": (table(**TWO, n=[1, 0]), "row 2: n is 0; allowed: at least 1"),
    "n of text": (table(**TWO, n=["1", "2"]), "column 'n' is string; allowed: whole numbers"),
    "several jobs": (table(**TWO, job=pa.array([["a"], []], LISTS)), "'job' is list<element: string>; allowed: text"),
    "no text": (
        table(**TWO | {"history": pa.array([[b"\xff"], []], pa.list_(pa.binary()))}),
        "column 'history' is list<element: binary>; allowed: a list of text",
    ),
}


def flipped(path):
    """Damage where the histories stand."""
    written(path, drawn(500))
    data = bytearray(Path(path).read_bytes())
    place = pq.read_metadata(path).row_group(0).column(1).data_page_offset
    data[place : place + 60] = b"\xff" * 60
    Path(path).write_bytes(data)


BAD["damaged"] = flipped, "'bad.parquet' is damaged"


@pytest.mark.parametrize("what", BAD)
def test_bad_histories_are_one_line(what, bundle, capsys):
    make, reason = BAD[what]
    make("bad.parquet")
    assert main.main(["recall", str(bundle), "--histories=bad.parquet", "-o", "out.parquet"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert reason in said
    assert not Path("out.parquet").exists()
    assert not Path("out.parquet.parts").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["-o", "h.parquet"], "is the file of histories"),
        (["-o", "link"], "is the file of histories"),
        (["-o", "pool", "--pool=pool"], "is the file of pool"),
        (["-o", "pool", "--deny=pool"], "is the file of denied items"),
        (["-o", "folder"], "is a folder; name a file"),
        (["-o", "BUNDLE/out.parquet"], "is inside the bundle or store"),
        (["-o", "/proc/out.parquet"], "/proc"),
        (["-o", "out", "--n=0"], "n: 0 is not allowed"),
        (["-o", "out", "--batch=0"], "batch: 0 is not allowed"),
        (["-o", "out", "--threads=-1"], "threads: -1 is not allowed"),
        (["-o", "out", "--pool=no-such"], "pool 'no-such' cannot be read: No such file"),
        (["-o", "out", "--pool=unknown"], "none of its 2 tokens is an item of the bundle"),
        (["-o", "out", "--pool=bytes"], "pool 'bytes' cannot be read: it is not UTF-8 text"),
        (["-o", "out", "--pool=h.parquet"], "pool 'h.parquet' has no column 'item' or 'item_id'; columns: user, hist"),
        (["-o", "out", "--exclude-seen", "--include-seen"], "not allowed with"),
        (["-o", "out", "--k=3"], "argument '--k=3' is not understood"),
        ([], "-o"),
    ],
)
def test_bad_arguments_are_one_line(arguments, reason, bundle, capsys):
    written("h.parquet", drawn(4))
    Path("link").symlink_to("h.parquet")
    Path("folder").mkdir()
    Path("unknown").write_text("x\ny\n")
    Path("pool").write_text("i1\ni2\n")
    Path("bytes").write_bytes(b"\xff\xfe\xfd\n")
    arguments = [word.replace("BUNDLE", str(bundle)) for word in arguments]
    assert main.main(["recall", str(bundle), "--histories=h.parquet", *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert reason in said
    assert len(pq.read_table("h.parquet")) == 4
    assert not Path("out").exists()
