"""Bands: every value as the file has it, whatever their number and depth, and one clear line for the rest."""

import dataclasses
import io

import numpy as np
import pytest
import rasterio
import torch
from PIL import Image

from nasprune.data import DataSettings, load
from nasprune.data.augment import Augmentation, augment, light_of
from nasprune.data.batches import Batches
from nasprune.data.decode import decode
from nasprune.data.readers import EncodedImage
from nasprune.data.statistics import Statistics, measure
from nasprune.data.store import pack
from nasprune.errors import DataError, SettingsError
from tests.data.scene_files import encode, geotiff, pixels, raises_one_line, write_zip


def bands(number, count=13, size=(8, 8), kind="uint16"):
    """(height, width, count) random values of the whole range."""
    shape = (size[1], size[0], count)
    limits = np.iinfo(kind)
    return np.random.default_rng(number).integers(limits.min, limits.max, shape, dtype=kind, endpoint=True)


@pytest.fixture(scope="module")
def thirteen():
    """(12,) images of two classes and thirteen bands of 16 bits, as (image, values)."""
    arrays = [bands(number) for number in range(12)]
    return [
        (EncodedImage(name=f"{label}/{n:02d}.tif", label=label, encoded=geotiff(array, compress="deflate")), array)
        for n, array in enumerate(arrays)
        for label in [("forest", "river")[n // 6]]
    ]


@pytest.mark.parametrize("options", [{}, {"compress": "lzw", "predictor": 2}, {"interleave": "band", "tiled": True}])
def test_every_value_of_every_band_is_kept(options):
    array = bands(0, size=(32, 16))
    assert np.array_equal(decode("a", geotiff(array, **options), bands="all"), array)


def test_bands_come_in_the_order_asked_for():
    array = bands(1)
    assert np.array_equal(decode("a", geotiff(array), bands="8,4,3"), array[..., [7, 3, 2]])


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("side", [None, 16])
def test_colours_as_bands_are_the_same_pixels(kind, side):
    encoded = encode(pixels(0, (30, 20)), kind)
    assert np.array_equal(decode("a", encoded, side, bands="1,2,3"), decode("a", encoded, side))


def test_sixteen_bits_are_resized_as_eight_are_but_finer():
    low = pixels(0, (30, 20), 1)[..., None]
    deep = decode("a", geotiff(low.astype(np.uint16) * 257), 16, bands="all")
    shallow = decode("a", geotiff(low), 16, bands="all")
    assert deep.dtype == np.uint16
    # Pillow rounds 8 bits after each of its two passes, 1 step in all at most.
    assert np.abs(deep / 257 - shallow).max() <= 1
    assert (deep % 257).any()


def test_one_deep_band_in_a_png():
    array = bands(2, count=1)
    assert np.array_equal(decode("a", encode(array[..., 0]), bands="all"), array)


@pytest.mark.parametrize(
    ("array", "options", "words"),
    [
        (bands(0), {}, "13 bands of uint16"),
        (bands(0, 3), {}, "3 bands of uint16"),
        (bands(0, 4, kind="uint8"), {}, "4 bands"),  # GDAL calls the fourth transparency
        (bands(0, 4, kind="uint8"), {"alpha": "unspecified"}, "4 bands"),  # Pillow reads RGB
        # Band after band, Pillow reads the first alone.
        (bands(0, 2, kind="uint8"), {"interleave": "band", "compress": "lzw"}, "2 bands"),
        (bands(0, 3, kind="uint8"), {"interleave": "band", "compress": "lzw", "photometric": "minisblack"}, "3 bands"),
        (bands(0, 1), {}, "16 bits"),
        (bands(0, 3), {"driver": "PNG"}, "16 bits"),  # Pillow reads the upper 8
        (bands(0, 3), {"photometric": "RGB"}, "16 bits"),  # so it does here
        (bands(0, 3), {"photometric": "RGB", "interleave": "band"}, "16 bits"),  # and here a byte as a pixel
    ],
)
def test_more_than_colours_is_never_dropped_unasked(array, options, words):
    with raises_one_line(DataError, "x.tif", words, "--bands all"):
        decode("x.tif", geotiff(array, **options))


@pytest.mark.parametrize(
    ("count", "kind", "words"),
    [
        (1, "float32", "32 bits"),
        (3, "float32", "3 bands of float32"),
        (1, "int16", "16 bits"),
        (13, "int16", "13 bands of int16"),
        (1, "int8", "signed"),  # Pillow reads -1 as 255
    ],
)
def test_values_that_no_choice_of_bands_can_use_are_to_be_converted(count, kind, words):
    encoded = geotiff(bands(0, count, kind="uint8").astype(kind))
    with raises_one_line(DataError, "x.tif", words, "convert", "unsigned integers") as caught:
        decode("x.tif", encoded)
    assert "--bands" not in str(caught.value)


@pytest.mark.parametrize(
    ("encoded", "chosen", "words"),
    [
        (geotiff(bands(0, 4)), "1,5", "4 bands, no band 5"),
        (geotiff(bands(0).astype(np.float32)), "all", "float32"),
        (geotiff(bands(0, 2, kind="uint8") // 16, nbits=4), "2", "4-bit"),
        (encode(pixels(0, channels=1) > 99), "all", "1-bit"),
        (geotiff(bands(0, size=(64, 64)))[:5000], "all", "not a whole TIFF"),
        (b"", "all", "not a whole TIFF"),
        (b"a note", "all", "not a whole TIFF"),
        (encode(pixels(0), "GIF"), "all", "not a whole TIFF"),
    ],
)
def test_what_cannot_be_used_is_named(encoded, chosen, words):
    with raises_one_line(DataError, "x.tif", words):
        decode("x.tif", encoded, bands=chosen)


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "L"), ("PNG", "LA"), ("PNG", "RGB"), ("PNG", "RGBA"), ("TIFF", "RGB"), ("JPEG", "RGB")]
)
@pytest.mark.parametrize("share", [0.5, 0.95])
def test_a_cut_image_is_named_in_every_format(kind, mode, share):
    target = io.BytesIO()
    Image.fromarray(pixels(0, (64, 64))).convert(mode).save(target, kind)
    with raises_one_line(DataError, "x.tif", "not a whole"):
        decode("x.tif", target.getvalue()[: int(share * target.tell())], bands="1")


@pytest.mark.parametrize("chosen", ["rgb", "all", "1"])
def test_pages_are_never_dropped(chosen):
    pages = [Image.fromarray(pixels(number, channels=1)) for number in range(3)]
    target = io.BytesIO()
    pages[0].save(target, "TIFF", save_all=True, append_images=pages[1:])
    with raises_one_line(DataError, "x.tif", "3 pages", "one page"):
        decode("x.tif", target.getvalue(), bands=chosen)


@pytest.mark.parametrize("chosen", ["rgb", "all"])
def test_overviews_and_masks_are_no_pages(tmp_path, chosen):
    array, path = pixels(0, (64, 64)), tmp_path / "a.tif"
    path.write_bytes(geotiff(array))
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "r+") as image:
        image.write_mask(array[..., 0] > 9)
        image.build_overviews([2, 4])
    assert np.array_equal(decode("a", path.read_bytes(), bands=chosen), array)


