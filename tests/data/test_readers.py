"""Reading folders and zips: one order, one naming, and one clear line for every broken one."""

import os
import zipfile

import pytest

from nasprune.data.readers import list_scenes, read_listed
from nasprune.errors import DataError
from tests.data.scene_files import encode, pixels, png, raises_one_line, scenes, write_folder, write_zip


def read_scenes(path):
    return read_listed(list_scenes(path))


@pytest.mark.parametrize("above", ["", "UCMerced_LandUse/Images/", "2750/", "a/b/c/d/"])
def test_a_zip_and_a_folder_give_the_same_images(tmp_path, above):
    images = scenes()
    folder = write_folder(tmp_path / "set", images, above)
    archive = write_zip(tmp_path / "set.zip", reversed(images), above)
    assert list(read_scenes(folder)) == images
    assert list(read_scenes(archive)) == images


@pytest.mark.parametrize(
    ("suffix", "kind"),
    [
        (".tif", "TIFF"),
        (".tiff", "TIFF"),
        (".png", "PNG"),
        (".JPG", "JPEG"),
        (".jpeg", "JPEG"),
        (".jpe", "JPEG"),
        (".jfif", "JPEG"),
    ],
)
def test_every_image_suffix_is_read(tmp_path, suffix, kind):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / f"1{suffix}").write_bytes(encode(pixels(0), kind))
    assert [image.name for image in read_scenes(tmp_path)] == [f"a/1{suffix}", f"b/1{suffix}"]


def test_names_stay_unique_where_class_folders_repeat(tmp_path):
    for part in ("train", "test"):
        write_folder(tmp_path, scenes(("a", "b"), 1), part)
    read = list(read_scenes(tmp_path))
    assert [image.name for image in read] == [
        "test/a/a00.png",
        "test/b/b00.png",
        "train/a/a00.png",
        "train/b/b00.png",
    ]
    assert [image.label for image in read] == ["a", "b", "a", "b"]


def test_litter_and_other_files_are_passed_over(tmp_path):
    images = scenes(("a", "b"), 2)
    folder = write_folder(tmp_path / "set", images)
    for name in ("readme.txt", "a/Thumbs.db", "a/.hidden.png", ".git/x.png", "__MACOSX/a/._a00.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"litter")
    archive = write_zip(tmp_path / "set.zip", images, "top/")
    with zipfile.ZipFile(archive, "a") as more:
        for name in ("top/readme.txt", "__MACOSX/top/a/._a00.png", "top/a/.DS_Store"):
            more.writestr(name, b"litter")
    assert list(read_scenes(folder)) == list(read_scenes(archive)) == images


def missing(root):
    return root / "nowhere"


def not_a_zip(root):
    (root / "set.rar").write_bytes(b"Rar!")
    return root / "set.rar"


def cut_zip(root):
    path = write_zip(root / "set.zip", scenes())
    path.write_bytes(path.read_bytes()[:-100])
    return path


def no_images(root):
    (root / "set").mkdir()
    (root / "set" / "readme.txt").write_text("nothing here")
    return root / "set"


def one_class(root):
    return write_folder(root / "set", scenes(("beach",)))


def empty_class(root):
    write_folder(root / "set", scenes(("a", "b")))
    (root / "set" / "hollow").mkdir()
    return root / "set"


def class_of_notes(root):
    write_folder(root / "set", scenes(("a", "b")))
    (root / "set" / "hollow").mkdir()
    (root / "set" / "hollow" / "note.txt").write_text("later")
    return root / "set"


def empty_class_in_zip(root):
    path = write_zip(root / "set.zip", scenes(("a", "b")), "top/")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("top/hollow/", b"")
    return path


def outside_a_class(root):
    write_folder(root / "set", scenes(("a", "b")))
    (root / "set" / "stray.png").write_bytes(png(0))
    return root / "set"


def folder_in_a_class(root):
    write_folder(root / "set", scenes(("a", "b")))
    write_folder(root / "set" / "a", scenes(("inner",)))
    return root / "set"


def unread_kind(root):
    write_folder(root / "set", scenes(("a", "b")))
    (root / "set" / "a" / "extra.webp").write_bytes(b"RIFF")
    return root / "set"


def twice_in_zip(root):
    path = root / "set.zip"
    with pytest.warns(UserWarning, match="Duplicate"):
        write_zip(path, [*scenes(("a", "b"), 2), scenes(("a",), 1)[0]])
    return path


def unprintable_name(root):
    write_folder(root / "set", scenes(("a", "b")))
    (root / "set" / "a" / "two\nlines.png").write_bytes(png(0))
    return root / "set"


def link_in_a_ring(root):
    write_folder(root / "set", scenes(("a", "b")))
    (root / "set" / "again").symlink_to(root / "set", target_is_directory=True)
    return root / "set"


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (missing, ["nowhere", "does not exist"]),
        (not_a_zip, ["set.rar", "neither a folder nor a whole zip"]),
        (cut_zip, ["set.zip", "zip"]),
        (no_images, ["set", "no TIFF, PNG or JPEG", "<class>/<image>"]),
        (one_class, ["one class 'beach'", "at least two"]),
        (empty_class, ["'hollow'", "fill or remove"]),
        (class_of_notes, ["'hollow'", "fill or remove"]),
        (empty_class_in_zip, ["'top/hollow'", "fill or remove"]),
        (outside_a_class, ["'stray.png'", "<class>/<image>"]),
        (folder_in_a_class, ["'a/inner'", "class folders that hold images only"]),
        (unread_kind, ["'a/extra.webp'", "convert"]),
        (twice_in_zip, ["'a/a00.png'", "twice"]),
        (unprintable_name, ["two\\nlines.png", "rename"]),
        (link_in_a_ring, ["again", "link"]),
    ],
)
def test_a_data_set_that_cannot_be_used_is_one_clear_line(tmp_path, make, words):
    path = make(tmp_path)
    with raises_one_line(DataError, *words):
        read_scenes(path)


def test_a_damaged_image_in_a_zip_is_named(tmp_path):
    images = scenes(("a", "b"), 2)
    path = write_zip(tmp_path / "set.zip", images)
    path.write_bytes(path.read_bytes().replace(images[3].encoded, bytes(len(images[3].encoded))))
    reading = read_scenes(path)
    assert [next(reading) for _ in range(3)] == images[:3]
    with raises_one_line(DataError, "'b/b01.png'", "fetch"):
        next(reading)


def test_an_image_that_went_away_is_named(tmp_path):
    folder = write_folder(tmp_path, scenes(("a", "b"), 2))
    reading = read_scenes(folder)
    (folder / "a" / "a00.png").unlink()
    with raises_one_line(DataError, "'a/a00.png'"):
        next(reading)


@pytest.mark.parametrize("kind", ["folder", "zip"])
def test_the_fingerprint_follows_place_size_and_time(tmp_path, kind):
    def write(name):
        if kind == "zip":
            return write_zip(tmp_path / f"{name}.zip", scenes())
        return write_folder(tmp_path / name, scenes())

    path = write("one")
    first = list_scenes(path).fingerprint
    assert list_scenes(path).fingerprint == first
    assert list_scenes(write("other")).fingerprint != first
    touched = path if kind == "zip" else path / "beach" / "beach00.png"
    os.utime(touched, ns=(0, 0))
    assert list_scenes(path).fingerprint != first
