"""What the terminal shows."""

from __future__ import annotations

import io

from rich.console import Console

from nasprune.progress import Progress
from sweep.display import Display

POINT = {"point": "t000-50pct", "trial": "t000", "macs_ratio": 0.499, "val_accuracy": 0.81, "on_front": True}
EPOCH = {"finished": False, "phase": "search", "epoch": 1, "epochs": 2, "budget": 0.25, "step": 4}


def shown(*, terminal: bool) -> str:
    console = Console(file=io.StringIO(), width=100, force_terminal=terminal, color_system=None)
    display = Display(console, "study", trials=4, work=range(7))
    with display:
        display.resumed(1)
        display.dense(Progress(phase="dense", epoch=1, epochs=1, metrics={"loss": 0.5}))
        for trial in ("t001", "t002", "t003"):
            display.started(trial)
        display.reported("t001", {**EPOCH, "step": 3})
        display.reported("t001", {**POINT, "finished": False, "budget": 0.5, "points": 1, "hypervolume": 0.4})
        display.front(1, 1)
        display.point(POINT)
        display.reported("t001", EPOCH)
        display.reported("t002", EPOCH)
        display.ended("t002", finished=False)
        display.failed("t003", "no luck")
        if terminal:
            console.print(display._render())
    return console.file.getvalue()


def test_lines_where_there_is_no_terminal():
    lines = shown(terminal=False).strip().splitlines()
    assert lines[0] == "dense network: epoch 1/1, loss 0.500"
    assert lines[1].startswith(
        "point t000-50pct: 49.9% of the MACs, validation accuracy 81.0%, on the front (1 point, 1 on the front, about "
    )
    assert lines[2] == "trial t002 stopped early: others did better at the same budget"
    assert lines[3] == "trial t003 failed: no luck"
    assert len(lines) == 4


def test_what_the_dense_network_is_asked_has_a_pace_of_its_own():
    now = 0.0
    console = Console(file=io.StringIO(), width=100, color_system=None)
    with Display(console, "study", trials=1, work=range(2), clock=lambda: now) as display:
        for phase, seconds, epochs in (("dense", 1000, 3), ("ask", 100, 4)):
            for epoch in range(1, epochs + 1):
                now += seconds
                display.dense(Progress(phase=phase, epoch=epoch, epochs=epochs, metrics={"loss": 0.5}))
    asked = [line for line in console.file.getvalue().splitlines() if "asked" in line]
    assert asked == [
        "dense network: asked about view 1/4 of the training images",
        "dense network: asked about view 3/4 of the training images, about 1:40 min left",
    ]


def test_table_in_a_terminal():
    text = shown(terminal=True)
    row = next(line for line in text.splitlines() if "t001" in line)
    assert [cell.strip() for cell in row.strip("│ ").split("│")] == [
        "t001",
        "25%",
        "search 1/2",
        "49.9%",
        "81.0%",
        "0.400",
    ]
    for word in ("stopped early", "failed", "1 point, 1 on the front; 3 of 4 trials are over"):
        assert word in text


def test_a_study_without_a_terminal_is_never_silent_for_long():
    now = 0.0
    console = Console(file=io.StringIO(), width=200, force_terminal=False, color_system=None)
    display = Display(console, "study", trials=8, work=range(201), clock=lambda: now)
    with display:
        display.say("a word before")
        for epoch in range(1, 21):
            display.dense(Progress(phase="dense", epoch=epoch, epochs=20, metrics={"loss": 0.5}))
            now += 25
        for number in range(6):
            display.started(f"t00{number}")
            display.reported(f"t00{number}", {**EPOCH, "epochs": 100, "step": 1})
        for epoch in range(2, 101):
            now += 500
            display.reported("t000", {**EPOCH, "epochs": 100, "epoch": epoch, "step": epoch})
        display.polishing("t000-10pct", Progress(phase="tune", epoch=3, epochs=40, metrics={"loss": 0.5}))
        now += 700
        display.polishing("t001-10pct", Progress(phase="tune", epoch=1, epochs=40, metrics={"loss": 0.5}))
        display.polished("t000-10pct")
        now += 700
        display.polishing("t001-10pct", Progress(phase="tune", epoch=2, epochs=40, metrics={"loss": 0.5}))
    lines = console.file.getvalue().strip().splitlines()[1:]
    assert lines[-2:] == ["polishing t000-10pct: 3/40; polishing t001-10pct: 1/40", "polishing t001-10pct: 2/40"]
    dense = [line for line in lines if line.startswith("dense")]
    assert dense[:2] == [
        "dense network: epoch 1/20, loss 0.500",
        "dense network: epoch 4/20, loss 0.500, about 6:40 min left",
    ]
    assert len(dense) == 7
    trials = lines[len(dense) : -2]
    assert trials[0].startswith(
        "t000 at 25%: search 2/100; t001 at 25%: search 1/100; t002 at 25%: search 1/100; t003 at 25%: search 1/100; "
        "and 2 more (0 points, 0 on the front, about "
    )
    assert trials[0].endswith(" h left)")
    assert len(trials) < 60  # 14 hours


def test_what_is_told_is_shown_as_it_is_brackets_and_all():
    console = Console(file=io.StringIO(), width=200, color_system=None)
    display = Display(console, "study", trials=1, work=range(7))
    reason = "[enforce fail at alloc.cpp:127] images [/data/x/y.png] cannot be read"
    display.failed("t000", reason)
    assert console.file.getvalue() == f"trial t000 failed: {reason}\n"
