"""A torch module as an ONNX graph that serves: what the exports of recall and of a ranker share."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recbole_mind.serving.bundle.onnx_session import TRAINING

OPSET = 17


@torch.no_grad()
def write(
    path: Path,
    module: nn.Module,
    example: Sequence[Tensor],
    inputs: Sequence[str],
    outputs: Sequence[str],
    axes: Mapping[str, Mapping[int, str]],
    training: str | None,
    settle: Callable[[Any], None] | None = None,
) -> None:
    """Write the graph of a module.

    Args:
        path: the file.
        module: ready to evaluate.
        example: its arguments, which are traced.
        inputs, outputs: names in the graph.
        axes: by name, the axes of any size.
        training: the SHA-256 of the item vectors that it is of, which the graph names, so that it is known for a
            stranger beside another's index; ``None`` for a graph that names none.
        settle: is given the graph, to change it in place.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # checks of sizes in Python hold for every size up to the largest
        torch.onnx.export(
            module,
            tuple(example),
            path,
            dynamo=False,  # traced: the newer exporter writes source paths into the graph, and fixes its shapes
            opset_version=OPSET,
            input_names=list(inputs),
            output_names=list(outputs),
            dynamic_axes={name: dict(each) for name, each in axes.items()},
        )
    if training is None and settle is None:
        return
    import onnx

    content = onnx.load(path)
    if settle is not None:
        settle(content.graph)
    if training is not None:
        onnx.helper.set_model_props(content, {TRAINING: training})
    onnx.save(content, path)
