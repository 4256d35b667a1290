"""Laws 4 to 6 on the whole way from scenes to a stored point, small enough for seconds."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from nasprune.answers import obtain_answers
from nasprune.artifact import data_record, load_data, read_artifact, write_artifact
from nasprune.compute import choose_compute
from nasprune.data import DataSettings, load
from nasprune.dense import DenseSettings, dense_key, obtain_dense
from nasprune.descent import DescentSettings
from nasprune.errors import ArtifactError, NetworkError, SettingsError
from nasprune.networks import NetworkSettings
from nasprune.progress import Progress
from nasprune.provenance import provenance
from nasprune.record import OF_DENSE
from nasprune.scene_descent import descent_from
from nasprune.search import SearchSettings
from nasprune.session import Session
from nasprune.training import TrainingSettings, evaluate
from nasprune.verify import verify

COMPUTE = choose_compute("cpu")
SETTINGS = DescentSettings(
    search=SearchSettings(epochs=2), tuning=TrainingSettings(epochs=2, learning_rate=0.03), growth=0.0, batch_size=16
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("pruning")


@pytest.fixture(scope="module")
def data(folder):
    return load(DataSettings(dataset="scenes", image_size=32, scenes_per_class=12), folder / "data")


@pytest.fixture(scope="module")
def dense(folder, data):
    network = NetworkSettings(network="resnet10", classes=len(data.classes), image_size=32)
    settings = DenseSettings(network=network, training=TrainingSettings(epochs=3), batch_size=16)
    return obtain_dense(folder / "dense", settings, data, COMPUTE)


def run(dense, data, session=None, settings=SETTINGS):
    """The search for one budget."""
    (pruned,) = descent(dense, data, [0.3], session, settings)
    return pruned


def way_down(dense, data, settings=SETTINGS):
    """With the dense network's answers kept beside it."""
    answers = obtain_answers(dense.directory.parent.parent / "answers", dense, data, settings, COMPUTE)
    return descent_from(dense, data, settings, COMPUTE, answers=answers, seed=5)


def descent(dense, data, budgets, session=None, settings=SETTINGS, **more):
    return way_down(dense, data, settings).through(budgets, lambda budget: session or Session(), **more)


@pytest.fixture(scope="module")
def pruned(dense, data):
    return run(dense, data)


def same(one, other, *, but=("network", "seconds")):
    fields = {f.name for f in dataclasses.fields(one)} - set(but)
    return all(getattr(one, name) == getattr(other, name) for name in fields) and all(
        torch.equal(a, b)
        for a, b in zip(one.network.state_dict().values(), other.network.state_dict().values(), strict=True)
    )


def test_same_seed_same_widths_and_metrics(dense, data, pruned):
    assert same(pruned, run(dense, data))


@pytest.mark.parametrize("phase", ["search", "tune"])
def test_stopped_run_goes_on_to_the_same_result(dense, data, pruned, tmp_path, phase):
    class StoppedError(Exception):
        pass

    def stop(progress: Progress) -> None:
        if progress.phase == phase and progress.epoch == 1:
            raise StoppedError

    with pytest.raises(StoppedError):
        run(dense, data, Session(tmp_path, stop, seconds_between=0))
    epochs = []
    resumed = run(dense, data, Session(tmp_path, lambda p: epochs.append((p.phase, p.epoch)), seconds_between=0))
    expected = [("search", 1), ("search", 2), ("tune", 1), ("tune", 2)]
    told_again = {"search": [("search", 1)], "tune": [("search", 2), ("tune", 1)]}[phase]  # the last of each phase
    assert epochs == told_again + expected[expected.index((phase, 1)) + 1 :]  # nothing is done twice
    assert same(pruned, resumed)


BUDGETS = (0.5, 0.2, 0.08)


@pytest.fixture(scope="module")
def descended(dense, data):
    return list(descent(dense, data, BUDGETS))


def test_a_descent_visits_falling_budgets_each_within_the_one_before(dense, descended):
    before = dense.record["widths"]
    for budget, point in zip(BUDGETS, descended, strict=True):
        assert point.budget == budget
        assert 0.8 * budget < point.macs_ratio <= budget
        assert point.macs == round(point.macs_ratio * dense.record["macs"])
        assert set(point.widths) == set(before)
        assert all(point.widths[name] <= before[name] for name in before)
        before = point.widths


