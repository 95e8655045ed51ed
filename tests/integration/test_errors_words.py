"""What a library says of itself in a refusal."""

import pytest

from recbole_mind.errors import InputError


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "x: Error in void f() at /home/build/faiss/impl/index_read.cpp:123: Error: 'n' failed",
            "x: Error in void f() Error: 'n' failed",
        ),
        ("onnx: /onnxruntime_src/core/graph/model.cc:150 Model(): no such opset", "onnx: Model(): no such opset"),
        ("a: D:\\\\x and third-party/a/b-c.h:7 fails", "a: D:\\\\x and fails"),
        ("pool '/srv/a/b.txt' cannot be read", "pool '/srv/a/b.txt' cannot be read"),
        ("'/srv/c/d.cpp' holds no token", "'/srv/c/d.cpp' holds no token"),
    ],
)
def test_where_a_library_was_built_is_left_out(said, told):
    assert str(InputError(said)) == told
