"""A study's folder: one process at a time, and never two different studies in one."""

from __future__ import annotations

import json
import tempfile
import uuid
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from nasprune.errors import ArtifactError, SettingsError
from nasprune.files import reason, write_json
from sweep.settings import fields
from sweep.storage.bucket import MIRRORS, Bucket
from sweep.storage.claim import held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sweep.settings import StudySettings
    from sweep.storage.claim import Claim

SETTINGS = "settings.json"


def check_storage(settings: StudySettings) -> None:
    """Make sure that the storage can be written, and that the study in it, if there is one, is this one.

    Nothing is made in a storage that lies among the images: its folders would count as theirs from then on. Of a
    bucket, what the study was started with is brought here.

    Raises:
        SettingsError: if not.
        ArtifactError: if what the study was started with cannot be read.
    """
    storage = settings.place()
    given, instead = f"storage {storage} given", "choose another --storage"
    if isinstance(storage, Bucket):
        given, instead = f"{given}, to be mirrored in {storage.root}", f"set {MIRRORS} to another folder"
    if settings.data is not None and _is_among(storage.root.resolve(), settings.data.resolve()):
        raise SettingsError(
            f"{given}, which lies in the folder of the images, {settings.data}; expected one outside of it; {instead}"
        )
    try:
        storage.root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=storage.root) as probe:
            probe.write(b"x" * 4096)
        if settings.directory.exists() and not settings.directory.is_dir():
            raise NotADirectoryError(f"{settings.directory} is a file")
    except OSError as error:
        raise SettingsError(
            f"{given}; expected a folder that can be written with room to spare ({reason(error)}); {instead}"
        ) from error
    storage.check()
    for name in (SETTINGS, settings.table.name):
        storage.fetch_file(f"{settings.study}/{name}")
    check_same_study(settings, _kept(settings.directory))


def _is_among(folder: Path, images: Path) -> bool:
    """Whether who reads the images comes upon this folder; names that begin with a dot are passed over."""
    below = folder.relative_to(images).parts if folder.is_relative_to(images) else (".",)
    return not any(name.startswith(".") for name in below)


def check_same_study(settings: StudySettings, kept: Mapping[str, Any]) -> None:
    """Raise SettingsError if a study kept with other settings is asked to go on with these."""
    now = settings.as_json()
    for setting in fields():
        name = setting.name
        if setting.metadata["free"] or not kept:
            continue
        if name not in kept:
            raise SettingsError(
                f"study '{settings.study}' was started by a version without {name.replace('_', '-')}; give another "
                "--study"
            )
        if kept[name] != now[name]:
            raise SettingsError(
                f"study '{settings.study}' was started with {name.replace('_', '-')} {_text(kept[name])}, now "
                f"{_text(now[name])} is given; give the same, or another --study"
            )
    # Where images lie may change, what they are filed under in MLflow may not.
    began = kept and replace(settings, data=kept["data"] and Path(kept["data"])).data_settings().name
    if began and began != settings.data_settings().name:
        raise SettingsError(
            f"study '{settings.study}' was started on data {kept['data']}, filed under '{began}', now {settings.data} "
            "is given; give a folder or zip of the same name, or another --study"
        )


def _text(value: object) -> str:
    return ",".join(f"{item}" for item in value) if isinstance(value, list) else f"{value}"


def check_same_start(settings: StudySettings, data_hash: str, dense: str) -> None:
    """Make sure that a resumed study has the images and the dense network that it was started with.

    Args:
        settings: The study's.
        data_hash: Of the images that are given now.
        dense: Key of the dense network that the settings ask for now; its code or a file of initial weights may have
            changed.

    Raises:
        SettingsError: if either is another one behind the same path.
    """
    kept = _kept(settings.directory)
    began = kept.get("data_hash", data_hash)
    if began != data_hash:
        raise SettingsError(
            f"study '{settings.study}' was started on images with hash {began[:12]}, those given now have "
            f"{data_hash[:12]}; give the same images, or another --study"
        )
    if kept.get("dense", dense) != dense:
        raise SettingsError(
            f"study '{settings.study}' was started from another dense network than the one asked for now: its code "
            f"({settings.network}), its initial weights ({settings.weights}) or this project's version have changed; "
            "give the same, or another --study"
        )


@contextmanager
def claimed(
    settings: StudySettings, data_hash: str, dense: str, say: Callable[[str], object]
) -> Iterator[Claim | None]:
    """Hold the study for this process; keep what the study is made of, and the name it is tracked under.

    Of a bucket it gives the claim. `say` is told when that has to be waited for.

    Raises:
        SettingsError: if another process holds it, or has started another study of this name since `check_storage`.
        DataError: if it cannot be written.
    """
    lock = FileLock(settings.directory / ".lock", timeout=0)
    try:
        settings.directory.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise SettingsError(
            f"study '{settings.study}' is being run by another process; wait for it, or give another --study"
        ) from error
    except OSError as error:
        raise SettingsError(f"study folder {settings.directory} cannot be written ({reason(error)})") from error
    storage = settings.place()
    with ExitStack() as stack:
        stack.callback(lock.release)
        claim = None
        if isinstance(storage, Bucket):
            claim = stack.enter_context(held(storage, settings.study, say))
            storage.fetch_file(f"{settings.study}/{SETTINGS}")  # as the one before may have left it
        kept = _kept(settings.directory)
        check_same_study(settings, kept)
        check_same_start(settings, data_hash, dense)
        tracked = kept.get("tracked_as") or f"{settings.study}-{uuid.uuid4().hex[:8]}"
        values = settings.as_json() | {"data_hash": data_hash, "dense": dense, "tracked_as": tracked}
        write_json(settings.directory / SETTINGS, values)
        storage.store_file(f"{settings.study}/{SETTINGS}")
        yield claim


def tracked_name(directory: Path) -> str:
    """The name a study has in MLflow: its own and a random end, since a server may be shared by many storages."""
    return str(_kept(directory).get("tracked_as", directory.name))


def _kept(directory: Path) -> dict[str, Any]:
    """What the study was started with; empty for a new one."""
    path = directory / SETTINGS
    try:
        kept: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ArtifactError(f"{path} cannot be read ({error}); restore it, or give another --study") from error
    return kept
