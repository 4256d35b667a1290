"""What every form of the report shows: the front's numbers as columns, its names as words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nasprune.catalog import CATALOG
from nasprune.confusion import confidence
from sweep.front import on_front
from sweep.report.geometry import accuracy_range, cost_range, stairs_of

_TICKS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0)
_WIDEST = 0.05  # the cost axis always reaches from this share of the dense MACs to all of them
_MOST_TICKS = 7  # of the cost axis: more have no room on a phone
_MOST_BUDGETS = 7  # that a legend names
WORTH = 1.05  # a point is labelled if the next one of the front costs at least 5 % more

# Dark blue over green to ochre: of steady lightness steps, so it can be read by the colour-blind and in grey.
_SCALE = np.array([[46, 35, 108], [48, 92, 141], [32, 145, 140], [94, 186, 92], [214, 178, 42]], float)


@dataclass(frozen=True, kw_only=True)
class Axis:
    """A kind of cost that a front can be drawn against."""

    key: str  # of points and of the dense network
    name: str  # in a word or two
    title: str
    shown: Callable[[float], str]  # with its unit
    precision: str | None = None  # of the file for the board that is measured; None if it is the network itself

    def accuracy(self, record: Mapping[str, Any]) -> float:
        """Validation accuracy of what is measured: of the very file where that is known, else of its network.

        An INT8 file may be far worse than the network that it was made of, and its latency is worth nothing then.
        """
        return float(record.get(f"{self.precision}_val_accuracy", record["val_accuracy"]))

    def known(self, record: Mapping[str, Any]) -> bool:
        """Whether the accuracy of the very file is known."""
        return f"{self.precision}_val_accuracy" in record

    def told(self, record: Mapping[str, Any], dense: Mapping[str, Any] | None = None) -> list[str]:
        """What a point or a dense network measures on this axis, in lines; none on that of MACs, which all have.

        Args:
            record: Its record.
            dense: That of the dense network, if a share of it is to be told.
        """
        if self.precision is None:
            return []
        cost = f"{self.name}: {self.shown(record[self.key])}"
        if dense is not None:
            cost += f" · {percent(record[self.key] / dense[self.key], 2)} of dense"
        accuracies = [
            f"{name} {percent(record[key], 2)}"
            for name, kind in (("validation", "val"), ("test", "test"))
            if (key := f"{self.precision}_{kind}_accuracy") in record
        ]
        lines = [cost, *([f"this file: {' · '.join(accuracies)}"] if accuracies else [])]
        return lines + [f"measured on {machine}" for machine in self.machines([record])]

    def machines(self, records: Iterable[Mapping[str, Any]]) -> list[str]:
        """The machines that these records' latencies are of, in order; none on any other axis."""
        those = [each for each in records if self.key in each and self.key.endswith("latency_ms")]
        return sorted({str(each.get("board_machine") or "an unnamed machine") for each in those})

    def warning(self, records: Iterable[Mapping[str, Any]]) -> str:
        """What keeps these records from being compared on this axis, in a sentence; mostly nothing."""
        several = self.machines(records)
        if len(several) < 2:
            return ""
        return (
            f"These latencies were measured on several machines, so they make no front: {'; '.join(several)}. "
            "python -m nasprune.shipping measures a point again, on another."
        )


