"""Encoded images out of a folder or zip of `<class>/<image>`, whatever folders lie above."""

import hashlib
import os
import zipfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path, PurePosixPath

from nasprune.errors import DataError
from nasprune.files import reason

IMAGE_SUFFIXES = frozenset({".tif", ".tiff", ".png", ".jpg", ".jpeg", ".jpe", ".jfif"})
# Images that are not read: to pass them over in silence would shrink a data set unseen.
_FOREIGN_SUFFIXES = frozenset({".avif", ".bmp", ".gif", ".heic", ".jp2", ".webp"})
_LITTER = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
_LARGEST_FILE = 1 << 29  # bytes an image in a zip may unpack to: a guard against crafted archives


@dataclass(frozen=True, kw_only=True)
class EncodedImage:
    """One labelled image as it lay on disk."""

    name: str  # path without the folders all images share, posix: "airplane/airplane00.tif"; unique in a set
    label: str  # the name of the folder the image lies in
    encoded: bytes  # the file's content


@dataclass(frozen=True, kw_only=True)
class Listing:
    """What a folder or zip holds, read from its directory alone."""

    path: Path
    images: tuple[tuple[str, str], ...]  # (name, place inside the folder or zip), sorted by name
    counts: dict[str, int]  # images of each class, sorted by class
    fingerprint: str  # 12 hexadecimal digits that change when the place, a size or a time changes


def list_scenes(path: Path) -> Listing:
    """List the images of a folder or zip (read in place, never unpacked).

    Raises:
        DataError: if the path is missing, neither a folder nor a whole zip, or holds no images, fewer than
            two classes, an empty class folder, images outside a class folder, or images of a kind not read.
    """
    if not path.exists():
        raise DataError(f"{path} does not exist: give a folder or zip of <class>/<image>")
    if path.is_dir():
        return _checked(path, *_walk(path))
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path} is neither a folder nor a whole zip file: unpack it, or fetch it again")
    return _checked(path, *_zip_entries(path))


def read_listed(listing: Listing) -> Iterator[EncodedImage]:
    """Read the images of a listing in its order.

    Raises:
        DataError: if an image cannot be read.
    """
    if listing.path.is_dir():
        for name, place in listing.images:
            try:
                encoded = (listing.path / place).read_bytes()
            except OSError as error:
                raise _unreadable(name, listing.path, error) from error
            yield EncodedImage(name=name, label=_label(name), encoded=encoded)
        return
    with zipfile.ZipFile(listing.path) as archive:
        for name, place in listing.images:
            try:
                encoded = archive.read(place)
            # RuntimeError: an encrypted entry; NotImplementedError: a compression Python lacks
            except (
                OSError,
                zipfile.BadZipFile,
                zlib.error,
                EOFError,
                RuntimeError,
                NotImplementedError,
            ) as error:
                raise _unreadable(name, listing.path, error) from error
            yield EncodedImage(name=name, label=_label(name), encoded=encoded)


def _walk(root: Path) -> tuple[list[str], list[str], str]:
    """Files and folders below `root` as posix paths, and a digest of names, sizes and times."""
    files: list[str] = []
    folders: list[str] = []
    stamps: list[str] = []
    seen: dict[str, str] = {}

    def refuse(error: OSError) -> None:
        raise DataError(f"folder {error.filename} cannot be read ({reason(error)})") from error

    for here, below, names in os.walk(root, onerror=refuse, followlinks=True):
        place = Path(here)
        true = os.path.realpath(here)
        if true in seen:
            raise DataError(f"folder {here} is {seen[true]} again through a link: remove the link")
        seen[true] = here
        below[:] = sorted(name for name in below if not _is_litter(name))
        relative = place.relative_to(root).as_posix()
        if relative != ".":
            folders.append(relative)
        for name in names:
            if _is_litter(name):
                continue
            file = place / name
            files.append(file.relative_to(root).as_posix())
            if file.suffix.lower() in IMAGE_SUFFIXES:
                status = file.stat() if file.exists() else file.lstat()
                stamps.append(f"{files[-1]}\0{status.st_size}\0{status.st_mtime_ns}")
    digest = "\n".join([str(root.resolve()), *sorted(stamps)])
    return files, folders, digest


