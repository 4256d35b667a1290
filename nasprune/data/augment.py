"""Random views of aerial images, which have no up: flips, transposes, shifts and changes of light."""

import functools
from dataclasses import dataclass

import torch

from nasprune.data.statistics import Statistics
from nasprune.errors import SettingsError

_GREY = (0.299, 0.587, 0.114)  # luma of red, green, blue (ITU-R BT.601); sums to 1


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """What may happen to a training image."""

    flips: bool = True  # mirror each axis with probability 1/2
    transposes: bool = True  # swap the axes with probability 1/2; with flips: all eight symmetries of the square
    shift: float = 0.125  # largest shift of each axis, as a share of the side; the rim is filled by reflection
    jitter: float = 0.2  # brightness, contrast and, of RGB, colour are scaled by factors in [1 - jitter, 1 + jitter]

    def __post_init__(self) -> None:
        if not 0 <= self.shift <= 0.5:
            raise SettingsError(f"augmentation shift {self.shift:g}: give a share of the side in [0, 0.5]")
        if not 0 <= self.jitter < 1:
            raise SettingsError(f"augmentation jitter {self.jitter:g}: give a number in [0, 1)")


def augment(
    images: torch.Tensor, augmentation: Augmentation, generator: torch.Generator, *, light: float | None = None
) -> torch.Tensor:
    """Change every image in its own way.

    Args:
        images: uint8 or uint16 (B, bands, S, S), channels-last in memory.
        augmentation: what may happen.
        generator: the only source of chance, on the device of the images.
        light: None for RGB; of other bands what changes of brightness are multiplied by, see `light_of`.

    Returns:
        float32 (B, bands, S, S) in [0, 1], channels-last in memory.
    """
    batch, bands, side, _ = images.shape
    pixels = images.permute(0, 2, 3, 1).reshape(-1, bands)
    if pixels.dtype == torch.uint16:
        pixels = pixels.float()  # few kernels take 16 bits without a sign
    source = _source_pixels(batch, side, augmentation, generator)
    moved = pixels.index_select(0, source.view(-1)).float().view(batch, side, side, bands)
    return _jittered(moved.mul_(unit(images)), augmentation.jitter, light, generator).permute(0, 3, 1, 2)


def light_of(statistics: Statistics) -> float:
    """How much of the jitter the brightness of bands with these statistics bears, in (0, 1].

    Colours of 8 bits use their range. A band may vary little about a high mean, and 20 % of that be far outside of
    all it ever shows: no band's mean is to move by more than the jitter times its deviation.
    """
    shares = (deviation / mean for mean, deviation in zip(statistics.mean, statistics.deviation, strict=True) if mean)
    return min([1.0, *shares])


def unit(images: torch.Tensor) -> float:
    """What takes the values of these images to [0, 1]."""
    return 1 / torch.iinfo(images.dtype).max


def _source_pixels(batch: int, side: int, augmentation: Augmentation, generator: torch.Generator) -> torch.Tensor:
    """Say which pixel of the batch each pixel of the result shows: int64 (B, S, S) into (B * S * S)."""
    device = generator.device
    reach = round(augmentation.shift * side)
    shift = torch.randint(-reach, reach + 1, (2, batch, 1), generator=generator, device=device)
    flip = torch.rand((2, batch, 1), generator=generator, device=device) < 0.5
    turn = torch.rand((batch, 1), generator=generator, device=device) < 0.5
    place = torch.arange(side, device=device) + shift
    place = (side - 1) - ((side - 1) - place.abs()).abs()  # reflect at both rims, which are not repeated
    if augmentation.flips:
        place = torch.where(flip, (side - 1) - place, place)
    first = torch.arange(batch, device=device)[:, None] * (side * side)
    row, column = place[0] * side, place[1]
    # A transposed image walks along the source's columns with its own rows.
    down, across = row, column
    if augmentation.transposes:
        down, across = torch.where(turn, column, row), torch.where(turn, row, column)
    return (first + down)[:, :, None] + across[:, None, :]


@functools.cache  # copying it to a GPU for every batch would make the host wait each time
def _grey_weights(device: torch.device) -> torch.Tensor:
    return torch.tensor(_GREY, device=device)


def _jittered(pixels: torch.Tensor, jitter: float, light: float | None, generator: torch.Generator) -> torch.Tensor:
    """Scale brightness, then contrast about the image's mean grey, then colour about each pixel's grey.

    All three are linear, so they are done as one: with factors b, c, s, an image's mean grey m and a pixel's
    grey g, the result is s c b x + (1 - s) c b g + (1 - c) b m, cut once to [0, 1].

    Bands that are no colours may lie far apart, and a grey of them all far from each: there contrast is about each
    band's own mean, and how bands stand to one another, which tells water from wood, stays.

    Args:
        pixels: float32 (B, S, S, bands) in [0, 1]; overwritten.
        jitter: largest change of a factor from 1.
        light: None for RGB; otherwise what the jitter of brightness is multiplied by.
        generator: source of chance.

    Returns:
        float32 (B, S, S, bands) in [0, 1].
    """
    if jitter == 0:
        return pixels
    draw = torch.rand((3, len(pixels), 1, 1), generator=generator, device=pixels.device)
    brightness, contrast, colour = 1 + jitter * (2 * draw - 1)
    if light is not None:
        brightness = 1 + light * (brightness - 1)
        mean = pixels.mean((1, 2), keepdim=True)
        return (
            pixels.mul_((contrast * brightness)[..., None])
            .add_(((1 - contrast) * brightness)[..., None] * mean)
            .clamp_(0, 1)
        )
    grey = pixels @ _grey_weights(pixels.device)
    mean = grey.mean((1, 2), keepdim=True)
    added = (1 - colour) * contrast * brightness * grey + (1 - contrast) * brightness * mean
    pixels.mul_((colour * contrast * brightness)[..., None])
    return pixels.add_(added[..., None]).clamp_(0, 1)
