"""Files for the board: what is in them, and that they do what torch does."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch

from nasprune import shipping
from nasprune.artifact import load_data, read_artifact
from nasprune.compute import choose_compute
from nasprune.data import DataSettings, load
from nasprune.data.readers import EncodedImage
from nasprune.data.statistics import Statistics
from nasprune.dense import DenseSettings, obtain_dense
from nasprune.errors import ArtifactError
from nasprune.export import export_onnx
from nasprune.networks import NetworkSettings
from nasprune.provenance import processor
from nasprune.record import BOARD_FILES, BOARD_REPORT, board_figures, board_machine
from nasprune.runtime import onnx_logits, onnx_session
from nasprune.shipping import CALIBRATION_IMAGES, Measured, _needs_more_than_8_bits, _spread, quantise, ship
from nasprune.training import TrainingSettings
from nasprune.verify import verify
from tests.data.scene_files import geotiff, write_zip

ON_BOARD = {"Conv", "Relu", "Add", "Mul", "MaxPool", "ReduceMean", "GlobalAveragePool", "Reshape", "Flatten", "Gemm"}
QUANTISED = {"QuantizeLinear", "DequantizeLinear"}


@pytest.fixture(scope="module")
def shipped(tmp_path_factory):
    """The command run on a dense network of small scenes."""
    folder = tmp_path_factory.mktemp("shipping")
    data = load(DataSettings(dataset="scenes", image_size=32, scenes_per_class=25), folder / "data")
    network = NetworkSettings(network="resnet10", classes=len(data.classes), image_size=32)
    settings = DenseSettings(network=network, training=TrainingSettings(epochs=5), batch_size=16)
    dense = obtain_dense(folder / "dense", settings, data, choose_compute("cpu"))
    command = [sys.executable, "-m", "nasprune.shipping", str(dense.directory), "--data-dir", str(folder / "data")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dense.directory, json.loads(done.stdout)


def operators(path):
    model = onnx.load(path)
    sides = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    assert [operators.domain for operators in model.opset_import] == [""]
    return {node.op_type for node in model.graph.node}, sides


def test_files_have_a_fixed_batch_and_only_operators_of_the_targets(shipped):
    folder, _ = shipped
    for precision, allowed in (("float32", ON_BOARD), ("int8", ON_BOARD | QUANTISED)):
        used, sides = operators(folder / BOARD_FILES[precision])
        assert used <= allowed
        assert sides == [1, 3, 32, 32]


def test_float_file_is_the_network_and_int8_nearly(shipped):
    folder, measured = shipped
    record = read_artifact(folder).record
    report = json.loads((folder / BOARD_REPORT).read_text())
    assert report.pop("machine")
    assert measured == report
    assert board_figures(folder)["int8_bytes"] == measured["int8"]["bytes"]
    assert board_machine(folder) == processor()
    assert measured["float32"]["difference"] < 1e-4
    for key in ("val_accuracy", "test_accuracy"):
        assert measured["float32"][key] == pytest.approx(record[key])
        assert abs(measured["int8"][key] - record[key]) < 0.1
        assert board_figures(folder)[f"int8_{key}"] == measured["int8"][key]
    assert 1e-4 < measured["int8"]["difference"] < 0.5
    assert 3 < measured["float32"]["bytes"] / measured["int8"]["bytes"] < 4.2
    for precision, each in measured.items():
        size = (folder / BOARD_FILES[precision]).stat().st_size
        assert (each["bytes"], each["fits_5_mb"], each["fits_1_mb"]) == (size, size <= 5_000_000, size <= 1_000_000)
    assert not list(folder.glob("*.prepared"))


def test_a_file_for_the_board_gives_the_same_in_a_fresh_process(shipped, tmp_path):
    """The very file: one that is damaged, missing or another one does not pass for it."""
    folder, measured = shipped
    data = folder.parent.parent / "data"
    command = [sys.executable, "-m", "nasprune.verify", str(folder), "--data-dir", str(data), "--precision", "int8"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)["board"]
    assert found == {key: measured["int8"][key] for key in ("bytes", "val_accuracy", "test_accuracy")}
    copy = shutil.copytree(folder, tmp_path / "copy")
    (copy / BOARD_FILES["int8"]).write_bytes(b"garbage")
    with pytest.raises(ArtifactError, match="not a model ONNX Runtime can load"):
        verify(copy, data, "int8")
    (copy / BOARD_FILES["int8"]).unlink()
    with pytest.raises(ArtifactError, match=r"board_int8\.onnx is not there; expected a file for the board"):
        verify(copy, data, "int8")
    assert verify(copy, data, "float32")["board"]["bytes"] == measured["float32"]["bytes"]


def test_weights_are_quantised_for_each_channel(shipped):
    folder, _ = shipped
    model = onnx.load(folder / BOARD_FILES["int8"])
    initial = {tensor.name: tensor for tensor in model.graph.initializer}
    scales = [
        initial[node.input[1]].dims[0]
        for node in model.graph.node
        if node.op_type == "DequantizeLinear" and node.input[0] in initial and len(initial[node.input[0]].dims) == 4
        and initial[node.input[1]].dims
    ]  # fmt: skip
    assert sum(scale >= 64 for scale in scales) == 12  # convolutions; the normalisation has scales, too


def test_one_that_is_stopped_midway_leaves_what_was_there(point, monkeypatch):
    files = [point / file for file in (*BOARD_FILES.values(), BOARD_REPORT)]
    for file in files:
        file.write_text("before")

    def stopped(source, *_, **__):
        assert onnx.load(source).graph.node
        raise KeyboardInterrupt

    monkeypatch.setattr(shipping, "quantise", stopped)
    data = SimpleNamespace(image_size=16, images=SimpleNamespace(bit_depth=8), pixels=lambda *_, **__: None)
    there = sorted(point.iterdir())
    with pytest.raises(KeyboardInterrupt):
        ship(read_artifact(point), data, point)
    assert [file.read_text() for file in files] == ["before"] * len(files)
    assert sorted(point.iterdir()) == there


def test_figures_are_all_or_none(tmp_path):
    assert (board_figures(tmp_path), board_machine(tmp_path)) == ({}, "")
    (tmp_path / BOARD_REPORT).write_text('{"float32": {"bytes": 1}}')
    with pytest.raises(ArtifactError, match=BOARD_REPORT):
        board_figures(tmp_path)


def test_missing_point_is_one_line(tmp_path):
    command = [sys.executable, "-m", "nasprune.shipping", str(tmp_path / "none"), "--data-dir", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1


def test_a_dim_band_beside_a_bright_one_survives_int8(tmp_path):
    """Classes differ in one band, below 60 of 65535 everywhere; 8 bits over the other band would have steps of 118."""
    draw = np.random.default_rng(0)
    images = [
        EncodedImage(
            name=f"{label}/{number:02d}.tif",
            label=label,
            encoded=geotiff(np.rint(draw.normal((30_000, dim), (300, 4), (16, 16, 2))).clip(0).astype(np.uint16)),
        )
        for label, dim in (("cloud", 35), ("water", 15))
        for number in range(40)
    ]
    archive = write_zip(tmp_path / "dim.zip", images)
    wanted = DataSettings(dataset="folder", data=archive, image_size=16, bands="all", fractions=(0.5, 0.2, 0.3))
    data = load(wanted, tmp_path / "data")
    network = NetworkSettings(network="resnet10", classes=2, image_size=16, bands=data.bands)
    settings = DenseSettings(network=network, training=TrainingSettings(epochs=16), batch_size=8)
    dense = obtain_dense(tmp_path / "dense", settings, data, choose_compute("cpu"))
    accuracy = dense.record["test_accuracy"]
    assert accuracy > 0.9
    again = verify(dense.directory, tmp_path / "data")
    assert again == {"test_accuracy": accuracy, "onnx_test_accuracy": accuracy, "images": 24}
    measured = ship(dense, data, tmp_path / "board")
    assert {each.test_accuracy for each in measured.values()} == {accuracy}
    assert operators(tmp_path / "board" / BOARD_FILES["int8"])[1] == [1, 2, 16, 16]
    for name in BOARD_FILES.values():
        said = onnx_session(tmp_path / "board" / name).get_modelmeta().custom_metadata_map
        assert said["input"] == "all bands over 65535, in [0, 1]"
        assert json.loads(said["classes"]) == ["cloud", "water"]


def test_bands_of_8_bits_that_vary_unlike_keep_their_normalisation_in_float32(tmp_path):
    """Over its deviation a band between 198 and 202 is near 200, which leaves the others three or four levels."""
    draw = np.random.default_rng(0)
    mean, deviation = np.array([120, 120, 200]), np.array([45, 45, 1])
    values = np.rint(draw.normal(mean, deviation, (16, 8, 8, 3))).clip(0, 255)
    images = torch.from_numpy(np.moveaxis(values, -1, 1).astype(np.float32) / 255)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3, padding=1), torch.nn.Flatten(), torch.nn.Linear(256, 2))
    statistics = Statistics(mean=tuple((mean / 255).tolist()), deviation=tuple((deviation / 255).tolist()))
    export_onnx(network.eval(), statistics, 8, tmp_path / "a.onnx", batch=1)
    whole = not _needs_more_than_8_bits(8, statistics.deviation)
    quantise(tmp_path / "a.onnx", tmp_path / "b.onnx", Given(images), whole=whole)
    logits, of_int8 = (np.concatenate([onnx_logits(tmp_path / name, image[None].numpy()) for image in images])
                       for name in ("a.onnx", "b.onnx"))  # fmt: skip
    assert np.abs(of_int8 - logits).max() < 0.1 * np.abs(logits - logits.mean(0)).max()
    assert not _needs_more_than_8_bits(8, (0.21, 0.19, 0.13))


class Given:
    """Batches of one of these images each."""

    def __init__(self, images):
        self.images = images

    def __len__(self):
        return len(self.images)

    def epoch(self, number):
        return ((image[None], None) for image in self.images)


class Numbered:
    """Batches of one image each, which is its place in the data set."""

    def __init__(self, count):
        self.count = count

    def __len__(self):
        return self.count

    def epoch(self, number):
        return ((torch.tensor(place), None) for place in range(self.count))


@pytest.mark.parametrize("count", [100, 256, 300, 500, 1000, 1470])
def test_int8_is_calibrated_on_images_from_all_over_the_data_set(count):
    """It lies class by class: images from its beginning alone would leave the last classes out."""
    seen = [int(image) for image in _spread(Numbered(count))]
    assert len(seen) == min(count, CALIBRATION_IMAGES)
    gaps = np.diff([-1, *seen])
    assert seen[-1] == count - 1
    assert max(gaps) - min(gaps) <= 1


@pytest.fixture
def scenes(shipped):
    """The dense network of `shipped` and its images."""
    artifact = read_artifact(shipped[0])
    return artifact, load_data(artifact.record, shipped[0].parent.parent / "data")


def test_int8_is_calibrated_on_training_images(scenes, tmp_path, monkeypatch):
    artifact, data = scenes
    seen = []

    def quantised(_source, _target, images, **_how):
        seen.append(torch.cat([image for image, _ in images.epoch(0)]))

    monkeypatch.setattr(shipping, "export_onnx", lambda *_given, **_how: None)
    monkeypatch.setattr(shipping, "quantise", quantised)
    monkeypatch.setattr(shipping, "measure", lambda *_given: Measured(**dict.fromkeys(Measured.__annotations__, 0)))
    ship(artifact, data, tmp_path)
    assert torch.allclose(seen[0], data.images.gather(data.split.train).float() / 255)


def test_latency_is_the_median_in_milliseconds_on_one_thread(scenes, tmp_path, monkeypatch):
    """Every fourth run is disturbed: it takes 30 ms instead of 2."""
    artifact, data = scenes
    clock, runs, given = [0.0], [], []

    class Session:
        def run(self, *_given):
            runs.append(clock[0])
            clock[0] += 0.002 if len(runs) % 4 else 0.03
            return [np.zeros((1, len(data.classes)))]

    monkeypatch.setattr(shipping, "onnx_session", lambda _path, **how: given.append(how) or Session())
    monkeypatch.setattr(shipping.time, "perf_counter", lambda: clock[0])
    (tmp_path / "file").write_bytes(b"x")
    assert shipping.measure(tmp_path / "file", artifact, data).latency_ms == pytest.approx(2)
    assert given == [{"threads": 1}]
