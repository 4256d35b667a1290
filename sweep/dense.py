"""The study's dense network and its answers: made once, somewhere on the cluster, before any trial."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import ray
import torch

from nasprune.answers import answers_name, checkpoints_of, obtain_answers, read_answers
from nasprune.artifact import Artifact, read_artifact
from nasprune.compute import choose_compute
from nasprune.dense import dense_key, obtain_dense
from nasprune.files import locked, write_bytes
from nasprune.weights import IMAGENET, SCRATCH
from sweep.cluster.preflight import check_this_node, versions
from sweep.cluster.ray_cluster import DEATHS, as_ours
from sweep.cluster.told import Told
from sweep.storage.ground import ANSWERS, DENSE
from sweep.storage.images import images_of, node_images

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ray.util.queue import Queue

    from nasprune.data import SceneData
    from nasprune.progress import Progress
    from sweep.cluster.ray_cluster import Places
    from sweep.display import Display
    from sweep.settings import StudySettings
    from sweep.storage.bucket import Storage
    from sweep.storage.ground import Packed


def shared_dense(settings: StudySettings, data: SceneData, places: Places, display: Display) -> tuple[Artifact, str]:
    """The study's dense network, and the name of its answers; made if they are not in the storage yet.

    Raises:
        ArtifactError: if what is there is damaged, before every trial finds out for itself.
    """
    storage, key = settings.place(), dense_key(settings.dense_settings(len(data.classes), data.bands), data)
    answers = answers_name(key, settings.descent_settings({}))
    dense = f"{DENSE}/{key}"
    if not (storage.fetch_folder(dense) and storage.fetch_file(f"{ANSWERS}/{answers}")):
        weights = _shared_weights(settings, storage)
        task = ray.remote(_make_dense).options(
            num_cpus=places.dense["CPU"], num_gpus=places.dense.get("GPU", 0.0), max_retries=DEATHS
        )
        with Told(display.dense) as told:
            driver, threads = versions(settings.network), int(places.dense["CPU"])
            running = task.remote(settings, key, images_of(data), weights, threads, told.queue, driver)
            try:
                ray.get(told.first_of([running]))
            except ray.exceptions.RayError as error:
                raise as_ours(error, "the dense network could not be made") from error
        storage.fetch_folder(dense)
        storage.fetch_file(f"{ANSWERS}/{answers}")
    read_answers(storage.root / ANSWERS / answers, torch.device("cpu"))
    return read_artifact(storage.root / dense), answers


def _shared_weights(settings: StudySettings, storage: Storage) -> str:
    """Initial weights from a file are kept in the storage, since any node may train; gives their name there."""
    if settings.weights in (SCRATCH, IMAGENET):
        return ""
    content = Path(settings.weights).read_bytes()
    name = f"shared/weights/{hashlib.sha256(content).hexdigest()[:16]}.safetensors"
    with locked(storage.root / name):
        write_bytes(storage.root / name, content)
    storage.store_file(name)
    return name


def _make_dense(
    settings: StudySettings,
    key: str,
    images: Packed,
    weights: str,
    threads: int,
    told: Queue,
    driver: Mapping[str, str],
) -> None:
    """Train the dense network on this node and ask it, each from the last checkpoint on, and keep both.

    Raises:
        NodeError: if this node runs other code than the driver: what it trains would have another key.
    """
    check_this_node(driver, settings.network)
    storage, name = settings.place(), f"{DENSE}/{key}"
    compute = choose_compute(settings.device, threads=threads)
    data = node_images(settings, images)

    def report(progress: Progress) -> None:
        told.put((progress,))

    if not storage.fetch_folder(name):
        how = settings.dense_settings(len(data.classes), data.bands)
        if weights:
            storage.fetch_file(weights)
            how = dataclasses.replace(how, weights=str(storage.root / weights))
        storage.fetch_files(f"{name}.checkpoints")
        obtain_dense(storage.root / DENSE, how, data, compute, report, storage.store_path)
        storage.store_folder(name)
        storage.remove(f"{name}.checkpoints")
        storage.fetch_folder(name)  # another driver's, if it was first: one dense network for all
    dense, asked = read_artifact(storage.root / name), settings.descent_settings({})
    path = storage.root / ANSWERS / answers_name(key, asked)
    if not storage.fetch_file(storage.name_of(path)):
        checkpoints = storage.name_of(checkpoints_of(path))
        storage.fetch_files(checkpoints)
        obtain_answers(path.parent, dense, data, asked, compute, report, storage.store_path)
        storage.store_path(path)
        storage.remove(checkpoints)
