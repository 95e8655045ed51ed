"""The store of published bundles: what is current after every way in which a publication can end."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from recbole_mind import InputError
from recbole_mind.cli import history, main
from recbole_mind.serving.store import gate, self_check
from recbole_mind.serving.store import store as store_module
from recbole_mind.serving.store.store import Store
from recbole_mind.util.files import alone_in
from tests.support.store import SOUND, bundle, consistent, full, ids, opened, verify

# -- what it does ----------------------------------------------------------------------------------------------------


def test_a_bundle_is_copied_and_made_current(made):
    store, bundles = made
    first, second, _ = ids(bundles)
    assert consistent(store)[0] == first
    shutil.rmtree(bundles[0])
    event = store.publish(bundles[1], who="ben")
    current, events = consistent(store)
    assert current == second == event.id
    assert (event.event, event.before, event.who, event.why, event.reasons) == ("published", first, "ben", None, [])
    assert event.figures == {"loss": 2.01, "valid.recall@10": 0.1, "index_recall": 1.0}
    assert events[-1] == event
    assert store.versions() == [first, second]
    assert (store.current() / "items" / "vectors.npy").read_bytes() == b"2.01" * 500


def test_a_store_without_publications_has_nothing_current(tmp_path):
    assert opened(tmp_path / "none").current() is None
    with pytest.raises(InputError, match="is not a store"):
        opened(tmp_path / "none").history()
    with pytest.raises(InputError, match="is not a store"):
        opened(tmp_path / "none").rollback()
    with pytest.raises(InputError, match="is not a store"):
        opened(tmp_path / "none").prune(1)
    assert not (tmp_path / "none").exists()


def test_what_the_gate_blocks_is_recorded_and_the_old_version_stays(made, tmp_path):
    store, bundles = made
    bad = bundle(tmp_path / "bad", float("nan"))
    event = store.publish(bad, who="ann")
    assert (event.event, event.reasons) == ("blocked", ["loss is nan, which is no finite number"])
    current, events = consistent(store)
    assert current == ids(bundles)[0]
    assert [e.event for e in events] == ["published", "blocked"]
    assert events[1].figures["loss"] == "nan"
    assert store.versions() == ids(bundles)[:1]
    event = store.publish(bad, force="the loss is broken, the model is not\x1b[31m", who="an\nn")
    assert (event.event, event.who, event.why) == ("forced", "an n", "the loss is broken, the model is not [31m")
    assert consistent(store)[0] == event.id
    assert store.published()[-1]["loss"] == "nan"
    with pytest.raises(InputError, match="force: it needs a reason"):
        store.publish(bad, force=" ")


def test_a_sound_bundle_that_is_forced_is_simply_published(made):
    store, bundles = made
    event = store.publish(bundles[1], force="to be sure", who="ann")
    assert (event.event, event.why) == ("published", "to be sure")


def test_a_bundle_that_does_not_work_is_blocked_even_by_force(made):
    store, bundles = made
    broken = opened(store.folder, gate.Checked(("low recall",), ("a recall fails",), {}))
    event = broken.publish(bundles[1], force="I want it")
    assert (event.event, event.reasons) == ("blocked", ["a recall fails", "low recall"])
    low = opened(store.folder, gate.Checked(("low recall",), (), {"index_recall": 0.5}))
    assert low.publish(bundles[1]).event == "blocked"
    assert low.publish(bundles[1], force="it is enough").event == "forced"


def test_the_gate_sees_what_was_served_and_not_withdrawn(tmp_path):
    store = opened(tmp_path / "store")
    for place in range(7):
        store.publish(bundle(tmp_path / f"b{place}", 2.0 + place % 2 / 10, place=place))
    outlier = bundle(tmp_path / "outlier", 9.0)
    assert store.publish(outlier).event == "blocked"
    assert len(store.published()) == 7  # of nine events
    store.publish(outlier, force="try")
    assert store.published()[-1]["loss"] == 9.0
    store.rollback()
    assert [figures["loss"] for figures in store.published()] == [2.0, 2.1, 2.0, 2.1, 2.0, 2.1, 2.0]
    store.rollback(to=verify(outlier)["id"])
    assert store.published()[-1]["loss"] == 9.0


def test_the_same_bundle_twice_is_one_publication(made):
    store, bundles = made
    before = store.history()
    assert store.publish(bundles[0], who="ben") == before[0]
    assert store.history() == before
    store.publish(bundles[1])
    event = store.publish(bundles[0])  # again, after another
    assert (event.number, event.event, event.before) == (3, "published", ids(bundles)[1])
    assert len(store.published()) == 2
    assert consistent(store)[0] == ids(bundles)[0]


def test_a_damaged_version_is_replaced_when_it_is_published_again(made):
    store, bundles = made
    (store.current() / "encoder.onnx").write_bytes(b"damaged")
    store.publish(bundles[0])
    assert consistent(store)[0] == ids(bundles)[0]


def test_rollback_goes_back_step_by_step_and_to_a_named_version(made):
    store, bundles = made
    a, b, c = ids(bundles)
    with pytest.raises(InputError, match="there is no version before the current one"):
        store.rollback()
    store.publish(bundles[1])
    store.publish(bundles[2])
    event = store.rollback(who="ann", why="clicks fell")
    assert (event.event, event.id, event.before, event.who, event.why) == ("rolled back", b, c, "ann", "clicks fell")
    assert consistent(store)[0] == b
    assert store.rollback().id == a
    with pytest.raises(InputError, match="there is no version before the current one"):
        store.rollback()
    assert store.rollback(to=c[:8]).id == c
    assert consistent(store)[0] == c
    with pytest.raises(InputError, match="is current already"):
        store.rollback(to=c)
    for wrong in ("nothing", "", "../..", "b0"):
        with pytest.raises(InputError, match=r"to: '.*' is n.* version; kept: "):
            store.rollback(to=wrong)
    assert consistent(store)[0] == c


def test_rollback_leaves_the_version_that_is_meant_or_none(made):
    store, bundles = made
    _, b, c = ids(bundles)
    store.publish(bundles[1])
    store.publish(bundles[2])
    with pytest.raises(InputError, match=f"version {b} is not current any more; {c} is"):
        store.rollback(current=b)
    assert consistent(store)[0] == c
    assert store.rollback(current=c).id == b


def test_rollback_refuses_a_version_that_is_damaged_or_another(made):
    store, bundles = made
    a, b, _ = ids(bundles)
    store.publish(bundles[1])
    path = store.version(a) / "encoder.onnx"
    path.write_bytes(b"damaged")
    with pytest.raises(InputError, match="is corrupt"):
        store.rollback()
    shutil.rmtree(store.version(a))
    shutil.copytree(store.version(b), store.version(a))
    with pytest.raises(InputError, match="holds another bundle"):
        store.rollback()
    assert opened(store.folder).current().name == b


def test_pruning_keeps_the_last_the_current_and_the_one_before(made, tmp_path):
    store, bundles = made
    for folder in bundles[1:]:
        store.publish(folder)
    a, b, c = ids(bundles)
    (store.folder / "versions" / "stray").mkdir()  # of a publication that was killed before its event
    assert store.prune(1) == sorted([a, "stray"])
    assert store.versions() == [b, c]
    assert store.rollback().id == b
    assert store.prune(5) == []
    with pytest.raises(InputError, match="keep: 0 is not allowed"):
        store.prune(0)
    assert opened(store.folder).current().name == b


# -- bad input -------------------------------------------------------------------------------------------------------


def test_a_store_inside_the_bundle_is_refused_and_leaves_it_whole(made):
    _, bundles = made
    with pytest.raises(InputError, match="is inside the bundle; name another place"):
        opened(bundles[1] / "store").publish(bundles[1])
    assert not (bundles[1] / "store").exists()


def test_what_is_no_bundle_is_refused_and_leaves_no_trace(made, tmp_path):
    store, bundles = made
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    changed = bundle(tmp_path / "changed", 3.0)
    (changed / "encoder.onnx").write_bytes(b"x")
    for wrong, words in (("empty", "has no manifest"), ("file", "is not a folder"), ("changed", "is corrupt")):
        with pytest.raises(InputError, match=words):
            store.publish(tmp_path / wrong)
        with pytest.raises(InputError, match=words):
            opened(tmp_path / "new").publish(tmp_path / wrong)
    for place, name in enumerate(("../evil", "", ".hidden", "a/b", "x" * 200)):
        with pytest.raises(InputError, match=r"id .* is not allowed"):
            store.publish(bundle(tmp_path / f"evil{place}", 2.0, name=name or " "))
    assert not (tmp_path / "new").exists()
    assert consistent(store) == (ids(bundles)[0], store.history())
    assert len(store.history()) == 1


def test_a_bundle_that_changes_while_it_is_copied_is_not_published(made, monkeypatch):
    store, bundles = made
    copyfile = shutil.copyfile

    def changing(source, target):
        copyfile(source, target)
        Path(target).write_bytes(b"changed") if Path(source).name == "encoder.onnx" else None

    monkeypatch.setattr(store_module.shutil, "copyfile", changing)
    with pytest.raises(InputError, match="is corrupt"):
        store.publish(bundles[1])
    assert consistent(store)[0] == ids(bundles)[0]
    assert os.listdir(store.folder / "versions") == ids(bundles)[:1]


def test_a_folder_of_other_things_is_not_taken_for_a_store(tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.tex").write_text("x")
    (tmp_path / "file").write_text("x")
    source = bundle(tmp_path / "b", 2.0)
    with pytest.raises(InputError, match="is not a store and not empty"):
        opened(tmp_path / "full").publish(source)
    with pytest.raises(InputError, match="is not a folder"):
        opened(tmp_path / "file").publish(source)
    (tmp_path / "full" / "manifest.json").write_text('{"format": "recbole-mind store", "version": 2}')
    with pytest.raises(InputError, match="has format version 2; this release reads version 1"):
        opened(tmp_path / "full").publish(source)
    assert sorted(os.listdir(tmp_path / "full")) == ["manifest.json", "thesis.tex"] or (
        sorted(os.listdir(tmp_path / "full")) == [".lock", "manifest.json", "thesis.tex"]
    )


def test_two_writers_do_not_meet(made):
    store, bundles = made
    with alone_in(store.folder):
        for write in (lambda: store.publish(bundles[1]), store.rollback, lambda: store.prune(1)):
            with pytest.raises(InputError, match="another run is writing"):
                write()
        assert store.current().name == ids(bundles)[0]  # readers may


# -- faults at every step --------------------------------------------------------------------------------------------

STEPS = (
    (os, "replace"),
    (os, "rename"),
    (os, "fsync"),
    (os, "mkdir"),
    (store_module.shutil, "copyfile"),
    (store_module.shutil, "rmtree"),
)


def faulty(monkeypatch, at, strike):
    """Have the ``at``-th step that changes the disk strike before it happens; the list of steps that were taken."""
    taken = []

    def wrap(owner, name):
        original = getattr(owner, name)

        def step(*args, **more):
            if name == "mkdir" and os.path.isdir(args[0]):
                return original(*args, **more)  # which changes nothing
            taken.append(name)
            if len(taken) == at:
                strike()
            return original(*args, **more)

        monkeypatch.setattr(owner, name, step)

    for owner, name in STEPS:
        wrap(owner, name)
    return taken


def killed(at, act):
    """Whether a process of its own is killed at its ``at``-th step; nothing else may end it."""
    child = os.fork()
    if child == 0:
        try:
            faulty(pytest.MonkeyPatch(), at, lambda: os.kill(os.getpid(), signal.SIGKILL))
            act()
            os._exit(0)
        finally:
            os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert status == 0 or os.WIFSIGNALED(status)
    return status != 0


def told_of_a_full_disk(act):
    """Whether a user is told of a full disk, in one line; nothing else may go wrong."""
    try:
        act()
    except InputError as error:
        text = str(error)
    else:
        return False
    assert "No space left on device" in text
    return True


def act_on(kind, store, bundles):
    if kind == "publish":
        return store.publish(bundles[2], who="ann")
    if kind == "again":
        return store.publish(bundles[0], who="ann")
    return store.rollback(who="ann")


@pytest.fixture
def two(made):
    store, bundles = made
    store.publish(bundles[1])
    return store, bundles, {"publish": ids(bundles)[2], "again": ids(bundles)[0], "rollback": ids(bundles)[0]}


@pytest.mark.parametrize("kind", ["publish", "again", "rollback"])
@pytest.mark.parametrize("way", ["full disk", "kill -9"])
def test_a_fault_at_any_step_leaves_the_store_whole(two, tmp_path, kind, way):
    """Of a full disk the caller learns; a killed writer says nothing. Either way the next publication works."""
    store, bundles, wanted = two
    old = ids(bundles)[1]
    outcomes, at = [], 0
    while True:
        at += 1
        folder = tmp_path / f"copy{at}"
        shutil.copytree(store.folder, folder)
        here = opened(folder)
        if way == "kill -9":
            finished = not killed(at, lambda here=here: act_on(kind, here, bundles))
        else:
            with pytest.MonkeyPatch.context() as patch:
                taken = faulty(patch, at, full)
                refused = told_of_a_full_disk(lambda here=here: act_on(kind, here, bundles))
                finished = len(taken) < at
                assert refused is not finished
        current, events = consistent(here)
        outcomes.append(current)
        assert current in (old, wanted[kind])
        assert len(events) == (2 if current == old else 3)
        here.publish(bundles[2], who="ben")  # the next publication is as if nothing had been
        assert consistent(here)[0] == wanted["publish"]
        left = [path.name for path in (folder / "versions").iterdir() if path.name.startswith(".")]
        assert left == []
        if finished:
            break
    assert at > (3 if kind == "rollback" else 4)
    switched = outcomes.index(wanted[kind])
    assert outcomes[:switched] == [old] * switched  # until current is replaced, nothing has happened
    assert outcomes[switched:] == [wanted[kind]] * (len(outcomes) - switched)
    assert switched >= len(outcomes) - 2  # after which there is one step


@pytest.mark.parametrize("way", ["full disk", "kill -9"])
def test_a_fault_at_any_step_of_the_first_publication(tmp_path, way):
    source = bundle(tmp_path / "b", 2.0)
    at, finished = 0, False
    while not finished:
        at += 1
        here = opened(tmp_path / f"store{at}")
        if way == "kill -9":
            finished = not killed(at, lambda here=here: here.publish(source))
        else:
            with pytest.MonkeyPatch.context() as patch:
                taken = faulty(patch, at, full)
                refused = told_of_a_full_disk(lambda here=here: here.publish(source))
                finished = len(taken) < at
                assert refused is not finished
        assert here.current() is None or verify(here.current())
        here.publish(source)
        assert consistent(here)[0] == verify(source)["id"]
    assert at > 10


# -- the commands ----------------------------------------------------------------------------------------------------


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command on stand-in bundles: its exit status, output and errors."""
    monkeypatch.setattr(Store, "_verified", lambda self, folder: verify(folder))
    monkeypatch.setattr(self_check, "tried", lambda folder, limits: SOUND)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments):
        status = main.main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


