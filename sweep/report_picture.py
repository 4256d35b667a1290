"""The front as a picture, drawn by matplotlib without its global state."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedFormatter, FixedLocator, FuncFormatter, MaxNLocator, NullLocator
from matplotlib.transforms import Bbox

from sweep.report_view import View, count, look, percent

SIZE = (8.0, 5.0)  # inches
DOTS = 200  # an inch: 1600 by 1000 pixels, twice what a page shows

_INK, _QUIET, _GRID = "#1b1f24", "#5b6470", "#e3e6ea"
_MOST_LABELS = 7
_MOST_BUDGETS = 8  # beyond, the legend shows the ends and the middle


def draw(front: Mapping[str, Any]) -> bytes:
    """Return the front, the content of front.json, as a PNG file."""
    view = look(front)
    figure = Figure(figsize=SIZE, dpi=DOTS, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_axes((0.085, 0.12, 0.885, 0.735))
    _prepare(axes, view)
    figure.text(0.085, 0.945, view.title, fontsize=13.5, fontweight="bold", color=_INK)
    figure.text(0.085, 0.893, view.subtitle, fontsize=9.5, color=_QUIET)
    taken = _dense(axes, view)
    _front(axes, view)
    _points(axes, view)
    canvas.draw()  # fixes where the axes lie, so that texts can be measured
    _labels(axes, view, taken)
    file = io.BytesIO()
    canvas.print_png(file, metadata={"Software": None})
    return file.getvalue()


def _prepare(axes: Axes, view: View) -> None:
    """Draw axes and grid."""
    axes.set_xscale("log")
    axes.set_xlim(*view.cost_range)
    axes.set_ylim(view.floor, view.top)
    axes.xaxis.set_major_locator(FixedLocator(view.cost_ticks))
    axes.xaxis.set_major_formatter(FixedFormatter([f"{100 * tick:g} %" for tick in view.cost_ticks]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, steps=[1, 2, 2.5, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: "" if value > 1 else f"{100 * value:g} %"))
    axes.set_xlabel(
        f"multiply-adds of one image, share of the dense network's {count(view.dense['macs'])} (log scale)",
        fontsize=10,
        color=_INK,
    )
    axes.set_ylabel("validation accuracy", fontsize=10, color=_INK)
    axes.tick_params(labelsize=9.5, colors=_QUIET, length=0, pad=5)
    axes.grid(color=_GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for name, spine in axes.spines.items():
        spine.set_visible(name == "bottom")
        spine.set_color("#9aa3ad")


def _dense(axes: Axes, view: View) -> list[Bbox]:
    """Draw the dense network; return what its label covers, in pixels."""
    level = view.dense["val_accuracy"]
    axes.axhline(level, color=_QUIET, linewidth=1.1, linestyle=(0, (5, 4)), zorder=2)
    axes.plot([1.0], [level], marker="D", markersize=8, color=_INK, markeredgecolor="white", zorder=7)
    text = axes.annotate(
        f"dense network, {percent(level)}",
        (view.cost_range[0], level),
        xytext=(6, 4),
        textcoords="offset points",
        fontsize=9,
        color=_QUIET,
        zorder=8,
    )
    axes.figure.draw_without_rendering()
    return [text.get_window_extent()]


def _front(axes: Axes, view: View) -> None:
    """Draw the front as a staircase, and what it beats as a shade."""
    x, y = view.stairs
    if len(x):
        axes.fill_between(x, y, view.floor, color="#2b6ca3", alpha=0.07, linewidth=0, zorder=1)
        axes.plot(x, y, color=_INK, linewidth=1.4, solid_joinstyle="miter", zorder=3)


def _points(axes: Axes, view: View) -> None:
    """Draw every point, coloured by its budget, and the legend."""
    on_front = set(view.front.tolist())
    crowded = len(view.points) > 100
    for index, point in enumerate(view.points):
        colour = view.colour(float(point["budget"]))
        if view.low[index]:
            axes.plot(view.shares[index], view.floor, "v", ms=6.5, color=colour, clip_on=False, zorder=5)
        elif index in on_front:
            axes.plot(
                view.shares[index], view.accuracies[index], "o", ms=8.5, color=colour, mec="white", mew=1.3, zorder=6
            )
        else:
            axes.plot(
                view.shares[index],
                view.accuracies[index],
                "o",
                ms=3.6 if crowded else 5.2,
                color=colour,
                mec="none",
                alpha=0.5 if crowded else 0.75,
                zorder=4,
            )
    shown = view.budgets
    if len(shown) > _MOST_BUDGETS:
        shown = (shown[0], shown[len(shown) // 2], shown[-1])
    handles = [Line2D([], [], color=_INK, linewidth=1.4, label="front")] if on_front else []
    handles += [
        Line2D([], [], ls="", marker="o", ms=7, mec="none", color=view.colour(budget), label=f"{100 * budget:g} %")
        for budget in shown
    ]
    if view.low.any():
        label = f"{view.low.sum()} below {percent(view.floor)}"
        handles.append(Line2D([], [], ls="", marker="v", ms=6.5, color=_QUIET, label=label))
    if handles:
        legend = axes.legend(
            handles=handles,
            title="wanted share (budget)",
            loc="lower right",
            fontsize=9,
            title_fontsize=9,
            labelcolor=_INK,
            frameon=True,
            framealpha=0.9,
            edgecolor="none",
            ncols=1 if len(handles) < 6 else 2,
        )
        legend.get_title().set_color(_QUIET)
        legend.set_zorder(9)


def _labels(axes: Axes, view: View, taken: list[Bbox]) -> None:
    """Label points of the front, above and to the left of them, where by the front's nature no point lies."""
    legend = axes.get_legend()
    taken = [*taken, *([legend.get_window_extent()] if legend else [])]
    order = _most_telling(view)
    drawn = 0
    for index in order:
        if drawn == _MOST_LABELS:
            break
        text = axes.annotate(
            f"{percent(view.accuracies[index])}\n{count(view.points[index]['macs'])}",
            (view.shares[index], view.accuracies[index]),
            xytext=(-6, 5),
            textcoords="offset points",
            ha="right",
            fontsize=8.5,
            linespacing=1.1,
            color=_INK,
            zorder=8,
        )
        box = text.get_window_extent().padded(4)
        frame = axes.get_window_extent()
        inside = box.x0 >= frame.x0 and box.y1 <= frame.y1 + 12
        if inside and not any(box.overlaps(other) for other in taken):
            taken.append(box)
            drawn += 1
        else:
            text.remove()


def _most_telling(view: View) -> list[int]:
    """Return the front's points, those first that should be labelled if not all can: the ends, then big steps."""
    front = view.front.tolist()
    if len(front) < 3:
        return front
    steps = {
        now: view.accuracies[now] - view.accuracies[before] for before, now in zip(front[:-1], front[1:], strict=True)
    }
    return [front[-1], front[0], *sorted(front[1:-1], key=lambda index: -steps[index])]
