"""Lists of similar items on disk: what was saved is opened, and what is made to harm is refused."""

import shutil

import numpy as np
import pytest

from recbole_mind.errors import InputError
from recbole_mind.serving.bundle import item_to_item
from recbole_mind.serving.bundle.bundle import Bundle
from recbole_mind.serving.bundle.item_to_item import ItemLists
from recbole_mind.util.arrays import save_array
from tests.support.bundles import exported, reseal, trained, trained_classic

N = 4
STARTS, ITEMS = np.array([0, 2, 2, 5, 6]), np.array([1, 3, 0, 1, 2, 0], np.int32)
WEIGHTS = np.array([0.5, 0.25, 1, 2, 3, 1e-9], np.float32)


@pytest.mark.parametrize("block", [1, 2, 3, 2**22])
def test_what_was_saved_is_opened(tmp_path, monkeypatch, block):
    monkeypatch.setattr(item_to_item, "BLOCK", block)
    ItemLists(STARTS, ITEMS, WEIGHTS).save(tmp_path)
    found = ItemLists.open(tmp_path, N)
    assert [part.tolist() for part in found] == [STARTS.tolist(), ITEMS.tolist(), WEIGHTS.tolist()]
    ItemLists(np.zeros(N + 1, int), ITEMS[:0], WEIGHTS[:0]).save(tmp_path)
    assert len(ItemLists.open(tmp_path, N).items) == 0


HARM = {
    "starts.npy": [
        (np.array([1, 2, 2, 5, 6]), "does not share out"),
        (np.array([0, 2, 2, 5, 7]), "does not share out"),
        (np.array([0, 5, 2, 5, 6]), "does not share out"),
        (np.array([0, -2, 2, 5, 6]), "does not share out"),
        (np.array([0, 2, 2, 6]), r"holds int64 \[4\]"),
        (np.array([0, 2, 2, 5, 6], np.int32), "holds int32"),
    ],
    "items.npy": [
        (np.array([1, 3, 0, 1, 4, 0]), "names an item that is not among the 4"),
        (np.array([-1, 3, 0, 1, 2, 0]), "names an item that is not among the 4"),
        (np.array([3, 1, 0, 1, 2, 0]), "does not ascend"),
        (np.array([1, 3, 0, 2, 2, 0]), "does not ascend"),
        (np.array([1, 3, 0, 1, 2]), "holds float32|does not share out"),
    ],
    "weights.npy": [
        (np.array([np.nan, 1, 1, 1, 1, 1]), "not above 0 and finite"),
        (np.array([1, 1, 1, 1, 1, np.inf]), "not above 0 and finite"),
        (np.array([1, 1, 1, 0, 1, 1]), "not above 0 and finite"),
        (np.array([1, 1, -1, 1, 1, 1]), "not above 0 and finite"),
        (np.array([1, 1, 1, 1, 1, 1e30]), "not above 0 and finite"),
        (np.ones(5), r"holds float32 \[5\]"),
        (np.ones((6, 1)), r"holds float32 \[6, 1\]"),
    ],
}
KINDS = {"items.npy": np.int32, "weights.npy": np.float32}


@pytest.mark.parametrize("block", [2, 2**22])
@pytest.mark.parametrize(("name", "array", "reason"), [(name, *one) for name, all_ in HARM.items() for one in all_])
def test_lists_that_are_made_to_harm_are_refused(tmp_path, monkeypatch, name, array, reason, block):
    monkeypatch.setattr(item_to_item, "BLOCK", block)
    ItemLists(STARTS, ITEMS, WEIGHTS).save(tmp_path)
    save_array(tmp_path / name, array.astype(KINDS.get(name, array.dtype)))
    with pytest.raises(InputError, match=reason):
        ItemLists.open(tmp_path, N)


@pytest.fixture(scope="module")
def whole(small, tmp_path_factory):
    folder = tmp_path_factory.mktemp("lists")
    return exported(trained_classic(folder, small, "ItemKNN"), folder / "bundle")


def test_a_sealed_bundle_of_such_lists_is_refused(whole, tmp_path):
    shutil.copytree(whole, tmp_path / "bundle")
    weights = np.load(tmp_path / "bundle/lists/weights.npy")
    weights[7] = np.nan
    save_array(tmp_path / "bundle/lists/weights.npy", weights)
    reseal(tmp_path / "bundle")
    with pytest.raises(InputError, match=r"bundle '.*' is refused: 'lists/weights.npy' holds weights that are not"):
        Bundle.load(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"kind": "lists"}, "kind: 'lists' is unknown; allowed: interests, item-to-item, popularity"),
        ({"kind": ["item-to-item"]}, "kind: .* is unknown"),
        ({"kind": "interests"}, "is refused: .*index"),
    ],
)
def test_a_bundle_that_says_another_kind_is_refused(whole, tmp_path, changes, reason):
    shutil.copytree(whole, tmp_path / "bundle")
    reseal(tmp_path / "bundle", **changes)
    with pytest.raises(InputError, match=reason):
        Bundle.load(tmp_path / "bundle")


def test_a_bundle_of_interests_may_not_say_that_it_has_lists(small, tmp_path):
    bundle = exported(trained(tmp_path, small, "YouTubeDNN"), tmp_path / "bundle")
    reseal(bundle, kind="item-to-item")
    with pytest.raises(InputError, match=r"is refused: 'starts.npy' cannot be read"):
        Bundle.load(bundle)
