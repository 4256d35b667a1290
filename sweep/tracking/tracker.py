"""What a study tells MLflow, written by the driver alone.

Saying something only keeps it on disk, in the study's folder; a process of its own tells MLflow. So a server that is
slow or away holds up no trial, and what a killed driver had not delivered, the next one delivers first.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from nasprune.files import write_bytes
from sweep.tracking.delivery import Delivery
from sweep.tracking.logged_models import STUDY
from sweep.tracking.outbox import Outbox
from sweep.tracking.study_runs import KIND, NOTE, TABLE, Status, texts
from sweep.tracking.writer import Tracked
from sweep.tracking.writer_process import WriterProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from sweep.tracking.writer import Writer

__all__ = ["BrowseHint", "Status", "Tracker", "cut_note"]

OUTBOX = "outbox"
"""Folder of a study's folder."""

_COLUMNS = (
    "point",
    "trial",
    "budget",
    "macs_ratio",
    "macs",
    "params",
    "val_accuracy",
    "test_accuracy",
    "on_front",
)
_NOTE_LIMIT = 7_500  # characters; MLflow cuts a tag at 8,000
_LAST = 60.0  # seconds that the end of a study waits for a slow server
_GRACE = 5.0  # seconds that a call to a server may go on once the tracker is closed
_PORT = 5000  # of the server that a command begins, MLflow's own
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class BrowseHint:
    """How to look at a study."""

    command: str | None
    """Starts the server to browse; None if there is one already."""
    link: str
    """The study's trials, best first, as rows that can be charted together."""
    front: str
    """The study's own run, with the front."""


