"""`uv run sweep/compare.py`: the front of each data set, across all studies of it."""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import shlex
import sys
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":
    if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
        sys.path.pop(0)  # a script's own folder comes first there, and its files would pass for packages
    if importlib.util.find_spec("nasprune") is None:
        sys.stderr.write(f"error: {sys.executable} has no nasprune; run `uv run sweep/compare.py` in its folder\n")
        sys.exit(2)

from nasprune.commandline import OneLineParser
from nasprune.errors import ArtifactError, SettingsError
from nasprune.files import locked, plain, write_bytes, write_json
from sweep.across import by_dataset, comparable, front_across, read_fronts
from sweep.commandline import add_places, command, name_places, settle_places

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.settings import StudySettings
    from sweep.storage.bucket import Storage

    Places = argparse.Namespace | StudySettings

FOLDER = "shared/fronts"
"""Of all data sets' fronts in a storage."""
TRACKED = "tracked.json"
"""Beside a front: the name that it has in MLflow."""


def main(arguments: Sequence[str]) -> int:
    """Compare the studies that the arguments name.

    Raises:
        NaspruneError: With what the user can mend.
    """
    given = parse(arguments)
    from sweep.console import StandardOutput
    from sweep.report.across import table
    from sweep.storage.bucket import open_storage

    storage = open_storage(given.storage)
    storage.check()
    names = chosen(given.studies, storage)
    sets = by_dataset(read_fronts(storage, names))
    if given.dataset:
        sets = {name: studies for name, studies in sets.items() if name == given.dataset}
    if not sets:
        of = f" of data set '{given.dataset}'" if given.dataset else ""
        raise SettingsError(
            f"no study{of} under {storage} has a finished point (studies there: {', '.join(names) or 'none'}); "
            "expected at least one; check --storage, or run one"
        )
    console = StandardOutput()
    for studies in sets.values():
        same, left_out = comparable(studies)
        if left_out and given.studies:
            told = "; ".join(f"'{name}' has {why}" for name, why in left_out.items())
            raise SettingsError(
                f"studies {', '.join(given.studies)} given; expected all measured on the same images, but beside "
                f"'{same[0].study}' {told}; leave these out"
            )
        across = front_across(same, left_out)
        left = leave(across, storage, given, named=bool(given.studies))
        console.print(table(across))
        lines = [f"\nfront:   {left.page}", f"run:     {left.link}", f"promote: {promote_command(across, given)}", ""]
        if left.browse:
            lines.insert(1, f"browse:  {left.browse}")
        for line in lines:
            console.tell(line)
    return 0


def compare_with(study: str, places: StudySettings) -> str:
    """Leave the front of a study's data set, across all that were measured on the same images; one line about it.

    Args:
        study: The one that has just ended.
        places: Where it is kept and tracked.

    Returns:
        Empty where there is no other study to compare with. Where more studies were measured on other images, the front
        is theirs, here as for a promotion, and stays; the line then says how to compare those like this one.

    Raises:
        NaspruneError: With what the user can mend.
    """
    storage = places.place()
    names = storage.studies()
    if len(names) < 2:
        return ""
    sets = by_dataset(read_fronts(storage, names)).values()
    mine = next((each for each in sets if study in {one.study for one in each}), None)
    if mine is None:  # no point was finished
        return ""
    studies, left_out = comparable(mine)
    if study in left_out:
        alike = [each.study for each in comparable(mine, like=study)[0]]
        if len(alike) < 2:
            return ""
        words = ["uv", "run", "sweep/compare.py", "--studies", ",".join(alike), *name_places(places)]
        return (
            f"the front of {studies[0].dataset} is of {len(studies)} studies beside which '{study}' has "
            f"{left_out[study]}; {shlex.join(words)} compares it with those like it"
        )
    if len(studies) < 2:
        return ""
    left = leave(front_across(studies, left_out), storage, places)
    return f"{len(studies)} studies of {studies[0].dataset} on one front: {left.page}, in MLflow {left.link}"


@dataclass(frozen=True, kw_only=True)
class Left:
    """Where a data set's front can be seen."""

    page: str
    link: str
    """Of its run in MLflow."""
    browse: str | None
    """Serves that link; None if a server does."""


