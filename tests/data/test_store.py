"""The packed data set: what went in comes out, whole or not at all, whoever else is at it."""

import hashlib
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from nasprune.data import mapped
from nasprune.data import store as store_module
from nasprune.data.store import check_contents, is_packed, open_store, pack
from nasprune.errors import DataError
from tests.data.scene_files import raises_one_line, scenes


def files(directory):
    return {path.name for path in directory.iterdir() if path.suffix != ".lock"}


def test_what_is_packed_comes_out(tmp_path):
    images = scenes()
    store = pack("three", images, tmp_path / "packed")
    assert store.dataset == "three"
    assert store.classes == ("beach", "harbor", "river")
    assert store.names == tuple(image.name for image in images)
    assert [store.classes[label] for label in store.labels] == [image.label for image in images]
    assert store.content_hashes == tuple(hashlib.sha256(image.encoded).hexdigest() for image in images)
    assert store.labels.dtype == np.int64
    assert not store.labels.flags.writeable
    again = open_store(tmp_path / "packed")
    assert (again.names, again.data_hash) == (store.names, store.data_hash)
    assert len(store) == len(images)


def test_the_data_hash_follows_names_labels_and_contents(tmp_path):
    images = scenes()
    other = scenes(per_class=11)[10]
    sets = {
        "same": images,
        "name": [replace(images[0], name="beach/aaa.png"), *images[1:]],
        "label": [replace(images[0], label="river"), *images[1:]],
        "content": [replace(images[0], encoded=other.encoded), *images[1:]],
        "fewer": images[1:],
    }
    first = pack("three", images, tmp_path / "first").data_hash
    hashes = {name: pack("three", given, tmp_path / name).data_hash for name, given in sets.items()}
    assert hashes.pop("same") == first
    assert len({first, *hashes.values()}) == 5


def test_a_packed_directory_is_opened_and_the_images_are_not_touched(tmp_path):
    def untouchable():
        raise AssertionError("the images were read again")
        yield

    store = pack("three", scenes(), tmp_path)
    assert pack("three", untouchable(), tmp_path).data_hash == store.data_hash


def broken_in_the_middle():
    images = scenes(per_class=200)
    images[300] = replace(images[300], encoded=images[300].encoded[:40])
    return images


@pytest.mark.parametrize(
    ("images", "words"),
    [
        (broken_in_the_middle(), ["'harbor/harbor100.png'", "cannot be read"]),
        (scenes(("beach",)), ["one class 'beach'", "at least two"]),
        ([], ["no image", "at least two"]),
        ([scenes()[0], *scenes()], ["'beach/beach00.png'", "twice"]),
    ],
)
def test_what_cannot_be_packed_is_one_line_and_leaves_nothing(tmp_path, images, words):
    with raises_one_line(DataError, *words):
        pack("set", images, tmp_path)
    assert not is_packed(tmp_path)
    assert files(tmp_path) == set()


def test_what_is_held_at_once_is_bound_by_bytes(tmp_path, monkeypatch):
    """256 images of 9 MB are more than one column of Arrow's takes, and than many a machine has left."""
    images = scenes()
    plain = pack("three", images, tmp_path / "plain")
    monkeypatch.setattr(store_module, "_PORTION_BYTES", 5 * len(images[0].encoded))
    store = pack("three", images, tmp_path / "packed")
    assert pq.ParquetFile(tmp_path / "packed" / "images.parquet").num_row_groups >= 6
    assert (store.names, store.data_hash) == (plain.names, plain.data_hash)
    check_contents(store.directory, store.data_hash)
    assert torch.equal(store.images(16).gather(np.arange(30)), plain.images(16).gather(np.arange(30)))


def test_pixels_appear_whole_or_not_at_all(tmp_path, monkeypatch):
    store = pack("three", scenes(), tmp_path)
    calls = iter(range(100))

    def fails_late(name, encoded, image_size, bands):
        if next(calls) == 20:
            raise OSError(28, "No space left on device")
        return np.zeros((image_size, image_size, 3), dtype=np.uint8)

    with monkeypatch.context() as patch:
        patch.setattr(mapped, "decode", fails_late)
        with raises_one_line(DataError, "No space left on device", "free some space"):
            store.images(16)
    assert files(tmp_path) == {"images.parquet"}
    assert len(store.images(16)) == 30


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with raises_one_line(DataError, "cannot write in", "storage folder"):
        pack("three", scenes(), tmp_path / "file" / "packed")


