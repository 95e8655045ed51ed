"""The history of a store: torn, damaged and lost lines and pointers."""

from __future__ import annotations

import os
import shutil

import pytest

from recbole_mind import InputError
from tests.support.store import consistent, full, ids

# -- a damaged history -----------------------------------------------------------------------------------------------


def lines(store):
    return (store.folder / "history.jsonl").read_bytes().splitlines(keepends=True)


@pytest.mark.parametrize("torn", [b'{"number": 2, "time": "20', b"\0\0\0\0", b"{}\n", b'{"number": 9}\n'])
def test_a_torn_last_line_is_overlooked_and_then_cut_off(made, torn):
    store, bundles = made
    before = store.history()
    with open(store.folder / "history.jsonl", "ab") as file:
        file.write(torn)
    assert store.history() == before
    store.publish(bundles[1])
    assert len(lines(store)) == 2
    assert consistent(store)[0] == ids(bundles)[1]


def test_a_damaged_line_that_counts_is_refused(made):
    store, bundles = made
    store.publish(bundles[1])
    whole = lines(store)
    path = store.folder / "history.jsonl"
    for wrong, words in (
        ([b"x" + whole[0], whole[1]], "history.jsonl, line 1 is not event 1"),
        ([whole[1]], "history.jsonl lacks event 2"),
        ([whole[0]], "history.jsonl lacks event 2"),
        ([whole[0], whole[1][:-9]], "history.jsonl lacks event 2"),
        ([], "history.jsonl lacks event 2"),
    ):
        path.write_bytes(b"".join(wrong))
        for act in (store.history, store.rollback, lambda: store.publish(bundles[2])):
            with pytest.raises(InputError) as error:
                act()
            assert words in str(error.value)
            assert "\n" not in str(error.value)
        assert path.read_bytes() == b"".join(wrong)
        assert store.current().name == ids(bundles)[1]  # what serves goes on


def test_a_pointer_that_was_lost_does_not_cost_the_history(made):
    store, bundles = made
    store.publish(bundles[1])
    path = store.folder / "current"
    content = path.read_text()
    for damage, words in ((None, "goes on after event 0"), ("", "does not name a version"), ("3", "does not name")):
        path.unlink() if damage is None else path.write_text(damage)
        for act in (store.history, lambda: store.publish(bundles[2])):
            with pytest.raises(InputError, match=words):
                act()
        path.touch()
    assert len(lines(store)) == 2
    path.write_text('{"id": "../../etc", "event": 1}')
    with pytest.raises(InputError, match="does not name a version"):
        store.current()
    path.write_text(content)
    assert consistent(store)[0] == ids(bundles)[1]
    shutil.rmtree(store.version(ids(bundles)[1]))
    with pytest.raises(InputError, match="which is current, is missing"):
        store.current()


def test_an_event_that_cannot_be_written_whole_is_cut_off(made, monkeypatch):
    store, bundles = made
    before = (store.folder / "history.jsonl").read_bytes()
    fsync = os.fsync
    calls = []

    def failing(handle):
        name = os.readlink(f"/proc/self/fd/{handle}")
        calls.append(name)
        if name.endswith("history.jsonl"):
            full()
        fsync(handle)

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(InputError, match="cannot be written: No space left on device"):
        store.publish(bundles[1])
    monkeypatch.undo()
    assert any(name.endswith("history.jsonl") for name in calls)
    assert (store.folder / "history.jsonl").read_bytes() == before
    assert consistent(store)[0] == ids(bundles)[0]
