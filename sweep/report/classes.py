"""Which classes pay: how each class fares with the dense network and along the front, as a table for the page."""

from __future__ import annotations

from html import escape

from nasprune.confusion import ClassResult
from sweep.report.view import WORTH, View, percent, step

_MOST = 8  # points side by side; of a longer front those that a label is worth most
_LOW = (239, 138, 98)  # behind the lowest accuracy of the table; 100 % is white

_SECTION = """<h2>Which classes pay</h2>
<p>Test accuracy of each class, the weakest first: the dense network, then {points} from dear to cheap, by share of the
MACs. {images} a class, so one image is {step}. Point at a cell to see what is taken for what.</p>
<div class="wide"><table class="classes">
<thead><tr>{head}</tr></thead>
<tbody>
{rows}
</tbody></table></div>
"""


def class_section(view: View) -> str:
    """Return the part of the page that tells of classes; nothing where no test image was measured."""
    chosen = sorted(view.telling[:_MOST], key=lambda index: -view.shares[index])
    columns = [("dense", "the dense network", view.dense)]
    columns += [(percent(view.shares[i]), str(view.points[i]["point"]), view.points[i]) for i in chosen]
    classes = view.dense["by_class"]
    if not classes:
        return ""
    results = {name: [ClassResult(**column["by_class"][name]) for _, _, column in columns] for name in classes}
    lowest = min(result.accuracy for row in results.values() for result in row)
    weakest_first = sorted(results, key=lambda name: sum(result.accuracy for result in results[name]))
    counts = sorted(row[0].images for row in results.values())
    return _SECTION.format(
        points=_points(len(chosen), len(view.front)),
        images=_range(f"{counts[0]}", f"{counts[-1]}") + f" test image{'s' * (counts[-1] != 1)}",
        step=_range(step(counts[-1]), step(counts[0])) + " points",
        head="<th>class</th><th>images</th>"
        + "".join(f'<th title="{escape(name)}">{share}</th>' for share, name, _ in columns),
        rows="\n".join(
            f'<tr><td title="{escape(name)}">{escape(name)}</td><td>{results[name][0].images}</td>'
            + "".join(_cell(name, result, lowest) for result in results[name])
            + "</tr>"
            for name in weakest_first
        )
        + "\n<tr><th>all classes</th><th>"
        + f"{sum(counts)}</th>"
        + "".join(f"<th>{100 * column['test_accuracy']:.1f}</th>" for _, _, column in columns)
        + "</tr>",
    )


def _cell(name: str, result: ClassResult, lowest: float) -> str:
    depth = (1 - result.accuracy) / (1 - lowest) if lowest < 1 else 0.0
    colour = ", ".join(str(round(255 - depth * (255 - part))) for part in _LOW)
    said = f"{name}: {result.right} of {result.images} right"
    if result.taken_for is not None:
        said += f"; most often taken for {result.taken_for}"
    return f'<td style="background:rgb({colour})" title="{escape(said)}">{100 * result.accuracy:.1f}</td>'


def _points(chosen: int, there: int) -> str:
    """Return which points of the front have a column, in words."""
    if chosen == there:
        return "the front"
    return f"{chosen} of the {there} points of the front (at least {100 * (WORTH - 1):.0f} % apart, at most {_MOST})"


def _range(least: str, most: str) -> str:
    return least if least == most else f"{least} to {most}"
