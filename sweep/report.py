"""A study's front for people: a picture, a page, a table and a note. All from the content of front.json."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasprune.errors import ArtifactError
from sweep.report_page import page
from sweep.report_picture import draw
from sweep.report_text import markdown, table

__all__ = ["markdown", "page", "picture", "table", "write_page"]


def picture(front: Mapping[str, Any], path: Path) -> None:
    """Write the front as a PNG file, whole or not at all.

    Raises:
        ArtifactError: if the file cannot be written.
    """
    _write(path, draw(front))


def write_page(front: Mapping[str, Any], path: Path) -> None:
    """Write the front as one HTML file that needs no network, whole or not at all.

    Raises:
        ArtifactError: if the file cannot be written.
    """
    _write(path, page(front).encode())


def _write(path: Path, content: bytes) -> None:
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(content)
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise ArtifactError(
            f"cannot write {path} ({error.strerror}); expected room and permission to write there; "
            "free some space or choose another --storage"
        ) from error
