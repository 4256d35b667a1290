"""`uv run sweep/promote.py`: choose a point, measure it again, register it, and let an alias point at it."""

from __future__ import annotations

import argparse
import json
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if __name__ == "__main__" and Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
    sys.path.pop(0)  # a script's own folder comes first there, and its files would pass for packages

from nasprune.commandline import OneLineParser
from nasprune.errors import ArtifactError, SettingsError
from nasprune.files import plain
from sweep.across import by_dataset, comparable, front_across, not_compared, read_fronts
from sweep.commandline import add_places, command, settle_places
from sweep.front import MACS, MACS_SHARE, Cost, choose
from sweep.settings import check_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sweep.storage.bucket import Storage
    from sweep.tracking.mlflow_client import Connection
    from sweep.tracking.registry import Promotion

VERIFY = (sys.executable, "-m", "nasprune.verify")
"""Measures a point's files in a process of its own, which shares nothing with this one but the disk."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """A point's files, measured again.

    Attributes:
        test_accuracy: Of the rebuilt network, in 0..1.
        onnx_test_accuracy: Of the ONNX file, in 0..1.
        images: How many were tested.
    """

    test_accuracy: float
    onnx_test_accuracy: float
    images: int


def main(arguments: Sequence[str], *, verifier: Sequence[str] = VERIFY) -> int:
    """Promote the point that the arguments describe.

    Args:
        arguments: See `--help`.
        verifier: The program that measures a point's files.

    Raises:
        NaspruneError: With what the user can mend; then nothing was registered and no alias moved.
    """
    given = parse(arguments)
    from sweep.storage.bucket import Bucket, open_storage

    storage = open_storage(given.storage)
    storage.check(write=False)
    given.study, point = find(given, storage)
    study = storage.root / given.study
    directory = study / point["artifact"]
    storage.fetch_folder(f"{given.study}/{point['artifact']}")
    # Heavy imports wait until the flags are known to be right.
    from nasprune.record import ONNX, read_record
    from sweep.storage.folder import SETTINGS, tracked_name
    from sweep.storage.images import FOLDER, fetch_packed
    from sweep.tracking.mlflow_client import connect
    from sweep.tracking.registry import register, tracked_model

    storage.fetch_file(f"{given.study}/{SETTINGS}")
    record = read_record(directory)
    connection = connect(given.tracking_uri, storage.root)
    model = tracked_model(connection, tracked_name(study), record, directory / ONNX)
    if isinstance(storage, Bucket):
        fetch_packed(storage, record["provenance"]["packed"])
    measured = measure(directory, storage.root / FOLDER, verifier)
    check(record, measured)
    name = given.name or plain(given.dataset or f"{record['dataset']}-{record['network']}")
    promotion = register(connection, model, name, given.alias, given.study, record)
    sys.stdout.write(report(given, directory, record, measured, promotion, connection))
    return 0


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line's values, checked.

    Raises:
        SettingsError: If a flag is unknown or missing, or a value is not of its kind.
    """
    parser = OneLineParser(
        prog="sweep/promote.py",
        description="Choose a point of a front, verify it in a fresh process, register it under an alias.",
        allow_abbrev=False,
    )
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--study", metavar="NAME", help="the study that left the front")
    where.add_argument("--dataset", metavar="NAME", help="the front across all studies of this data set")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument(
        "--max-macs-ratio", type=float, metavar="R", help="the most accurate with at most this share of the MACs"
    )
    which.add_argument(
        "--max-macs", type=_count, metavar="N", help="the most accurate with at most this many MACs, as 300M or 1.2G"
    )
    which.add_argument(
        "--max-latency-ms", type=float, metavar="MS", help="the most accurate that answers one image in this time"
    )
    which.add_argument(
        "--max-bytes", type=_count, metavar="N", help="the most accurate whose file has at most this many bytes, as 1M"
    )
    which.add_argument(
        "--min-accuracy", type=float, metavar="A", help="the cheapest of at least this validation accuracy, in 0..1"
    )
    which.add_argument("--point", metavar="ID", help="this very point, on the front or not")
    parser.add_argument(
        "--by", choices=("macs", *_MEASURED), default="macs", help="what is cheap for --min-accuracy (default: macs)"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "int8"),
        default="float32",
        help="of the file for the board whose latency and bytes count (default: float32)",
    )
    parser.add_argument("--alias", required=True, metavar="NAME", help="what to call it, for example champion")
    parser.add_argument("--name", help="the registered model (default: <dataset>-<network>, with --dataset <dataset>)")
    add_places(parser)
    given = settle_places(parser.parse_args(arguments))
    if given.study is not None:
        check_name(given.study)
    if given.by != "macs" and given.min_accuracy is None:
        raise SettingsError(
            f"--by {given.by} given without --min-accuracy; expected both for the cheapest by {given.by}, or a limit "
            "alone: --max-macs-ratio, --max-macs, --max-latency-ms or --max-bytes"
        )
    # MLflow's own rules, checked before minutes of measuring rather than after.
    if not re.fullmatch(r"[\w-]{1,255}", given.alias, re.ASCII) or re.fullmatch(r"v\d+|latest", given.alias, re.I):
        raise SettingsError(
            f"alias '{given.alias}' given; expected letters, digits, '_' and '-', and neither latest nor v1, v2, ..."
        )
    if given.name is not None and (not given.name.strip() or set(given.name) & set("/:'\"")):
        raise SettingsError(f"name '{given.name}' given; expected one without slashes, colons and quotes")
    return given


