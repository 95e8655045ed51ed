"""Bundles that crash, never end, take all memory, or change under who serves them: refused, in one line, at once."""

from __future__ import annotations

import functools
import json
import logging
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import faiss
import numpy as np
import pytest
from onnx import helper, load, numpy_helper

from recbole_mind import InputError
from recbole_mind.cli import main
from recbole_mind.serving import sandbox
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.http.hot_swap import Bundles
from recbole_mind.serving.http.metrics import ChannelMetrics
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store import gate, self_check
from recbole_mind.serving.store.store import Store
from recbole_mind.util import arrays
from recbole_mind.util.files import alone_in, sha256
from tests import ROOT
from tests.support import tried
from tests.support.bundles import reseal
from tests.support.serving import running
from tests.support.tried import crash, fill, forever, hungry, loud, refuse, wrong
from tests.support.waiting import HANG, until

HISTORY = ["i1", "i3", "i5"]


@pytest.fixture
def bundle(two_bundles, tmp_path):
    """A copy of a bundle, to be changed."""
    return shutil.copytree(two_bundles[0], tmp_path / "bundle")


# -- what a process of its own bears -------------------------------------------------------------------------------


def trial(folder, function, arguments=None, **limits):
    return sandbox.Sandboxed(folder, tried.__name__, function.__name__, arguments, **limits)


def test_what_a_trial_returns_is_its_answer_and_nothing_else(bundle):
    assert trial(bundle, loud, {"word": "x"}).run() == ["bundle", "x"]


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        (crash, "is refused: trying it ends the process by SIGSEGV"),
        (forever, "is refused: it takes more than 3 seconds to try it"),
        (hungry, "is refused: trying it fails: MemoryError"),
        (wrong, "is refused: trying it fails: KeyError: 'x'"),
        (refuse, "no"),
        (fill, "is refused: trying it (fails: OSError: .*File too large|ends the process by SIGXFSZ)"),
    ],
)
def test_what_a_trial_does_is_a_refusal_in_one_line(function, reason, bundle):
    with pytest.raises(InputError, match=rf"^[^\n]*{reason}[^\n]*$"):
        trial(bundle, function, seconds=3 if function is forever else HANG).run()


def gone(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGKILL])
def test_a_signal_ends_who_tries_and_what_is_tried(kind, bundle):
    call = f"sandbox.Sandboxed({str(bundle)!r}, 'tests.support.tried', 'forever', seconds={HANG}).run()"
    code = f"from recbole_mind.serving import sandbox; {call}"
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT)
    until(lambda: (bundle.parent / "pid").exists() and (bundle.parent / "pid").read_text())
    parent.send_signal(kind)
    assert parent.wait(HANG) == -kind
    until(lambda: gone((bundle.parent / "pid").read_text()))


def test_a_service_that_ends_does_not_wait_for_a_trial(bundle, monkeypatch):
    bundles = Bundles(bundle, ChannelMetrics())
    monkeypatch.setattr(sandbox, "Sandboxed", functools.partial(endless, sandbox.Sandboxed))
    bundles._tried.clear()
    bundles.start(0.05)
    bundles.reload()
    until(lambda: (bundle.parent / "pid").exists() and (bundle.parent / "pid").read_text())
    start = time.monotonic()
    bundles.stop()
    assert time.monotonic() - start < HANG / 5
    until(lambda: gone((bundle.parent / "pid").read_text()))
    assert bundles.serving is not None


def endless(real, folder, *_):
    return real(folder, tried.__name__, "forever", seconds=HANG)


# -- crafted bundles -------------------------------------------------------------------------------------------------


