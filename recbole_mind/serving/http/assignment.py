"""Who has which channel: a keyed hash of the user against shares that a file may change while the service runs."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import secrets
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Annotated

from pydantic import RootModel

from recbole_mind.config import loading, specification
from recbole_mind.config.specification import Number
from recbole_mind.errors import InputError, nearest, require
from recbole_mind.serving.http.followed_file import FollowedFile
from recbole_mind.serving.http.metrics import Metrics
from recbole_mind.serving.key_file import read_or_make

logger = logging.getLogger(__name__)
CHANNEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}")
_BITS = 53  # of a hash: as many as a float holds, so that no number is rounded up to 1
_ROUNDED = 0.005  # by which shares that somebody wrote down may miss 1


class SharesFile(RootModel[dict[str, Annotated[float, Number(0, 1)]]]):
    """The share of the users of each channel."""


def check_name(channel: str) -> None:
    """Raise :class:`InputError` unless ``channel`` may be the name of one."""
    good = CHANNEL.fullmatch(channel) is not None
    require(good, f"channel: '{channel}' is not allowed; allowed: up to 32 of A-Z a-z 0-9 _ -")


def read_shares(path: Path, channels: Sequence[str]) -> list[float]:
    """The share of each channel, of a YAML file with a line ``channel: share`` for each.

    Raises:
        InputError: it cannot be read, names others than the channels, or the shares do not add up to 1.
    """
    called = f"shares '{path}'"
    given = specification.read(SharesFile, loading.read_file(path), called).root
    for name in given:
        known = ", ".join(channels)
        require(name in channels, f"{called}: '{name}' is no channel{nearest(name, channels)}; allowed: {known}")
    for name in channels:
        require(name in given, f"{called}: channel '{name}' is missing; allowed: 0 for no user")
    total = sum(given.values())
    require(abs(total - 1) < _ROUNDED, f"{called}: the shares add up to {total:g}; allowed: 1")
    return [given[name] for name in channels]


class Assignment:
    """The channel of each user, the same in every process that has the key, the channels in this order and the shares.

    A user is a number from 0 to 1, the keyed hash of the experiment's name and theirs, and the channels part that line
    in their order. So where shares change, those users move whose number a border passes, and no others: between two
    channels as few as can be.

    Args:
        channels: their names, in order.
        key: a file of the secret key, which is made if it is not there.
        experiment: its name; users are dealt anew for another one.
        shares: a file of each channel's share, followed; ``None`` for equal ones.
        metrics: where readings of it are counted.

    Raises:
        InputError: a file cannot be used, or a name is none.
    """

    def __init__(
        self, channels: Sequence[str], key: Path, experiment: str, shares: Path | None, metrics: Metrics
    ) -> None:
        for name in channels:
            check_name(name)
        self.channels, self._metrics = tuple(channels), metrics
        self._prefix = experiment.encode() + b"\0"
        self._file: FollowedFile[list[float]] | None = None
        given = [1 / len(self.channels)] * len(self.channels)
        if shares is not None:
            self._file = FollowedFile(shares, lambda path: read_shares(path, self.channels))
            given = self._file.content
        self._borders = self._deal(given)
        self._key = read_or_make(key, "assignment-key", "users are dealt anew")

    def channel(self, user: str | None) -> str:
        """The channel of a user; of nobody in particular one at random, as often as the shares say."""
        point = secrets.randbits(_BITS) / 2**_BITS if user is None else self.point(user)
        return self.channels[bisect_right(self._borders, point)]

    def point(self, user: str) -> float:
        """The number of a user, from 0 to below 1."""
        found = hmac.digest(self._key, self._prefix + user.encode(), hashlib.sha256)
        return (int.from_bytes(found[:8], "big") >> (64 - _BITS)) / float(2**_BITS)

    def look(self) -> None:
        """Take new shares if their file has changed; where it cannot be used, the old ones stay."""
        if self._file is None:
            return
        try:
            if not self._file.look():
                return
            self._borders = self._deal(self._file.content)  # one assignment
        except Exception as error:  # whatever it is, requests go on
            known = isinstance(error, InputError)
            self._metrics.shares.labels("failed").inc()
            logger.error("the shares stay: %s", error if known else InputError(f"{type(error).__name__}: {error}"))
        else:
            self._metrics.shares.labels("done").inc()

    def reload(self) -> None:
        """Have the file read at the next look, whether it changed or not; for a signal's handler."""
        if self._file is not None:
            self._file.forget()

    def _deal(self, shares: Sequence[float]) -> list[float]:
        """Where each channel's part of the line ends: the last one's at 1."""
        for name, share in zip(self.channels, shares, strict=True):
            self._metrics.channel_share.labels(name).set(share)
        logger.info("shares: %s", ", ".join(f"{n} {share:g}" for n, share in zip(self.channels, shares, strict=True)))
        ends = list(accumulate(shares))
        return [end / ends[-1] for end in ends]
