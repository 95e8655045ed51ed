"""Lazy interactions against RecBole's own."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
import torch
from recbole.data.interaction import Interaction

from tests.support.odd import same

# -- what else is done to a data set ------------------------------------------------------------------------------


def test_an_interaction_is_indexed_as_recboles_is(pair):
    stock, lazy = pair
    n = len(stock)
    mask = np.arange(n) % 3 == 0
    indices = [3, -1, slice(2, 9), slice(None), [4, 1, 1], [], np.array([5, 0]), torch.tensor([5, 0]), range(4)]
    for index in [*indices, mask, torch.from_numpy(mask), mask.tolist(), np.int64(2), torch.tensor(2)]:
        same(stock.inter_feat[index], lazy.inter_feat[index], f"{index}")
        same(stock[index], lazy[index], f"data set {index}")
    with pytest.raises(IndexError):
        lazy[[n]]
    for one, two in ((stock, lazy), (stock.inter_feat[:7], lazy.inter_feat[:7])):
        assert len(one) == len(two)
    assert "item_id_list" in lazy.inter_feat
    assert "colour" not in lazy.inter_feat
    assert torch.equal(lazy.inter_feat.item_id_list, stock.inter_feat.item_id_list)
    with pytest.raises(AttributeError):
        _ = lazy.inter_feat.colour
    for form, value in (("coo", None), ("csr", "rating"), ("csr", "timestamp")):
        assert abs(stock.inter_matrix(form, value) - lazy.inter_matrix(form, value)).sum() == 0


CHANGES = {
    "sort": lambda x: x.sort("rating"),
    "sort by two": lambda x: x.sort(["item_id", "timestamp"]),
    "shuffle": lambda x: x.shuffle(),
    "drop": lambda x: x.drop("rating"),
    "drop a list": lambda x: x.drop("timestamp_list"),
    "set": lambda x: x.__setitem__("item_id", x["item_id"] + 1),
    "set one more": lambda x: x.__setitem__("more", x["item_id"] * 2),
    "update": lambda x: x.update(Interaction({"item_id": x["item_id"] * 0, "more": x["rating"]})),
    "prefix": lambda x: x.add_prefix("neg_"),
    "delete": lambda x: x.__delitem__("item_id_list"),
}
COPIES = {
    "to": lambda x: x.to("cpu"),
    "some to": lambda x: x.to(torch.device("cpu"), "item_id"),
    "cpu": lambda x: x.cpu(),
    "repeat": lambda x: x.repeat(3),
    "interleave": lambda x: x.repeat_interleave(2),
    "deep": copy.deepcopy,
    "shallow": copy.copy,
    "slice": lambda x: x[1:4],
    "pickle": lambda x: pickle.loads(pickle.dumps(x)),
    "double": lambda x: x.to(torch.device("cpu")).repeat(2)[::2],
    "numbers": lambda x: Interaction({key: torch.from_numpy(values) for key, values in x.numpy().items()}),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("of", ["whole", "batch", "batch that was read"])
def test_an_interaction_changes_as_recboles_does(pair, change, of):
    """Also after each kind of copy, which must be none the wiser."""
    for name, duplicate in COPIES.items():
        results = []
        for data in pair:
            torch.manual_seed(3)
            one = data.inter_feat[:] if of == "whole" else data[np.arange(6)]
            if of == "batch that was read":
                list(one.interaction.values())
            CHANGES[change](one)
            two = duplicate(one)
            results.append([Interaction(dict(two.interaction)), Interaction(dict(one.interaction))])
            if name in ("deep", "repeat"):
                two[next(iter(two))][:] = 0
                results[-1].append(Interaction(dict(one.interaction)))
        same(*results, f"{change}, {name}")


def test_features_are_of_the_item_that_they_were_joined_to(pair):
    """RecBole joins at once: a batch whose items are replaced keeps the features of the first ones."""
    for data in pair:
        batch, before = data[np.arange(6)], data[np.arange(6)]["genre"]
        batch.update(Interaction({"item_id": batch["item_id"].flip(0)}))
        assert torch.equal(batch["genre"], before)
        assert torch.equal(data.join(batch)["genre"], before.flip(0))
