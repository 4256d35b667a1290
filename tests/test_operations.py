"""Operations that let channels pass: what leaves with them, and that every cut is exact."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from nasprune.coupling import find_coupling
from nasprune.masking import MaskedNetwork
from nasprune.proof import lively, proven
from nasprune.surgery import derive

SIDE = 8


class Around(nn.Module):
    """A layer of 8 channels, what takes maps and gives maps, and a layer of 6."""

    def __init__(self, block):
        super().__init__()
        self.first, self.block = nn.Conv2d(3, 8, 3, padding=1), block
        self.second, self.last = nn.Conv2d(8, 6, 3), nn.Linear(6, 2)

    def forward(self, x):
        return self.last(self.second(self.block(self.first(x))).relu().mean((2, 3)))


class Doing(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class Swapping(nn.Module):
    """Brings channels to the end, where there are as many columns as channels, for a linear layer of 5."""

    def __init__(self):
        super().__init__()
        self.inner, self.outer = nn.Linear(8, 5), nn.Linear(5, 8)

    def forward(self, x):
        return self.outer(self.inner(x.swapaxes(1, 3)).relu()).movedim(3, 1)


def every_cut_is_exact(block, **sizes):
    torch.manual_seed(0)
    network = lively(Around(block))
    example = torch.zeros(2, 3, SIDE, SIDE)
    coupling = proven(network, find_coupling(network, example), example)
    assert {group.name: group.size for group in coupling.groups} == {"second": 6, **sizes}
    images = torch.randn(2, 3, SIDE, SIDE)
    for seed in range(5):
        kept = torch.rand(coupling.channels, generator=torch.Generator().manual_seed(seed)) < 0.5
        for group in coupling.groups:
            kept[group.start] = True
        with torch.no_grad():
            masked, derived = MaskedNetwork(network, coupling)(images, kept.float()), derive(network, coupling, kept)
            assert torch.allclose(masked, derived(images), atol=1e-5)
    return derived


@pytest.mark.parametrize("groups", [2, 4])
def test_the_groups_of_a_shuffle_lose_the_same_of_their_channels(groups):
    every_cut_is_exact(nn.ChannelShuffle(groups), first=8 // groups)


def test_axes_of_one_length_are_still_exchanged():
    sizes = {"first": 8, "block.inner": 5, "block.outer": 8}
    every_cut_is_exact(Swapping(), **sizes)


@pytest.mark.parametrize(
    ("norm", "size"),
    [
        (nn.GroupNorm(4, 8, affine=False), 4),
        (nn.InstanceNorm2d(8), 8),
        (nn.BatchNorm2d(8, affine=False), 8),
        (nn.BatchNorm2d(8, affine=False, track_running_stats=False), 8),
    ],
)
def test_a_norm_without_weights_knows_what_is_left(norm, size):
    derived = every_cut_is_exact(norm, first=size)
    left = derived.first.out_channels
    if isinstance(norm, nn.GroupNorm):
        assert (derived.block.num_channels, derived.block.num_groups) == (left, left // 2)
    else:
        assert derived.block.num_features == left


@pytest.mark.parametrize(
    "function",
    [
        lambda x: torch.where(x > 0, x, torch.zeros_like(x)),
        lambda x: torch.max(x, torch.full_like(x, 0.1)),
        lambda x: x * torch.ones_like(x[:, :, :1, :1]),
    ],
)
def test_what_is_made_like_a_tensor_has_its_channels(function):
    every_cut_is_exact(Doing(function), first=8)


class Alike(nn.Module):
    """Adds nothing, made like a layer's weights."""

    def __init__(self):
        super().__init__()
        self.inner = nn.Conv2d(8, 8, 1)

    def forward(self, x):
        return self.inner(x) + torch.zeros_like(self.inner.weight).sum()


def test_what_is_made_like_weights_leaves_them_free():
    sizes = {"first": 8, "block.inner": 8}
    every_cut_is_exact(Alike(), **sizes)


