"""The hits of each user of an evaluation, in a file, and the metrics that are means over users."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, require
from recbole_mind.util.files import open_regular, write_atomic

Bools = npt.NDArray[np.bool_]


Ints = npt.NDArray[np.int64]


Doubles = npt.NDArray[np.float64]


FORMAT = "recbole-mind hits 1"


LARGEST = 2**31  # bytes of a file of hits, unpacked: 20 million users, 500 places each


@dataclass(frozen=True, eq=False)
class Hits:
    """What one run found for each user.

    Attributes:
        found: ``[R, k]`` whether the item at each place of the ranked list is a target.
        numbers: ``[R]`` targets of each user, at least 1.
        users: which users these are, in which order: a sha256. Only runs with the same text are compared.

    Raises:
        InputError: the shapes do not belong together, or more is found than there is.
    """

    found: Bools
    numbers: Ints
    users: str

    def __post_init__(self) -> None:
        R = len(self.numbers)
        fits = self.found.dtype == np.bool_ and self.found.ndim == 2 and self.found.shape[0] == R
        fits = fits and self.found.size > 0 and np.issubdtype(self.numbers.dtype, np.integer)
        require(fits, "found, numbers: allowed: [R, k] booleans and [R] whole numbers, R and k at least 1")
        good = bool(self.numbers.min() >= 1 and (self.found.sum(1) <= self.numbers).all())
        require(good, "numbers: allowed: at least 1, and no fewer than are found")

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` of packed bits, atomically and without pickle.

        Raises:
            InputError: it cannot be written.
        """
        arrays: dict[str, Any] = {
            "format": np.array(FORMAT),
            "users": np.array(self.users),
            "shape": np.array(self.found.shape, np.int64),
            "found": np.packbits(self.found),
            "numbers": self.numbers.astype(np.int64),
        }
        write_atomic(path, lambda file: np.savez_compressed(file, **arrays))

    @classmethod
    def load(cls, path: str | Path) -> Hits:
        """Read what :meth:`save` wrote.

        Raises:
            InputError: the file is missing, corrupt, truncated or no such file.
        """
        try:
            with open_regular(path) as file, np.load(file, allow_pickle=False) as archive:
                declared = sum(entry.file_size for entry in archive.zip.infolist())
                require(declared <= LARGEST, f"hits '{path}' are corrupt: they come to {declared:,} bytes")
                require(str(archive["format"]) == FORMAT, f"'{path}' is not a file of hits that this release reads")
                R, k = archive["shape"].tolist()
                packed = archive["found"]
                require(0 < R * k <= 8 * packed.size, "its shape is another than what it holds")
                found = np.unpackbits(packed, count=R * k).reshape(R, k).astype(np.bool_)
                return cls(found, archive["numbers"].astype(np.int64), str(archive["users"]))
        except OSError as error:
            raise InputError(f"hits '{path}' cannot be read: {error.strerror or error}") from None
        except InputError as error:
            raise error if str(path) in str(error) else InputError(f"hits '{path}' is corrupt: {error}") from None
        except Exception:  # numpy, zipfile, zlib and tokenize have no common word for a file that is not theirs
            raise InputError(f"hits '{path}' is corrupt or not a file of hits") from None


def _mrr(found: Bools, numbers: Ints) -> Doubles:
    result: Doubles = np.where(found.any(1), 1 / (found.argmax(1) + 1), 0.0)
    return result


def _ndcg(found: Bools, numbers: Ints) -> Doubles:
    discount = 1 / np.log2(np.arange(found.shape[1]) + 2)
    ideal: Doubles = discount.cumsum()[np.minimum(numbers, len(discount)) - 1]
    gained: Doubles = (found * discount).sum(1)
    return gained / ideal


def _map(found: Bools, numbers: Ints) -> Doubles:
    precision = found.cumsum(1) / np.arange(1, found.shape[1] + 1)
    total: Doubles = (precision * found).sum(1)
    result: Doubles = total / np.minimum(numbers, found.shape[1])
    return result


METRICS: dict[str, Callable[[Bools, Ints], Doubles]] = {
    "recall": lambda found, numbers: found.sum(1) / numbers,
    "hit": lambda found, numbers: found.any(1).astype(np.float64),
    "precision": lambda found, numbers: found.mean(1),
    "mrr": _mrr,
    "ndcg": _ndcg,
    "map": _map,
}


def is_per_user(metric: str) -> bool:
    """Whether ``metric`` is a mean over users of what :class:`Hits` hold, such as ``recall@10``."""
    name, _, k = metric.lower().partition("@")
    return name in METRICS and re.fullmatch("[1-9][0-9]*", k) is not None


def per_user(hits: Hits, metric: str) -> Doubles:
    """The metric of each user, ``[R]``, by the formulas of RecBole, whose metric is the mean.

    Args:
        metric: recall, hit, precision, mrr, ndcg or map, at k: ``recall@10``.

    Raises:
        InputError: another metric, or a k above the length of the lists.
    """
    require(is_per_user(metric), f"metric: '{metric}' is not allowed; allowed: {', '.join(METRICS)}, each with @k")
    name, _, k = metric.lower().partition("@")
    width = hits.found.shape[1]
    require(int(k) <= width, f"metric: '{metric}' is not allowed; allowed: @1 to @{width}, the length of the lists")
    return METRICS[name](hits.found[:, : int(k)], hits.numbers)


def mean_per_user(runs: Sequence[Hits], metric: str) -> Doubles:
    """The metric of each user, averaged over runs on the same users, ``[R]``."""
    total = per_user(runs[0], metric)
    for run in runs[1:]:
        total = total + per_user(run, metric)
    return total / len(runs)
