"""Functions on embeddings: dropout that is drawn once an item, gradients that fork, and vectors brought to a length."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def keep_mask(shape: torch.Size, probability: float, generator: torch.Generator) -> Tensor | None:
    """Factors that drop elements at random and scale up the rest; three times as fast as torch's dropout on a CPU.

    One random byte decides each element, so that ``probability`` is rounded to a 256th.

    Args:
        shape: of what is dropped from.
        probability: of an element to be zeroed, from 0 to below 1.
        generator: the source of randomness, on the device of the result.

    Returns:
        float32 of that shape; ``None`` where nothing is dropped.
    """
    threshold = min(round(probability * 256), 255)
    if threshold == 0:
        return None
    words = torch.empty((shape.numel() + 7) // 8, dtype=torch.int64, device=generator.device)
    drawn = words.random_(-(2**63), None, generator=generator).view(torch.uint8)[: shape.numel()].view(shape)
    # numpy compares bytes four times as fast as torch, which widens them
    kept = drawn >= threshold if drawn.is_cuda else torch.from_numpy(drawn.numpy() >= np.uint8(threshold))
    return kept.view(torch.uint8).float().mul_(256 / (256 - threshold))


def dropout(x: Tensor, probability: float, generator: torch.Generator) -> Tensor:
    """Zero elements of ``x`` by :func:`keep_mask`."""
    mask = keep_mask(x.shape, probability, generator)
    return x if mask is None else x * mask.to(x.dtype)


class _Fork(torch.autograd.Function):
    """Vectors ``[U, D]`` times a mask (or as they are), and their rows ``place`` [m] as they are."""

    @staticmethod
    def forward(ctx: Any, vectors: Tensor, mask: Tensor | None, place: Tensor) -> tuple[Tensor, Tensor]:
        ctx.save_for_backward(mask, place)
        return vectors.clone() if mask is None else vectors * mask, vectors.index_select(0, place)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_all: Tensor, of_rows: Tensor) -> tuple[Tensor, None, None]:
        mask, place = ctx.saved_tensors
        gradient = of_all.clone() if mask is None else of_all * mask
        return gradient.index_add_(0, place, of_rows), None, None


def fork(vectors: Tensor, mask: Tensor | None, place: Tensor) -> tuple[Tensor, Tensor]:
    """Use vectors ``[U, D]`` twice: all of them times ``mask``, and the rows ``place`` [m] as they are.

    Their gradient is summed in one buffer instead of two as long as the table.
    """
    result: tuple[Tensor, Tensor] = _Fork.apply(vectors, mask, place)  # type: ignore[no-untyped-call]
    return result


def different(ids: Tensor) -> tuple[Tensor, Tensor]:
    """The different values among ``ids`` [...] in ascending order, and for each id its place in them ``[...]``.

    On a GPU the result is as long as ``ids``, filled up with 0, so that nothing waits for a count.
    """
    if ids.device.type == "cpu":
        values, place = ids.unique(return_inverse=True)  # type: ignore[no-untyped-call]
        return values, place
    return different_padded(ids)


def different_padded(ids: Tensor) -> tuple[Tensor, Tensor]:
    """What :func:`different` does on a GPU, on any device."""
    ordered, order = ids.flatten().sort()
    fresh = torch.ones_like(ordered)
    fresh[1:] = ordered[1:] != ordered[:-1]
    rank = fresh.cumsum(0) - 1
    values = torch.zeros_like(ordered).scatter_(0, rank, ordered)
    return values, torch.empty_like(rank).scatter_(0, order, rank).view(ids.shape)


class _Unit(torch.autograd.Function):
    """``x`` [..., D] brought to length ``scale``, with half the passes over memory of torch's normalize."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: float) -> Tensor:
        inverse = torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_(min=1e-12).reciprocal_()  # [..., 1]
        ctx.save_for_backward(x, inverse)
        ctx.scale = scale
        result: Tensor = x * (inverse * scale)
        return result

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        x, inverse = ctx.saved_tensors
        along = torch.linalg.vecdot(x, gradient)[..., None] * inverse * inverse  # [..., 1]
        return (gradient - x * along).mul_(inverse * ctx.scale), None


def unit(x: Tensor, scale: float = 1.0) -> Tensor:
    """Bring vectors ``x`` [..., D] to length ``scale``; the zero vector stays zero."""
    result: Tensor = _Unit.apply(x, scale)  # type: ignore[no-untyped-call]
    return result
