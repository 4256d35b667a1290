"""A network under a mask gives the gradients of one without the masked channels, however it saves memory."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from nasprune.compute import Compute
from nasprune.coupling import find_coupling
from nasprune.criteria import taylor
from nasprune.instead import backward
from nasprune.masking import MaskedNetwork
from nasprune.stepping import Step
from nasprune.surgery import derive
from nasprune.training import TrainingSettings, sgd
from tests.test_training import Given

CPU = Compute(device=torch.device("cpu"), bfloat16=False)
IMAGES, LABELS = torch.randn(6, 3, 12, 12, generator=torch.Generator().manual_seed(1)), torch.tensor([0, 1, 2, 0, 1, 2])


class Saving(nn.Module):
    """Computes a block anew for its backward pass, or not: of what runs another way under masks or on CPUs."""

    def __init__(self, *, saves: bool) -> None:
        super().__init__()
        self.first, self.norm = nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)
        self.second, self.layer_norm = nn.Conv2d(8, 12, 1, stride=2), nn.LayerNorm(12)
        self.third, self.last = nn.Linear(12, 10), nn.Linear(10, 3)
        self.saves = saves

    def block(self, features: torch.Tensor) -> torch.Tensor:
        rows = self.layer_norm(self.second(features).flatten(2).transpose(1, 2))
        return F.gelu(self.third(rows))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.first(images)).relu()
        rows = checkpoint(self.block, features, use_reentrant=False) if self.saves else self.block(features)
        return self.last(rows.mean(1))


def network(*, saves: bool) -> nn.Module:
    torch.manual_seed(0)
    return CPU.place(Saving(saves=saves))


def stepped(*, saves: bool, masked: bool) -> list[torch.Tensor]:
    """The loss, the mask's gradient where there is one, and the weights after a step in training."""
    net = network(saves=saves)
    coupling = find_coupling(net, IMAGES)
    under = MaskedNetwork(net, coupling).under
    step = Step(
        net.train(), lambda y, z, _: F.cross_entropy(y, z), sgd(net, SETTINGS), clip=9.0, compute=CPU, under=under
    )
    mask = torch.arange(coupling.channels).remainder(3).ne(0).float().requires_grad_() if masked else None
    loss, gradient = step(IMAGES.contiguous(memory_format=torch.channels_last), LABELS, None, mask, rate=0.1)
    return [loss, *([] if gradient is None else [gradient]), *net.state_dict().values()]


SETTINGS = TrainingSettings(epochs=1, learning_rate=0.1)


@pytest.mark.parametrize("masked", [True, False])
def test_gradient_checkpointing_changes_no_step(masked):
    plain, saving = (stepped(saves=saves, masked=masked) for saves in (False, True))
    assert all(map(torch.equal, plain, saving))


def test_gradient_checkpointing_changes_no_importance():
    nets = [network(saves=saves) for saves in (False, True)]
    found = [taylor(net, find_coupling(net, IMAGES), Given((IMAGES, LABELS)), CPU, 0) for net in nets]
    assert torch.equal(*found)
    assert found[0].min() > 0


@pytest.mark.parametrize("saves", [True, False])
def test_gradients_under_a_mask_are_those_of_the_smaller_network(saves):
    net = network(saves=saves).eval()
    coupling = find_coupling(net, IMAGES)
    kept = torch.arange(coupling.channels).remainder(3).ne(0)
    images, same = IMAGES.clone().requires_grad_(), IMAGES.clone().requires_grad_()
    with MaskedNetwork(net, coupling).under(kept.float()) as masked:
        backward(F.cross_entropy(masked(images), LABELS))
    F.cross_entropy(derive(net, coupling, kept)(same), LABELS).backward()
    assert torch.allclose(images.grad, same.grad, atol=1e-6, rtol=1e-4)
