"""Patches of RecBole's data sets and of the functions that make them and their loaders.

Our own runs make theirs by :mod:`recbole_mind.data.create`. They meet RecBole's data sets, and so the patches of these,
for models that have no sequence and under ``lazy_sequences: False``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from recbole_mind.data import create, history_mask, loaders, reading, saved, splits
from recbole_mind.data.dataset import SequentialDataset
from recbole_mind.data.history_mask import HISTORY_ROW
from recbole_mind.plugin.patches.patch import Patch, Replace, Wrap

_DATASET = "recbole.data.dataset.dataset:Dataset"

# -- reading -------------------------------------------------------------------------------------------------------


def exact_times(original: Callable[..., Any], dataset: Any, frame: Any) -> Any:
    """The columns of a frame as tensors, its time in float64.

    RecBole sorts stably, so that the original values are enough; ties stay in the order of the file.
    """
    interaction = original(dataset, frame)
    field, embedded = dataset.time_field, dataset.config["numerical_features"] or []
    if dataset.config["timestamp_order"] == "data" and field in frame and field not in embedded:
        interaction.interaction[field] = torch.from_numpy(frame[field].to_numpy(np.float64, copy=True))
    return interaction


EXACT_TIMES = Patch("exact_times", since="RecBole 1.2.1", issue=2204,
    fault="time stamps become float32 and neighbours change places", cure="kept as float64 (timestamp_order: data)",
    changes=(Wrap(f"{_DATASET}._dataframe_to_interaction", exact_times),))  # fmt: skip

PLAIN_TEXT = Patch("plain_text", since="RecBole 1.2.1",
    fault="data files are read with CSV's quotes: a lone one swallows lines",
    cure="every character stands for itself",
    changes=(
    Replace(f"{_DATASET}._load_inter_feat", reading.load_interactions),
    Replace(f"{_DATASET}._load_feat", reading.load_feat),
))  # fmt: skip

MISSING_ROWS = Patch("missing_rows", since="RecBole 1.2.1",
    fault="rows without a user and rows without an item make it leave out the wrong ones",
    cure="the right ones, and counted",
    changes=(Replace(f"{_DATASET}._data_filtering", reading.filter_data),))  # fmt: skip


def download_alone(original: Callable[..., None], dataset: Any) -> None:
    """Download a data set; a process that is alone waits for no other."""
    try:
        original(dataset)
    except (RuntimeError, ValueError) as error:
        if torch.distributed.is_initialized() or "process group" not in str(error):
            raise


DOWNLOAD_BARRIER = Patch("download_barrier", since="RecBole 1.2.1",
    fault="a download ends in a barrier that no single process can pass", cure="the barrier is left out",
    changes=(Wrap(f"{_DATASET}._download", download_alone),))  # fmt: skip


def leave_one_out_told(original: Callable[..., Any], dataset: Any, group_by: str, leave_one_mode: str) -> Any:
    """The parts of a leave-one-out split, with a warning that counts the users without a target."""
    from recbole.data.dataset import SequentialDataset as Padded

    counts = np.bincount(dataset.inter_feat[dataset.uid_field].numpy())
    parts = original(dataset, group_by, leave_one_mode)
    splits.tell_left_out(counts[counts > 0], leave_one_mode, first=2 if isinstance(dataset, Padded) else 1)
    return parts


SHORT_USERS = Patch("short_users", since="RecBole 1.2.1",
    fault="leave-one-out gives users who are too short no target, in silence", cure="counted in a warning",
    changes=(Wrap(f"{_DATASET}.leave_one_out", leave_one_out_told),))  # fmt: skip

# -- what is made of a data set ------------------------------------------------------------------------------------

_CREATE = ("recbole.data.utils:create_dataset", "recbole.data:create_dataset")


def create_or_saved(original: Callable[..., Any], config: Any) -> Any:
    """RecBole's data set, or the one that was saved if it is the same."""
    return create.read_or_saved(config, create.recbole_class(config))


