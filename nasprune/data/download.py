"""Fetching files of known data sets: gone on with after any stop, trusted once the checksum is right."""

import hashlib
import time
from pathlib import Path
from typing import BinaryIO

import httpx
from huggingface_hub import get_session, hf_hub_url
from huggingface_hub.errors import OfflineModeIsEnabled
from huggingface_hub.utils import tqdm as hub_tqdm  # type: ignore[attr-defined]  # lazily exported

from nasprune.catalog import Catalogued, Hosted
from nasprune.errors import DataError
from nasprune.files import locked, place_file, reason

_ATTEMPTS = 4  # in a row that bring no byte
_PAUSE = 1.0  # seconds before the second attempt; doubles with each further one
_TIMEOUT = 20.0  # seconds to connect, and between two bytes
_CHUNK = 1 << 20  # bytes


def download(known: Catalogued, directory: Path, *, endpoint: str | None = None) -> Path:
    """Fetch the archive of a known data set into `directory`, or find it there from an earlier time.

    Args:
        known: the data set.
        directory: folder for downloads.
        endpoint: address of the hub; None takes the one huggingface_hub is set to.

    Raises:
        DataError: see `fetch`; it says how to get the data set by hand.
    """
    instead = f"or get {known.title} by hand from {known.homepage} and give it with --data"
    return fetch(known.archive, directory, instead=instead, endpoint=endpoint)


def fetch(hosted: Hosted, directory: Path, *, instead: str, endpoint: str | None = None) -> Path:
    """Fetch one file into `directory`, or find it there from an earlier time.

    A stopped download goes on where it stopped, also in a later process.

    Args:
        hosted: the file.
        directory: folder for downloads.
        instead: what to do where it cannot be fetched, the end of the error's sentence.
        endpoint: address of the hub; None takes the one huggingface_hub is set to.

    Raises:
        DataError: if the hub cannot be reached or refuses, the content has the wrong checksum (it is then
            removed), or the directory cannot be written.
    """
    path = directory / hosted.file
    if path.exists():  # it got this name when its checksum was right
        return path
    url = hf_hub_url(hosted.repository, hosted.file, repo_type="dataset", revision=hosted.revision, endpoint=endpoint)
    with locked(path):
        if path.exists():
            return path
        # Named after the content, so that no other revision's bytes are ever continued.
        partial = path.with_name(f"{path.name}.{hosted.sha256[:12]}.partial")
        try:
            _complete(url, partial)
            _verify(partial, hosted.sha256)
            place_file(partial, path)
        except _FetchError as error:
            raise DataError(f"cannot fetch {url} ({error}): try again, {instead}") from error
        except OSError as error:
            raise DataError(f"cannot write in {directory} ({reason(error)}): free some space, {instead}") from error
    return path


class _FetchError(Exception):
    """Why a file did not come."""


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
            raise _FetchError("HF_HUB_OFFLINE is set") from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            failure = reason(error)
        fruitless = fruitless + 1 if partial.stat().st_size <= before else 0
        if fruitless >= _ATTEMPTS:
            raise _FetchError(f"no answer in {_ATTEMPTS} attempts, the last: {failure}")
        time.sleep(_PAUSE * 2 ** max(0, fruitless - 1))


def _verify(partial: Path, sha256: str) -> None:
    with partial.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != sha256:
        partial.unlink()  # whatever is wrong in it, no byte of it is to be gone on with
        raise _FetchError(f"it came with SHA-256 {found[:12]}..., not {sha256[:12]}...")


def _session() -> httpx.Client:
    """The hub library's, made of what the environment says.

    Raises:
        _FetchError: if a proxy or certificates that it names cannot be used.
    """
    try:
        return get_session()
    except (ImportError, ValueError, OSError) as error:
        raise _FetchError(f"proxy or certificates of the environment cannot be used: {reason(error)}") from error


def _append(url: str, file: BinaryIO, have: int) -> bool:
    """Ask for the bytes from `have` on and write them; True once the file is whole."""
    # Public files: no token leaves this machine. Compressed transfer would make ranges ambiguous.
    headers = {"User-Agent": "nasprune", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    with _session().stream("GET", url, headers=headers, timeout=_TIMEOUT) as answer:
        if answer.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE:
            return True  # nothing is missing, or it is not this file: the checksum tells
        if answer.status_code in {408, 429} or answer.status_code >= 500:
            raise httpx.TransportError(f"the answer is {answer.status_code}")
        if not answer.is_success:
            raise _FetchError(f"the answer is {answer.status_code}")
        if answer.status_code != httpx.codes.PARTIAL_CONTENT:
            have = 0
            file.truncate(0)  # the whole file comes, whatever was asked for
        length = answer.headers.get("Content-Length")
        total = have + int(length) if length and length.isdigit() else None
        name = url.rsplit("/", 1)[-1]
        with hub_tqdm(  # type: ignore[no-untyped-call]
            total=total, initial=have, unit="B", unit_scale=True, desc=name, disable=None
        ) as progress:
            for chunk in answer.iter_bytes(_CHUNK):
                file.write(chunk)
                progress.update(len(chunk))
                have += len(chunk)
    return total is None or have >= total
