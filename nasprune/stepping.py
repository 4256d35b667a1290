"""One step of training: forward, loss, backward, clipping and SGD; on a GPU launched as one piece."""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import nn

from nasprune.chance import HostChance
from nasprune.instead import backward
from nasprune.keeping import HostKeeping
from nasprune.strided import right_gradients

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager

    from nasprune.compute import Compute

_ORDINARY = 3  # steps before a recording: libraries choose and allocate what they need in these


class Stepped(NamedTuple):
    """What a step leaves; both may be overwritten by the next one."""

    loss: torch.Tensor
    """0-d, before the step."""
    mask_gradient: torch.Tensor | None
    """(C,) of the loss, where the mask asked for it."""


class _Captured(NamedTuple):
    graph: torch.cuda.CUDAGraph
    given: tuple[torch.Tensor | None, ...]
    stepped: Stepped


class Step:
    """Takes steps of SGD on a network's weights.

    A GPU computes a small network faster than a processor can tell it to, kernel by kernel. There the step is
    recorded as a CUDA graph for every shape of its inputs, once it has run a few times, and launched whole from then
    on: the same kernels in the same order. What the network does in Python happens while recording alone; one whose
    code waits for a value on the GPU, draws chance on the processor, or counts its passes there cannot be recorded, and
    goes on kernel by kernel.

    Args:
        network: Makes logits (B, classes) of images (B, bands, H, W). Nobody else moves its parameters and buffers in
            memory as long as the step is used.
        loss: 0-d from logits (B, classes), labels (B,) and the teacher's logits (B, classes) or None.
        optimizer: SGD over the weights, from `training.sgd`.
        clip: Largest norm of all weights' gradients together.
        compute: Device and precision.
        graphs: Whether steps are recorded where that is possible.
        under: Where steps are given a mask (C,), the context in which the network runs under it, over both passes: the
            backward pass of one with gradient checkpointing runs parts of the other again.
    """

    def __init__(
        self,
        network: nn.Module,
        loss: Callable[[torch.Tensor, torch.Tensor, torch.Tensor | None], torch.Tensor],
        optimizer: torch.optim.SGD,
        *,
        clip: float,
        compute: Compute,
        graphs: bool = True,
        under: Callable[[torch.Tensor], AbstractContextManager[object]] | None = None,
    ) -> None:
        self._network, self._loss, self._optimizer, self._clip, self._compute = network, loss, optimizer, clip, compute
        self._under = under
        self._weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        self._right = right_gradients(self._weights)
        self._graphs = graphs and compute.device.type == "cuda"
        # One for all recordings, since they are launched one after the other and what they leave is used at once.
        self._memory = torch.cuda.graph_pool_handle() if self._graphs else None
        self._taken: dict[object, int] = {}
        self._captured: dict[object, _Captured] = {}

    def __call__(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        taught: torch.Tensor | None = None,
        mask: torch.Tensor | None = None,
        *,
        rate: float,
    ) -> Stepped:
        """Take one step.

        Args:
            images: (B, bands, H, W), normalised, on the device.
            labels: (B,) class numbers.
            taught: (B, classes) the teacher's logits, if there is one.
            mask: (C,) to run under; its gradient is given back if it requires one, and goes no further.
            rate: Learning rate of this step.
        """
        for group in self._optimizer.param_groups:
            if isinstance(group["lr"], torch.Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        leaf = None if mask is None else mask.detach().requires_grad_(mask.requires_grad)
        given = (images, labels, taught, leaf)
        if not self._graphs:
            return self._ordinary(*given)
        kind = tuple(None if t is None else (t.shape, t.requires_grad) for t in given)
        if kind not in self._captured:
            self._taken[kind] = self._taken.get(kind, 0) + 1
            if self._taken[kind] < _ORDINARY:
                return self._ordinary(*given)
            if self._taken[kind] == _ORDINARY:
                return self._watched(given)
            captured = self._tried(given)
            if captured is None:
                self._record_no_more()
                return self._ordinary(*given)
            self._captured[kind] = captured
        captured = self._captured[kind]
        with torch.no_grad():
            for place, value in zip(captured.given, given, strict=True):
                if place is not None and value is not None:
                    place.copy_(value)
        captured.graph.replay()
        return captured.stepped

    def _ordinary(
        self,
        images: torch.Tensor,
        labels: torch.Tensor,
        taught: torch.Tensor | None,
        mask: torch.Tensor | None,
    ) -> Stepped:
        self._optimizer.zero_grad(set_to_none=True)
        with self._right, self._masked(mask):
            with self._compute.autocast():
                logits = self._network(images)
            loss = self._loss(logits, labels, taught)
            backward(loss)
        nn.utils.clip_grad_norm_(self._weights, self._clip)
        self._optimizer.step()
        return Stepped(loss.detach(), None if mask is None else mask.grad)

    def _masked(self, mask: torch.Tensor | None) -> AbstractContextManager[object]:
        if mask is None:
            return nullcontext()
        assert self._under is not None  # noqa: S101 (for the type checker)
        return self._under(mask)

    def _watched(self, given: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None]) -> Stepped:
        """An ordinary step that finds out whether it can be recorded: trying would leave dropout broken where not."""
        before = torch.cuda.get_sync_debug_mode()
        chance, keeping = HostChance(), HostKeeping(self._network)
        with warnings.catch_warnings(record=True) as told, chance, keeping:
            warnings.simplefilter("always")
            torch.cuda.set_sync_debug_mode("warn")
            try:
                stepped = self._ordinary(*given)
            finally:
                torch.cuda.set_sync_debug_mode(before)
        waited = any("called a synchronizing CUDA operation" in str(each.message) for each in told)
        if waited or chance.drawn or keeping.changed:
            self._record_no_more()
        return stepped

    def _record_no_more(self) -> None:
        """Go on kernel by kernel, without the memory of steps that were recorded for other shapes."""
        self._graphs = False
        self._captured.clear()
        torch.cuda.empty_cache()

    def _tried(self, given: tuple[torch.Tensor | None, ...]) -> _Captured | None:
        """A recording, or None where none can be made: nothing is left of the attempt, whose memory may be needed."""
        chance = torch.cuda.default_generators[torch.cuda.current_device()]
        before = chance.clone_state()
        try:
            return self._capture(given)
        except RuntimeError:  # whatever else may not be done while recording; steps are right without
            torch.cuda.synchronize()
            chance.graphsafe_set_state(before)  # the old state still waits for the recording's end
        return None

    def _capture(self, given: tuple[torch.Tensor | None, ...]) -> _Captured:
        """Record a step; nothing is computed yet."""
        own = tuple(None if t is None else t.detach().clone().requires_grad_(t.requires_grad) for t in given)
        graph = torch.cuda.CUDAGraph()
        # Other threads of the process go on meanwhile, such as those of a loader that pins memory.
        with torch.cuda.graph(graph, pool=self._memory, capture_error_mode="thread_local"):
            stepped = self._ordinary(*own)  # type: ignore[arg-type]
        return _Captured(graph, own, stepped)
