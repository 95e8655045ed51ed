"""Training with several processes, through torch.distributed: RecBole's ``--nproc`` and its company."""

from __future__ import annotations

import multiprocessing
import os
from typing import Any

import torch
from torch.multiprocessing.spawn import ProcessRaisedException, spawn

from recbole_mind.config.model_names import register_all, registered
from recbole_mind.errors import InputError, InterruptedRun, require
from recbole_mind.training.result import RunResult
from recbole_mind.training.run import run as train


def run(
    arguments: dict[str, Any], *, nproc: int, world_size: int, ip: str, port: int, group_offset: int
) -> RunResult | None:
    """Run :func:`recbole_mind.training.run.run` with ``arguments`` in ``nproc`` processes of this machine.

    Args:
        arguments: keyword arguments of ``quick_start.run``.
        nproc: processes here, at least 1; more than one needs a GPU each, or no GPU at all (Gloo).
        world_size: processes on all machines; -1 means ``nproc``.
        ip, port: where the process of rank 0 listens.
        group_offset: rank of the first process here.

    Returns:
        the result of rank 0; ``None`` on a machine that does not hold rank 0.

    Raises:
        InputError: the numbers do not fit together, or a worker refused its input.
    """
    world = nproc if world_size == -1 else world_size
    require(nproc >= 1, f"nproc: {nproc} is not allowed; it is at least 1")
    require(world >= group_offset + nproc, f"world_size: {world} is less than group_offset + nproc")
    group = {"nproc": nproc, "world_size": world, "ip": ip, "port": port, "offset": group_offset}
    queue = multiprocessing.get_context("spawn").SimpleQueue()
    try:
        spawn(_work, args=(arguments, group, registered(), queue), nprocs=nproc, join=True)  # type: ignore[no-untyped-call]
    except KeyboardInterrupt:
        folder = (arguments.get("overrides") or {}).get("checkpoint_dir", "saved")
        raise InterruptedRun(
            f"stopped: the last good checkpoint, if an epoch was validated, is in '{folder}'"
        ) from None
    except ProcessRaisedException as error:
        if queue.empty():
            raise
        raise InputError(queue.get()) from error
    return None if queue.empty() else queue.get()


def _work(rank: int, arguments: dict[str, Any], group: dict[str, Any], others: dict[str, str], queue: Any) -> None:
    """One process; spawned afresh, it registers our models by importing this module."""
    torch.set_num_threads(max(1, (os.cpu_count() or 1) // group["nproc"]))
    overrides = dict(arguments.get("overrides") or {}) | group | {"local_rank": rank}
    try:
        register_all(others)
        result = train(**(arguments | {"overrides": overrides}))
    except InputError as error:
        queue.put(str(error))
        raise
    if rank + group["offset"] == 0:
        queue.put(result)
