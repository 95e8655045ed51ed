"""Bundles: the exported model is the model, and what is not whole is refused."""

import errno
import json
import os
import pickle
import re
import resource
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch

from recbole_mind.cli import main
from recbole_mind.errors import InputError
from recbole_mind.retrieval import faiss_backend
from recbole_mind.serving.bundle.bundle import Bundle, verify
from recbole_mind.serving.recaller import Recaller
from recbole_mind.serving.store import gate, self_check
from recbole_mind.training import checkpoint as checkpoints
from recbole_mind.training import describe, load, run
from recbole_mind.util.arrays import save_array
from recbole_mind.util.files import sha256
from tests import ROOT
from tests.support.bundles import exported, reseal, trained
from tests.support.data import LEAVE_ONE_OUT, write_small
from tests.support.serving import running

# -- the exported model is the model ---------------------------------------------------------------------------------

CASES = {
    "MIND": ("MIND", {"K": 3}),
    "MIND, kmeans++": (
        "MIND",
        {"K": 3, "routing_init": "kmeans++", "recency": 0.7, "routing_softmax": "behaviors", "similarity": "dot"},
    ),
    "MIND, nearest": ("MIND", {"K": 3, "negative_interest": "nearest", "p": "inf", "capsule_length": True}),
    "MIND, the same K": ("MIND", {"K": 3, "adaptive_K": False, "routing_scale": None, "user_features": []}),
    "MIND, learned recency": ("MIND", {"K": 3, "recency": "per_interest", "whole_share": 0.1}),
    "MIND-1": ("MIND", {"K": 1, "user_features": ["user_id", "job"], "relu_layers": []}),
    "ComiRecSA": ("ComiRecSA", {"K": 3, "item_features": []}),
    "ComiRecSA, no positions": ("ComiRecSA", {"K": 3, "positions": False, "user_features": [], "relu_layers": []}),
    "ComiRecSA, learned recency": ("ComiRecSA", {"K": 3, "recency": "learned"}),
    "ComiRecDR": ("ComiRecDR", {"K": 3, "recency": 0.7}),
    "ComiRecDR, one map": ("ComiRecDR", {"K": 3, "routing_maps": "interest", "similarity": "dot"}),
    "YouTubeDNN": ("YouTubeDNN", {"recency": 0.8}),
    "YouTubeDNN, learned recency": ("YouTubeDNN", {"recency": "learned"}),
}


def assert_ranks(found, products):
    """Whether a list is the best of the catalogue by the maximum of ``products`` [N, K], the whole of it in order.

    Scores agree to 1e-5, and of two items whose scores differ by more than 1e-6 the better one comes first. Those that
    are nearer have no order of their own: float32 rounds them differently in a batch, alone and in ONNX Runtime, and
    RecBole's order of them changes with its batch size.
    """
    ids, scores, interests = found
    truth = products.max(1)
    mine = truth[ids]
    assert len(set(ids)) == len(ids)
    np.testing.assert_allclose(scores, mine, atol=1e-5)
    assert (np.minimum.accumulate(mine)[:-1] >= mine[1:] - 1e-6).all()
    assert np.delete(truth, ids).max(initial=-np.inf) <= mine.min() + 1e-6
    assert (products[ids, interests] >= mine - 1e-6).all()


@pytest.mark.parametrize("case", CASES)
def test_a_bundle_recalls_what_the_checkpoint_does(case, small, tmp_path):
    name, settings = CASES[case]
    checkpoint = trained(tmp_path, small, name, **settings)
    recaller = Recaller.load(exported(checkpoint, tmp_path / "bundle"), threads=1)
    loaded = load.load(checkpoint)
    model, tokens = loaded.model, loaded.dataset.field2id_token
    items = model.item_vectors()[1:].detach()
    for batch in loaded.test_data:
        rows = batch[0]
        interests, active = model.interests(rows)
        histories = [
            list(tokens["item_id"][ids[:length]])
            for ids, length in zip(rows[model.ITEM_SEQ], rows[model.ITEM_SEQ_LEN], strict=True)
        ]
        profiles = [{"user_id": user} for user in tokens["user_id"][rows["user_id"]]]
        assert len(rows) == 40
        recalled = recaller.recall_batch(histories, profiles, 50, exclude_seen=False)
        for row, (history, profile, found) in enumerate(zip(histories, profiles, recalled, strict=True)):
            vectors = interests[row][active[row]]
            ids = recaller.bundle.item_tokens.ids(found.items)
            assert len(ids) == 50
            assert_ranks((ids, found.scores, found.interests), (items @ vectors.T).numpy())
            assert found[3:] == (None, 0, (), (), 0, 0)
            said = recaller.interests(history, profile)
            np.testing.assert_allclose(said.vectors, vectors, atol=1e-5)
            assert said.behaviors == history
            assert said.weights.shape == (len(vectors), len(history))


