"""Training batches together with what the dense network says of their images."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from nasprune.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from nasprune.compute import Compute

Lesson = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Images (B, bands, S, S), labels (B,) and the teacher's logits (B, classes), where there is a teacher."""


class EpochBatches(Protocol):
    """Labelled batches, an epoch at a time."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images (B, bands, H, W), normalised, and labels (B,), on the device that computes."""
        ...


class KnownBatches(EpochBatches, Protocol):
    """Batches that know which image is which, as `data.Batches` does."""

    @property
    def images_count(self) -> int:
        """How many images there are."""
        ...

    def order(self, number: int) -> torch.Tensor:
        """int64 (n,) in 0..images_count - 1: which images an epoch serves, one after the other."""
        ...


class Lessons:
    """Training batches, of which their labels are all there is to learn from.

    Args:
        batches: Augmented training batches.
    """

    def __init__(self, batches: EpochBatches) -> None:
        self.batches = batches

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Lesson]:
        """Serve an epoch of the batches."""
        for images, labels in self.batches.epoch(number):
            yield images, labels, None


class AskedLessons(Lessons):
    """Training batches, and what a teacher says of each as it is served.

    Args:
        batches: Augmented training batches.
        compute: Device and precision.
        teacher: The trained dense network, on that device.
    """

    def __init__(self, batches: EpochBatches, compute: Compute, teacher: nn.Module) -> None:
        super().__init__(batches)
        self._compute = compute
        self._teacher = teacher

    def epoch(self, number: int) -> Iterator[Lesson]:
        """Serve an epoch of the batches."""
        for images, labels in self.batches.epoch(number):
            yield images, labels, ask(self._teacher, images, self._compute)


class AnsweredLessons(Lessons):
    """Training batches, and for each image what a teacher has said of it once and for all.

    Args:
        batches: Augmented training batches.
        answers: (images, classes) float32 logits, on the device of the batches; see `nasprune.answers`.

    Raises:
        SettingsError: if there is not one answer for each image.
    """

    batches: KnownBatches

    def __init__(self, batches: KnownBatches, answers: torch.Tensor) -> None:
        super().__init__(batches)
        if len(answers) != batches.images_count:
            raise SettingsError(
                f"answers on {len(answers)} images given; expected one for each of the {batches.images_count} training "
                "images; ask the dense network about these images"
            )
        self._answers = answers

    def epoch(self, number: int) -> Iterator[Lesson]:
        """Serve an epoch of the batches."""
        order = self.batches.order(number).to(self._answers.device)
        start = 0
        for images, labels in self.batches.epoch(number):
            yield images, labels, self._answers[order[start : start + len(images)]]
            start += len(images)


def ask(teacher: nn.Module, images: torch.Tensor, compute: Compute) -> torch.Tensor:
    """What a teacher says of images: float32 logits (B, classes)."""
    teacher.eval()
    with torch.no_grad(), compute.autocast():
        logits: torch.Tensor = teacher(images)
    return logits.float()
