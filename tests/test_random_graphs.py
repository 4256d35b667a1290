"""Law 1 and law 2 on random small graphs: what is cut is what was masked, and costs what was said."""

from __future__ import annotations

import copy

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nasprune.cost import macs_cost, measured_macs
from nasprune.coupling import find_coupling
from nasprune.errors import NetworkError
from nasprune.masking import MaskedNetwork
from nasprune.surgery import derive

SIDE = 6
KINDS = (
    "conv", "residual", "concatenate", "depthwise", "grouped", "squeeze", "shuffle", "layer_norm", "group_norm",
    "multiplier", "halves", "pool",
)  # fmt: skip


def conv(given_, made, side=3, **more):
    return nn.Sequential(nn.Conv2d(given_, made, side, padding=side // 2, **more), nn.BatchNorm2d(made), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def forward(self, x):
        return x + self.inner(x)


class Concatenate(nn.Module):
    def __init__(self, left, right):
        super().__init__()
        self.left, self.right = left, right

    def forward(self, x):
        return torch.cat([self.left(x), self.right(x), x], dim=1)


class Squeeze(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.down, self.up = nn.Conv2d(channels, 4, 1), nn.Conv2d(4, channels, 1)

    def forward(self, x):
        return x * self.up(self.down(x.mean((2, 3), keepdim=True)).relu()).sigmoid()


class Shuffle(nn.Module):
    def forward(self, x):
        batch, channels, height, width = x.shape
        return x.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, channels, height, width)


class ChannelsLast(nn.Module):
    """Layer norm, a hidden linear layer and layer scale, as in ConvNeXt."""

    def __init__(self, channels):
        super().__init__()
        self.norm, self.up, self.down = nn.LayerNorm(channels), nn.Linear(channels, 6), nn.Linear(6, channels)
        self.scale = nn.Parameter(torch.rand(channels, 1, 1))

    def forward(self, x):
        y = self.down(nn.functional.gelu(self.up(self.norm(x.permute(0, 2, 3, 1)))))
        return x + self.scale * y.permute(0, 3, 1, 2)


class Halves(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.right = conv(channels // 2, channels // 2)

    def forward(self, x):
        left, right = x.chunk(2, dim=1)
        return torch.cat([left, self.right(right)], dim=1)


class Ending(nn.Module):
    def __init__(self, channels, flat):
        super().__init__()
        self.flat = flat
        self.head = nn.Linear(channels * (4 if flat else 1), 3)

    def forward(self, x):
        return self.head(nn.functional.adaptive_avg_pool2d(x, 2 if self.flat else 1).flatten(1))


def block(kind, channels, made):
    """A module from `channels` to some number of channels, and that number; all are even."""
    if kind == "conv":
        return conv(channels, made), made
    if kind == "residual":
        return Residual(nn.Sequential(conv(channels, made), conv(made, channels))), channels
    if kind == "concatenate":
        return Concatenate(conv(channels, made), conv(channels, 4, side=1)), made + 4 + channels
    if kind == "depthwise":
        return conv(channels, channels, groups=channels), channels
    if kind == "multiplier":
        return conv(channels, 2 * channels, groups=channels), 2 * channels
    if kind == "grouped":
        return conv(channels, made, groups=2), made
    single = {
        "squeeze": lambda: Squeeze(channels),
        "shuffle": Shuffle,
        "layer_norm": lambda: ChannelsLast(channels),
        "group_norm": lambda: nn.GroupNorm(channels // 2, channels),
        "halves": lambda: Halves(channels),
        "pool": lambda: nn.MaxPool2d(3, stride=1, padding=1),
    }
    return single[kind](), channels


def build(kinds, widths, flat):
    channels = widths[0]
    modules = [conv(3, channels)]
    for kind, made in zip(kinds, widths[1:], strict=True):
        module, channels = block(kind, channels, made)
        modules.append(module)
    network = nn.Sequential(*modules, Ending(channels, flat)).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.uniform_(-0.3, 0.3)
            module.running_var.uniform_(0.5, 1.5)
    return network.double()


GRAPHS = {"drawn": 0, "cut": 0}
"""How many were drawn, and how many of them had something to cut."""


def test_every_cut_of_every_graph_is_exact():
    every_cut_of_every_graph_is_exact()
    assert GRAPHS["cut"] > 0.9 * GRAPHS["drawn"]


@settings(max_examples=100, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def every_cut_of_every_graph_is_exact(data):
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=1, max_size=4))
    width = st.sampled_from((4, 6, 8))
    widths = [data.draw(width) for _ in range(len(kinds) + 1)]
    torch.manual_seed(data.draw(st.integers(0, 1000)))
    network = build(kinds, widths, data.draw(st.booleans()))
    images = torch.randn(2, 3, SIDE, SIDE, dtype=torch.float64)
    GRAPHS["drawn"] += 1
    try:
        coupling = find_coupling(network, images)
        GRAPHS["cut"] += 1
    except NetworkError as error:
        # One fresh group norm can tie all there is; that is said, and nothing is cut.
        assert "nothing to prune" in str(error)
        return
    for _ in range(2):  # a cut, and a cut of the cut
        kept = torch.rand(coupling.channels) < data.draw(st.sampled_from((0.2, 0.5, 0.9)))
        for group in coupling.groups:
            kept[group.start + int(torch.randint(group.size, (1,)))] = True
        derived, after = derive(network, coupling, kept), coupling.after(kept)
        with torch.no_grad():
            masked = MaskedNetwork(network, coupling)(images, kept.double())
            logits = derived(images)
        assert float((masked - logits).abs().max()) <= 1e-9 * float(logits.abs().max() + 1)
        widths_kept = torch.tensor(list(coupling.widths(kept).values()), dtype=torch.float64)
        predicted = int(macs_cost(coupling)(widths_kept))
        measured = measured_macs(copy.deepcopy(derived).float(), (3, SIDE, SIDE))
        assert predicted == measured == macs_cost(after).full
        network, coupling = derived, after
