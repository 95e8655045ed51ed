"""Loaders: where batches are made, and by whom."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from recbole_mind.data.dataset import SequentialDataset
from recbole_mind.data.loaders import batch_device
from tests.support.odd import batches, prepare, same


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
