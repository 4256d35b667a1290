"""Files for the target board, of the points that a user will choose from: made and measured once nothing else runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nasprune.artifact import read_artifact
from nasprune.files import locked
from nasprune.record import BOARD_FILES, BOARD_REPORT
from nasprune.shipping import ship

if TYPE_CHECKING:
    from collections.abc import Mapping

    from nasprune.artifact import Artifact
    from nasprune.data import SceneData
    from sweep.display import Display
    from sweep.settings import StudySettings
    from sweep.storage.bucket import Storage

MEASURED = "int8_bytes"
"""Key of a point of the front object that has files for the board."""


def measure_files(
    settings: StudySettings,
    front: Mapping[str, Any],
    dense: Artifact,
    data: SceneData,
    display: Display,
) -> None:
    """Write and measure the files of the study's points, and of the dense network to compare with.

    One after the other, in this process: a latency that others disturb tells nothing. What is measured already, and in
    the storage, stays; what an outage or a kill kept from there is measured again.

    Args:
        settings: The study's; `board` says which points.
        front: The front object.
        dense: The dense network.
        data: The study's images.
        display: Is told of each.
    """
    chosen = [point for point in front["points"] if point["on_front"] or settings.board == "all"]
    if settings.board == "none" or not chosen:
        return
    storage = settings.place()
    with locked(dense.directory / "board"):  # other studies share it
        if not storage.fetch_board(storage.name_of(dense.directory)):
            _measure(display, "dense network", dense, data, storage)
    for point in chosen:
        directory = settings.directory / point["artifact"]
        if not storage.fetch_board(storage.name_of(directory)):
            _measure(display, f"point {point['point']}", read_artifact(directory), data, storage)


def _measure(display: Display, what: str, artifact: Artifact, data: SceneData, storage: Storage) -> None:
    directory = artifact.directory
    of = [
        f"{precision} {each.bytes / 1e6:.2f} MB, {each.latency_ms:.2f} ms, test accuracy {each.test_accuracy:.1%}"
        for precision, each in ship(artifact, data, directory).items()
    ]
    for file in (*BOARD_FILES.values(), BOARD_REPORT):
        storage.store_path(directory / file)
    display.say(f"{what} for the board: {'; '.join(of)}")
