"""The lazy data set against RecBole's own, field for field, and the pieces that it is made of against loops."""

from __future__ import annotations

import copy
import pickle
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.data.interaction import Interaction
from torch.utils.data import DataLoader

from recbole_mind import InputError
from recbole_mind.data import atomic_file, inter_file, splits
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.batch_order import BatchOrder
from recbole_mind.data.dataset import SequentialDataset
from recbole_mind.data.history_store import History, Length, Row, Samples, Store, Target
from recbole_mind.data.loaders import _Indices, batch_device
from recbole_mind.training import build, run
from tests.support.data import LEAVE_ONE_OUT

# -- pieces -------------------------------------------------------------------------------------------------------


def orders(loader, epochs):
    return [[list(map(int, batch)) for batch in loader] for _ in range(epochs)]


@pytest.mark.parametrize(("n", "step"), [(10, 3), (9, 3), (1, 4), (7, 100)])
@pytest.mark.parametrize("seeded", [True, False])
def test_batches_come_in_torchs_order_epoch_after_epoch(n, step, seeded):
    """DataLoader draws a base seed, a permutation and, once that is used up, a second one."""
    states, results = [], []
    for ours in (False, True):
        torch.manual_seed(7)
        generator = torch.Generator().manual_seed(3) if seeded else None
        if ours:
            order = BatchOrder(n, step, True, generator)
            loader = DataLoader(_Indices(n), sampler=order, batch_size=None, generator=generator)
            assert len(loader) == len(order) == -(-n // step)
        else:
            loader = DataLoader(list(range(n)), batch_size=step, shuffle=True, generator=generator)
        results.append(orders(loader, 3))
        states.append((torch.get_rng_state(), generator and generator.get_state()))
    assert results[0] == results[1]
    assert torch.equal(states[0][0], states[1][0])
    if seeded:
        assert torch.equal(states[0][1], states[1][1])


def test_an_epoch_can_start_late_and_the_next_is_whole():
    whole = list(BatchOrder(10, 3, True, torch.Generator().manual_seed(3)))
    order = BatchOrder(10, 3, True, torch.Generator().manual_seed(3))
    order.skip(2)
    assert [list(batch) for batch in order] == [list(batch) for batch in whole[2:]]
    assert len(list(order)) == 4
    assert [list(batch) for batch in BatchOrder(5, 2, False, None)] == [[0, 1], [2, 3], [4]]
    with pytest.raises(ValueError, match="got num_samples=0"):
        BatchOrder(0, 3, True, None)


@pytest.mark.parametrize("world", [2, 3, 5])
def test_processes_share_each_batch_of_one_process(world):
    whole = list(BatchOrder(10, 4, True, torch.Generator().manual_seed(3)))
    ranks = [BatchOrder(10, 4, True, torch.Generator().manual_seed(3), rank, world) for rank in range(world)]
    for number, parts in enumerate(zip(*ranks, strict=True)):
        batch = whole[number]
        weights = [order.share(number).weight for order in ranks]
        assert sum(weights) == pytest.approx(world)
        real = [part for part, weight in zip(parts, weights, strict=True) if weight]
        assert sorted(np.concatenate(real)) == sorted(batch)
        assert all(list(part) == [batch[0]] for part, weight in zip(parts, weights, strict=True) if not weight)
        # the mean over processes of weight * mean over the part is the mean over the batch
        mean = sum(weight * part.mean() for part, weight in zip(parts, weights, strict=True)) / world
        assert mean == pytest.approx(batch.mean())


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


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.sampled_from([(8, 1, 1), (0.5, 0.3, 0.2), (1, 2, 7)]))
def test_splits_are_recboles(keys, ratios):
    from recbole.data.dataset import Dataset

    plain = object.__new__(Dataset)
    grouped = [list(group) for group in plain._grouped_index(keys)]
    ours = splits.groups(np.array(keys))
    assert ours.part(0, ours.counts).tolist() == [place for group in grouped for place in group]
    assert ours.counts.tolist() == [len(group) for group in grouped]
    for number in (1, 2):
        want = plain._split_index_by_leave_one_out(grouped, number)
        assert [part.tolist() for part in splits.leave_out(ours, number)] == want
    shares = [ratio / sum(ratios) for ratio in ratios]
    want = [[] for _ in shares]
    for group in grouped:
        ends = [*plain._calcu_split_ids(len(group), shares), len(group)]
        for part, start, end in zip(want, [0, *ends[:-1]], ends, strict=True):
            part.extend(group[start:end])
    assert [part.tolist() for part in splits.by_ratio(ours, shares)] == want


