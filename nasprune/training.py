"""Training, distillation, batch-norm re-calibration and evaluation."""

from __future__ import annotations

import math
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional as F

from nasprune.confusion import accuracy
from nasprune.errors import DataError, SettingsError
from nasprune.ranges import check_ranges
from nasprune.session import Session, State
from nasprune.stepping import Step

if TYPE_CHECKING:
    from nasprune.compute import Compute
    from nasprune.confusion import Counts
    from nasprune.lessons import EpochBatches, Lessons


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """How a network is trained or tuned.

    Attributes:
        epochs: Passes over the training images.
        learning_rate: Peak of the one-cycle schedule of SGD.
        momentum: Nesterov momentum; 0 for none.
        weight_decay: On weights of convolution and linear layers only.
        label_smoothing: Share of the label spread over all classes, where there is no teacher.
        warm_up: Share of all steps in which the learning rate rises.
        clip: Largest norm of the gradient; keeps networks without batch norm from diverging.
        distillation: Share of the loss that comes from the teacher, where there is one.
        temperature: Of teacher and student logits in the distillation loss.
    """

    epochs: int
    learning_rate: float = 0.05
    momentum: float = 0.9
    weight_decay: float = 5e-4
    label_smoothing: float = 0.1
    warm_up: float = 0.2
    clip: float = 5.0
    distillation: float = 0.7
    temperature: float = 4.0

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise SettingsError(f"{self.epochs} epochs given; expected at least 1")
        if not 0 < self.learning_rate < 10:
            raise SettingsError(f"learning rate {self.learning_rate:g} given; expected above 0 and below 10")
        if not self.clip > 0:
            raise SettingsError(f"clip {self.clip:g} given; expected a norm above 0, or infinity for no clipping")
        check_ranges(self, _RANGES, "training")


_RANGES = (
    ("momentum", 0, 0.999),
    ("weight_decay", 0, 1),
    ("label_smoothing", 0, 1),
    ("warm_up", 0, 1),
    ("distillation", 0, 1),
    ("temperature", 0.1, 100),
)


_LAYERS = (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, nn.Linear)


def one_cycle(share: float, warm_up: float) -> float:
    """Share of the peak learning rate after `share` of all steps: cosine up, then cosine down to 0.

    The shape of Smith and Topin's super-convergence schedule (2019), without its momentum cycle. A function of
    the step alone, so that a resumed run needs no scheduler state.
    """
    if share < warm_up:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * share / warm_up)) / 2
    return (1 + math.cos(math.pi * (share - warm_up) / (1 - warm_up))) / 2


def distillation_loss(
    logits: torch.Tensor, teacher_logits: torch.Tensor | None, labels: torch.Tensor, share: float, temperature: float
) -> torch.Tensor:
    """`(1 - share) * cross entropy + share * T^2 * KL(teacher || student)` (Hinton et al. 2015).

    Without a teacher the cross entropy alone.

    Args:
        logits: (B, classes) of the student.
        teacher_logits: (B, classes) of the teacher, or None.
        labels: (B,) class numbers.
        share: Weight of the teacher's part, in 0..1.
        temperature: T, applied to both.
    """
    if teacher_logits is None:
        return F.cross_entropy(logits.float(), labels)
    student = F.log_softmax(logits.float() / temperature, dim=1)
    teacher = F.log_softmax(teacher_logits.float() / temperature, dim=1)
    divergence = F.kl_div(student, teacher, reduction="batchmean", log_target=True) * temperature**2
    return (1 - share) * F.cross_entropy(logits.float(), labels) + share * divergence


