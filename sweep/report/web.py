"""The front as one page for a browser: plotly's code is inside, so it works without a network."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from math import log10
from typing import Any

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from sweep.report.classes import class_section
from sweep.report.view import BOARD_COLUMNS, MACS, View, axes_of, board_cells, count, look, percent, widths_summary

_INK, _QUIET, _GRID = "#1b1f24", "#5b6470", "#e3e6ea"
_FONT = "system-ui, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"

_PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
body {{ margin: 0 auto; max-width: 1280px; padding: 28px 24px 48px; background: #fff; color: #1b1f24;
  font: 15px/1.5 {font}; }}
h1 {{ font-size: 22px; margin: 0; }}
h2 {{ font-size: 18px; margin: 36px 0 0; }}
p {{ margin: 4px 0 8px; color: #5b6470; }}
.chart {{ height: 540px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 6px 10px; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e6ea; }}
th {{ color: #5b6470; font-weight: 600; }}
th:first-child, td:first-child, td:last-child, th:last-child {{ text-align: left; }}
td:last-child {{ color: #5b6470; white-space: normal; min-width: 260px; }}
table.classes {{ width: auto; }}
.classes td, .classes th {{ padding: 3px 12px; }}
.classes td:last-child, .classes th:last-child {{ text-align: right; min-width: 0; }}
.classes td:last-child {{ color: inherit; }}
nav {{ display: flex; flex-wrap: wrap; gap: 6px; margin: 12px 0 0; }}
nav:has(> :only-child) {{ display: none; }}
nav button {{ font: inherit; font-size: 14px; color: #5b6470; background: none; border: 1px solid #d0d5db;
  border-radius: 4px; padding: 3px 10px; cursor: pointer; }}
nav button[aria-pressed=true] {{ color: #1b1f24; border-color: #1b1f24; }}
.dot {{ display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 8px; }}
</style>
<script>{plotly}</script>
</head>
<body>
<h1>{title}</h1>
<p>{subtitle}</p>
<nav aria-label="cost">{buttons}</nav>
{charts}
<script>{script}</script>
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody></table></div>
<p>The table holds the dense network and the front. Validation accuracy chooses; test accuracy is measured once a
point and only reported.{board}</p>
{classes}</body>
</html>
"""


_SCRIPT = """
for (const button of document.querySelectorAll("nav button")) button.onclick = () => {
  for (const other of document.querySelectorAll("nav button")) other.setAttribute("aria-pressed", other === button);
  for (const chart of document.querySelectorAll(".chart")) {
    chart.hidden = chart.dataset.axis !== button.dataset.axis;
    if (!chart.hidden) Plotly.Plots.resize(chart.querySelector(".plotly-graph-div"));
  }
};
"""
_BOARD = """ Files for the board have a fixed batch of 1; their latency is the median of many runs on one thread of
the machine that ran the study, and their test accuracy that of the very file."""


def page(front: Mapping[str, Any]) -> str:
    """Return the front, the content of front.json, as a complete HTML page."""
    views = [look(front, axis) for axis in axes_of(front)]
    measured = len(views) > 1
    head = [*_HEAD, *(BOARD_COLUMNS if measured else ()), "widths"]
    return _PAGE.format(
        title=escape(views[0].title),
        subtitle=escape(views[0].subtitle),
        font=_FONT,
        plotly=get_plotlyjs(),
        buttons="".join(
            f'<button data-axis="{view.axis.key}" aria-pressed="{str(not number).lower()}">{view.axis.name}</button>'
            for number, view in enumerate(views)
        ),
        charts="\n".join(_chart(view, hidden=number > 0) for number, view in enumerate(views)),
        script=_SCRIPT,
        head="".join(f"<th>{name}</th>" for name in head),
        rows="\n".join(_rows(views[0], measured=measured)),
        board=_BOARD if measured else "",
        classes=class_section(views[0]),
    )


def _chart(view: View, *, hidden: bool) -> str:
    drawn = figure(view).to_html(
        full_html=False,
        include_plotlyjs=False,
        div_id="front" if view.axis is MACS else f"front-{view.axis.key}",
        config={"displaylogo": False, "responsive": True, "modeBarButtonsToRemove": ["select2d", "lasso2d"]},
    )
    return f'<div class="chart" data-axis="{view.axis.key}"{" hidden" if hidden else ""}>{drawn}</div>'


def figure(view: View) -> go.Figure:
    """Return the front as an interactive figure."""
    drawn = go.Figure()
    x, y = view.stairs
    if len(x):
        drawn.add_trace(
            go.Scatter(
                x=x,
                y=100 * y,
                mode="lines",
                fill="tozeroy",
                fillcolor="rgba(43,108,163,0.07)",
                name="front",
                line={"color": _INK, "width": 2},
                hoverinfo="skip",
                legendrank=1,
            )
        )
    for budget in view.budgets:
        drawn.add_trace(_points(view, budget))
    drawn.add_trace(_dense(view))
    level = 100 * view.dense["val_accuracy"]
    drawn.add_hline(y=level, line={"color": _QUIET, "width": 1.4, "dash": "dash"}, layer="below")
    drawn.add_annotation(
        x=0,
        xref="paper",
        xanchor="left",
        y=level,
        yanchor="bottom",
        text=f"dense network, {percent(view.dense['val_accuracy'])}",
        showarrow=False,
        xshift=6,
        font={"size": 13, "color": _QUIET},
    )
    for index in _labelled(view):
        drawn.add_annotation(
            x=log10(view.shares[index]),  # on a log axis plotly wants the logarithm here, and only here
            y=100 * view.accuracies[index],
            text=percent(view.accuracies[index]),
            showarrow=False,
            xanchor="right",
            yanchor="bottom",
            xshift=-6,
            yshift=3,
            font={"size": 12, "color": _INK},
            bgcolor="rgba(255,255,255,0.85)",  # where it lies on the dashed line
            borderpad=1,
        )
    if view.low.any():
        drawn.add_annotation(
            x=1,
            xref="paper",
            xanchor="right",
            y=0,
            yref="paper",
            yanchor="bottom",
            text=f"{view.low.sum()} below the axis: double-click to see all",
            showarrow=False,
            font={"size": 12, "color": _QUIET},
        )
    _layout(drawn, view)
    return drawn


