"""What lies between the ground and the picture: light, haze, optics and a sensor."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageFilter

_LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def photograph(drawing: Image.Image, rng: np.random.Generator, *, image_size: int) -> Image.Image:
    """Return the picture that a camera takes of the drawing.

    Args:
        drawing: the scene, RGB, square, larger than the picture.
        rng: draws the weather and the camera.
        image_size: side of the picture in pixels.
    """
    blur = rng.uniform(0.0, 0.6) * drawing.width / image_size * max(1.0, image_size / 96)
    small = drawing.filter(ImageFilter.GaussianBlur(blur)).resize((image_size, image_size), Image.Resampling.BOX)
    pixels = np.asarray(small, np.float32) / 255.0

    # Light: exposure, colour of the sky, a slope across the picture, and now and then the shadow of a cloud.
    saturation = rng.uniform(0.7, 1.15)
    luma = (pixels @ _LUMA)[..., None]
    pixels = luma + saturation * (pixels - luma)
    cast = rng.uniform(0.85, 1.15) * (1.0 + rng.normal(0.0, 0.025, 3))
    pixels = np.clip(pixels * cast.astype(np.float32), 0.0, 1.0) ** np.float32(rng.uniform(0.85, 1.2))
    pixels *= _slope(rng, image_size)
    if rng.random() < 0.1:
        pixels *= _cloud_shadow(rng, image_size)

    # Haze lifts the dark and takes contrast away.
    haze = rng.uniform(0.0, 0.18) if rng.random() < 0.5 else 0.0
    sky = np.array([0.74, 0.78, 0.84], np.float32) * rng.uniform(0.85, 1.1)
    pixels = (1.0 - haze) * pixels + haze * sky

    noise = rng.uniform(0.003, 0.02)
    pixels += noise * rng.standard_normal(pixels.shape, dtype=np.float32)
    return Image.fromarray((np.clip(pixels, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8))


def _slope(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return a plane of brightness around 1, (side, side, 1)."""
    across, down = rng.uniform(-0.12, 0.12, 2)
    ramp = np.linspace(-1.0, 1.0, side, dtype=np.float32)
    return np.asarray(1.0 + across * ramp[None, :, None] + down * ramp[:, None, None], np.float32)


def _cloud_shadow(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return smooth patches of shade, (side, side, 1)."""
    knots = np.clip(0.8 + 0.35 * rng.standard_normal((4, 4)), 0.5, 1.0).astype(np.float32)
    return np.asarray(Image.fromarray(knots).resize((side, side), Image.Resampling.BICUBIC))[..., None]
