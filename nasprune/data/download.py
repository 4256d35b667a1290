"""Fetching a known data set from where the community keeps it: resumed after any stop, trusted after its checksum."""

import hashlib
import time
from pathlib import Path
from typing import BinaryIO

import httpx
from huggingface_hub import get_session, hf_hub_url
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import build_hf_headers, tqdm

from nasprune.data.catalog import Catalogued, Hosted
from nasprune.data.files import locked, reason
from nasprune.data.splits import PARTS
from nasprune.errors import DataError

_ATTEMPTS = 4  # in a row that bring no byte
_PAUSE = 1.0  # seconds before the second attempt; doubles with each further one
_TIMEOUT = 20.0  # seconds to connect, and between two bytes
_CHUNK = 1 << 20  # bytes


def download(known: Catalogued, directory: Path, *, endpoint: str | None = None) -> Path:
    """Fetch the archive of a known data set into `directory`, or find it there from an earlier time.

    A stopped download goes on where it stopped, also in a later process.

    Args:
        known: the data set.
        directory: folder for downloads.
        endpoint: address of the hub; None takes the one huggingface_hub is set to.

    Raises:
        DataError: if the hub cannot be reached or refuses, the content has the wrong checksum, or the directory
            cannot be written. It says how to get the data set by hand.
    """
    try:
        return _fetch(known.archive, directory, endpoint)
    except _FetchError as error:
        raise DataError(
            f"cannot fetch {known.title}: {error}; or get it by hand from {known.homepage} and give it with --data"
        ) from error


def published_parts(
    known: Catalogued, beside: Path | None, directory: Path, *, endpoint: str | None = None
) -> dict[str, str]:
    """Read the published split of a known data set, from lists beside the data or else downloaded.

    Args:
        known: the data set.
        beside: the data set's folder or zip; lists in that folder, or in the one that holds it, come first.
        directory: folder for downloads.
        endpoint: see `download`.

    Returns:
        Stem of each listed file -> "train", "validation" or "test".

    Raises:
        DataError: if a list can be neither found nor fetched, holds no name, or two lists hold the same one.
    """
    part_of: dict[str, str] = {}
    for part in PARTS:
        path = _find_list(known, part, beside, directory, endpoint)
        try:
            names = path.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"split list {path} cannot be read ({reason(error)}): one file name a line is expected"
            ) from error
        if not names:
            raise DataError(f"split list {path} is empty: one file name a line is expected")
        for name in names:
            stem = Path(name).stem
            if part_of.setdefault(stem, part) != part:
                raise DataError(
                    f"{stem!r} is listed for {part_of[stem]} and, in {path}, for {part}: an image has one part"
                )
    return part_of


def _find_list(
    known: Catalogued, part: str, beside: Path | None, directory: Path, endpoint: str | None
) -> Path:
    hosted = known.lists[part]
    if beside is not None:
        for folder in (beside, beside.parent):
            if (folder / hosted.file).is_file():
                return folder / hosted.file
    try:
        return _fetch(hosted, directory, endpoint)
    except _FetchError as error:
        where = f" or put {hosted.file} beside {beside}" if beside is not None else ""
        raise DataError(
            f"cannot fetch the published split of {known.title}: {error};{where} or use the stratified split"
        ) from error


class _FetchError(Exception):
    """Why a file did not come; the caller knows the way around it."""


def _fetch(hosted: Hosted, directory: Path, endpoint: str | None) -> Path:
    path = directory / hosted.file
    if path.exists():  # it got this name when its checksum was right
        return path
    url = hf_hub_url(
        hosted.repository, hosted.file, repo_type="dataset", revision=hosted.revision, endpoint=endpoint
    )
    with locked(path):
        if path.exists():
            return path
        # Named after the content, so that no other revision's bytes are ever continued.
        partial = path.with_name(f"{path.name}.{hosted.sha256[:12]}.partial")
        try:
            _complete(url, partial)
            with partial.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != hosted.sha256:
                partial.unlink()
                raise _FetchError(
                    f"{url} gave content with SHA-256 {found[:12]}..., expected {hosted.sha256[:12]}..., which was"
                    " removed: try again"
                )
            partial.replace(path)
        except OSError as error:
            raise _FetchError(f"cannot write in {directory} ({reason(error)}): free some space") from error
    return path


def _complete(url: str, partial: Path) -> None:
    """Append to `partial` what is missing of it, over as many connections as needed.

    Raises:
        OSError: if it cannot be written.
        _FetchError: if the hub cannot be reached or refuses.
    """
    fruitless = 0
    while True:
        before = partial.stat().st_size if partial.exists() else 0
        try:
            with partial.open("ab") as file:
                if _append(url, file, before):
                    return
                failure = "the connection ended early"
        except OfflineModeIsEnabled as error:
            raise _FetchError("offline mode is on: unset HF_HUB_OFFLINE") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failure = reason(error)
        fruitless = fruitless + 1 if partial.stat().st_size <= before else 0
        if fruitless >= _ATTEMPTS:
            raise _FetchError(f"{url} cannot be reached ({failure}): check the connection and try again")
        time.sleep(_PAUSE * 2 ** max(0, fruitless - 1))


def _append(url: str, file: BinaryIO, have: int) -> bool:
    """Ask for the bytes from `have` on and write them; True once the file is whole."""
    # A public file: no token leaves this machine. Compressed transfer would make ranges ambiguous.
    headers = {**build_hf_headers(token=False, library_name="nasprune"), "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with get_session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is missing, or it is not this file: the checksum tells
        if answer.status_code in {408, 429} or answer.status_code >= 500:
            raise httpx.TransportError(f"it answers {answer.status_code}")
        if not answer.is_success:
            raise _FetchError(f"{url} answers {answer.status_code}: it may have moved")
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0
            file.truncate(0)  # the whole file comes, whatever was asked for
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        name = url.rsplit("/", 1)[-1]
        with tqdm(total=total, initial=have, unit="B", unit_scale=True, desc=name, disable=None) as progress:
            for chunk in answer.iter_bytes(_CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
                have += len(chunk)
    return total is None or have >= total