def count(number: float) -> str:
    """Return a large count in three digits and a unit: 557,000,000 as "557 M"."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if number >= 0.9995 * size:
            scaled = number / size
            return f"{scaled:.{max(0, 2 - math.floor(math.log10(scaled) + 1e-3))}f} {unit}"
    return f"{number:.0f}"


def megabytes(number: float) -> str:
    """Return bytes as "1.23 MB"."""
    return f"{number / 1e6:.2f} MB"


def milliseconds(number: float) -> str:
    """Return milliseconds as "1.23 ms"."""
    return f"{number:.2f} ms"


MACS = Axis(key="macs", name="MACs", title="multiply-adds of one image", shown=count)
AXES = (
    MACS,
    Axis(
        key="float32_latency_ms",
        name="latency, float32",
        title="latency of one image, float32, one thread",
        shown=milliseconds,
        precision="float32",
    ),
    Axis(
        key="int8_latency_ms",
        name="latency, INT8",
        title="latency of one image, INT8, one thread",
        shown=milliseconds,
        precision="int8",
    ),
    Axis(
        key="float32_bytes",
        name="size, float32",
        title="size of the float32 ONNX file",
        shown=megabytes,
        precision="float32",
    ),
    Axis(
        key="int8_bytes",
        name="size, INT8",
        title="size of the INT8 ONNX file",
        shown=megabytes,
        precision="int8",
    ),
)
"""All but the first are known of points whose files for the board were measured."""


@dataclass(frozen=True, kw_only=True)
class View:
    """A front, ready to be drawn; everything by points is in the order of the record."""

    axis: Axis
    title: str
    subtitle: str
    dense: Mapping[str, Any]
    points: tuple[Mapping[str, Any], ...]
    shares: NDArray[np.float64]  # of the dense network's cost, (N,)
    accuracies: NDArray[np.float64]  # on the validation images, of what is measured, (N,)
    front: NDArray[np.intp]  # which points are on the front, cheap ones first
    budgets: tuple[float, ...]  # of all points of the study, rising, so that one has the same colour on every axis
    floor: float  # lowest accuracy the axis shows
    top: float  # highest accuracy the axis shows

    @property
    def cost_title(self) -> tuple[str, str]:
        """What the cost axis shows, in two lines."""
        dense = self.axis.shown(self.dense[self.axis.key])
        return f"{self.axis.title},", f"share of the dense network's {dense} (log scale)"

    @property
    def accuracy_title(self) -> str:
        """What the accuracy axis shows."""
        return accuracy_title(self.axis, self.points)

    @property
    def dense_accuracy(self) -> float:
        """The dense network's accuracy, of its file if files are measured."""
        return self.axis.accuracy(self.dense)

    @property
    def dense_confidence(self) -> tuple[float, float]:
        """Between which accuracies that of the dense network lies with a confidence of 95 %."""
        return confidence(self.dense_accuracy, self.dense["val_images"])

    @property
    def dense_label(self) -> str:
        """The dense network's accuracy in words, and how sure it is."""
        low, high = self.dense_confidence
        sure = f"95 % confidence: {100 * low:.1f} to {percent(high)}"
        return f"dense network, {percent(self.dense_accuracy)} ({sure})"

    @property
    def note(self) -> str:
        """What to know of the accuracies, in sentences."""
        low, high = self.dense_confidence
        images = self.dense["val_images"]
        return (
            f"Accuracy on {images} validation images chooses; one of them is {step(images)} points, and what lies "
            f"within the dense network's 95 % confidence, {100 * low:.1f} to {percent(high)}, may be as good as it. "
            "Test accuracy is measured once a point and only reported."
        )

    @property
    def low(self) -> NDArray[np.bool_]:
        """Which points lie below the axis, (N,)."""
        return self.accuracies < self.floor

    @property
    def cost_range(self) -> tuple[float, float]:
        """Least and greatest share on the cost axis."""
        least = min(_WIDEST, float(self.shares.min()) if len(self.shares) else 1.0)
        return cost_range(least, max(1.22, float(self.shares.max()) * 1.1 if len(self.shares) else 0.0))

    @property
    def cost_ticks(self) -> list[float]:
        """Shares to be marked on the cost axis."""
        low, high = self.cost_range
        there = [tick for tick in _TICKS if low <= tick <= high]
        return there if len(there) <= _MOST_TICKS else [tick for tick in _TICKS[::3] if low <= tick <= high]

    @property
    def stairs(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Corners of the front as a staircase, from the axis up to dense: shares and accuracies, both (corners,).

        It says what accuracy can be had for a cost, so it rises at a point and stays level until the next.
        """
        if not len(self.front):
            return np.array([]), np.array([])
        return stairs_of(self.shares[self.front], self.accuracies[self.front], floor=self.floor, end=1.0)

    @property
    def telling(self) -> list[int]:
        """Points of the front that a label is worth, those first that stay the best over the widest range of costs.

        One that a little more cost surpasses gets none: of a cluster only the most accurate is named.
        """
        costs = self.shares[self.front]
        lasts = np.append(costs[1:], np.inf)[: len(costs)] / costs
        order = np.argsort(-lasts, kind="stable")
        telling: list[int] = self.front[order[lasts[order] >= WORTH]].tolist()
        return [index for index in telling if not self.low[index]]

    @property
    def drawn_budgets(self) -> list[float]:
        """Those of the points that are drawn, rising."""
        there = {float(point["budget"]) for point in self.points}
        return [budget for budget in self.budgets if budget in there]

    @property
    def named_budgets(self) -> list[float]:
        """Those of them that a legend names: where they are many, the ends and some between, as colours follow."""
        there = self.drawn_budgets
        if len(there) <= _MOST_BUDGETS:
            return there
        return [there[round(place)] for place in np.linspace(0, len(there) - 1, _MOST_BUDGETS)]

    def colour(self, budget: float) -> str:
        """Return the colour of a budget, "#rrggbb": small budgets are dark."""
        place = self.budgets.index(budget) / max(1, len(self.budgets) - 1) * (len(_SCALE) - 1)
        mixed = [np.interp(place, np.arange(len(_SCALE)), part) for part in _SCALE.T]
        return "#" + "".join(f"{round(value):02x}" for value in mixed)


def axes_of(front: Mapping[str, Any]) -> list[Axis]:
    """Return what the content of front.json can be drawn against."""
    known = [axis for axis in AXES if axis.key in front["dense"]]
    return [axis for axis in known if axis is MACS or any(axis.key in point for point in front["points"])]


def look(front: Mapping[str, Any], axis: Axis = MACS) -> View:
    """Return the content of front.json, ready to be drawn; of the points, those whose cost on this axis is known."""
    dense, points = front["dense"], tuple(point for point in front["points"] if axis.key in point)
    accuracies = np.array([axis.accuracy(point) for point in points], dtype=np.float64)
    if axis is MACS:
        shares = np.array([point["macs_ratio"] for point in points], dtype=np.float64)
        best = np.flatnonzero([point["on_front"] for point in points])
    else:
        shares = np.array([point[axis.key] / dense[axis.key] for point in points], dtype=np.float64)
        best = np.flatnonzero(on_front(shares, accuracies))
    best = best[np.argsort(shares[best], kind="stable")]
    floor, top = accuracy_range(accuracies, accuracies[best], [axis.accuracy(dense)])
    named = {**dense, **(points[0] if points else {}), **front}
    parts = (dataset_title(named.get("dataset")), named.get("network"))
    study = [f"study {named['study']}"] if named.get("study") else []
    return View(
        axis=axis,
        title="Accuracy over cost" + "".join(f" · {part}" for part in parts if part),
        subtitle=" · ".join(
            [*study, counts(len(points), len(front["points"]), len(best)), f"{dense['val_images']} validation images"]
        ),
        dense=dense,
        points=points,
        shares=shares,
        accuracies=accuracies,
        front=best,
        budgets=tuple(sorted({float(point["budget"]) for point in front["points"]})),
        floor=floor,
        top=top,
    )


def step(images: int) -> str:
    """Return how many points of accuracy, in per cent, one of so many images is."""
    return f"{100 / images:.3g}"


def counts(drawn: int, there: int, best: int) -> str:
    """Return how many points a chart shows, and how many of them are on its front."""
    if not there:
        return "no point yet"
    many = f"{there} point{'s' * (there != 1)}"
    return f"{many if drawn == there else f'{drawn} of {many} measured'}, {best} on the front"


def accuracy_title(axis: Axis, points: Iterable[Mapping[str, Any]]) -> str:
    """Return whose accuracy these points are drawn at."""
    return "validation accuracy" + (" of the file" if any(map(axis.known, points)) else "")


def percent(share: float, digits: int = 1) -> str:
    """Return a share as per cent: 0.914 as "91.4 %"."""
    return f"{100 * share:.{digits}f} %"


COLUMNS = ("point", "budget", "MACs share", "MACs", "params", "validation", "test")
"""Of a table of a study's points, before those of files for the board; see `cells`."""

_BOARD: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "float32 size": ("float32_bytes", megabytes),
    "float32 latency": ("float32_latency_ms", milliseconds),
    "INT8 size": ("int8_bytes", megabytes),
    "INT8 latency": ("int8_latency_ms", milliseconds),
    "INT8 validation": ("int8_val_accuracy", lambda share: percent(share, 2)),
    "INT8 test": ("int8_test_accuracy", lambda share: percent(share, 2)),
}
"""What files for the board measure: its key in records, and its form, by head of a table's column."""


