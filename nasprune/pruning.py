"""One call for those who do not sweep: any network, their own batches, a budget."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from nasprune.compute import choose_compute
from nasprune.cost import macs_cost
from nasprune.costing import cost_of
from nasprune.coupling import find_coupling
from nasprune.descent import DescentSettings
from nasprune.errors import SettingsError
from nasprune.lessons import Lessons
from nasprune.networks import count_parameters
from nasprune.progress import Progress, Session
from nasprune.proof import proven
from nasprune.scores import block_sizes, check_budget, cut_at_budget
from nasprune.search import search
from nasprune.surgery import derive
from nasprune.training import evaluate, fit, recalibrate

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from nasprune.latency import LatencyTable

Labelled = Iterable[tuple[torch.Tensor, torch.Tensor]]
"""Batches of images (B, C, H, W) and labels (B,), as often as asked: a DataLoader, or a list."""


@dataclass(frozen=True, kw_only=True)
class Report:
    """A pruned network and what became of it.

    Attributes:
        network: In evaluation mode, on the device that computed.
        widths: Channels each group kept.
        whole: Modules that could not lose a channel, with the reason.
        macs: Multiply-adds of one image, before and after.
        params: Trainable numbers, before and after.
        accuracy: On the validation batches, in 0..1: of the network given, right after the cut with batch norm
            re-calibrated, and tuned. Empty without validation.
    """

    network: nn.Module
    widths: Mapping[str, int]
    whole: Mapping[str, str]
    macs: tuple[int, int]
    params: tuple[int, int]
    accuracy: tuple[float, ...]


def prune(
    network: nn.Module,
    example: torch.Tensor,
    train: Labelled,
    budget: float,
    *,
    validation: Labelled | None = None,
    settings: DescentSettings | None = None,
    table: LatencyTable | None = None,
    device: str = "auto",
    seed: int = 0,
    report: Callable[[Progress], None] = lambda _: None,
) -> Report:
    """Search, cut and tune a trained network, with itself as teacher.

    Args:
        network: Trained; left as it is.
        example: An input like the images, (B, C, H, W) with B at least 2; its values do not matter.
        train: Batches to search and tune with, augmented and normalised as the network was trained.
        budget: Wanted share of the network's cost, in (0, 1].
        validation: Batches to measure with.
        settings: How; epochs, kind of cost, rounding of widths.
        table: For a cost of latency, see `nasprune.latency`.
        device: "auto", "cpu" or "cuda".
        seed: Of dropout.
        report: Called after every epoch.

    Raises:
        NetworkError: if the network cannot be cut; the message names module and operation.
        SettingsError: if the budget cannot be reached, or there are no batches.
    """
    settings = settings or DescentSettings()
    compute = choose_compute(device)
    dense = compute.place(copy.deepcopy(network)).eval()
    batches, session = _Given(train, compute.device), Session(None, report)
    coupling = proven(dense, find_coupling(dense, example.to(compute.device)), example)
    cost = cost_of(settings.cost, coupling, dense, table).to(compute.device)
    blocks = block_sizes(coupling, settings.round_to)
    check_budget(budget, cost, blocks)
    lessons = Lessons(batches, compute, dense, remember=False)
    searched, tuned = settings.epochs(budget)
    start = compute.place(copy.deepcopy(dense))
    how = dataclasses.replace(settings.search, epochs=searched)
    scores = search(start, coupling, cost, lessons, budget, how, compute, seed=seed, session=session, blocks=blocks)
    cut = cut_at_budget(scores, coupling.group_of.to(compute.device), cost, budget, blocks)
    derived = compute.place(derive(start, coupling, cut.kept))
    recalibrate(derived, batches, compute)
    measured = [] if validation is None else [_accuracy(dense, validation, compute.device)]
    measured += [] if validation is None else [_accuracy(derived, validation, compute.device)]
    fit(
        derived, lessons, dataclasses.replace(settings.tuning, epochs=tuned), compute,
        phase="tune", seed=seed, session=session,
    )  # fmt: skip
    measured += [] if validation is None else [_accuracy(derived, validation, compute.device)]
    return Report(
        # In torch's own layout: who trains it on need not meet what `right_gradients` keeps us from.
        network=derived.eval().to(memory_format=torch.contiguous_format),
        widths=coupling.widths(cut.kept),
        whole=coupling.whole,
        macs=(macs_cost(coupling).full, macs_cost(coupling.after(cut.kept)).full),
        params=(count_parameters(dense), count_parameters(derived)),
        accuracy=tuple(measured),
    )


class _Given:
    """The caller's batches on the device."""

    def __init__(self, batches: Labelled, device: torch.device) -> None:
        self._batches, self._device = batches, device
        self._count = len(batches) if isinstance(batches, Sequence) else sum(1 for _ in batches)
        if not self._count:
            raise SettingsError("no batches given; expected (images, labels) that can be run through many times")

    def __len__(self) -> int:
        return self._count

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches once more; a loader shuffles and augments by itself."""
        for images, labels in self._batches:
            layout = torch.channels_last if images.dim() == 4 else torch.contiguous_format
            yield images.to(self._device, memory_format=layout), labels.to(self._device)


def _accuracy(network: nn.Module, batches: Labelled, device: torch.device) -> float:
    return evaluate(network, _Given(batches, device))
