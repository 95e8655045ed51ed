"""RecBole's sequential data set on a ``packed_file.Pack``: columns on disk instead of a text file.

What RecBole may do to interactions while it reads them (leave some out, normalise their numbers), nobody can do to a
pack; settings that ask for it are refused.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from recbole.utils import FeatureSource, FeatureType

from recbole_mind.data import atomic_file, reading
from recbole_mind.data.atomic_file import Format
from recbole_mind.data.counts import Counts
from recbole_mind.data.dataset import SequentialDataset
from recbole_mind.data.history_store import Store
from recbole_mind.data.packed_file import Layout, Pack, Watch
from recbole_mind.data.packing import BLOCK, pack
from recbole_mind.errors import InputError, require


def source_of(config: Any) -> Path:
    """The text file of a data set."""
    return Path(config["data_path"]) / f"{config['dataset']}.inter"


def pack_data(config: Any, output: str | Path | None = None, watch: Watch | None = None) -> Pack:
    """Pack what the settings load of a data set's ``.inter`` file.

    Args:
        config: RecBole's.
        output: the folder; beside the file, with ``.packed`` for ``.inter``, if it is not said.
        watch: see :func:`recbole_mind.data.packing.pack`.

    Raises:
        InputError: the file cannot be packed.
    """
    source, form = source_of(config), Format.of(config)
    require(source.is_file(), f"'{source}' is not there; data_path is the folder that holds '{config['dataset']}/'")
    key, value = ("encoding", form.encoding) if form.encoding != "utf-8" else ("field_separator", form.separator)
    require(form.plain, f"{key}: {value!r} cannot be packed; allowed: utf-8, and one ASCII character as separator")
    columns = atomic_file.columns(source, form)
    loaded = reading.loaded(config, [column.field for column in columns])
    _check_unchanged(config, loaded, "cannot be packed: a pack holds the interactions of the file as they are")
    for key in ("user_inter_num_interval", "item_inter_num_interval"):
        whole = config[key] in (None, "[0,inf)")
        require(whole, f"{key}: {config[key]!r} cannot be packed: a pack holds every interaction; allowed: [0,inf)")
    layout = Layout(
        columns=columns,
        loaded=loaded,
        separator=form.separator,
        user=config["USER_ID_FIELD"],
        item=config["ITEM_ID_FIELD"],
        time=config["TIME_FIELD"],
    )
    return pack(source, output or source.with_suffix(".packed"), layout, watch)


def chosen(config: Any) -> Pack | None:
    """The pack that ``packed`` names, or the one beside the text file; ``None`` if the text is to be read.

    Raises:
        InputError: the named pack cannot be used. One that nobody named is passed over, with a line in the log.
    """
    named, source = config["packed"], source_of(config)
    folder = source.with_suffix(".packed") if named is None else Path(str(named))
    if named is False or (named is None and not folder.is_dir()):
        return None
    try:
        found = Pack.open(folder)
        found.check_source(source)
        check_settings(config, found)
    except InputError as error:
        if named is not None or not source.is_file():
            raise
        logging.getLogger().warning(f"{error}; '{source}' is read instead")
        return None
    return found


def check_settings(config: Any, found: Pack) -> None:
    """Raise :class:`InputError`, naming the key, unless the settings leave the interactions as they are in a pack."""
    what = f"does not go with pack '{found.folder}'"
    for key, value in (("USER_ID_FIELD", found.user), ("ITEM_ID_FIELD", found.item), ("TIME_FIELD", found.time)):
        require(config[key] == value, f"{key}: {config[key]!r} {what}; allowed: {value}")
    order = config["timestamp_order"]
    require(order == "data", f"timestamp_order: {order!r} {what}, which is sorted by the file's time; allowed: data")
    _check_unchanged(config, found.fields, f"{what}; packed: False reads the text file")
    for field in reading.loaded(config, found.heading):
        known = field in found.fields
        require(known, f"load_col: field '{field}' is not in pack '{found.folder}'; pack it again with that field")


def _check_unchanged(config: Any, fields: Iterable[str], what: str) -> None:
    """Raise :class:`InputError` where RecBole would leave out interactions, or change their ``fields``."""
    for key in ("rm_dup_inter", "threshold", "normalize_all", "window_days", "window_end", "item_pool"):
        require(not config[key], f"{key}: {config[key]!r} {what}")
    own = {"alias_of_user_id": config["USER_ID_FIELD"], "alias_of_item_id": config["ITEM_ID_FIELD"]}
    for key in ("val_interval", "normalize_field", "numerical_features", "discretization", *own):
        touched = set(fields) & (set(config[key] or ()) - {own.get(key)})
        require(not touched, f"{key}: {config[key]!r} {what}")


def create(config: Any) -> SequentialDataset:
    """The data set that the settings ask for: on a pack, or read from the text.

    Raises:
        InputError: the file or the pack cannot be used.
    """
    found = chosen(config)
    return SequentialDataset(config) if found is None else PackedDataset(config, found)


class PackedDataset(SequentialDataset):
    """A sequential data set whose interactions stay on disk.

    Until its samples are made, ``inter_feat`` is a frame without rows, whose categories are the pack's tokens.
    """

    def __init__(self, config: Any, found: Pack) -> None:
        self.pack = found
        super().__init__(config)

    def _load_inter_feat(self, token: str, dataset_path: str) -> None:
        frame: dict[str, Any] = {}
        for field in reading.loaded(self.config, self.pack.fields):
            kind = self.pack.fields[field]
            self.set_field_property(field, FeatureType(kind), FeatureSource.INTERACTION, 1)
            frame[field] = np.zeros(0)
            if kind == "float":
                self.field2bucketnum[field] = 2
            else:
                tokens = pd.Index(self.pack.texts(field), dtype=object)
                frame[field] = pd.Categorical.from_codes(np.zeros(0, np.int32), categories=tokens)
        self.inter_feat = pd.DataFrame(frame)

    def _data_filtering(self) -> None:
        """Filter the features of users and items as RecBole does; refuse what would leave out interactions."""
        pack = self.pack
        known = {"users": pack.tokens[pack.user], "items": pack.tokens[pack.item]}
        kept = {"interactions": pack.interactions, **known}
        self.counts = Counts({"interactions": pack.interactions + pack.missing, **known}, kept)
        self.counts.leave_out("without a user or an item", pack.missing)
        reading.leave_out_missing(self)
        self._filter_by_field_value()
        sides = ((self.uid_field, "user", self._user_counts), (self.iid_field, "item", self._item_counts))
        for field, name, counts in sides:
            names, feat_name = self.inter_feat[field].cat.categories, f"{name}_feat"
            feat = getattr(self, feat_name)
            if feat is not None and self.config["filter_inter_by_user_or_item"] is True:
                unknown = names.difference(feat[field])
                self._check_none("filter_inter_by_user_or_item", unknown, f"are not in '{self.dataset_name}.{name}'")
            key = f"{name}_inter_num_interval"
            bans, _ = self._banned(self._parse_intervals_str(self.config[key]), counts(), names, field, feat_name)
            self._check_none(key, names[bans], f"do not have {self.config[key]} interactions")
            if feat is not None:
                feat = getattr(self, feat_name).reset_index(drop=True)
                require(len(feat) > 0, f"{key}: '{self.config[key]}' leaves nothing of '{self.dataset_name}.{name}'")
                setattr(self, feat_name, feat)

    def _check_none(self, key: str, tokens: pd.Index, what: str) -> None:
        require(
            len(tokens) == 0,
            f"{key}: {len(tokens)} in pack '{self.pack.folder}' {what} ({', '.join(tokens[:3])}), and a pack stays "
            "whole; packed: False reads the text file",
        )

    def _user_counts(self) -> npt.NDArray[np.int64]:
        return np.diff(self.pack.offsets())[1:]

    def _item_counts(self) -> npt.NDArray[np.int64]:
        """How often each item occurs; id 0 is nobody's."""
        items = self.pack.column(self.iid_field)
        counts = np.zeros(len(self.inter_feat[self.iid_field].cat.categories) + 1, np.int64)
        for start in range(0, len(items), BLOCK):
            counts += np.bincount(items[start : start + BLOCK], minlength=len(counts))
        return counts[1:]

    def _numbered(self, column: Any) -> tuple[npt.NDArray[np.intp], Any]:
        return np.zeros(0, np.intp), np.asarray(column.cat.categories, object)

    def _store(self, fields: list[str]) -> Store:
        return _PackedStore(self.pack, fields, self.user_num, self.max_item_list_len)

    # -- figures -------------------------------------------------------------------------------------------------------

    @property
    def inter_num(self) -> int:
        return self.pack.interactions if isinstance(self.inter_feat, pd.DataFrame) else len(self.inter_feat)

    def _average(self, field: str, name: str) -> Any:
        if not isinstance(self.inter_feat, pd.DataFrame):
            return super()._average(field, name)
        return np.float64(self.pack.interactions / self.pack.tokens[field])


class _PackedStore(Store):
    """A store on a pack's columns, which is pickled as the name of the pack."""

    def __init__(self, found: Pack, fields: list[str], users: int, width: int) -> None:
        self.pack, self.fields, self.users = found, fields, users
        offsets = found.offsets()
        offsets = np.append(offsets, np.full(users + 1 - len(offsets), offsets[-1]))  # users without interactions
        columns = {field: torch.from_numpy(found.column(field)) for field in fields}
        super().__init__(columns, found.user, torch.from_numpy(offsets), width)

    def __reduce__(self) -> Any:
        return _reopened, (self.pack, self.fields, self.users, self.width)


def _reopened(before: Pack, fields: list[str], users: int, width: int) -> _PackedStore:
    now = Pack.open(before.folder)
    require(now == before, f"pack '{before.folder}' is another one than when this was saved")
    return _PackedStore(now, fields, users, width)
