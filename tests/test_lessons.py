"""A teacher of known images answers once, with the mean over their views; of others each time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasprune.compute import Compute
from nasprune.data import DataSettings, load
from nasprune.data.augment import Augmentation
from nasprune.lessons import AnsweredOnce, Lessons

COMPUTE = Compute(device=torch.device("cpu"), bfloat16=False)


class Counting(nn.Module):
    """A teacher that counts how many images it is shown; with dropout, so that its mode shows."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(3 * 32 * 32, 5)
        self.dropout = nn.Dropout(0.5)
        self.asked = 0

    def forward(self, images):
        self.asked += len(images)
        return self.line(self.dropout(images.flatten(1)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return load(DataSettings(dataset="scenes", image_size=32, scenes_per_class=10), tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def batches(data):
    return data.batches("train", batch_size=16, device=COMPUTE.device, augmentation=Augmentation(), seed=3)


@pytest.fixture
def teacher():
    torch.manual_seed(0)
    return Counting()


def test_the_teacher_is_asked_once_for_a_view_however_many_epochs_there_are(batches, teacher):
    lessons = AnsweredOnce(batches, COMPUTE, teacher, views=3)
    assert teacher.asked == 0
    for number in (0, 7, 7):
        list(lessons.epoch(number))
        assert teacher.asked == sum(len(batches.order(view)) for view in range(3))


def test_an_answer_is_the_mean_over_the_views_of_its_image(batches, teacher):
    answers = {image: [] for image in range(batches.images_count)}
    for view in range(3):
        said = torch.cat([said for _, _, said in Lessons(batches, COMPUTE, teacher).epoch(view)])
        for image, answer in zip(batches.order(view).tolist(), said, strict=True):
            answers[image].append(answer)
    heard = torch.cat([said for _, _, said in AnsweredOnce(batches, COMPUTE, teacher, views=3).epoch(9)])
    wanted = torch.stack([torch.stack(answers[image]).mean(0) for image in batches.order(9).tolist()])
    torch.testing.assert_close(heard, wanted)


def test_an_image_that_its_views_left_out_is_asked_about_later(data, teacher):
    batches = data.batches("train", batch_size=20, device=COMPUTE.device, augmentation=Augmentation(), seed=3)
    assert (len(batches.order(0)), batches.images_count) == (80, 84)
    lessons = AnsweredOnce(batches, COMPUTE, teacher, views=1)
    for number in range(5):
        assert all(bool(said.isfinite().all()) for _, _, said in lessons.epoch(number))
    assert teacher.asked in (160, 240, 320)


def test_whoever_begins_late_hears_what_others_heard(batches, teacher):
    first, later = (AnsweredOnce(batches, COMPUTE, teacher, views=2) for _ in range(2))
    list(first.epoch(0))
    next(iter(first.epoch(1)))
    for (x, _, answers), (y, _, said) in zip(first.epoch(5), later.epoch(5), strict=True):
        assert torch.equal(x, y)
        assert torch.equal(answers, said)


def test_a_teacher_of_unknown_batches_is_asked_about_each_as_it_is_served(batches, teacher):
    lessons = Lessons(batches, COMPUTE, teacher)
    for _ in range(2):
        for images, _, answers in lessons.epoch(0):
            assert torch.equal(answers, teacher.eval()(images).detach())


def test_lessons_show_what_the_batches_show(batches):
    lessons = Lessons(batches, COMPUTE)
    assert len(lessons) == len(batches)
    for (images, labels, answers), (x, y) in zip(lessons.epoch(2), batches.epoch(2), strict=True):
        assert answers is None
        assert torch.equal(images, x)
        assert torch.equal(labels, y)


def test_answers_take_no_part_in_training(batches, teacher):
    for lessons in (Lessons(batches, COMPUTE, teacher), AnsweredOnce(batches, COMPUTE, teacher, views=2)):
        for images, _, answers in lessons.epoch(0):
            assert not answers.requires_grad
            assert len(answers) == len(images)
            assert answers.dtype == torch.float32
