"""Chance that a recorded step does not see."""

from __future__ import annotations

import random

import numpy as np
import torch


class HostChance:
    """Finds out whether what runs inside draws from Python's, NumPy's or torch's own generator of the processor.

    A CUDA graph draws anew from the GPU's generator at each launch. What Python does with a number drawn here happens
    while recording alone, and would be repeated for ever. Generators that the code makes for itself are not watched.

    Attributes:
        drawn: Whether it did; known once it has run.
    """

    drawn: bool = False

    def __enter__(self) -> HostChance:
        self._before = _states()
        return self

    def __exit__(self, *_: object) -> None:
        self.drawn = _states() != self._before


def _states() -> tuple[object, ...]:
    numbers = np.random.get_state(legacy=False)  # noqa: NPY002 (of code that draws without a generator of its own)
    words = [word.tobytes() if isinstance(word, np.ndarray) else word for word in numbers["state"].values()]
    return random.getstate(), words, numbers["has_gauss"], torch.get_rng_state().numpy().tobytes()
