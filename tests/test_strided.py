"""Gradients of strided convolutions are right, whatever the library underneath makes of few channels and small maps."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nasprune.compute import Compute
from nasprune.stepping import Step
from nasprune.strided import right_gradients
from nasprune.training import TrainingSettings, sgd

CPU = Compute(device=torch.device("cpu"), bfloat16=False)
BATCH = 33  # no multiple of two threads, without which AVX-512 hides the fault


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
    x = torch.randn(BATCH, given, 12, 12).contiguous(memory_format=torch.channels_last).requires_grad_()
    with right_gradients(layer.parameters()):
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
    ("kernel", "stride", "padding", "width", "groups"),
    [(2, 2, 1, 1, 1), (3, 2, 1, 1, 1), (3, 2, 1, 1, 32), (3, 3, 1, 2, 1), (5, 2, 2, 1, 1), (7, 4, 3, 3, 1)],
)
@pytest.mark.parametrize("height", [1, 5])
def test_bfloat16_gradients_where_a_map_is_narrower_than_the_stride(kernel, stride, padding, width, groups, height):
    """The guilty kernels, those for AVX-512 BF16, take up freed memory: NaN is left there before."""
    torch.manual_seed(0)
    layer = nn.Conv2d(32, 64, kernel, stride, padding, bias=False, groups=groups).to(memory_format=torch.channels_last)
    x = torch.randn(8, 32, height, width).contiguous(memory_format=torch.channels_last)
    twin = copy.deepcopy(layer).double()
    y = twin(x.double())
    slope = torch.randn_like(y)
    y.backward(slope)
    expected = twin.weight.grad
    for _ in range(10):
        left = [torch.full((elements,), torch.nan) for elements in (64, 512, 2_048, 8_192, 32_768)]
        del left
        layer.zero_grad()
        with torch.autocast("cpu", dtype=torch.bfloat16), right_gradients(layer.parameters()):
            y = layer(x)
        y.backward(slope.to(y.dtype))
        assert (layer.weight.grad - expected).norm() < 0.02 * expected.norm()


@pytest.mark.parametrize(
    "more",
    [
        {"kernel_size": 1, "stride": (2, 3), "bias": True},
        {"kernel_size": 1, "stride": 2, "padding": 1},
        {"kernel_size": 1, "stride": 2, "groups": 2},
        {"kernel_size": 3, "stride": 2, "padding": 1},
        {"kernel_size": 1, "padding": "valid", "stride": 2},
        {"kernel_size": 3, "stride": (1, 2), "padding": 1, "bias": False},
        {"kernel_size": 3, "stride": 3, "padding": (0, 2), "groups": 2},
        {"kernel_size": 2, "stride": 4, "padding": 2, "dilation": (1, 2)},
    ],
)
@pytest.mark.parametrize("width", [1, 2, 3, 9])
def test_layers_make_what_they_make_elsewhere(more, width):
    layer, x = nn.Conv2d(4, 6, **more).double(), torch.randn(2, 4, 9, width, dtype=torch.float64)
    with right_gradients(layer.parameters()):
        guarded = layer(x)
    assert torch.allclose(guarded, layer(x))


def test_a_network_learns_from_right_gradients(threads):
    """Steps in float32 end where those in float64 do, which another library takes."""
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 1, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    ).to(memory_format=torch.channels_last)
    twin = copy.deepcopy(network).double()
    images, labels = torch.randn(BATCH, 3, 12, 12), torch.randint(8, (BATCH,))
    for each, x in ((network, images), (twin, images.double())):
        settings = TrainingSettings(epochs=1, learning_rate=0.1)
        step = Step(each, lambda y, z, _: F.cross_entropy(y, z), sgd(each, settings), clip=5.0, compute=CPU)
        for _ in range(5):
            step(x.contiguous(memory_format=torch.channels_last), labels, rate=0.1)
    pairs = zip(network.parameters(), twin.parameters(), strict=True)
    assert all(torch.allclose(one.double(), other, atol=1e-5) for one, other in pairs)
