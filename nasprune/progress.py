"""What each epoch reports. Without torch: it is also read where nothing is computed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, kw_only=True)
class Progress:
    """One finished epoch.

    Attributes:
        phase: "dense", "ask", "search" or "tune".
        epoch: Epochs of this phase done so far.
        epochs: Epochs this phase has.
        metrics: What the epoch measured (loss, seconds, ...).
    """

    phase: str
    epoch: int
    epochs: int
    metrics: Mapping[str, float]
