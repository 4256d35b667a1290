"""Training batches together with what the dense network says of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import torch

from nasprune.data.augment import Symmetry, turned

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import nn

    from nasprune.compute import Compute

Lesson = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]
"""Images (B, 3, S, S), labels (B,) and the teacher's logits (B, classes), where there is a teacher."""


class EpochBatches(Protocol):
    """Labelled batches, an epoch at a time, as `data.Batches` serves them."""

    def __len__(self) -> int:
        """Batches of an epoch."""
        ...

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Images (B, 3, H, W), normalised, and labels (B,), on the device that computes."""
        ...


class Lessons:
    """Augmented training batches, and a teacher's logits for these views.

    An epoch's number fixes its views. So the teacher is asked once an epoch number, and whoever trains on that
    epoch again (the search and the tuning of every budget of a descent) gets its answers from memory: 4 bytes
    a class and image. With a small student the teacher would else be most of the work.

    Views that come again come turned another way. A teacher that has learned scenes from all sides is taken to say of
    them what it said before, so that eight times as many views cost no more answers.

    Args:
        batches: Augmented training batches.
        compute: Device and precision.
        teacher: The trained dense network, on that device; None serves labels only.
        views: How many epoch numbers have views of their own; then they come again. None: all.
        symmetries: Ways to turn them, one each time they come, the first way first.
        remember: Whether an epoch's number fixes its views, so that the teacher need not be asked again.
    """

    def __init__(
        self,
        batches: EpochBatches,
        compute: Compute,
        teacher: nn.Module | None = None,
        *,
        views: int | None = None,
        symmetries: Sequence[Symmetry] = ((False, False, False),),
        remember: bool = True,
    ) -> None:
        self.batches = batches
        self.teacher = teacher
        self.views = views
        self._symmetries = symmetries
        self._remember = remember
        self._compute = compute
        self._answers: dict[int, list[torch.Tensor]] = {}

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return len(self.batches)

    def epoch(self, number: int) -> Iterator[Lesson]:
        """Serve every image once, as `Batches.epoch` does."""
        again, view = (0, number) if self.views is None else divmod(number, self.views)
        symmetry = self._symmetries[again % len(self._symmetries)]
        known = self._answers.setdefault(view, []) if self._remember else []
        for index, (images, labels) in enumerate(self.batches.epoch(view)):
            if self.teacher is None:
                yield turned(images, symmetry), labels, None
                continue
            if index == len(known):
                known.append(self._ask(images))
            yield turned(images, symmetry), labels, known[index]

    def _ask(self, images: torch.Tensor) -> torch.Tensor:
        assert self.teacher is not None  # noqa: S101 (for the type checker)
        self.teacher.eval()
        with torch.no_grad(), self._compute.autocast():
            logits: torch.Tensor = self.teacher(images)
        return logits.float()
