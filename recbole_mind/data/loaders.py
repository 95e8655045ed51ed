"""RecBole's loaders without a list of every sample: they take their batches from :class:`BatchOrder`.

:mod:`recbole_mind.plugin.patches.recbole` calls these for :class:`recbole_mind.data.dataset.SequentialDataset` and for
this package's models.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from recbole.data.dataloader import AbstractDataLoader, NegSampleEvalDataLoader, TrainDataLoader
from recbole.data.transform import construct_transform
from recbole.utils import InputType, ModelType
from torch.utils.data import DistributedSampler

from recbole_mind.config.model_names import is_ours
from recbole_mind.data.batch_order import BatchOrder
from recbole_mind.data.dataset import SequentialDataset


class _Indices:
    """A data set whose samples are their own numbers, so that the loader's ``collate_fn`` gets the array of a batch."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        return index


def start(loader: Any, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
    """What RecBole's ``AbstractDataLoader.__init__`` does, with ``loader.order`` in place of lists.

    Several processes that train one of this package's models share each batch that one process would have
    (``step`` stays the whole batch); other models, and evaluation, keep RecBole's shares.
    """
    loader.shuffle, loader.config, loader._dataset, loader._sampler = shuffle, config, dataset, sampler
    loader._batch_size = loader.step = loader.model = None
    if isinstance(loader, TrainDataLoader):
        dataset.negative_sampler = sampler  # a model's loss asks what it draws from
    loader._init_batch_size_and_step()
    loader.generator = torch.Generator().manual_seed(config["seed"])
    loader.transform = construct_transform(config)
    loader.is_sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
    n, alone = loader.sample_size, config["single_spec"]
    if alone or (is_ours(config.model_class) and isinstance(loader, TrainDataLoader)):
        distributed = torch.distributed
        place = (0, 1) if alone else (distributed.get_rank(), distributed.get_world_size())
        loader.order = BatchOrder(n, loader.step, shuffle, loader.generator, *place)
        fed = {"dataset": _Indices(n), "sampler": loader.order, "batch_size": None}
    else:
        loader.step = max(1, loader.step // config["world_size"])
        shares: DistributedSampler[int] = DistributedSampler(_Indices(n), shuffle=shuffle, drop_last=False)  # type: ignore[arg-type]
        fed = {"dataset": _Indices(n), "sampler": shares, "batch_size": loader.step}
    super(AbstractDataLoader, loader).__init__(
        **fed, collate_fn=loader.collate_fn, num_workers=config["worker"], generator=loader.generator
    )


class _Slices:
    """For each user, the slice of its samples among samples that are sorted by user."""

    def __init__(self, ends: npt.NDArray[np.int64]) -> None:
        self.ends = ends  # [U + 1], from 0

    def __getitem__(self, user: int) -> slice:
        return slice(int(self.ends[user]), int(self.ends[user + 1]))


def start_candidates(loader: Any, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
    """What RecBole's ``NegSampleEvalDataLoader.__init__`` does, without a loop over the samples."""
    phase = sampler.phase if sampler is not None else "test"
    loader._set_neg_sample_args(config, dataset, InputType.POINTWISE, config[f"{phase}_neg_sample_args"])
    loader.sample_size = len(dataset)
    if "none" not in (loader.neg_sample_args["distribution"], loader.neg_sample_args["sample_num"]):
        dataset.sort(by=dataset.uid_field, ascending=True)
        counts = np.bincount(dataset.inter_feat[dataset.uid_field].numpy(), minlength=dataset.user_num)
        loader.uid_list = np.flatnonzero(counts)
        loader.uid2items_num = counts
        loader.uid2index = _Slices(np.concatenate([[0], counts.cumsum()]))
        loader.sample_size = len(loader.uid_list)
    super(NegSampleEvalDataLoader, loader).__init__(config, dataset, sampler, shuffle=False)


def batch_device(loader: Any) -> torch.device | None:
    """The GPU on which a training loader makes its batches: where one of this package's models trains on it.

    Negatives, transforms and worker processes need the batch on the CPU; so do data that would fill the GPU.
    """
    config = loader.config
    device: torch.device = config["device"]
    lazy = isinstance(loader._dataset, SequentialDataset) and is_ours(config.model_class)
    plain = loader.neg_sample_args["distribution"] == "none" and config["transform"] is None and not config["worker"]
    if device.type != "cuda" or not (lazy and plain):
        return None
    return device if loader._dataset.inter_feat.interaction.store.fits(device) else None
