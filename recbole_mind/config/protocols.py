"""Named evaluation protocols, settings in ``properties/protocol/``, and the splits that some of them make.

RecBole's splits give each target a list of its own. Two of ours rank one list for several targets: ``split: {US: ...}``
shares the users out, so that a test user is one that training has not seen; ``split: {LF: ...}`` takes each user's last
behaviours, a fraction of them, as the targets.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_mind.config import checks, loading
from recbole_mind.errors import nearest, require
from recbole_mind.util import json_text

_KEYS = ("ratios", "history", "seed")
_PARTS = ("valid", "test")


@dataclass(frozen=True)
class UserSplit:
    """What ``eval_args`` says of a split by users.

    Attributes:
        ratios: shares of the users for training, validation and test.
        history: of a held-out user the share of behaviours before the cut; ``None`` for all but the last.
        seed: of the permutation that decides which users go where; the run's seed does not.
    """

    ratios: tuple[float, float, float]
    history: float | None
    seed: int

    def __str__(self) -> str:
        shares = ":".join(f"{ratio:g}" for ratio in self.ratios)
        cut = "all but the last" if self.history is None else f"the first {100 * self.history:g}%"
        return f"users {shares} for training, validation, test (seed {self.seed}), {cut} of a held-out user as history"


@dataclass(frozen=True)
class LastFraction:
    """What ``eval_args`` says of a split that takes each user's last behaviours, a fraction of them, as targets.

    Attributes:
        valid, test: the fractions, above 0, below 1 together; the rest is for training.
    """

    valid: float
    test: float

    @property
    def ratios(self) -> tuple[float, float, float]:
        """Shares of a user's behaviours for training, validation and test."""
        return round(1 - self.valid - self.test, 12), self.valid, self.test

    def __str__(self) -> str:
        test, valid = f"{100 * self.test:g}%", f"{100 * self.valid:g}%"
        return f"of each user the last {test} of behaviours for the test, the {valid} before them for validation"


def known() -> list[str]:
    """Names of the protocols."""
    return loading.names("protocol")


