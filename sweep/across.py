"""The front of a data set, across its studies: networks of all kinds and sizes, compared on the same images."""

from __future__ import annotations

import json
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasprune.errors import ArtifactError
from sweep.front import on_front

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sweep.storage.bucket import Storage

_OF_POINTS = ("point", "network", "budget", "macs", "params", "val_accuracy", "test_accuracy", "on_front")
_IMAGES = {
    "data_hash": "other images",
    "split": "another split",
    "fractions": "other fractions",
    "seed": "another seed of the split",
}
"""Settings of a study that say on which images its accuracies were measured, and what to call those that differ."""
_DRAWN = ("fractions", "seed")
"""Those that a split is drawn by."""


@dataclass(frozen=True, kw_only=True)
class StudyFront:
    """What a study left.

    Attributes:
        study: Its name.
        front: The content of its front.json.
        settings: The content of its settings.json.
    """

    study: str
    front: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def dataset(self) -> str:
        """The name of its data set."""
        return str(self.front["dense"]["dataset"])

    @property
    def images(self) -> tuple[str, ...]:
        """Equal for studies that split the same images in the same way, of whatever size and bands."""
        published = self.settings["split"] == "published"  # which is the same whatever the seed
        return tuple(json.dumps(None if published and key in _DRAWN else self.settings[key]) for key in _IMAGES)

    @property
    def input(self) -> str:
        """What its networks take, in a few words."""
        bands = self.settings["bands"]
        return f"{self.settings['image_size']} px" + ("" if bands == "rgb" else f", bands {bands}")


def read_fronts(storage: Storage, names: Iterable[str]) -> list[StudyFront]:
    """The fronts that studies of a storage left; one without a point has none yet.

    Raises:
        ArtifactError: if a study's files are damaged, or of another version.
    """
    found = [_read(storage, name) for name in names]
    return [each for each in found if each.front["points"]]


def _read(storage: Storage, name: str) -> StudyFront:
    try:
        # Not fetched: on this machine a driver may be at work on that study, with a newer front in its folder.
        front, settings = (json.loads(storage.content(f"{name}/{file}")) for file in ("front.json", "settings.json"))
        each = StudyFront(study=name, front=front, settings=settings)
        _ = each.dataset, each.images, each.input, front["dense"]["val_images"]
        _ = [[point[key] for key in _OF_POINTS] for point in front["points"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"the front of study '{name}' in {storage} is damaged or of another version ({error!r}); run that study's "
            "command again, which writes it anew; sweep/compare.py takes others alone with --studies, "
            "sweep/promote.py one with --study"
        ) from error
    return each


def by_dataset(studies: Iterable[StudyFront]) -> dict[str, list[StudyFront]]:
    """Studies by the name of their data set, both in order."""
    found: dict[str, list[StudyFront]] = defaultdict(list)
    for each in sorted(studies, key=lambda each: each.study):
        found[each.dataset].append(each)
    return dict(sorted(found.items()))


def comparable(studies: Sequence[StudyFront], *, like: str | None = None) -> tuple[list[StudyFront], dict[str, str]]:
    """The most studies that were measured on the same images, and what the others have instead, by name.

    Args:
        studies: Of one data set.
        like: The study that the others are to be compared with; by default the most there are.
    """
    groups: dict[tuple[str, ...], list[StudyFront]] = defaultdict(list)
    for each in studies:
        groups[each.images].append(each)
    of_like = (group for group in groups.values() if like in {each.study for each in group})
    chosen = next(of_like, None) or max(groups.values(), key=len)
    others = {}
    for each in studies:
        differ = [key for key, its, theirs in zip(_IMAGES, each.images, chosen[0].images, strict=True) if its != theirs]
        if "split" in differ:  # then what they were drawn by says nothing
            differ = [key for key in differ if key not in _DRAWN]
        if differ:
            others[each.study] = " and ".join(_IMAGES[key] for key in differ)
    return chosen, others


def not_compared(left_out: Mapping[str, str]) -> list[str]:
    """Which studies are left out, and why, in words."""
    return [f"study {name}, which has {why}" for name, why in left_out.items()]


def front_across(studies: Sequence[StudyFront], left_out: Mapping[str, str]) -> dict[str, Any]:
    """The front of a data set as one object: `studies`, `points` from cheap to dear, and which of these no other beats.

    Of each study it has the points of its own front, and those with files for the board. Cost is in multiply-adds, not
    in shares of a dense network, of which each study has its own.
    """
    points = [
        {key: value for key, value in point.items() if key != "by_class"} | {"study": each.study, "input": each.input}
        for each in studies
        for point in each.front["points"]
        if point["on_front"] or "float32_bytes" in point
    ]
    points.sort(key=lambda point: (point["macs"], -point["val_accuracy"], point["study"], point["point"]))
    good = on_front([point["macs"] for point in points], [point["val_accuracy"] for point in points])
    return {
        "dataset": studies[0].dataset,
        "studies": [{"study": each.study, "input": each.input, "dense": each.front["dense"]} for each in studies],
        "left_out": dict(left_out),
        "points": [{**point, "on_front": is_good} for point, is_good in zip(points, good.tolist(), strict=True)],
    }
