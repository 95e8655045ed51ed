"""Samples that are cut when they are asked for, against a loop that cuts them all."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_mind.data.history_store import History, Length, Row, Samples, Store, Target
from tests.support.odd import prepare


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(1, 99), max_size=9), min_size=1, max_size=6), st.integers(1, 6))
def test_samples_are_what_a_loop_cuts(users, width):
    items = torch.tensor([item for user in users for item in user], dtype=torch.int32)
    owner = torch.tensor([number for number, user in enumerate(users) for _ in user], dtype=torch.int32)
    offsets = torch.tensor([0, *np.cumsum([len(user) for user in users])])
    store = Store({"item": items, "user": owner, "price": items.double() / 7}, "user", offsets, width)
    recipes = {
        "item": Target("item"),
        "items": History("item"),
        "prices": History("price"),
        "n": Length(),
        "row": Row(),
    }
    samples = Samples(store, recipes)
    want = [(user[i], user[max(0, i - width) : i]) for user in users for i in range(1, len(user))]
    assert samples.number == len(samples.rows) == len(want)
    assert samples["item"].tolist() == [target for target, _ in want]
    assert samples["items"].tolist() == [past + [0] * (width - len(past)) for _, past in want]
    assert torch.equal(samples["prices"], samples["items"].double() / 7)
    assert samples["n"].tolist() == [len(past) for _, past in want]
    assert samples["items"].dtype == samples["n"].dtype == torch.int64
    if want:
        index = torch.randint(0, len(want), (5,))
        some = samples.take(index, keep=True)
        for name in recipes:
            assert torch.equal(some[name], samples[name][index])
            assert some[name] is some[name]
            assert torch.equal(some.repeat(2)[name], torch.cat([some[name]] * 2))


def test_a_batch_makes_only_what_is_read(odd):
    data = prepare(odd, True, model="MIND")[1]._dataset
    batch = data[np.arange(4)].to("cpu")
    made = lambda: {field for field, found in batch.interaction.fields.items() if isinstance(found, torch.Tensor)}  # noqa: E731
    assert made() == set()
    _ = batch["item_id_list"], batch["genre"]
    assert made() == {"item_id_list", "genre", "item_id"}