def test_publish_rollback_and_history_as_commands(command, tmp_path):
    first, second, bad = (bundle(tmp_path / name, loss) for name, loss in (("a", 2.0), ("b", 2.5), ("c", float("nan"))))
    a, b, c = ids([first, second, bad])
    folder = tmp_path / "store"
    status, out, err = command("publish", first, folder, "--who", "ann")
    assert (status, out) == (0, f"version {a} is current\n")
    assert err.splitlines()[0].startswith("note: all: the short-term rules need 7 publications and let pass")
    assert command("publish", second, folder, "--who=ben")[:2] == (0, f"version {b} is current; before it {a}\n")
    assert command("publish", second, folder)[:2][1].startswith(f"version {b} is current already, published 2")
    status, out, err = command("publish", bad, folder)
    assert (status, out) == (1, "")
    assert err.splitlines()[-1] == "blocked: loss is nan, which is no finite number"
    status, out, err = command("publish", bad, folder, "--force", "[bold]it is fine", "--who", "cid", "--keep", 2)
    assert (status, err.splitlines()[-1]) == (0, "forced, although loss is nan, which is no finite number")
    assert out == f"version {c} is current; before it {b}\nversion {a} is removed\n"
    said = f"version {b} is current again, in place of {c}\n"
    assert command("rollback", folder, "--why", "it was not")[:2] == (0, said)
    status, out, err = command("history", folder)
    rows = out.splitlines()
    assert status == 0
    assert [word in rows[0] for word in ("time (UTC)", "version", "status", "loss", "valid.recall@10")] == [True] * 5
    assert [row.split()[3] for row in rows[1:6]] == ["published", "published", "blocked", "forced", "rolled"]
    assert [row.split()[2] for row in rows[1:6]] == [name[:12] for name in (a, b, c, c, b)]
    assert "“[bold]it is fine”" in rows[4]
    assert "nan" in rows[4]
    assert [("current" in row) for row in rows[1:6]] == [False] * 4 + [True]
    assert "it was not" in rows[5]
    (trend,) = (row for row in rows[6:] if row.startswith("loss"))
    assert trend.split() == ["loss", "▁█·", "2.5", "2.25", "2", "2.5"]
    assert len(command("history", folder, "--last", 1)[1].splitlines()) < len(rows)


