"""How our own models train: rows of tables on their own, several processes in step, nothing that waits for a GPU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from recbole_mind.layers.allocator import keep_freed
from recbole_mind.layers.batch_shards import Share
from recbole_mind.training.optimizer import TableOptimizer, tables_of

_CHECKED = 64  # steps between two looks at the loss on a GPU


class RetrievalLoop:
    """A mixin that stands between :class:`~recbole_mind.training.trainer.SafeTrainer` and RecBole's ``Trainer``.

    It replaces RecBole's epoch, which reads the loss back at every step and, with several processes, sums all
    parameters. Under ``enable_amp`` the layers compute in bfloat16, losses and optimizer in float32.
    """

    config: Any
    model: Any
    optimizer: Any
    device: torch.device
    clip_grad_norm: dict[str, Any] | None
    _position: Any
    _refuse_nan: Callable[[Tensor], float]

    def _build_optimizer(self, **kwargs: Any) -> Any:
        keep_freed()
        config = self.config
        if config["learner"].lower() != "adam" or kwargs:
            return super()._build_optimizer(**kwargs)  # type: ignore[misc]
        rate, decay = config["learning_rate"], config["weight_decay"]

        def build(parameters: list[nn.Parameter]) -> torch.optim.Adam:
            return torch.optim.Adam(parameters, lr=rate, weight_decay=decay, fused=True)

        for _, table in tables_of(self.model):  # which another trainer may have had before
            table.rows = None
            table.weight.requires_grad_(True)
        if config["sparse_updates"]:
            return TableOptimizer(self.model, rate, build)
        return build(list(self.model.parameters()))

    def _train_epoch(self, train_data: Any, epoch_idx: int, loss_func: Any = None, show_progress: bool = False) -> None:
        """One epoch over ``train_data``, whose position collects the loss."""
        self.model.train()
        position, order, waits = self._position, train_data.order, self.device.type == "cuda"
        unread = torch.zeros((), device=self.device)  # the losses since the last look at them
        for batch in train_data:
            loss = self.advance(batch, order.share(position.batch), loss_func)
            unread += loss
            position.loss += loss
            if not waits or (position.batch + 1) % _CHECKED == 0:
                self._refuse_nan(unread)
                unread.zero_()
        self._refuse_nan(unread)
        self.model.share = Share()
        if isinstance(self.optimizer, TableOptimizer):
            self.optimizer.flush()

    def advance(self, batch: Any, share: Share, loss_func: Callable[[Any], Tensor] | None = None) -> Tensor:
        """One step: this process's ``share`` of a batch. Returns its part of the loss, a scalar."""
        self.model.share = share
        self.optimizer.zero_grad()
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.config["enable_amp"]):
            loss: Tensor = (loss_func or self.model.calculate_loss)(batch.to(self.device)) * share.weight
        loss.backward()  # type: ignore[no-untyped-call]
        leaves = self._leaves()
        if share.world > 1:
            _average([leaf.grad for leaf in leaves if leaf.grad is not None])
        if self.clip_grad_norm:
            for _, table in tables_of(self.model):
                if table.rows is not None:
                    table.rows.drop_padding()
            nn.utils.clip_grad_norm_(leaves, **self.clip_grad_norm)
        self.optimizer.step()
        return loss.detach()

    def _leaves(self) -> list[Tensor]:
        """All tensors that a gradient was collected in."""
        leaves: list[Tensor] = [parameter for parameter in self.model.parameters() if parameter.grad is not None]
        if isinstance(self.optimizer, TableOptimizer):
            leaves += [table.rows for table in self.optimizer.tables.values() if table.rows is not None]
        return leaves


def _average(gradients: list[Tensor]) -> None:
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