# -- against RecBole's data set -----------------------------------------------------------------------------------


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


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    return write(tmp_path_factory.mktemp("odd"))


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


PAIRS = {"loss_type": "BPR", "train_neg_sample_args": {"distribution": "uniform", "sample_num": 2, "alpha": 1.0}}
CASES = {
    "valid_and_test": protocol({"LS": "valid_and_test"}),
    "valid_only": protocol({"LS": "valid_only"}),
    "test_only": protocol({"LS": "test_only"}),
    "ratio": protocol({"RS": [0.8, 0.1, 0.1]}),
    "odd ratio": protocol({"RS": [2, 1, 1]}),
    "ratio of all": protocol({"RS": [0.8, 0.1, 0.1]}, group_by="none"),
    "time": protocol({"TS": [0.8, 0.1, 0.1]}),
    "time, more": protocol({"TS": [0.4, 0.3, 0.3]}),
    "uniform candidates": protocol({"LS": "valid_and_test"}, "uni7"),
    "uniform candidates of a ratio": protocol({"RS": [0.5, 0.3, 0.2]}, "uni3"),
    "popular candidates": protocol({"LS": "valid_and_test"}, "pop7"),
    "labels": protocol({"LS": "valid_and_test"}, "labeled") | {"threshold": {"rating": 3}},
    "pairs": PAIRS,
    "popular pairs": PAIRS | {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 1, "alpha": 0.7}},
    "RecBole's time": {"timestamp_order": "recbole"},
    "masked history": {"mask_history": True},
    "masked history of a ratio": {"mask_history": True} | protocol({"RS": [0.6, 0.2, 0.2]}),
    "in order": {"shuffle": False},
    "all columns": {"load_col": None},
    "all columns, cut": {"load_col": None, "seq_len": {"tags": 2, "forms": 1}},
    "numbers": {"numerical_features": ["rating", "price"]},
    "numbers of sequences": {"load_col": None, "numerical_features": ["rating", "weights"]},
    "time is a number": {"numerical_features": ["timestamp"], "timestamp_order": "recbole"},
    "buckets": {"numerical_features": ["rating"], "discretization": {"rating": {"method": "ED", "bucket": 4}}},
    "normal": {"normalize_all": True},
    "unused": {"unused_col": {"inter": ["timestamp", "rating"], "item": ["price"]}},
    "values": {"val_interval": {"rating": "[2,5)", "kind": ["k0", "k1"]}},
    "frequent": {"user_inter_num_interval": "[4,inf)", "item_inter_num_interval": "[5,inf)"},
    "frequent and rare": {"user_inter_num_interval": "[2,3];[5,9]", "item_inter_num_interval": "(1,40]"},
    "once each": {"rm_dup_inter": "first"},
    "last each": {"rm_dup_inter": "last", "load_col": {"inter": PLAIN}},
    "known only": {"filter_inter_by_user_or_item": True},
    "an alias": {"alias_of_item_id": ["kind"]},
    "no features": {"load_col": {"inter": ["user_id", "item_id", "timestamp"]}},
    "long histories": {"MAX_ITEM_LIST_LENGTH": 50},
    "short histories": {"MAX_ITEM_LIST_LENGTH": 1},
    "backwards": {"transform": "inverse_itemseq"},
    "cropped": {"transform": "crop_itemseq", "eta": 0.6},
    "reordered": {"transform": "reorder_itemseq", "beta": 0.6},
    "a mask": {"transform": "mask_itemseq", "mask_ratio": 0.4},
}


@pytest.mark.parametrize("name", CASES)
def test_batches_are_recboles_field_for_field(odd, name):
    more = CASES[name]
    if "loss_type" not in more:
        more = {"train_neg_sample_args": None} | more
    if name == "labels":
        more = more | {"metrics": ["AUC"], "valid_metric": "AUC"}
    compare(odd, **more)


