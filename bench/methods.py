"""Ways to prune, all with one signature and the same tuning: ours, plain criteria, and the torch-pruning package's."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import nn
from torch.nn import functional as F

from nasprune.artifact import Artifact, network_settings
from nasprune.cost import macs_cost, measured_macs
from nasprune.coupling import find_coupling
from nasprune.data import SceneData
from nasprune.descent import Descent, Pruned
from nasprune.networks import build
from nasprune.progress import Progress
from nasprune.scores import cut_at_budget
from nasprune.search import SearchSettings
from nasprune.session import Session
from nasprune.strided import right_gradients
from nasprune.surgery import derive

Family = Literal["ours", "criterion", "torch-pruning", "control"]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all methods are given.

    Attributes:
        dense: The dense network and its record.
        data: The data set it was trained on.
        down: The way down from it: lessons, settings, seed.
        budgets: Falling shares of its MACs.
        missing: Those of them that no row is there for; a method that goes from budget to budget visits all.
        search_epochs: Of methods that search.
        tune_epochs: Of methods that search; the others get both.
        grown_epochs: Of search and of tuning at full width, in descents whose epochs grow as budgets fall.
        found: The widths that our own descent of this seed ended with at a budget.
        report: Called after every epoch.
    """

    dense: Artifact
    data: SceneData
    down: Descent
    budgets: tuple[float, ...]
    missing: tuple[float, ...]
    search_epochs: int
    tune_epochs: int
    grown_epochs: tuple[int, int]
    found: Callable[[float], dict[str, int]]
    report: Callable[[Progress], None]

    @property
    def epochs(self) -> int:
        """Of every method at every budget."""
        return self.search_epochs + self.tune_epochs

    @property
    def dense_epochs(self) -> int:
        """That the dense network was trained for."""
        return int(self.dense.record["settings"]["training"]["epochs"])

    def descent(self, *, grown: bool = False, **search: float | str) -> Descent:
        """The way down with these search settings; without search epochs tuning gets them.

        Grown, fewer epochs are spent at full width and more on smaller networks; else all budgets get the same epochs.
        """
        epochs, tuned = self.grown_epochs if grown else (self.search_epochs, self.tune_epochs)
        given = SearchSettings(**{"epochs": epochs, **search})  # type: ignore[arg-type]
        tuning = dataclasses.replace(self.down.settings.tuning, epochs=epochs + tuned - given.epochs)
        growth = self.down.settings.growth if grown else 0.0
        settings = dataclasses.replace(self.down.settings, search=given, tuning=tuning, growth=growth)
        return dataclasses.replace(self.down, settings=settings)

    def session(self, _: float) -> Session:
        """No checkpoints: a run is a few minutes."""
        return Session(None, self.report)

    def start(self) -> nn.Module:
        """A copy of the dense network."""
        return self.down.compute.place(copy.deepcopy(self.down.dense))

    def finish(self, derived: nn.Module, budget: float) -> Pruned:
        """Tune a network that was cut elsewhere for as many epochs as our own search and tuning take."""
        coupling = find_coupling(derived, torch.zeros(2, *self.down.image, device=self.down.compute.device))
        widths = {group.name: group.size for group in coupling.groups}
        return self.descent(epochs=0).finish(derived, widths, budget, self.session(budget))


@dataclass(frozen=True, kw_only=True)
class Method:
    """A way to prune.

    Attributes:
        family: For the table.
        importance_passes: Passes over the training images, forward and backward, that its importance takes.
        iterative: Each budget from the network of the one before; else each from the dense one.
        run: Gives the finished network of each budget.
    """

    family: Family
    importance_passes: int = 0
    iterative: bool
    run: Callable[[Bench], Iterator[Pruned]]


def searched(
    *, iterative: bool = True, grown: bool = False, **search: float | str
) -> Callable[[Bench], Iterator[Pruned]]:
    """The search of this project; with `epochs=0` a plain criterion in its pipeline."""

    def run(bench: Bench) -> Iterator[Pruned]:
        down = bench.descent(grown=grown, **search)
        for budgets in [bench.budgets] if iterative else [(budget,) for budget in bench.missing]:
            yield from down.through(budgets, bench.session)

    return run


_RATIOS = tuple(share / 64 for share in range(1, 64))


def torch_pruning(importance: str, scope: str, *, iterative: bool) -> Callable[[Bench], Iterator[Pruned]]:
    """A pruner of the torch-pruning package, at that of 63 channel ratios whose MACs come nearest below the budget."""

    def run(bench: Bench) -> Iterator[Pruned]:
        pruner = _TorchPruner(bench.start(), importance, scope, bench)
        for budget in bench.budgets if iterative else bench.missing:
            pruned = bench.finish(pruner.within(budget * bench.dense.record["macs"]), budget)
            if iterative:
                pruner = _TorchPruner(copy.deepcopy(pruned.network), importance, scope, bench)
            yield pruned

    return run


