"""RecBole's data sets and loaders, without each patch and with it."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import recbole.data
import torch
from recbole.config import Config  # noqa: F401 - after which the patches are applied
from recbole.data import dataset as recbole_dataset
from recbole.data import utils

from recbole_mind.data import create, loaders
from recbole_mind.data.dataset import SequentialDataset
from recbole_mind.plugin.patches import data as patched

PADDED = recbole_dataset.SequentialDataset
INTERACTIONS = {"inter": ["user_id", "item_id", "timestamp"]}


def write(rows):
    """The folder of a data set ``small`` of rows (user, item, time)."""
    Path("hand/small").mkdir(parents=True, exist_ok=True)
    lines = ["user_id:token\titem_id:token\ttimestamp:float", *("\t".join(map(str, row)) for row in rows)]
    Path("hand/small/small.inter").write_text("\n".join(lines) + "\n")
    return "hand"


def items(dataset):
    return dataset.id2token("item_id", dataset.inter_feat["item_id"].to_numpy()).tolist()


def test_exact_times(made):
    dataset = PADDED(made("GRU4Rec", timestamp_order="data"))
    frame = dataset.inter_feat.copy()
    with patched.EXACT_TIMES.off():
        assert dataset._dataframe_to_interaction(frame)["timestamp"].unique().numel() < frame["timestamp"].nunique()
    times = dataset._dataframe_to_interaction(frame)["timestamp"]
    assert times.tolist() == frame["timestamp"].tolist()
    assert times.unique().numel() == frame["timestamp"].nunique()


def test_plain_text(made):
    titles = ["a", '"b', "c", 'd"', "e"]
    folder = write([("u1", item, place) for place, item in enumerate(titles)])
    config = made("GRU4Rec", folder, load_col=INTERACTIONS)
    with patched.PLAIN_TEXT.off():
        assert len(PADDED(config).inter_feat) < len(titles)
    assert items(PADDED(config)) == titles


def test_missing_rows(made):
    rows = [("", "a", 1), ("u1", "a", 2), ("u1", "", 3), ("u1", "b", 4), ("u2", "a", 5), ("u2", "b", 6)]
    config = made("GRU4Rec", write(rows), load_col=INTERACTIONS)
    with patched.MISSING_ROWS.off():
        dataset = PADDED(config)
        assert items(dataset) == ["a", "[PAD]", "a", "b"]  # the row without an item stays, and that of time 4 is gone
        assert 4 not in dataset.inter_feat["timestamp"].tolist()
    dataset = PADDED(config)
    assert dataset.inter_feat["timestamp"].tolist() == [2, 4, 5, 6]
    assert dataset.counts.record()["left_out"] == {"without a user or an item": 2}


def test_download_barrier(monkeypatch):
    module = recbole.data.dataset.dataset
    archive = Path("small.zip")
    monkeypatch.setattr(module, "decide_download", lambda url: True)
    monkeypatch.setattr(module, "download_url", lambda url, folder: archive.touch() or str(archive))
    monkeypatch.setattr(module, "extract_zip", lambda path, folder: Path(folder, "small.inter").touch())
    monkeypatch.setattr(module, "rename_atomic_files", lambda *names: None)
    dataset = SimpleNamespace(
        config={"local_rank": 0}, dataset_name="small", dataset_path="got", logger=logging.getLogger(),
        _get_download_url=lambda kind: "http://nowhere.invalid/small.zip",
    )  # fmt: skip
    with patched.DOWNLOAD_BARRIER.off(), pytest.raises((RuntimeError, ValueError), match="process group"):
        recbole_dataset.Dataset._download(dataset)
    Path("got/small.inter").unlink()
    recbole_dataset.Dataset._download(dataset)
    assert Path("got/small.inter").is_file()


def test_a_download_that_fails_is_still_told(monkeypatch):
    def gone(url):
        raise ValueError("404")

    monkeypatch.setattr(recbole.data.dataset.dataset, "decide_download", gone)
    dataset = SimpleNamespace(config={"local_rank": 0}, dataset_name="small", logger=logging.getLogger(),
                              _get_download_url=lambda kind: "http://nowhere.invalid")  # fmt: skip
    with pytest.raises(ValueError, match="404"):
        recbole_dataset.Dataset._download(dataset)


def test_short_users(made, caplog):
    rows = [(f"u{user}", f"i{place}", place) for user, length in enumerate((2, 3, 5)) for place in range(length)]
    config = made("GRU4Rec", write(rows), load_col=INTERACTIONS)
    with patched.SHORT_USERS.off():
        assert [len(part) for part in PADDED(config).build()] == [4, 1, 2]  # of three users
    assert "leave-one-out" not in caplog.text
    PADDED(config).build()
    assert "leave-one-out: of 3 users with at least 2 behaviours, 1 have no test target (it takes 3)" in caplog.text


def test_saved_data(made):
    rows = [(f"u{user}", f"i{place}", place) for user in range(4) for place in range(6)]
    more = {"load_col": INTERACTIONS, "save_dataset": True, "checkpoint_dir": "saved", "lazy_sequences": False}

    def made_twice():
        """Rows of the data set of a file, and of the same file when it has grown."""
        return [len(recbole.data.create_dataset(made("GRU4Rec", write(part), **more))) for part in (rows[:-1], rows)]

    with patched.SAVED_DATA.off():
        assert made_twice() == [23, 23]
    assert made_twice() == [23, 24]
    config = made("GRU4Rec", **more)
    parts = recbole.data.data_preparation(config, recbole.data.create_dataset(config))
    recbole.data.save_split_dataloaders(config, parts)
    assert all(isinstance(part.generator, torch.Generator) for part in parts)
    with patched.SAVED_DATA.off():
        recbole.data.utils.save_split_dataloaders(config, parts)
    assert [part.generator for part in parts] == [None] * 3


def test_lazy_sequences(made):
    def entry():
        config = made("MIND")
        dataset = recbole.data.create_dataset(config)
        return dataset, *utils.data_preparation(config, dataset)

    with patched.LAZY_SEQUENCES.off():
        padded, train, _, test = entry()
    assert type(padded) is PADDED
    assert train._dataset.inter_feat["item_id_list"].shape == (len(train._dataset), 10)
    assert {type(part).__module__.split(".")[0] for part in (train, test)} == {"recbole"}
    lazy, *ours = entry()
    assert type(lazy) is SequentialDataset
    assert [type(part) for part in ours] == [loaders.TrainLoader, loaders.RankingLoader, loaders.RankingLoader]
    for one, two in zip(train, ours[0], strict=True):
        assert all(torch.equal(one[field], two[field].to(one[field].dtype)) for field in one.columns)


@pytest.mark.parametrize(("model", "split"), [("BPR", {"RS": [8, 1, 1]}), ("MIND", {"LS": "valid_and_test"})])
def test_forked_workers(made, monkeypatch, model, split):
    before = patched.FORKED_WORKERS.in_force
    monkeypatch.setattr("multiprocessing.get_all_start_methods", lambda: ["forkserver", "fork", "spawn"])  # of 3.14
    order = {"order": "RO" if model == "BPR" else "TO", "mode": "full", "group_by": "user"}
    config = made(model, worker=1, eval_args={"split": split, **order})

    def loaded():
        """How many rows the loader of the training set gives, and how many that has."""
        train = create.create_loaders(config, create.create_dataset(config))[0]
        if train.multiprocessing_context is None:
            train.multiprocessing_context = "forkserver"  # what it comes to there
        return sum(map(len, train)), len(train._dataset)

    if model == "BPR":  # a loader of RecBole's; ours does without the patch
        with patched.FORKED_WORKERS.off(), pytest.raises(RuntimeError, match="worker"):
            loaded()
    rows, there = loaded()
    assert rows == there > 0
    if not before:
        patched.FORKED_WORKERS.undo()


def test_mask_history(made):
    config = made("GRU4Rec", mask_history=True, MAX_ITEM_LIST_LENGTH=20)

    def first_batch():
        dataset = create.create_dataset(config)
        assert type(dataset) is PADDED
        return next(iter(create.create_loaders(config, dataset)[2]))

    with patched.MASK_HISTORY.off():
        assert first_batch()[1] is None
    rows, (places, kept_out), _, targets = first_batch()
    for row, length in enumerate(rows["item_length"]):
        history = set(rows["item_id_list"][row, :length].tolist())
        assert history == set(kept_out[places == row].tolist())
        assert int(targets[row]) not in history