@settings(max_examples=20, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 9),
    st.sampled_from([{"LS": "valid_and_test"}, {"LS": "test_only"}, {"RS": [0.7, 0.2, 0.1]}, {"TS": [0.5, 0.2, 0.3]}]),
    st.sampled_from(["user", "none"]),
    st.sampled_from(["data", "recbole"]),
)
def test_batches_are_recboles_for_any_data(tmp_path_factory, seed, width, split, group_by, order):
    folder = write(tmp_path_factory.mktemp("any"), seed, users=3 + seed % 9, longest=2 + seed % 17)
    more = protocol(split, group_by=group_by) | {"timestamp_order": order, "MAX_ITEM_LIST_LENGTH": width}
    reasons = []  # RecBole's, such as nothing to train on
    for lazy in (False, True):
        try:
            prepare(folder, lazy, train_neg_sample_args=None, **more)
        except (ValueError, IndexError) as error:
            reasons.append(repr(error))
    assert not reasons or reasons == [reasons[0]] * 2
    if not reasons:
        compare(folder, train_neg_sample_args=None, **more)


# -- reading ------------------------------------------------------------------------------------------------------

TOKENS = st.one_of(
    st.sampled_from(sorted(atomic_file.MISSING)),
    st.text(st.characters(exclude_characters="\t\n\r\0", exclude_categories=["Cs"]), max_size=24),
    st.text("ab\"'\\,", max_size=4),
)
NUMBERS = st.one_of(
    st.floats(width=64).map(repr),
    st.integers(-(2**63), 2**63).map(str),
    st.sampled_from(
        ["", "NA", " 7", "7 ", "+5", "5.", ".5", "1e3", "1E-3", "1_000", "Infinity", "0.1000000000000000055"]
    ),
)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(TOKENS, NUMBERS, TOKENS), min_size=1, max_size=12),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.integers(20, 200),
)
def test_blocks_are_read_as_ten_lines_read_the_file(tmp_path_factory, rows, newline, ended, size):
    path = tmp_path_factory.mktemp("read") / "a.inter"
    lines = ["user:token\ttime:float\titem:token", *("\t".join(row) for row in rows)]
    path.write_bytes((newline.join(lines) + newline * ended).encode())
    found = atomic_file.columns(path, Format())
    assert [(column.field, column.kind) for column in found] == [
        ("user", "token"),
        ("time", "float"),
        ("item", "token"),
    ]
    want = [line.removesuffix("\r").split("\t") for line in path.read_bytes().decode().split("\n")[1:]]
    want = [[None if cell in atomic_file.MISSING else cell for cell in row] for row in want if row != [""]]
    numbers = np.array([np.nan if row[1] is None else float(row[1]) for row in want])
    whole = atomic_file.read(path, Format(), found)
    assert np.array_equal(whole["time"].to_numpy(), numbers, equal_nan=True)
    for place, field in ((0, "user"), (2, "item")):
        assert [x if isinstance(x, str) else None for x in whole[field]] == [row[place] for row in want]
    if any(len(token.encode()) > inter_file.LONGEST for row in want for token in row[::2] if token):
        with pytest.raises(inter_file.UnusualFileError, match="64 bytes"):
            inter_file.read(path, found, 3, "\t", size)
        return
    got = inter_file.read(path, found, 3, "\t", size)
    for field in ("user", "item"):
        assert [x if isinstance(x, str) else None for x in got[field]] == [
            x if isinstance(x, str) else None for x in whole[field]
        ]
        first = list(dict.fromkeys(x for x in whole[field] if isinstance(x, str)))
        assert list(got[field].cat.categories) == first
    assert np.array_equal(got["time"].to_numpy(), numbers, equal_nan=True)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text.replace("\ti1\t", '\t"i1"\t'),
        lambda text: text.replace("\ti1\t", '\t"i1\t'),
        lambda text: text.replace("\ti1\t", f"\t{'i' * 90}\t"),
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text + "\n\n",
        lambda text: text.replace("\n", "\n\n", 3).replace("\n\n", "\n", 1),
        lambda text: text.replace("\t4.0\t", "\t1_0\t"),  # Python's spelling of ten
        lambda text: text.replace("\ti1\t", "\tNA\t").replace("u2\t", "\t"),
        lambda text: text.replace("\ti1\t", "\t中\t"),
        lambda text: "\ufeff" + text,
    ],
)
def test_an_unusual_file_gives_the_same_batches_either_way(tmp_path, spoil):
    path = write(tmp_path) / "odd/odd.inter"
    rows = [line.split("\t")[:5] for line in path.read_text().splitlines()]
    path.write_bytes(spoil("\n".join("\t".join(row) for row in rows) + "\n").encode())
    compare(tmp_path, train_neg_sample_args=None)


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


