"""The front as text: a table for the terminal, a note for MLflow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from sweep.report.view import COLUMNS, View, axes_of, board_columns, cells, look

_MOST_ROWS = 40  # of a note: MLflow holds about 8,000 characters


def table(front: Mapping[str, Any]) -> Group:
    """Return the front, the content of front.json, for the terminal: dense first, then from dear to cheap."""
    view = look(front)
    # As `Text`, because a title is otherwise read for marks in square brackets, and names may hold such.
    drawn = Table(title=Text(view.title), header_style="bold")
    for column in COLUMNS:
        drawn.add_column(column, justify="left" if column == "point" else "right", no_wrap=True)
    for number, row in enumerate(_rows(view)):
        drawn.add_row(*(Text(cell) for cell in row), style="dim" if number == 0 else None)
    return Group(drawn, Text(view.subtitle, style="dim"))  # a caption would be broken at the table's width


def markdown(front: Mapping[str, Any]) -> str:
    """Return the front, the content of front.json, as a note in Markdown."""
    view = look(front)
    heads = board_columns([view.dense, *view.points]) if len(axes_of(front)) > 1 else ()
    rows, columns = _rows(view, heads), (*COLUMNS, *heads)
    lines = [f"**{literal(view.title)}**", "", literal(view.subtitle), ""]
    lines += [f"| {' | '.join(columns)} |", f"|:--{'|--:' * (len(columns) - 1)}|"]
    lines += [f"| {' | '.join(literal(cell) for cell in row)} |" for row in rows[: _MOST_ROWS + 1]]
    if len(rows) > _MOST_ROWS + 1:
        lines += ["", f"and {len(rows) - _MOST_ROWS - 1} more on the front: see front.html or front.json"]
    lines += ["", view.note]
    return "\n".join(lines) + "\n"


def _rows(view: View, heads: Sequence[str] = ()) -> list[tuple[str, ...]]:
    """Return one row of cells for dense, and one for each point of the front; with `heads` of files for the board."""
    rows = [cells("dense", "", 1.0, view.dense, heads)]
    for index in view.front[::-1]:
        point = view.points[index]
        budget = f"{100 * float(point['budget']):g} %"
        rows.append(cells(str(point["point"]), budget, float(point["macs_ratio"]), point, heads))
    return rows


def literal(text: str) -> str:
    """Return text with the signs that Markdown reads made harmless."""
    return "".join(f"\\{sign}" if sign in "\\|*_`<[#" else sign for sign in text)
