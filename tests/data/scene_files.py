"""Tiny images and data sets, and the check that an error is one line that helps."""

import io
import re
import warnings
import zipfile
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image

from nasprune.data.readers import EncodedImage
from nasprune.errors import NaspruneError


def pixels(number, size=(8, 8), channels=3):
    """Random pixels that differ from number to number."""
    shape = (size[1], size[0], channels) if channels > 1 else (size[1], size[0])
    return np.random.default_rng(number).integers(0, 256, shape, dtype=np.uint8)


def encode(array, kind="PNG", **options):
    target = io.BytesIO()
    Image.fromarray(array).save(target, kind, **options)
    return target.getvalue()


def geotiff(array, *, driver="GTiff", **options):
    """(height, width, bands) as a file of GDAL's."""
    with warnings.catch_warnings(), rasterio.MemoryFile() as file:
        warnings.simplefilter("ignore")  # it has no coordinates
        height, width, count = array.shape
        with file.open(driver=driver, count=count, height=height, width=width, dtype=array.dtype, **options) as image:
            image.write(np.moveaxis(array, -1, 0))
        return file.read()


def png(number, size=(8, 8)):
    return encode(pixels(number, size))


def scenes(classes=("beach", "harbor", "river"), per_class=10, size=(8, 8)):
    """(N,) encoded images in the order of their names, all different."""
    return [
        EncodedImage(name=f"{label}/{label}{n:02d}.png", label=label, encoded=png(100 * place + n, size))
        for place, label in enumerate(sorted(classes))
        for n in range(per_class)
    ]


def write_folder(root: Path, images, above=""):
    for image in images:
        path = root / above / image.name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(image.encoded)
    return root


def write_zip(path: Path, images, above=""):
    with zipfile.ZipFile(path, "w") as archive:
        for image in images:
            archive.writestr(f"{above}{image.name}", image.encoded)
    return path


def raises_one_line(kind, *words):
    """Expect an error of one line that holds all `words`."""
    assert issubclass(kind, NaspruneError)
    ahead = "".join(f"(?=.*{re.escape(str(word))})" for word in words)
    return pytest.raises(kind, match=rf"\A{ahead}[^\n]+\Z")