SAVED_DATA = Patch("saved_data", since="RecBole 1.2.1",
    fault="a saved data set is used again for other files, and saving loaders unseeds them",
    cure="compared by content; not so",
    changes=(
    Replace(f"{_DATASET}.save", saved.save_dataset),
    *(Wrap(target, create_or_saved) for target in _CREATE),
    Replace("recbole.data.utils:load_split_dataloaders", saved.load_loaders),
    Replace("recbole.data:load_split_dataloaders", saved.load_loaders),
    Replace("recbole.data.utils:save_split_dataloaders", saved.save_loaders),
    Replace("recbole.data:save_split_dataloaders", saved.save_loaders),
))  # fmt: skip


def create_lazy(original: Callable[..., Any], config: Any) -> Any:
    """The data set that the settings ask for, RecBole's or ours."""
    return create.create_dataset(config) if create.serves(config) else original(config)


def ordered_loader(original: Callable[..., Any], config: Any, phase: str) -> Callable[..., Any]:
    """What makes a loader of a data set, RecBole's or ours."""
    return functools.partial(loaders.make_loader, original(config, phase))


def no_used_ids(original: Callable[..., Any], sampler: Any) -> Any:
    """A set for each user, ``[U]``, which nothing reads before it is replaced."""
    lean = isinstance(sampler.dataset, SequentialDataset)
    return np.full(sampler.user_num, set(), object) if lean else original(sampler)


LAZY_SEQUENCES = Patch("lazy_sequences", since="RecBole 1.2.1",
    fault="every prefix of a history is stored as a padded row",
    cure="histories are cut for a batch (lazy_sequences: True)",
    changes=(
    *(Wrap(target, create_lazy) for target in _CREATE),
    Wrap("recbole.data.utils:get_dataloader", ordered_loader),
    Wrap("recbole.sampler:RepeatableSampler.get_used_ids", no_used_ids),
))  # fmt: skip


def forking_loader(original: Callable[..., None], loader: Any, *args: Any, **more: Any) -> None:
    """Initialise a loader whose workers are forks of this process."""
    original(loader, *args, **more)
    loaders.fork_workers(loader)


FORKED_WORKERS = Patch("forked_workers", since="Python 3.14", needed=loaders.forks_no_more,
    fault="the workers of a loader are sent its data set, which cannot be sent: they die (worker)",
    cure="they inherit it",
    changes=(
    Wrap("recbole.data.dataloader.abstract_dataloader:AbstractDataLoader.__init__", forking_loader),
))  # fmt: skip

# -- histories -----------------------------------------------------------------------------------------------------


def with_history_rows(original: Callable[..., None], dataset: Any) -> None:
    """Make a padded row of each interaction but a user's first, and keep its place among all interactions."""
    if not dataset.config["mask_history"]:
        original(dataset)
        return
    dataset._check_field("uid_field", "time_field")
    dataset.sort(by=[dataset.uid_field, dataset.time_field], ascending=True)  # what the original starts with
    users, items = (dataset.inter_feat[field].numpy() for field in (dataset.uid_field, dataset.iid_field))
    dataset.history = items, np.searchsorted(users, np.arange(dataset.user_num))
    rows = np.flatnonzero(users[1:] == users[:-1]) + 1
    original(dataset)
    dataset.inter_feat.interaction[HISTORY_ROW] = torch.from_numpy(rows)


def masked_batch(original: Callable[..., Any], loader: Any, index: Any) -> Any:
    """Rows to rank, with the history kept out, or not, as ``mask_history`` says."""
    interaction, history, rows, items = original(loader, index)
    if loader.is_sequential:
        return history_mask.ranked(loader, interaction)
    return interaction, None if loader.config["mask_history"] is False else history, rows, items


MASK_HISTORY = Patch("mask_history", since="RecBole 1.2.1",
    fault="sequential models rank the user's own history", cure="mask_history: true keeps it out",
    changes=(
    Wrap("recbole.data.dataset:SequentialDataset.data_augmentation", with_history_rows),
    Wrap("recbole.data.dataloader:FullSortEvalDataLoader.collate_fn", masked_batch),
))  # fmt: skip
