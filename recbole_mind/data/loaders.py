"""RecBole's loaders without a list of every sample: they take their batches from :class:`BatchOrder`.

:func:`loader_class` gives them for :class:`recbole_mind.data.dataset.SequentialDataset` and for this package's models.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from recbole.data.dataloader import (
    AbstractDataLoader,
    FullSortEvalDataLoader,
    KnowledgeBasedDataLoader,
    NegSampleEvalDataLoader,
    TrainDataLoader,
)
from recbole.data.transform import construct_transform
from recbole.utils import InputType, ModelType
from torch.utils.data import DistributedSampler

from recbole_mind.config.model_names import is_ours
from recbole_mind.data import history_mask
from recbole_mind.data.batch_order import BatchOrder
from recbole_mind.data.dataset import SequentialDataset
from recbole_mind.errors import require


class _Indices:
    """A data set whose samples are their own numbers, so that the loader's ``collate_fn`` gets the array of a batch."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: Any) -> Any:
        return index


def forks_no_more() -> bool:
    """Whether processes are started by a server, to which everything is sent: on Linux from Python 3.14 on."""
    return multiprocessing.get_all_start_methods()[0] == "forkserver"


def fork_workers(loader: Any) -> None:
    """Have a loader's workers (``worker``) inherit its data and RecBole's patches, as on Linux before Python 3.14."""
    if loader.num_workers and forks_no_more():
        loader.multiprocessing_context = "fork"


class OrderedLoader(AbstractDataLoader):
    """What RecBole's ``AbstractDataLoader`` is, with ``order`` in place of lists.

    Several processes that train one of this package's models share each batch that one process would have
    (``step`` stays the whole batch); other models, and evaluation, keep RecBole's shares.

    In the bases of a loader it stands after one of RecBole's, whose ``__init__`` calls its.
    """

    order: BatchOrder
    step: Any

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        self.shuffle, self.config, self._dataset, self._sampler = shuffle, config, dataset, sampler
        self._batch_size = self.step = self.model = None
        training = isinstance(self, TrainDataLoader)
        if training:
            dataset.negative_sampler = sampler  # a model's loss asks what it draws from
        self._init_batch_size_and_step()
        self.generator = torch.Generator().manual_seed(config["seed"])
        self.transform = construct_transform(config)
        self.is_sequential = config["MODEL_TYPE"] == ModelType.SEQUENTIAL
        n, alone = self.sample_size, config["single_spec"]
        if alone or (is_ours(config.model_class) and training):
            distributed = torch.distributed
            place = (0, 1) if alone else (distributed.get_rank(), distributed.get_world_size())
            self.order = BatchOrder(n, self.step, shuffle, self.generator, *place)
            fed = {"dataset": _Indices(n), "sampler": self.order, "batch_size": None}
        else:
            self.step = max(1, self.step // config["world_size"])
            shares: DistributedSampler[int] = DistributedSampler(_Indices(n), shuffle=shuffle, drop_last=False)  # type: ignore[arg-type]
            fed = {"dataset": _Indices(n), "sampler": shares, "batch_size": self.step}
        super(AbstractDataLoader, self).__init__(
            **fed, collate_fn=self.collate_fn, num_workers=config["worker"], generator=self.generator
        )
        fork_workers(self)


class TrainLoader(TrainDataLoader, OrderedLoader):
    """Batches for training, made on the GPU where one of this package's models trains there."""

    def collate_fn(self, index: Any) -> Any:
        device = batch_device(self)
        return super().collate_fn(index) if device is None else self._dataset.batch(index, device)


class _Slices:
    """For each user, the slice of its samples among samples that are sorted by user."""

    def __init__(self, ends: npt.NDArray[np.int64]) -> None:
        self.ends = ends  # [U + 1], from 0

    def __getitem__(self, user: int) -> slice:
        return slice(int(self.ends[user]), int(self.ends[user + 1]))


class CandidatesLoader(NegSampleEvalDataLoader, OrderedLoader):
    """Rows to evaluate, each with sampled candidates; made without a loop over the samples."""

    def __init__(self, config: Any, dataset: Any, sampler: Any, shuffle: bool = False) -> None:
        phase = sampler.phase if sampler is not None else "test"
        self._set_neg_sample_args(config, dataset, InputType.POINTWISE, config[f"{phase}_neg_sample_args"])
        self.sample_size = len(dataset)
        if "none" not in (self.neg_sample_args["distribution"], self.neg_sample_args["sample_num"]):
            dataset.sort(by=dataset.uid_field, ascending=True)
            counts = np.bincount(dataset.inter_feat[dataset.uid_field].numpy(), minlength=dataset.user_num)
            self.uid_list = np.flatnonzero(counts)
            self.uid2items_num = counts
            self.uid2index = _Slices(np.concatenate([[0], counts.cumsum()]))
            self.sample_size = len(self.uid_list)
        super(NegSampleEvalDataLoader, self).__init__(config, dataset, sampler, shuffle=False)


class RankingLoader(FullSortEvalDataLoader, OrderedLoader):
    """Rows of a sequential model to evaluate against the whole catalogue."""

    def collate_fn(self, index: Any) -> Any:
        dataset = self._dataset
        return history_mask.ranked(self, self.transform(dataset, dataset[np.asarray(index)]))


_ORDERED = {
    TrainDataLoader: TrainLoader,
    NegSampleEvalDataLoader: CandidatesLoader,
    FullSortEvalDataLoader: RankingLoader,
}


def loader_class(kind: Callable[..., Any], config: Any, dataset: Any) -> Callable[..., Any]:
    """The class to make a loader of, where RecBole would take ``kind``."""
    ours = isinstance(dataset, SequentialDataset) or is_ours(config.model_class)
    return _ORDERED.get(kind, kind) if ours else kind


def make_loader(kind: Callable[..., Any], config: Any, dataset: Any, *samplers: Any, shuffle: bool = False) -> Any:
    """A loader of ``dataset``, where RecBole would make one of class ``kind``.

    Raises:
        InputError: there is nothing to train on, which torch cannot shuffle.
    """
    training = kind in (TrainDataLoader, KnowledgeBasedDataLoader)
    require(len(dataset) > 0 or not training, f"dataset: '{config['dataset']}' leaves no row for training")
    return loader_class(kind, config, dataset)(config, dataset, *samplers, shuffle=shuffle)


def batch_device(loader: Any) -> torch.device | None:
    """The GPU on which a training loader makes its batches: where one of this package's models trains on it.

    Negatives, transforms and worker processes need the batch on the CPU; so do data that would fill the GPU.
    """
    config = loader.config
    device: torch.device = config["device"]
    if device.type != "cuda":
        return None
    lazy = isinstance(loader._dataset, SequentialDataset) and is_ours(config.model_class)
    plain = loader.neg_sample_args["distribution"] == "none" and config["transform"] is None and not config["worker"]
    if not (lazy and plain):
        return None
    return device if loader._dataset.inter_feat.interaction.store.fits(device) else None
