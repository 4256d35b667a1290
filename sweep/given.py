"""Flags that are lists of KEY=VALUE: settings of the search, with ranges to explore, and of the augmentation."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, cast

from nasprune.data.augment import Augmentation
from nasprune.errors import SettingsError
from nasprune.search import CHOICES, SearchSettings
from sweep.space import EXPLORABLE, SPACES, Range

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

_ELSEWHERE = ("epochs",)
"""What has a flag of its own."""


def shown(settings: SearchSettings | Augmentation) -> str:
    """Settings as they could be given here."""
    values = {key: value for key, value in dataclasses.asdict(settings).items() if key not in _ELSEWHERE}
    words = {key: ("no", "yes")[value] if isinstance(value, bool) else value for key, value in values.items()}
    return ", ".join(f"{key}={value}" for key, value in words.items())


def search_help() -> str:
    """What the flag of search settings takes."""
    choices = "; ".join(f"{key} is one of {', '.join(allowed)}" for key, allowed in CHOICES.items())
    ranges = ", ".join(
        f"{key}={values.low:g}:{values.high:g}" for key, values in SPACES[SearchSettings.learn].explored().items()
    )
    return (
        "search settings, comma-separated: KEY=VALUE fixes one, as learn=gradient, and KEY=LOW:HIGH says where to "
        f"explore it, as weight_learning_rate=0.003:0.3; recommended are {shown(SearchSettings())}; {choices}; "
        f"explored, unless fixed, are {ranges}"
    )


def search_given(pairs: Sequence[str]) -> tuple[dict[str, Any], dict[str, Range]]:
    """The search settings that are fixed, KEY=VALUE, and those to explore between bounds, KEY=LOW:HIGH.

    Raises:
        SettingsError: if a key is unknown or given twice, or a value is not of its kind.
    """
    fields = dataclasses.fields(SearchSettings)
    known: dict[str, Any] = {field.name: field.default for field in fields if field.name not in _ELSEWHERE}
    fixed: dict[str, Any] = {}
    ranges: dict[str, Range] = {}
    for key, value in _assignments("search", pairs, known):
        try:
            if ":" in value and key in EXPLORABLE:
                ranges[key] = Range.parsed(value)
            else:
                fixed[key] = type(known[key])(value)
        except ValueError as error:
            wanted = f"a number for {key}" + (", or LOW:HIGH" if key in EXPLORABLE else "")
            raise SettingsError(f"search setting '{key}={value}' given; expected {wanted}") from error
    for key, range_ in ranges.items():
        for end in (range_.low, range_.high):  # must be what the search takes
            dataclasses.replace(SearchSettings(), **cast("dict[str, Any]", {key: end}))
    return fixed, ranges


def augmentation_given(pairs: Sequence[str]) -> Augmentation:
    """The augmentation, with these of its settings changed.

    Raises:
        SettingsError: if a key is unknown or given twice, or a value is not of its kind.
    """
    known: dict[str, Any] = {field.name: field.default for field in dataclasses.fields(Augmentation)}
    changed: dict[str, Any] = {}
    for key, value in _assignments("augmentation", pairs, known):
        yes_or_no = isinstance(known[key], bool)
        try:
            changed[key] = {"yes": True, "no": False}[value] if yes_or_no else float(value)
        except (KeyError, ValueError) as error:
            wanted = "yes or no" if yes_or_no else "a number"
            raise SettingsError(f"augmentation setting '{key}={value}' given; expected {wanted} for {key}") from error
    return Augmentation(**changed)


def _assignments(what: str, pairs: Sequence[str], known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Keys, each known and once, and their values."""
    seen = set()
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or key not in known:
            raise SettingsError(f"{what} setting '{pair}' given; expected KEY=VALUE with KEY one of {', '.join(known)}")
        if key in seen:
            raise SettingsError(f"{what} setting '{key}' given twice; expected it once")
        seen.add(key)
        yield key, value
