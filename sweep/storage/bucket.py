"""Where studies are kept: in a folder that all nodes share, or in a bucket that each node mirrors on its own disk.

Every process works in a local folder, `root`. For a folder given as storage that is the folder itself, and all that is
here does nothing. For a bucket, or whatever else has an address that pyarrow knows, it is this node's mirror: finished
things are fetched from the bucket before they are needed, and stored there as soon as they are whole; what makes a
folder whole is its record. The bucket is the truth: a mirror may be deleted at any time, and what is in it alone counts
for nothing.
"""

from __future__ import annotations

import functools
import hashlib
import os
import shutil
import socket
import sqlite3
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, TypeVar

import pyarrow as pa
from pyarrow import fs

from nasprune.errors import ArtifactError, SettingsError
from nasprune.files import locked
from nasprune.record import BOARD_FILES, BOARD_REPORT, RECORD
from sweep.storage.address import is_address, refusal, said, shown

if TYPE_CHECKING:
    from collections.abc import Callable

MIRRORS = "NASPRUNE_CACHE"
"""Variable that names the folder of a node's mirrors, on a disk of its own."""

Problem = (OSError, pa.ArrowException)
"""What pyarrow's file systems raise."""

_PAUSES = (1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)  # seconds between tries while a bucket does not answer
_HOPELESS = ("ACCESS_DENIED", "NO_SUCH_BUCKET", "INVALID_ACCESS_KEY_ID", "SIGNATURE_DOES_NOT_MATCH", "Credentials")
_CHUNK = 1 << 24  # bytes of a request
_AT_ONCE = 16  # folders fetched at once: mostly waiting
_Made = TypeVar("_Made")


def _nothing() -> None:
    """What is done before another try, where nothing is."""


def open_storage(given: str) -> Storage:
    """The storage behind a setting. Nothing is asked of a bucket yet."""
    return Bucket(given) if is_address(given) else Storage(Path(given))


class Storage:
    """A folder that all processes of a study share: what is written below `root` is where it belongs.

    Names are relative to `root`, with slashes.
    """

    def __init__(self, root: Path) -> None:
        self.root = root

    def __str__(self) -> str:
        return str(self.root)

    def where(self, name: str) -> str:
        """Where a user finds a file."""
        return str(self.root / name)

    def check(self, *, write: bool = True) -> None:
        """Make sure that the storage can be reached, and written.

        Raises:
            SettingsError: if not.
        """

    def studies(self) -> list[str]:
        """Names of the studies that have left a front."""
        return sorted(path.parent.name for path in self.root.glob("*/front.json"))

    def content(self, name: str) -> bytes:
        """The content of a small file as it is in the storage now, which changes nothing here.

        Raises:
            FileNotFoundError: if there is none.
        """
        return (self.root / name).read_bytes()

    def fetch_file(self, name: str) -> bool:
        """Bring a file here as it is in the storage now; whether there is one."""
        return (self.root / name).is_file()

    def fetch_folder(self, name: str) -> bool:
        """Bring a folder with a record here, or what of it is not here already; whether there is one."""
        return (self.root / name / RECORD).is_file()

    def fetch_folders(self, name: str) -> None:
        """Bring every folder with a record here that lies in folder `name`."""

    def fetch_board(self, name: str) -> bool:
        """Make the files for the board in folder `name` here what they are in the storage; whether there are any."""
        return (self.root / name / BOARD_REPORT).is_file()

    def fetch_files(self, name: str) -> None:
        """Make folder `name` here what it is in the storage now."""

    def fetch_database(self, name: str) -> None:
        """Bring an SQLite file here as it is in the storage now; no process may have it open."""

    def store_file(self, name: str) -> None:
        """Keep a file as it is now."""

    def name_of(self, path: Path) -> str:
        """The name of a local path below `root`."""
        return path.relative_to(self.root).as_posix()

    def store_path(self, path: Path) -> None:
        """The same as `store_file` by its local path."""

    def store_folder(self, name: str) -> None:
        """Keep a folder, its record last: that is what makes it exist. One that is there already stays."""

    def store_database(self, name: str) -> None:
        """Keep a consistent copy of an SQLite file, which may be in use."""

    def remove(self, name: str) -> None:
        """Take a file or folder away, here and there."""
        path = self.root / name
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


