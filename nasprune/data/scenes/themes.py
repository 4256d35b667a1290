"""Which classes there are: for each, who draws it and how wide a picture of it is on the ground."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nasprune.data.scenes.beach import beach
from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.crop_fields import crop_fields
from nasprune.data.scenes.forest import forest
from nasprune.data.scenes.freeway import freeway
from nasprune.data.scenes.harbour import harbour
from nasprune.data.scenes.homes import dense_residential, sparse_residential
from nasprune.data.scenes.parking_lot import parking_lot
from nasprune.data.scenes.river import river
from nasprune.data.scenes.runway import runway
from nasprune.data.scenes.storage_tanks import storage_tanks
from nasprune.data.scenes.tennis_courts import tennis_courts


@dataclass(frozen=True, kw_only=True)
class Theme:
    """How one class is drawn."""

    draw: Callable[[Canvas], None]
    metres: tuple[float, float]  # least and greatest width of the picture on the ground


THEMES: Mapping[str, Theme] = MappingProxyType(
    {
        "beach": Theme(draw=beach, metres=(80, 200)),
        "crop_fields": Theme(draw=crop_fields, metres=(140, 320)),
        "dense_residential": Theme(draw=dense_residential, metres=(70, 130)),
        "forest": Theme(draw=forest, metres=(70, 150)),
        "freeway": Theme(draw=freeway, metres=(70, 140)),
        "harbour": Theme(draw=harbour, metres=(60, 130)),
        "parking_lot": Theme(draw=parking_lot, metres=(50, 90)),
        "river": Theme(draw=river, metres=(90, 200)),
        "runway": Theme(draw=runway, metres=(110, 240)),
        "sparse_residential": Theme(draw=sparse_residential, metres=(60, 105)),
        "storage_tanks": Theme(draw=storage_tanks, metres=(80, 180)),
        "tennis_courts": Theme(draw=tennis_courts, metres=(45, 95)),
    }
)
