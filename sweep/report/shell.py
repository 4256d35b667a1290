"""What every page is made of: one file for a browser with plotly's code inside, so that it works without a network."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from math import log10
from typing import Any

import numpy as np
import plotly.graph_objects as go
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

INK, QUIET = "#1b1f24", "#5b6470"
_GRID = "#e3e6ea"
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
h1, p {{ overflow-wrap: anywhere; }}
h1 {{ font-size: 22px; margin: 0; }}
h2 {{ font-size: 18px; margin: 36px 0 0; }}
p {{ margin: 8px 0; color: #5b6470; }}
.warning {{ color: #a03c00; }}
.figure {{ height: 540px; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; width: 100%; font-size: 14px; font-variant-numeric: tabular-nums; }}
th, td {{ padding: 6px 8px; text-align: right; white-space: nowrap; border-bottom: 1px solid #e3e6ea; }}
th {{ color: #5b6470; font-weight: 600; }}
thead th {{ white-space: normal; vertical-align: bottom; }}
tr > :first-child {{ text-align: left; position: sticky; left: 0; background: #fff; max-width: 260px; overflow: hidden;
  text-overflow: ellipsis; }}
table.classes {{ width: auto; }}
.classes td, .classes th {{ padding: 3px 12px; white-space: nowrap; }}
nav {{ display: flex; flex-wrap: wrap; gap: 6px; margin: 12px 0 0; }}
nav:has(> :only-child) {{ display: none; }}
button {{ font: inherit; font-size: 14px; color: #5b6470; background: none; border: 1px solid #d0d5db;
  border-radius: 4px; padding: 3px 10px; cursor: pointer; }}
button.command {{ font-size: 12px; padding: 0 6px; }}
tr.command td {{ max-width: none; position: static; overflow: visible; }}
code {{ display: block; position: sticky; left: 8px; max-width: calc(min(100vw, 1280px) - 72px); font-size: 13px;
  white-space: normal; overflow-wrap: anywhere; }}
nav button[aria-pressed=true] {{ color: #1b1f24; border-color: #1b1f24; }}
@media (max-width: 640px) {{
  body {{ padding: 16px 12px 32px; }}
  tr > :first-child {{ max-width: 40vw; }}
  .figure {{ height: 600px; }}
}}
@media print {{
  body {{ padding: 0; }}
  .wide {{ overflow: visible; }}
  table {{ font-size: 10px; }}
  table td, table th {{ padding: 3px; }}
}}
.dot {{ display: inline-block; width: 10px; height: 10px; border-radius: 5px; margin-right: 8px; }}
</style>
<script>{plotly}</script>
</head>
<body>
<h1>{title}</h1>
<nav aria-label="cost">{buttons}</nav>
{charts}
<div class="wide"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody></table></div>
<p>{note}</p>
{more}<script>{script}</script>
</body>
</html>
"""