def _count(text: str) -> float:
    """A count with k, M or G behind it, or none."""
    number, unit = re.fullmatch(r"(.*?) ?([kMG]?)", text, re.DOTALL).groups()  # type: ignore[union-attr]  # fits all
    try:
        return float(number) * {"": 1.0, "k": 1e3, "M": 1e6, "G": 1e9}[unit]
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' given; expected a number, as 300M or 1.2G") from None


_MEASURED = {"latency": ("latency_ms", " ms"), "bytes": ("bytes", "")}
"""What --by calls the board_figures of a file for the board: their keys, and their units."""


def wanted(given: argparse.Namespace) -> tuple[Cost, float | None]:
    """The cost that a point is chosen by, and the most that it may be, if that is what was asked."""
    if given.max_macs is not None:
        return MACS, given.max_macs
    limits = {"latency": given.max_latency_ms, "bytes": given.max_bytes}
    kind = next((kind for kind, limit in limits.items() if limit is not None), given.by)
    if kind == "macs":
        return MACS_SHARE, given.max_macs_ratio
    key, unit = _MEASURED[kind]
    return Cost(key=f"{given.precision}_{key}", name=f"{given.precision} {kind}", unit=unit), limits[kind]


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
    return point["study"], point


def of_several_machines(points: Sequence[Mapping[str, Any]], cost: Cost) -> str:
    """A line to be told where the latencies that are chosen by are of several machines, else nothing."""
    machines = sorted({str(point.get("board_machine")) for point in points if cost.key in point})
    if not cost.key.endswith("latency_ms") or len(machines) < 2:
        return ""
    return (
        f"these latencies were measured on several machines, which no choice makes up for: {'; '.join(machines)}; "
        "python -m nasprune.shipping measures a point on another\n"
    )


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


def measure(directory: Path, data: Path, verifier: Sequence[str] = VERIFY) -> Measured:
    """Measure a point's files in a fresh process.

    Args:
        directory: The point's folder.
        data: Where packed data sets live.
        verifier: The program; prints one JSON object as its last line.

    Raises:
        ArtifactError: If it cannot, with what it says.
    """
    done = subprocess.run(
        [*verifier, str(directory), "--data-dir", str(data)], capture_output=True, text=True, check=False
    )
    try:
        if done.returncode:
            raise ValueError  # noqa: TRY301  # one way out for all failures
        values = json.loads(done.stdout.strip().splitlines()[-1])
        return Measured(
            test_accuracy=float(values["test_accuracy"]),
            onnx_test_accuracy=float(values["onnx_test_accuracy"]),
            images=int(values["images"]),
        )
    except (ValueError, KeyError, TypeError, IndexError) as problem:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        reason = said[-1].removeprefix("error: ") if said else f"exit code {done.returncode}"
        raise ArtifactError(f"{directory} cannot be verified, so it is not promoted: {reason}") from problem