def test_where_it_comes_from_is_asked_before_the_work(data, tmp_path, monkeypatch):
    told = []
    monkeypatch.setattr("nasprune.dense.provenance", lambda *_, **known: told.append("asked") or known)
    network = NetworkSettings(network="resnet10", classes=len(data.classes), image_size=32)
    settings = DenseSettings(network=network, training=TrainingSettings(epochs=1), batch_size=16)
    obtain_dense(tmp_path, settings, data, COMPUTE, lambda _: told.append("trained"))
    assert told == ["asked", "trained"]


def test_the_dense_network_knows_how_many_images_its_validation_had(dense, data):
    assert dense.record["val_images"] == len(data.split.validation) != len(data.split.test)


def test_smaller_networks_are_trained_longer(dense, data):
    settings = dataclasses.replace(SETTINGS, growth=0.5, views=3)
    assert [settings.epochs(budget) for budget in (1.0, 0.25, 0.04)] == [(2, 2), (6, 4), (22, 10)]
    told = []
    list(descent(dense, data, (0.25, 0.1), Session(None, told.append), settings))
    counted = [sum(progress.phase == phase for progress in told) for phase in ("search", "tune")]
    assert counted == [6 + 11, 4 + 6]


def test_lessons_of_a_descent_are_the_dense_networks_answers(dense, data):
    down = way_down(dense, data)
    said = torch.cat([said for _, _, said in down.lessons.epoch(4)])
    with torch.no_grad():
        views = [dense.network.eval()(images) for images, _ in down.lessons.batches.epoch(4)]
    away = (said - torch.cat(views)).norm() / said.norm()
    assert 0.01 < away < 0.7  # what is said of a view is near its mean over views, but another


def test_a_search_grows_faster_than_tuning_but_no_faster_than_networks_shrink():
    settings = dataclasses.replace(SETTINGS, growth=0.9)
    assert settings.epochs(0.04) == (2 * 25, round(2 * 25**0.9))


def test_no_search_epochs_stay_none():
    assert dataclasses.replace(SETTINGS, growth=1.0, search=SearchSettings(epochs=0)).epochs(0.1) == (0, 20)


@pytest.mark.parametrize("wrong", [{"growth": -0.1}, {"growth": 1.5}, {"growth": float("nan")}, {"views": 0}])
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises(SettingsError, match=next(iter(wrong))):
        dataclasses.replace(SETTINGS, **wrong)


def test_the_first_budget_of_a_descent_is_the_search_for_it_alone(dense, data, descended):
    (alone,) = descent(dense, data, BUDGETS[:1])
    assert same(alone, descended[0])


def test_a_descent_goes_on_from_its_last_point_as_if_never_stopped(dense, data, descended, tmp_path):
    record = {
        **{key: dense.record[key] for key in (*OF_DENSE, "data", "provenance")},
        "point": "p",
        **descended[0].measures(data.classes),
    }
    write_artifact(tmp_path / "p", descended[0].network, record)
    last = read_artifact(tmp_path / "p")
    rest = list(descent(dense, data, BUDGETS[1:], reached=(last.network, last.record["widths"])))
    assert all(same(*pair) for pair in zip(rest, descended[1:], strict=True))


def test_a_point_stays_as_it_is_while_the_descent_goes_on(dense, data, descended):
    going = descent(dense, data, BUDGETS)
    first = next(going)
    next(going)
    assert same(first, descended[0])


def test_descents_that_share_their_lessons_are_the_same(dense, data, descended):
    down = way_down(dense, data)
    for _ in range(2):
        again = list(down.through(BUDGETS, lambda budget: Session()))
        assert all(same(*pair) for pair in zip(again, descended, strict=True))


@pytest.mark.parametrize(
    ("budgets", "word"), [((0.2, 0.5), "each below"), ((0.5, 0.5), "each below"), ((0.5, 1e-6), "budget 1e-06")]
)
def test_budgets_that_cannot_be_visited_are_refused(dense, data, budgets, word):
    with pytest.raises(SettingsError, match=word):
        next(descent(dense, data, budgets))


