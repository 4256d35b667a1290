"""The journal's laws: what was appended is found in order until it is marked, whoever is killed wherever."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nasprune.errors import ArtifactError, DataError
from sweep.tracking import outbox
from sweep.tracking.outbox import JOURNAL, MARK, REFUSED, Outbox


def waiting(box: Outbox) -> list[int]:
    """Delivers all that waits."""
    found = []
    while (entry := box.first()) is not None:
        found.append(entry.body["value"])
        box.mark(entry)
    return found


def test_entries_come_out_as_they_went_in(tmp_path: Path):
    box = Outbox(tmp_path / "box")
    said = box.append("metrics", {"value": 1.5, "text": "a\nb", "nested": {"x": [1, None]}})
    box.append("metrics", {"value": 2})
    assert box.first() == said
    assert len(box) == 2
    again = Outbox(tmp_path / "box")
    assert again.first() == said, "number, time and body are what they were"
    assert waiting(again) == [1.5, 2]
    assert again.first() is None
    assert waiting(Outbox(tmp_path / "box")) == []


@given(
    steps=st.lists(st.sampled_from(["append", "mark", "refuse", "restart", "unmarked"]), max_size=30),
    room=st.sampled_from([0, 1_000_000]),
)
@settings(max_examples=100, deadline=None)
def test_nothing_is_lost_or_marked_twice(tmp_path_factory, steps: list[str], room: int):
    """Any order of sessions: every entry is delivered, in its order, again only where its mark was lost."""
    folder = tmp_path_factory.mktemp("box")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(outbox, "_ROOM", room)
        patch.setattr(os, "fsync", lambda _: None)  # a hundred examples; no power cut among them
        box = Outbox(folder)
        expected: list[int] = []
        aside: list[int] = []
        said = 0
        for step in steps:
            if step == "append":
                box.append("metrics", {"value": said})
                expected.append(said)
                said += 1
            elif step == "restart":
                box = Outbox(folder)
                expected, aside = aside + expected, []
            elif expected:
                entry = box.first()
                assert entry.body["value"] == expected[0]
                if step == "mark":
                    box.mark(entry)
                    expected.pop(0)
                elif step == "refuse":
                    box.set_aside(entry)
                    aside.append(expected.pop(0))
                else:  # delivered, and killed before the mark
                    box = Outbox(folder)
                    expected, aside = aside + expected, []
        assert waiting(Outbox(folder)) == aside + expected


@pytest.mark.parametrize("torn", [b'{"n": 3, "ki', b'{"n": 3, "kind": "metrics", "time": 1, "value": 3}', b"\xff\x00"])
def test_a_torn_last_line_is_no_entry(tmp_path: Path, torn: bytes):
    box = Outbox(tmp_path)
    box.append("metrics", {"value": 1})
    box.append("metrics", {"value": 2})
    with (tmp_path / JOURNAL).open("ab") as file:
        file.write(torn)
    again = Outbox(tmp_path)
    again.append("metrics", {"value": 4})
    assert waiting(Outbox(tmp_path)) == [1, 2, 4]


def test_damage_elsewhere_is_named(tmp_path: Path):
    Outbox(tmp_path).append("metrics", {"value": 1})
    (tmp_path / JOURNAL).write_bytes(b"not json\n" + (tmp_path / JOURNAL).read_bytes())
    with pytest.raises(ArtifactError, match=r"journal\.jsonl is damaged at 'not json'"):
        Outbox(tmp_path)


@pytest.mark.parametrize("mark", ["", "x", None])
def test_without_its_mark_all_that_lies_there_comes_again(tmp_path: Path, mark: str | None):
    box = Outbox(tmp_path)
    box.append("metrics", {"value": 1})
    box.append("metrics", {"value": 2})
    box.mark(box.first())
    (tmp_path / MARK).unlink() if mark is None else (tmp_path / MARK).write_text(mark)
    assert waiting(Outbox(tmp_path)) == [1, 2]


def test_a_kill_while_the_refused_are_put_first_leaves_all_of_them(tmp_path: Path, monkeypatch):
    box = Outbox(tmp_path)
    for value in (1, 2, 3):
        box.append("metrics", {"value": value})
    box.set_aside(box.first())
    box.mark(box.first())
    unlink = Path.unlink

    def killed(path: Path, **how) -> None:
        if path.name == REFUSED:
            raise KeyboardInterrupt
        unlink(path, **how)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", killed)
        with pytest.raises(KeyboardInterrupt):
            Outbox(tmp_path)
    found = waiting(Outbox(tmp_path))
    assert [value for place, value in enumerate(found) if value not in found[:place]] == [1, 3]


def test_only_the_newest_of_a_superseding_kind_matters(tmp_path: Path):
    box = Outbox(tmp_path, superseding=("front",))
    box.append("front", {"value": 1})
    box.append("metrics", {"value": 2})
    box.append("front", {"value": 3})
    for found in (box, Outbox(tmp_path, superseding=("front",))):
        assert len(found) == 2
    told = []
    while (entry := box.first()) is not None:
        if not box.superseded(entry):
            told.append(entry.body["value"])
        box.mark(entry)
    assert told == [2, 3]


def test_a_delivered_journal_takes_no_room(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(outbox, "_ROOM", 10_000)
    box = Outbox(tmp_path)
    for value in range(1000):
        box.append("metrics", {"value": value})
        box.mark(box.first())
        assert (tmp_path / JOURNAL).stat().st_size < 10_200
    box.append("metrics", {"value": 1000})
    assert waiting(Outbox(tmp_path)) == [1000]


def test_a_full_disk_is_one_line_and_spoils_nothing(tmp_path: Path):
    mount = tmp_path / "disk"
    mount.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", mount], capture_output=True).returncode:
        pytest.skip("a small disk cannot be mounted here: needs root and the right to mount")
    try:
        box = Outbox(mount / "box")
        box.append("metrics", {"value": 1})
        with pytest.raises(DataError, match=r"cannot write .*journal\.jsonl \(No space left on device\)"):
            box.append("metrics", {"value": 2, "text": "x" * 100_000})
        box.append("metrics", {"value": 3})
        assert waiting(Outbox(mount / "box")) == [1, 3]
    finally:
        subprocess.run(["umount", mount], check=True)


WRITER = """
import sys
from pathlib import Path
from sweep.tracking.outbox import Outbox
box = Outbox(Path(sys.argv[1]))
for value in range(100_000):
    box.append("metrics", {"value": value, "text": "x" * 5000})
    print(value, flush=True)
"""


def test_what_was_appended_is_there_after_a_kill(tmp_path: Path):
    writer = subprocess.Popen(
        [sys.executable, "-c", WRITER, tmp_path / "box"],
        stdout=subprocess.PIPE, cwd=Path(__file__).resolve().parents[3],
    )  # fmt: skip
    told = [int(writer.stdout.readline()) for _ in range(50)]
    os.kill(writer.pid, signal.SIGKILL)
    told += [int(line) for line in writer.stdout.read().splitlines()]
    writer.wait()
    writer.stdout.close()
    found = waiting(Outbox(tmp_path / "box"))
    assert found[: len(told)] == told
    assert len(found) <= len(told) + 1, "one may have been appended and not told"


def test_an_entry_is_on_the_disk_itself_once_it_is_appended(tmp_path: Path, monkeypatch):
    """A power cut, unlike a kill, takes what only the kernel holds."""
    box, flushed, sync = Outbox(tmp_path), [], os.fsync

    def synced(descriptor: int) -> None:
        flushed.append((Path(f"/proc/self/fd/{descriptor}").readlink().name, (tmp_path / JOURNAL).read_bytes()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    entry = box.append("metrics", {"value": 1})
    assert flushed == [(JOURNAL, entry.line())]
