"""Whether an ONNX graph is of what :mod:`recbole_mind.export` writes: checked on its bytes, before any library runs it.

A graph is a program. One with a loop never ends, one that makes a huge tensor takes all memory, and one with external
data reads other files. So only the messages, fields, operators and types that our exporter writes are accepted: no
loop, branch or function, no part in another file, no tensor larger than its bytes. The format is Protocol Buffers'
(https://protobuf.dev/programming-guides/encoding) of ``onnx.proto``, ONNX 1.23.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from recbole_mind.errors import InputError, require

OPSET = 17
OPERATORS = frozenset(
    (
        *("BatchNormalization", "Gemm", "Squeeze", "Tile"),  # of a ranker
        *("Add", "And", "ArgMax", "Cast", "Clip", "Concat", "Constant", "ConstantOfShape", "Div", "Equal", "Exp"),
        *(
            "Expand",
            "Flatten",
            "Floor",
            "Gather",
            "GatherND",
            "Greater",
            "GreaterOrEqual",
            "Identity",  # between constants that are alike
            "Less",
            "LessOrEqual",
            "Log",
            "MatMul",
            "Max",
        ),
        *("Mul", "Not", "Or", "Pow", "Range", "Reciprocal", "ReduceL2", "ReduceMax", "ReduceSum", "Relu", "Reshape"),
        *("Shape", "Sigmoid", "Slice", "Softmax", "Sub", "Tanh", "Transpose", "Unsqueeze", "Where"),
    )
)
MOST_NODES = 10_000  # of which ours have some hundreds
LARGEST_SHAPE = 2**24  # product of the whole numbers of one constant: sizes of tensors are made of them
MOST_SIZES = 8  # more numbers make no shape
_ENDS = (2**63 - 1, -(2**63))  # of a slice that goes on to the end, or from it
_FLOAT, _INT32, _INT64, _BOOL = 1, 6, 7, 9
_BYTES = {_FLOAT: 4, _INT32: 4, _INT64: 8, _BOOL: 1}

Value = int | bytes
Message = list[tuple[int, Value]]


class _Kind(NamedTuple):
    """A message: what it is called, and its fields by number, those that may stand there often below zero."""

    name: str
    once: Mapping[int, str]
    often: Mapping[int, str] = {}


_MODEL = _Kind(
    "model",
    {1: "ir_version", 2: "producer_name", 3: "producer_version", 5: "model_version", 6: "doc", 7: "graph"},
    {8: "opset", 14: "metadata"},
)
_OPSET = _Kind("opset", {1: "domain", 2: "version"})
_ENTRY = _Kind("metadata", {1: "key", 2: "value"})
_GRAPH = _Kind("graph", {2: "name", 10: "doc"}, {1: "node", 5: "initializer", 11: "input", 12: "output", 13: "value"})
_NODE = _Kind("node", {3: "name", 4: "operator", 6: "doc", 7: "domain"}, {1: "input", 2: "output", 5: "attribute"})
_ATTRIBUTE = _Kind("attribute", {1: "name", 2: "f", 3: "i", 5: "tensor", 13: "doc", 20: "type"}, {8: "ints"})
_TENSOR = _Kind("tensor", {2: "type", 8: "name", 9: "content", 12: "doc"}, {1: "dims"})
_KINDS = {1: "f", 2: "i", 4: "tensor", 7: "ints"}  # of attributes: AttributeProto.AttributeType


def check(content: bytes) -> None:
    """Check a graph.

    Raises:
        InputError: it is no graph, or holds what our exporter does not write; the words say what.
    """
    model = _read(content, _MODEL)
    for entry in model["metadata"]:
        _read(entry, _ENTRY)
    opsets = [_read(entry, _OPSET) for entry in model["opset"]]
    good = [(found.get("domain", b""), found.get("version")) for found in opsets] == [(b"", OPSET)]
    require(good, f"it is not of ONNX's operators in version {OPSET}")
    require("graph" in model, "it holds no graph")
    graph = _read(model["graph"], _GRAPH)
    require(len(graph["node"]) <= MOST_NODES, f"it has {len(graph['node'])} operators; allowed: {MOST_NODES}")
    for tensor in graph["initializer"]:
        _tensor(tensor)
    for node in graph["node"]:
        _node(node)


def _node(content: bytes) -> None:
    node = _read(content, _NODE)
    operator = _text(node.get("operator", b""))
    domain = _text(node.get("domain", b""))
    require(not domain and operator in OPERATORS, f"it holds an operator that ours do not, '{domain}{operator}'")
    for given in node["attribute"]:
        attribute = _read(given, _ATTRIBUTE)
        kind = _KINDS.get(attribute.get("type", 0))
        require(kind is not None, f"operator '{operator}' has an attribute of a kind that ours have not")
        if "tensor" in attribute:
            _tensor(attribute["tensor"])


def _tensor(content: bytes) -> None:
    """Check that a tensor holds all its numbers here, and that those that can make a shape make a small one."""
    tensor = _read(content, _TENSOR)
    dims, kind, data = tensor["dims"], tensor.get("type"), tensor.get("content", b"")
    if kind not in _BYTES:
        raise InputError(f"it holds a tensor of a type that ours have not, {kind}")
    require(all(0 <= size < 2**31 for size in dims), f"it holds a tensor of shape {dims[:9]}")
    wanted = math.prod(dims) * _BYTES[kind]
    require(len(data) == wanted, f"it holds a tensor of shape {dims[:9]} in {len(data)} bytes, and not in {wanted}")
    if kind in (_INT64, _INT32):
        numbers = [number[0] for number in struct.iter_unpack("<q" if kind == _INT64 else "<i", data)]
        sizes = [abs(number) for number in numbers if number not in (0, *_ENDS)]
        fits = len(numbers) > MOST_SIZES or math.prod(sizes) <= LARGEST_SHAPE
        require(fits, f"it holds the whole numbers {numbers[:9]}, which make too large a tensor")


# -- Protocol Buffers ------------------------------------------------------------------------------------------------


def _read(content: Any, kind: _Kind) -> dict[str, Any]:
    """The fields of a message by name; a list for one that may stand there often."""
    require(isinstance(content, bytes), f"its {kind.name} is not a message")
    found: dict[str, Any] = {name: [] for name in kind.often.values()}
    for number, value in _fields(content, kind.name):
        if number in kind.often:
            name = kind.often[number]
            if isinstance(value, bytes) and name in ("dims", "ints"):
                found[name] += _numbers(value, kind.name)
            else:
                found[name].append(value)
            continue
        require(number in kind.once, f"its {kind.name} has a field that ours have not, {number}")
        require(kind.once[number] not in found, f"its {kind.name} has field {number} twice")
        found[kind.once[number]] = value
    for name in ("dims", "ints"):
        require(all(isinstance(value, int) for value in found.get(name, [])), f"its {kind.name} has no numbers")
    return found


def _fields(content: bytes, name: str) -> Iterator[tuple[int, Value]]:
    """Numbers and values of the fields of a message: whole numbers, or bytes."""
    place, end = 0, len(content)
    while place < end:
        tag, place = _varint(content, place, name)
        number, wire = tag >> 3, tag & 7
        if wire == 0:
            value: Value
            value, place = _varint(content, place, name)
        else:
            size = 8 if wire == 1 else 4
            if wire == 2:
                size, place = _varint(content, place, name)
            require(wire in (1, 2, 5) and place + size <= end, f"its {name} is cut or malformed")
            value, place = content[place : place + size], place + size
        yield number, value


def _numbers(content: bytes, name: str) -> Iterator[int]:
    place = 0
    while place < len(content):
        value, place = _varint(content, place, name)
        yield value


def _varint(content: bytes, place: int, name: str) -> tuple[int, int]:
    """A whole number of up to 64 bits, and where it ends."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(content):
            break
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value & (2**64 - 1), place
    raise InputError(f"its {name} is cut or malformed")


def _text(value: Any) -> str:
    require(isinstance(value, bytes), "a name in it is not text")
    return str(value[:50].decode("utf-8", "replace"))