def test_what_rollback_says_is_so(command, tmp_path):
    sources = [bundle(tmp_path / name, loss) for name, loss in (("a", 2.0), ("b", 2.5), ("c", 2.2))]
    a, b, c = ids(sources)
    folder = tmp_path / "store"
    bad = bundle(tmp_path / "bad", float("nan"))
    command("publish", bad, folder)
    assert command("rollback", folder)[2].endswith("has nothing to roll back: nothing was published\n")
    command("publish", sources[0], folder)
    nothing = f"has nothing to roll back to: there is no version before the current one, {a}\n"
    assert command("rollback", folder)[2].endswith(nothing)
    command("publish", sources[1], folder)
    command("publish", sources[2], folder)
    assert command("rollback", folder, "--to", c)[::2] == (
        2,
        f"error: to: version {c} is current already; nothing was changed\n",
    )
    shutil.rmtree(folder / "versions" / b)
    status, out, err = command("rollback", folder)
    assert (status, out) == (0, f"version {a} is current again, in place of {c}\n")
    assert err == f"note: version {b}, which was current before, is not kept and was passed over\n"
    status, out, err = command("publish", sources[0], folder)
    assert out.startswith(f"version {a} is current already, made current by a rollback 2")
    assert (
        f"there is no version before the current one, {a}; --to makes another one current: {c[:12]}\n"
        in (command("rollback", folder)[2])
    )
    assert command("rollback", folder, "--to", c)[:2] == (0, f"version {c} is current again, in place of {a}\n")
    shutil.rmtree(folder / "versions" / a)
    assert command("rollback", folder)[2].endswith(f"there is no version before the current one, {c}, that is kept\n")
    assert command("rollback", folder, "--to", "x")[2].endswith(f"to: 'x' is no version; kept: {c[:12]}\n")


