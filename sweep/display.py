"""What the terminal shows while a study runs: a live table, or lines where there is no terminal."""

from __future__ import annotations

import time
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nasprune.progress import Progress


class Display:
    """A context in which a study's progress is shown.

    Args:
        console: Where to.
        title: The study in a few words.
        trials: How many trials the study has in all.
        epochs: Epochs of one trial, search and tuning together; the measure of the time left.
    """

    def __init__(self, console: Console, title: str, *, trials: int, epochs: int) -> None:
        self.console = console
        self.title = title
        self.trials = trials
        self.epochs = epochs
        self._rows: dict[str, dict[str, Any]] = {}
        self._dense = ""
        self._front: Mapping[str, Any] = {"points": []}
        self._begun: float | None = None
        self._done_before = 0
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def say(self, line: str) -> None:
        """A line that stays."""
        self.console.print(line, highlight=False, soft_wrap=True)

    def dense(self, progress: Progress) -> None:
        """The dense network has finished an epoch."""
        share = f"{progress.epoch}/{progress.epochs}"
        self._dense = f"dense network: epoch {share}, loss {progress.metrics['loss']:.3f}"
        tenth = max(1, progress.epochs // 10)
        if not self.console.is_terminal and (progress.epoch % tenth == 0 or progress.epoch == progress.epochs):
            self.say(self._dense)

    def started(self, trial: str, budget: float) -> None:
        """A trial has been given its place."""
        if self._begun is None:
            self._begun = time.monotonic()
            self._dense = ""
            self._done_before = len(self._front["points"])
        self._rows.setdefault(trial, {"budget": budget, "state": "starting", "step": 0})

    def reported(self, trial: str, result: Mapping[str, Any]) -> None:
        """A trial has finished an epoch, or its point."""
        row = self._rows[trial]
        if result["finished"]:
            row |= {"state": "done", "step": self.epochs, **result}
        else:
            row |= {
                "state": f"{result['phase']} {result['epoch']}/{result['epochs']}",
                "step": result["step"],
            }

    def failed(self, trial: str, reason: str) -> None:
        """A trial has ended without a point."""
        self._rows.setdefault(trial, {"budget": float("nan"), "step": 0})["state"] = "failed"
        self.say(f"trial {trial} failed: {reason}")

    def front(self, front: Mapping[str, Any], new: str) -> None:
        """The front has been taken again, after the point `new`."""
        self._front = front
        point = next(point for point in front["points"] if point["point"] == new)
        count = sum(point["on_front"] for point in front["points"])
        where = "on the front" if point["on_front"] else "behind the front"
        self.say(
            f"point {new}: {point['macs_ratio']:.1%} of the MACs, validation accuracy {point['val_accuracy']:.1%}, "
            f"{where} ({len(front['points'])} of {self.trials} trials, {count} on the front{self._time_left()})"
        )

    def _time_left(self) -> str:
        done = sum(row["step"] for row in self._rows.values())
        remaining = (self.trials - self._done_before) * self.epochs - done
        if self._begun is None or done == 0 or remaining <= 0:
            return ""
        seconds = round((time.monotonic() - self._begun) * remaining / done)
        return f", about {seconds // 60}:{seconds % 60:02d} min left"

    def _render(self) -> RenderableType:
        if not self._rows:
            return Text(f"{self.title}   {self._dense}")
        table = Table(title=self.title, title_justify="left", expand=False)
        for name in ("trial", "budget", "state", "MACs", "validation", "front"):
            table.add_column(name, justify="left" if name in ("trial", "state") else "right")
        on_front = {point["trial"] for point in self._front["points"] if point["on_front"]}
        for trial, row in list(self._rows.items())[-12:]:
            done = row["state"] == "done"
            table.add_row(
                trial,
                f"{row['budget']:.0%}" if row["budget"] >= 0.1 else f"{row['budget']:.1%}",
                row["state"],
                f"{row['macs_ratio']:.1%}" if done else "",
                f"{row['val_accuracy']:.1%}" if done else "",
                "*" if trial in on_front else "",
            )
        count = len(self._front["points"])
        return Group(table, Text(f"{count} of {self.trials} trials have a point{self._time_left()}"))
