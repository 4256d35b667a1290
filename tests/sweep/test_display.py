"""What the terminal shows."""

from __future__ import annotations

import io

from rich.console import Console

from nasprune.progress import Progress
from sweep.display import Display

POINT = {"point": "t000-50pct", "trial": "t000", "macs_ratio": 0.499, "val_accuracy": 0.81, "on_front": True}


def shown(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)
    display = Display(console, "study", trials=2, epochs=3)
    with display:
        display.dense(Progress(phase="dense", epoch=1, epochs=1, metrics={"loss": 0.5}))
        display.started("t000", 0.5)
        display.started("t001", 0.01)
        display.reported("t001", {"finished": False, "phase": "search", "epoch": 1, "epochs": 2, "step": 1})
        display.reported("t000", {"finished": True, **POINT})
        display.front({"points": [POINT]}, "t000-50pct")
        display.failed("t001", "no luck")
        if terminal:
            console.print(display._render())
    return console.file.getvalue()


def test_lines_where_there_is_no_terminal():
    lines = shown(terminal=False).strip().splitlines()
    assert lines[0] == "dense network: epoch 1/1, loss 0.500"
    assert lines[1].startswith("point t000-50pct: 49.9% of the MACs, validation accuracy 81.0%, on the front (1 of 2")
    assert "min left" in lines[1]
    assert lines[2] == "trial t001 failed: no luck"
    assert len(lines) == 3


def test_table_in_a_terminal():
    text = shown(terminal=True)
    assert "t001" in text
    assert "failed" in text
    assert "1.0%" in text  # the budget
    assert "1 of 2 trials have a point" in text
