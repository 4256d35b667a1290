"""The front as a picture, drawn by matplotlib without its global state."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from sweep.report.view import View, look, percent

SIZE = (8.0, 5.0)  # inches
DOTS = 200  # an inch: 1600 by 1000 pixels, twice what a page shows

_INK, _QUIET, _GRID = "#1b1f24", "#5b6470", "#e3e6ea"
_MOST_LABELS = 7


def draw(front: Mapping[str, Any]) -> bytes:
    """Return the front, the content of front.json, as a PNG file."""
    file = io.BytesIO()
    canvas: Any = picture(front).canvas  # its methods are not typed
    canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def picture(front: Mapping[str, Any]) -> Figure:
    """Return the front, the content of front.json, as matplotlib's figure."""
    view = look(front)
    figure = Figure(figsize=SIZE, dpi=DOTS, facecolor="white")
    canvas: Any = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.1, 0.12, 0.875, 0.7))
    _prepare(axes, view)
    figure.text(0.1, 0.945, view.title, fontsize=13.5, fontweight="bold", color=_INK)
    figure.text(0.1, 0.893, view.subtitle, fontsize=9.5, color=_QUIET)
    _dense(axes, view)
    _front(axes, view)
    _points(axes, view)
    _legend(axes, view)
    canvas.draw()  # fixes where the axes lie, so that texts can be measured
    _label_dense(axes, view, _labels(axes, view))
    return figure