def test_a_palette_is_no_band():
    target = io.BytesIO()
    Image.fromarray(pixels(0)).convert("P").save(target, "PNG")
    with raises_one_line(DataError, "palette", "--bands rgb"):
        decode("x.png", target.getvalue(), bands="all")


@pytest.mark.parametrize("given", ["0", "1,1", "1,,2", "RGB", "1-3", "1, 2", "-1"])
def test_what_names_no_bands_is_refused(given):
    with raises_one_line(SettingsError, f"'{given}'", "4,3,2"):
        DataSettings(bands=given)


def test_a_data_set_of_more_than_colours_is_used_whole_unless_asked_otherwise():
    assert [DataSettings(dataset=name).bands for name in ("eurosat", "eurosat-ms", "scenes")] == ["rgb", "all", "rgb"]
    assert DataSettings(dataset="eurosat-ms", bands="4,3,2").bands == "4,3,2"


def test_images_of_two_cameras_are_refused(tmp_path, thirteen):
    other = EncodedImage(name="river/99.tif", label="river", encoded=geotiff(bands(0, 4)))
    store = pack("two", [*(image for image, _ in thirteen), other], tmp_path, bands="all")
    with raises_one_line(DataError, "river/99.tif", "4 bands", "13 bands", "--bands"):
        store.images(8, "all")
    assert store.images(8, "4,3,2,1").bands == 4


def test_mapped_bands_are_those_of_the_files(tmp_path, thirteen):
    images = pack("two", [image for image, _ in thirteen], tmp_path, bands="all").images(8, "all")
    assert (images.bands, images.bit_depth) == (13, 16)
    got = images.gather(np.array([7, 0]))
    assert got.shape == (2, 13, 8, 8)
    assert got.is_contiguous(memory_format=torch.channels_last)
    expected = np.stack([thirteen[7][1], thirteen[0][1]])
    assert np.array_equal(got.permute(0, 2, 3, 1).numpy(), expected)


def test_statistics_are_those_of_each_band(tmp_path, thirteen):
    images = pack("two", [image for image, _ in thirteen], tmp_path, bands="all").images(8, "all")
    measured = measure(images, np.arange(5))
    values = np.stack([array for _, array in thirteen[:5]]).astype(np.float64) / 65535
    assert measured.mean == pytest.approx(values.mean((0, 1, 2)))
    assert measured.deviation == pytest.approx(values.std((0, 1, 2)))


def test_batches_are_normalised_band_by_band(tmp_path, thirteen):
    images = pack("two", [image for image, _ in thirteen], tmp_path, bands="all").images(8, "all")
    statistics = measure(images, np.arange(12))
    batches = Batches(
        images, np.zeros(12, np.int64), np.arange(12), batch_size=12, statistics=statistics, device=torch.device("cpu")
    )
    (x, _), *_ = batches.epoch(0)
    assert x.shape == (12, 13, 8, 8)
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(13), atol=1e-4, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(13), atol=1e-4, rtol=0)