def test_test_images_choose_nothing(dense, data, pruned):
    """With other labels on the test images all is the same but the test accuracy."""
    labels = data.store.labels.copy()
    labels[data.split.test] = (labels[data.split.test] + 1) % len(data.classes)
    other = dataclasses.replace(data, store=dataclasses.replace(data.store, labels=labels))
    relabelled = run(dense, other)
    assert same(pruned, relabelled, but=("network", "seconds", "test_accuracy", "test_confusion"))
    assert pruned.test_accuracy != relabelled.test_accuracy


def test_validation_images_train_nothing(dense, data, pruned):
    labels = data.store.labels.copy()
    labels[data.split.validation] = (labels[data.split.validation] + 1) % len(data.classes)
    other = dataclasses.replace(data, store=dataclasses.replace(data.store, labels=labels))
    but = ("network", "seconds", "val_accuracy", "recalibrated_val_accuracy")
    assert same(pruned, run(dense, other), but=but)


def test_without_search_the_criterion_decides(dense, data):
    settings = dataclasses.replace(SETTINGS, search=SearchSettings(epochs=0, initial="l1", scale="uniform"))
    widths = run(dense, data, settings=settings).widths
    shares = [width / size for width, size in zip(widths.values(), dense.record["widths"].values(), strict=True)]
    assert max(shares) - min(shares) <= 1 / 64  # uniform: the same share everywhere, within a channel


@pytest.fixture(scope="module")
def point(folder, data, dense, pruned):
    record = {
        **{key: dense.record[key] for key in OF_DENSE},
        "point": "p", "trial": "t000", **pruned.measures(data.classes),
        "data": data_record(data.settings), "provenance": provenance(COMPUTE, data_hash=data.store.data_hash),
    }  # fmt: skip
    write_artifact(folder / "points" / "p", pruned.network, record)
    return folder / "points" / "p"