def _points(view: View, budget: float) -> go.Scatter:
    """Return the points of one budget."""
    on_front = set(view.front.tolist())
    chosen = [index for index, point in enumerate(view.points) if float(point["budget"]) == budget]
    best = [index in on_front for index in chosen]
    small = 5 if len(view.points) > 100 else 8
    return go.Scatter(
        x=view.shares[chosen],
        y=100 * view.accuracies[chosen],
        mode="markers",
        name=f"budget {100 * budget:g} %",
        text=[_hover(view.points[index], index in on_front) for index in chosen],
        hovertemplate="%{text}<extra></extra>",
        marker={
            "color": view.colour(budget),
            "size": [13 if good else small for good in best],
            "opacity": [1.0 if good else 0.55 for good in best],
            "line": {"color": "white", "width": [1.5 if good else 0 for good in best]},
        },
    )


def _dense(view: View) -> go.Scatter:
    """Return the dense network as a point."""
    dense = view.dense
    text = (
        f"<b>dense network</b><br>validation {percent(dense['val_accuracy'], 2)}"
        f"<br>test {percent(dense['test_accuracy'], 2)}<br>{dense['macs']:,} MACs<br>{dense['params']:,} params"
    )
    return go.Scatter(
        x=[1.0],
        y=[100 * dense["val_accuracy"]],
        mode="markers",
        name="dense",
        showlegend=False,
        text=[text],
        hovertemplate="%{text}<extra></extra>",
        marker={"symbol": "diamond", "size": 13, "color": _INK, "line": {"color": "white", "width": 1.5}},
    )


def _hover(point: Mapping[str, Any], on_front: bool) -> str:
    lines = [
        f"<b>{escape(str(point['point']))}</b>{' · on the front' if on_front else ''}",
        f"trial {escape(str(point['trial']))} · budget {100 * point['budget']:g} %",
        f"validation {percent(point['val_accuracy'], 2)} · test {percent(point['test_accuracy'], 2)}"
        f", {percent(point['worst_class_test_accuracy'])} in its worst class",
        f"{point['macs']:,} MACs · {percent(point['macs_ratio'], 2)} of dense",
        f"{point['params']:,} params",
        escape(widths_summary(point["widths"])),
    ]
    return "<br>".join(lines)


def _labelled(view: View) -> list[int]:
    """Return points of the front that stand far enough apart to be labelled."""
    height, width = view.top - view.floor, log10(view.cost_range[1] / view.cost_range[0])
    chosen: list[int] = []
    for index in view.telling:
        near = [
            other
            for other in chosen
            if abs(log10(view.shares[index] / view.shares[other])) < 0.06 * width
            and abs(view.accuracies[index] - view.accuracies[other]) < 0.045 * height
        ]
        if not near:
            chosen.append(index)
    return chosen


def _layout(drawn: go.Figure, view: View) -> None:
    """Set axes, legend and fonts."""
    low, high = view.cost_range
    axis = {"gridcolor": _GRID, "zeroline": False, "tickfont": {"color": _QUIET}, "linecolor": "#9aa3ad"}
    drawn.update_layout(
        template="none",
        font={"family": _FONT, "size": 14, "color": _INK},
        margin={"l": 74, "r": 20, "t": 44, "b": 70},
        hoverlabel={"bgcolor": "white", "bordercolor": "#9aa3ad", "font": {"color": _INK}, "align": "left"},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.01,
            "xanchor": "left",
            "yanchor": "bottom",
            "itemsizing": "constant",
        },
        xaxis={
            **axis,
            "type": "log",
            "range": [log10(low), log10(high)],
            "tickvals": view.cost_ticks,
            "ticktext": [f"{100 * tick:g} %" for tick in view.cost_ticks],
            "title": {"text": view.cost_title, "font": {"size": 14}},
            "showline": True,
        },
        yaxis={
            **axis,
            "range": [100 * view.floor, 100 * view.top],
            "ticksuffix": " %",
            "title": {"text": "validation accuracy", "font": {"size": 14}},
        },
    )


_HEAD = ("point", "budget", "MACs share", "MACs", "params", "validation", "test")


def _rows(view: View, *, measured: bool) -> list[str]:
    """Return the rows of the table: dense, then the front from dear to cheap."""
    rows = [_row("dense", "", 1.0, view.dense, "", measured=measured)]
    for index in view.front[::-1]:
        point = view.points[index]
        budget = float(point["budget"])
        dot = f'<span class="dot" style="background:{view.colour(budget)}"></span>'
        name = dot + escape(str(point["point"]))
        widths = escape(widths_summary(point["widths"]))
        rows.append(_row(name, f"{100 * budget:g} %", point["macs_ratio"], point, widths, measured=measured))
    return rows


def _row(name: str, budget: str, share: float, record: Mapping[str, Any], widths: str, *, measured: bool) -> str:
    cells = [
        name,
        budget,
        percent(share),
        count(record["macs"]),
        count(record["params"]),
        percent(record["val_accuracy"], 2),
        percent(record["test_accuracy"], 2),
    ]
    if measured:
        cells += board_cells(record)
    return "<tr>" + "".join(f"<td>{cell}</td>" for cell in (*cells, widths)) + "</tr>"