@pytest.mark.parametrize("sides", [[SIDE], [SIDE, SIDE]])
@pytest.mark.parametrize("affine", [True, False])
def test_a_layer_norm_over_positions_lets_channels_leave(sides, affine):
    every_cut_is_exact(nn.LayerNorm(sides, elementwise_affine=affine), first=8)


@pytest.mark.parametrize("activation", [nn.RReLU(), nn.Softshrink(), nn.Hardshrink()])
def test_activations_work_entry_by_entry(activation):
    every_cut_is_exact(activation, first=8)


class Under(nn.Module):
    """Works out gates in a context of their own, from what a layer outside makes."""

    def __init__(self, context):
        super().__init__()
        self.context, self.inner, self.outer = context, nn.Linear(8, 5), nn.Linear(5, 8)

    def forward(self, x):
        with self.context():
            hidden = self.inner(x.mean((2, 3))).relu()
            most = hidden.amax(0)
        return x * self.outer(hidden + most).sigmoid()[:, :, None, None]


@pytest.mark.parametrize("context", [torch.no_grad, lambda: torch.autocast("cpu", enabled=False)])
def test_what_a_context_holds_is_part_of_the_graph(context):
    sizes = {"first": 8, "block.inner": 5}
    every_cut_is_exact(Under(context), **sizes)


class Normed(nn.Module):
    def __init__(self, norm):
        super().__init__()
        self.before, self.inner, self.after = (
            nn.Conv2d(8, 4, 1),
            norm(nn.Conv2d(4, 4, 3, padding=1)),
            nn.Conv2d(4, 8, 1),
        )

    def forward(self, x):
        return self.after(self.inner(self.before(x)))


@pytest.mark.parametrize("norm", [parametrizations.weight_norm, parametrizations.spectral_norm])
def test_a_layer_whose_weights_are_worked_out_stays_and_others_do_not(norm):
    sizes = {"first": 8, "block.after": 8}
    every_cut_is_exact(Normed(norm), **sizes)


class Fourier(nn.Module):
    """Weighs the frequencies of maps."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(8, SIDE, SIDE // 2 + 1, 2))

    def forward(self, x):
        return torch.fft.irfft2(torch.fft.rfft2(x) * torch.view_as_complex(self.weight), s=x.shape[-2:])


class Rows(nn.Module):
    """Reads what each row holds, row after row."""

    def __init__(self):
        super().__init__()
        self.lstm = nn.LSTM(8, 8, batch_first=True)

    def forward(self, x):
        rows, _ = self.lstm(x.mean(3).transpose(1, 2))
        return x + rows.transpose(1, 2)[..., None]


@pytest.mark.parametrize("block", [Fourier(), Rows()])
def test_what_reads_across_channels_stays_and_other_layers_do_not(block):
    network = Around(nn.Sequential(nn.Conv2d(8, 4, 1), nn.Conv2d(4, 8, 1), block))
    example = torch.zeros(2, 3, SIDE, SIDE)
    coupling = proven(network, find_coupling(network, example), example)
    assert {group.name: group.size for group in coupling.groups} == {"first": 8, "block.0": 4, "second": 6}
    assert "block.1" in coupling.whole


def brighter_at_a_rim(x):
    x[:, :, 0].mul_(0.5)
    x[..., -1] += 1
    return x


def test_what_is_written_into_a_view_leaves_channels_free():
    every_cut_is_exact(Doing(brighter_at_a_rim), first=8)


class Following(nn.Module):
    """Subtracts a mean that follows what it sees, in evaluation too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x):
        self.mean.lerp_(x.detach().mean((0, 2, 3)), 0.1)
        return (x - self.mean[:, None, None]).relu()


def test_a_buffer_that_every_pass_changes_makes_no_cut_wrong():
    network, example = Around(Following()), torch.zeros(2, 3, SIDE, SIDE)
    coupling = proven(network, find_coupling(network, example), example)
    assert {group.name for group in coupling.groups} == {"first", "second"}
