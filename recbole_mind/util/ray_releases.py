"""Ray 2.6.3, which RecBole asks for, and the Rays of today, behind one interface."""

from __future__ import annotations

import contextlib
import inspect
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import Any


def import_ray() -> Any:
    """The module ``ray``; the first import of 2.6.3 warns of its use of pkg_resources, which the pins cover."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        import ray
    return ray


def takes_metrics() -> bool:
    """Whether ``ray.tune.report`` takes one dictionary, as from 2.7 on, and not its entries as keywords."""
    import_ray()
    from ray import tune

    return "metrics" in inspect.signature(tune.report).parameters


def report(metrics: dict[str, Any]) -> None:
    """Report what a trial has so far to the Ray Tune that runs it; does not return in a trial that is stopped."""
    if takes_metrics():
        from ray import tune

        tune.report(metrics)
    else:
        from ray.air import session

        session.report(metrics)


@contextlib.contextmanager
def quiet_nodes() -> Iterator[None]:
    """A context in which what a cluster says of its nodes goes to Ray's log, not to standard output as in 2.60."""
    worker: Any = import_module("ray._private.worker")
    prints = getattr(worker, "print_to_stdstream", None)
    if prints is None:
        yield
        return

    def log(data: dict[str, Any], *args: Any, **more: Any) -> None:
        worker.logger.warning("\n".join(map(str, data["lines"])))

    worker.print_to_stdstream = log
    try:
        yield
    finally:
        worker.print_to_stdstream = prints
