"""Pools and denied items in files that are followed."""

import os
import shutil

import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.bundle.token_index import TokenIndex
from recbole_mind.serving.http.hot_swap import Bundles
from recbole_mind.serving.http.metrics import ChannelMetrics
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store.store import Store
from tests.support.bundles import reseal
from tests.support.questions import HISTORY
from tests.support.serving import running
from tests.support.waiting import until

# -- the pool --------------------------------------------------------------------------------------------------------


def test_the_pool_is_followed(published, tmp_path, caplog):
    store, ids = published
    pool = tmp_path / "pool.txt"
    pool.write_bytes(b"i1\ni2\r\nnone\n\ni30\n")
    question = {"history": HISTORY, "exclude_seen": False}

    def items():
        return set(served.post("/recall", question).json["items"])

    with running(store.folder, pool=pool) as served:
        assert items() == {"i1", "i2", "i30"}
        assert served.figure("recbole_mind_pool_unknown_items") == 1
        pool.write_text("i4\ni5\n")
        until(lambda: items() == {"i4", "i5"})
        assert served.figure('recbole_mind_pool_loads_total{result="done"}') == 1
        for failed, bad in enumerate((b"", b"\n\n", b"\xff\n", b"none\nnobody\n"), 1):
            pool.write_bytes(bad)
            until(lambda failed=failed: served.figure('recbole_mind_pool_loads_total{result="failed"}') == failed)
            assert items() == {"i4", "i5"}
        pool.unlink()
        until(lambda: "cannot be read" in caplog.text)
        store.rollback(ids[0])  # a new bundle has the last good pool
        until(lambda: served.get("/ready").json["bundle"] == ids[0])
        assert items() == {"i4", "i5"}
        pool.write_text("i6\n")
        until(lambda: items() == {"i6"})
        assert set(served.post("/recall", question | {"allowed": ["i5", "i6"]}).json["items"]) == {"i6"}


def test_what_is_denied_is_followed_within_the_pool(published, tmp_path):
    store, _ = published
    pool, deny = tmp_path / "pool.txt", tmp_path / "deny.txt"
    pool.write_text("i1\ni2\ni30\n")
    deny.write_text("")
    question = {"history": HISTORY, "exclude_seen": False}

    def items():
        return set(served.post("/recall", question).json["items"])

    with running(store.folder, pool=pool, deny=deny) as served:
        assert items() == {"i1", "i2", "i30"}
        deny.write_text("i2\nnone\ni7\n")
        until(lambda: items() == {"i1", "i30"})
        assert served.figure("recbole_mind_pool_items") == 2
        assert served.figure("recbole_mind_pool_unknown_items") == 1
        deny.write_text("i1\ni2\ni30\n")  # would leave nothing
        until(lambda: served.figure('recbole_mind_pool_loads_total{result="failed"}') == 1)
        assert items() == {"i1", "i30"}
        pool.write_text("i1\ni4\n")
        until(lambda: items() == {"i4"})
        assert "i1" not in served.post("/recall", {"history": []}).json["items"]


