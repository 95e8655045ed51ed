"""A bundle in Milvus answers as its own exact index does; what is loaded is whole or not used."""

import hashlib
import io
import logging
import shutil
import socket
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from recbole_mind.cli import main
from recbole_mind.errors import InputError
from recbole_mind.retrieval import MultiVectorIndex
from recbole_mind.serving import milvus
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.milvus import MilvusIndex, collection_of, load
from recbole_mind.serving.recaller import Recaller
from recbole_mind.testing import ItemIndexContract
from recbole_mind.util.arrays import save_array
from tests.support.bundles import exported, reseal, trained

pymilvus = pytest.importorskip("pymilvus", reason="pymilvus is not installed: pip install 'recbole-mind[milvus]'")
pytest.importorskip("milvus_lite", reason="milvus-lite is not installed: pip install 'recbole-mind[milvus]'")

HISTORY = ["i1", "i3", "i5", "i8", "i9", "i11", "i14", "i15"]
ITEMS = [f"i{number}" for number in range(1, 51)]


@pytest.fixture(scope="module")
def bundle(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bundle")
    checkpoint = trained(folder / "trained", small, "MIND", K=3, routing_scale=10.0)
    return Bundle.load(exported(checkpoint, folder / "bundle"), threads=1)


@pytest.fixture(scope="module")
def other(bundle, tmp_path_factory):
    """The same vectors in a bundle of another id."""
    folder = tmp_path_factory.mktemp("other") / "bundle"
    shutil.copytree(bundle.folder, folder)
    save_array(folder / "counts.npy", bundle.counts[::-1].copy())
    reseal(folder)
    return Bundle.load(folder, threads=1)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    """An address of milvus-lite, which listens on a loopback port and writes a file."""
    return str(tmp_path_factory.mktemp("milvus") / "recall.db")


@pytest.fixture(scope="module")
def both(bundle, server):
    load(bundle, server)
    return Recaller(bundle), Recaller(bundle, index=MilvusIndex(bundle, server))


@pytest.fixture
def client(server):
    return pymilvus.MilvusClient(server)


def assert_same(found, wanted):
    assert found.items == wanted.items
    np.testing.assert_allclose(found.scores, wanted.scores, atol=1e-5)
    assert found.interests == wanted.interests
    assert found.fallback == wanted.fallback
    assert [alone.items for alone in found.by_interest] == [alone.items for alone in wanted.by_interest]


def put(server, items):
    """An index of ``items`` [N, D] in Milvus, of a bundle that has nothing else."""
    index = MultiVectorIndex.build(items, device="cpu", threads=2)
    held = SimpleNamespace(index=index, id=hashlib.sha256(items.tobytes()).hexdigest(), folder="bundle")
    load(held, server, "contract", index_type="FLAT")
    return MilvusIndex(held, server, "contract")


class TestContract(ItemIndexContract):
    @pytest.fixture
    def make_index(self, server):
        return lambda items: put(server, items)


# -- answers -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "asked",
    [
        {"n": 10},
        {"n": 1},
        {"n": 1000},
        {"n": 50, "exclude_seen": False},
        {"n": 10, "denied": ["i2", "i4", "i30"]},
        {"n": 5, "allowed": ["i2", "i20", "i33"]},  # searched here
        {"n": 8, "allowed": ITEMS[::2]},  # by Milvus
        {"n": 50, "allowed": ITEMS[5:48], "exclude_seen": False},
        {"n": 7, "per_interest": True},
        {"n": 10, "diversity": 0.5, "category": "genre"},
    ],
)
def test_the_answers_are_those_of_the_exact_index(both, asked):
    own, remote = both
    assert len(own.interests(HISTORY).vectors) > 1
    assert_same(remote.recall(HISTORY, **asked), own.recall(HISTORY, **asked))


def test_an_empty_history_and_a_batch_are_answered_alike(both):
    own, remote = both
    histories = [HISTORY, [], ["i40", "i41"], ["unknown"], HISTORY[:3]]
    pairs = zip(remote.recall_batch(histories, n=12), own.recall_batch(histories, n=12), strict=True)
    for found, wanted in pairs:
        assert_same(found, wanted)


def test_a_standing_pool_is_obeyed(both):
    own, remote = both
    for recaller in both:
        recaller.set_pool(denied=["i2", "i7"])
    try:
        found = remote.recall(HISTORY, n=50)
        assert_same(found, own.recall(HISTORY, n=50))
        assert not {"i2", "i7"} & set(found.items)
    finally:
        for recaller in both:
            recaller.set_pool(None)


def test_one_search_asks_for_all_interests(both, monkeypatch):
    remote = both[1]
    calls = []
    search = remote.index._client.search
    monkeypatch.setattr(remote.index._client, "search", lambda *a, **k: calls.append(k) or search(*a, **k))
    remote.recall(HISTORY, n=10)
    assert [len(call["data"]) for call in calls] == [len(remote.interests(HISTORY).vectors)]


