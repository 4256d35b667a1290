"""Files for the board are measured until the storage has them, whatever lies in a node's mirror."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from nasprune.errors import ArtifactError
from nasprune.record import BOARD_FILES, BOARD_REPORT, RECORD
from sweep import board
from sweep.settings import StudySettings
from sweep.storage.bucket import Bucket
from tests.buckets import Node, write

DENSE = "shared/dense/key"
FILES = (*BOARD_FILES.values(), BOARD_REPORT)


@pytest.fixture
def shipped(monkeypatch) -> list[str]:
    """The folders whose files are measured, in the order in which that is done."""
    made: list[str] = []

    def ship(artifact, data, directory):
        made.append(directory.name)
        for file in FILES:
            (directory / file).write_text(f"measured for time {len(made)}")
        return {}

    monkeypatch.setattr(board, "ship", ship)
    monkeypatch.setattr(board, "read_artifact", lambda directory: SimpleNamespace(directory=directory))
    return made


def measure(bucket: Bucket, settings: StudySettings) -> None:
    front = {"points": [{"point": name, "artifact": f"points/{name}", "on_front": True} for name in ("a", "b")]}
    dense = SimpleNamespace(directory=bucket.root / DENSE)
    board.measure_files(settings, front, dense, None, SimpleNamespace(say=lambda _: None))


@pytest.fixture
def bucket(node: Node, settings: StudySettings) -> Bucket:
    """With a dense network and two points."""
    bucket = node("one")
    for name in (DENSE, f"{settings.study}/points/a", f"{settings.study}/points/b"):
        write(bucket, f"{name}/{RECORD}")
        bucket.store_folder(name)
    return bucket


def test_what_the_mirror_alone_has_is_measured_again(bucket: Bucket, settings: StudySettings, shipped):
    """As a kill leaves it that comes after the measuring and before the storing."""
    for name in (DENSE, f"{settings.study}/points/a"):
        write(bucket, f"{name}/{BOARD_REPORT}", "killed")
    for _ in range(2):
        measure(bucket, settings)
        assert shipped == ["key", "a", "b"], "once, and what is stored stays"
    for name in (DENSE, f"{settings.study}/points/a", f"{settings.study}/points/b"):
        assert set(FILES) <= set(bucket.names(name))
        assert b"measured" in bucket.read(f"{name}/{BOARD_REPORT}")


def test_an_outage_while_files_are_stored_leaves_no_point_out(
    bucket: Bucket, settings: StudySettings, shipped, monkeypatch
):
    store = Bucket.store_path

    def away(self, path):
        if shipped[-1] == "a" and path.name == BOARD_REPORT:
            raise ArtifactError("it cannot be moved")
        store(self, path)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "store_path", away)
        with pytest.raises(ArtifactError, match="cannot be moved"):
            measure(bucket, settings)
    measure(bucket, settings)
    assert shipped == ["key", "a", "a", "b"]
    assert bucket.read(f"{settings.study}/points/a/{BOARD_REPORT}") == b"measured for time 3"