def test_what_is_denied_needs_no_pool(two_bundles, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text("i1\ni2\n")
    bundles = Bundles(two_bundles[0], ChannelMetrics(), deny=deny)
    recaller = bundles.serving.recaller
    known = set(recaller.bundle.item_tokens.tokens(range(50)))
    assert set(recaller.recall([], n=100).items) == known - {"i1", "i2"}
    deny.write_text("\n".join(known))
    with pytest.raises(InputError, match=r"deny '.*': it leaves no item to recall"):
        Bundles(two_bundles[0], ChannelMetrics(), deny=deny)
    deny.unlink()
    with pytest.raises(InputError, match=r"deny '.*' cannot be read"):
        Bundles(two_bundles[0], ChannelMetrics(), deny=deny)


def test_a_pool_of_new_items_waits_for_the_bundle_that_knows_them(two_bundles, tmp_path):
    folder, pool, new = tmp_path / "bundle", tmp_path / "pool.txt", tmp_path / "new"
    shutil.copytree(two_bundles[0], folder)
    shutil.copytree(two_bundles[0], new)
    known = Recaller.load(folder).bundle.item_tokens.tokens(range(50))
    TokenIndex.of([*known[:40], *(f"n{row}" for row in range(40, 50))]).save(new / "tokens", "items")
    reseal(new)
    pool.write_text("\n".join(known[:2]))
    bundles = Bundles(folder, ChannelMetrics(), pool)
    pool.write_text("n40\nn41\n")
    for _ in range(3):
        bundles.look()
    assert set(bundles.serving.recaller.recall([]).items) == set(known[:2])
    shutil.rmtree(folder)
    new.rename(folder)
    bundles.reload()
    for _ in range(2):
        bundles.look()
    assert set(bundles.serving.recaller.recall([]).items) == {"n40", "n41"}


def test_a_pool_and_a_catalogue_that_change_together_come_into_service_together(two_bundles, tmp_path):
    store, pool, new = Store(tmp_path / "store"), tmp_path / "pool.txt", tmp_path / "new"
    ids = [store.publish(two_bundles[0], force="a test").id]
    shutil.copytree(two_bundles[0], new)
    TokenIndex.of([f"n{row}" for row in range(50)]).save(new / "tokens", "items")
    reseal(new)
    pool.write_text("i1\ni2\n")
    bundles = Bundles(store.folder, ChannelMetrics(), pool)
    pool.write_text("n40\nn41\n")  # nothing of it is in the old catalogue, nothing of the old one in the new catalogue
    for _ in range(3):
        bundles.look()
    assert set(bundles.serving.recaller.recall([]).items) == {"i1", "i2"}
    ids.append(store.publish(new, force="a test").id)
    bundles.look()
    assert bundles.serving.recaller.bundle_id == ids[1]
    assert set(bundles.serving.recaller.recall([]).items) == {"n40", "n41"}
    store.rollback(ids[0])  # which neither list fits: the new one stays until there is one that does
    bundles.look()
    assert bundles.serving.recaller.bundle_id == ids[1]
    pool.write_text("i3\n")
    for _ in range(2):
        bundles.look()
    assert bundles.serving.recaller.bundle_id == ids[0]
    assert bundles.serving.recaller.recall([]).items == ["i3"]


def test_a_pool_that_cannot_be_read_does_not_stop_what_is_denied(two_bundles, tmp_path, caplog):
    pool, deny = tmp_path / "pool.txt", tmp_path / "deny.txt"
    pool.write_text("i1\ni2\ni3\n")
    deny.write_text("")
    bundles = Bundles(two_bundles[0], ChannelMetrics(), pool, deny)
    pool.unlink()
    deny.write_text("i1\n")
    for _ in range(2):
        bundles.look()
    assert set(bundles.serving.recaller.recall([]).items) == {"i2", "i3"}
    assert "pool.txt' cannot be read" in caplog.text


def test_a_file_that_is_being_written_is_not_read(two_bundles, tmp_path):
    deny = tmp_path / "deny.txt"
    deny.write_text("i1\ni2\n")
    bundles = Bundles(two_bundles[0], ChannelMetrics(), deny=deny)

    def denied():
        bundles.look()
        return {"i1", "i2", "i3"} - set(bundles.serving.recaller.recall([], n=100).items)

    deny.write_text("")
    assert denied() == {"i1", "i2"}
    deny.write_text("i2\ni3\n")
    assert [denied(), denied(), denied()] == [{"i1", "i2"}, {"i2", "i3"}, {"i2", "i3"}]


def test_a_pipe_is_refused_since_it_cannot_be_read_again(two_bundles, tmp_path):
    os.mkfifo(tmp_path / "deny")
    with pytest.raises(InputError, match=r"deny '.*' is not a file, which is needed to read it again"):
        Bundles(two_bundles[0], ChannelMetrics(), deny=tmp_path / "deny")


@pytest.mark.parametrize("content", [None, b"", b"\xff", b"none\n"])
def test_a_service_does_not_start_with_a_bad_pool(two_bundles, tmp_path, content):
    if content is not None:
        (tmp_path / "pool").write_bytes(content)
    with pytest.raises(InputError, match="pool '"):
        Bundles(two_bundles[0], ChannelMetrics(), tmp_path / "pool")
