"""An experiment judged: each channel's rates, by day too, and its difference from the control."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from recbole_mind.analysis.ab_test.events import Impressions
from recbole_mind.analysis.ab_test.statistics import Difference, Estimate, Rates, difference, mismatch, rates
from recbole_mind.errors import nearest, require
from recbole_mind.util.multiple_tests import holm

RATES = {"pvctr": "clicks by impression", "uvctr": "users who clicked"}
_BY_DAY = 2000  # resamplings of a day's interval


@dataclass(frozen=True)
class Comparison:
    """What an experiment came to.

    Attributes:
        control: the channel that others are compared with.
        channels: the rates of each.
        differences: by channel but the control, by rate; p corrected for the number of channels (Holm).
        mismatch: p of the numbers of users, if they were assigned by ``shares``; ``None`` with one channel.
        shares: of the users, by channel; they sum to 1.
        days: the rates of each channel on each day that it has.
        left_out: what of the log does not count, by reason.
    """

    control: str
    channels: dict[str, Rates]
    differences: dict[str, dict[str, Difference]]
    mismatch: float | None
    shares: dict[str, float]
    days: dict[date, dict[str, Rates]]
    left_out: dict[str, int]


def compare(
    log: Impressions, *, control: str | None = None, shares: Mapping[str, float] | None = None, seed: int = 1
) -> Comparison:
    """Judge a log.

    Args:
        log: what was shown and clicked.
        control: the channel to compare with; of a log with one channel, that one.
        shares: how users were assigned to channels; alike by default.
        seed: of the resamplings.

    Raises:
        InputError: a channel that the log does not have, or no control where there are several.
    """
    names = [log.channels[place] for place in np.unique(log.channel)]
    have = f"the log has {', '.join(names)}"
    if control is None:
        require(len(names) == 1, f"control: there are several channels; {have}")
        control = names[0]
    shares = dict.fromkeys(names, 1.0) if shares is None else dict(shares)
    for key, given in (("control", [control]), ("share", list(shares))):
        for name in given:
            require(name in names, f"{key}: '{name}' is no channel of the log{nearest(name, names)}; {have}")
    lacking = [name for name in names if name not in shares]
    require(not lacking, f"share: '{lacking[0] if lacking else ''}' has none; {have}")

    found = {
        name: rates(*log.by_user(log.channels.index(name)), seed=[seed, place]) for place, name in enumerate(names)
    }
    whole = sum(shares.values())
    return Comparison(
        control=control,
        channels=found,
        differences=_differences(found, control),
        mismatch=mismatch([found[name].users for name in names], [shares[name] for name in names])
        if len(names) > 1
        else None,
        shares={name: shares[name] / whole for name in names},
        days=_days(log, names, seed),
        left_out=log.left_out,
    )


def as_json(found: Comparison) -> dict[str, Any]:
    """The figures, without the resamplings."""

    def plain(value: Any) -> Any:
        if isinstance(value, Estimate):
            return value._asdict()
        if isinstance(value, (Rates, Difference)):
            return {name: plain(part) for name, part in vars(value).items() if name != "resampled"}
        if isinstance(value, dict):
            return {str(name): plain(part) for name, part in value.items()}
        return value

    whole: dict[str, Any] = plain(vars(found))
    return whole


def _differences(found: dict[str, Rates], control: str) -> dict[str, dict[str, Difference]]:
    others = [name for name in found if name != control]
    differences: dict[str, dict[str, Difference]] = {name: {} for name in others}
    for rate in RATES:
        made = [difference(found[name], found[control], rate, channels=len(others)) for name in others]
        corrected = iter(holm([one.p for one in made if one.p is not None]))
        for name, one in zip(others, made, strict=True):
            differences[name][rate] = one if one.p is None else replace(one, p=next(corrected))
    return differences


def _days(log: Impressions, names: list[str], seed: int) -> dict[date, dict[str, Rates]]:
    days: dict[date, dict[str, Rates]] = {}
    for place, day in enumerate(log.days):
        days[day] = {}
        for number, name in enumerate(names):
            impressions, clicks = log.by_user(log.channels.index(name), place)
            if len(impressions):
                days[day][name] = rates(impressions, clicks, seed=[seed, number, place], resamplings=_BY_DAY)
    return days