def board_columns(records: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the heads of what the files for the board of any of these records measure."""
    known = {key for record in records for key in record}
    return tuple(head for head, (key, _) in _BOARD.items() if key in known)


def board_cells(record: Mapping[str, Any], heads: Iterable[str]) -> tuple[str, ...]:
    """Return what a point's files for the board measure; empty cells where they were not made."""
    measures = (_BOARD[head] for head in heads)
    return tuple(shown(record[key]) if key in record else "" for key, shown in measures)


def cells(name: str, budget: str, share: float, record: Mapping[str, Any], heads: Iterable[str]) -> tuple[str, ...]:
    """Return a row of that table, with `heads` of files for the board: a point's, or the dense network's."""
    return (
        name,
        budget,
        percent(share),
        count(record["macs"]),
        count(record["params"]),
        percent(record["val_accuracy"], 2),
        percent(record["test_accuracy"], 2),
        *board_cells(record, heads),
    )


def measured_on(records: Iterable[Mapping[str, Any]]) -> str:
    """Return what the latencies of these records are of, in words."""
    known = list(records)
    those = sorted({machine for axis in AXES for machine in axis.machines(known)})
    return f"one thread of {those[0]}" if len(those) == 1 else f"one thread of several machines: {'; '.join(those)}"


def widths_summary(widths: Mapping[str, int], most: int = 4) -> str:
    """Return how many channels the groups keep, in a few words."""
    if not widths:
        return "no groups"
    shown = ", ".join(f"{name} {kept}" for name, kept in list(widths.items())[:most])
    rest = f", and {len(widths) - most} more" if len(widths) > most else ""
    return f"{sum(widths.values())} channels in {len(widths)} groups: {shown}{rest}"


def dataset_title(name: str | None) -> str | None:
    """Return what the community calls a data set."""
    if name == "scenes":
        return "generated scenes"
    return CATALOG[name].title if name is not None and name in CATALOG else name