class Tracker:
    """One study in MLflow: an experiment a data set, a run a study, a run below it a trial.

    Every call that tells something returns once it is on disk. What the store refused is raised by the next call, once:
    a SettingsError of the store, or an ArtifactError if a point is damaged, or if something else is tracked under its
    or its trial's name. A DataError says that the disk is full.

    Raises:
        SettingsError: If the tracking URI cannot be used; found before any training, within about 10 s.
        ArtifactError: If the study is tracked with other parameters, or its outbox is damaged.
    """

    def __init__(
        self,
        *,
        study: str,
        dataset: str,
        storage: Path,
        outbox: Path,
        uri: str | None = None,
        params: Mapping[str, Any],
        writer: Callable[[Tracked], Writer | WriterProcess] = WriterProcess,
    ) -> None:
        """Connects, finds or makes the study's run, and begins to deliver what a session before had left.

        Args:
            study: The study's name.
            dataset: Names the experiment.
            storage: Holds the default store, and with it the artifacts.
            outbox: The folder in which waits what is not delivered yet; one process at a time.
            uri: Of another store or a server.
            params: What the study is; a resumed one must be the same.
            writer: Makes what writes to the store.
        """
        self._study = study
        self._directory = outbox
        tracked = Tracked(
            study=study,
            dataset=dataset,
            storage=str(storage.absolute()),
            uri=uri,
            params=texts(params),
            directory=str(outbox.absolute()),
        )
        self._writer = writer(tracked)
        try:
            self._outbox = Outbox(outbox, superseding=("front",))
            self._delivery = Delivery(self._outbox, self._writer.deliver)
            self._delivery.say("study_started", {})
        except BaseException:
            self._writer.close()
            raise

    @property
    def run_id(self) -> str:
        """MLflow's id of the study's run."""
        return self._writer.place.study_run

    @property
    def run_ids(self) -> Mapping[str, str]:
        """MLflow's id of each trial's run, by trial; those it has not been told of are missing."""
        return self._writer.trial_runs

    @property
    def undelivered(self) -> int:
        """Entries that wait."""
        return self._delivery.waiting

    def trial_started(self, trial_id: str, params: Mapping[str, Any]) -> None:
        """A trial runs, for the first time or again; with other parameters it is refused."""
        self._delivery.say("trial_started", {"trial": trial_id, "params": texts(params)})

    def trial_metrics(self, trial_id: str, step: int, metrics: Mapping[str, float]) -> None:
        """An epoch's metrics. What is known of this step already stays."""
        self._delivery.say("trial_metrics", {"trial": trial_id, "step": step, "metrics": _numbers(metrics)})

    def trial_ended(self, trial_id: str, status: Status) -> None:
        """A trial is over."""
        self._delivery.say("trial_ended", {"trial": trial_id, "status": status})

    def point(
        self, trial_id: str, point_dir: Path, *, step: int, hypervolume: float, smallest: float | None = None
    ) -> None:
        """Logs a point (see `sweep.tracking.logged_models.log_point`).

        Args:
            trial_id: The trial's name.
            point_dir: The point's folder.
            step: The last epoch's; the same whenever the point is logged, so that it is logged once.
            hypervolume: Of the trial's points up to this one.
            smallest: Least share of the MACs among them, for the name of the trial's run; by default the point's own.
        """
        folder = os.path.relpath(point_dir, self._directory)  # the storage may lie elsewhere in another session
        body = {
            "trial": trial_id,
            "folder": folder,
            "step": step,
            "hypervolume": float(hypervolume),
            "smallest": smallest,
        }
        self._delivery.say("point", body)

    def board(self, trial_id: str, point_dir: Path, *, step: int) -> None:
        """Logs a point's files for the board, and what they measure; the point must have been logged.

        Args:
            trial_id: The trial's name.
            point_dir: The point's folder.
            step: The one that the point was logged at.
        """
        folder = os.path.relpath(point_dir, self._directory)
        self._delivery.say("board", {"trial": trial_id, "folder": folder, "step": step})

    def front(
        self,
        front: Mapping[str, Any],
        *,
        files: Iterable[Path],
        note: str,
        hypervolume: float | None = None,
    ) -> None:
        """Shows the front as it is now on the study's run; of several that wait, only the newest is shown.

        Args:
            front: The content of front.json.
            files: To be shown beside: front.html, front.png, front.json.
            note: Markdown for the run's page; cut at whole lines if MLflow cannot hold it.
            hypervolume: Of the front, if known.
        """
        points = front["points"]
        measured: dict[str, float] = {
            "points": len(points),
            "points_on_front": sum(bool(p.get("on_front")) for p in points),
        }
        if points:
            measured["best_val_accuracy"] = max(point["val_accuracy"] for point in points)
        if hypervolume is not None:
            measured["hypervolume"] = hypervolume
        self._delivery.say("study_metrics", {"step": len(points), "metrics": _numbers(measured)})
        rows = [[point.get(column) for column in _COLUMNS] for point in points]
        table = {"columns": list(_COLUMNS), "data": rows}
        write_bytes(self._directory / TABLE, json.dumps(table).encode())
        write_bytes(self._directory / NOTE, cut_note(note).encode())
        self._delivery.say("front", {"files": [os.path.relpath(file, self._directory) for file in files]})

    def wait(self, seconds: float) -> bool:
        """Wait until all that was said is delivered; no longer than it takes to find that the store is away.

        Args:
            seconds: To wait at most.

        Returns:
            Whether all is delivered.
        """
        done = self._delivery.wait(seconds)
        self._delivery.check()
        return done

    def study_ended(self, status: Status) -> None:
        """The study is over, or stopped. Waits up to a minute for what is not delivered, and says what remains."""
        self._delivery.say("study_ended", {"status": status})
        if not self._delivery.wait(_LAST):
            _LOG.warning(
                "%d entries are not in MLflow: %s does not answer in time; they are kept, and the same command "
                "delivers them once it does",
                self.undelivered,
                self._writer.place.shown,
            )
        self._delivery.check()

    def close(self) -> None:
        """Deliver no more; what waits is kept."""
        self._delivery.close(_GRACE)
        self._writer.close()

    def browse_hint(self) -> BrowseHint:
        """The command that shows this store in a browser, and where to look."""
        place = self._writer.place
        root, command = browse(place.shown, local=place.local)
        # In its default order MLflow folds trials away below their study, where no chart shows them; sorted
        # by a metric they are rows of their own. The last key leaves the pages for language models.
        query = {
            "searchFilter": f"tags.`{STUDY}` = '{self._study}' AND tags.`{KIND}` = 'trial'",
            "orderByKey": "metrics.`hypervolume`",
            "orderByAsc": "false",
            "workflowType": "machine_learning",
        }
        page = f"{root}/#/experiments/{place.experiment}/runs"
        return BrowseHint(
            command=command,
            link=f"{page}?{urlencode(query, quote_via=quote)}",
            front=f"{page}/{self.run_id}?workflowType=machine_learning",
        )


def browse(shown: str, *, local: bool) -> tuple[str, str | None]:
    """Where a browser finds a store's pages, and the command that serves them there; None if a server does.

    Args:
        shown: The store, without secrets.
        local: Whether it is a file of this machine.
    """
    if not local:
        return shown, None
    command = f"uv run mlflow ui --backend-store-uri {shlex.quote(shown)} --host 127.0.0.1 --port {_PORT} --workers 1"
    return f"http://127.0.0.1:{_PORT}", command


def cut_note(note: str) -> str:
    """`note`, or as many of its first lines as MLflow can hold and a line that says so."""
    if len(note) <= _NOTE_LIMIT:
        return note
    kept = note[:_NOTE_LIMIT].rsplit("\n", 1)[0]
    left = note.count("\n") - kept.count("\n")
    return f"{kept}\n\n{left} more lines do not fit here; all points are in front.json."


def _numbers(metrics: Mapping[str, float]) -> dict[str, float]:
    return {key: float(value) for key, value in metrics.items()}
