"""The descent: from the dense network down a falling list of budgets, each network from the one before."""

from __future__ import annotations

import dataclasses
import functools
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from nasprune.confusion import accuracy, by_name, worst_class_accuracy
from nasprune.copying import copy_of
from nasprune.cost import Cost, macs_cost, measured_macs
from nasprune.costing import COSTS, CostKind, cost_of
from nasprune.data.augment import Augmentation
from nasprune.errors import NetworkError, SettingsError
from nasprune.networks import count_parameters
from nasprune.scores import block_sizes, check_budget, cut_at_budget
from nasprune.search import SearchSettings, search
from nasprune.surgery import derive
from nasprune.training import TrainingSettings, confusion, evaluate, fit, recalibrate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from torch import nn

    from nasprune.compute import Compute
    from nasprune.confusion import Counts
    from nasprune.coupling import Coupling
    from nasprune.latency import LatencyTable
    from nasprune.lessons import EpochBatches, Lessons
    from nasprune.session import Session

# At full width a search brings little for its work; where few channels are left it decides more.
_SEARCH_GROWTH = 1.5


@dataclass(frozen=True, kw_only=True)
class DescentSettings:
    """How each budget is reached.

    Attributes:
        search: The search; with 0 epochs a plain criterion.
        tuning: Of each derived network, with distillation from the dense one.
        growth: The epochs of search and tuning are those of a network at full width; at a budget b those of tuning are
            multiplied by (1 / b) ** growth, and those of search by (1 / b) ** min(1, 1.5 * growth). Small networks need
            longer, and cost less: with 1 every budget would take the same multiply-adds, with 0 the same epochs.
        cost: What budgets are shares of: "macs", "params", or "latency" by a table of the target machine's.
        round_to: Widths are multiples of it, or whole.
        views: How many augmented views of each image the dense network is asked about, see `nasprune.answers`.
        batch_size: Images a step, in search and tuning.
        augmentation: Of training images.
    """

    search: SearchSettings = field(default_factory=SearchSettings)
    tuning: TrainingSettings = field(default_factory=lambda: TrainingSettings(epochs=16, learning_rate=0.03))
    growth: float = 0.6
    cost: CostKind = "macs"
    round_to: int = 1
    views: int = 8
    batch_size: int = 64
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        if not 0 <= self.growth <= 1:
            raise SettingsError(f"growth {self.growth:g} given; expected 0 to 1")
        if self.cost not in COSTS:
            raise SettingsError(f"cost '{self.cost}' given; expected one of {', '.join(COSTS)}")
        if not 1 <= self.round_to <= 256:
            raise SettingsError(f"widths rounded to {self.round_to} given; expected 1 to 256")
        if self.views < 1:
            raise SettingsError(f"{self.views} views given; expected at least 1")

    def epochs(self, budget: float) -> tuple[int, int]:
        """Epochs of search and of tuning at a budget."""
        longer = budget ** -min(1.0, _SEARCH_GROWTH * self.growth)
        search = max(1, round(self.search.epochs * longer)) if self.search.epochs else 0
        return search, max(1, round(self.tuning.epochs * budget**-self.growth))


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A derived, tuned, evaluated network.

    Attributes:
        network: On the compute's device, in evaluation mode.
        budget: The share of the dense network's cost that was wanted.
        cost: What that is a share of, see `DescentSettings`.
        cost_ratio: Share of the dense network's cost.
        widths: Channels each group kept.
        whole: Modules all of whose channels had to stay, with the reason.
        macs: Multiply-adds of one image.
        macs_ratio: Share of the dense network's.
        params: Trainable numbers.
        recalibrated_val_accuracy: Validation accuracy right after the cut, batch norm re-calibrated, in 0..1; NaN
            without validation images.
        val_accuracy: After tuning, in 0..1; NaN without validation images.
        test_accuracy: The same on the test images, by which nothing was chosen; NaN without test images.
        test_confusion: Which classes it takes for which there; empty without test images.
        seconds: What this process spent on it.
    """

    network: nn.Module
    budget: float
    cost: str
    cost_ratio: float
    widths: dict[str, int]
    whole: dict[str, str]
    macs: int
    macs_ratio: float
    params: int
    recalibrated_val_accuracy: float
    val_accuracy: float
    test_accuracy: float
    test_confusion: Counts
    seconds: float

    def measures(self, classes: Sequence[str]) -> dict[str, Any]:
        """All but the network, as JSON values; `classes` are the names of its logits."""
        named = by_name(self.test_confusion, classes)
        return {
            **{f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name != "network"},
            "test_confusion": named,
            "worst_class_test_accuracy": worst_class_accuracy(named),
        }


@dataclass(frozen=True, kw_only=True, eq=False)
class Descent:
    """A way down from one dense network.

    Attributes:
        dense: The trained dense network; left as it is. Layers frozen in it are trained in all that follow.
        coupling: Of the dense network.
        image: (bands, H, W), the shape of an image.
        lessons: Training batches with the dense network's logits. Nothing else trains or chooses.
        validation: Batches that each network is measured on, right after the cut and tuned.
        test: Batches that each finished network is measured on.
        settings: See there.
        compute: Device and precision.
        seed: Of dropout and a random criterion; batches carry their own.
        table: Times of the dense network's layers, for budgets of latency.
    """

    dense: nn.Module
    coupling: Coupling
    image: tuple[int, ...]
    lessons: Lessons
    validation: EpochBatches | None
    test: EpochBatches | None
    settings: DescentSettings
    compute: Compute
    seed: int
    table: LatencyTable | None = None

    def through(
        self,
        budgets: Sequence[float],
        session: Callable[[float], Session],
        *,
        reached: tuple[nn.Module, Mapping[str, int]] | None = None,
    ) -> Iterator[Pruned]:
        """Visit falling budgets; at each one search, cut, re-calibrate, tune and evaluate.

        The network shrinks for good at every budget, so that the next one costs less. With one budget this is the
        search of the paper.

        Args:
            budgets: Wanted shares of the dense network's cost, in (0, 1], each below the one before.
            session: Gives the session of a budget: reports and checkpoints of its phases "search" and "tune".
            reached: The finished network that the descent goes on from, and its widths; by default the dense one.
                A descent that was stopped and goes on from its last point gives what an undisturbed one does.

        Yields:
            The finished network of each budget; the next one starts from its copy.

        Raises:
            SettingsError: if a budget cannot be reached, or the budgets do not fall.
            NaspruneError: what the budget's `Session.run` raises.
        """
        start, coupling = self.dense, self.coupling
        cost = self.cost(coupling, self.dense)
        for budget in budgets:
            check_budget(budget, cost, block_sizes(coupling, self.settings.round_to))
        if sorted(set(budgets), reverse=True) != list(budgets):
            raise SettingsError(f"budgets {list(budgets)} given; expected each below the one before")
        if reached is not None:
            start, widths = reached
            coupling = coupling.after(coupling.first_channels(widths))
        network = _trainable(self.compute.place(copy_of(start)))
        for budget in budgets:
            pruned = self._reach(network, coupling, budget, session(budget))
            network = copy_of(pruned.network)
            coupling = self.coupling.after(self.coupling.first_channels(pruned.widths))
            yield pruned

    def finish(self, derived: nn.Module, widths: dict[str, int], budget: float, session: Session) -> Pruned:
        """Re-calibrate, tune and evaluate a network that was just cut, whichever way.

        Args:
            derived: The smaller network; it becomes the finished one.
            widths: Channels each group kept.
            budget: The share of the dense network's cost that was wanted.
            session: Reports and checkpoints, phase "tune".
        """
        start = time.monotonic()
        derived = _trainable(self.compute.place(derived))
        self.compute.seed(self.seed * 100_003 - 2)  # one that goes on here finds another chance than one that came here
        recalibrate(derived, self.lessons.batches, self.compute)
        recalibrated = _accuracy(derived, self.validation)
        searched, tuned = self.settings.epochs(budget)
        tuning = dataclasses.replace(self.settings.tuning, epochs=tuned)
        fit(
            derived, self.lessons, tuning, self.compute,
            phase="tune", seed=self.seed, session=session, first_epoch=searched,
        )  # fmt: skip
        macs, full = self._macs(derived), macs_cost(self.coupling).full
        cost_ratio = macs / full
        if self.settings.cost != "macs":
            reached = self.coupling.after(self.coupling.first_channels(widths))
            cost_ratio = self.cost(reached, derived).full / self.cost(self.coupling, self.dense).full
        tested = {} if self.test is None else confusion(derived, self.test)
        return Pruned(
            network=derived,
            budget=budget,
            cost=self.settings.cost,
            cost_ratio=cost_ratio,
            widths=widths,
            whole=dict(self.coupling.whole),
            macs=macs,
            macs_ratio=macs / full,
            params=count_parameters(derived),
            recalibrated_val_accuracy=recalibrated,
            val_accuracy=_accuracy(derived, self.validation),
            test_accuracy=accuracy(tested) if tested else float("nan"),
            test_confusion=tested,
            seconds=time.monotonic() - start,
        )

    @functools.cached_property
    def _elsewhere(self) -> int:
        """Multiply-adds outside of layers, as of a product in the network's own code: no budget's, and never cut."""
        return measured_macs(self.dense, self.image) - macs_cost(self.coupling).full

    def _macs(self, network: nn.Module) -> int:
        return measured_macs(network, self.image) - self._elsewhere

    def cost(self, coupling: Coupling, network: nn.Module) -> Cost:
        """What a network on this way costs, in the kind of cost that budgets are shares of."""
        return cost_of(self.settings.cost, coupling, network, self.table)

    def _reach(self, network: nn.Module, coupling: Coupling, budget: float, session: Session) -> Pruned:
        """From a network, which is used up, and its coupling to the finished one of a budget."""
        start = time.monotonic()
        cost = self.cost(coupling, network).to(self.compute.device)
        share = min(1.0, budget * self.cost(self.coupling, self.dense).full / cost.full)
        blocks = block_sizes(coupling, self.settings.round_to)
        if blocks is not None:
            blocks = blocks.to(self.compute.device)  # once, since every step of the search looks at them
        settings = dataclasses.replace(self.settings.search, epochs=self.settings.epochs(budget)[0])
        scores = search(
            network, coupling, cost, self.lessons, share, settings, self.compute,
            seed=self.seed, session=session, blocks=blocks,
        )  # fmt: skip
        cut = cut_at_budget(scores, coupling.group_of.to(self.compute.device), cost, share, blocks)
        derived = derive(network, coupling, cut.kept)
        macs, predicted = self._macs(derived), macs_cost(coupling.after(cut.kept)).full
        if macs != predicted:
            raise NetworkError(f"the cut network has {macs} MACs where {predicted} were predicted; please report this")
        pruned = self.finish(derived, coupling.widths(cut.kept), budget, session)
        return dataclasses.replace(pruned, seconds=time.monotonic() - start)


def _trainable(network: nn.Module) -> nn.Module:
    """The network with all of its weights learning: frozen layers must heal like others."""
    for parameter in network.parameters():
        parameter.requires_grad_(parameter.is_floating_point())  # an index or a count may be a parameter, too
    return network


def _accuracy(network: nn.Module, batches: EpochBatches | None) -> float:
    return float("nan") if batches is None else evaluate(network, batches)
