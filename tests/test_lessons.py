"""The teacher answers once for a view, and says what it would say each time."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from nasprune.compute import Compute
from nasprune.data import DataSettings, load
from nasprune.data.augment import Augmentation, symmetries, turned
from nasprune.lessons import Lessons

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
def batches(tmp_path_factory):
    data = load(DataSettings(dataset="scenes", image_size=32, scenes_per_class=10), tmp_path_factory.mktemp("data"))
    return data.batches("train", batch_size=16, device=COMPUTE.device, augmentation=Augmentation(), seed=3)


def test_the_teacher_is_asked_once_for_a_view(batches):
    teacher = Counting()
    lessons = Lessons(batches, COMPUTE, teacher)
    first = list(lessons.epoch(0))
    asked = teacher.asked
    assert asked == sum(len(labels) for _, labels, _ in first)
    again = list(lessons.epoch(0))
    assert teacher.asked == asked
    assert all(
        torch.equal(a, b) for one, other in zip(first, again, strict=True) for a, b in zip(one, other, strict=True)
    )
    list(lessons.epoch(1))
    assert teacher.asked == 2 * asked


def test_after_its_views_an_epoch_shows_the_first_again(batches):
    teacher = Counting()
    lessons = Lessons(batches, COMPUTE, teacher, views=2)
    epochs = [list(lessons.epoch(number)) for number in range(4)]
    assert teacher.asked == sum(len(labels) for epoch in epochs[:2] for _, labels, _ in epoch)
    assert not torch.equal(epochs[0][0][0], epochs[1][0][0])
    for early, late in zip(epochs[:2], epochs[2:], strict=True):
        assert all(torch.equal(a[0], b[0]) and torch.equal(a[2], b[2]) for a, b in zip(early, late, strict=True))


def test_views_come_again_turned_with_the_same_answers(batches):
    teacher = Counting()
    ways = symmetries(Augmentation())
    lessons = Lessons(batches, COMPUTE, teacher, views=2, symmetries=ways)
    first = list(lessons.epoch(1))
    asked = teacher.asked
    for again, way in enumerate(ways * 2):
        epoch = list(lessons.epoch(1 + 2 * again))
        for (x, labels, answers), (y, _, said) in zip(first, epoch, strict=True):
            assert torch.equal(turned(x, way), y)
            assert torch.equal(answers, said)
            assert len(labels) == len(y)
    assert teacher.asked == asked


def test_who_begins_with_a_turned_epoch_hears_what_was_said_of_its_first_view(batches):
    teacher, ways = Counting(), symmetries(Augmentation())
    first, later = (Lessons(batches, COMPUTE, teacher, views=2, symmetries=ways) for _ in range(2))
    for (_, _, answers), (_, _, said) in zip(first.epoch(1), later.epoch(5), strict=True):
        assert torch.equal(answers, said)


def test_an_epoch_that_was_left_early_is_answered_in_full(batches):
    lessons = Lessons(batches, COMPUTE, Counting())
    next(iter(lessons.epoch(0)))
    for images, _, answers in lessons.epoch(0):
        teacher = lessons.teacher.eval()
        assert torch.equal(answers, teacher(images).detach())


def test_lessons_show_what_the_batches_show(batches):
    lessons = Lessons(batches, COMPUTE)
    assert len(lessons) == len(batches)
    for (images, labels, answers), (x, y) in zip(lessons.epoch(2), batches.epoch(2), strict=True):
        assert answers is None
        assert torch.equal(images, x)
        assert torch.equal(labels, y)


def test_answers_take_no_part_in_training(batches):
    for images, _, answers in Lessons(batches, COMPUTE, Counting()).epoch(0):
        assert not answers.requires_grad
        assert len(answers) == len(images)
        assert answers.dtype == torch.float32
