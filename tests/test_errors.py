"""Errors of ours and of libraries: one line, without the places of a library's source."""

from __future__ import annotations

import pytest

from recbole_mind.errors import InputError, without_places


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


def test_the_places_of_a_librarys_source_are_left_out():
    for text, words in (
        ("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator", "err == 0. DefaultCPUAllocator"),
        ("Error in faiss::x at /project/third-party/faiss/Index.cpp:12: d is wrong", "Error in faiss::x d is wrong"),
        ("/arrow/cpp/src/parquet/thrift.h:99: no more", "no more"),
        ("'a.c/b' is gone, 3.h is kept", "'a.c/b' is gone, is kept"),
    ):
        assert without_places(text) == words