@pytest.mark.slow
def test_every_test_user_of_ml_100k_gets_what_recbole_ranks_first(tmp_path):
    settings = {"epochs": 1, "train_batch_size": 2048, "embedding_size": 32, "eval_args": LEAVE_ONE_OUT}
    result = run.run("MIND", "ml-100k", overrides=settings | {"show_progress": False})
    bundle = exported(Path(result.checkpoint).absolute(), tmp_path / "bundle")
    recaller = Recaller.load(bundle, threads=1)
    loaded = load.load(result.checkpoint)
    with running(bundle) as served:
        _compare_every_user(loaded, recaller, served)


def _compare_every_user(loaded, recaller, served):
    """RecBole's ranking, the Recaller's and the service's."""
    model, tokens = loaded.model, loaded.dataset.field2id_token
    users = 0
    for batch in loaded.test_data:
        rows = batch[0]
        ranked = model.full_sort_predict(rows)[:, 1:].numpy()
        users += len(rows)
        histories = [
            list(tokens["item_id"][ids[:length]])
            for ids, length in zip(rows[model.ITEM_SEQ], rows[model.ITEM_SEQ_LEN], strict=True)
        ]
        profiles = [{"user_id": user} for user in tokens["user_id"][rows["user_id"]]]
        recalled = recaller.recall_batch(histories, profiles, 1000, exclude_seen=False)
        for history, profile, found, scores in zip(histories, profiles, recalled, ranked, strict=True):
            ids = recaller.bundle.item_tokens.ids(found.items)
            assert_ranks((ids, found.scores, np.zeros(1000, int)), scores[:, None])
            question = {"history": history, "profile": profile, "n": 1000, "exclude_seen": False}
            said = served.post("/recall", question).json
            ids = recaller.bundle.item_tokens.ids(said["items"])
            assert_ranks((ids, np.array(said["scores"]), np.zeros(1000, int)), scores[:, None])
    assert users == 943


def test_weights_say_which_behaviours_make_an_interest(small, tmp_path):
    checkpoint = trained(tmp_path, small, "MIND", K=3, recency=1.0)
    recaller = Recaller.load(exported(checkpoint, tmp_path / "bundle"))
    history = ["i1", "i3", "i5", "i7", "i9", "i11", "i13", "i15"]
    _, _, weights, _, _ = recaller.interests(history)
    model = load.load(checkpoint).model
    rows = torch.from_numpy(recaller.bundle.item_tokens.ids(history) + 1)[None]
    coupling = model.capsules(rows, torch.tensor([8])).coupling[0]
    np.testing.assert_allclose(weights, coupling.detach(), atol=1e-5)
    np.testing.assert_allclose(weights.sum(0), np.ones(8), atol=1e-5)  # each behaviour shares itself out


# -- what a bundle is ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    return trained(tmp_path_factory.mktemp("trained"), small, "MIND", K=3, item_features=["genre"])


@pytest.fixture(scope="module")
def whole(checkpoint, tmp_path_factory):
    """A bundle that no test changes."""
    record = Path(checkpoint).parent.parent / "record.json"
    return exported(checkpoint, tmp_path_factory.mktemp("whole") / "bundle", record=record)


@pytest.fixture
def bundle(whole, tmp_path):
    """A bundle to be damaged."""
    return shutil.copytree(whole, tmp_path / "damaged")