def test_bad_input_of_the_commands_is_one_line_and_status_2(command, tmp_path):
    source = bundle(tmp_path / "a", 2.0)
    (tmp_path / "bad.yaml").write_text("short_windows: 3")
    for arguments, words in (
        (("publish", tmp_path, tmp_path / "s"), "has no manifest.json"),
        (("publish", tmp_path / "none", tmp_path / "s"), "is not a folder"),
        (("publish", source, tmp_path / "s", "--gate", tmp_path / "bad.yaml"), "unknown key 'short_windows'"),
        (("publish", source, tmp_path / "s", "--gate", tmp_path / "none.yaml"), "cannot be read"),
        (("publish", source, tmp_path / "s", "--keep", 0), "keep: 0"),
        (("publish", source, tmp_path / "s", "--force", " "), "needs a reason"),
        (("publish", source), "STORE"),
        (("publish", source, tmp_path / "s", "--frce=x"), "--frce"),
        (("rollback", tmp_path / "s"), "is not a store"),
        (("history", tmp_path / "s"), "is not a store"),
        (("history", tmp_path / "s", "--last", 0), "last: 0"),
    ):
        status, out, err = command(*arguments)
        assert (status, out) == (2, "")
        assert words in err
        assert err.count("\n") == 1
    assert not (tmp_path / "s").exists()


def test_a_trend_is_drawn_from_the_least_to_the_largest():
    assert history.sparkline([0.0, 7.0, 3.0, None, 1.0]) == "▁█▄·▂"
    assert history.sparkline([2.0, 2.0]) == "▅▅"
    assert history.sparkline([]) == ""
