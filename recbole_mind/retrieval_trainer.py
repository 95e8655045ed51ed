"""How our own models train: rows of tables on their own, several processes in step, nothing that waits for a GPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from recbole_mind.features import Table
from recbole_mind.memory import keep_freed
from recbole_mind.row_adam import RowAdam
from recbole_mind.sharing import Share

_CHECKED = 64  # steps between two looks at the loss on a GPU


class TableOptimizer:
    """A torch optimizer for most parameters, and :class:`~recbole_mind.row_adam.RowAdam` for embedding tables.

    The tables follow the learning rate of ``param_groups``, whoever sets it. Each change brings all rows up to date,
    so that a schedule by steps costs what dense Adam costs.

    Args:
        model: whose tables to take over.
        learning_rate: of the tables.
        build: makes the optimizer of the parameters that remain.
    """

    def __init__(self, model: nn.Module, learning_rate: float, build: Callable[[list[nn.Parameter]], Any]) -> None:
        self.tables: dict[str, RowAdam] = {}
        for name, module in tables_of(model):
            module.rows = self.tables[name] = RowAdam(module.weight, learning_rate)
        self.others = build([parameter for parameter in model.parameters() if parameter.requires_grad])

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Of the torch optimizer."""
        groups: list[dict[str, Any]] = self.others.param_groups
        return groups

    @property
    def _rate(self) -> float:
        return float(self.param_groups[0]["lr"])

    def zero_grad(self) -> None:
        """Forget the gradients; the tables' go with the rows that were taken."""
        self.others.zero_grad()

    def step(self) -> None:
        """Advance everything by one step."""
        self.others.step()
        for table in self.tables.values():
            table.learning_rate = self._rate
            table.step()

    def flush(self) -> None:
        """Bring the tables up to date as a whole."""
        for table in self.tables.values():
            table.flush()

    def state_dict(self) -> dict[str, Any]:
        """The state of all, to be saved."""
        tables = {name: table.state_dict() for name, table in self.tables.items()}
        return {**self.others.state_dict(), "tables": tables}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what :meth:`state_dict` gave."""
        self.others.load_state_dict({key: value for key, value in state.items() if key != "tables"})
        for name, table in self.tables.items():
            table.load_state_dict(state["tables"][name], self._rate)


def tables_of(model: nn.Module) -> Iterator[tuple[str, Table]]:
    """The embedding tables of a model, by name."""
    return ((name, module) for name, module in model.named_modules() if isinstance(module, Table))


def catch_up(model: nn.Module, state: dict[str, Any]) -> None:
    """Bring the tables of a model from an unfinished run up to date, with the optimizer's ``state`` beside it."""
    for name, table in tables_of(model):
        found = state.get("tables", {}).get(name)
        if found is not None and bool((found["last"] < found["steps"]).any()):
            rows = RowAdam(table.weight, state["param_groups"][0]["lr"])
            rows.load_state_dict(found)
            rows.flush()
            table.weight.requires_grad_(True)


class RetrievalLoop:
    """A mixin that stands between :class:`~recbole_mind.trainer.SafeTrainer` and RecBole's ``Trainer``.

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
