"""Whether two models differ by more than chance: per-user metrics of runs, a paired test, Holm's correction.

Shape legend: R users (rows of evaluation data), k places of the ranked list.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy import stats

from recbole_mind.errors import InputError, require
from recbole_mind.files import open_regular, write_atomic

Bools = npt.NDArray[np.bool_]
Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

FORMAT = "recbole-mind hits 1"
EXACT = 300  # differing users up to whom the test's distribution is counted out; the normal curve fits above
LARGEST = 2**31  # bytes of a file of hits, unpacked: 20 million users, 500 places each
DECIMALS = 12  # beyond which means of equal values differ by float64 rounding alone


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
        good = self.numbers.min() >= 1 and bool((self.found.sum(1) <= self.numbers).all())
        require(good, "numbers: allowed: at least 1, and no fewer than are found")

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` of packed bits, atomically and without pickle.

        Raises:
            InputError: it cannot be written.
        """
        arrays = {
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


@dataclass(frozen=True)
class Comparison:
    """A model against a baseline on the same users.

    Attributes:
        difference: mean over users of the model's metric less the baseline's.
        p: of the two-sided Wilcoxon signed-rank test.
        effect: matched-pairs rank-biserial correlation, from -1 (every differing user is worse off) to 1.
        users: compared, of whom ``wins`` are better off with the model and ``losses`` with the baseline.
    """

    difference: float
    p: float
    effect: float
    users: int
    wins: int
    losses: int


def mean_per_user(runs: Sequence[Hits], metric: str) -> Doubles:
    """The metric of each user, averaged over runs on the same users, ``[R]``."""
    total = per_user(runs[0], metric)
    for run in runs[1:]:
        total = total + per_user(run, metric)
    return total / len(runs)


def compare(ours: Doubles, baseline: Doubles) -> Comparison:
    """Test values of each user, ``[R]`` each, paired over users: :func:`mean_per_user` of two models.

    The test is Wilcoxon's signed-rank test, two-sided. Most differences are zero, as most users have no hit with
    either model, and zeros are left out (``zero_method="wilcox"``): given which users differ, the signs of their
    differences are by chance if the models are alike, whatever the zeros. Pratt's way ranks the zeros too; where they
    are nearly all, every other rank is nearly the same and the size of a difference no longer counts. Up to 300
    differing users the distribution is counted out, ties included: most differences have one of few sizes, and the
    normal curve is too bold for such steps (32 equal wins and 18 losses: .048 in place of .065). Above, it is scipy's
    normal approximation with corrections for ties and for continuity. Models with the same values have p = 1.

    The test says whether other users would be better off too. It does not know the spread over seeds that were not run.

    Raises:
        InputError: the numbers of users differ.
    """
    require(ours.shape == baseline.shape, "compare: the runs have different test users")
    # equal values that were averaged differ in their last digit, which would make winners and break ties of rank
    difference = np.round(ours - baseline, DECIMALS)
    differing = difference[difference != 0]
    effect, p = 0.0, 1.0
    if len(differing):
        ranks = stats.rankdata(np.abs(differing))
        effect = float((ranks * np.sign(differing)).sum() / ranks.sum())
        p = (
            _exact_p(ranks, differing > 0)
            if len(differing) <= EXACT
            else float(stats.wilcoxon(differing, correction=True).pvalue)
        )
    return Comparison(
        difference=float(difference.mean()),
        p=p,
        effect=effect,
        users=len(difference),
        wins=int((differing > 0).sum()),
        losses=int((differing < 0).sum()),
    )


def _exact_p(ranks: Doubles, positive: Bools) -> float:
    """Two-sided p of the sum of the positive ranks, every choice of signs being as likely.

    Ties share their mean rank, so ranks are counted in halves; ``chance[s]`` is that of a sum of s halves.
    """
    halves = np.rint(2 * ranks).astype(np.int64)
    chance = np.zeros(int(halves.sum()) + 1)
    chance[0] = 1
    for rank in halves:
        chance[rank:] = chance[rank:] + chance[:-rank]
        chance /= 2
    found = int(halves[positive].sum())
    return float(min(1.0, 2 * chance[: found + 1].sum(), 2 * chance[found:].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values corrected for their number by Holm's step-down method (1979), in the order given.

    The i-th smallest of m (i from 0) times m - i, at most 1, and never below the corrected one before it.

    Raises:
        InputError: a value is not within 0 and 1.
    """
    for p in p_values:
        require(0 <= p <= 1, f"p: {p} is not allowed; allowed: 0 to 1")
    corrected = [0.0] * len(p_values)
    lowest = 0.0
    for i, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        lowest = max(lowest, min(1.0, (len(p_values) - i) * p_values[place]))
        corrected[place] = lowest
    return corrected
