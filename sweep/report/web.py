"""A study's front as one page for a browser."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from html import escape
from math import log
from typing import Any

import plotly.graph_objects as go

from sweep.report.classes import class_section
from sweep.report.geometry import labelled
from sweep.report.shell import (
    INK,
    QUIET,
    Chart,
    command_button,
    command_row,
    dense_marker,
    label,
    lay_out,
    markers,
    named,
    render,
    row,
    stairs,
)
from sweep.report.view import (
    COLUMNS,
    MACS,
    View,
    axes_of,
    board_columns,
    cells,
    look,
    measured_on,
    percent,
    widths_summary,
)

_NOTE = "The table holds the dense network and the front that is drawn. "
_BOARD = """ Files for the board have a fixed batch of 1; their accuracy is that of the very file, and their latency the
median of many runs under ONNX Runtime, on {machine}."""
_LACKING = """ Such files were made of {measured} of the {there} points, by default of those on the front by MACs, so a
front by latency or size may lack some; --board all makes them of all."""


def page(front: Mapping[str, Any]) -> str:
    """Return the front, the content of front.json, as a complete HTML page."""
    views = [look(front, axis) for axis in axes_of(front)]
    heads = board_columns([front["dense"], *front["points"]]) if len(views) > 1 else ()
    return render(
        title=views[0].title,
        charts=[
            Chart(
                key=view.axis.key,
                name=view.axis.name,
                subtitle=view.subtitle + _below(view),
                warning=view.axis.warning([view.dense, *view.points]),
                figure=figure(view),
            )
            for view in views
        ],
        head=[COLUMNS[0], "promote", *COLUMNS[1:], *heads],
        rows=_rows(front, views, heads),
        note=_NOTE + views[0].note + (_board_note(views) if heads else ""),
        more=class_section(views[0]),
    )


def _below(view: View) -> str:
    """Return how many points the axes leave out."""
    return f" · {view.low.sum()} below the axis: double-click to see all" if view.low.any() else ""


def _board_note(views: Sequence[View]) -> str:
    """Return what to know of files for the board."""
    there, measured = len(views[0].points), min(len(view.points) for view in views)
    note = _BOARD.format(machine=measured_on([views[0].dense, *views[0].points]))
    return note if measured == there else note + _LACKING.format(measured=measured, there=there)


def figure(view: View) -> go.Figure:
    """Return the front as an interactive figure."""
    drawn = go.Figure()
    x, y = view.stairs
    if len(x):
        drawn.add_trace(stairs(x, 100 * y))
    for budget in view.drawn_budgets:
        drawn.add_trace(_points(view, budget))
    drawn.add_trace(_dense(view))
    low, high = view.dense_confidence
    band = {"fillcolor": QUIET, "line_width": 0, "layer": "below", "name": "95 % confidence", "showlegend": True}
    drawn.add_hrect(y0=100 * low, y1=100 * high, opacity=0.09, **band)
    drawn.add_hline(y=100 * view.dense_accuracy, line={"color": QUIET, "width": 1.4, "dash": "dash"}, layer="below")
    size = {"width": log(view.cost_range[1] / view.cost_range[0]), "height": view.top - view.floor}
    for index in labelled(view.telling, view.shares, view.accuracies, **size):
        label(drawn, view.shares[index], 100 * view.accuracies[index], percent(view.accuracies[index]))
    lay_out(
        drawn,
        costs=view.cost_range,
        ticks=[(tick, f"{100 * tick:g} %") for tick in view.cost_ticks],
        cost_title="<br>".join(view.cost_title),
        accuracies=(view.floor, view.top),
        accuracy_title=view.accuracy_title,
    )
    return drawn


def _points(view: View, budget: float) -> go.Scatter:
    """Return the points of one budget."""
    on_front = set(view.front.tolist())
    chosen = [index for index, point in enumerate(view.points) if float(point["budget"]) == budget]
    return markers(
        view.shares[chosen],
        100 * view.accuracies[chosen],
        [_hover(view, index, index in on_front) for index in chosen],
        [index in on_front for index in chosen],
        name=f"budget {100 * budget:g} %",
        colour=view.colour(budget),
        small=5 if len(view.points) > 100 else 8,
        named=budget in view.named_budgets,
    )


def _dense(view: View) -> go.Scatter:
    """Return the dense network as a point."""
    dense = view.dense
    lines = [
        "<b>dense network</b>",
        f"validation {percent(dense['val_accuracy'], 2)} · test {percent(dense['test_accuracy'], 2)}",
        *map(escape, view.axis.told(dense)),
        f"{dense['macs']:,} MACs · {dense['params']:,} params",
    ]
    marker = {"symbol": "diamond", "color": INK, "line": {"color": "white", "width": 1.5}}
    level = view.dense_accuracy
    return dense_marker(1.0, 100 * level, "<br>".join(lines), marker, name=f"dense, {percent(level)}")


def _hover(view: View, index: int, on_front: bool) -> str:
    point = view.points[index]
    lines = [
        f"<b>{escape(str(point['point']))}</b>{' · on the front' if on_front else ''}",
        f"trial {escape(str(point['trial']))} · budget {100 * point['budget']:g} %",
        f"validation {percent(point['val_accuracy'], 2)} · test {percent(point['test_accuracy'], 2)}"
        f", {percent(point['worst_class_test_accuracy'])} in its worst class",
        *map(escape, view.axis.told(point, view.dense)),
        f"{point['macs']:,} MACs · {percent(point['macs_ratio'], 2)} of dense",
        f"{point['params']:,} params",
        escape(widths_summary(point["widths"])),
    ]
    return "<br>".join(lines)


def _rows(front: Mapping[str, Any], views: Sequence[View], heads: Sequence[str]) -> list[str]:
    """Return the rows of the table: dense, then what is on the front of any chart, from dear to cheap."""
    everywhere, view = [view.axis.key for view in views], views[0]
    dense, *rest = cells("dense", "", 1.0, view.dense, heads)
    rows = [row([dense, "", *rest], everywhere, first=MACS.key)]
    fronts = {each.axis.key: {each.points[index]["point"] for index in each.front} for each in views}
    for point in sorted(view.points, key=lambda point: float(point["macs_ratio"]), reverse=True):
        charts = [key for key, best in fronts.items() if point["point"] in best]
        if not charts:
            continue
        budget = float(point["budget"])
        name = named(str(point["point"]), view.colour(budget))
        name, *rest = cells(name, f"{100 * budget:g} %", point["macs_ratio"], point, heads)
        # Beside the name: at the end it is out of sight wherever a table is wider than its window, as in MLflow's.
        rows.append(row([name, command_button(), *rest], charts, first=MACS.key))
        rows.append(command_row(_promote(front, str(point["point"])), columns=len(rest) + 2))
    return rows


def _promote(front: Mapping[str, Any], point: str) -> str:
    """Return the command that promotes this very point: no figure of the table is as exact as its name."""
    words = ["uv", "run", "sweep/promote.py", "--study", str(front.get("study")), *front.get("places", ())]
    return shlex.join([*words, "--point", point, "--alias", "champion"])