@pytest.fixture(scope="module")
def pair(odd):
    """RecBole's training data and ours."""
    return [prepare(odd, choice, train_neg_sample_args=None)[1]._dataset for choice in (False, True)]


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


@pytest.mark.parametrize("more", [{}, {"worker": 2}])
def test_saved_data_sets_and_loaders_give_the_same_batches(odd, tmp_path, more, monkeypatch):
    """Whatever RecBole pickles: the data set before its samples are made, and the three loaders."""
    given = {"train_neg_sample_args": None, "checkpoint_dir": str(tmp_path)} | more
    want = [batches(loader, 2) for loader in prepare(odd, True, **given)[1:]]
    prepare(odd, True, save_dataset=True, save_dataloaders=True, **given)
    saved = ["odd-SequentialDataset.pth", "odd-for-GRU4Rec-dataloader.pth"]
    assert {path.name for path in tmp_path.iterdir()} == {*saved, *(f"{name}.json" for name in saved)}
    monkeypatch.setattr(SequentialDataset, "_load_feat", None)
    monkeypatch.setattr(SequentialDataset, "leave_one_out", None)
    same(want, [batches(loader, 2) for loader in prepare(odd, True, **given)[1:]])
    (tmp_path / "odd-for-GRU4Rec-dataloader.pth").unlink()
    monkeypatch.undo()
    monkeypatch.setattr(SequentialDataset, "_load_feat", None)
    same(want, [batches(loader, 2) for loader in prepare(odd, True, **given)[1:]])


def test_a_batch_makes_only_what_is_read(odd):
    data = prepare(odd, True, model="MIND")[1]._dataset
    batch = data[np.arange(4)].to("cpu")
    made = lambda: {field for field, found in batch.interaction.fields.items() if isinstance(found, torch.Tensor)}  # noqa: E731
    assert made() == set()
    _ = batch["item_id_list"], batch["genre"]
    assert made() == {"item_id_list", "genre", "item_id"}


@pytest.mark.parametrize("width", [3, 5, 50])
def test_a_gpu_would_cut_the_same_histories(odd, monkeypatch, width):
    """By torch instead of numpy, and without a value that the device would have to be waited for."""
    data = prepare(odd, True, model="MIND", load_col=None, MAX_ITEM_LIST_LENGTH=width)[1]._dataset
    index = np.random.default_rng(0).permutation(len(data))
    batch, meta = data[index], data.batch(index, torch.device("meta"), join=False)
    for field, found in meta.interaction.items():
        assert found.device.type == "meta"
        assert (found.shape, found.dtype) == (batch[field].shape, batch[field].dtype)
    monkeypatch.setattr("recbole_mind.data.history_store._by_numpy", lambda _: False)
    same(batch, data[index])


def test_batches_are_made_where_our_models_train(odd, monkeypatch):
    memory = [10**9, 100]
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (memory.pop(0), 10**9))
    cuda = torch.device("cuda")

    def place(**more):
        loader = prepare(odd, True, **{"model": "MIND"} | more)[1]
        loader.config.final_config_dict["device"] = cuda
        return batch_device(loader)

    assert place() == cuda
    assert place() is None  # it would fill the GPU
    for more in ({"loss_type": "BPR"}, {"worker": 1}, {"transform": "inverse_itemseq"}, {"lazy_sequences": False}):
        assert place(**more) is None
    assert place(model="GRU4Rec", train_neg_sample_args=None) is None
    assert batch_device(prepare(odd, True, model="MIND")[1]) is None


