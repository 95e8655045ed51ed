"""What keeps several processes in step: equal parameters at the start, equal gradients at every step."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def average(gradients: list[Tensor]) -> None:
    """Replace gradients by their mean over all processes, in one message."""
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    torch.distributed.all_reduce(flat)
    flat /= torch.distributed.get_world_size()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()


def equal_start(model: nn.Module) -> nn.Module:
    """Give every process the parameters and buffers of the first, as DistributedDataParallel would."""
    for tensor in [*model.parameters(), *model.buffers()]:
        torch.distributed.broadcast(tensor.data, 0)
    return model
