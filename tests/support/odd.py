"""The data set ``odd``, with all kinds of columns, and what RecBole and we make of it."""

from __future__ import annotations

import random

import numpy as np
import torch
from recbole.data.interaction import Interaction

from recbole_mind.data import atomic_file
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.dataset import SequentialDataset
from recbole_mind.data.packed_dataset import PackedDataset
from recbole_mind.data.packed_file import Layout
from tests.support.data import LEAVE_ONE_OUT


def write(folder, seed=0, users=17, items=12, longest=14):
    """A data set with all kinds of columns, equal times, missing values and users with a single interaction."""
    g = np.random.default_rng(seed)
    (folder / "odd").mkdir(parents=True)
    rows = []
    for user in range(users):
        for _ in range(1 if user % 5 == 3 else int(g.integers(1, longest))):
            rating = "" if g.random() < 0.1 else f"{g.integers(1, 11) / 2}"
            kind = "" if g.random() < 0.1 else f"k{g.integers(3)}"
            tags = " ".join(f"t{g.integers(5)}" for _ in range(g.integers(0, 4)))
            weights = " ".join(f"{g.random():.3f}" for _ in range(g.integers(1, 4)))
            time = 881250000 + int(g.integers(0, 40))
            rows.append(f"u{user}\ti{g.integers(items)}\t{rating}\t{time}\t{kind}\t{tags}\t{weights}")
    g.shuffle(rows)
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float\tkind:token\ttags:token_seq\tweights:float_seq"
    (folder / "odd/odd.inter").write_text("\n".join([head, *rows]) + "\n")
    lines = [f"i{i}\tg{i % 3}\t{' '.join(f'x{j}' for j in range(i % 4))}\t{i / 3}" for i in range(items + 2)]
    (folder / "odd/odd.item").write_text(
        "\n".join(["item_id:token\tgenre:token\tforms:token_seq\tprice:float", *lines]) + "\n"
    )
    lines = [f"u{u}\tj{u % 3}" for u in range(1, users)]  # one is not known
    (folder / "odd/odd.user").write_text("\n".join(["user_id:token\tjob:token", *lines]) + "\n")
    return folder


PLAIN = ["user_id", "item_id", "rating", "timestamp", "kind"]
SOME = {"inter": PLAIN, "item": ["item_id", "genre", "forms", "price"], "user": ["user_id", "job"]}


def prepare(folder, lazy, model="GRU4Rec", **more):
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation

    random.seed(5)
    np.random.seed(5)
    torch.manual_seed(5)
    given = {
        "data_path": str(folder),
        "load_col": SOME,
        "eval_args": LEAVE_ONE_OUT,
        "MAX_ITEM_LIST_LENGTH": 5,
        "train_batch_size": 16,
        "eval_batch_size": 16,
        "valid_metric": "MRR@10",
        "lazy_sequences": lazy,
        "timestamp_order": "data",
    }
    config = Config(model=model, dataset="odd", config_dict=given | more)
    dataset = create_dataset(config)
    assert isinstance(dataset, SequentialDataset) == config["lazy_sequences"]
    return dataset, *data_preparation(config, dataset)


def same(one, two, where=""):
    """Both hold the same fields in the same order, of the same type and shape, with the same values."""
    if isinstance(one, (tuple, list)):
        assert len(one) == len(two), where
        for a, b in zip(one, two, strict=True):
            same(a, b, where)
    elif isinstance(one, Interaction):
        assert len(one) == len(two), where
        assert list(one) == list(two) == one.columns == two.columns, where
        for field in one:
            same(one[field], two[field], f"{where} {field}")
    elif isinstance(one, torch.Tensor):
        assert (one.dtype, one.shape) == (two.dtype, two.shape), where
        assert torch.equal(torch.nan_to_num(one, nan=-9.0), torch.nan_to_num(two, nan=-9.0)), where
    else:
        assert one == two, where


def batches(loader, epochs=1):
    """All batches, the fields of joined batches in the order of their names: RecBole takes them from a set."""
    random.seed(6)
    np.random.seed(6)
    torch.manual_seed(6)
    result = []
    for _ in range(epochs):
        for batch in loader:
            first = batch[0] if isinstance(batch, tuple) else batch
            if isinstance(batch, tuple) and batch[1] is not None and not isinstance(batch[1], tuple):
                first = Interaction({field: first[field] for field in sorted(first)})
            result.append((first, *batch[1:]) if isinstance(batch, tuple) else first)
    return result


def compare(folder, **more):
    stock, lazy = (prepare(folder, choice, **more) for choice in (False, True))
    for name in ("field2type", "field2source", "field2seqlen", "field2bucketnum", "field2token_id"):
        assert list(getattr(stock[0], name).items()) == list(getattr(lazy[0], name).items()), name
    for field, names in stock[0].field2id_token.items():
        assert names.dtype == lazy[0].field2id_token[field].dtype
        assert names.tolist() == lazy[0].field2id_token[field].tolist()
    assert str(stock[0]) == str(lazy[0])
    assert stock[0].item_counter == lazy[0].item_counter
    same(stock[0].inter_feat, lazy[0].inter_feat, "whole")
    for one, two, phase in zip(stock[1:], lazy[1:], ("train", "valid", "test"), strict=True):
        assert len(one) == len(two)
        same(one._dataset.inter_feat, two._dataset.inter_feat, phase)
        same(batches(one, 2), batches(two, 2), phase)
    return stock, lazy


def protocol(split, mode="full", group_by="user"):
    return {"eval_args": {"split": split, "order": "TO", "group_by": group_by, "mode": mode}}


def whole(folder, seed=0):
    """The data set ``odd`` without missing numbers: RecBole would fill them with the mean."""
    path = write(folder, seed) / "odd/odd.inter"
    head, *rows = (line.split("\t") for line in path.read_text().splitlines())
    rows = [[*row[:2], row[2] or "2.5", *row[3:]] for row in rows]
    rows.insert(3, ["u99", "NA", "1", "881250000", "k0", "", "0.5"])  # RecBole leaves out rows without an item
    rows.insert(5, ["", "i98", "1", "881250000", "k9", "", "0.5"])
    path.write_text("\n".join("\t".join(row) for row in [head, *rows]) + "\n")
    return folder


def layout(path, *loaded):
    columns = atomic_file.columns(path, Format())
    return Layout(columns, loaded or PLAIN, "\t", "user_id", "item_id", "timestamp")


def both(folder, **more):
    more = {"train_neg_sample_args": None, "filter_inter_by_user_or_item": False} | more
    text, found = prepare(folder, True, packed=False, **more), prepare(folder, True, **more)
    assert type(found[0]) is PackedDataset
    assert type(text[0]) is not PackedDataset
    return text, found