class Counting:
    """Stands in for the client: knows the nearest items exactly and counts."""

    def __init__(self, vectors):
        self.vectors, self.limits = vectors, []

    def search(self, collection, *, data, limit, **rest):
        self.limits.append((len(data), limit))
        orders = [np.argsort(-(self.vectors @ vector), kind="stable")[:limit] for vector in data]
        return [type("Hits", (), {"ids": order.tolist()}) for order in orders]


@pytest.mark.parametrize("most", [16384, 16])
def test_a_pool_far_from_an_interest_is_searched_deeper(bundle, server, both, monkeypatch, most):
    index = MilvusIndex(bundle, server)
    monkeypatch.setattr(milvus, "MOST", most)
    monkeypatch.setattr(milvus.exact, "EXTRA", 0)
    index._client = Counting(bundle.index.vectors)
    interests = bundle.index.vectors[None, [3, 40]]
    far = np.argsort(bundle.index.vectors @ interests[0, 0])[:20]  # two fifths of the items, none near the first
    found = index.search(interests, None, 6, allowed=far)
    wanted = bundle.index.search(interests, None, 6, allowed=far)
    np.testing.assert_array_equal(found.ids, wanted.ids)
    np.testing.assert_array_equal(found.scores, wanted.scores)
    # 1.2 × 6 × 50 / 20 and one more, rounded; for who found too few of the pool twice as many, up to the limit
    assert index._client.limits == ([(2, 16)] if most == 16 else [(2, 18), (1, 36)])


@pytest.mark.parametrize(("kind", "parameters"), [("IVF_FLAT", "nprobe=4"), ("IVF_SQ8", {"nprobe": 4}), ("HNSW", None)])
def test_other_indexes_are_built_and_score_exactly(bundle, server, kind, parameters):
    building = None if kind == "HNSW" else {"nlist": 4}
    loaded = load(bundle, server, f"alias_{kind}", index_type=kind, parameters=building)
    assert (loaded.index_type, loaded.inserted) == (kind, 50)
    remote = Recaller(bundle, index=MilvusIndex(bundle, server, f"alias_{kind}", parameters=parameters))
    assert_same(remote.recall(HISTORY, n=10), Recaller(bundle).recall(HISTORY, n=10))
    with pytest.raises(InputError, match=rf"^index_type: alias_{kind}_\w+ has the index {kind} already; load FLAT by"):
        load(bundle, server, f"alias_{kind}", index_type="FLAT")


# -- loading -----------------------------------------------------------------------------------------------------------


def test_the_alias_moves_and_all_but_the_last_are_dropped(bundle, other, server, client, tmp_path):
    third = tmp_path / "bundle"
    shutil.copytree(bundle.folder, third)
    save_array(third / "counts.npy", bundle.counts + 1)
    reseal(third)
    third = Bundle.load(third, threads=1)
    names = [collection_of(each, "moving") for each in (bundle, other, third)]
    assert load(bundle, server, "moving") == (names[0], "FLAT", 50, None, ())
    before = Recaller(bundle, index=MilvusIndex(bundle, server, "moving"))
    assert load(other, server, "moving") == (names[1], "FLAT", 50, names[0], ())
    assert client.describe_alias("moving")["collection_name"] == names[1]
    assert_same(before.recall(HISTORY, n=10), Recaller(bundle).recall(HISTORY, n=10))  # it has its own collection
    with pytest.raises(InputError, match=f"^milvus: alias 'moving' stands for bundle {other.id[:12]}, not for "):
        MilvusIndex(bundle, server, "moving")
    assert load(bundle, server, "moving") == (names[0], "FLAT", 0, names[1], ())  # back, at once
    MilvusIndex(bundle, server, "moving")
    assert load(third, server, "moving") == (names[2], "FLAT", 50, names[0], (names[1],))
    assert [name for name in client.list_collections() if name.startswith("moving_")] == sorted([names[0], names[2]])


def test_a_search_that_fails_is_one_line(bundle, server, client):
    load(bundle, server, "gone")
    recaller = Recaller(bundle, index=MilvusIndex(bundle, server, "gone"))
    client.drop_collection(collection_of(bundle, "gone"))
    with pytest.raises(InputError, match=rf"^milvus: '{server}': collection 'gone_\w+' does not exist$"):
        recaller.recall(HISTORY, n=3)


def test_an_alias_of_another_name_is_left_alone(bundle, server, client):
    load(bundle, server, "ab")
    load(bundle, server, "ab_c")
    client.create_collection("ab_mine", dimension=4)
    assert {collection_of(bundle, "ab"), collection_of(bundle, "ab_c"), "ab_mine"} <= set(client.list_collections())


