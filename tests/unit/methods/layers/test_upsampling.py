"""Enlarging by matrix products is what `F.interpolate` does, gradients included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from methods.layers.upsampling import enlarged


@pytest.mark.parametrize("size", [(12, 20), (5, 7), (3, 20)])
@pytest.mark.parametrize("memory_format", [torch.contiguous_format, torch.channels_last])
def test_values_and_gradients(size, memory_format, seeded):
    maps = torch.randn(2, 3, 5, 7).contiguous(memory_format=memory_format).requires_grad_()
    weights = torch.randn(2, 3, *size)
    expected = F.interpolate(maps, size, mode="bilinear", align_corners=False)
    found = enlarged(maps, size)
    assert torch.allclose(found, expected, atol=1e-6)
    (by_product,) = torch.autograd.grad((found * weights).sum(), maps)
    (by_library,) = torch.autograd.grad((expected * weights).sum(), maps)
    assert torch.allclose(by_product, by_library, atol=1e-5)


def test_it_is_float32_in_mixed_precision(seeded):
    maps = torch.randn(1, 2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        found = enlarged(maps.bfloat16(), (8, 8))
    assert found.dtype == torch.float32
    expected = F.interpolate(maps.bfloat16().float(), (8, 8), mode="bilinear", align_corners=False)
    assert torch.allclose(found, expected, atol=1e-6)
