"""A network on disk, as data: JSON, safetensors and ONNX. The structure comes from code, the values from files."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from nasprune.copying import copy_of
from nasprune.data import DataSettings, load, load_packed
from nasprune.data.statistics import Statistics
from nasprune.data.store import is_packed
from nasprune.errors import ArtifactError, NaspruneError
from nasprune.export import export_onnx
from nasprune.files import place_folder
from nasprune.networks import NetworkSettings, build_with_widths
from nasprune.record import ONNX, RECORD, WEIGHTS, Record, about, read_record
from nasprune.state import load_tensors, tensors_of

if TYPE_CHECKING:
    from torch import nn

    from nasprune.data import SceneData


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """A network and all that is known of it.

    Attributes:
        network: In evaluation mode, on the CPU.
        record: The content of `point.json`.
        directory: Where it came from.
    """

    network: nn.Module
    record: Record
    directory: Path

    @property
    def statistics(self) -> Statistics:
        """Normalisation the network was trained with."""
        given = self.record["statistics"]
        return Statistics(mean=tuple(given["mean"]), deviation=tuple(given["deviation"]))


def network_settings(record: Record) -> NetworkSettings:
    """The settings that build the dense network a record came from."""
    return NetworkSettings(
        network=record["network"],
        head=record["head"],
        classes=len(record["classes"]),
        image_size=record["image_size"],
        bands=record["bands"],
    )


def data_record(settings: DataSettings) -> dict[str, Any]:
    """Data settings as JSON, for a point's record."""
    values = {name: getattr(settings, name) for name in DataSettings.__dataclass_fields__}
    return values | {
        "data": None if settings.data is None else str(settings.data.resolve()),
        "fractions": list(settings.fractions),
    }


def data_settings(record: dict[str, Any]) -> DataSettings:
    """What `data_record` was made of."""
    data = record["data"]
    values = record | {"data": None if data is None else Path(data), "fractions": tuple(record["fractions"])}
    return DataSettings(**values)


def load_data(record: Record, directory: Path) -> SceneData:
    """The data set that a point was made on.

    Args:
        record: The point's.
        directory: Folder of all packed data sets. One that is not there, or of an earlier layout, is packed again, from
            where it came from.

    Raises:
        DataError: if it can be neither opened nor packed.
        ArtifactError: if the images are not those that the point was measured on.
    """
    settings, origin = data_settings(record["data"]), record["provenance"]
    packed = origin.get("packed")
    there = packed and is_packed(directory / packed)
    data = load_packed(settings, directory / packed) if there else load(settings, directory)
    if data.store.data_hash != origin["data_hash"]:
        raise ArtifactError(
            f"point {record['point']} was measured on images with hash {origin['data_hash'][:12]}, but those at hand "
            f"have {data.store.data_hash[:12]}; give the images the study was run on"
        )
    return data


def write_artifact(directory: Path, network: nn.Module, record: Record, *, onnx: bool = True) -> None:
    """Write a network under `directory`, whole or not at all. One that is already there stays as it is.

    Args:
        directory: The point's folder.
        network: On any device.
        record: See `Record`.
        onnx: Whether to export it, too, which takes most of the time.

    Raises:
        ArtifactError: if it cannot be written.
        NetworkError: if it is to be exported, and cannot be.
    """
    if (directory / RECORD).exists():
        return
    partial = directory.with_name(f".{directory.name}.{os.getpid()}.partial")
    given = record["statistics"]
    statistics = Statistics(mean=tuple(given["mean"]), deviation=tuple(given["deviation"]))
    network = copy_of(network).cpu().eval()
    try:
        partial.mkdir(parents=True, exist_ok=True)
        # Copied, since tied weights, which safetensors refuses, are written under each of their names.
        save_file({name: value.clone().contiguous() for name, value in tensors_of(network).items()}, partial / WEIGHTS)
        if onnx:
            export_onnx(network, statistics, record["image_size"], partial / ONNX, about=about(record))
        (partial / RECORD).write_text(json.dumps(record, indent=1) + "\n")
        place_folder(partial, directory)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(
            f"cannot write {directory}: {error}; expected room and permission to write there; "
            "free some space or choose another --storage"
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def read_artifact(directory: Path) -> Artifact:
    """Rebuild a network from its record and load its weights.

    Raises:
        ArtifactError: if a file is missing or damaged, or weights and record do not belong together.
    """
    record = read_record(directory)
    path = directory / WEIGHTS
    try:
        weights = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ArtifactError(f"{path} is not a readable safetensors file ({error}); take the point again") from error
    try:
        network = build_with_widths(network_settings(record), record["widths"])
        load_tensors(network, weights)
    except (NaspruneError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ArtifactError(f"{path} does not fit the widths in {RECORD}: {reason}") from error
    return Artifact(network=network.eval(), record=record, directory=directory)
