"""The dense network is asked about each training image once, and what it says is kept."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import nn

from nasprune.answers import answers_name, mean_answers, obtain_answers
from nasprune.artifact import Artifact
from nasprune.compute import Compute
from nasprune.data import DataSettings, load
from nasprune.data.augment import Augmentation
from nasprune.descent import DescentSettings
from nasprune.errors import ArtifactError, DataError
from nasprune.search import SearchSettings
from nasprune.session import Session

COMPUTE = Compute(device=torch.device("cpu"), bfloat16=False)
SETTINGS = DescentSettings(views=3, batch_size=20)


class Counting(nn.Module):
    """A dense network that counts the images it is shown; with dropout, so that its mode shows."""

    asked = 0

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.line = nn.Linear(3 * 32 * 32, classes)
        self.dropout = nn.Dropout(0.5)

    def forward(self, images):
        Counting.asked += len(images)
        return self.line(self.dropout(images.flatten(1)))


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    settings = DataSettings(dataset="scenes", image_size=32, scenes_per_class=10)
    return load(settings, tmp_path_factory.mktemp("data"))


@pytest.fixture
def dense(tmp_path, data):
    torch.manual_seed(0)
    Counting.asked = 0
    return Artifact(network=Counting(len(data.classes)), record={"settings": {"seed": 3}}, directory=tmp_path / "key")


def obtained(folder, dense, data, settings=SETTINGS, **more):
    return obtain_answers(folder, dense, data, settings, COMPUTE, **more)


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path, dense, data):
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=f"^cannot write in {tmp_path / 'file'}"):
        obtained(tmp_path / "file", dense, data)


def test_an_answer_is_the_mean_of_what_is_said_of_the_images_views(tmp_path, dense, data):
    batches = data.batches(
        "train", batch_size=20, device=COMPUTE.device, augmentation=Augmentation(), seed=3, drop_last=False
    )
    heard = obtained(tmp_path, dense, data)
    said = {image: [] for image in range(batches.images_count)}
    for view in range(3):
        images = torch.cat([images for images, _ in batches.epoch(view)])
        for image, answer in zip(batches.order(view).tolist(), dense.network.eval()(images).detach(), strict=True):
            said[image].append(answer)
    wanted = torch.stack([torch.stack(said[image]).mean(0) for image in range(batches.images_count)])
    torch.testing.assert_close(heard, wanted)
    assert heard.dtype == torch.float32


def test_every_image_is_asked_about_even_where_training_leaves_out_a_short_last_batch(tmp_path, dense, data):
    count = len(data.split.train)
    assert 0 < count % 20 < 10
    assert len(obtained(tmp_path, dense, data, dataclasses.replace(SETTINGS, views=1))) == count == Counting.asked


def test_what_was_said_is_asked_no_more(tmp_path, dense, data):
    first = obtained(tmp_path, dense, data)
    asked = Counting.asked
    searches = dataclasses.replace(SETTINGS, search=SearchSettings(epochs=7), growth=0.1)
    for settings in (SETTINGS, searches):
        assert torch.equal(obtained(tmp_path, dense, data, settings), first)
    assert Counting.asked == asked


def test_whoever_was_stopped_goes_on_with_the_next_view(tmp_path, dense, data):
    class StoppedError(Exception):
        pass

    def stop(progress):
        if progress.epoch == 2:
            raise StoppedError

    undisturbed, Counting.asked = obtained(tmp_path / "undisturbed", dense, data), 0
    with pytest.raises(StoppedError):
        obtained(tmp_path, dense, data, report=stop, kept=(kept := []).append)
    assert kept
    assert not (tmp_path / answers_name("key", SETTINGS)).exists()
    told = []
    resumed = obtained(tmp_path, dense, data, report=lambda p: told.append((p.phase, p.epoch, p.epochs)))
    # The first view was kept, the second too soon after it.
    assert told == [("ask", 1, 3), ("ask", 2, 3), ("ask", 3, 3)]
    assert Counting.asked == 4 * len(data.split.train)
    assert torch.equal(resumed, undisturbed)
    assert sorted(path.suffix for path in tmp_path.glob("*.*")) == [".lock", ".safetensors"]


@pytest.mark.parametrize(
    "other",
    [
        {"views": 4}, {"batch_size": 21}, {"augmentation": Augmentation(flips=False)},
    ],
)  # fmt: skip
def test_other_views_have_other_answers(other):
    assert answers_name("key", dataclasses.replace(SETTINGS, **other)) != answers_name("key", SETTINGS)
    assert answers_name("other", SETTINGS) != answers_name("key", SETTINGS)


def test_damaged_answers_are_one_clear_error_whose_advice_helps(tmp_path, dense, data):
    answers = tmp_path / answers_name("key", SETTINGS)
    first = obtained(tmp_path, dense, data)
    answers.write_bytes(answers.read_bytes()[:20])
    with pytest.raises(ArtifactError, match=r"answers in .* are missing or damaged.*delete that file"):
        obtained(tmp_path, dense, data)
    answers.unlink()
    assert torch.equal(obtained(tmp_path, dense, data), first)


def test_asking_changes_nothing_about_the_dense_network(tmp_path, dense, data):
    before = {name: value.clone() for name, value in dense.network.state_dict().items()}
    obtained(tmp_path, dense, data)
    assert dense.network.training
    assert all(torch.equal(before[name], value) for name, value in dense.network.state_dict().items())


def test_answers_cost_no_graph(dense, data):
    batches = data.batches("train", batch_size=20, device=COMPUTE.device)
    answers = mean_answers(dense.network, batches, COMPUTE, classes=len(data.classes), views=2, session=Session())
    assert not answers.requires_grad
