"""Training batches together with what the dense network says of their images."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import nn

    from nasprune.compute import Compute

Lesson = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Images (B, 3, S, S), labels (B,) and the teacher's logits (B, classes), where there is a teacher."""


class EpochBatches(Protocol):
    """Labelled batches, an epoch at a time."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images (B, 3, H, W), normalised, and labels (B,), on the device that computes."""
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
    """Training batches, and a teacher's logits for every batch as it is served.

    Args:
        batches: Augmented training batches.
        compute: Device and precision.
        teacher: The trained dense network, on that device; None serves labels only.
    """

    def __init__(self, batches: EpochBatches, compute: Compute, teacher: nn.Module | None = None) -> None:
        self.batches = batches
        self.teacher = teacher
        self._compute = compute

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Lesson]:
        """Serve an epoch of the batches."""
        for images, labels in self.batches.epoch(number):
            yield images, labels, None if self.teacher is None else self._ask(self.teacher, images)

    def _ask(self, teacher: nn.Module, images: torch.Tensor) -> torch.Tensor:
        teacher.eval()
        with torch.no_grad(), self._compute.autocast():
            logits: torch.Tensor = teacher(images)
        return logits.float()


class AnsweredOnce(Lessons):
    """Training batches, and what a teacher says of each image once and for all: the mean logits of a few views.

    Small students need hundreds of epochs, and a teacher asked in each would be most of the work. What it says of one
    view is also partly chance, of where the view was cut and how bright it is; the mean is what it says of the scene.

    Args:
        batches: Augmented training batches; views are those of their first epochs.
        compute: Device and precision.
        teacher: The trained dense network, on that device.
        views: How many augmented views of each image the teacher is asked about, at least 1, before the first lesson.
    """

    batches: KnownBatches
    teacher: nn.Module

    def __init__(self, batches: KnownBatches, compute: Compute, teacher: nn.Module, *, views: int) -> None:
        super().__init__(batches, compute, teacher)
        self._views = views

    def epoch(self, number: int) -> Iterator[Lesson]:
        """Serve an epoch of the batches."""
        answers = self._answers
        order = self.batches.order(number).to(answers.device)
        start = 0
        for images, labels in self.batches.epoch(number):
            yield images, labels, answers[order[start : start + len(images)]]
            start += len(images)

    @functools.cached_property
    def _answers(self) -> torch.Tensor:
        """(images, classes) mean logits."""
        total, times = self._heard(0)
        view = 1
        while view < self._views or not bool(times.all()):  # an epoch may leave out a short last batch
            more, again = self._heard(view)
            total += more
            times += again
            view += 1
        return total / times

    def _heard(self, view: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Logits (images, classes) of the views in an epoch, and how often it shows each image, (images, 1)."""
        said = torch.cat([self._ask(self.teacher, images) for images, _ in self.batches.epoch(view)])
        order = self.batches.order(view).to(said.device)
        count = self.batches.images_count
        logits = said.new_zeros(count, said.shape[1]).index_copy(0, order, said)
        return logits, said.new_zeros(count, 1).index_fill(0, order, 1.0)