def test_light_changes_leave_the_ratios_of_band_means():
    """A band far below the others must not be drowned by a grey of them all."""
    low, high = np.full((8, 8), 100), np.full((8, 8), 30_000)
    ramp = np.arange(64).reshape(8, 8)
    image = torch.from_numpy(np.stack([low + ramp, high + 300 * ramp]).astype(np.uint16))[None]
    image = image.expand(16, 2, 8, 8).contiguous(memory_format=torch.channels_last)
    only_light = Augmentation(flips=False, transposes=False, shift=0, jitter=0.2)
    seen = augment(image, only_light, torch.Generator().manual_seed(0), light=1)
    means = seen.mean((2, 3))
    torch.testing.assert_close(means[:, 1] / means[:, 0], torch.full((16,), 300.0), atol=0.01, rtol=0)
    assert means[:, 0].std() > 0
    assert seen.min() > 0
    assert seen.max() < 1


@pytest.mark.parametrize(
    ("mean", "deviation", "light"),
    [
        ((0.5, 0.1), (0.05, 0.2), 0.1),
        ((0.5,), (0.8,), 1),
        ((0.0, 0.4), (1.0, 0.2), 0.5),
        ((0.5,) * 3, (0.01,) * 3, 0.02),
    ],
)
def test_brightness_moves_no_band_further_than_it_varies(mean, deviation, light):
    assert light_of(Statistics(mean=mean, deviation=deviation)) == pytest.approx(light)
    images = torch.full((64, len(mean), 8, 8), 20_000).to(torch.uint16).contiguous(memory_format=torch.channels_last)
    only_light = Augmentation(flips=False, transposes=False, shift=0, jitter=0.2)
    seen = augment(images, only_light, torch.Generator().manual_seed(0), light=light) / (20_000 / 65_535)
    assert 0.15 * light < float((seen - 1).abs().max()) <= 0.2 * light + 1e-5


@pytest.mark.parametrize("count", [1, 3])
def test_training_images_stay_where_the_bands_are(tmp_path, count):
    """Also of three bands, which are no colours where they have 16 bits."""
    draw = np.random.default_rng(0)
    arrays = [np.rint(draw.normal(30_000, 300, (8, 8, count))).astype(np.uint16) for _ in range(16)]
    given = [
        EncodedImage(name=f"{n % 2}/{n}.tif", label=f"{n % 2}", encoded=geotiff(array))
        for n, array in enumerate(arrays)
    ]
    images = pack("narrow", given, tmp_path, bands="all").images(8, "all")
    batches = Batches(
        images, np.zeros(16, np.int64), np.arange(16), batch_size=16, statistics=measure(images, np.arange(16)),
        device=torch.device("cpu"), augmentation=Augmentation(), colours=False,
    )  # fmt: skip
    means = [float(x.mean((2, 3)).abs().max()) for number in range(4) for x, _ in batches.epoch(number)]
    assert 0.1 < max(means) < 0.5  # in deviations: the jitter's 0.2, and what the images differ by


@pytest.mark.parametrize(("chosen", "changes"), [("rgb", True), ("3,2,1", False)])
def test_how_bands_stand_to_one_another_changes_in_colours_alone(tmp_path, chosen, changes):
    """Also of three bands of 8 bits: which they are is said by whoever asks for them by number."""
    shades = [np.broadcast_to(np.array([5, 10, 20], np.uint8) * (n + 4), (16, 16, 3)) for n in range(8)]
    given = [
        EncodedImage(name=f"{n % 2}/{n}.tif", label=f"{n % 2}", encoded=geotiff(shade))
        for n, shade in enumerate(shades)
    ]
    archive = write_zip(tmp_path / "infrared.zip", given)
    data = load(
        DataSettings(dataset="folder", data=archive, image_size=16, bands=chosen, fractions=(0.5, 0.25, 0.25)),
        tmp_path / "data",
    )
    raw = dataclasses.replace(data, statistics=Statistics.none(3))
    batches = raw.batches("train", batch_size=4, device=torch.device("cpu"), augmentation=Augmentation(shift=0))
    means = torch.cat([x.mean((2, 3)) for number in range(4) for x, _ in batches.epoch(number)])
    ratios = means[:, 0] / means[:, 2]
    assert (float(ratios.std() / ratios.mean()) > 1e-3) == changes


def test_a_zip_of_bands_is_ready_to_train_on(tmp_path, thirteen):
    archive = write_zip(tmp_path / "sentinel.zip", [image for image, _ in thirteen])
    for chosen, count in (("all", 13), ("4,3,2", 3), ("all", 13)):
        data = load(
            DataSettings(dataset="folder", data=archive, image_size=16, bands=chosen, fractions=(0.5, 0.25, 0.25)),
            tmp_path / "data",
        )
        assert data.bands == len(data.statistics.mean) == count
    with raises_one_line(DataError, "13 bands of uint16", "--bands all"):
        load(DataSettings(dataset="folder", data=archive, image_size=16), tmp_path / "elsewhere")


def test_no_statistics_leave_values_as_they_are():
    assert Statistics.none(2) == Statistics(mean=(0.0, 0.0), deviation=(1.0, 1.0))
