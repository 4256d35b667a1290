"""`uv run sweep/promote.py`: choose a point, measure it again, register it, and let an alias point at it."""

from __future__ import annotations

import argparse
import importlib.util
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if __name__ == "__main__":
    if Path(sys.path[0]).resolve() == Path(__file__).resolve().parent:
        sys.path.pop(0)  # a script's own folder comes first there, and its files would pass for packages
    if importlib.util.find_spec("nasprune") is None:
        sys.stderr.write(f"error: {sys.executable} has no nasprune; run `uv run sweep/promote.py` in its folder\n")
        sys.exit(2)

from nasprune.commandline import OneLineParser
from nasprune.errors import SettingsError
from nasprune.files import plain
from sweep.commandline import add_places, command, settle_places
from sweep.promoting.choice import MEASURED, find
from sweep.promoting.report import report
from sweep.promoting.verification import VERIFY, check, check_board, measure
from sweep.settings import check_name

if TYPE_CHECKING:
    from collections.abc import Sequence


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
    if given.precision:
        storage.fetch_board(f"{given.study}/{point['artifact']}")  # perhaps measured again since they came here
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
    measured = measure(directory, storage.root / FOLDER, verifier, precision=given.precision)
    check(record, measured)
    if given.precision:
        check_board(record, point, measured, given.precision)
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
        "--max-macs-ratio",
        type=float,
        metavar="R",
        help="the most accurate of a --study with at most this share of the MACs",
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
    which.add_argument("--point", metavar="ID", help="this very point of a --study, on its front or not")
    parser.add_argument(
        "--by", choices=("macs", *MEASURED), default="macs", help="what is cheap for --min-accuracy (default: macs)"
    )
    parser.add_argument(
        "--precision",
        choices=("float32", "int8"),
        help="of the file for the board whose latency, bytes and validation accuracy count, and which is tested again "
        "as well, with --point too (default: float32)",
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
    if given.max_latency_ms is not None or given.max_bytes is not None or given.by != "macs":
        given.precision = given.precision or "float32"
    elif given.precision is not None and given.point is None:
        raise SettingsError(
            f"--precision {given.precision} given with a choice by MACs, where it says nothing; expected it with "
            "--max-latency-ms, --max-bytes, --by or --point; leave it out, or choose by one of these"
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


if __name__ == "__main__":
    command(main)
