"""Writing files so that a reader sees a whole file or none."""

import json
import os
import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nasprune.errors import DataError, SettingsError

_UNFINISHED = ".unfinished"


def plain(text: str) -> str:
    """Spell `text` with letters, digits, '.', '_' and '-' alone, as names of files, studies and models are."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", text)


@contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold the machine-wide lock of `path` (a file `<path>.lock` beside it), waiting for another holder.

    The kernel drops the lock with its process, so a killed holder blocks nobody.

    Raises:
        DataError: if the folder cannot be made or the lock file cannot be written.
        SettingsError: if there is another holder, and `wait` is False.
    """
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(blocking=wait)
    except Timeout as error:
        raise SettingsError(
            f"folder {path.parent} given, in which another call is at work; wait for its end, or give another folder"
        ) from error
    except (OSError, NotImplementedError) as error:  # NotImplementedError: a file system without locks
        raise DataError(
            f"cannot write in {path.parent} ({reason(error)}): choose a storage folder that can be written"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a fresh file to write beside `path`; it takes `path`'s place once the block ends without error.

    Call it under `locked(path)`: what an earlier, killed writer left behind is removed first.

    Raises:
        DataError: if the disk is full or cannot be written.
    """
    try:
        for leftover in path.parent.glob(f"{path.name}.*{_UNFINISHED}"):
            leftover.unlink()
        handle, temporary = tempfile.mkstemp(prefix=f"{path.name}.", suffix=_UNFINISHED, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise _unwritable(path, error) from error
    unfinished = Path(temporary)
    try:
        yield unfinished
        unfinished.chmod(0o644)  # mkstemp's 0600 would lock out the other users of a shared storage
        place_file(unfinished, path)
    except OSError as error:
        raise _unwritable(path, error) from error
    finally:
        unfinished.unlink(missing_ok=True)


def place_file(finished: Path, target: Path) -> None:
    """Rename a finished file, so that even after a power cut `target` is there whole or as it was before.

    Raises:
        OSError: if the disk is full or cannot be written.
    """
    _flush(finished)
    finished.replace(target)
    _flush(target.parent)


def place_folder(finished: Path, target: Path) -> None:
    """Rename a folder of finished files, so that even after a power cut `target` is there whole or not at all.

    Raises:
        OSError: if the disk is full or cannot be written, or `target` is there and not empty.
    """
    for path in (*finished.iterdir(), finished):
        _flush(path)
    finished.replace(target)
    _flush(target.parent)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file, making its folder first. Its folder has one writer at a time.

    Raises:
        DataError: if the disk is full or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from error
    with replacing(path) as unfinished:
        unfinished.write_bytes(content)


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON object; see `write_bytes`."""
    write_bytes(path, (json.dumps(content, indent=1) + "\n").encode())


def reason(error: BaseException) -> str:
    """Say in one line why `error` happened."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(words.split()) or type(error).__name__


def _flush(path: Path) -> None:
    # Without it a power cut may leave the new name with the content still missing.
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> DataError:
    return DataError(f"cannot write {path} ({reason(error)}): free some space or choose another storage folder")
