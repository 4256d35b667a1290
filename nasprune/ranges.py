"""Numbers that settings may be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nasprune.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable


def check_ranges(settings: object, ranges: Iterable[tuple[str, float, float]], of: str) -> None:
    """Refuse settings of which one is not in its range.

    Args:
        settings: Whose attributes they are.
        ranges: Name, least and largest value of each.
        of: What they are the settings of, for the message.

    Raises:
        SettingsError: with the first that is not.
    """
    for name, low, high in ranges:
        given = getattr(settings, name)
        if not low <= given <= high:
            raise SettingsError(f"{of} {name} {given:g} given; expected {low:g} to {high:g}")
