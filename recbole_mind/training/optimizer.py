"""The optimizer of our models: exact lazy Adam on the tables, torch's on the rest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn

from recbole_mind.layers.embeddings import Table
from recbole_mind.layers.row_adam import RowAdam


class TableOptimizer:
    """A torch optimizer for most parameters, and :class:`~recbole_mind.layers.row_adam.RowAdam` for embedding tables.

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
            self.tables[name] = RowAdam(module.weight, learning_rate)
            module.train_by(self.tables[name])
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


def adam(model: nn.Module, learning_rate: float, *, weight_decay: float, sparse: bool) -> Any:
    """Adam for all parameters of a model, whose tables move by :class:`TableOptimizer` where ``sparse`` asks for it."""

    def build(parameters: list[nn.Parameter]) -> torch.optim.Adam:
        return torch.optim.Adam(parameters, lr=learning_rate, weight_decay=weight_decay, fused=True)

    for _, table in tables_of(model):
        table.train_by(None)  # not by what another optimizer gave it
    return TableOptimizer(model, learning_rate, build) if sparse else build(list(model.parameters()))


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
            table.train_by(None)