# -- which data set -----------------------------------------------------------------------------------------------


def test_who_is_lazy(odd):
    from recbole.config import Config
    from recbole.data import create_dataset

    def kind(model, **more):
        given = {"data_path": str(odd), "load_col": SOME, "eval_args": LEAVE_ONE_OUT, "valid_metric": "MRR@10"}
        config = Config(model=model, dataset="odd", config_dict=given | {"train_neg_sample_args": None} | more)
        return type(create_dataset(config)).__module__.split(".")[0]

    assert kind("MIND") == kind("YouTubeDNN") == kind("SASRec", lazy_sequences=True) == "recbole_mind"
    assert kind("MIND", lazy_sequences=False) == kind("SASRec") == kind("FEARec", lazy_sequences=True) == "recbole"
    pointwise = {"eval_args": LEAVE_ONE_OUT | {"mode": "uni5"}, "valid_metric": "AUC", "loss_type": None}
    assert kind("DIEN", lazy_sequences=True, **pointwise) == "recbole"  # it has a data set of its own
    config = build.build_config("SASRec", "odd", overrides={"data_path": str(odd), "load_col": SOME})
    assert config["lazy_sequences"] is True
    with pytest.raises(InputError, match="lazy_sequences: 'maybe' is not allowed; allowed: True, False"):
        build.build_config("MIND", "odd", overrides={"data_path": str(odd), "lazy_sequences": "maybe"})


def test_a_time_that_is_not_loaded_is_named(odd):
    with pytest.raises(ValueError, match=r"\[timestamp\] is not exist"):
        prepare(odd, True, load_col={"inter": ["user_id", "item_id"]}, train_neg_sample_args=None)


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("MIND", {}),
        ("YouTubeDNN", {"loss_type": "BPR"}),
        ("GRU4Rec", {}),
        ("SASRec", {"loss_type": "BPR"}),
        ("BERT4Rec", {}),
        ("SASRecF", {"selected_features": ["genre", "forms"]}),
        ("NARM", {}),
        ("Caser", {}),
        ("DIN", {"eval_args": LEAVE_ONE_OUT | {"mode": "uni5"}, "valid_metric": "AUC"}),
        ("CORE", {}),
    ],
)
def test_models_learn_the_same_from_both(odd, model, more):
    results = []
    for lazy in (True, False):
        given = {"data_path": str(odd), "load_col": SOME, "eval_args": LEAVE_ONE_OUT, "MAX_ITEM_LIST_LENGTH": 5}
        given |= {"epochs": 2, "train_batch_size": 32, "show_progress": False, "topk": [3], "valid_metric": "MRR@3"}
        result = run.run(model, "odd", overrides=given | {"lazy_sequences": lazy} | more)
        results.append((result.valid, result.test, result.report))
    assert results[0] == results[1]


def test_processes_get_their_share_of_our_models_batches_alone(odd, monkeypatch):
    monkeypatch.setattr(torch.distributed, "get_rank", lambda *_: 1)
    monkeypatch.setattr(torch.distributed, "get_world_size", lambda *_: 2)
    for model in ("MIND", "GRU4Rec"):
        whole = prepare(odd, True, model=model, train_neg_sample_args=None)
        config = copy.copy(whole[1].config)
        config.final_config_dict = whole[1].config.final_config_dict | {"single_spec": False, "world_size": 2}
        train, test = (
            type(loader)(config, loader._dataset, loader._sampler, shuffle=loader.shuffle) for loader in whole[1::2]
        )
        one, two = batches(whole[1]), batches(train)
        if model == "MIND":
            assert (train.order.rank, train.order.world, train.step) == (1, 2, 16)
            same([batch[np.arange(1, len(batch), 2)] for batch in one if len(batch) > 1], two[: len(one)])
        else:
            assert isinstance(train.sampler, torch.utils.data.DistributedSampler)
            assert train.step == 8
        assert isinstance(test.sampler, torch.utils.data.DistributedSampler)
        assert sum(len(batch[0]) for batch in batches(test)) == -(-len(test._dataset) // 2)
