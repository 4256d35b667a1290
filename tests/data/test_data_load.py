"""From settings to batches, on tiny sets, on generated scenes and on real images."""

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from huggingface_hub import constants

from nasprune.artifact import data_record, load_data
from nasprune.catalog import CATALOG
from nasprune.data import DataSettings, load, loading, store
from nasprune.data.augment import Augmentation
from nasprune.data.splits import PARTS, stratified_split
from nasprune.errors import DataError, SettingsError
from tests.data.scene_files import raises_one_line, scenes, write_folder, write_zip

CPU = torch.device("cpu")
UCM = CATALOG["ucm"].classes


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dataset": "mars"}, ["'mars'", "scenes, folder, aid, eurosat, eurosat-ms, nwpu, ucm"]),
        ({"dataset": "folder"}, ["'folder'", "--data"]),
        ({"data": "x"}, ["'scenes' is generated", "--dataset folder"]),
        ({"image_size": 15}, ["15", "16 to 1024"]),
        ({"image_size": 1025}, ["1025", "16 to 1024"]),
        ({"fractions": (0.5, 0.5, 0.5)}, ["0.5, 0.5, 0.5", "sum 1"]),
        ({"split": "random"}, ["'random'", "stratified or published"]),
        ({"split": "published"}, ["'scenes'", "no published split"]),
        ({"dataset": "ucm", "split": "published", "fractions": (0.6, 0.2, 0.2)}, ["do not apply"]),
        ({"seed": -1}, ["-1", "0 or more"]),
        ({"scenes_per_class": 2}, ["2", "at least 3"]),
        ({"dataset": "ucm", "scenes_per_class": 50}, ["'ucm'", "leave them out"]),
    ],
)
def test_settings_that_cannot_be_honoured_are_refused(given, words):
    with raises_one_line(SettingsError, *words):
        DataSettings(**given)


def test_a_folder_is_packed_once_and_split_anew_by_the_seed(tmp_path):
    folder = write_folder(tmp_path / "set", scenes(per_class=20))
    settings = DataSettings(dataset="folder", data=folder, image_size=16)
    first = load(settings, tmp_path / "packed")
    packed = first.store.directory / "images.parquet"
    before = packed.stat().st_mtime_ns
    again = load(settings, tmp_path / "packed")
    other = load(replace(settings, seed=1), tmp_path / "packed")
    assert packed.stat().st_mtime_ns == before
    assert first.classes == ("beach", "harbor", "river")
    assert np.array_equal(first.split.test, again.split.test)
    assert first.statistics == again.statistics
    assert not np.array_equal(first.split.test, other.split.test)
    assert len(list((tmp_path / "packed").iterdir())) == 1


def test_where_all_is_packed_nothing_is_written(tmp_path, monkeypatch):
    """Not even a lock: a set that others packed may well be on a disk that one may only read."""
    folder = write_folder(tmp_path / "set", scenes(per_class=20))
    settings = DataSettings(dataset="folder", data=folder, image_size=16)
    first = load(settings, tmp_path / "packed")

    def refused(path):
        raise DataError(f"cannot write in {path.parent}")

    monkeypatch.setattr(loading, "locked", refused)
    monkeypatch.setattr(store, "locked", refused)
    assert load(settings, tmp_path / "packed").statistics == first.statistics


def test_what_an_earlier_version_packed_is_packed_anew(tmp_path, monkeypatch):
    """Its images were checked and read in another way. Points that were measured on them find the new ones."""
    folder = write_folder(tmp_path / "set", scenes(per_class=20))
    settings = DataSettings(dataset="folder", data=folder, image_size=16)
    with monkeypatch.context() as patch:
        patch.setattr(store, "_LAYOUT", "1")
        early = load(settings, tmp_path / "packed").store
    late = load(settings, tmp_path / "packed").store
    assert late.data_hash == early.data_hash
    assert late.directory != early.directory
    origin = {"packed": early.directory.name, "data_hash": early.data_hash}
    of_point = {"point": "p", "data": data_record(settings), "provenance": origin}
    assert load_data(of_point, tmp_path / "packed").store.directory == late.directory


def test_changed_data_is_packed_anew(tmp_path):
    settings = DataSettings(dataset="folder", data=tmp_path / "set", image_size=16)
    write_folder(tmp_path / "set", scenes(per_class=20))
    first = load(settings, tmp_path / "packed")
    write_folder(tmp_path / "set", scenes(per_class=21))
    second = load(settings, tmp_path / "packed")
    assert (len(first.store), len(second.store)) == (60, 63)
    assert first.store.data_hash != second.store.data_hash


