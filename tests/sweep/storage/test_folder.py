"""A study's folder has one process at a time, one name for life, and the images and dense network it began with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from nasprune.errors import SettingsError
from sweep.settings import StudySettings
from sweep.storage.bucket import MIRRORS
from sweep.storage.folder import check_same_start, check_same_study, check_storage, claimed, tracked_name

IMAGES, OTHERS, DENSE = "a" * 64, "b" * 64, "d" * 16


@pytest.fixture
def settings(tmp_path) -> StudySettings:
    return StudySettings(storage=str(tmp_path), study="s")


@pytest.mark.parametrize("kind", ["folder", "link", "mirror"])
def test_nothing_is_made_among_the_images(tmp_path, monkeypatch, kind):
    """A folder there would be one of the images from then on."""
    (images := tmp_path / "images").mkdir()
    (link := tmp_path / "link").symlink_to(images)
    monkeypatch.setenv(MIRRORS, str(images))
    storage = {"folder": images / "runs", "link": link / "runs", "mirror": (tmp_path / "bucket").as_uri()}[kind]
    settings = StudySettings(dataset="folder", data=images, storage=str(storage), study="s")
    with pytest.raises(SettingsError, match=r"which lies in the folder of the images, .* expected one outside of it"):
        check_storage(settings)
    assert not list(images.iterdir())
    for other in (tmp_path / "images-runs", images / ".runs"):  # the latter is passed over where images are read
        check_storage(replace(settings, storage=str(other)))


def test_two_processes_never_hold_one_study(settings):
    with (
        claimed(settings, IMAGES, DENSE, print),
        pytest.raises(SettingsError, match="study 's' is being run by another process"),
        claimed(settings, IMAGES, DENSE, print),
    ):
        pytest.fail("two hold one study")
    with claimed(settings, IMAGES, DENSE, print):
        pass


def test_a_study_is_tracked_under_one_name_for_life(settings):
    names = []
    for _ in range(2):
        with claimed(settings, IMAGES, DENSE, print):
            names.append(tracked_name(settings.directory))
    assert names[0] == names[1]
    assert names[0].startswith("s-")


@pytest.mark.parametrize("kind", ["folder", "bucket"])
@pytest.mark.parametrize("other", ["settings", "images", "dense network"])
def test_of_two_studies_that_begin_under_one_name_the_first_stays_as_it_was(tmp_path, monkeypatch, kind, other):
    """Both were checked while there was none, and the second gets the folder once the first is over."""
    monkeypatch.setenv(MIRRORS, str(tmp_path / "mirrors"))
    storage = tmp_path / "storage"
    first = StudySettings(storage=storage.as_uri() if kind == "bucket" else str(storage), study="s")
    second = replace(first, seed=1) if other == "settings" else first
    images, dense = OTHERS if other == "images" else IMAGES, "e" * 16 if other == "dense network" else DENSE
    check_storage(second)
    with claimed(first, IMAGES, DENSE, print):
        pass
    kept = (storage / "s" / "settings.json").read_bytes()
    with pytest.raises(SettingsError, match="study 's' was started"), claimed(second, images, dense, print):
        pytest.fail("two studies have one name")
    assert (storage / "s" / "settings.json").read_bytes() == kept
    with claimed(first, IMAGES, DENSE, print):
        pass


def test_a_study_goes_on_with_the_images_it_was_started_on_only(settings):
    with claimed(settings, IMAGES, DENSE, print):
        pass
    check_same_start(settings, IMAGES, DENSE)
    with pytest.raises(SettingsError, match="was started on images with hash aaaaaaaaaaaa"):
        check_same_start(settings, OTHERS, DENSE)


def test_a_study_goes_on_from_the_dense_network_it_was_started_from_only(settings):
    """A file of initial weights may have been written over; a new dense network would stand beside old points."""
    with claimed(settings, IMAGES, DENSE, print):
        pass
    check_same_start(settings, IMAGES, DENSE)
    with pytest.raises(SettingsError, match="was started from another dense network than the one asked for now"):
        check_same_start(settings, IMAGES, "e" * 16)


def test_only_what_changes_results_must_stay_in_a_resumed_study():
    kept = StudySettings().as_json()
    check_same_study(StudySettings(trials=9, storage="elsewhere", cpus_per_trial=2, device="cpu"), kept)
    images = {"dataset": "ucm", "data": Path("/moved/UCMerced.zip")}  # which are told by their content
    check_same_study(StudySettings(**images), StudySettings(dataset="ucm", data=Path("/UCMerced.zip")).as_json())
    moved = StudySettings(dataset="folder", data=Path("/moved/quarry.zip"), study="s")
    check_same_study(moved, replace(moved, data=Path("/quarry.zip")).as_json())
    with pytest.raises(
        SettingsError, match=r"was started on data /mine\.zip, filed under 'mine', now /moved/quarry\.zip"
    ):
        check_same_study(moved, replace(moved, data=Path("/mine.zip")).as_json())
    for change in ({"seed": 1}, {"budgets": (0.3,)}, {"network": "resnet18", "study": "scenes-resnet10"}):
        with pytest.raises(SettingsError, match="was started with"):
            check_same_study(StudySettings(**change), kept)
