"""ONNX graphs that never end, make what no memory holds, or read other files: refused before a library runs them."""

from __future__ import annotations

import resource

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from recbole_mind import InputError, export_graph
from recbole_mind.serving.bundle import onnx_check
from recbole_mind.serving.bundle.encoder import Encoder
from recbole_mind.serving.bundle.onnx_session import MEMORY
from tests.support.waiting import at_once

INPUTS = (
    helper.make_tensor_value_info("behaviors", TensorProto.FLOAT, ["B", "L", 2]),
    helper.make_tensor_value_info("lengths", TensorProto.INT64, ["B"]),
)
OUTPUTS = (
    helper.make_tensor_value_info("interests", TensorProto.FLOAT, None),
    helper.make_tensor_value_info("active", TensorProto.BOOL, None),
    helper.make_tensor_value_info("weights", TensorProto.FLOAT, None),
)
ONE = helper.make_node("Constant", [], ["one"], value=numpy_helper.from_array(np.array([1], np.int64)))
# an encoder of one interest, the sum of the behaviours, which all make
SUM = (
    ONE,
    helper.make_node("ReduceSum", ["behaviors", "one"], ["interests"], keepdims=1),
    helper.make_node("Constant", [], ["two"], value=numpy_helper.from_array(np.array([2], np.int64))),
    helper.make_node("ReduceSum", ["behaviors", "two"], ["each"], keepdims=1),
    helper.make_node("Transpose", ["each"], ["turned"], perm=[0, 2, 1]),
    helper.make_node("Equal", ["turned", "turned"], ["same"]),
    helper.make_node("Cast", ["same"], ["weights"], to=TensorProto.FLOAT),
    helper.make_node("Unsqueeze", ["lengths", "one"], ["long"]),
    helper.make_node("Equal", ["long", "long"], ["active"]),
)


def model(*nodes, initializers=(), opset=17):
    graph = helper.make_graph([*nodes], "g", [*INPUTS], [*OUTPUTS], [*initializers])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def loop():
    """A loop of 2^62 rounds, each of which passes its condition on."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"])],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        ],
        [helper.make_tensor_value_info("on", TensorProto.BOOL, [])],
    )
    rounds = helper.make_node("Constant", [], ["n"], value=numpy_helper.from_array(np.array(2**62)))
    return rounds, helper.make_node("Loop", ["n", ""], [], body=body)


def branch():
    empty = helper.make_graph([], "empty", [], [])
    return helper.make_node("If", ["c"], ["y"], then_branch=empty, else_branch=empty)


def shaped(*sizes):
    shape = numpy_helper.from_array(np.array(sizes, np.int64))
    return helper.make_node("Constant", [], ["shape"], value=shape)


def elsewhere():
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", "/etc/passwd"
    return tensor


def giant():
    tensor = numpy_helper.from_array(np.zeros(4, np.float32), "w")
    tensor.dims[:] = [2**20, 2**20]
    return tensor


def function():
    made = model(*SUM)
    made.functions.append(helper.make_function("ours", "F", ["x"], ["y"], [], [helper.make_opsetid("", 17)]))
    return made


REFUSED = {
    "a loop": (model(*SUM, *loop()), "whole numbers \\[4611686018427387904\\]"),
    "a loop of few rounds": (model(*SUM, loop()[1]), "operator that ours do not, 'Loop'"),
    "a branch": (model(*SUM, branch()), "operator that ours do not, 'If'"),
    "a huge expansion": (
        model(*SUM, shaped(2**20, 2**20)),
        r"numbers \[1048576, 1048576\], which make too large",
    ),
    "a huge constant": (model(*SUM, shaped(2**40)), "which make too large a tensor"),
    "another file": (model(*SUM, initializers=[elsewhere()]), "its tensor has a field that ours have not"),
    "a giant initialiser": (model(*SUM, initializers=[giant()]), r"a tensor of shape \[1048576, 1048576\] in 16 bytes"),
    "a function": (function(), "its model has a field that ours have not, 25"),
    "another opset": (model(*SUM, opset=21), "not of ONNX's operators in version 17"),
    "another domain": (
        model(*SUM, helper.make_node("FusedMatMul", ["x"], ["y"], domain="com.microsoft")),
        "operator that ours do not, 'com.microsoftFusedMatMul'",
    ),
    "many operators": (model(*SUM, *[ONE] * 10_001), "it has 10010 operators; allowed: 10000"),
    "a sparse tensor": (model(*SUM, helper.make_node("Constant", [], ["y"], value_string=b"x")), "of a kind|field"),
    "cut": (model(*SUM).SerializeToString()[:-1], "is cut or malformed"),
    "nothing": (b"", "not of ONNX's operators"),
    "text": (b"location", "its model "),
}


def test_a_graph_of_ours_runs():
    content = model(*SUM).SerializeToString()
    found = Encoder(content)(np.array([[[1, 2], [3, 4]]], np.float32), np.array([2]), np.zeros((1, 0), np.float32))
    assert found.interests.tolist() == [[[4, 6]]]
    assert found.weights.tolist() == [[[1, 1]]]
    assert export_graph.OPSET == onnx_check.OPSET


@pytest.mark.parametrize("what", REFUSED)
def test_a_graph_that_is_not_ours_is_refused_at_once(what):
    made, reason = REFUSED[what]
    content = made if isinstance(made, bytes) else made.SerializeToString()
    with (
        at_once(5),
        pytest.raises(InputError, match=rf"^'encoder.onnx' is not a graph of ours: [^\n]*({reason})[^\n]*$"),
    ):
        Encoder(content)


def test_a_tensor_that_a_history_makes_huge_fails_without_its_memory():
    """Sizes that are computed of the input, which no check of the file can know."""
    nodes = (
        *SUM[1:],
        shaped(2**12),
        helper.make_node("Mul", ["shape", "shape"], ["squared"]),
        helper.make_node("Mul", ["squared", "lengths"], ["all"]),
        helper.make_node("Mul", ["all", "shape"], ["more"]),
        helper.make_node("ConstantOfShape", ["more"], ["zeros"]),
        helper.make_node("ReduceMax", ["zeros"], ["least"], keepdims=1),
        helper.make_node("Unsqueeze", ["lengths", "one"], ["unused"]),
        helper.make_node("Add", ["summed", "least"], ["interests"]),
    )
    nodes = [helper.make_node("ReduceSum", ["behaviors", "one"], ["summed"], keepdims=1), ONE, *nodes[1:]]
    ordered = [ONE, *[node for node in nodes if node is not ONE]]
    encoder = Encoder(model(*ordered).SerializeToString())
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match=r"^'encoder.onnx' fails: [^\n]*$") as refused:
        encoder(np.zeros((1, 2, 2), np.float32), np.array([2]), np.zeros((1, 0), np.float32))
    assert "onnxruntime_src" not in str(refused.value)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024 < MEMORY


def test_outputs_of_another_rank_are_refused():
    nodes = [node for node in SUM if list(node.output) != ["active"]]
    nodes.append(helper.make_node("Equal", ["lengths", "lengths"], ["active"]))
    encoder = Encoder(model(*nodes).SerializeToString())
    with pytest.raises(
        InputError, match=r"^'encoder.onnx' gives arrays of shapes \[\[1, 1, 2\], \[1\], \[1, 1, 2\]\]$"
    ):
        encoder(np.zeros((1, 2, 2), np.float32), np.array([2]), np.zeros((1, 0), np.float32))
