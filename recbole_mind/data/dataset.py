"""RecBole's sequential data set on :mod:`recbole_mind.data.history_store`: the same samples without the padded rows.

:class:`SequentialDataset` stands in for RecBole's class of that name where ``lazy_sequences`` asks for it
(:mod:`recbole_mind.plugin.patches.recbole`). What RecBole does to a data set it does to this one too; what is slow
there, is done for all rows at once here, with the same result.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from recbole.data.dataset import SequentialDataset as RecBoleDataset
from recbole.utils import FeatureSource, FeatureType
from torch import Tensor

from recbole_mind.config import protocols
from recbole_mind.data import inter_file, reading, splits
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.history_mask import HISTORY_ROW
from recbole_mind.data.history_store import History, Joined, Length, Recipe, Row, Samples, Store, Target
from recbole_mind.data.interaction import LazyInteraction, as_index
from recbole_mind.errors import require

_WHOLE_LISTS = ("FEARec",)  # models that look up single histories in all of them, for each sample of a batch


def serves(config: Any) -> bool:
    """Whether the settings ask for this data set, and it can serve them."""
    asked = config["lazy_sequences"] and config["model"] not in _WHOLE_LISTS
    return bool(asked and config["benchmark_filename"] is None)


class TokenIds(Mapping[str, int]):
    """The id of each token of ``tokens`` [N]: the dictionary that RecBole makes, made when it is first asked."""

    def __init__(self, tokens: npt.NDArray[np.str_]) -> None:
        self.tokens = tokens
        self._ids: dict[str, int] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"tokens": self.tokens, "_ids": None}

    @property
    def ids(self) -> dict[str, int]:
        if self._ids is None:
            self._ids = {token: number for number, token in enumerate(self.tokens.tolist())}
        return self._ids

    def __getitem__(self, token: str) -> int:
        return self.ids[token]

    def __iter__(self) -> Iterator[str]:
        return iter(self.ids)

    def __len__(self) -> int:
        return len(self.ids)


class SequentialDataset(RecBoleDataset):
    """RecBole's sequential data set, with histories that are cut when a batch is made.

    It has the name of RecBole's class because RecBole saves a data set under its class's name.
    """

    inter_feat: Any
    target_ends: npt.NDArray[np.int64] | None = None  # [U] where all of a user's behaviours from the row on, up to
    # here, are its targets
    time_unit = 0.0  # of the times in the samples, in the file's own unit; 0 of a data set that was saved without it

    # -- reading -------------------------------------------------------------------------------------------------------

    def _load_feat(self, filepath: str, source: Any) -> Any:
        """Read tokens and floats of ``.inter`` by ``inter_file``, all else as every data set does."""
        form = Format.of(self.config)
        if source != FeatureSource.INTERACTION or not form.plain:
            return super()._load_feat(filepath, source)
        chosen, width = reading.chosen_columns(self, filepath, source, form)
        clock = reading.clock_of(self.config)
        reading.check_time(filepath, chosen, clock)
        if not chosen or any(column.kind not in ("token", "float") for column in chosen):
            return super()._load_feat(filepath, source)
        try:
            frame = inter_file.read(filepath, chosen, width, form.separator, clock=clock)
        except inter_file.UnusualFileError:
            return super()._load_feat(filepath, source)
        if frame.empty:
            return super()._load_feat(filepath, source)  # which says so
        for column in chosen:
            reading.set_properties(self, column, source, clock)
        return frame

    def _filter_by_inter_num(self) -> None:
        """RecBole's rounds of leaving out users and items with too few or too many interactions."""
        sides = [(self.uid_field, "user"), (self.iid_field, "item")]
        if any(not isinstance(self.inter_feat.dtypes.get(field), pd.CategoricalDtype) for field, _ in sides):
            super()._filter_by_inter_num()
            return
        intervals = [self._parse_intervals_str(self.config[f"{name}_inter_num_interval"]) for _, name in sides]
        categories = [self.inter_feat[field].cat.categories for field, _ in sides]
        codes = [self.inter_feat[field].cat.codes.to_numpy() for field, _ in sides]
        kept = np.ones(len(self.inter_feat), bool)
        while True:
            banned = [
                self._banned(allowed, np.bincount(numbers[kept], minlength=len(names)), names, field, f"{name}_feat")
                for allowed, numbers, names, (field, name) in zip(intervals, codes, categories, sides, strict=True)
            ]
            if not any(found for _, found in banned):
                break
            for numbers, (bans, _) in zip(codes, banned, strict=True):
                kept &= ~bans[numbers]
        if not kept.all():
            asked = [f"{name}_inter_num_interval: '{self.config[f'{name}_inter_num_interval']}'" for _, name in sides]
            require(bool(kept.any()), f"{' and '.join(asked)} leave no interaction of '{self.dataset_name}'")
            self.inter_feat = self.inter_feat.drop(self.inter_feat.index[~kept])

    def _banned(
        self, intervals: Any, counts: npt.NDArray[np.int64], names: pd.Index, field: str, feat_name: str
    ) -> tuple[npt.NDArray[np.bool_], bool]:
        """Which of ``names`` are left out for their ``counts``, and whether anything is; its features go at once."""
        bans = np.zeros(len(counts), bool)
        if not intervals:
            return bans, False
        bans = (counts > 0) & ~self._within_intervals(counts, intervals)
        feat = getattr(self, feat_name)
        if feat is None:
            return bans, bool(bans.any())
        places = names.get_indexer(feat[field])
        few = np.where(places >= 0, counts[places], 0) < intervals[0][1]
        bans[places[few & (places >= 0)]] = True
        gone = few | (bans[places] & (places >= 0))
        setattr(self, feat_name, feat.drop(feat.index[gone]))
        return bans, bool(bans.any() or gone.any())

    def _remap(self, remap_list: list[tuple[Any, str, Any]]) -> None:
        """Give tokens their ids, in the order in which they first occur; categories stand for their rows."""
        if not any(isinstance(feat[field].dtype, pd.CategoricalDtype) for feat, field, _ in remap_list):
            super()._remap(remap_list)
            return
        tokens, places = [], []
        for feat, field, ftype in remap_list:
            if isinstance(feat[field].dtype, pd.CategoricalDtype):
                place, found = self._numbered(feat[field])
                tokens.append(found)
                places.append(place)
            else:
                tokens.append(feat[field].to_numpy() if ftype == FeatureType.TOKEN else feat[field].agg(np.concatenate))
                places.append(np.arange(len(tokens[-1])))
        ids, names = pd.factorize(np.concatenate(tokens))
        parts = np.split((ids + 1).astype(np.int32), np.cumsum([len(part) for part in tokens])[:-1])
        del tokens
        id_token = np.array(["[PAD]", *names])
        token_id = TokenIds(id_token)
        for feat, field, ftype in remap_list:
            if field not in self.field2id_token:
                self.field2id_token[field], self.field2token_id[field] = id_token, token_id
            numbers = np.append(parts.pop(0), np.int32(0))[places.pop(0)]  # a missing token's place is -1
            ends = np.cumsum(feat[field].map(len))[:-1] if ftype == FeatureType.TOKEN_SEQ else None
            feat[field] = numbers if ends is None else np.split(numbers, ends)

    def _numbered(self, column: Any) -> tuple[npt.NDArray[np.intp], Any]:
        """For each row of categories its place among those that occur, -1 if it is missing; and those, in order."""
        places, found = pd.factorize(column.array)
        return places, np.asarray(found, object)

    def _normalize(self) -> None:
        """Normalise as RecBole does, and keep what became of the unit of time."""
        field, frame = self.time_field, self.inter_feat
        before = _span(frame[field]) if field in frame else 0.0
        super()._normalize()
        after = _span(self.inter_feat[field]) if field in frame else 0.0
        self.time_unit = before / after if before and after else 1.0

    # -- samples -------------------------------------------------------------------------------------------------------

    def _change_feat_format(self) -> None:
        """Sort the interactions by user and time, as RecBole does, and say how samples are made of them."""
        fields = list(self.inter_feat)
        self._aug_presets()
        self._check_field("uid_field", "time_field")
        if self.time_field not in fields:
            raise ValueError(f"[{self.time_field}] is not exist in interaction with the fields {fields}.")
        for name in self.feat_name_list:
            if name != "inter_feat":
                setattr(self, name, self._dataframe_to_interaction(getattr(self, name)))
        store = self._store(fields)
        recipes: dict[str, Recipe] = {field: Target(field) for field in fields}
        recipes[self.item_list_length_field] = Length()
        for field in fields:
            if field != self.uid_field:
                name = getattr(self, f"{field}_list_field")
                recipes[name] = History(self._list_column(store.columns, field, name))
        if self.config["mask_history"] or protocols.list_split(self.config["eval_args"]):
            recipes[HISTORY_ROW] = Row()
        self.inter_feat = LazyInteraction(Samples(store, recipes))

    def _store(self, fields: list[str]) -> Store:
        """The interactions of the frame, which is emptied, by user and time; ties stay in its order."""
        columns = {}
        for field in fields:
            columns[field] = self._column(self.inter_feat, field)
            del self.inter_feat[field]
        time, users = columns[self.time_field], columns[self.uid_field].numpy()
        by_time = np.argsort((time if time.dim() == 1 else time[..., 0]).numpy(), kind="stable")
        order = torch.from_numpy(by_time[splits.stable_order(users[by_time])])
        del by_time
        offsets = np.concatenate([[0], np.bincount(users, minlength=self.user_num).cumsum()])
        for field in fields:
            columns[field] = columns[field][order]
        return Store(columns, self.uid_field, torch.from_numpy(offsets), self.max_item_list_len)

    def _column(self, frame: pd.DataFrame, field: str) -> Tensor:
        """The values of a field as RecBole has them, ids as 32-bit integers."""
        if self.field2type[field] == FeatureType.TOKEN:
            return torch.from_numpy(frame[field].to_numpy(np.int32, copy=True))
        values: Tensor = self._dataframe_to_interaction(frame[[field]])[field]
        return values.int() if values.dtype == torch.int64 else values

    def _list_column(self, columns: dict[str, Tensor], field: str, name: str) -> str:
        """The column of which a field's history is made: of sequences, one as wide as the longest in the file."""
        length = self.field2seqlen[name]
        if isinstance(length, int) or columns[field].shape[1] == length[1]:
            return field
        columns[name] = columns[field].expand(-1, length[1], *columns[field].shape[2:])
        return name

    @property
    def history(self) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
        """The items of all interactions, by user and time, and where each user's begin."""
        store = self.inter_feat.interaction.store
        return store.columns[self.iid_field].numpy(), store.offsets.numpy()

    def __getitem__(self, index: Any, join: bool = True) -> Any:
        return self.batch(index, join=join)

    def batch(self, index: Any, device: torch.device | None = None, *, join: bool = True) -> Any:
        """Samples by their places, with the features of their users and items; made on ``device``."""
        if not isinstance(self.inter_feat, LazyInteraction) or (np.ndim(index) == 0 and not isinstance(index, slice)):
            return super().__getitem__(index, join)
        samples = self.inter_feat.interaction.take(as_index(index), keep=True, device=device)
        return self.join(LazyInteraction(samples)) if join else LazyInteraction(samples)

    def join(self, df: Any) -> Any:
        """Join the features of users and items, for samples as recipes."""
        if not isinstance(df, LazyInteraction):
            return super().join(df)
        for feat, key in ((self.user_feat, self.uid_field), (self.item_feat, self.iid_field)):
            if feat is not None and key in df:
                for field in feat:
                    if field != key:
                        df[field] = Joined(feat[field], key)
        return df

    # -- splits --------------------------------------------------------------------------------------------------------

    def _parts(self, groups: splits.Groups, parts: Sequence[splits.Ints]) -> list[Any]:
        self._drop_unused_col()
        samples = self.inter_feat.interaction
        return [self.copy(LazyInteraction(samples.chosen(part, of=groups))) for part in parts]

    def leave_one_out(self, group_by: Any, leave_one_mode: str) -> list[Any]:
        number = {"valid_and_test": 2, "valid_only": 1, "test_only": 1}.get(leave_one_mode)
        if group_by is None or number is None:
            return list(super().leave_one_out(group_by, leave_one_mode))  # which says what is wrong
        groups = self.inter_feat.interaction.groups(group_by)
        parts = splits.leave_out(groups, number)
        splits.tell_left_out(groups.counts, leave_one_mode, first=2)
        if number == 1:
            parts.insert(2 if leave_one_mode == "valid_only" else 1, parts[0][:0])
        return self._parts(groups, parts)

    def split_by_ratio(self, ratios: Sequence[float], group_by: Any = None) -> list[Any]:
        shares = [ratio / sum(ratios) for ratio in ratios]
        if group_by is not None:
            groups = self.inter_feat.interaction.groups(group_by)
            return self._parts(groups, splits.by_ratio(groups, shares))
        ends = [*self._calcu_split_ids(tot=len(self), ratios=shares), len(self)]
        self._drop_unused_col()
        return [self.copy(self.inter_feat[start:end]) for start, end in zip([0, *ends[:-1]], ends, strict=True)]

    def time_based_split(self, ratios: Sequence[float], group_by: Any) -> list[Any]:
        if group_by is None or self.time_field not in self.inter_feat:
            return list(super().time_based_split(ratios, group_by))  # which says what is wrong
        shares = [ratio / sum(ratios) for ratio in ratios]
        groups = self.inter_feat.interaction.groups(group_by)
        everything = self.inter_feat.interaction.chosen(groups.part(0, groups.counts), of=groups)
        times = everything[self.time_field].numpy()
        return self._parts(groups, splits.by_time(groups, times, shares))

    def build(self) -> list[Any]:
        asked = protocols.list_split(self.config["eval_args"])
        if asked is None:
            return list(super().build())
        self._change_feat_format()
        self._drop_unused_col()
        return self.split_by_users(asked) if isinstance(asked, protocols.UserSplit) else self.split_off_last(asked)

    def split_by_users(self, asked: protocols.UserSplit) -> list[Any]:
        """All samples of the training users; of each other user one, with its targets from the cut on.

        Raises:
            InputError: a part is left without a user.
        """
        starts = self.inter_feat.interaction.store.offsets.numpy()
        counts = np.diff(starts)
        found, cuts = splits.users(counts, asked.ratios, asked.seed), splits.cuts(counts, asked.history)
        whole = np.where(counts > 1, 1, 0)  # in training a cut after each behaviour
        kept, datasets, few, none = [], [], [], []
        for phase, part, first in zip(("training", "validation", "test"), found, (whole, cuts, cuts), strict=True):
            users = part[(first[part] >= 1) & (first[part] < counts[part])]
            number = counts[users] - 1 if phase == "training" else np.ones(len(users), np.int64)
            ends = None if phase == "training" else starts[1:]
            datasets.append(self._part(splits.ranges(starts[users] + first[users], number), ends))
            kept.append(f"{len(users)} for {phase}")
            few.append(len(part) - len(users))
            none += [] if len(users) else [phase]
        what = f"{asked}: {', '.join(kept)}; {sum(few)} dropped, too short to be cut ({', '.join(map(str, few))})"
        self._tell(what, none)
        return datasets

    def split_off_last(self, asked: protocols.LastFraction) -> list[Any]:
        """All samples of what comes first; of each user one sample for validation and one for the test, if it has any.

        How many behaviours each part takes is RecBole's rule for ratios (:func:`~recbole_mind.data.splits.portions`),
        so that models without a sequence have the same targets. A target needs a history of one behaviour.

        Raises:
            InputError: a part is left without a user.
        """
        starts = self.inter_feat.interaction.store.offsets.numpy()
        counts = np.diff(starts)
        shares = [ratio / sum(asked.ratios) for ratio in asked.ratios]
        ends = starts[:-1] + splits.portions(counts, shares).cumsum(0)  # [3, U]
        first, none, kept = starts[:-1] + 1, [], []
        rows = [splits.ranges(first, np.maximum(ends[0] - first, 0))]
        for begin, end in pairwise(ends):
            rows.append(begin[(begin >= first) & (begin < end)])
        for phase, part in zip(("training", "validation", "test"), rows, strict=True):
            kept.append(f"{len(part)} {'samples' if phase == 'training' else 'users'} for {phase}")
            none += [] if len(part) else [phase]
        self._tell(f"{asked}: {', '.join(kept)}, of {(counts > 0).sum()} users", none)
        return [self._part(part, end) for part, end in zip(rows, (None, *ends[1:]), strict=True)]

    def _part(self, rows: splits.Ints, target_ends: npt.NDArray[np.int64] | None) -> Any:
        samples = self.inter_feat.interaction
        dataset = self.copy(LazyInteraction(Samples(samples.store, samples.fields, torch.from_numpy(rows))))
        dataset.target_ends = target_ends
        return dataset

    def _tell(self, what: str, none: Sequence[str]) -> None:
        """Log how the users were split; refuse a split that leaves no user for the phases ``none``."""
        name = self.config["protocol"]
        under = "" if name is None else f"protocol: '{name}' on "
        require(not none, f"{under}dataset '{self.dataset_name}' leaves no user for {', '.join(none)}; {what}")
        logging.getLogger().info(what)

    def targets(self, batch: Any) -> tuple[Tensor, Tensor]:
        """Row numbers and items ``[P]`` of the different targets of a batch, where they are several."""
        ends: Any = self.target_ends
        items, _ = self.history
        first = batch[HISTORY_ROW].numpy()
        number = ends[batch[self.uid_field].numpy()] - first
        pairs = np.column_stack([np.repeat(np.arange(len(first)), number), items[splits.ranges(first, number)]])
        rows, different = torch.from_numpy(np.unique(pairs.astype(np.int64), axis=0)).unbind(1)
        return rows, different

    # -- figures -------------------------------------------------------------------------------------------------------

    @property
    def avg_actions_of_users(self) -> Any:
        return self._average(self.uid_field, "avg_actions_of_users")

    @property
    def avg_actions_of_items(self) -> Any:
        return self._average(self.iid_field, "avg_actions_of_items")

    def _average(self, field: str, name: str) -> Any:
        if isinstance(self.inter_feat, pd.DataFrame):
            return getattr(super(), name)
        counts = np.bincount(self.inter_feat[field].numpy())
        return np.mean(counts[counts > 0])


def _span(times: pd.Series) -> float:
    """From the oldest to the newest of ``times`` [n]; 0 of none."""
    return float(times.max() - times.min()) if len(times) else 0.0
