"""Memory for large steps: zeros are zeros, wherever pages come from."""

import pytest
import torch

from recbole_mind.layers import allocator


@pytest.mark.parametrize("shape", [(3,), (0, 4), (700, 1000), ((2 << 20) // 4 + 5,)])  # the largest spans huge pages
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.int32])
def test_zeros_are_those_of_torch(shape, dtype):
    table = torch.ones(shape, dtype=dtype)
    found = allocator.zeros_like(table.requires_grad_(dtype.is_floating_point))
    assert torch.equal(found, torch.zeros(shape, dtype=dtype))
    assert not found.requires_grad
    assert (found.shape, found.dtype) == (table.shape, table.dtype)


def test_without_glibc_nothing_is_asked_of_it(monkeypatch):
    monkeypatch.setattr(allocator.sys, "platform", "darwin")
    monkeypatch.setattr(allocator.ctypes, "CDLL", lambda _: pytest.fail("a library is loaded"))
    allocator.keep_freed()
    assert torch.equal(allocator.zeros_like(torch.ones(1 << 20)), torch.zeros(1 << 20))