@pytest.mark.parametrize("step", ["insert", "flush", "create_index", "create_alias"])
def test_what_a_killed_load_left_is_made_anew(bundle, other, server, client, monkeypatch, step):
    alias = f"killed_{step}"
    load(other, server, alias)
    monkeypatch.setattr(milvus, "BATCH", 20 * 4 * bundle.index.size)
    calls = []

    def killed(self, *arguments, **keywords):
        calls.append(arguments)
        if step == "insert" and len(calls) < 3:
            return real(self, *arguments, **keywords)
        raise KeyboardInterrupt

    name = "alter_alias" if step == "create_alias" else step
    real = getattr(pymilvus.MilvusClient, name)
    with monkeypatch.context() as patch:
        patch.setattr(pymilvus.MilvusClient, name, killed)
        with pytest.raises(KeyboardInterrupt):
            load(bundle, server, alias)
    assert client.describe_alias(alias)["collection_name"] == collection_of(other, alias)
    loaded = load(bundle, server, alias)
    if step == "create_alias":
        assert (loaded.inserted, loaded.dropped) == (0, ())
    else:
        assert (loaded.inserted, loaded.dropped) == (50, (collection_of(bundle, alias),))
    assert loaded.before == collection_of(other, alias)
    found = Recaller(bundle, index=MilvusIndex(bundle, server, alias)).recall(HISTORY, n=20)
    assert_same(found, Recaller(bundle).recall(HISTORY, n=20))


def test_items_that_are_missing_are_noticed(bundle, server, client):
    load(bundle, server, "missing")
    client.delete(collection_of(bundle, "missing"), ids=[7])
    with pytest.raises(InputError, match=r"^milvus: missing_\w+ holds 49 items instead of 50; recbole-mind milvus"):
        MilvusIndex(bundle, server, "missing")
    assert load(bundle, server, "missing").inserted == 50
    assert len(MilvusIndex(bundle, server, "missing")) == 50


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"alias": "a-b"}, "alias: 'a-b' is not allowed; allowed: letters, digits and '_', not starting with a digit"),
        ({"alias": 3}, "alias: 3 is not allowed"),
        ({"index_type": "SCANN"}, "index_type: 'SCANN' is not allowed; allowed: auto, FLAT, IVF_FLAT, IVF_SQ8, HNSW"),
        ({"parameters": "nlist=3"}, "search parameter 'nlist' is unknown to index 'FLAT'; allowed: none"),
    ],
)
def test_what_cannot_be_is_refused(bundle, server, options, message):
    with pytest.raises(InputError) as caught:
        load(bundle, server, **options)
    assert str(caught.value).startswith(message)


def test_an_alias_that_nobody_made_is_named(bundle, server):
    with pytest.raises(
        InputError, match=r"^milvus: alias 'nobody' stands for no bundle; recbole-mind milvus .* loads it"
    ):
        MilvusIndex(bundle, server, "nobody")


def test_a_missing_client_is_named(bundle, monkeypatch):
    monkeypatch.setitem(sys.modules, "pymilvus", None)
    with pytest.raises(
        InputError, match=r"^Milvus needs the library 'pymilvus', .*: pip install 'recbole-mind\[milvus\]'$"
    ):
        load(bundle, "recall.db")


def test_a_server_that_is_not_there_is_one_line_without_the_password(bundle, monkeypatch):
    written = io.StringIO()
    handler = logging.StreamHandler(written)
    monkeypatch.setattr(milvus, "CONNECT", 0.5)
    logging.getLogger().addHandler(handler)
    try:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            for port in (1, silent.getsockname()[1]):  # nobody listens, or nobody answers
                uri = f"http://someone:secret@127.0.0.1:{port}"
                with pytest.raises(InputError, match=rf"^milvus: 'http://127.0.0.1:{port}': ") as caught:
                    load(bundle, uri)
                assert "secret" not in str(caught.value)
    finally:
        logging.getLogger().removeHandler(handler)
    assert "Traceback" not in written.getvalue()


def test_the_command_loads_and_says_what_it_did(bundle, other, server, capsys):
    assert main.main(["milvus", str(bundle.folder), "--uri", server, "--alias", "told"]) == 0
    name = collection_of(bundle, "told")
    assert capsys.readouterr().out == (f"{name}: 50 items inserted, index FLAT\nalias told stands for it\n")
    assert main.main(["milvus", str(bundle.folder), "--uri", server, "--alias", "told"]) == 0
    assert "whole already" in capsys.readouterr().out
    assert main.main(["milvus", str(other.folder), "--uri", server, "--alias", "told", "--index", "HNSW"]) == 0
    assert f"before for {name}\n" in capsys.readouterr().out
    assert main.main(["milvus", str(bundle.folder), "--uri", "nothing"]) == 2
    assert capsys.readouterr().err.startswith("error: milvus: 'nothing': uri: nothing is illegal")
