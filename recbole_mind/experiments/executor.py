"""Work spread over processes or machines by Ray, or done here one piece after the other."""

from __future__ import annotations

import contextlib
import math
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from recbole_mind.errors import InputError, require
from recbole_mind.util.ray_releases import import_ray, quiet_nodes

_ANSWER = 8  # seconds that a cluster has to answer, each time
_OWN = {"worker_niceness": 0}  # of a cluster that is started here: workers are as nice as who starts it, not 15 nicer


def spread(
    work: Callable[[Any], Any],
    tasks: Sequence[Any],
    *,
    jobs: int = 1,
    ray: str | None = None,
    cpu: float | None = None,
    gpu: float | None = None,
    started: Callable[[int], None] = lambda task: None,
) -> Iterator[tuple[int, Any]]:
    """Do ``work(task)`` for each task and yield the task's place and the result, in the order in which they end.

    Args:
        work: a function of a module of this package, so that a worker that imports it knows our models.
        tasks: what can be pickled, in the order in which to start them.
        jobs: how many at a time. One, without ``ray``, runs in this process.
        ray: a cluster's address, ``host:port`` or ``auto``; ``None`` starts one here when ``jobs`` is above 1.
        cpu, gpu: what a task of a cluster asks for; ``None`` for a CPU and a fair share of the GPUs.
        started: is told the place of each task that starts.

    A worker that dies has its task done
    again by another. An exception in ``work`` is yielded in place of a result.

    Raises:
        InputError: ``jobs`` is below 1, or nobody answers at the address.
    """
    check_jobs(jobs)
    if jobs == 1 and ray is None:
        for place, task in enumerate(tasks):
            started(place)
            yield place, work(task)
        return
    yield from _by_ray(work, tasks, jobs, ray, (1 if cpu is None else cpu, gpu), started)


@contextlib.contextmanager
def cluster(jobs: int, address: str | None, cpus: float = 1) -> Iterator[float]:
    """Be connected to the cluster at ``address``, or to one that is started here for ``jobs`` tasks at a time.

    A task has ``cpus`` CPUs. Within another such context it is that one's cluster.

    Yields:
        each task's fair share of the GPUs.

    Raises:
        InputError: nobody answers at the address, or it is no cluster.
    """
    ray = import_ray()
    if ray.is_initialized():
        yield min(1.0, ray.cluster_resources().get("GPU", 0) / jobs)
        return
    local = address is None
    if address is not None:
        check_address(address)
    else:
        address = "local"
    try:
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level="ERROR",
            **(
                {"num_cpus": math.ceil(jobs * cpus), "include_dashboard": False, "_system_config": _OWN}
                if local
                else {}
            ),
        )
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        raise InputError(f"ray: no cluster can be used at '{address}': {str(error).splitlines()[0]}") from None
    try:
        with quiet_nodes():
            yield min(1.0, ray.cluster_resources().get("GPU", 0) / jobs)
    finally:
        ray.shutdown()


def _by_ray(
    work: Callable[[Any], Any],
    tasks: Sequence[Any],
    jobs: int,
    address: str | None,
    asked: tuple[float, float | None],
    started: Callable[[int], None],
) -> Iterator[tuple[int, Any]]:
    ray = import_ray()
    waiting = list(range(len(tasks)))[::-1]
    running: dict[Any, int] = {}
    cpu, gpu = asked
    with cluster(jobs, address, cpu or 1) as share:
        # a task that asks for none is not shown any GPU
        remote: Any = ray.remote(num_cpus=cpu, num_gpus=share if gpu is None else gpu, max_retries=3)(work)
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    place = waiting.pop()
                    running[remote.remote(tasks[place])] = place
                    started(place)
                done, _ = ray.wait(list(running))
                for reference in done:
                    place = running.pop(reference)
                    try:
                        yield place, ray.get(reference)
                    except ray.exceptions.RayTaskError as error:
                        yield place, error.cause if error.cause is not None else error
                    except ray.exceptions.RayError as error:
                        yield place, error
        finally:
            for reference in running:
                ray.cancel(reference, force=True)


def check_jobs(jobs: int) -> None:
    """Raise :class:`InputError` unless so many tasks can run at a time."""
    require(jobs >= 1, f"jobs: {jobs} is not allowed; allowed: a whole number, at least 1")


def check_address(address: str) -> None:
    """Raise :class:`InputError` unless a cluster answers at ``host:port``; ``auto`` is Ray's to find."""
    if address == "auto":
        return
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    require(bool(colon and host) and port.isdigit(), f"ray: '{address}' is not allowed; allowed: host:port, or auto")
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER).close()
    except (OSError, OverflowError) as error:
        raise InputError(f"ray: nobody answers at '{address}': {error}") from None
    import grpc  # a cluster speaks it; ray.init would try others for minutes

    with grpc.insecure_channel(address.removeprefix("ray://")) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=_ANSWER)
            if not address.startswith("ray://"):  # what Ray itself asks the head of a cluster; empty messages
                channel.unary_unary("/ray.rpc.NodeInfoGcsService/CheckAlive")(b"", timeout=_ANSWER)
        except (grpc.FutureTimeoutError, grpc.RpcError) as error:
            asks = isinstance(error, grpc.Call) and error.code() == grpc.StatusCode.UNAUTHENTICATED
            require(asks, f"ray: what answers at '{address}' is no cluster of Ray")
            require(
                os.environ.get("RAY_AUTH_MODE", "").lower() == "token",
                f"ray: the cluster at '{address}' asks for its token: set RAY_AUTH_MODE=token, with the token in "
                "RAY_AUTH_TOKEN or in ~/.ray/auth_token",
            )
