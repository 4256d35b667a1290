"""A study's front for people: a picture, a page, a table and a note. All from the content of front.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nasprune.files import write_bytes
from sweep.report.plot import draw
from sweep.report.text import markdown, table
from sweep.report.web import page

__all__ = ["markdown", "page", "picture", "table", "write_page"]


def picture(front: Mapping[str, Any], path: Path) -> None:
    """Write the front as a PNG file, whole or not at all.

    Raises:
        DataError: if the file cannot be written.
    """
    write_bytes(path, draw(front))


def write_page(front: Mapping[str, Any], path: Path) -> None:
    """Write the front as one HTML file that needs no network, whole or not at all.

    Raises:
        DataError: if the file cannot be written.
    """
    write_bytes(path, page(front).encode())