class _TorchPruner:
    """Prunes copies of one network."""

    def __init__(self, network: nn.Module, importance: str, scope: str, bench: Bench) -> None:
        self._network, self._importance, self._scope = network.eval(), importance, scope
        self._example = torch.zeros(1, *bench.down.image, device=bench.down.compute.device)
        network.zero_grad()
        if importance == "taylor":
            for images, labels in bench.down.lessons.batches.epoch(0):
                with right_gradients(network.parameters()):
                    F.cross_entropy(network(images), labels).backward()
        self._gradients = [parameter.grad for parameter in network.parameters()]
        self._macs: dict[float, int] = {}

    def within(self, macs: float) -> nn.Module:
        """The copy of most MACs up to these; of equal ones that of the least ratio."""
        # No bisection: the package leaves a layer whole that would lose all its channels, so MACs do not always fall.
        for ratio in _RATIOS:
            if ratio not in self._macs:
                self._macs[ratio] = measured_macs(self._at(ratio), tuple(self._example.shape[1:]))
        fitting = [ratio for ratio in _RATIOS if self._macs[ratio] <= macs]
        if not fitting:
            raise SystemExit(f"torch-pruning {self._importance}, {self._scope} reaches no network of {macs:g} MACs")
        best = self._at(max(fitting, key=self._macs.__getitem__))
        best.zero_grad()
        return best

    def _at(self, ratio: float) -> nn.Module:
        import torch_pruning as tp

        kinds = {
            "magnitude": lambda: tp.importance.GroupMagnitudeImportance(p=2),
            "taylor": tp.importance.GroupTaylorImportance,
            "bn-scale": tp.importance.BNScaleImportance,
            "fpgm": tp.importance.FPGMImportance,
        }
        smaller = copy.deepcopy(self._network)
        for parameter, gradient in zip(smaller.parameters(), self._gradients, strict=True):
            parameter.grad = None if gradient is None else gradient.clone()  # a copied parameter loses it
        pruner = tp.pruner.BasePruner(
            smaller, self._example, importance=kinds[self._importance](), pruning_ratio=ratio,
            global_pruning=self._scope != "local", isomorphic=self._scope == "isomorphic",
            ignored_layers=[list(smaller.modules())[-1]],
        )  # fmt: skip
        pruner.step()
        return smaller


def thinner(bench: Bench) -> Iterator[Pruned]:
    """A control: the same architecture, thinner by one factor everywhere, from scratch with the teacher.

    It gets as many epochs as the dense network and the whole descent down to the budget together. The least budget,
    which is done soonest, comes first.
    """
    coupling = bench.down.coupling
    # By rank within its group: every group keeps the same share.
    ranks = torch.cat([torch.arange(group.size) / group.size for group in coupling.groups])
    for budget in reversed(bench.missing):
        cut = cut_at_budget(-ranks, coupling.group_of, macs_cost(coupling), budget)
        yield _from_scratch(bench, coupling.widths(cut.kept), budget)


def same_widths(bench: Bench) -> Iterator[Pruned]:
    """A control: the widths that our descent found, from scratch, for as many epochs as `thinner` gets."""
    for budget in reversed(bench.missing):
        yield _from_scratch(bench, bench.found(budget), budget)


def _from_scratch(bench: Bench, widths: dict[str, int], budget: float) -> Pruned:
    spent = [sum(bench.descent(grown=True).settings.epochs(above)) for above in bench.budgets if above >= budget]
    epochs = bench.dense_epochs + sum(spent)
    network = build(network_settings(bench.dense.record), seed=bench.down.seed)
    coupling = bench.down.coupling
    derived = derive(network, coupling, coupling.first_channels(widths))
    torch.manual_seed(bench.down.seed)
    for module in derived.modules():  # fresh weights of the small shapes, not slices of the wide network's
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.Linear):
            module.reset_parameters()
    down = bench.descent(epochs=0)
    tuning = dataclasses.replace(down.settings.tuning, epochs=epochs, learning_rate=0.05)
    down = dataclasses.replace(down, settings=dataclasses.replace(down.settings, tuning=tuning))
    return down.finish(derived, widths, budget, bench.session(budget))


def _ours(family: Family, *, iterative: bool = True, grown: bool = False, **search: float | str) -> Method:
    passes = 1 if search.get("initial", "taylor") == "taylor" else 0
    run = searched(iterative=iterative, grown=grown, **search)
    return Method(family=family, importance_passes=passes, iterative=iterative, run=run)


def _theirs(kind: str, scope: str, *, iterative: bool) -> Method:
    run = torch_pruning(kind, scope, iterative=iterative)
    return Method(family="torch-pruning", importance_passes=int(kind == "taylor"), iterative=iterative, run=run)


METHODS: dict[str, Method] = {
    "descent": _ours("ours", grown=True),
    "descent, same epochs": _ours("ours"),
    "descent, scores frozen": _ours("ours", grown=True, learn="frozen"),
    "descent, same epochs, scores frozen": _ours("ours", learn="frozen"),
    "descent, same epochs, scores by gradient": _ours("ours", learn="gradient"),
    "target": _ours("ours", iterative=False),
    "Taylor over cost, descent": _ours("criterion", grown=True, epochs=0),
    "Taylor over cost, descent, same epochs": _ours("criterion", epochs=0),
    "Taylor over cost, one shot": _ours("criterion", iterative=False, epochs=0),
    **{
        f"{name}, one shot": _ours(
            "criterion", iterative=False, epochs=0, initial=initial, scale=scale, cost_exponent=0.0
        )
        for name, initial, scale in (
            ("L1, uniform widths", "l1", "uniform"),
            ("FPGM, uniform widths", "fpgm", "uniform"),
            ("BN scale, global", "bn_scale", "global"),
            ("random, global", "random", "global"),
        )
    },
    **{
        f"torch-pruning {kind}, {scope}, {'iterative' if iterative else 'one shot'}": _theirs(
            kind, scope, iterative=iterative
        )
        for kind in ("magnitude", "taylor", "bn-scale", "fpgm")
        for scope in ("local", "isomorphic", "global")
        for iterative in (False, True)
    },
    "same widths, from scratch": Method(family="control", iterative=False, run=same_widths),
    "uniformly thinner, from scratch": Method(family="control", iterative=False, run=thinner),
}
