"""Gradients of strided 1x1 convolutions are right, whatever the library underneath makes of few channels."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasprune.compute import Compute

CPU = Compute(device=torch.device("cpu"), bfloat16=False)


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.mark.parametrize("given", [1, 2, 3, 6, 7, 8, 12, 15, 16, 20])
def test_gradients_of_a_narrow_downsampling_layer(threads, given):
    torch.manual_seed(given)
    layer = nn.Conv2d(given, 10, 1, stride=2, bias=False).to(memory_format=torch.channels_last)
    x = torch.randn(32, given, 12, 12).contiguous(memory_format=torch.channels_last).requires_grad_()
    with CPU.forward_pass():
        y = layer(x)
    slope = torch.randn_like(y)
    y.backward(slope)
    slope = slope.double()
    picked, weight = x.detach()[:, :, ::2, ::2].double(), layer.weight.detach()[:, :, 0, 0].double()
    expected = torch.zeros_like(x, dtype=torch.float64)
    expected[:, :, ::2, ::2] = torch.einsum("nohw,oi->nihw", slope, weight)
    assert torch.allclose(y.double(), torch.einsum("nihw,oi->nohw", picked, weight), atol=1e-4)
    gradient = layer.weight.grad[:, :, 0, 0].double()
    assert torch.allclose(gradient, torch.einsum("nohw,nihw->oi", slope, picked), atol=1e-2)
    assert torch.allclose(x.grad.double(), expected, atol=1e-4)


@pytest.mark.parametrize(
    "more",
    [
        {"kernel_size": 1, "stride": (2, 3), "bias": True},
        {"kernel_size": 1, "stride": 2, "padding": 1},
        {"kernel_size": 1, "stride": 2, "groups": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 1, "padding": "valid", "stride": 2},
    ],
)
def test_layers_make_what_they_make_elsewhere(more):
    layer, x = nn.Conv2d(4, 6, **more).double(), torch.randn(2, 4, 9, 9, dtype=torch.float64)
    with CPU.forward_pass():
        guarded = layer(x)
    assert torch.allclose(guarded, layer(x))
