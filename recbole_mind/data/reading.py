"""What RecBole's data sets read of their files, and what they leave out of it, counted by reason."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from recbole.utils import FeatureSource, FeatureType

from recbole_mind.config.checks import by_window
from recbole_mind.data import atomic_file, window
from recbole_mind.data.atomic_file import Clock, Column, Format
from recbole_mind.data.counts import Counts, describe
from recbole_mind.errors import nearest, require


def clock_of(config: Any) -> Clock | None:
    """The time that orders the interactions; ``None`` where nothing asks for their order."""
    split = config["benchmark_filename"] is not None
    by_time = config["MODEL_TYPE"].name == "SEQUENTIAL" or config["eval_args"]["order"] == "TO"
    asked = (by_time and not split) or by_window(config) or config["rm_dup_inter"] is not None
    if not asked or not config["TIME_FIELD"]:
        return None
    return Clock(config["TIME_FIELD"], config["USER_ID_FIELD"], config["ITEM_ID_FIELD"])


def chosen_columns(dataset: Any, path: str | Path, source: Any, form: Format) -> tuple[list[Column], int]:
    """The columns of a file that the settings load, and how many there are.

    Raises:
        InputError: the first line is wrong, or lacks a column that the user's ``load_col`` or ``unload_col`` names.
    """
    found = atomic_file.columns(path, form)
    fields = [column.field for column in found]
    for key in ("load_col", "unload_col"):
        given = dataset.config.external_config_dict.get(key) or {}
        names = given.get(getattr(source, "value", source)) if isinstance(given, dict) else None
        for name in names if isinstance(names, (list, tuple)) else ():
            known = name in fields or name in (dataset.config["TIME_FIELD"], dataset.config["LABEL_FIELD"])
            require(known, f"{key}: '{name}' is no column of '{path}'{nearest(name, fields)}")
    wanted = loaded(dataset.config, fields, getattr(source, "value", source))
    return [column for column in found if column.field in wanted], len(found)


def loaded(config: Any, fields: Iterable[str], source: str = "inter") -> list[str]:
    """Which of the fields of a file the settings load."""
    load, unload = config["load_col"], (config["unload_col"] or {}).get(source, ())
    wanted = None if load is None else load.get(source, ())
    return [field for field in fields if (wanted in (None, "*") or field in wanted) and field not in unload]


def check_files(config: Any) -> None:
    """Read what the settings load of a data set's files, to see whether it can be read; a split in files is not.

    Raises:
        InputError: it cannot; the same as when a data set is made of it.
    """
    form, stem = Format.of(config), Path(config["data_path"]) / config["dataset"]
    for source in ("inter", "item", "user"):
        path = Path(f"{stem}.{source}")
        packed = source == "inter" and config["packed"] is not False and path.with_suffix(".packed").is_dir()
        if not path.is_file() or packed:
            continue
        found = atomic_file.columns(path, form)
        fields = loaded(config, [column.field for column in found], source)
        chosen = [column for column in found if column.field in fields]
        clock = clock_of(config) if source == "inter" else None
        check_time(path, chosen, clock)
        if chosen:
            _check_file(path, form, tuple(chosen), clock, path.stat().st_mtime_ns)


@lru_cache(maxsize=64)  # the models of a leaderboard share their files
def _check_file(path: Path, form: Format, chosen: tuple[Column, ...], clock: Clock | None, _changed: int) -> None:
    for _ in atomic_file.chunks(path, form, chosen, clock):
        pass


def load_interactions(dataset: Any, token: str, folder: str) -> None:
    """What RecBole's ``Dataset._load_inter_feat`` does; files that are a split name the same columns.

    Raises:
        InputError: a file is missing, or another one than the rest.
    """
    names = dataset.benchmark_filename_list
    paths = [Path(folder) / f"{token}.{part}inter" for part in ([""] if names is None else [f"{n}." for n in names])]
    for path in paths:
        require(path.is_file(), f"dataset: there is no file '{path}'")
    frames: list[pd.DataFrame] = []
    lengths: dict[str, int] = {}
    for path in paths:
        frame = dataset._load_feat(str(path), FeatureSource.INTERACTION)
        require(frame is not None, f"load_col names no column of '{path}'")
        frames.append(frame)
        same = list(frame) == list(frames[0])
        require(same, f"benchmark_filename: '{path}' has columns {', '.join(frame)}, and '{paths[0]}' has "
                f"{', '.join(frames[0])}; allowed: the same in all files")  # fmt: skip
        lengths = {key: max(value, lengths.get(key, 0)) for key, value in dataset.field2seqlen.items()}
    if names is None:
        dataset.inter_feat = frames[0]
        return
    history = f"{dataset.iid_field}{dataset.config['LIST_SUFFIX']}"
    listed = (
        dataset.field2type.get(history) == FeatureType.TOKEN_SEQ or dataset.config["MODEL_TYPE"].name != "SEQUENTIAL"
    )
    require(listed, f"benchmark_filename: '{paths[0]}' brings no column '{history}:token_seq', each row's history; "
            "see load_col")  # fmt: skip
    dataset.field2seqlen = defaultdict(int, lengths)
    dataset.counts = Counts({"interactions": sum(map(len, frames))})
    for place, dataset.inter_feat in enumerate(frames):  # RecBole would take the missing ones for padding
        leave_out_missing(dataset)
        frames[place] = dataset.inter_feat
    dataset.inter_feat, dataset.file_size_list = pd.concat(frames, ignore_index=True), [len(frame) for frame in frames]
    dataset.counts.kept = totals(dataset)
    dataset.counts.read |= {key: dataset.counts.kept[key] for key in ("users", "items")}


def load_feat(dataset: Any, path: str, source: Any) -> pd.DataFrame | None:
    """What RecBole's ``Dataset._load_feat`` does, with every character of the file as it stands.

    Raises:
        InputError: the file cannot be read; it names the line.
    """
    load, _ = dataset._get_load_and_unload_col(source)
    if load == set():
        return None
    form = Format.of(dataset.config)
    chosen, _ = chosen_columns(dataset, path, source, form)
    if not chosen:
        logging.getLogger().warning(f"load_col names no column of '{path}', which is not read")
        return None
    clock = clock_of(dataset.config) if source == FeatureSource.INTERACTION else None
    check_time(path, chosen, clock)
    frame = atomic_file.read(path, form, chosen, clock)
    limits = dataset.config["seq_len"] or {}
    for column in chosen:
        set_properties(dataset, column, source, clock)
        if column.kind.endswith("_seq"):
            if column.field in limits:
                frame[column.field] = [values[: limits[column.field]] for values in frame[column.field]]
            dataset.field2seqlen[column.field] = max(map(len, frame[column.field]))
    return frame


def check_time(path: str | Path, chosen: list[Column], clock: Clock | None) -> None:
    """Refuse a time of several values."""
    for column in chosen:
        single = clock is None or column.field != clock.time or not column.kind.endswith("_seq")
        require(single, f"'{path}', line 1: '{column.field}' orders the interactions, and cannot be of type "
                f"{column.kind}; allowed: float, token")  # fmt: skip


def set_properties(dataset: Any, column: Column, source: Any, clock: Clock | None) -> None:
    """Tell a data set of a column that it has read, as RecBole does; a time is a number, whatever its type."""
    if source == "link":
        return
    is_time = clock is not None and column.field == clock.time
    kind = FeatureType.FLOAT if is_time else FeatureType(column.kind)
    dataset.field2source[column.field] = source
    dataset.field2type[column.field] = kind
    if not kind.value.endswith("seq"):
        dataset.field2seqlen[column.field] = 1
    if "float" in kind.value:
        dataset.field2bucketnum[column.field] = 2


# -- filters -------------------------------------------------------------------------------------------------------


def totals(dataset: Any) -> dict[str, int]:
    """Interactions of a data set that is being read, and the users and items that occur in them."""
    frame = dataset.inter_feat
    found = {"interactions": len(frame)}
    for name, column in (("users", dataset.uid_field), ("items", dataset.iid_field)):
        if column in frame:
            found[name] = int(frame[column].nunique())
    return found


def filter_data(dataset: Any) -> None:
    """What RecBole's ``Dataset._data_filtering`` does, counted, on what is in the window and pool."""
    dataset.counts = Counts({"interactions": len(dataset.inter_feat)})
    leave_out_missing(dataset)
    dataset.counts.read |= {key: value for key, value in totals(dataset).items() if key != "interactions"}
    steps: list[tuple[str, Callable[[], None]]] = [
        ("outside the window", lambda: window.apply_window(dataset)),
        ("not in item_pool", lambda: window.apply_pool(dataset)),
        ("repeated (rm_dup_inter)", dataset._remove_duplication),
        ("outside val_interval", dataset._filter_by_field_value),
    ]
    for reason, step in steps:
        _count(dataset, reason, step)
    leave_out_strangers(dataset)
    _count(dataset, "outside user_inter_num_interval or item_inter_num_interval", dataset._filter_by_inter_num)
    require(len(dataset.inter_feat) > 0, f"dataset: no interaction of '{dataset.dataset_name}' is left: "
            f"{describe(dataset.counts.record() | {'kept': totals(dataset)})}")  # fmt: skip
    dataset._reset_index()
    dataset.counts.kept = totals(dataset)