class Bucket(Storage):
    """A storage with an address, behind this node's mirror of it.

    An operation is tried again for two minutes while the bucket does not answer. By then another driver may have taken
    over: what `before_trying_again` raises ends it.

    Raises:
        ArtifactError: from each operation, if the bucket refuses or stays away.
    """

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")
        self.shown = shown(self.address)
        self.before_trying_again: Callable[[], None] = _nothing
        super().__init__(mirror_of(self.shown))

    def __str__(self) -> str:
        return self.shown

    def where(self, name: str) -> str:  # noqa: D102 (as in Storage)
        base, mark, options = self.shown.partition("?")
        return f"{base.rstrip('/')}/{name}{mark}{options}"

    def check(self, *, write: bool = True) -> None:  # noqa: D102 (as in Storage)
        probe = f".probe-{os.getpid()}-{time.time_ns()}"
        try:
            system, base = _system(self.address)
            if not base.strip("/"):
                raise SettingsError(f"storage '{self}' given; expected an address with a bucket, as s3://bucket/runs")
            if not write:
                system.get_file_info(base)
                return
            self.write(probe, b"x")
            if self.read(probe) != b"x":
                raise SettingsError(f"storage '{self}' given, but what is written there does not come back")
            self.delete(probe)
        except Problem as error:
            raise SettingsError(refusal(self.shown, error)) from None  # its text may hold the address as given

    def studies(self) -> list[str]:  # noqa: D102
        def look() -> list[str]:
            system, base = _system(self.address)
            names = [each.base_name for each in system.get_file_info(fs.FileSelector(base, allow_not_found=True))]
            fronts = system.get_file_info([f"{base}/{name}/front.json" for name in names])
            return sorted(name for name, front in zip(names, fronts, strict=True) if front.is_file)

        return self._lasting("the list of studies", look)

    def content(self, name: str) -> bytes:  # noqa: D102
        content = self._lasting(name, lambda: self.read(name))
        if content is None:
            raise FileNotFoundError(f"there is no {name} in {self}")
        return content

    def fetch_file(self, name: str) -> bool:  # noqa: D102
        path = self.root / name
        unfinished = path.with_name(f".{path.name}.fetched")
        with locked(path):
            try:
                self._lasting(name, lambda: self._get(name, unfinished))
                unfinished.replace(path)
            except FileNotFoundError:
                path.unlink(missing_ok=True)
                return False
            finally:
                unfinished.unlink(missing_ok=True)
        return True

    def fetch_folder(self, name: str) -> bool:  # noqa: D102
        with locked((self.root / name).parent):
            return self._fetch_folder(name)

    def fetch_folders(self, name: str) -> None:  # noqa: D102
        there = {str(PurePosixPath(file).parent) for file in self.names(name) if PurePosixPath(file).name == RECORD}
        folder = self.root / name
        with locked(folder), ThreadPoolExecutor(_AT_ONCE) as threads:
            for path in folder.glob("*/"):
                if path.name not in there:
                    shutil.rmtree(path)
            # Perhaps of a session that was killed before it stored them.
            measured = [path.parent.name for path in folder.glob(f"*/{BOARD_REPORT}")]
            list(threads.map(lambda each: self.fetch_board(f"{name}/{each}"), measured))
            list(threads.map(lambda each: self._fetch_folder(f"{name}/{each}"), sorted(there)))

    def fetch_board(self, name: str) -> bool:  # noqa: D102
        report, here = self._lasting(name, lambda: self.read(f"{name}/{BOARD_REPORT}")), self.root / name / BOARD_REPORT
        if report is None:
            here.unlink(missing_ok=True)
        elif not here.is_file() or here.read_bytes() != report:
            for file in (*BOARD_FILES.values(), BOARD_REPORT):
                self.fetch_file(f"{name}/{file}")
        return report is not None

    def fetch_files(self, name: str) -> None:  # noqa: D102
        shutil.rmtree(self.root / name, ignore_errors=True)
        for file in self.names(name):
            path = self.root / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            self._lasting(name, functools.partial(self._get, f"{name}/{file}", path))

    def fetch_database(self, name: str) -> None:  # noqa: D102
        for end in ("-journal", "-wal", "-shm"):  # of a writer that was killed: they belong to the file that was here
            (self.root / f"{name}{end}").unlink(missing_ok=True)
        self.fetch_file(name)

    def store_file(self, name: str) -> None:  # noqa: D102
        self._lasting(name, lambda: self._put(self.root / name, name))

    def store_path(self, path: Path) -> None:  # noqa: D102
        self.store_file(self.name_of(path))

    def store_folder(self, name: str) -> None:  # noqa: D102
        if self._lasting(name, lambda: self.read(f"{name}/{RECORD}")) is not None:
            return
        folder = self.root / name
        files = sorted(path.name for path in folder.iterdir() if path.name != RECORD)
        for file in (*files, RECORD):
            self.store_file(f"{name}/{file}")

    def store_database(self, name: str) -> None:  # noqa: D102
        copy = self.root / f"{name}.copy"
        copy.unlink(missing_ok=True)
        try:
            with closing(sqlite3.connect(self.root / name)) as source, closing(sqlite3.connect(copy)) as target:
                source.backup(target)
        except sqlite3.Error as error:
            raise ArtifactError(f"{name} of {self} cannot be copied: {said(error)}") from error
        self._lasting(name, lambda: self._put(copy, name))

    def names(self, name: str) -> list[str]:
        """The files in folder `name` of the bucket, at any depth, relative to it."""

        def look() -> list[str]:
            wanted = fs.FileSelector(self._at(name), recursive=True, allow_not_found=True)
            found = [each for each in _system(self.address)[0].get_file_info(wanted) if each.is_file]
            prefix = self._at(name) + "/"
            return sorted(each.path.removeprefix(prefix) for each in found if not each.base_name.startswith("."))

        return self._lasting(name, look)

    def remove(self, name: str) -> None:  # noqa: D102
        super().remove(name)

        def take_away() -> None:
            system, at = _system(self.address)[0], self._at(name)
            kind = system.get_file_info(at).type
            if kind == fs.FileType.Directory:
                system.delete_dir(at)
            elif kind == fs.FileType.File:
                system.delete_file(at)

        self._lasting(name, take_away)

    def read(self, name: str) -> bytes | None:
        """The content of a small file of the bucket, in one try; None if there is none.

        Raises:
            OSError, pyarrow.ArrowException: if the bucket does not answer.
        """
        try:
            with _system(self.address)[0].open_input_stream(self._at(name)) as source:
                return bytes(source.read())
        except FileNotFoundError:
            return None

    def write(self, name: str, content: bytes) -> None:
        """Write a small file of the bucket, in one try; raises as `read`."""
        self._send(name, lambda target: target.write(content))

    def delete(self, name: str) -> None:
        """Delete a file of the bucket that is there; raises as `read`."""
        _system(self.address)[0].delete_file(self._at(name))

    def age(self, name: str) -> float:
        """Seconds since a file of the bucket was written, by the bucket's own clock; raises as `read`."""
        system, probe = _system(self.address)[0], f".clock-{os.getpid()}-{time.time_ns()}"
        self.write(probe, b"x")
        written, now = (info.mtime_ns for info in system.get_file_info([self._at(name), self._at(probe)]))
        self.delete(probe)
        return float("inf") if written is None else float(now - written) / 1e9

    def _at(self, name: str) -> str:
        return f"{_system(self.address)[1]}/{name}"

    def _fetch_folder(self, name: str) -> bool:
        local = self.root / name
        record = self._lasting(name, lambda: self.read(f"{name}/{RECORD}"))
        if record is None:
            shutil.rmtree(local, ignore_errors=True)
            return False
        if (local / RECORD).is_file() and (local / RECORD).read_bytes() == record:
            # What another machine added later: files for the board, of which the report says that all are there.
            there = self.names(name)
            lacking = [file for file in there if not (local / file).exists()]
            if BOARD_REPORT in lacking:  # what is here without one is what a killed process was writing
                lacking = [file for file in there if file in lacking or file in BOARD_FILES.values()]
            for file in sorted(lacking, key=lambda file: file.endswith(".json")):
                self.fetch_file(f"{name}/{file}")
            return True
        partial = local.with_name(f".{local.name}.partial")
        for leftover in (partial, local):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        for file in self.names(name):
            self._lasting(name, functools.partial(self._get, f"{name}/{file}", partial / file))
        partial.replace(local)
        return True

    def _get(self, name: str, path: Path) -> None:
        with _system(self.address)[0].open_input_stream(self._at(name)) as source, path.open("wb") as target:
            shutil.copyfileobj(source, target, _CHUNK)
            target.flush()
            os.fsync(target.fileno())  # or a power cut might leave a name with half of its content

    def _put(self, path: Path, name: str) -> None:
        with path.open("rb") as source:
            self._send(name, lambda target: shutil.copyfileobj(source, target, _CHUNK))

    def _send(self, name: str, fill: Callable[[Any], object]) -> None:
        system, base = _system(self.address)
        at = f"{base}/{name}"
        if system.type_name in ("s3", "gcs"):  # an object is there once it is whole
            with system.open_output_stream(at) as target:
                fill(target)
            return
        parent, _, last = at.rpartition("/")
        partial = f"{parent}/.{last}.{socket.gethostname()}-{os.getpid()}-{time.time_ns()}.partial"
        system.create_dir(parent, recursive=True)
        with system.open_output_stream(partial) as target:
            fill(target)
        system.move(partial, at)

    def _lasting(self, name: str, call: Callable[[], _Made]) -> _Made:
        """Try again while the bucket does not answer."""
        for pause in (*_PAUSES, None):
            try:
                return call()
            except FileNotFoundError:
                raise
            except Problem as error:
                if getattr(error, "errno", None) is not None:  # of this node's disk
                    raise ArtifactError(f"{name} of {self} cannot be copied: {said(error)}") from error
                if pause is None or any(sign in str(error) for sign in _HOPELESS):
                    raise ArtifactError(f"{name} cannot be moved from or to {self}: {said(error)}") from None
            time.sleep(pause)
            self.before_trying_again()
        raise AssertionError


def mirror_of(address: str) -> Path:
    """Where this node mirrors a bucket. With the host's name, since a home may be shared by many hosts."""
    folder = os.environ.get(MIRRORS)
    root = Path(folder) if folder else Path.home() / ".cache" / "nasprune"
    return root.absolute() / f"{hashlib.sha256(address.encode()).hexdigest()[:12]}-{socket.gethostname()}"


@functools.lru_cache(maxsize=8)
def _system(address: str) -> tuple[Any, str]:
    """The file system of an address, and the path in it."""
    if address.startswith(("gs:", "gcs:")) and "retry_limit_seconds" not in address:
        address += ("&" if "?" in address else "?") + "retry_limit_seconds=10"  # its own default is 15 minutes
    system, base = fs.FileSystem.from_uri(address)
    return system, base.rstrip("/")