def _zip_entries(path: Path) -> tuple[list[str], list[str], str]:
    """Files and folders of a zip as they are spelt in it, and a digest of its place, size and time."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as error:
        raise DataError(f"{path} is not a whole zip file ({reason(error)}): fetch it again") from error
    files: list[str] = []
    folders: set[str] = set()
    for entry in entries:
        parts = PurePosixPath(entry.filename).parts
        if any(_is_litter(part) for part in parts):
            continue
        folders.update(str(above) for above in PurePosixPath(entry.filename).parents if str(above) != ".")
        if entry.is_dir():
            folders.add(str(PurePosixPath(entry.filename)))
            continue
        if entry.file_size > _LARGEST_FILE:
            raise DataError(f"{entry.filename!r} in {path} unpacks to {entry.file_size} bytes: no scene is so large")
        files.append(entry.filename)
    status = path.stat()
    return files, sorted(folders), f"{path.resolve()}\0{status.st_size}\0{status.st_mtime_ns}"


def _checked(path: Path, files: list[str], folders: list[str], digest: str) -> Listing:
    for file in files:
        if PurePosixPath(file).suffix.lower() in _FOREIGN_SUFFIXES:
            raise DataError(f"image {file!r} in {path} is not TIFF, PNG or JPEG: convert it")
    places = sorted(file for file in files if PurePosixPath(file).suffix.lower() in IMAGE_SUFFIXES)
    if not places:
        raise DataError(f"{path} holds no TIFF, PNG or JPEG image: expected <class>/<image>")
    _check_folders(path, places, folders)
    shared = _shared_folders(places)
    named = [("/".join(PurePosixPath(place).parts[shared:]), place) for place in places]
    for (name, _), (following, _) in pairwise(named):
        if name == following:
            raise DataError(f"{path} holds {name!r} twice: remove one")
    for name, _ in named:
        if not name.isprintable():  # also the surrogates of a file name that is no valid text
            raise DataError(f"image {name!r} in {path} has a name with unprintable signs: rename it")
    counts = Counter(_label(name) for name, _ in named)
    if len(counts) < 2:
        raise DataError(f"{path} holds the one class {next(iter(counts))!r}: at least two are needed")
    return Listing(
        path=path,
        images=tuple(named),
        counts=dict(sorted(counts.items())),
        fingerprint=hashlib.sha256(digest.encode(errors="surrogateescape")).hexdigest()[:12],
    )


def _check_folders(path: Path, places: Iterable[str], folders: Iterable[str]) -> None:
    """Refuse what leaves a class in doubt."""
    holding: dict[PurePosixPath, str] = {}
    above: dict[PurePosixPath, PurePosixPath] = {}
    for place in places:
        folder = PurePosixPath(place).parent
        if str(folder) == ".":
            raise DataError(f"image {place!r} lies outside any class folder of {path}: expected <class>/<image>")
        holding.setdefault(folder, place)
        above.update(dict.fromkeys(folder.parents, folder))
    for folder, place in holding.items():
        if folder in above:
            raise DataError(
                f"{place!r} lies beside the folder {str(above[folder])!r} of {path}:"
                " give class folders that hold images only"
            )
    inner = defaultdict(list)
    for spelt in folders:
        inner[PurePosixPath(spelt).parent].append(spelt)
    empty = [s for s in folders if PurePosixPath(s) not in holding and not inner[PurePosixPath(s)]]
    if empty:
        raise DataError(f"class folder {empty[0]!r} of {path} holds no TIFF, PNG or JPEG image: fill or remove it")


def _shared_folders(places: list[str]) -> int:
    """Count the leading folders that all images share, the class folder never among them."""
    leading = [PurePosixPath(place).parts[:-2] for place in places]
    return len(os.path.commonprefix(leading))


def _label(name: str) -> str:
    return PurePosixPath(name).parent.name


def _is_litter(part: str) -> bool:
    return part in _LITTER or (part.startswith(".") and part not in {".", ".."})


def _unreadable(name: str, path: Path, error: Exception) -> DataError:
    return DataError(f"image {name!r} of {path} cannot be read ({reason(error)}): fetch the data set again")