_SCRIPT = """
const config = {displaylogo: false, responsive: true, modeBarButtonsToRemove: ["select2d", "lasso2d"]};
const show = (chart) => {
  const place = chart.querySelector(".figure"), {data, layout} = JSON.parse(chart.querySelector("script").textContent);
  chart.hidden = false;  // before it is drawn: a legend has no size where nothing is shown
  if (place.data) Plotly.Plots.resize(place); else Plotly.newPlot(place, data, layout, config);
};
for (const button of document.querySelectorAll("nav button")) button.onclick = () => {
  for (const other of document.querySelectorAll("nav button")) other.setAttribute("aria-pressed", other === button);
  for (const chart of document.querySelectorAll(".chart")) {
    if (chart.dataset.axis === button.dataset.axis) show(chart); else chart.hidden = true;
  }
  for (const open of document.querySelectorAll("button.command")) fold(open, false);
  for (const row of document.querySelectorAll("tr[data-axes]")) {
    row.hidden = !row.dataset.axes.split(" ").includes(button.dataset.axis);
  }
};
const fold = (button, open) => {
  button.setAttribute("aria-expanded", open);
  button.closest("tr").nextElementSibling.hidden = !open;
};
for (const button of document.querySelectorAll("button.command")) button.onclick = () => {
  const open = button.getAttribute("aria-expanded") !== "true";
  fold(button, open);
  if (!open) return;
  const code = button.closest("tr").nextElementSibling.querySelector("code");
  getSelection().selectAllChildren(code);  // to be copied by hand where a page may not copy, as in MLflow's frame
  navigator.clipboard?.writeText(code.textContent).catch(() => {});
};
show(document.querySelector(".chart"));
// Paper is narrower than most windows, and a chart keeps its width.
const widen = (size) => Plotly.relayout(document.querySelector(".chart:not([hidden]) .figure"), size);
addEventListener("beforeprint", () => widen({width: 690}));
addEventListener("afterprint", () => widen({width: null, autosize: true}));
"""


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A figure, of which a page shows one at a time."""

    key: str  # an axis's
    name: str  # on its button
    subtitle: str  # above it, as text
    figure: go.Figure
    warning: str = ""  # between the two, as text


def render(
    *,
    title: str,
    charts: Sequence[Chart],
    head: Iterable[str],
    rows: Iterable[str],
    note: str,
    more: str = "",
) -> str:
    """Return a complete page: charts, a table, a note below it.

    Args:
        title: As text.
        charts: The first is shown first.
        head: The table's, as text.
        rows: The table's, as HTML; see `row`.
        note: As text.
        more: What follows, as HTML.
    """
    return _PAGE.format(
        title=escape(title),
        font=_FONT,
        plotly=get_plotlyjs(),
        buttons="".join(
            f'<button data-axis="{chart.key}" aria-pressed="{str(not number).lower()}">{chart.name}</button>'
            for number, chart in enumerate(charts)
        ),
        charts="\n".join(_drawn(chart, hidden=number > 0) for number, chart in enumerate(charts)),
        script=_SCRIPT,
        head="".join(f"<th>{escape(name)}</th>" for name in head),
        rows="\n".join(rows),
        note=escape(note),
        more=more,
    )


def named(name: str, colour: str) -> str:
    """Return a name, cut where it has no room, after a dot in the colour that it has in the charts, as HTML."""
    return f'<span class="dot" style="background:{colour}"></span><span title="{escape(name)}">{escape(name)}</span>'


def row(cells: Iterable[str], charts: Sequence[str], *, first: str) -> str:
    """Return a row of the table, as HTML.

    Args:
        cells: As HTML.
        charts: Keys of those that it is shown with.
        first: Key of the chart that is shown first.
    """
    hidden = "" if first in charts else " hidden"
    return f'<tr data-axes="{" ".join(charts)}"{hidden}>' + "".join(f"<td>{cell}</td>" for cell in cells) + "</tr>"


def command_button() -> str:
    """Return what shows or hides the row after its own, see `command_row`, as HTML."""
    return '<button class="command" aria-expanded="false" title="show the command, and copy it">command</button>'


def command_row(command: str, *, columns: int) -> str:
    """Return a row with a command, shown once it is asked for, as HTML."""
    return f'<tr class="command" hidden><td colspan="{columns}"><code>{escape(command)}</code></td></tr>'


def label(drawn: go.Figure, x: float, y: float, text: str) -> None:
    """Write beside a point at a cost and an accuracy in per cent."""
    drawn.add_annotation(
        x=log10(x),  # on a log axis plotly wants the logarithm here, and only here
        y=y,
        text=text,
        showarrow=False,
        xanchor="right",
        yanchor="bottom",
        xshift=-6,
        yshift=3,
        font={"size": 12, "color": INK},
        bgcolor="rgba(255,255,255,0.85)",  # where it lies on a line
        borderpad=1,
    )


def markers(
    x: Sequence[float] | NDArray[np.float64],
    y: Sequence[float] | NDArray[np.float64],
    texts: Sequence[str],
    best: Sequence[bool],
    *,
    name: str,
    colour: str,
    form: str = "circle",
    small: int = 8,
    named: bool = True,
) -> go.Scatter:
    """Return points at costs and accuracies in per cent; those of the front stand out.

    Args:
        x: Costs.
        y: Accuracies.
        texts: What is shown where one points at them, as HTML.
        best: Which are on the front.
        name: Of all of them, in the legend.
        colour: Of all of them.
        form: Of all of them.
        small: Pixels of those that are not on the front.
        named: Whether the legend has them.
    """
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        name=name,
        showlegend=named,
        text=texts,
        hovertemplate="%{text}<extra></extra>",
        marker={
            "color": colour,
            "symbol": form,
            "size": [13 if good else small for good in best],
            "opacity": [1.0 if good else 0.55 for good in best],
            "line": {"color": "white", "width": [1.5 if good else 0 for good in best]},
        },
    )


def dense_marker(x: float, y: float, text: str, marker: Mapping[str, Any], *, name: str | None = None) -> go.Scatter:
    """Return a dense network as a point at a cost and an accuracy in per cent, which the legend has if it is named."""
    return go.Scatter(
        x=[x],
        y=[y],
        mode="markers",
        name=name or "dense",
        showlegend=name is not None,
        text=[text],
        hovertemplate="%{text}<extra></extra>",
        marker={"size": 13, **marker},
    )


def key(name: str, marker: Mapping[str, Any]) -> go.Scatter:
    """Return what the legend says of dense networks that it does not name one by one."""
    return go.Scatter(x=[None], y=[None], mode="markers", name=name, marker={"size": 13, **marker}, hoverinfo="skip")


def stairs(x: NDArray[np.float64], y: NDArray[np.float64]) -> go.Scatter:
    """Return the front as a line, at costs and accuracies in per cent."""
    return go.Scatter(
        x=x,
        y=y,
        mode="lines",
        fill="tozeroy",
        fillcolor="rgba(43,108,163,0.07)",
        name="front",
        line={"color": INK, "width": 2},
        hoverinfo="skip",
        legendrank=1,
    )


def lay_out(
    drawn: go.Figure,
    *,
    costs: tuple[float, float],
    ticks: Sequence[tuple[float, str]],
    cost_title: str,
    accuracies: tuple[float, float],
    accuracy_title: str,
) -> None:
    """Set axes, legend and fonts.

    Args:
        drawn: The figure.
        costs: Ends of the cost axis.
        ticks: What is marked on it, and how.
        cost_title: What it shows.
        accuracies: Ends of the other axis, in 0..1.
        accuracy_title: What that shows.
    """
    axis = {"gridcolor": _GRID, "zeroline": False, "tickfont": {"color": QUIET}, "linecolor": "#9aa3ad"}
    drawn.update_layout(
        template="none",
        font={"family": _FONT, "size": 14, "color": INK},
        margin={"l": 70, "r": 36, "t": 44, "b": 66 + 18 * cost_title.count("<br>")},
        # Beside the axes, where it covers neither points nor legend.
        modebar={"orientation": "v", "bgcolor": "rgba(255,255,255,0)", "color": "#c3c8ce", "activecolor": QUIET},
        hoverlabel={"bgcolor": "white", "bordercolor": "#9aa3ad", "font": {"color": INK}, "align": "left"},
        legend={
            "orientation": "h",
            "x": 0,
            "y": 1.01,
            "xanchor": "left",
            "yanchor": "bottom",
            "itemsizing": "constant",
            "font": {"size": 13},
        },
        xaxis={
            **axis,
            "type": "log",
            "range": [log10(end) for end in costs],
            "tickvals": [value for value, _ in ticks],
            "ticktext": [text for _, text in ticks],
            "tickangle": 0,
            "title": {"text": cost_title, "font": {"size": 13}, "standoff": 14},
            "showline": True,
        },
        yaxis={
            **axis,
            "range": [100 * end for end in accuracies],
            "ticksuffix": " %",
            "automargin": True,  # three digits and a title have room
            "title": {"text": accuracy_title, "font": {"size": 13}, "standoff": 8},
        },
    )


def _drawn(chart: Chart, *, hidden: bool) -> str:
    texts = f"<p>{escape(chart.subtitle)}</p>\n"
    if chart.warning:
        texts += f'<p class="warning">{escape(chart.warning)}</p>\n'
    figure = f'<div class="figure"></div>\n<script type="application/json">{chart.figure.to_json()}</script>'
    return f'<div class="chart" data-axis="{chart.key}"{" hidden" if hidden else ""}>\n{texts}{figure}</div>'
