"""RecBole's ItemKNN and Pop as bundles: a live history recalls what RecBole ranks for the user who has it."""

import json

import numpy as np
import pytest

from recbole_mind.cli.main import main
from recbole_mind.errors import InputError
from recbole_mind.serving.bundle.bundle import Bundle, verify
from recbole_mind.serving.recaller import Recaller
from recbole_mind.training import load
from tests.support.bundles import exported, trained_classic

CASES = {
    "ItemKNN": ("ItemKNN", {"k": 100}),
    "ItemKNN, few neighbours": ("ItemKNN", {"k": 5, "shrink": 3.0}),
    "Pop": ("Pop", {}),
}


def assert_ranks(found, ids, truth, left_out=()):
    """Whether a list is the best of all items by ``truth`` [N], but for those left out; ties in any order."""
    scores = np.array(truth)
    np.testing.assert_allclose(found.scores, scores[ids], rtol=1e-6, atol=1e-7)
    order = np.sort(np.delete(scores, left_out))[::-1][: len(ids)]
    np.testing.assert_allclose(scores[ids], order, rtol=1e-6, atol=1e-7)
    assert len(set(ids)) == len(ids)
    assert not set(ids) & set(left_out)


@pytest.mark.parametrize("case", CASES)
def test_a_training_user_gets_what_recbole_ranks(case, small, tmp_path):
    name, settings = CASES[case]
    checkpoint = trained_classic(tmp_path, small, name, **settings)
    recaller = Recaller.load(exported(checkpoint, tmp_path / "bundle"), threads=1)
    loaded = load.load(checkpoint)
    rows, tokens = loaded.train_data.dataset.inter_feat, loaded.dataset.field2id_token["item_id"]
    hits = {5: [], 10: []}
    for batch in loaded.test_data:
        interaction, seen, of_users, targets = batch
        ranked = loaded.model.full_sort_predict(interaction).reshape(len(interaction), -1)[:, 1:].numpy()
        for place, user in enumerate(interaction["user_id"].tolist()):
            history = tokens[rows["item_id"][rows["user_id"] == user]].tolist()
            before = seen[1][seen[0] == place].numpy() - 1  # of training and validation
            kept = tokens[before + 1].tolist()
            found = recaller.recall(history, n=40, exclude_seen=False)
            assert_ranks(found, recaller.bundle.item_tokens.ids(found.items), ranked[place])
            found = recaller.recall(history, n=10, denied=kept)
            ids = recaller.bundle.item_tokens.ids(found.items)
            assert_ranks(found, ids, ranked[place], before)
            target = int(targets[of_users == place]) - 1
            for k in hits:
                lowest = ranked[place][ids[k - 1]]
                if np.isclose(ranked[place][target], lowest):  # RecBole may order ties in another way
                    hits[k].append(None)
                else:
                    hits[k].append(target in ids[:k])
    assert len(hits[10]) == 40
    recorded = json.loads((tmp_path / "record.json").read_text())["test"]
    for k, own in hits.items():  # RecBole's own evaluator, but for ties at the cut
        known = sum(bool(hit) for hit in own) / len(own)
        assert known <= recorded[f"recall@{k}"] + 1e-9 <= known + own.count(None) / len(own) + 2e-9


def test_the_manifest_says_what_a_bundle_is_and_the_same_checkpoint_has_the_same_id(small, tmp_path, capsys):
    checkpoint = trained_classic(tmp_path, small, "ItemKNN", k=5)
    assert main(["export", checkpoint, "-o", "bundle", f"--record={tmp_path / 'record.json'}"]) == 0
    said = capsys.readouterr().out
    manifest = verify("bundle")
    assert f"id {manifest['id']}" in said
    assert f"recalls by {manifest['index']['factory']}" in said
    assert (manifest["kind"], manifest["model"]["name"]) == ("item-to-item", "ItemKNN")
    assert manifest["model"]["settings"]["k"] == 5
    assert manifest["preprocessing"]["max_history"] is None
    assert manifest["interests"]["K"] == 0
    assert manifest["metrics"]["test"]["recall@10"] > 0
    assert set(manifest["files"]) >= {"lists/starts.npy", "lists/items.npy", "lists/weights.npy"}
    assert not {"encoder.onnx", "index/manifest.json"} & set(manifest["files"])
    assert verify(exported(checkpoint, tmp_path / "again", record=tmp_path / "record.json"))["id"] == manifest["id"]


def test_a_checkpoint_that_cannot_be_a_bundle_is_one_line(small, tmp_path):
    checkpoint = trained_classic(tmp_path, small, "ItemKNN", knn_method="user")
    with pytest.raises(InputError, match="knn_method: 'user' compares users"):
        exported(checkpoint, tmp_path / "bundle")
    checkpoint = trained_classic(tmp_path, small, "Pop")
    with pytest.raises(InputError, match="index: 'exact' is for item vectors, which Pop has not"):
        exported(checkpoint, tmp_path / "bundle", factory="exact")
    with pytest.raises(InputError, match="parameters: they are an index's, and Pop has none"):
        exported(checkpoint, tmp_path / "bundle", parameters="nprobe=2")
    assert not (tmp_path / "bundle").exists()


@pytest.mark.parametrize("value", [np.nan, np.inf, -1.0])
def test_similarities_that_are_none_are_refused(small, tmp_path, monkeypatch, value):
    checkpoint = trained_classic(tmp_path, small, "ItemKNN")
    whole = load.load

    def spoilt(*arguments):
        loaded = whole(*arguments)
        loaded.model.w.data[3] = value
        return loaded

    monkeypatch.setattr(load, "load", spoilt)
    with pytest.raises(InputError, match="similarities hold values that are not above 0 and finite"):
        exported(checkpoint, tmp_path / "bundle")


def test_categories_come_along(small, tmp_path):
    load_col = {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "genre"]}
    checkpoint = trained_classic(tmp_path, small, "ItemKNN", load_col=load_col)
    recaller = Recaller.load(exported(checkpoint, tmp_path / "bundle", categories=["genre"]))
    history = recaller.bundle.item_tokens.tokens([1, 2, 3])
    plain, spread = (recaller.recall(history, n=10, diversity=weight) for weight in (0, 50))
    assert len(spread.items) == 10
    assert spread.items != plain.items or set(spread.items) == set(plain.items)


def test_popularity_is_the_models(small, tmp_path):
    checkpoint = trained_classic(tmp_path, small, "Pop")
    bundle = Bundle.load(exported(checkpoint, tmp_path / "bundle"))
    counted = load.load(checkpoint).model.item_cnt.ravel()[1:].numpy()
    assert bundle.manifest.kind == "popularity"
    assert (bundle.counts == counted).all()
    assert (np.diff(counted[bundle.popularity]) <= 0).all()
