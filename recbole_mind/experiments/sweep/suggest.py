"""Which trial next: hyperopt's algorithms, asked one trial at a time and rebuilt from the trials that are told.

A suggestion depends on the seed, the trial's number and what has been told, never on the clock; so a search that was
killed goes on with the trials that it would have made. Without RecBole.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from recbole_mind.errors import nearest, require
from recbole_mind.experiments.sweep.space import CHOICE, Parameter, Space
from recbole_mind.util.extras import require_modules
from recbole_mind.util.json_text import same

ALGORITHMS = ("tpe", "random", "anneal", "exhaustive")
_STARTUP = 10  # trials that TPE draws at random; hyperopt's 20 are most of a usual sweep
_TRIES, _RANDOM_TRIES = 20, 200  # draws before a space counts as used up


class Search:
    """Suggestions for trials 1, 2, … of a sweep, no point twice.

    Args:
        space: what is drawn.
        algo: ``tpe`` (Bergstra et al. 2011), ``random``, ``anneal``, or ``exhaustive``, each combination in order.
        seed: of the whole sweep.

    Raises:
        InputError: an unknown algorithm; ``exhaustive`` over a continuous space.
    """

    def __init__(self, space: Space, algo: str, seed: int) -> None:
        known = f"algo: '{algo}' is unknown{nearest(algo, ALGORITHMS)}; allowed: {', '.join(ALGORITHMS)}"
        require(algo in ALGORITHMS, known)
        self.space, self.algo, self.seed = space, algo, seed
        self.points: dict[int, dict[str, Any]] = {}  # of each trial that is suggested
        self.losses: dict[int, float | None] = {}  # of each trial that ended, None for a failed one
        self._seen: set[str] = set()
        self._grid: Iterator[dict[str, Any]] | None = space.combinations() if algo == "exhaustive" else None
        if self._grid is None:
            require_modules(f"the search {algo}", "hyperopt")

    def restore(self, number: int, point: Mapping[str, Any]) -> None:
        """Take trial ``number`` as suggested before; in the order of numbers."""
        self.points[number] = dict(point)
        self._seen.add(_key(point))
        if self._grid is not None:
            next(self._grid, None)

    def ask(self, number: int) -> dict[str, Any] | None:
        """Settings for trial ``number``; ``None`` when every point has been suggested."""
        if self._grid is not None:
            point = next(self._grid, None)
        else:
            tries = (self._draw(number, attempt) for attempt in range(_TRIES + _RANDOM_TRIES))
            point = next((point for point in tries if _key(point) not in self._seen), None)
        if point is not None:
            self.points[number] = point
            self._seen.add(_key(point))
        return point

    def tell(self, number: int, loss: float | None) -> None:
        """Trial ``number`` ended with ``loss``, less being better; ``None`` if it failed."""
        self.losses[number] = loss if loss is not None and math.isfinite(loss) else None

    def _draw(self, number: int, attempt: int) -> dict[str, Any]:
        from hyperopt import anneal, rand, tpe

        seed = int(np.random.SeedSequence([self.seed, number, attempt]).generate_state(1)[0])
        domain, trials = self._history()
        if self.algo == "tpe" and attempt < _TRIES:
            docs = tpe.suggest([number], domain, trials, seed, n_startup_jobs=_STARTUP, verbose=False)
        elif self.algo == "anneal" and attempt < _TRIES:
            docs = anneal.suggest([number], domain, trials, seed)
        else:
            docs = rand.suggest([number], domain, trials, seed)
        values = docs[0]["misc"]["vals"]
        drawn = {each.name: each.decode(values[each.name][0]) for each in self.space.parameters}
        return self.space.prune(drawn)

    def _history(self) -> tuple[Any, Any]:
        """hyperopt's view of the trials so far; those that run count as bad, so that none is suggested beside them.

        All parameters stand side by side, and a trial holds values of those that applied to it alone: hyperopt looks
        at each parameter by itself, so this is its conditional space without nesting.
        """
        from hyperopt import STATUS_FAIL, STATUS_NEW, STATUS_OK, Trials
        from hyperopt.base import JOB_STATE_DONE, JOB_STATE_NEW, Domain

        domain = Domain(_nothing, {each.name: _distribution(each) for each in self.space.parameters})
        trials = Trials()
        by_name = {each.name: each for each in self.space.parameters}
        for number, point in sorted(self.points.items()) if self.algo != "random" else ():
            known = {name: [by_name[name].encode(value)] for name, value in point.items()}
            vals = {name: known.get(name, []) for name in by_name}
            idxs = {name: [number] if name in known else [] for name in by_name}
            misc = {"tid": number, "cmd": domain.cmd, "workdir": None, "idxs": idxs, "vals": vals}
            loss, ended = self.losses.get(number), number in self.losses
            result: dict[str, Any] = {"status": STATUS_FAIL if ended else STATUS_NEW}
            if loss is not None:
                result = {"status": STATUS_OK, "loss": loss}
            (doc,) = trials.new_trial_docs([number], [None], [result], [misc])
            doc["state"] = JOB_STATE_DONE if ended else JOB_STATE_NEW
            trials.insert_trial_doc(doc)
        trials.refresh()
        return domain, trials


def _nothing(_: object) -> float:
    """hyperopt's objective, which it is never asked for."""
    return math.nan


def _distribution(parameter: Parameter) -> Any:
    """hyperopt's expression for a parameter; choices by their place."""
    from hyperopt import hp

    name, values = parameter.name, parameter.values
    if parameter.kind == CHOICE:
        return hp.choice(name, list(range(len(values))))
    if parameter.kind == "int":  # in order, so that neighbours are alike
        return hp.quniform(name, values[0] - 0.5, values[1] + 0.5, 1)
    if "log" in parameter.kind:
        values = (math.log(values[0]), math.log(values[1]), *values[2:])
    return getattr(hp, parameter.kind)(name, *values)


def _key(point: Mapping[str, Any]) -> str:
    return "\n".join(itertools.chain.from_iterable((name, same(value)) for name, value in sorted(point.items())))