def test_point_gives_its_accuracy_in_a_fresh_process(folder, point, pruned, data):
    done = subprocess.run(
        [sys.executable, "-m", "nasprune.verify", str(point), "--data-dir", str(folder / "data")],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    images = len(data.split.test)
    assert json.loads(done.stdout) == {
        "test_accuracy": pruned.test_accuracy,
        "onnx_test_accuracy": pytest.approx(pruned.test_accuracy, abs=1.01 / images),
        "images": images,
    }


def test_point_gives_the_same_logits_with_onnx_runtime(point, pruned, data):
    pixels = data.images.gather(data.split.test[:8]).float() / 255
    runtime = onnxruntime.InferenceSession(point / "model.onnx", providers=["CPUExecutionProvider"])
    (logits,) = runtime.run(["logits"], {"image": np.ascontiguousarray(pixels.numpy())})
    (normalised, _) = next(data.batches("test", batch_size=8, device=torch.device("cpu")).epoch(0))
    expected = pruned.network(normalised).detach().numpy()
    assert np.abs(logits - expected).max() <= 1e-4 * np.abs(expected).max()


def test_points_are_data(point):
    assert {path.name for path in point.iterdir()} == {"point.json", "weights.safetensors", "model.onnx"}
    for path in point.iterdir():
        content = path.read_bytes()
        assert not content.startswith((b"\x80", b"PK")), f"{path} is a pickle or a zip of pickles"


def test_a_point_that_is_there_is_not_written_again(point, dense):
    before = (point / "point.json").stat().st_mtime_ns
    write_artifact(point, dense.network, dense.record)
    assert (point / "point.json").stat().st_mtime_ns == before


def test_reloaded_network_is_the_one_that_was_written(point, pruned, data):
    loaded = read_artifact(point)
    batches = data.batches("test", batch_size=8, device=torch.device("cpu"))
    assert evaluate(loaded.network, batches) == pruned.test_accuracy


def test_dense_network_is_trained_once(folder, data, dense):
    settings = DenseSettings(
        network=NetworkSettings(network="resnet10", classes=len(data.classes), image_size=32),
        training=TrainingSettings(epochs=3), batch_size=16,
    )  # fmt: skip
    epochs = []
    again = obtain_dense(folder / "dense", settings, data, COMPUTE, epochs.append)
    assert not epochs
    assert again.directory == dense.directory


@pytest.mark.parametrize(
    ("name", "head"),
    [("resnet34", "original"), ("vgg16", "pooled")],
)
def test_whole_way_for_the_papers_networks(tmp_path, data, name, head):
    """Laws 3, 5 and 6 at their smallest: one epoch of everything, twice, and the files read back."""
    network = NetworkSettings(network=name, head=head, classes=len(data.classes), image_size=32)
    training = TrainingSettings(epochs=1, learning_rate=0.01)
    dense_settings = DenseSettings(network=network, training=training, batch_size=42)
    dense = obtain_dense(tmp_path / "dense", dense_settings, data, COMPUTE)
    settings = DescentSettings(search=SearchSettings(epochs=1), tuning=training, growth=0.0, views=1, batch_size=42)
    first = run(dense, data, settings=settings)
    assert first.macs_ratio <= 0.3
    assert same(first, run(dense, data, settings=settings))
    record = {
        **{key: dense.record[key] for key in (*OF_DENSE, "data", "provenance")},
        "point": "p",
        **first.measures(data.classes),
    }
    write_artifact(tmp_path / "p", first.network, record)
    batches = data.batches("test", batch_size=64, device=torch.device("cpu"))
    assert evaluate(read_artifact(tmp_path / "p").network, batches) == first.test_accuracy


def test_a_dense_network_of_another_split_is_another(data):
    network = NetworkSettings(network="resnet10", classes=len(data.classes), image_size=32)
    settings = DenseSettings(network=network, training=TrainingSettings(epochs=3))
    split = data.split
    swapped = dataclasses.replace(split, validation=split.test, test=split.validation)
    assert dense_key(settings, dataclasses.replace(data, split=swapped)) != dense_key(settings, data)


@pytest.mark.parametrize(("part", "measure"), [("validation", "val_accuracy"), ("test", "test_accuracy")])
def test_each_accuracy_of_the_dense_network_is_of_its_own_images(dense, data, part, measure):
    batches = data.batches(part, batch_size=64, device=torch.device("cpu"))
    assert dense.record[measure] == evaluate(dense.network, batches)
    assert dense.record["val_accuracy"] != dense.record["test_accuracy"], "so that they can be told apart"


def test_a_packed_data_set_is_found_by_its_name_whatever_became_of_the_images(dense, data, tmp_path):
    """As where only the packed data set was taken to another machine."""
    assert dense.record["provenance"]["packed"] == data.store.directory.name
    elsewhere = dense.record["data"] | {
        "dataset": "folder",
        "data": str(tmp_path / "gone.zip"),
        "scenes_per_class": 100,
    }
    assert load_data(dense.record | {"data": elsewhere}, data.store.directory.parent).classes == data.classes


def special(num_classes):
    """Computes what ONNX has no operator for."""

    class Special(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Conv2d(3, 8, 3), nn.Linear(8, num_classes)

        def forward(self, images):
            return self.last(self.first(torch.special.bessel_j0(images)).relu().mean((2, 3)))

    return Special()


def test_a_network_that_cannot_be_exported_is_named_before_it_is_trained(data, tmp_path):
    network = NetworkSettings(
        network="tests.test_descent:special", classes=len(data.classes), image_size=data.image_size
    )
    settings = DenseSettings(network=network, training=TrainingSettings(epochs=1))
    with pytest.raises(NetworkError, match=r"^the network cannot be exported to ONNX: .*bessel_j0") as caught:
        obtain_dense(tmp_path, settings, data, COMPUTE, lambda _: pytest.fail("trained"))
    assert "\n" not in str(caught.value)


def test_a_point_is_not_verified_on_other_images(folder, point, tmp_path):
    shutil.copytree(point, tmp_path / "p")
    record = json.loads((point / "point.json").read_text())
    record["provenance"]["data_hash"] = "0" * 64
    (tmp_path / "p" / "point.json").write_text(json.dumps(record))
    with pytest.raises(ArtifactError, match="measured on images with hash 000000000000, but those at hand have"):
        verify(tmp_path / "p", folder / "data")
