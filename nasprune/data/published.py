"""Published splits of known data sets, read from their lists."""

from pathlib import Path, PurePosixPath

from nasprune.catalog import Catalogued
from nasprune.data.download import fetch
from nasprune.data.splits import PARTS, Part
from nasprune.errors import DataError
from nasprune.files import reason


def published_parts(
    known: Catalogued, beside: Path | None, directory: Path, *, endpoint: str | None = None
) -> dict[str, Part]:
    """Read the published split of a known data set, from lists beside the data or else downloaded.

    Args:
        known: the data set.
        beside: the data set's folder or zip; lists in that folder, or in the one that holds it, come first.
        directory: folder for downloads.
        endpoint: address of the hub; None takes the one huggingface_hub is set to.

    Returns:
        Stem of each listed file -> "train", "validation" or "test".

    Raises:
        DataError: if a list can be neither found nor fetched, holds no name, or two lists hold the same one.
    """
    part_of: dict[str, Part] = {}
    for part in PARTS:
        path = _find(known, part, beside, directory, endpoint)
        try:
            names = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"split list {path} cannot be read ({reason(error)}): one name a line is expected"
            ) from error
        if not names:
            raise DataError(f"split list {path} is empty: one file name a line is expected")
        for name in names:
            stem = PurePosixPath(name).stem
            if part_of.setdefault(stem, part) != part:
                raise DataError(f"{stem!r} is listed for {part_of[stem]} and in {path}: remove it from one")
    return part_of


def _find(known: Catalogued, part: Part, beside: Path | None, directory: Path, endpoint: str | None) -> Path:
    hosted = known.lists[part]
    folders = [] if beside is None else [beside, beside.parent]
    for folder in folders:
        if (folder / hosted.file).is_file():
            return folder / hosted.file
    by_hand = "" if beside is None else f"put {hosted.file} beside {beside}, "
    return fetch(hosted, directory, instead=f"{by_hand}or use the stratified split", endpoint=endpoint)