def chosen(given: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of the protocol that the user's settings name, empty if they name none; the user's win over them.

    Raises:
        InputError: there is no such protocol, or the user's ``eval_args`` are not the protocol's.
    """
    name = given.get("protocol")
    if name is None:
        return {}
    checks.choice(given, "protocol", known())
    own = copy.deepcopy(loading.defaults("protocol", name))
    other = given.get("eval_args", own["eval_args"])  # a record holds both
    require(other == own["eval_args"], f"protocol: '{name}' sets eval_args, which is given too: {other}; leave one out")
    return own


def changed(in_force: Any) -> list[str]:
    """Which settings of the named protocol are not in force: others were given."""
    own = {} if in_force["protocol"] is None else loading.defaults("protocol", in_force["protocol"])
    return sorted(key for key, value in own.items() if json_text.plain(in_force[key]) != json_text.plain(value))


def _alone(eval_args: Any, kind: str) -> Mapping[str, Any] | None:
    """The split that ``eval_args`` asks for if it is of this ``kind``, beside which no other may stand."""
    split = eval_args.get("split") if isinstance(eval_args, Mapping) else None
    if not isinstance(split, Mapping) or kind not in split:
        return None
    others = ", ".join(key for key in split if key != kind)
    require(not others, f"eval_args: split {kind} stands beside {others}; leave one out")
    return split


def user_split(eval_args: Any) -> UserSplit | None:
    """The split by users that ``eval_args`` asks for; ``None`` if it asks for another one.

    Raises:
        InputError: its arguments are not understood.
    """
    split = _alone(eval_args, "US")
    if split is None:
        return None
    where, example, given = "eval_args: split US", "{ratios: [8, 1, 1], history: 0.8, seed: 0}", split["US"]
    require(isinstance(given, Mapping), f"{where}: {given!r} is not allowed; allowed: such as {example}")
    for key in given:
        require(key in _KEYS, f"{where}: unknown key '{key}'{nearest(str(key), _KEYS)}; allowed: {', '.join(_KEYS)}")
    for key in _KEYS:
        require(key in given, f"{where} lacks '{key}'; allowed: such as {example}")
    ratios, history, seed = (given[key] for key in _KEYS)
    good = isinstance(ratios, (list, tuple)) and len(ratios) == 3 and all(_number(r) and r > 0 for r in ratios)
    require(
        good, f"{where}, ratios: {ratios!r} is not allowed; allowed: three numbers above 0: training, validation, test"
    )
    good = history == "last" or (_number(history) and 0 < history < 1)
    require(good, f"{where}, history: {history!r} is not allowed; allowed: last, a share above 0 and below 1")
    good = isinstance(seed, int) and not isinstance(seed, bool) and 0 <= seed < 2**32
    require(good, f"{where}, seed: {seed!r} is not allowed; allowed: a whole number, at least 0, below 2**32")
    first, second, third = (float(ratio) for ratio in ratios)
    return UserSplit((first, second, third), None if history == "last" else float(history), seed)


def last_fraction(eval_args: Any) -> LastFraction | None:
    """The split by each user's last behaviours that ``eval_args`` asks for; ``None`` if it asks for another one.

    Raises:
        InputError: its arguments are not understood.
    """
    split = _alone(eval_args, "LF")
    if split is None:
        return None
    where, given = "eval_args: split LF", split["LF"]
    good = isinstance(given, Mapping) and set(given) == set(_PARTS)
    good = good and all(_number(given[part]) and given[part] > 0 for part in _PARTS)
    require(
        good and given["valid"] + given["test"] < 1,
        f"{where}: {given!r} is not allowed; allowed: such as {{valid: 0.1, test: 0.2}}, fractions above 0 that leave "
        "some for training",
    )
    return LastFraction(float(given["valid"]), float(given["test"]))


def list_split(eval_args: Any) -> UserSplit | LastFraction | None:
    """The split with one list for several targets that ``eval_args`` asks for; ``None`` if it asks for another one."""
    return user_split(eval_args) or last_fraction(eval_args)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def check(in_force: Mapping[str, Any], model: str, *, sequential: bool) -> None:
    """Raise :class:`InputError` where ``model`` or the other settings cannot follow the protocol or its split."""
    name, split = in_force.get("protocol"), list_split(in_force["eval_args"])
    if name is None and split is None:
        return
    by = "LF" if isinstance(split, LastFraction) else "US"
    what = f"eval_args: split {by}" if name is None else f"protocol: '{name}'"
    benchmark = in_force.get("benchmark_filename")
    require(benchmark is None, f"{what} splits the data, and benchmark_filename {benchmark} is split; leave one out")
    if split is None:
        return
    require(
        sequential or by == "LF",
        f"{what} tests users who are not in training, and model '{model}', which reads no history, needs each user in "
        "training; allowed: sequential models",
    )
    order, mode = in_force["eval_args"].get("order"), in_force["eval_args"].get("mode", "full")
    require(order == "TO", f"{what} cuts behaviours by time, not in order '{order}'; allowed: TO")
    group = in_force["eval_args"].get("group_by", "user")
    require(by == "US" or group == "user", f"{what} cuts each user's behaviours, not group_by '{group}'; allowed: user")
    modes = set(mode.values()) if isinstance(mode, Mapping) else {mode}
    require(modes == {"full"}, f"{what} ranks the whole catalogue, not mode {mode!r}; allowed: full")
    lazy = in_force.get("lazy_sequences")
    require(
        not sequential or lazy is True,
        f"lazy_sequences: {lazy} is not allowed: {what} needs the data set of recbole-mind; allowed: True",
    )


def check_benchmark(in_force: dict[str, Any], given: Iterable[str], *, sequential: bool) -> None:
    """Check a split that stands in files; have its histories loaded, and their items numbered as the targets are."""
    names = in_force.get("benchmark_filename")
    if names is None:
        return
    good = isinstance(names, (list, tuple)) and len(names) == 3 and all(isinstance(n, str) and n for n in names)
    require(
        good and len(set(names)) == 3,
        f"benchmark_filename: {names!r} is not allowed; allowed: three names, of the files for training, validation "
        "and test, such as [train, valid, test]",
    )
    for key, idle in (("rm_dup_inter", None), ("val_interval", None), ("user_inter_num_interval", "[0,inf)"),
                      ("item_inter_num_interval", "[0,inf)")):  # fmt: skip
        value = in_force.get(key)
        require(
            value is None or str(value).replace(" ", "") == idle,
            f"{key}: {value!r} would change a split that stands in files (benchmark_filename), which is taken as it is",
        )
    if not sequential:
        return
    history, alias = f"{in_force['ITEM_ID_FIELD']}{in_force['LIST_SUFFIX']}", in_force.get("alias_of_item_id") or []
    if history not in alias:
        in_force["alias_of_item_id"] = [*alias, history]
    columns = in_force.get("load_col")
    if "load_col" not in given and columns and isinstance(columns.get("inter"), list):
        in_force["load_col"] = columns | {"inter": [*columns["inter"], history]}