def _count(dataset: Any, reason: str, step: Callable[[], None]) -> None:
    before = len(dataset.inter_feat)
    step()
    dataset.counts.leave_out(reason, before - len(dataset.inter_feat))


def leave_out_missing(dataset: Any) -> None:
    """Leave out rows without a user or an item; RecBole's own takes the wrong ones where both are missing."""
    frame = dataset.inter_feat
    gone = pd.Series(False, index=frame.index)
    for column, name in ((dataset.uid_field, "user"), (dataset.iid_field, "item")):
        feat = getattr(dataset, f"{name}_feat", None)
        if feat is not None:
            setattr(dataset, f"{name}_feat", feat.drop(feat.index[feat[column].isnull()]))
        if column is not None:
            gone |= frame[column].isnull()
    _leave_out(dataset, gone, "without a user or an item", "; '', NA, null and the like count as missing")


def leave_out_strangers(dataset: Any) -> None:
    """Leave out interactions whose user or item is not in the file of users or items, where the settings ask for it."""
    if dataset.config["filter_inter_by_user_or_item"] is not True:
        return
    for column, name in ((dataset.uid_field, "user"), (dataset.iid_field, "item")):
        feat = getattr(dataset, f"{name}_feat")
        if feat is not None:
            gone = ~dataset.inter_feat[column].isin(feat[column].values)
            _leave_out(dataset, gone, f"whose {column} is not in {dataset.dataset_name}.{name}")


def _leave_out(dataset: Any, gone: Any, reason: str, hint: str = "") -> None:
    """Leave out the interactions that are ``gone`` [N], count them, and say so."""
    number, frame = int(gone.sum()), dataset.inter_feat
    dataset.counts.leave_out(reason, number)
    if number:
        text = f"'{dataset.dataset_name}': {number:,} of {len(frame):,} interactions are left out, {reason}{hint}"
        logging.getLogger().warning(text)
        dataset.inter_feat = frame.drop(frame.index[gone])