def test_the_statistics_are_those_of_the_training_part(tmp_path):
    folder = write_folder(tmp_path / "set", scenes(per_class=20))
    data = load(DataSettings(dataset="folder", data=folder, image_size=16), tmp_path / "packed")
    x = torch.cat([x for x, _ in data.batches("train", batch_size=16, device=CPU).epoch(0)])
    torch.testing.assert_close(x.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
    torch.testing.assert_close(x.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5, rtol=0)


def test_a_named_set_is_checked_and_may_be_a_sample(tmp_path):
    sample = write_zip(tmp_path / "sample.zip", scenes(UCM[:2], 5), "UCMerced_LandUse/Images/")
    data = load(DataSettings(dataset="ucm", data=sample, image_size=16), tmp_path / "packed")
    assert data.classes == UCM[:2]
    foreign = write_zip(tmp_path / "foreign.zip", scenes((UCM[0], "moon")))
    with raises_one_line(DataError, "UC Merced", "'moon'"):
        load(DataSettings(dataset="ucm", data=foreign, image_size=16), tmp_path / "packed")


def test_a_class_with_too_few_images_is_named(tmp_path):
    images = [image for image in scenes(("a", "b"), 5) if image.name not in {"b/b02.png", "b/b03.png", "b/b04.png"}]
    folder = write_folder(tmp_path / "set", images)
    with raises_one_line(DataError, "'b'", "2 images"):
        load(DataSettings(dataset="folder", data=folder, image_size=16), tmp_path / "packed")


def test_a_published_split_is_taken_from_lists_beside_the_data(tmp_path):
    images = scenes(UCM, 4)
    archive = write_zip(tmp_path / "set.zip", images)
    for part, numbers in (("train", "01"), ("val", "2"), ("test", "3")):
        names = [f"{label}0{number}.tif\n" for label in UCM for number in numbers]
        (tmp_path / f"uc_merced-{part}.txt").write_text("".join(names))
    settings = DataSettings(dataset="ucm", data=archive, image_size=16, split="published")
    split = load(settings, tmp_path / "packed").split
    assert [len(split.of(part)) for part in PARTS] == [42, 21, 21]
    assert {images[index].name[-6:-4] for index in split.test} == {"03"}


def test_a_fetched_set_is_packed_and_no_longer_needs_its_archive(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    (tmp_path / "downloads").mkdir()
    archive = write_zip(tmp_path / "downloads" / "UCMerced_LandUse.zip", scenes(UCM, 3), "UCMerced_LandUse/Images/")
    settings = DataSettings(dataset="ucm", image_size=16)
    assert len(load(settings, tmp_path).store) == 63
    archive.unlink()
    assert len(load(settings, tmp_path).store) == 63
    with raises_one_line(DataError, "EuroSAT", "HF_HUB_OFFLINE", "--data"):
        load(DataSettings(dataset="eurosat"), tmp_path)


def test_generated_scenes_need_nothing(tmp_path):
    settings = DataSettings(image_size=16, scenes_per_class=3)
    data = load(settings, tmp_path)
    assert len(data.store) == 3 * len(data.classes)
    assert load(replace(settings, seed=5), tmp_path).store.data_hash == data.store.data_hash
    assert load(replace(settings, scenes_per_class=4), tmp_path).store.data_hash != data.store.data_hash


def test_scenes_are_packed_anew_when_they_are_drawn_anew(tmp_path, monkeypatch):
    settings = DataSettings(image_size=16, scenes_per_class=3)
    before = load(settings, tmp_path).store.directory
    drawn = loading.scenes.generate
    monkeypatch.setattr(loading.scenes, "generate", lambda **given: drawn(**{**given, "seed": given["seed"] + 1}))
    assert load(settings, tmp_path).store.directory != before


@pytest.fixture(scope="module")
def packed(tmp_path_factory):
    return tmp_path_factory.mktemp("real")


@pytest.mark.parametrize(
    ("name", "file", "sizes", "copies"),
    [
        (
            "ucm",
            "UCMerced_LandUse.zip",
            (1470, 210, 420),
            ("airplane/airplane01.jpg", "airplane/airplane02.jpg"),
        ),
        (
            "aid",
            "AID.zip",
            (7000, 1000, 2000),
            ("Industrial/industrial_203.jpg", "Industrial/industrial_205.jpg"),
        ),
        ("nwpu", "NWPU-RESISC45-part.zip", (84, 12, 24), None),
    ],
)
def test_real_sets(real_data, packed, name, file, sizes, copies):
    data = load(DataSettings(dataset=name, data=real_data / file, image_size=32), packed)
    store = data.store
    assert data.classes == tuple(c for c in CATALOG[name].classes if c in data.classes)
    for seed in range(5):
        split = stratified_split(store.labels, store.content_hashes, store.classes, seed=seed)
        # A pair of copies moves together, so a part may be one image larger or smaller than its share.
        assert [len(split.of(part)) for part in PARTS] == pytest.approx(sizes, abs=1)
        if copies:
            one, other = (store.names.index(copy) for copy in copies)
            assert store.content_hashes[one] == store.content_hashes[other]
            assert sum(np.isin([one, other], split.of(part)).all() for part in PARTS) == 1
    batches = data.batches("train", batch_size=64, device=CPU, augmentation=Augmentation())
    for x, y in itertools.islice(batches.epoch(0), 2):
        assert x.shape[1:] == (3, 32, 32)
        assert x.isfinite().all()
        assert set(y.tolist()) <= set(range(len(data.classes)))


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("my tiles", "my-tiles"),
        ("tiles v1.2", "tiles-v1.2"),  # not as tiles v1.3
        ("tiles v1.2.zip", "tiles-v1.2"),
        ("scenes", "scenes-folder"),
        ("ucm", "ucm-folder"),
    ],
)
def test_a_folder_of_any_images_is_never_taken_for_a_data_set_that_is_known(tmp_path, given, name):
    assert DataSettings(dataset="folder", data=tmp_path / given).name == name


def test_the_working_directory_is_called_by_its_name(tmp_path, monkeypatch):
    (tmp_path / "tiles" / "field").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "tiles" / "field")
    assert DataSettings(dataset="folder", data=Path("..")).name == "tiles"
