"""Which classes there are: for each, who draws it and how wide a picture of it is on the ground."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from nasprune.data.scenes.canvas import Canvas
from nasprune.data.scenes.countryside import crop_fields, forest
from nasprune.data.scenes.homes import dense_residential, sparse_residential
from nasprune.data.scenes.shores import beach, harbour, river
from nasprune.data.scenes.sites import parking_lot, storage_tanks, tennis_courts
from nasprune.data.scenes.traffic import freeway, runway


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
        "freeway": Theme(draw=freeway, metres=(80, 160)),
        "harbour": Theme(draw=harbour, metres=(60, 130)),
        "parking_lot": Theme(draw=parking_lot, metres=(50, 90)),
        "river": Theme(draw=river, metres=(100, 240)),
        "runway": Theme(draw=runway, metres=(110, 240)),
        "sparse_residential": Theme(draw=sparse_residential, metres=(70, 130)),
        "storage_tanks": Theme(draw=storage_tanks, metres=(80, 180)),
        "tennis_courts": Theme(draw=tennis_courts, metres=(60, 120)),
    }
)
