"""Where training learns from: labels alone, a teacher asked about each batch, or what it has said of each image."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasprune.compute import Compute
from nasprune.data import DataSettings, load
from nasprune.data.augment import Augmentation
from nasprune.errors import SettingsError
from nasprune.lessons import AnsweredLessons, AskedLessons, Lessons

COMPUTE = Compute(device=torch.device("cpu"), bfloat16=False)


@pytest.fixture(scope="module")
def batches(tmp_path_factory):
    settings = DataSettings(dataset="scenes", image_size=32, scenes_per_class=10)
    data = load(settings, tmp_path_factory.mktemp("data"))
    return data.batches("train", batch_size=20, device=COMPUTE.device, augmentation=Augmentation(), seed=3)


@pytest.fixture
def teacher():
    """With dropout, so that its mode shows."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(3 * 32 * 32, 5)).train()


@pytest.fixture
def answers(batches):
    """Of image i the logits (i, -i)."""
    numbers = torch.arange(batches.images_count, dtype=torch.float32)
    return torch.stack([numbers, -numbers], dim=1)


def test_each_image_is_taught_by_its_own_answer_in_every_epoch(batches, answers):
    assert len(batches.order(0)) < batches.images_count  # an epoch leaves some out
    lessons = AnsweredLessons(batches, answers)
    for number in (0, 7, 7, 3):
        said = torch.cat([said for _, _, said in lessons.epoch(number)])
        assert torch.equal(said[:, 0], batches.order(number).float())
        assert torch.equal(said[:, 1], -said[:, 0])


def test_answers_on_other_images_are_refused(batches, answers):
    with pytest.raises(SettingsError, match=f"answers on {len(answers) - 1} images given.* {len(answers)} training"):
        AnsweredLessons(batches, answers[1:])


def test_a_teacher_is_asked_about_each_batch_as_it_is_served(batches, teacher):
    lessons = AskedLessons(batches, COMPUTE, teacher)
    for images, _, said in (*lessons.epoch(0), *lessons.epoch(0)):
        assert torch.equal(said, teacher.eval()(images).detach())
        assert not said.requires_grad
        assert said.dtype == torch.float32


def test_lessons_show_what_the_batches_show(batches, answers, teacher):
    for lessons in (Lessons(batches), AskedLessons(batches, COMPUTE, teacher), AnsweredLessons(batches, answers)):
        assert len(lessons) == len(batches)
        for (images, labels, said), (x, y) in zip(lessons.epoch(2), batches.epoch(2), strict=True):
            assert torch.equal(images, x)
            assert torch.equal(labels, y)
            assert (said is None) == (type(lessons) is Lessons)