def test_the_manifest_says_where_a_bundle_comes_from(whole, checkpoint, small):
    manifest = verify(whole)
    record = json.loads((Path(checkpoint).parent.parent / "record.json").read_text())
    assert manifest["metrics"] == {"valid": record["valid"], "test": record["test"]}
    assert manifest["loss"] == checkpoints.load(checkpoint)["mean_loss"] > 0
    assert manifest["data"]["items"] == len(Bundle.load(whole).item_tokens) == 50
    assert manifest["data"]["users"] == 40
    interactions = (small / "small/small.inter").read_text().count("\n") - 1
    assert manifest["data"]["interactions"] == interactions - 2 * 40  # but for validation and test
    assert manifest["interests"] == {"K": 3, "D": 16, "adaptive": True, "similarity": "cosine"}
    assert manifest["index"]["recall"] == 1
    assert manifest["preprocessing"]["max_history"] == 10
    text = (whole / "manifest.json").read_text()
    assert str(small) not in text
    assert str(Path.home()) not in text


def test_the_same_checkpoint_has_the_same_id(whole, checkpoint, tmp_path):
    record = Path(checkpoint).parent.parent / "record.json"
    again = exported(checkpoint, tmp_path / "again", record=record)
    assert verify(again)["id"] == verify(whole)["id"]
    other = exported(checkpoint, tmp_path / "other", factory="IVF4,Flat", parameters="nprobe=2")
    assert verify(other)["id"] != verify(whole)["id"]
    assert Bundle.load(other).index.parameters == {"nprobe": 2}


def test_a_checkpoint_is_not_exported_with_the_tokens_of_other_data(tmp_path):
    data = write_small(tmp_path / "data")
    checkpoint = trained(tmp_path / "run", data, "MIND")
    path = data / "small/small.inter"
    head, *rows = path.read_text().splitlines()
    user, item, time = rows[-1].split("\t")
    path.write_text("\n".join([head, *rows, f"{user}\t{item}\t{float(time) + 10**6:.0f}"]) + "\n")
    bundle = Bundle.load(exported(checkpoint, tmp_path / "bundle"))  # one interaction more changes no row
    assert len(bundle.item_tokens) == 50
    path.write_text("\n".join([head, *rows[::-1]]) + "\n")
    with pytest.raises(InputError, match=r"'item_id' of 'small' has other values or another order now"):
        exported(checkpoint, tmp_path / "bundle")
    assert verify(tmp_path / "bundle")["id"] == bundle.id


def test_popularity_is_that_of_the_training_data(whole, checkpoint):
    bundle, loaded = Bundle.load(whole), load.load(checkpoint)
    counts = describe.popularity(loaded.train_data)[1:]
    np.testing.assert_array_equal(bundle.counts, counts)
    np.testing.assert_array_equal(bundle.popularity, np.lexsort((np.arange(50), -counts)))


