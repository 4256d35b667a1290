"""A study's folder has one process at a time, one name in MLflow for life, and the images it began with."""

from __future__ import annotations

import pytest

from nasprune.errors import SettingsError
from sweep.settings import StudySettings
from sweep.storage.folder import check_same_images, claimed, tracked_name

IMAGES, OTHERS = "a" * 64, "b" * 64


@pytest.fixture
def settings(tmp_path) -> StudySettings:
    return StudySettings(storage=str(tmp_path), study="s")


def test_two_processes_never_hold_one_study(settings):
    with (
        claimed(settings, IMAGES, print),
        pytest.raises(SettingsError, match="study 's' is being run by another process"),
        claimed(settings, IMAGES, print),
    ):
        pytest.fail("two hold one study")
    with claimed(settings, IMAGES, print):
        pass


def test_a_study_is_tracked_under_one_name_for_life(settings):
    names = []
    for _ in range(2):
        with claimed(settings, IMAGES, print):
            names.append(tracked_name(settings.directory))
    assert names[0] == names[1]
    assert names[0].startswith("s-")


def test_a_study_goes_on_with_the_images_it_was_started_on_only(settings):
    with claimed(settings, IMAGES, print):
        pass
    check_same_images(settings, IMAGES)
    with pytest.raises(SettingsError, match="was started on images with hash aaaaaaaaaaaa"):
        check_same_images(settings, OTHERS)
