"""The point that was asked for, of a study's front or of a data set's."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from nasprune.errors import ArtifactError, SettingsError
from sweep.across import by_dataset, comparable, front_across, not_compared, read_fronts
from sweep.promoting.choosing import MACS, MACS_SHARE, Cost, choose, missed, told
from sweep.report.view import AXES, megabytes, milliseconds

if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping, Sequence

    from sweep.storage.bucket import Storage

MEASURED = {"latency": ("latency", "latency_ms", milliseconds), "bytes": ("size", "bytes", megabytes)}
"""What --by calls the board_figures of a file for the board: their names, their keys, how they are shown."""


def wanted(given: argparse.Namespace) -> tuple[Cost, float | None]:
    """The cost that a point is chosen by, and the most that it may be, if that is what was asked."""
    if given.max_macs is not None:
        return MACS, given.max_macs
    limits = {"latency": given.max_latency_ms, "bytes": given.max_bytes}
    kind = next((kind for kind, limit in limits.items() if limit is not None), given.by)
    if kind == "macs":
        return MACS_SHARE, given.max_macs_ratio
    name, key, shown = MEASURED[kind]
    of = given.precision
    return Cost(key=f"{of}_{key}", name=f"{name} in {of}", shown=shown, accuracy=f"{of}_val_accuracy"), limits[kind]


def find(given: argparse.Namespace, storage: Storage) -> tuple[str, Mapping[str, Any]]:
    """The study and the point that were asked for.

    Raises:
        SettingsError: If there is no such study, data set or point.
        ArtifactError: If a front is damaged.
    """
    cost, at_most = wanted(given)
    if given.dataset is None:
        points = read_front(given.study, storage)["points"]
        sys.stdout.write(of_several_machines(points, cost))
        point = choose(points, cost=cost, at_most=at_most, min_accuracy=given.min_accuracy, point=given.point)
        sys.stdout.write(just_missed(points, cost, at_most, given))
        if given.precision and f"{given.precision}_bytes" not in point:
            raise SettingsError(
                f"--precision {given.precision} given, but files for the board of point {point['point']} were never "
                "measured; expected one that was; run the study again with --board all, or leave --precision out"
            )
        return given.study, point
    for flag, value, instead in (
        ("max-macs-ratio", given.max_macs_ratio, "--max-macs"),
        ("point", given.point, "--study"),
    ):
        if value is not None:
            raise SettingsError(f"--{flag} given with --dataset, of which each study has its own; expected {instead}")
    sets = by_dataset(read_fronts(storage, storage.studies()))
    if given.dataset not in sets:
        raise SettingsError(
            f"data set '{given.dataset}' given; expected one that a study under {storage} was run on (there: "
            f"{', '.join(sets) or 'none'}); check --dataset and --storage"
        )
    same, left_out = comparable(sets[given.dataset])
    sys.stdout.writelines(f"not compared: {text}\n" for text in not_compared(left_out))
    across = front_across(same, left_out)
    cost = MACS if cost is MACS_SHARE else cost
    sys.stdout.write(of_several_machines(across["points"], cost))
    point = choose(across["points"], cost=cost, at_most=at_most, min_accuracy=given.min_accuracy)
    sys.stdout.write(just_missed(across["points"], cost, at_most, given))
    return point["study"], point


def of_several_machines(points: Sequence[Mapping[str, Any]], cost: Cost) -> str:
    """A line to be told where the latencies that are chosen by are of several machines, else nothing."""
    warning = next((axis.warning(points) for axis in AXES if axis.key == cost.key), "")
    return f"{warning}\n" if warning else ""


def just_missed(
    points: Sequence[Mapping[str, Any]], cost: Cost, at_most: float | None, given: argparse.Namespace
) -> str:
    """A line to be told where a limit leaves out a point from whose row it was perhaps copied, else nothing."""
    limits = {"at_most": at_most, "min_accuracy": given.min_accuracy}
    point = missed(points, cost=cost, **limits)
    if point is None:
        return ""
    flags = [f"--study {point['study']}"] if "study" in point else []
    flags += [f"--point {point['point']}", *([f"--precision {given.precision}"] if given.precision else [])]
    return f"{told(point, cost, **limits)} misses the limit by less than tables show; {' '.join(flags)} takes it\n"


def read_front(study: str, storage: Storage) -> dict[str, Any]:
    """The content of a study's front.json.

    Raises:
        SettingsError: If there is no such study.
        ArtifactError: If the file is damaged.
    """
    try:
        front = json.loads(storage.content(f"{study}/front.json"))  # as in sweep.across
        if not isinstance(front["points"], list):
            raise TypeError("points are not a list")  # noqa: TRY301  # one way out for all damage
    except OSError as problem:
        raise SettingsError(
            f"study '{study}' given; expected one with a front.json under {storage} "
            f"(there: {', '.join(storage.studies()) or 'none'}); check --study and --storage"
        ) from problem
    except (ValueError, KeyError, TypeError) as problem:
        where = storage.where(f"{study}/front.json")
        raise ArtifactError(f"{where} is damaged ({problem}); run the study again to write it anew") from problem
    return dict(front)