def sgd(network: nn.Module, settings: TrainingSettings) -> torch.optim.SGD:
    """SGD with Nesterov momentum; biases, norms and scales of channels do not decay.

    On a GPU the learning rate is a tensor there, so that a recorded step may read it, see `stepping`.
    """
    layers = (module for module in network.modules() if isinstance(module, _LAYERS))
    of_layers = {id(p) for layer in layers for p in layer.parameters(recurse=False)}

    def decays(p: nn.Parameter) -> bool:
        # A number for each channel may be spread over axes of length 1, as ConvNeXt's scale, (C, 1, 1), is. So is the
        # weight of a layer that was cut to one channel.
        return p.dim() > 1 and (id(p) in of_layers or p.numel() > max(p.shape))

    trained = [p for p in network.parameters() if p.is_floating_point()]
    decayed = [p for p in trained if decays(p)]
    others = [p for p in trained if not decays(p)]
    groups = [
        {"params": decayed, "weight_decay": settings.weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    device = next(network.parameters()).device
    rate = torch.tensor(settings.learning_rate, device=device) if device.type == "cuda" else settings.learning_rate
    momentum = settings.momentum
    optimizer = torch.optim.SGD(groups, lr=rate, momentum=momentum, nesterov=momentum > 0, fused=True)
    if momentum:
        for p in trained:  # the fused kernels refuse weights that begin later than others, as those of a layer left out
            optimizer.state[p]["momentum_buffer"] = torch.zeros_like(p)
    return optimizer


def fit(
    network: nn.Module,
    lessons: Lessons,
    settings: TrainingSettings,
    compute: Compute,
    *,
    phase: str,
    seed: int,
    session: Session,
    first_epoch: int = 0,
) -> None:
    """Train `network` in place, from labels and, where the lessons have one, from a teacher.

    Args:
        network: On the compute's device.
        lessons: Augmented training batches.
        settings: See there.
        compute: Device and precision.
        phase: Name for reports and checkpoints.
        seed: Of dropout, with the epoch's number; batches carry their own.
        session: Reports and checkpoints.
        first_epoch: Number of the lessons' epoch to begin with.
    """
    optimizer = sgd(network, settings)
    steps = settings.epochs * len(lessons)

    def loss(logits: torch.Tensor, labels: torch.Tensor, taught: torch.Tensor | None) -> torch.Tensor:
        if taught is None:
            return F.cross_entropy(logits.float(), labels, label_smoothing=settings.label_smoothing)
        return distillation_loss(logits, taught, labels, settings.distillation, settings.temperature)

    step = Step(network, loss, optimizer, clip=settings.clip, compute=compute)

    def train_epoch(epoch: int) -> dict[str, float]:
        network.train()
        compute.seed(seed * 100_003 + first_epoch + epoch)
        total = torch.zeros((), device=compute.device)
        for index, (images, labels, taught) in enumerate(lessons.epoch(first_epoch + epoch)):
            rate = settings.learning_rate * one_cycle((epoch * len(lessons) + index) / steps, settings.warm_up)
            total += step(images, labels, taught, rate=rate).loss
        return {"loss": float(total) / len(lessons)}

    session.run(
        phase,
        settings.epochs,
        train_epoch,
        State(modules={"network": network}, optimizers={"sgd": optimizer}),
    )
    network.zero_grad()  # of no more use, and on a GPU they hold on to the memory of the recorded step
    network.eval()


_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def recalibrate(network: nn.Module, batches: EpochBatches, compute: Compute) -> None:
    """Set every batch norm's statistics afresh, as the plain average over one epoch of training images.

    After channels were removed or re-weighted the old statistics no longer describe what flows
    (EagleEye, Li et al. 2020). Does nothing to networks without batch norm.
    """
    norms = [module for module in network.modules() if isinstance(module, _BATCH_NORMS) and module.track_running_stats]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    calls: dict[nn.Module, int] = dict.fromkeys(norms, 0)

    def counted(norm: Any, _: object) -> None:  # noqa: ANN401 (any of the kinds above)
        calls[norm] += 1
        norm.momentum = 1 / calls[norm]  # the cumulative average; torch's own waits for its counter in every layer

    network.eval()
    with ExitStack() as hooks, torch.no_grad(), compute.autocast():
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
            hooks.enter_context(norm.register_forward_pre_hook(counted))  # a norm may be called more than once a batch
        for number, (images, _) in enumerate(batches.epoch(0), 1):
            for norm in norms:
                norm.momentum = 1 / number  # where it is read without a call
            network(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.eval()


def evaluate(network: nn.Module, batches: EpochBatches) -> float:
    """Accuracy in 0..1 on all images of `batches`, in float32."""
    return accuracy(confusion(network, batches))


def confusion(network: nn.Module, batches: EpochBatches) -> Counts:
    """The confusion matrix on all images of `batches`, in float32.

    Raises:
        DataError: if a label stands for no logit.
    """
    network.eval()
    classes = 0
    pairs = []  # summed up at the end, since a count of them would wait for the device
    with torch.no_grad():  # what code keeps of a pass in inference mode could not be trained with
        for images, labels in batches.epoch(0):
            logits = network(images)
            classes = logits.shape[1]
            pairs.append(labels.long() * classes + logits.argmax(1))
        found, images_of_each = torch.cat(pairs).unique(return_counts=True)  # type: ignore[no-untyped-call]
    least, most = int(found[0]) // classes, int(found[-1]) // classes
    if least < 0 or most >= classes:
        raise DataError(f"labels from {least} to {most} given; expected 0 to {classes - 1}, one for each logit")
    return {divmod(pair, classes): count for pair, count in zip(found.tolist(), images_of_each.tolist(), strict=True)}
