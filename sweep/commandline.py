"""Flags and settings files -> settings, and errors -> one line and exit code 2."""

from __future__ import annotations

import argparse
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from nasprune.commandline import OneLineParser, in_one_line
from nasprune.errors import SettingsError
from sweep import environment
from sweep.cluster.ray_cluster import prepare_environment
from sweep.settings import StudySettings, fields
from sweep.storage.address import check_address, is_address

if TYPE_CHECKING:
    import dataclasses
    from collections.abc import Callable, Sequence


def add_places(parser: argparse.ArgumentParser) -> None:
    """Add the flags that say where studies are kept and tracked, for commands that look at them afterwards."""
    parser.add_argument(
        "--storage",
        default="runs",
        metavar="STORAGE",
        help=f"folder or bucket of the studies (default: runs; the variable {environment.STORAGE} gives it too)",
    )
    parser.add_argument(
        "--tracking-uri",
        metavar="URI",
        help="MLflow store or server (default: SQLite under the storage; "
        f"the variable {environment.TRACKING_URI} gives it too)",
    )
    parser.set_defaults(**environment.given())


def settle_places(given: argparse.Namespace) -> argparse.Namespace:
    """The same values with a storage that means the same everywhere.

    Raises:
        SettingsError: if it holds a password.
    """
    check_address(given.storage)
    if not is_address(given.storage):
        given.storage = str(Path(given.storage).absolute())
    return given


def name_places(given: argparse.Namespace | StudySettings) -> list[str]:
    """The flags for these places, where they are not the defaults; no secrets.

    A tracking URI that the environment gives stays there: a flag wins over it, and has to leave its password out.
    """
    words = []
    if given.storage != str(Path("runs").absolute()):
        words += ["--storage", given.storage]
    if given.tracking_uri and given.tracking_uri != environment.given().get("tracking_uri"):
        from sweep.tracking.mlflow_client import redacted

        words += ["--tracking-uri", redacted(given.tracking_uri)]
    return words


def parse_settings(arguments: Sequence[str]) -> StudySettings:
    """Settings from defaults, then the machine's environment, then the settings file, then flags.

    Raises:
        SettingsError: if a flag or key is unknown, or a value is not of its kind.
    """
    parser = OneLineParser(
        prog="sweep/run.py",
        description="Search, prune and tune a scene classifier over budgets; leave a front.",
        allow_abbrev=False,
    )
    parser.add_argument("--settings", type=Path, metavar="FILE.toml", help="the same settings, as a file")
    for setting in fields():
        default, kind = setting.default, str(setting.type)
        word = "N" if kind.startswith("int") else "X" if kind.startswith("float") else None
        shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
        text = setting.metadata["help"]
        variable = environment.variable_of(setting.name)
        if variable:
            text += f"; the variable {variable} gives it too"
        parser.add_argument(
            "--" + setting.name.replace("_", "-"),
            action=_Once if kind.startswith("tuple[str") else "store",
            metavar=word or setting.name.split("_")[-1].upper(),
            help=(text if shown in (None, "") else f"{text} (default: {shown})").replace("%", "%%"),
        )
    given = vars(parser.parse_args(arguments))
    path = given.pop("settings")
    values: dict[str, Any] = {**environment.given(), **(_from_file(path) if path is not None else {})}
    values |= {name: value for name, value in given.items() if value is not None}
    return StudySettings(**{s.name: _convert(s, values[s.name]) for s in fields() if s.name in values})


class _Once(argparse.Action):
    """A flag of KEY=VALUE pairs: of two, one would expect both to count, and argparse forgets the first."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: object,
        option_string: str | None = None,
    ) -> None:
        if getattr(namespace, self.dest) is not None:
            parser.error(f"{option_string} given twice; expected it once, with commas between its settings")
        setattr(namespace, self.dest, values)


def _from_file(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise SettingsError(f"settings file {path} given; expected a TOML file ({error.strerror})") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} is not valid TOML: {error}") from error
    known = {setting.name for setting in fields()}
    for key in values:
        if key not in known:
            meant = key.replace("-", "_")
            hint = f"write {meant}" if meant in known else f"expected only {', '.join(sorted(known))}"
            raise SettingsError(f"settings file {path} has '{key}'; {hint}")
    return values


def _convert(setting: dataclasses.Field[Any], value: Any) -> Any:  # noqa: ANN401 (any value may be given)
    """A flag's text, or a file's value, as the field's type says."""
    kind = str(setting.type)
    try:
        if kind.startswith("tuple"):
            items = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else [value]
            items = [_plain(item) for item in items if item != ""]
            return tuple(float(item) for item in items) if "float" in kind else tuple(str(i).strip() for i in items)
        if kind.startswith("int"):
            if isinstance(value, str | int):
                return int(_plain(value))
            raise ValueError  # noqa: TRY301 (one way out for all that is not of the kind)
        if kind.startswith("float"):
            return float(_plain(value))
        if kind.startswith("Path") and value == "":
            raise ValueError  # noqa: TRY301 (as above: it would be the working directory)
        return Path(str(_plain(value))) if kind.startswith("Path") else str(_plain(value))
    except (TypeError, ValueError) as error:
        words = {
            "int": "a whole number", "float": "a number", "tuple[float": "comma-separated numbers",
            "tuple": "comma-separated words", "Path": "a path in quotes", "str": "a word in quotes",
        }  # fmt: skip
        expected = next(word for start, word in words.items() if kind.startswith(start))
        name = setting.name.replace("_", "-")
        raise SettingsError(f"{name} '{value}' given; expected {expected}") from error


def _plain(value: object) -> str | float:
    """A word or a number as it is; a number may stand for a word, as in `bands = 4`.

    Raises:
        TypeError: if it is neither, as true, a list or a date of a settings file.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise TypeError
    return value


def command(main: Callable[[Sequence[str]], int]) -> NoReturn:
    """Run a command's main function on the process's arguments; a NaspruneError becomes one line and exit code 2."""
    prepare_environment()
    sys.exit(in_one_line(lambda: main(sys.argv[1:]), stopped="stopped; the same command goes on from here"))
