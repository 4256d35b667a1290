"""The tags of a TIFF, page by page, whatever pixels these have: Pillow opens only those that it can show."""

import io
from collections.abc import Iterator

from PIL import ExifTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

_SUBFILE = 254  # the tag that says what a page is
_NO_PAGE = 0b101  # its bits for one of less resolution and for a mask


def count_pages(encoded: bytes) -> int:
    """Count the images in a TIFF; overviews of one and masks are none.

    Raises:
        Exception: of any kind, where it is damaged.
    """
    return sum(not tags.get(_SUBFILE, 0) & _NO_PAGE for tags in _pages(encoded))


def orientation_tag(encoded: bytes) -> object:
    """The orientation of a TIFF's first page, as it stands there; None if it does not, or this is no whole TIFF."""
    try:
        return next(_pages(encoded)).get(ExifTags.Base.Orientation)
    except Exception:  # whatever Pillow raises on foreign bytes; if they are no image, whoever reads them says so
        return None


def _pages(encoded: bytes) -> Iterator[ImageFileDirectory_v2]:
    """The tags of each page; a page's are gone when the next one comes."""
    file, seen = io.BytesIO(encoded), {0}
    # Pillow knows a BigTIFF, whose header has 8 bytes more, by the third byte alone, wherever its numbers begin.
    header = b"II+\0" + encoded[4:16] if 43 in encoded[2:4] else encoded[:8]
    tags = ImageFileDirectory_v2(header, prefix=encoded[:2])
    while tags.next not in seen:  # a damaged file may go round in circles
        seen.add(tags.next)
        file.seek(tags.next)
        tags.load(file)
        yield tags