def _prepare(axes: Axes, view: View) -> None:
    """Draw axes and grid."""
    axes.set_xscale("log")
    axes.set_xlim(*view.cost_range)
    axes.set_ylim(view.floor, max(view.top, view.floor + 0.05))  # all accuracies may be 0
    axes.xaxis.set_major_locator(FixedLocator(view.cost_ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{100 * tick:g} %" for tick in view.cost_ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "" if value > 1 else f"{100 * value:g} %"))
    axes.set_xlabel(" ".join(view.cost_title), fontsize=10, color=_INK)
    axes.set_ylabel("validation accuracy", fontsize=10, color=_INK)
    axes.yaxis.set_label_coords(-0.09, 0.5)  # clear of the widest numbers
    axes.tick_params(labelsize=9.5, colors=_QUIET, length=0, pad=6)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color("#9aa3ad")


def _dense(axes: Axes, view: View) -> None:
    """Draw the dense network."""
    level = view.dense_accuracy
    axes.axhspan(*view.dense_confidence, color=_QUIET, alpha=0.09, linewidth=0, zorder=0.5)
    axes.axhline(level, color=_QUIET, linewidth=1.1, linestyle=(0, (5, 4)), zorder=2)
    axes.plot([1.0], [level], marker="D", markersize=8, color=_INK, markeredgecolor="white", zorder=7)


def _label_dense(axes: Axes, view: View, taken: list[Bbox]) -> None:
    """Label the dashed line where it covers least: beside it, or in the corner that no front reaches."""
    left, right, level = *view.cost_range, view.dense_accuracy
    top = axes.get_ylim()[1]
    taken = taken + _covered(axes, view)
    places = [((left, level), (6, 4)), ((left, level), (6, -13)), ((right, level), (-6, -13)), ((left, top), (6, -13))]
    choices = [
        axes.annotate(
            view.dense_label,
            place,
            xytext=shift,
            textcoords="offset points",
            ha="left" if place[0] == left else "right",
            fontsize=9,
            color=_QUIET,
            zorder=8,
        )
        for place, shift in places
    ]
    boxes = [choice.get_window_extent() for choice in choices]
    covers = [sum(box.overlaps(other) for other in taken) for box in boxes]
    for number, choice in enumerate(choices):
        if number != covers.index(min(covers)):
            choice.remove()


def _covered(axes: Axes, view: View) -> list[Bbox]:
    """Return what the points and the front cover, in pixels."""
    points, corners = (
        axes.transData.transform(np.column_stack(places)) if len(places[0]) else np.zeros((0, 2))
        for places in ((view.shares, view.accuracies), view.stairs)
    )
    lines = [Bbox([np.minimum(a, b), np.maximum(a, b)]) for a, b in itertools.pairwise(corners)]
    return lines + [Bbox([point, point]).padded(6) for point in points]


def _front(axes: Axes, view: View) -> None:
    """Draw the front as a staircase, and what it beats as a shade."""
    x, y = view.stairs
    if len(x):
        axes.fill_between(x, y, view.floor, color="#2b6ca3", alpha=0.07, linewidth=0, zorder=1)
        axes.plot(x, y, color=_INK, linewidth=1.4, solid_joinstyle="miter", zorder=3)


def _points(axes: Axes, view: View) -> None:
    """Draw every point, coloured by its budget. All that look the same are one call: thousands would take seconds."""
    budgets = np.array([float(point["budget"]) for point in view.points])
    best = np.isin(np.arange(len(view.points)), view.front)
    crowded = len(view.points) > 100
    small: dict[str, Any] = {"ms": 3.6 if crowded else 5.2, "mec": "none", "alpha": 0.5 if crowded else 0.75}
    for budget in view.budgets:
        colour, here = view.colour(budget), budgets == budget
        low, behind, front = here & view.low, here & ~view.low & ~best, here & ~view.low & best
        edge = np.full(low.sum(), view.floor)
        axes.plot(view.shares[low], edge, "v", ms=6.5, color=colour, clip_on=False, zorder=5)
        axes.plot(view.shares[behind], view.accuracies[behind], "o", color=colour, zorder=4, **small)
        axes.plot(view.shares[front], view.accuracies[front], "o", ms=8.5, color=colour, mec="white", mew=1.3, zorder=6)


def _legend(axes: Axes, view: View) -> None:
    """Draw the legend as a row above the axes, where it can hide no point."""
    shown = view.named_budgets
    handles = [_mark("o", view.colour(budget), f"budget {100 * budget:g} %") for budget in shown[:1]]
    handles += [_mark("o", view.colour(budget), f"{100 * budget:g} %") for budget in shown[1:]]
    if len(view.front):
        handles.insert(0, Line2D([], [], color=_INK, linewidth=1.4, label="front"))
    if view.low.any():
        handles.append(_mark("v", _QUIET, f"{view.low.sum()} below the axis"))
    if not handles:
        return
    axes.legend(
        handles=handles,
        loc="lower left",
        bbox_to_anchor=(-0.012, 0.995),
        ncols=len(handles),
        fontsize=9,
        labelcolor=_INK,
        frameon=False,
        handlelength=1.2,
        handletextpad=0.35,
        columnspacing=1.0,
    )


def _mark(marker: str, colour: str, label: str) -> Line2D:
    return Line2D([], [], linestyle="", marker=marker, markersize=6.5, mec="none", color=colour, label=label)


def _labels(axes: Axes, view: View) -> list[Bbox]:
    """Label points of the front, above and to the left of them, where by the front's nature no point lies.

    Returns:
        What the labels cover, in pixels.
    """
    taken: list[Bbox] = []
    frame = axes.get_window_extent()
    for index in view.telling:
        if len(taken) == _MOST_LABELS:
            break
        text = axes.annotate(
            f"{percent(view.accuracies[index])}\n{view.axis.shown(view.points[index][view.axis.key])}",
            (view.shares[index], view.accuracies[index]),
            xytext=(-6, 5),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            linespacing=1.1,
            color=_INK,
            zorder=8,
            path_effects=[withStroke(linewidth=3, foreground="white")],  # where it crosses the dashed line
        )
        box = text.get_window_extent().padded(4)
        if frame.x0 <= box.x0 and box.y1 <= frame.y1 and not any(box.overlaps(other) for other in taken):
            taken.append(box)
        else:
            text.remove()
    return taken