def leave(across: Mapping[str, Any], storage: Storage, places: Places, *, named: bool = False) -> Left:
    """Write and track a data set's front.

    Args:
        across: The front.
        storage: Where its studies are kept.
        places: Where they are tracked.
        named: Whether its studies were named. Such a front has files and a run of its own: those of the data set hold
            what a promotion chooses from.
    """
    from sweep.report.across import markdown, page
    from sweep.tracking.dataset_run import log_dataset_front
    from sweep.tracking.mlflow_client import connect
    from sweep.tracking.tracker import browse

    connection = connect(places.tracking_uri, storage.root)
    folder, of = f"{FOLDER}/{plain(across['dataset'])}", across["dataset"]
    if named:
        names = ", ".join(sorted(each["study"] for each in across["studies"]))
        folder, of = f"{folder}-{hashlib.sha256(names.encode()).hexdigest()[:8]}", f"{of}: {names}"
    files = [storage.root / folder / name for name in ("front.json", "front.html")]
    best = [point for point in across["points"] if point["on_front"]]
    metrics = {
        "studies": len(across["studies"]),
        "points": len(across["points"]),
        "points_on_front": len(best),
        "best_val_accuracy": best[-1]["val_accuracy"],
    }
    with locked(storage.root / folder):  # two studies may end at once
        write_json(files[0], across)
        write_bytes(files[1], page(across).encode())
        for file in files:
            storage.store_path(file)
        run = log_dataset_front(
            connection, across["dataset"], of=of, name=front_name(storage, folder), files=files, note=markdown(across),
            metrics=metrics,
        )  # fmt: skip
    root, command = browse(connection.shown, local=connection.local)
    return Left(page=storage.where(f"{folder}/front.html"), link=f"{root}/{run}", browse=command)


def front_name(storage: Storage, folder: str) -> str:
    """The name that a data set's front has in MLflow for life: with a random end, as studies have, for each storage.

    Args:
        storage: The storage.
        folder: Of the front in it, locked.

    Raises:
        ArtifactError: If it cannot be read.
    """
    file = f"{folder}/{TRACKED}"
    path = storage.root / file
    if not storage.fetch_file(file):
        write_json(path, {"tracked_as": f"{Path(folder).name}-{uuid.uuid4().hex[:8]}"})
        storage.store_path(path)
        storage.fetch_file(file)  # another machine's, if it was later
    try:
        return str(json.loads(path.read_text())["tracked_as"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ArtifactError(
            f"{storage.where(file)} cannot be read ({error!r}); delete it, and the front gets a new run"
        ) from error


def promote_command(across: Mapping[str, Any], places: Places) -> str:
    """The command that promotes from the middle of a data set's front."""
    best = [point for point in across["points"] if point["on_front"]]
    point = best[len(best) // 2]
    words = ["uv", "run", "sweep/promote.py", "--study", point["study"], *name_places(places)]
    return shlex.join([*words, "--point", point["point"], "--alias", "champion"])


def chosen(studies: Sequence[str], storage: Storage) -> Sequence[str]:
    """The studies to read: those given, or all that have left a front.

    Raises:
        SettingsError: if one that was given is not there.
    """
    there = storage.studies()
    missing = [name for name in studies if name not in there]
    if missing:
        raise SettingsError(
            f"study '{missing[0]}' given; expected one with a front.json under {storage} (there: "
            f"{', '.join(there) or 'none'}); check --studies and --storage"
        )
    return studies or there


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's values, checked.

    Raises:
        SettingsError: If a flag is unknown or missing, or a value is not of its kind.
    """
    parser = OneLineParser(
        prog="sweep/compare.py",
        description="Leave the front of each data set across all studies of it: networks of all kinds, image sizes and "
        "bands that were measured on the same images, on one chart and as one run in MLflow.",
        allow_abbrev=False,
    )
    parser.add_argument("--dataset", metavar="NAME", help="this one alone (default: all that studies were run on)")
    parser.add_argument(
        "--studies", default="", metavar="A,B", help="these alone, comma-separated (default: all of the storage)"
    )
    add_places(parser)
    given = settle_places(parser.parse_args(arguments))
    given.studies = list(dict.fromkeys(filter(None, map(str.strip, given.studies.split(",")))))
    return given


if __name__ == "__main__":
    command(main)
