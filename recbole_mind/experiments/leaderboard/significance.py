"""Whether two models differ by more than chance: per-user metrics of runs, a paired test.

Shape legend: R users (rows of evaluation data), k places of the ranked list.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy import stats

from recbole_mind.errors import require
from recbole_mind.evaluation.hits import Bools, Doubles

EXACT = 300  # differing users up to whom the test's distribution is counted out; the normal curve fits above
DECIMALS = 12  # beyond which means of equal values differ by float64 rounding alone


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
