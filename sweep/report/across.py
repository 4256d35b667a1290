"""The front of a data set, across its studies, as a page, a table for the terminal, and a note for MLflow."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from rich.console import Group
from rich.table import Table
from rich.text import Text

from sweep.across import not_compared
from sweep.front import on_front
from sweep.report.geometry import accuracy_range, cost_range, labelled, stairs_of
from sweep.report.shell import QUIET, Chart, dense_marker, key, label, lay_out, markers, named, render, row, stairs
from sweep.report.text import literal
from sweep.report.view import (
    AXES,
    MACS,
    Axis,
    accuracy_title,
    board_cells,
    board_columns,
    count,
    counts,
    dataset_title,
    measured_on,
    percent,
)

Across = Mapping[str, Any]
"""What `sweep.across.front_across` gives."""

_COLUMNS = ("study", "network", "input", "point", "MACs", "params", "validation", "test")
# Okabe and Ito's colours, which the colour-blind tell apart; beyond them the form of the marker changes.
_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a5195")
_FORMS = ("circle", "square", "triangle-up", "cross", "star")
_MOST_TICKS = 5
_NOTE = """The table holds the dense networks, and the front that is drawn: points that no other point of any of these
studies beats. Of each study it was taken from the points of its own front by MACs, and those with files for the board.
All were measured on the same images. Validation accuracy chooses; test accuracy is measured once a point and only
reported."""
_BOARD = " Latencies are the median of many runs on {machine}; only those of one machine can be compared."


def page(across: Across) -> str:
    """Return the front as a complete HTML page."""
    axes = _axes(across)
    everything = [*(study["dense"] for study in across["studies"]), *across["points"]]
    heads = board_columns(everything) if len(axes) > 1 else ()
    return render(
        title=_title(across),
        charts=[
            Chart(
                key=axis.key,
                name=axis.name,
                subtitle=_subtitle(across, axis),
                warning=axis.warning(everything),
                figure=figure(across, axis),
            )
            for axis in axes
        ],
        head=[*_COLUMNS, *heads],
        rows=_page_rows(across, axes, heads),
        note=_NOTE + (_BOARD.format(machine=measured_on(everything)) if heads else ""),
        more="".join(f"<p>Not compared: {escape(text)}</p>\n" for text in not_compared(across["left_out"])),
    )


def table(across: Across) -> Group:
    """Return the front for the terminal: dense networks, then from dear to cheap."""
    # As `Text`, because a title is otherwise read for marks in square brackets, and names may hold such.
    drawn = Table(title=Text(_title(across)), header_style="bold")
    for column in ("study", "point"):
        drawn.add_column(column, overflow="fold")
    for column in _COLUMNS[4:]:
        drawn.add_column(column, justify="right", no_wrap=True)
    for number, (study, _, _, *cells) in enumerate(_rows(across)):
        drawn.add_row(Text(study), *map(Text, cells), style="dim" if number < len(across["studies"]) else None)
    texts = [_subtitle(across), *(f"not compared: {text}" for text in not_compared(across["left_out"]))]
    return Group(drawn, *(Text(text, style="dim") for text in texts))


def markdown(across: Across) -> str:
    """Return the front as a note in Markdown."""
    lines = [f"**{literal(_title(across))}**", "", literal(_subtitle(across)), ""]
    lines += [f"| {' | '.join(_COLUMNS)} |", f"|{':--|' * 4}{'--:|' * (len(_COLUMNS) - 4)}"]
    lines += [f"| {' | '.join(map(literal, cells))} |" for cells in _rows(across)]
    lines += ["", *(f"Not compared: {literal(text)}\n" for text in not_compared(across["left_out"]))]
    return "\n".join(lines) + "\n"


def figure(across: Across, axis: Axis) -> go.Figure:
    """Return the front as an interactive figure, by a cost in its own unit."""
    points, costs, accuracies, best = _drawn(across, axis)
    dense = [study for study in across["studies"] if axis.key in study["dense"]]
    dense_costs = [float(study["dense"][axis.key]) for study in dense]
    floor, top = accuracy_range(accuracies, accuracies[best], [axis.accuracy(study["dense"]) for study in dense])
    low, high = cost_range(min([*costs, *dense_costs]), max([*costs, *dense_costs]) * 1.4)
    drawn, colours = go.Figure(), _colours(across)
    if len(best):
        x, y = stairs_of(costs[best], accuracies[best], floor=floor, end=max([0.0, *dense_costs]))
        drawn.add_trace(stairs(x, 100 * y))
    for study in across["studies"]:
        mine = [index for index, point in enumerate(points) if point["study"] == study["study"]]
        colour, form = colours[study["study"]]
        drawn.add_trace(
            markers(
                costs[mine],
                100 * accuracies[mine],
                [_hover(points[index], axis, index in best) for index in mine],
                [index in best for index in mine],
                name=escape(study["study"]),
                colour=colour,
                form=form,
            )
        )
        if study in dense:
            drawn.add_trace(_dense(study, axis, colour))
    drawn.add_trace(key("dense networks", {"symbol": "diamond-open", "color": QUIET, "line": {"width": 2.5}}))
    size = {"width": math.log(high / low), "height": top - floor}
    for index in labelled(best[::-1], costs, accuracies, **size):  # the most accurate first
        label(drawn, costs[index], 100 * accuracies[index], percent(accuracies[index]))
    lay_out(
        drawn,
        costs=(low, high),
        ticks=[(tick, axis.shown(tick)) for tick in _ticks(low, high)],
        cost_title=f"{axis.title} (log scale)",
        accuracies=(floor, top),
        accuracy_title=accuracy_title(axis, points),
    )
    return drawn


def _drawn(
    across: Across, axis: Axis
) -> tuple[list[Mapping[str, Any]], NDArray[np.float64], NDArray[np.float64], NDArray[np.intp]]:
    """Return the points whose cost on an axis is known, costs and accuracies, (N,), and the front, cheap first."""
    points = [point for point in across["points"] if axis.key in point]
    costs = np.array([point[axis.key] for point in points], np.float64)
    accuracies = np.array([axis.accuracy(point) for point in points], np.float64)
    best = np.flatnonzero(on_front(costs, accuracies))
    return points, costs, accuracies, best[np.argsort(costs[best], kind="stable")]


def _dense(study: Mapping[str, Any], axis: Axis, colour: str) -> go.Scatter:
    dense = study["dense"]
    lines = [
        "<b>dense network</b>",
        f"{escape(study['study'])} · {escape(dense['network'])}, {escape(study['input'])}",
        f"validation {percent(dense['val_accuracy'], 2)} · test {percent(dense['test_accuracy'], 2)}",
        *map(escape, axis.told(dense)),
        f"{dense['macs']:,} MACs · {dense['params']:,} params",
    ]
    marker = {"symbol": "diamond-open", "color": colour, "line": {"width": 2.5}}
    return dense_marker(dense[axis.key], 100 * axis.accuracy(dense), "<br>".join(lines), marker)


def _hover(point: Mapping[str, Any], axis: Axis, good: bool) -> str:
    lines = [
        f"<b>{escape(point['study'])}: {escape(point['point'])}</b>{' · on the front' if good else ''}",
        f"{escape(point['network'])}, {escape(point['input'])} · budget {100 * point['budget']:g} %",
        f"validation {percent(point['val_accuracy'], 2)} · test {percent(point['test_accuracy'], 2)}",
        *map(escape, axis.told(point)),
        f"{point['macs']:,} MACs · {point['params']:,} params",
    ]
    return "<br>".join(lines)


def _rows(across: Across) -> list[tuple[str, ...]]:
    """Return one row of cells for each dense network, and one for each point of the front by MACs."""
    return [_cells(record) for record in _records(across, [MACS])]


def _page_rows(across: Across, axes: Sequence[Axis], heads: Sequence[str]) -> list[str]:
    """Return one row for each dense network, and one for each point that is on the front of any chart."""
    colours = _colours(across)
    shown: dict[tuple[str, str], list[str]] = {}
    for axis in axes:
        for record in _records(across, [axis]):
            shown.setdefault((record["study"], record["point"]), []).append(axis.key)
    rows = []
    for record in _records(across, axes):
        study, *others = _cells(record)
        cells = [named(study, colours[study][0]), *map(escape, [*others, *board_cells(record, heads)])]
        rows.append(row(cells, shown[record["study"], record["point"]], first=MACS.key))
    return rows


def _records(across: Across, axes: Sequence[Axis]) -> list[Mapping[str, Any]]:
    """Return the dense networks, and the points that are on the front, of any of these axes, dear ones first."""
    dense = [
        {**study["dense"], "study": study["study"], "input": study["input"], "point": "dense"}
        for study in across["studies"]
        if any(axis.key in study["dense"] for axis in axes)
    ]
    best = set()
    for axis in axes:
        points, _, _, front = _drawn(across, axis)
        best |= {(points[index]["study"], points[index]["point"]) for index in front}
    return dense + [point for point in reversed(across["points"]) if (point["study"], point["point"]) in best]


def _cells(record: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        *(str(record[key]) for key in _COLUMNS[:4]),
        count(record["macs"]),
        count(record["params"]),
        percent(record["val_accuracy"], 2),
        percent(record["test_accuracy"], 2),
    )


def _title(across: Across) -> str:
    return f"Accuracy over cost · {dataset_title(across['dataset'])}"


def _subtitle(across: Across, axis: Axis = MACS) -> str:
    studies = len(across["studies"])
    images = across["studies"][0]["dense"]["val_images"]
    points, _, _, best = _drawn(across, axis)
    return (
        f"{studies} stud{'ies' if studies > 1 else 'y'}, {counts(len(points), len(across['points']), len(best))} · "
        f"{images} validation images"
    )


def _axes(across: Across) -> list[Axis]:
    return [axis for axis in AXES if axis is MACS or any(axis.key in point for point in across["points"])]


def _colours(across: Across) -> dict[str, tuple[str, str]]:
    """Return colour and form by study."""
    return {
        study["study"]: (_COLOURS[number % len(_COLOURS)], _FORMS[number // len(_COLOURS) % len(_FORMS)])
        for number, study in enumerate(across["studies"])
    }


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2 and 5 times powers of ten between two costs, or fewer where these have no room on a phone."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) <= _MOST_TICKS:
            break
    return ticks
