"""Where a trial starts: what it stands on, brought to its node, and the way down from there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasprune.answers import read_answers
from nasprune.artifact import Artifact, read_artifact
from nasprune.compute import choose_compute
from nasprune.latency import read_table
from nasprune.provenance import provenance
from nasprune.scene_descent import descent_from
from sweep.cluster.preflight import NodeError, check_this_node
from sweep.storage.ground import ANSWERS, DENSE, Ground
from sweep.storage.images import node_images

if TYPE_CHECKING:
    from nasprune.data import SceneData
    from nasprune.descent import Descent, DescentSettings
    from nasprune.latency import LatencyTable
    from sweep.settings import StudySettings


@dataclass(frozen=True, kw_only=True, eq=False)
class Start:
    """A trial before its first epoch.

    Attributes:
        descent: Its way down.
        data: The data set.
        dense: The dense network.
        origin: Where its points come from.
    """

    descent: Descent
    data: SceneData
    dense: Artifact
    origin: dict[str, Any]


def start(settings: StudySettings, ground: Ground, how: DescentSettings) -> Start:
    """Bring what all trials share to this node, and begin a descent from it.

    Raises:
        NodeError: if this node, which may have joined late, runs other code than the driver, or lacks the storage.
        DataError: if the images are not in the storage.
        ArtifactError: if the answers are not.
    """
    check_this_node(ground.versions, settings.network)
    storage, answers = settings.place(), f"{ANSWERS}/{ground.answers}"
    if not storage.fetch_folder(f"{DENSE}/{ground.dense}"):
        raise NodeError(
            f"storage {storage} given, which there has no dense network, though the driver sees one; expected the same "
            "folder, mounted on all nodes, or a bucket"
        )
    compute = choose_compute(settings.device, threads=settings.cpus_per_trial)
    data = node_images(settings, ground.images)
    storage.fetch_file(answers)
    dense = read_artifact(storage.root / DENSE / ground.dense)
    origin = provenance(
        compute,
        study=settings.study,
        dense=ground.dense,
        packed=ground.images.name,
        data_hash=data.store.data_hash,
        seed=settings.seed,
    )
    descent = descent_from(
        dense, data, how, compute,
        answers=read_answers(storage.root / answers, compute.device), seed=settings.seed, table=_table(settings),
    )  # fmt: skip
    return Start(descent=descent, data=data, dense=dense, origin=origin)


def _table(settings: StudySettings) -> LatencyTable | None:
    """The times that a cost of latency goes by."""
    if settings.cost != "latency":
        return None
    settings.place().fetch_file(f"{settings.study}/{settings.table.name}")
    return read_table(settings.table)
