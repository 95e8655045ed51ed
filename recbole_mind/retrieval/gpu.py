"""Exact search on a GPU: the only module of the room that names torch, and only when it is asked to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from recbole_mind.errors import InputError, require
from recbole_mind.retrieval.types import Exclusions, Floats, Ints


def scan_on_device(
    items: Any, subset: Ints | None, vectors: Floats, number: Ints, m: int, excluded: Exclusions, memory: int
) -> tuple[Ints, npt.NDArray[np.float64]]:
    """Do the same as :func:`_scan` for items that are a torch tensor, on a GPU or not: blocks with a running topk."""
    import torch

    b, K, D = vectors.shape
    device = items.device
    chosen = None if subset is None else torch.from_numpy(subset).to(device)
    size = len(items) if chosen is None else len(chosen)
    query = torch.from_numpy(np.ascontiguousarray(vectors)).to(device)
    idle = torch.arange(K, device=device) >= torch.from_numpy(number).to(device)[:, None]  # [b, K]
    order = np.argsort(excluded.ids, kind="stable")
    out_rows, out_places = (torch.from_numpy(array[order]).to(device) for array in excluded)
    top = torch.full((b, 0), -torch.inf, device=device)
    places = torch.zeros((b, 0), dtype=torch.int64, device=device)
    dropped = torch.full((b,), -torch.inf, device=device)
    width = max(1, min(size, memory // (4 * b * (K + 2))))
    allowed, torch.backends.cuda.matmul.allow_tf32 = torch.backends.cuda.matmul.allow_tf32, False
    try:
        for start in range(0, size, width):
            stop = min(start + width, size)
            block = items[start:stop] if chosen is None else items[chosen[start:stop]]
            scores = (query.reshape(b * K, D) @ block.T).view(b, K, stop - start)
            scores = scores.masked_fill_(idle[:, :, None], -torch.inf).amax(1)
            low, high = torch.searchsorted(out_places, torch.tensor([start, stop], device=device)).tolist()
            scores[out_rows[low:high], out_places[low:high] - start] = -torch.inf
            here = torch.arange(start, stop, device=device).expand(b, -1)
            scores, here = torch.cat([top, scores], dim=1), torch.cat([places, here], dim=1)
            most = min(m, scores.shape[1])
            top, index = scores.topk(most, dim=1)
            if scores.shape[1] > most:
                dropped = torch.maximum(dropped, top[:, -1])
            places = here.gather(1, index)
    finally:
        torch.backends.cuda.matmul.allow_tf32 = allowed
    places = places.masked_fill(top == -torch.inf, -1)
    return places.cpu().numpy(), dropped.double().cpu().numpy()


def on_device(items: Floats, device: str) -> Any:
    """The vectors as a torch tensor on ``device``."""
    import torch

    return torch.from_numpy(items.copy()).to(device)


def device_of(asked: str) -> str:
    """The device that is meant: ``auto`` is a GPU if torch has one.

    Raises:
        InputError: it is none, or cannot be used.
    """
    if asked == "cpu":
        return asked
    require(isinstance(asked, str), f"device: {asked!r} is not allowed; allowed: auto, cpu, cuda")
    import torch

    if asked == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    try:
        torch.empty(1, device=asked)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"device: '{asked}' cannot be used: {str(error).splitlines()[0]}") from None
    return asked
