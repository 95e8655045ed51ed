"""The figures of an experiment in words, for a terminal and a page."""

from __future__ import annotations

from recbole_mind.analysis.ab_test.comparison import Comparison
from recbole_mind.analysis.ab_test.statistics import LEVEL, MISMATCH, Difference, Rates


def channel_words(rates: Rates) -> tuple[str, str, str]:
    """Users, impressions and clicks."""
    return f"{rates.users:,}", f"{rates.impressions:,}", f"{rates.clicks:,}"


def rate_words(rates: Rates, rate: str) -> str:
    """A rate and its interval, in percent."""
    one = getattr(rates, rate)
    return f"{one.value:.2%} ({100 * one.low:.2f}–{100 * one.high:.2f})"


def difference_words(one: Difference) -> tuple[str, str, str, str, str]:
    """Difference, interval, relative difference, p and what could be detected."""
    relative = "–" if one.relative is None else f"{one.relative:+.1%}"
    p = "–" if one.p is None else f"{one.p:.4f}" if one.p >= 0.001 else "< .001"
    detectable = "–" if one.detectable is None else f"{one.detectable:.2%}"
    between = f"{100 * one.difference.low:+.2f} to {100 * one.difference.high:+.2f}"
    return f"{one.difference.value:+.2%}", between, relative, p, detectable


def significant(one: Difference) -> bool:
    """Whether a difference is beyond chance."""
    return one.p is not None and one.p < LEVEL


def shares_words(found: Comparison) -> str:
    """Whether the users are as they were assigned."""
    shares = ", ".join(f"{name} {share:.1%}" for name, share in found.shares.items())
    assert found.mismatch is not None  # noqa: S101 - there are several channels
    if found.mismatch < MISMATCH:
        return (
            f"sample-ratio mismatch: users were to be {shares}, and are not (p = {found.mismatch:.1g}): find out why "
            "before you believe a difference"
        )
    return f"users as assigned: {shares} (p = {found.mismatch:.2g})"