def test_recall_needs_neither_recbole_nor_torch(whole):
    code = (
        "import sys; from recbole_mind.serving.recaller import Recaller; r = Recaller.load(sys.argv[1]); "
        "assert len(r.recall(['i1', 'i3'], {'job': 'j1'}, n=5).items) == 5; "
        "print([name for name in ('torch', 'recbole', 'pandas', 'onnx') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code, whole], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "[]", done.stderr


# -- what is not whole is refused ------------------------------------------------------------------------------------


def change(name, damage):
    def apply(folder):
        path = next(folder.glob(name))
        data = bytearray(path.read_bytes())
        path.write_bytes(bytes(damage(data)))

    return apply


def flip(data):
    data[len(data) // 2] ^= 1
    return data


def link(folder):
    (folder / "counts.npy").rename(folder.parent / "counts.npy")
    (folder / "counts.npy").symlink_to(folder.parent / "counts.npy")


def version(folder):
    reseal(folder, version=2)


DAMAGES = {
    "a flipped bit in the items": (change("index/items-*.npy", flip), "items-.* was changed"),
    "a flipped bit in the encoder": (change("encoder.onnx", flip), "'encoder.onnx' was changed"),
    "a flipped bit in the tokens": (change("tokens/items.text.npy", flip), "items.text.npy' was changed"),
    "a flipped bit in the manifest": (change("manifest.json", flip), "manifest.json"),
    "another time": (change("manifest.json", lambda data: data.replace(b'"created": "2', b'"created": "1')), "changed"),
    "a space in the manifest": (change("manifest.json", lambda data: data + b" "), "manifest.json was changed"),
    "not a number in the manifest": (change("manifest.json", lambda data: data.replace(b": 1.0", b": NaN")), "changed"),
    "a deep manifest": (change("manifest.json", lambda data: b"[" * 100_000), "manifest.json"),
    "a large manifest": (change("manifest.json", lambda data: b" " * (2**24 + 1)), "above 16777216 bytes"),
    "truncated": (change("encoder.onnx", lambda data: data[:-1]), "'encoder.onnx' has .* bytes instead of"),
    "empty": (change("counts.npy", lambda data: b""), "'counts.npy' has 0 bytes instead of"),
    "missing": (lambda folder: (folder / "norms.npy").unlink(), "'norms.npy' is missing"),
    "no manifest": (lambda folder: (folder / "manifest.json").unlink(), "manifest.json"),
    "no bundle": (lambda folder: shutil.rmtree(folder), "No such file"),
    "one file more": (lambda folder: (folder / "tokens/x.npy").write_text("x"), "'tokens/x.npy' does not belong"),
    "a link": (link, "'counts.npy' is not a plain file"),
    "another version": (version, "has format version 2; this release reads version 1"),
    "another format": (lambda folder: reseal(folder, format="recbole-mind index"), "is not the manifest of a bundle"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_a_damaged_bundle_is_refused(what, bundle):
    damage, reason = DAMAGES[what]
    damage(bundle)
    for use in (verify, Recaller.load):
        with pytest.raises(InputError, match=rf"^[^\n]*{reason}[^\n]*$") as refused:
            use(bundle)
        assert "damaged" in str(refused.value)


def test_files_of_two_bundles_never_load_together(bundle, small, tmp_path):
    other = exported(trained(tmp_path / "other", small, "MIND", K=3, seed=7), tmp_path / "other/bundle")
    shutil.copy(other / "encoder.onnx", bundle / "encoder.onnx")
    assert (bundle / "encoder.onnx").stat().st_size == json.loads((bundle / "manifest.json").read_text())["files"][
        "encoder.onnx"
    ]["bytes"]
    with pytest.raises(InputError, match=r"'encoder.onnx' was changed"):
        Bundle.load(bundle)


def two_trainings(folder, other, *, told):
    """Put another training's encoder beside the index, and tell so in the manifest or not."""
    shutil.copy(other / "encoder.onnx", folder / "encoder.onnx")
    manifest = json.loads((other / "manifest.json").read_text())
    reseal(folder, **({"encoder": manifest["encoder"]} if told else {}))


@pytest.mark.parametrize("told", [True, False])
def test_a_bundle_of_two_trainings_is_refused_whatever_it_says(told, bundle, small, tmp_path):
    other = exported(trained(tmp_path / "other", small, "MIND", K=3, seed=7), tmp_path / "other/bundle")
    again = exported(next((tmp_path / "other/saved").glob("*.pth")), tmp_path / "again", factory="IVF4,Flat")
    prints = [json.loads((folder / "manifest.json").read_text()) for folder in (bundle, other, again)]
    assert [one["encoder"]["training"] == one["index"]["training"] for one in prints] == [True] * 3
    mine, others, same = (one["encoder"]["training"] for one in prints)
    assert mine != others == same
    two_trainings(again, other, told=told)  # one training, twice
    Recaller.load(again)
    two_trainings(bundle, other, told=told)
    with pytest.raises(InputError, match=r"damaged' is refused: (its )?encoder and (its )?index are of two trainings"):
        Recaller.load(bundle)
    checked = self_check.self_checks(bundle, gate.limits())
    assert "two trainings" in checked.faults[0]
    if told:
        with pytest.raises(InputError, match=r"damaged' is refused: its encoder and its index are of two trainings"):
            verify(bundle)


class Trap:
    def __reduce__(self):
        return os.system, ("touch it-ran",)


def header(content):
    text = content.ljust(117) + "\n"
    data = b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text.encode()
    return lambda folder: (folder / "counts.npy").write_bytes(data)


def without(key):
    """Leave a key out of the manifest's ``preprocessing``."""

    def apply(folder):
        found = json.loads((folder / "manifest.json").read_text())["preprocessing"]
        reseal(folder, preprocessing={name: value for name, value in found.items() if name != key})

    return apply


def changed(part, **values):
    """Change values in a part of the manifest."""
    return lambda folder: reseal(folder, **{part: json.loads((folder / "manifest.json").read_text())[part] | values})


OVERSIZED = "{'descr': '<i8', 'fortran_order': False, 'shape': (4611686018427387904,), }"


def trap(folder):
    with open(folder / "counts.npy", "wb") as file:
        np.save(file, np.array([Trap()] * 50, object), allow_pickle=True)


def pickled(folder):
    (folder / "counts.npy").write_bytes(pickle.dumps(Trap()))


def outside(name):
    def apply(folder):
        shutil.copy(folder / "counts.npy", folder.parent / "counts.npy")
        manifest = json.loads((folder / "manifest.json").read_text())
        manifest["files"][name] = manifest["files"]["counts.npy"]
        reseal(folder, files=manifest["files"])

    return apply


RESEALED = [outside("../counts.npy"), outside("/etc/passwd")]


def index_outside(folder):
    path = folder / "index/manifest.json"
    content = json.loads(path.read_text())
    shutil.copy(folder / "index" / content["files"]["items"]["name"], folder.parent / "items.npy")
    content["files"]["items"]["name"] = "../../items.npy"
    path.write_text(json.dumps(content))


def index_elsewhere(folder):
    """An index whose inverted lists FAISS would map from a file that it names."""
    path = folder / "index/manifest.json"
    content = json.loads(path.read_text())
    items = np.load(folder / "index" / content["files"]["items"]["name"])
    index = faiss.IndexIVFFlat(faiss.IndexFlatIP(items.shape[1]), items.shape[1], 4, faiss.METRIC_INNER_PRODUCT)
    index.train(items)
    lists = faiss.OnDiskInvertedLists(4, index.code_size, str(folder.parent / "elsewhere"))
    index.replace_invlists(lists, False)
    index.add(items)
    faiss.write_index(index, str(folder / "index/made.faiss"))
    digest = sha256(folder / "index/made.faiss")
    content |= {"factory": "IVF4,Flat", "parameters": {"nprobe": 4}}
    content["files"]["index"] = {"name": "made.faiss", "sha256": digest}
    path.write_text(json.dumps(content))
    (folder.parent / "elsewhere").write_bytes(b"")  # who mapped it would die reading it


def put(name, array):
    return lambda folder: save_array(folder / name, array)


HARM = {
    "a path out of the folder": (RESEALED[0], "'../counts.npy' is not the name of a file"),
    "an absolute path": (RESEALED[1], "'/etc/passwd' is not the name of a file"),
    "a path out of the index": (index_outside, "'../../items.npy' is not the name of a file in it"),
    "an index in another file": (index_elsewhere, "made.faiss: .* refers to other files"),
    "a pickle inside": (trap, "'counts.npy' holds object"),
    "a pickle": (pickled, "'counts.npy' is not an array"),
    "an array larger than memory": (header(OVERSIZED), "'counts.npy' holds int64 \\[4611686018427387904\\]"),
    "counts of other items": (put("counts.npy", np.zeros(49, np.int64)), "'counts.npy' holds int64 \\[49\\]"),
    "rows that are not there": (put("popularity.npy", np.full(50, 2**31 - 1, np.int32)), "'popularity.npy'"),
    "rows twice": (put("popularity.npy", np.zeros(50, np.int32)), "'popularity.npy' does not hold each item once"),
    "tokens out of the text": (put("tokens/items.ends.npy", np.arange(2, 102, 2) * 99), "'items.\\*.npy'"),
    "rows of other tokens": (put("tokens/items.rows.npy", np.full(50, 50, np.int32)), "'items.\\*.npy'"),
    "values that are not there": (put("profile/0.users.npy", np.full((40, 1), 99, np.int32)), "profile/0.users.npy"),
    "NaN among the norms": (put("norms.npy", np.full(50, np.nan, np.float32)), "'norms.npy' holds NaN"),
    "no graph": (lambda folder: (folder / "encoder.onnx").write_bytes(b"x" * 99), "'encoder.onnx' is not a graph"),
    "no data in the manifest": (lambda folder: reseal(folder, data={}), "manifest.json: data: name: it is missing"),
    "words for numbers": (changed("data", items="50"), "data: items: '50' is not allowed; allowed: a whole number"),
    "items beyond all bounds": (changed("data", items=2**40), "data: items: 1099511627776 is not allowed"),
    "a truth for a number": (changed("interests", D=True), "interests: D: True is not allowed"),
    "no name of the model": (
        lambda folder: reseal(folder, model={}),
        "manifest.json: model: name: it is missing",
    ),
    "no time": (
        lambda folder: reseal(folder, created=None),
        "manifest.json: created: None is not allowed; allowed: a name",
    ),
    "no length of a history": (without("max_history"), "manifest.json: preprocessing: max_history: it is missing"),
    "no user field": (without("user_field"), "manifest.json: preprocessing: user_field: it is missing"),
    "a history of nothing": (
        changed("preprocessing", max_history=0),
        "max_history: 0 is not allowed; allowed: a whole number from 1",
    ),
    "a number for a name": (
        changed("preprocessing", user_field=3),
        "preprocessing: user_field: 3 is not allowed; allowed: a name",
    ),
    "a header that does not end": (header("{'descr': ('<i8'"), "'counts.npy' is not an array"),
    "a header of no type": (header("{[]: 1}"), "'counts.npy' is not an array"),
    "a list for a manifest's part": (
        lambda folder: reseal(folder, profile=[[]]),
        r"manifest.json: profile: \[\] is not allowed",
    ),
}


@pytest.mark.parametrize("what", HARM)
def test_a_bundle_that_is_made_to_harm_is_refused(what, bundle):
    damage, reason = HARM[what]
    damage(bundle)
    if damage not in RESEALED:
        reseal(bundle)
    with pytest.raises(InputError, match=rf"^[^\n]*{reason}[^\n]*$"):
        Recaller.load(bundle)
    assert not Path("it-ran").exists()


def test_nan_among_the_items_is_refused(bundle):
    path = next(bundle.glob("index/items-*.npy"))
    items = np.load(path)
    items[3] = np.nan
    save_array(path, items)
    reseal(bundle)
    with pytest.raises(InputError, match="its vectors are not all finite"):
        Recaller.load(bundle)
    assert "its vectors are not all finite" in self_check.self_checks(bundle, gate.limits()).faults[0]


def test_nan_among_the_values_of_a_user_feature_is_not_published(bundle):
    table = np.load(bundle / "profile/0.table.npy")
    table[2, 1] = np.nan
    save_array(bundle / "profile/0.table.npy", table)
    reseal(bundle)
    assert self_check.self_checks(bundle, gate.limits()).faults == (
        "embeddings of 'job' hold values that are not finite",
    )


def test_a_full_disk_at_any_file_leaves_the_old_bundle(whole, checkpoint, tmp_path, monkeypatch):
    folder = shutil.copytree(whole, tmp_path / "bundle")
    real = np.save
    for step in (0, 12):
        calls = []

        def full(*arguments, calls=calls, step=step, **keywords):
            calls.append(arguments)
            if len(calls) > step:
                raise OSError(errno.ENOSPC, "No space left on device")
            return real(*arguments, **keywords)

        monkeypatch.setattr(np, "save", full)
        with pytest.raises(InputError, match="No space left on device"):
            exported(checkpoint, folder)
        monkeypatch.setattr(np, "save", real)
        assert verify(folder)["id"] == verify(whole)["id"]
        assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("factory", ["exact", "IVF2,Flat"])
def test_a_disk_that_takes_no_more_is_named(whole, checkpoint, tmp_path, factory):
    """The system's own refusal, at an array and at FAISS's file."""
    folder = shutil.copytree(whole, tmp_path / "bundle")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (7_000, hard))
    try:
        with pytest.raises(InputError, match=rf"cannot be written: {os.strerror(errno.EFBIG)}$"):
            exported(checkpoint, folder, factory=factory)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert verify(folder)["id"] == verify(whole)["id"]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_the_index_that_nobody_chose_visits_as_many_lists_as_it_needs(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(faiss_backend, "EXACT_UP_TO", 10)
    monkeypatch.setitem(faiss_backend.DEFAULTS, "nprobe", 1)
    found = Bundle.load(exported(checkpoint, tmp_path / "wide")).index
    assert found.factory.startswith("IVF")
    assert 1 < found.nprobe <= found.lists
    manifest = json.loads((tmp_path / "wide/manifest.json").read_text())
    assert manifest["index"]["recall"] >= 0.97
    assert manifest["index"]["parameters"] == {"nprobe": found.nprobe}
    asked = exported(checkpoint, tmp_path / "narrow", parameters="nprobe=1")
    assert Bundle.load(asked).index.nprobe == 1  # what is asked for stands
    assert json.loads((asked / "manifest.json").read_text())["index"]["recall"] < 0.97


def test_the_manifest_tells_how_the_checkpoint_was_trained(checkpoint, tmp_path):
    said = json.loads((exported(checkpoint, tmp_path / "one") / "manifest.json").read_text())["model"]["settings"]
    other = exported(checkpoint, tmp_path / "other", overrides={"seed": 99})
    assert json.loads((other / "manifest.json").read_text())["model"]["settings"] == said
    assert said["seed"] != 99
    with pytest.raises(InputError, match="epochs: 77 has no effect"):
        exported(checkpoint, tmp_path / "third", overrides={"epochs": 77})


# -- the command -----------------------------------------------------------------------------------------------------


def test_the_command_says_what_it_wrote(checkpoint, tmp_path, capsys):
    target = tmp_path / "new" / "bundle"
    assert main.main(["export", checkpoint, "-o", str(target), "--index=IVF4,Flat", "--parameters=nprobe=4"]) == 0
    said = capsys.readouterr().out
    assert "MIND on small" in said
    assert "50 items" in said
    assert "index IVF4,Flat: recall@50 1.0000 of exact" in said
    assert verify(target)["id"] in said


def test_other_features_can_be_categories(checkpoint, tmp_path):
    bundle = Bundle.load(exported(checkpoint, tmp_path / "bundle", categories=["tags"]))
    assert list(bundle.categories) == ["genre", "tags"]
    assert bundle.categories["tags"].shape == (50, 3)
    with pytest.raises(InputError, match="category: 'colour' is no item feature; allowed: genre, tags"):
        exported(checkpoint, tmp_path / "bundle", categories=["colour"])


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["no-such.pth", "-o", "bundle"], "checkpoint 'no-such.pth' does not exist"),
        (["record.json", "-o", "bundle"], "record.json"),
        (["CHECKPOINT", "-o", "/proc/bundle"], "/proc"),
        (["CHECKPOINT", "-o", "taken"], "'.*taken' holds other files and is not a bundle"),
        (["CHECKPOINT", "-o", "bundle", "--index=IVF999,Flat"], "needs 999 items or more"),
        (["CHECKPOINT", "-o", "bundle", "--parameters=nprobe=2"], "nprobe"),
        (["CHECKPOINT", "-o", "bundle", "--record=record.json"], "record"),
        (["CHECKPOINT", "-o", "bundle", "--no_such=1"], "no_such"),
        (["CHECKPOINT"], "-o"),
    ],
)
def test_bad_input_is_one_line(arguments, reason, checkpoint, capsys):
    Path("record.json").write_text("{}")
    Path("taken").mkdir()
    Path("taken/file").touch()
    assert main.main(["export", *(checkpoint if word == "CHECKPOINT" else word for word in arguments)]) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert re.search(reason, said)
    assert not Path("bundle").exists()
    assert not Path(".bundle.export").exists()


def test_a_model_without_interests_is_refused(checkpoint, tmp_path):
    content = checkpoints.load(checkpoint)
    settings = content.pop("settings") | {"model": "SASRec"}
    checkpoints.save(tmp_path / "other.pth", content, settings)
    with pytest.raises(InputError, match=r"'SASRec' has no interests to export; allowed: MIND, ComiRecSA,"):
        exported(tmp_path / "other.pth", tmp_path / "bundle")