def check(record: Mapping[str, Any], measured: Measured) -> None:
    """Refuse a point that does not measure what was logged.

    One image may change sides between machines and runtimes, by rounding; two may not.

    Raises:
        ArtifactError: If an accuracy differs by more.
    """
    for what, value in (("network", measured.test_accuracy), ("ONNX file", measured.onnx_test_accuracy)):
        images = abs(value - record["test_accuracy"]) * measured.images
        if not images <= 1 + 1e-6:
            raise ArtifactError(
                f"the {what} of point {record['point']} has test accuracy {value:.4f} on {measured.images} images, "
                f"logged was {record['test_accuracy']:.4f}; expected at most one image between them, so it is not "
                "promoted; restore the point's folder and the data, or promote another point"
            )


def weakest_lines(record: Mapping[str, Any], most: int = 3) -> list[str]:
    """The classes that the point recognises least on test images, the weakest first."""
    from nasprune.confusion import class_results

    results = class_results(record["test_confusion"])
    said = []
    for name in sorted(results, key=lambda name: results[name].accuracy)[:most]:
        result = results[name]
        if result.taken_for is not None:
            said.append(f"{name} {result.right} of {result.images} (most often taken for {result.taken_for})")
    return [f"weakest of {len(results)} classes on test images: {', '.join(said)}"] if said else []


def board_lines(directory: Path) -> list[str]:
    """The point's files for the board, where there are any."""
    from nasprune.record import BOARD_FILES, board_figures

    measured = board_figures(directory)
    return [
        f"for the board, {precision}: {directory / name}, {measured[f'{precision}_bytes'] / 1e6:.2f} MB, "
        f"{measured[f'{precision}_latency_ms']:.2f} ms, test accuracy {measured[f'{precision}_test_accuracy']:.1%}"
        for precision, name in BOARD_FILES.items()
        if measured
    ]


def report(
    given: argparse.Namespace,
    directory: Path,
    record: Mapping[str, Any],
    measured: Measured,
    promotion: Promotion,
    connection: Connection,
) -> str:
    """What to tell: what was promoted, how to load it, how to go back."""
    from nasprune.record import values_taken

    shape = ", ".join(str(record[key]) for key in ("bands", "image_size", "image_size"))
    alias, name = given.alias, promotion.name
    lines = [
        f"{name} version {promotion.version} is {alias}: point {record['point']} of study {given.study}, "
        f"{record['macs_ratio']:.1%} of the dense MACs, validation accuracy {record['val_accuracy']:.1%} "
        f"of {record['val_images']} images",
        f"verified in a fresh process on {measured.images} test images: network {measured.test_accuracy:.1%}, "
        f"ONNX {measured.onnx_test_accuracy:.1%}, logged {record['test_accuracy']:.1%}",
        *weakest_lines(record),
        *board_lines(directory),
        "",
        "load it, where mlflow and onnxruntime are installed:",
        "    import mlflow",
        f'    mlflow.set_tracking_uri("{connection.shown}")',
        f'    model = mlflow.pyfunc.load_model("models:/{name}@{alias}")',
        f'    logits = model.predict(images)["logits"]  # float32 (batch, {shape}), {values_taken(record)}',
        f'    # or the file itself: mlflow.onnx.load_model("models:/{name}@{alias}")',
        "",
    ]
    if promotion.previous is None:
        lines.append(f"roll back: nothing else was {alias} before")
    else:
        lines += [
            f"roll back, to version {promotion.previous} that was {alias} before:",
            "    " + roll_back(given.alias, promotion, connection),
        ]
    return "\n".join(lines) + "\n"


def roll_back(alias: str, promotion: Promotion, connection: Connection) -> str:
    """The command that gives the alias back to that very version, whoever made it."""
    store, name, alias, version = map(json.dumps, (connection.shown, promotion.name, alias, promotion.previous))
    code = (
        f"from mlflow import MlflowClient; MlflowClient({store}).set_registered_model_alias({name}, {alias}, {version})"
    )
    return shlex.join(["uv", "run", "python", "-c", code])


if __name__ == "__main__":
    command(main)
