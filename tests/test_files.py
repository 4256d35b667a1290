"""A file is there whole or not at all, whoever is killed or whatever loses power meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nasprune.files import write_bytes


def test_a_write_that_was_killed_leaves_the_file_as_it_was(tmp_path, monkeypatch):
    path, written = tmp_path / "file", Path.write_bytes
    write_bytes(path, b"old")

    def half(self: Path, content: bytes) -> None:
        written(self, content[:1])
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", half)
        with pytest.raises(KeyboardInterrupt):
            write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_content_is_on_the_disk_before_it_has_its_name_and_the_name_after(tmp_path, monkeypatch):
    """Or a power cut might leave the name with the content still missing."""
    done: list[Path | str] = []
    sync, replace = os.fsync, Path.replace

    def synced(descriptor: int) -> None:
        done.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        sync(descriptor)

    def named(self: Path, target: Path) -> Path:
        done.append("named")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "replace", named)
    write_bytes(tmp_path / "file", b"content")
    content, *after = done
    assert Path(content).parent == tmp_path
    assert after == ["named", tmp_path]