def crafted_index(folder):
    """Put in an index whose centroids have a million numbers, and say that all is well."""
    items = np.load(next(folder.glob("index/items-*.npy")))
    index = faiss.index_factory(items.shape[1], "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)
    index.train(items)
    index.add(items)
    index.own_fields = False
    wide = faiss.IndexFlatIP(1_000_000)
    wide.add(np.ones((4, 1_000_000), np.float32))
    index.quantizer = wide
    faiss.write_index(index, str(folder / "index/made.faiss"))
    path = folder / "index/manifest.json"
    content = json.loads(path.read_text()) | {"factory": "IVF4,Flat", "parameters": {"nprobe": 4}}
    content["files"]["index"] = {"name": "made.faiss", "sha256": sha256(folder / "index/made.faiss")}
    path.write_text(json.dumps(content))
    reseal(folder)


def crafted_graph(folder):
    """Put a loop of 2^62 rounds before the encoder, and say that all is well."""
    graph = load(folder / "encoder.onnx")
    body = helper.make_graph(
        [helper.make_node("Not", ["go"], ["stop"]), helper.make_node("Not", ["stop"], ["on"])],
        "body",
        [helper.make_tensor_value_info("round", 7, []), helper.make_tensor_value_info("go", 9, [])],
        [helper.make_tensor_value_info("on", 9, [])],
    )
    rounds = helper.make_node("Constant", [], ["rounds"], value=numpy_helper.from_array(np.array(2**62)))
    graph.graph.node.insert(0, helper.make_node("Loop", ["rounds", ""], [], body=body))
    graph.graph.node.insert(0, rounds)
    (folder / "encoder.onnx").write_bytes(graph.SerializeToString())
    reseal(folder)


@pytest.mark.parametrize(
    ("craft", "reason"),
    [(crafted_index, "IndexFlatIP has 1000000 for its size"), (crafted_graph, "'encoder.onnx' is not a graph of ours")],
)
def test_a_crafted_bundle_is_refused_by_load_publish_and_serve(craft, reason, bundle, two_bundles, tmp_path, capsys):
    whole = Store(tmp_path / "store").publish(two_bundles[1], force="for a test").id
    craft(bundle)
    with pytest.raises(InputError, match=rf"^bundle '[^\n]*' is refused: [^\n]*{reason}[^\n]*$"):
        Recaller.load(bundle)
    assert main.main(["publish", str(bundle), str(tmp_path / "store"), "--force=it is mine"]) == 1
    (line,) = [line for line in capsys.readouterr().err.splitlines() if not line.startswith("note: ")]
    assert line.startswith("blocked: bundle '")
    assert reason in line
    assert Store(tmp_path / "store").current().name == whole
    assert main.main(["serve", str(bundle), "--port=0"]) == 2
    assert reason in capsys.readouterr().err


@pytest.mark.parametrize(("function", "reason"), [(crash, "ends the process by SIGSEGV"), (forever, "more than 3 sec")])
def test_a_bundle_that_no_check_knows_is_blocked_by_its_trial(function, reason, bundle, tmp_path, monkeypatch):
    def made(folder, module, name, arguments):
        seconds = 3 if function is forever else HANG
        return real(folder, tried.__name__, function.__name__, seconds=seconds)

    real = sandbox.Sandboxed
    monkeypatch.setattr(sandbox, "Sandboxed", made)
    event = Store(tmp_path / "store").publish(bundle, force="it is mine")
    assert event.event == "blocked"
    assert reason in event.reasons[0]
    with alone_in(tmp_path / "store"):
        pass  # nobody holds it any more


def test_a_trial_finds_what_the_gate_finds(bundle):
    asked = gate.limits()
    assert self_check.tried(bundle, asked) == self_check.self_checks(bundle, asked)


# -- locks -----------------------------------------------------------------------------------------------------------


def test_a_lock_says_who_holds_it_and_since_when(bundle, tmp_path):
    store = Store(tmp_path / "store")
    said = rf"another run is writing to '.*store' \(process {os.getpid()} on \S+, since 20\S+\+00:00\); wait for it"
    with alone_in(store.folder):
        with pytest.raises(InputError, match=said):
            store.publish(bundle)
        (store.folder / ".lock.json").write_text("[" * 100_000)
        with pytest.raises(InputError, match=r"another run is writing to '.*store'; wait for it"):
            store.publish(bundle)
    assert sorted(os.listdir(store.folder)) == [".lock"]


# -- files that change under a service -------------------------------------------------------------------------------


def overwrite(path, change):
    """Write over a file in place, as no command of ours does."""
    path.chmod(0o644)
    content = path.read_bytes()
    with open(path, "r+b") as file:
        change(file)
    return content


def truncate(file):
    file.truncate(0)


def scramble(file):
    size = os.fstat(file.fileno()).st_size
    file.seek(128)
    file.write(np.random.default_rng(0).bytes(size - 128))


def restore(path, content):
    with open(path, "r+b") as file:
        file.write(content)
        file.truncate()


@pytest.mark.parametrize("name", ["index/items-*.npy", "norms.npy", "tokens/items.text.npy", "encoder.onnx"])
@pytest.mark.parametrize("change", [truncate, scramble])
def test_a_bundle_that_is_written_to_goes_out_of_service(name, change, two_bundles, tmp_path, caplog):
    caplog.set_level(logging.INFO, "recbole_mind")
    store = Store(tmp_path / "store")
    version = store.version(store.publish(two_bundles[0], force="for a test").id)
    path = next(version.glob(name))
    with running(store.folder, {"poll_seconds": 0.2}) as served:
        wanted = served.post("/recall", {"history": HISTORY}).json
        content = overwrite(path, change)
        while (found := served.post("/recall", {"history": HISTORY})).status == 200:
            assert found.json == wanted  # until it is seen, what was read serves
        assert found.error == (503, "not_ready", None)
        assert served.get("/ready").status == 503
        time.sleep(0.6)  # several looks
        assert caplog.text.count("is out of service: ") == 1
        assert f"'{path.relative_to(version)}' was changed under it" in caplog.text
        assert served.figure("recbole_mind_bundles_changed_total") == 1
        restore(path, content)
        served.service.channels.bundles["default"].reload()
        until(lambda: served.get("/ready").status == 200)
        assert served.post("/recall", {"history": HISTORY}).json == wanted


def test_another_version_serves_in_place_of_one_that_was_changed(two_bundles, tmp_path):
    store = Store(tmp_path / "store")
    first, second = (store.publish(bundle, force="for a test").id for bundle in two_bundles)
    with running(store.folder) as served:
        overwrite(store.version(second) / "counts.npy", truncate)
        until(lambda: served.get("/ready").status == 503)
        store.rollback(first)
        until(lambda: served.get("/ready").status == 200)
        assert served.get("/ready").json["bundle"] == first


def test_a_file_in_the_store_that_was_replaced_is_seen_and_one_elsewhere_is_no_harm(two_bundles, bundle, tmp_path):
    store = Store(tmp_path / "store")
    version = store.version(store.publish(two_bundles[0], force="for a test").id)
    for folder, status in ((version, 503), (bundle, 200)):
        with running(store.folder if folder == version else folder) as served:
            shutil.copy(two_bundles[1] / "norms.npy", tmp_path / "new.npy")
            os.replace(tmp_path / "new.npy", folder / "norms.npy")
            if status == 503:
                until(lambda served=served: served.get("/ready").status == 503)
            time.sleep(0.4)  # several looks
            assert served.get("/ready").status == status


def test_small_arrays_are_read_and_large_ones_are_watched(bundle, monkeypatch):
    def mapped(array):
        return isinstance(array, np.memmap) or isinstance(array.base, np.memmap)

    opened = Bundle.load(bundle)
    assert not mapped(opened.index.vectors)
    assert not mapped(opened.counts)
    assert not opened.index.vectors.flags.writeable
    assert not opened.counts.flags.writeable
    monkeypatch.setattr(arrays, "READ_UP_TO", 100)
    large = Bundle.load(bundle)
    assert mapped(large.index.vectors)
    np.testing.assert_array_equal(large.index.vectors, opened.index.vectors)
    assert large.changed() is None
    overwrite(next(bundle.glob("index/items-*.npy")), scramble)
    assert large.changed() == next(bundle.glob("index/items-*.npy")).relative_to(bundle).as_posix()


def test_a_bundle_that_changes_while_it_is_opened_is_refused(bundle, monkeypatch):
    real = Bundle._open.__func__

    def meanwhile(cls, *arguments):
        found = real(cls, *arguments)
        overwrite(bundle / "counts.npy", scramble)
        return found

    monkeypatch.setattr(Bundle, "_open", classmethod(meanwhile))
    with pytest.raises(InputError, match=r"^bundle '.*' is refused: 'counts.npy' was changed while it was opened$"):
        Bundle.load(bundle)


def test_nobody_is_to_write_what_was_published(two_bundles, tmp_path):
    store = Store(tmp_path / "store")
    version = store.version(store.publish(two_bundles[0], force="for a test").id)
    modes = {stat.S_IMODE(path.stat().st_mode) for path in version.rglob("*") if path.is_file()}
    assert modes == {0o444}
    for place in range(2):  # which is no hindrance to who prunes
        store.publish(two_bundles[1 - place], force="for a test")
    assert store.prune(1) == []


def test_many_threads_may_stop_a_trial_at_any_time(bundle):
    for delay in (0.0, 0.05, 0.3):
        started = trial(bundle, forever, seconds=30)
        threading.Timer(delay, started.stop).start()
        with pytest.raises(InputError, match="was not tried to the end"):
            started.run()