def foreign(path):
    pq.write_table(pa.table({"image": [b"a"]}), path)


def other_layout(path):
    columns = {"image": [b"a"], "label": ["a"], "name": ["a"], "content_hash": ["a"]}
    pq.write_table(pa.table(columns), path)


def cut(path):
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("damage", [foreign, other_layout, cut])
def test_a_damaged_store_says_what_to_do(tmp_path, damage):
    pack("three", scenes(), tmp_path)
    damage(tmp_path / "images.parquet")
    with raises_one_line(DataError, "images.parquet", "remove its folder"):
        open_store(tmp_path)


def test_an_empty_directory_is_no_store(tmp_path):
    with raises_one_line(DataError, str(tmp_path), "pack it first"):
        open_store(tmp_path)


def test_damaged_pixels_say_what_to_do(tmp_path):
    store = pack("three", scenes(), tmp_path)
    store.images(16)
    (pixels,) = tmp_path.glob("pixels-16-*.arrow")
    cut(pixels)
    with raises_one_line(DataError, pixels.name, "remove it"):
        store.images(16)


PACKERS = """
    import os, resource, sys, time
    from pathlib import Path
    import pyarrow
    from nasprune.data.store import pack
    from nasprune.errors import DataError
    from tests.data.scene_files import scenes

    def run(name, home):
        def given():
            with (home / "readers").open("a") as log:
                log.write(f"{name}\\n")
            for number, image in enumerate(scenes(per_class=120)):
                if name == "killed" and number == 300:
                    os._exit(9)
                yield image

        if name == "full":
            resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, 30_000))
        while name in ("first", "second") and time.time() < start:
            pass
        try:
            store = pack("three", given(), home / "packed")
            (home / f"{name}.out").write_text(f"{store.data_hash} {len(store.images(16))}")
        except DataError as error:
            (home / f"{name}.out").write_text(str(error))
            os._exit(2)
        os._exit(0)

    root, start, codes = Path(sys.argv[1]), time.time() + 0.2, {}
    # Forked before any thread is there, so that the slow imports are paid once, pyarrow's late ones too.
    pyarrow.array([0])
    for name, home in (("first", "race"), ("second", "race"), ("killed", "killed"), ("full", "full")):
        (root / home).mkdir(exist_ok=True)
        child = os.fork()
        if not child:
            run(name, root / home)
        codes[name] = child
    for name, child in codes.items():
        print(name, os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.fixture(scope="module")
def packers(tmp_path_factory):
    """Real processes: two that race, one that is killed, one on a full disk; with their exit codes."""
    root = tmp_path_factory.mktemp("packers")
    command = [sys.executable, "-c", textwrap.dedent(PACKERS), str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return root, {name: int(code) for name, code in (line.split() for line in done.stdout.splitlines())}


def test_of_two_packers_at_once_one_works_and_both_have_it(packers):
    root, codes = packers
    assert (codes["first"], codes["second"]) == (0, 0)
    said = [(root / "race" / f"{name}.out").read_text() for name in ("first", "second")]
    assert said[0] == said[1]
    assert said[0].split()[1] == "360"
    assert len((root / "race" / "readers").read_text().splitlines()) == 1
    assert len(files(root / "race" / "packed")) == 2


def test_a_killed_packer_leaves_nothing_that_is_taken_for_whole(packers):
    root, codes = packers
    home = root / "killed" / "packed"
    assert codes["killed"] == 9
    assert not is_packed(home)
    (leftover,) = files(home)
    assert leftover.endswith(".unfinished")
    assert len(pack("three", scenes(), home)) == 30
    assert files(home) == {"images.parquet"}


def test_a_full_disk_is_one_line_and_leaves_nothing(packers):
    root, codes = packers
    said = (root / "full" / "full.out").read_text()
    assert codes["full"] == 2
    assert "\n" not in said
    assert "cannot write" in said
    assert "free some space" in said
    assert files(root / "full" / "packed") == set()
