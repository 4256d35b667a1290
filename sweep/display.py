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
    from collections.abc import Callable, Mapping, Sequence

    from nasprune.progress import Progress

_QUIET = 60.0
"""Seconds without a line, where there is no terminal, after which one says where the study is."""
_QUIET_SHARE = 0.05
"""In a longer study this share of the time so far, so that a week leaves some hundreds of lines."""
_LONGEST_QUIET = 600.0
_NAMED = 4
"""What runs at once and is named in a line."""


class Display:
    """A context in which a study's progress is shown.

    Args:
        console: Where to.
        title: The study in a few words.
        trials: How many trials the study has in all.
        work: Of one trial after 0, 1, 2, ... of its epochs, in any unit; the measure of the time left.
        clock: Seconds that never go back.
    """

    def __init__(
        self,
        console: Console,
        title: str,
        *,
        trials: int,
        work: Sequence[float],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.console = console
        self.title = title
        self.trials = trials
        self._work = work
        self._rows: dict[str, dict[str, Any]] = {}
        self._clock = clock
        self._opened = clock()
        self._said: float | None = None
        self._dense = ""
        self._dense_phase = ""
        self._dense_begun = (0.0, 0)
        self._points = self._best = 0
        self._begun: float | None = None
        self._running: dict[str, dict[str, Any]] = {}
        self._polishing: dict[str, str] = {}
        self._over: set[str] = set()
        self._work_over = 0.0
        self._known = 0
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=2, transient=True)

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def resumed(self, over: int) -> None:
        """So many trials were over before this session."""
        self._known = over

    def say(self, line: str) -> None:
        """A line that stays."""
        self._said = self._clock()
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def dense(self, progress: Progress) -> None:
        """The dense network has finished an epoch, or told what it says of one more view of each training image."""
        now, left = self._clock(), progress.epochs - progress.epoch
        if new := self._dense_phase != progress.phase:
            self._dense_phase, self._dense_begun = progress.phase, (now, progress.epoch)
        begun, first = self._dense_begun
        share = f"{progress.epoch}/{progress.epochs}"
        if progress.phase == "dense":
            self._dense = f"dense network: epoch {share}, loss {progress.metrics['loss']:.3f}"
        else:
            self._dense = f"dense network: asked about view {share} of the training images"
        if progress.epoch > first and left:
            self._dense += _about((now - begun) / (progress.epoch - first) * left)
        self._break_silence(lambda: self._dense, at_once=new)

    def started(self, trial: str) -> None:
        """A trial has been given its place."""
        if self._begun is None:
            self._begun = self._clock()
            self._dense = ""
        self._running[trial] = self._row(trial)

    def reported(self, trial: str, result: Mapping[str, Any]) -> None:
        """A trial has finished an epoch, or a point."""
        row = self._rows[trial]
        if "point" in result:
            row |= {key: result[key] for key in ("macs_ratio", "val_accuracy", "hypervolume")}
            row |= {"budget": result["budget"], "state": "tuned"}
        else:
            row |= {key: result[key] for key in ("budget", "step")}
            row["state"] = f"{result['phase']} {result['epoch']}/{result['epochs']}"
            if row["before"] is None:
                row["before"] = result["step"] - 1
            self._break_silence(self._where)

    def ended(self, trial: str, *, finished: bool) -> None:
        """A trial is over: at its end, or stopped early."""
        self._end(trial, "done" if finished else "stopped early")
        if not finished:
            self.say(f"trial {trial} stopped early: others did better at the same budget")

    def failed(self, trial: str, reason: str) -> None:
        """A trial has ended with an error."""
        self._end(trial, "failed")
        self.say(f"trial {trial} failed: {reason}")

    def polishing(self, point: str, progress: Progress) -> None:
        """An epoch of tuning a point longer is done."""
        self._polishing[point] = f"polishing {point}: {progress.epoch}/{progress.epochs}"
        self._break_silence(lambda: _some(list(self._polishing.values())))

    def polished(self, point: str) -> None:
        """A point is tuned longer."""
        self._polishing.pop(point, None)

    def front(self, points: int, best: int) -> None:
        """So many points there are now, and so many of them are on the front."""
        self._points, self._best = points, best

    def point(self, point: Mapping[str, Any]) -> None:
        """A point is new."""
        where = "on the front" if point["on_front"] else "behind the front"
        self.say(
            f"point {point['point']}: {point['macs_ratio']:.1%} of the MACs, "
            f"validation accuracy {point['val_accuracy']:.1%}, {where} ({self._front()}{self._time_left()})"
        )

    def _row(self, trial: str) -> dict[str, Any]:
        return self._rows.setdefault(trial, {"budget": None, "state": "starting", "step": 0, "before": None})

    def _end(self, trial: str, state: str) -> None:
        row = self._row(trial)
        row["state"] = state
        self._running.pop(trial, None)
        if trial not in self._over:
            self._over.add(trial)
            self._work_over += self._done(row)

    def _front(self) -> str:
        return f"{self._points} point{'s' * (self._points != 1)}, {self._best} on the front"

    def _time_left(self) -> str:
        """What this session's pace says, as if no more trials were stopped."""
        rows = list(self._running.values())  # at once: the live table asks from a thread of its own
        whole = self._work[-1]
        done = self._work_over + sum(map(self._done, rows))
        running = sum(whole - self._work_at(row["step"]) for row in rows)
        remaining = running + max(0, self.trials - self._known - len(self._over) - len(rows)) * whole
        if self._begun is None or done == 0 or remaining <= 0:
            return ""
        return _about((self._clock() - self._begun) * remaining / done)

    def _done(self, row: Mapping[str, Any]) -> float:
        """Work of a trial in this session."""
        return self._work_at(row["step"]) - self._work_at(row["before"] or 0)

    def _work_at(self, step: int) -> float:
        return self._work[min(step, len(self._work) - 1)]  # in mode target a trial may have more epochs than the mean

    def _break_silence(self, line: Callable[[], str], *, at_once: bool = False) -> None:
        """Where there is no terminal, say where the study is, at once or if nothing was said for long."""
        if self.console.is_terminal:
            return
        now = self._clock()
        quiet = min(_LONGEST_QUIET, max(_QUIET, _QUIET_SHARE * (now - self._opened)))
        if at_once or self._said is None or now - self._said >= quiet:
            self.say(line())

    def _where(self) -> str:
        """What runs, in a line."""
        rows = [(trial, row) for trial, row in self._running.items() if row["budget"] is not None]
        each = [f"{trial} at {100 * row['budget']:g}%: {row['state']}" for trial, row in rows]
        return f"{_some(each)} ({self._front()}{self._time_left()})"

    def _render(self) -> RenderableType:
        polishing = [Text(line) for line in list(self._polishing.values())]  # at once, as above
        if not self._rows:
            return Group(Text(f"{self.title}   {self._dense}"), *polishing)
        table = Table(title=self.title, title_justify="left", expand=False)
        for name in ("trial", "budget", "state", "MACs", "validation", "hypervolume"):
            table.add_column(name, justify="left" if name in ("trial", "state") else "right")
        for trial, row in list(self._rows.items())[-12:]:
            table.add_row(
                trial,
                "" if row["budget"] is None else f"{100 * row['budget']:g}%",
                row["state"],
                f"{row['macs_ratio']:.1%}" if "macs_ratio" in row else "",
                f"{row['val_accuracy']:.1%}" if "val_accuracy" in row else "",
                f"{row['hypervolume']:.3f}" if "hypervolume" in row else "",
            )
        summary = f"{self._front()}; {self._known + len(self._over)} of {self.trials} trials are over"
        return Group(table, Text(summary + self._time_left()), *polishing)


def _some(words: Sequence[str]) -> str:
    """The first few, and how many more there are."""
    more = [f"and {len(words) - _NAMED} more"] if len(words) > _NAMED else []
    return "; ".join([*words[:_NAMED], *more])


def _about(seconds: float) -> str:
    """In minutes, or where these would be many in hours."""
    if seconds >= 3 * 3600:
        return f", about {seconds / 3600:.1f} h left"
    minutes, seconds = divmod(round(seconds), 60)
    return f", about {minutes}:{seconds:02d} min left"
