"""A study's front as files: written, drawn, stored and tracked, while trials go on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from nasprune.files import write_json
from sweep.commandline import name_places
from sweep.points import volume
from sweep.report.drawing import Drawing
from sweep.report.text import markdown

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sweep.settings import StudySettings
    from sweep.storage.claim import Claim
    from sweep.tracking.tracker import Tracker

FRONT_FILES = ("front.json", "front.png", "front.html")


class Showing:
    """A front on its way to those who look at it. Begun by writing front.json.

    Args:
        settings: The study's.
        front: The content of front.json.
        tracker: MLflow.
        claim: On the study, where it is kept in a bucket.

    Raises:
        DataError: If front.json cannot be written, or drawing cannot begin.
        SettingsError: If another process took the study over.
    """

    def __init__(
        self, settings: StudySettings, front: Mapping[str, Any], tracker: Tracker, claim: Claim | None
    ) -> None:
        self._settings, self._tracker, self._claim = settings, tracker, claim
        self._check()
        self._paths = [settings.directory / name for name in FRONT_FILES]
        # Where it is kept and tracked goes along, for commands that the page shows; without passwords.
        write_json(self._paths[0], {**front, "places": name_places(settings)})
        self._drawing = Drawing(*self._paths)

    def done(self) -> bool:
        """Whether it is drawn."""
        return self._drawing.done()

    def end(self) -> None:
        """Wait until it is drawn, then store and track the files.

        Raises:
            NaspruneError: If something of it fails, or another process took the study over meanwhile.
        """
        self._drawing.end()
        self._check()
        storage = self._settings.place()
        for name in FRONT_FILES:
            storage.store_file(f"{self._settings.study}/{name}")
        front = json.loads(self._paths[0].read_text())  # as it was drawn: the study's has gone on
        reached = volume(front["points"], self._settings.budgets)
        self._tracker.front(front, files=self._paths, note=markdown(front), hypervolume=reached)

    def _check(self) -> None:
        if self._claim is not None:
            self._claim.check()
