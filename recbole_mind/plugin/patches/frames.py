"""RecBole's data sets on pandas 3, whose frames copy on write."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from recbole.utils import FeatureType

from recbole_mind.plugin.patches.patch import Patch, Replace, Wrap

_FOLDER = "recbole.data.dataset"
_DATASET = f"{_FOLDER}.dataset:Dataset"

# -- sequences -----------------------------------------------------------------------------------------------------


def _counts_rows() -> bool:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of pandas 2
        return not isinstance(pd.Series([[0]]).agg(len), pd.Series)


def lengths(values: Any) -> Any:
    """The length of anything; of a column of sequences, ``[N]``, that of each."""
    return values.map(len) if isinstance(values, pd.Series) else len(values)


SEQUENCE_LENGTHS = Patch("sequence_lengths", since="pandas 3.0", needed=_counts_rows,
    fault="a column of sequences is measured with agg(len), which counts its rows: no such feature can be read",
    cure="each row is measured",
    changes=tuple(  # in place of Python's
        Replace(f"{_FOLDER}.{module}:len", lengths) for module in ("dataset", "kg_dataset", "sequential_dataset")
    ))  # fmt: skip

# -- copies on write -----------------------------------------------------------------------------------------------


def _copies_on_write() -> bool:
    return not pd.DataFrame({"a": [0.0]})["a"].to_numpy().flags.writeable


def fill_missing(dataset: Any) -> None:
    """What RecBole's ``Dataset._fill_nan`` does: padding for a missing token, the mean for a number."""
    for frame in (getattr(dataset, name) for name in dataset.feat_name_list):
        for field in frame:
            kind, column = dataset.field2type[field], frame[field]
            if kind in (FeatureType.TOKEN, FeatureType.FLOAT):
                frame[field] = column.fillna(0 if kind == FeatureType.TOKEN else column.mean())
            else:
                empty = np.zeros(0, np.int64 if kind == FeatureType.TOKEN_SEQ else np.float64)
                frame[field] = [empty if isinstance(values, float) else values for values in column]


MISSING_VALUES = Patch("missing_values", since="pandas 3.0", needed=_copies_on_write,
    fault="missing features are filled in a copy: NaN stays, in silence", cure="filled in the frame",
    changes=(Replace(f"{_DATASET}._fill_nan", fill_missing),))  # fmt: skip


class _Writable:
    """A frame whose columns give copies of their values."""

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame

    def __iter__(self) -> Iterator[str]:
        return iter(self._frame)

    def __getitem__(self, field: str) -> Any:
        return SimpleNamespace(values=self._frame[field].to_numpy(copy=True))


def from_copies(original: Callable[..., Any], dataset: Any, frame: Any) -> Any:
    """The columns of a frame as tensors with memory of their own."""
    return original(dataset, _Writable(frame))


WRITABLE_VALUES = Patch("writable_values", since="pandas 3.0", needed=_copies_on_write,
    fault="tensors are made of values that are read-only, about which torch warns", cure="made of copies",
    changes=(Wrap(f"{_DATASET}._dataframe_to_interaction", from_copies),))  # fmt: skip
