"""Latency as a cost: a table of measured layers, and what it makes of widths."""

from __future__ import annotations

import json
import sys

import pytest
import torch
from torch import nn

from nasprune import latency, layer_timing
from nasprune.commandline import in_one_line
from nasprune.costing import cost_of
from nasprune.coupling import find_coupling
from nasprune.errors import ArtifactError, SettingsError
from nasprune.latency import LatencyTable, latency_cost, layer_key, measure, read_table
from nasprune.layer_timing import time_layer, widths_step
from nasprune.scores import cut_at_budget
from tests.system import own
from tests.waiting import without_values

NETWORK = nn.Sequential(
    nn.Conv2d(3, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1, groups=16), nn.Conv2d(16, 32, 1, stride=2),
    nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(32, 4),
)  # fmt: skip
COUPLING = find_coupling(NETWORK, torch.zeros(1, 3, 8, 8))


@pytest.fixture(autouse=True)
def _small_caches(monkeypatch):
    """Overwriting those of any processor before each run is nearly all that measuring these small layers takes."""
    monkeypatch.setattr(layer_timing, "_CACHES", 1_000_000)


def written(seconds):
    """A table whose times are a function of input and output width."""
    layers = {}
    for layer in COUPLING.layers:
        wide = [layer.fixed_inputs] if layer.inputs is None else [max(1, len(layer.inputs) // 2), len(layer.inputs)]
        tall = [len(layer.outputs) // 2, len(layer.outputs)]
        layers[layer_key(layer)] = {
            "inputs": wide, "outputs": tall, "seconds": [[seconds(i, o) for o in tall] for i in wide],
        }  # fmt: skip
    return LatencyTable(runtime="onnxruntime", threads=1, machine="test", layers=layers)


def test_measured_table_covers_every_layer_and_falls_nowhere():
    table = measure(COUPLING)
    assert set(table.layers) == {layer_key(layer) for layer in COUPLING.layers}
    cost = latency_cost(COUPLING, table)
    widths = torch.stack([torch.linspace(1, 16, 40), torch.linspace(1, 32, 40)], dim=1)
    times = cost(widths)
    assert bool((times.diff() >= -1e-12).all())
    assert 0 < float(times[0]) < float(times[-1]) == pytest.approx(cost.full)


def test_torch_runtime_measures_too():
    assert latency_cost(COUPLING, measure(COUPLING, "torch")).full > 0


def test_padding_given_as_a_word_takes_the_time_of_what_it_stands_for():
    def keys(first, second, third):
        network = nn.Sequential(
            nn.Conv2d(3, 4, (3, 5), padding=first, dilation=(2, 1)), nn.Conv2d(4, 4, 3, padding=second, groups=4),
            nn.Conv2d(4, 4, 3, padding=third, stride=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
        )  # fmt: skip
        return [layer_key(layer) for layer in find_coupling(network, torch.zeros(1, 3, 8, 8)).layers]

    assert keys("same", "same", "valid") == keys((2, 2), 1, 0)


def test_a_layer_all_of_whose_groups_lose_the_same_is_timed_in_its_groups(monkeypatch):
    network = nn.Sequential(
        nn.Conv2d(3, 64, 1), nn.Conv2d(64, 64, 3, padding=1, groups=2), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
        nn.Linear(64, 2),
    )  # fmt: skip
    layer = next(layer for layer in find_coupling(network, torch.zeros(1, 3, 8, 8)).layers if layer.name == "1")
    assert layer_key(layer).endswith("groups2")
    seen = []
    monkeypatch.setattr(
        torch.nn.functional, "conv2d",
        lambda x, weight, *more: seen.append((x.shape[1], tuple(weight.shape[:2]), more[-1])) or torch.zeros(1),
    )  # fmt: skip
    time_layer(layer, 16, 24, "torch", 1)
    assert (32, (24, 16), 2) in seen  # both groups read half of what the layer is given
    monkeypatch.undo()
    assert time_layer(layer, 16, 24, "onnxruntime", 1) > 0
    assert widths_step(layer) == 2  # of each group one


def test_cost_is_the_sum_of_interpolated_layers():
    cost = latency_cost(COUPLING, written(lambda i, o: 3.0 * o))
    # In this table times are proportional to output widths, with 16 + 16 + 32 + 4 of them.
    assert float(cost(torch.tensor([16, 32]))) == pytest.approx(3 * 68) == pytest.approx(cost.full)
    assert float(cost(torch.tensor([12.0, 20.0]))) == pytest.approx(3 * (12 + 12 + 20 + 4))
    widths = torch.tensor([12.0, 20.0], dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(cost(widths), widths)
    assert gradient.tolist() == pytest.approx([6, 3])
    assert cost.marginal(cost.sizes).tolist() == pytest.approx([6, 3])


def test_smaller_network_is_looked_up_in_the_dense_ones_table():
    table = written(lambda i, o: 3.0 * o)
    kept = torch.zeros(COUPLING.channels, dtype=torch.bool)
    kept[:12] = kept[16:36] = True
    assert latency_cost(COUPLING.after(kept), table).full == pytest.approx(3 * (12 + 12 + 20 + 4))


@pytest.mark.parametrize(
    ("bands", "width", "classes", "told"),
    [
        (5, 32, 4, r"layer 0 \(.*\) with at most 3 inputs, here it has 5"),
        (3, 40, 4, r"layer 2 \(.*\) with at most 32 outputs, here it has 40"),
        (3, 32, 9, r"layer 5 \(.*\) with at most 4 outputs, here it has 9"),
    ],
)
def test_a_wider_network_than_was_measured_is_refused(bands, width, classes, told):
    """Its layers have the names of those in the table, and beyond a grid there is no time to be had."""
    network = nn.Sequential(nn.Conv2d(bands, 16, 3, padding=1), *NETWORK[1:2], nn.Conv2d(16, width, 1, stride=2),
                            *NETWORK[3:5], nn.Linear(width, classes))  # fmt: skip
    with pytest.raises(SettingsError, match=told):
        latency_cost(find_coupling(network, torch.zeros(1, bands, 8, 8)), written(lambda i, o: 3.0 * o))


def test_budget_of_latency_is_kept():
    cost = latency_cost(COUPLING, written(lambda i, o: 1.0 * i * o + 5))
    cut = cut_at_budget(torch.rand(COUPLING.channels), COUPLING.group_of, cost, 0.5)
    assert float(cut.cost) <= 0.5 * cost.full
    scores, group_of = torch.rand(COUPLING.channels), COUPLING.group_of
    with without_values():
        cut_at_budget(scores, group_of, cost, 0.5)


def test_table_is_read_back_and_bad_ones_are_named(tmp_path):
    table = written(lambda i, o: 1.0 * o)
    table.write(tmp_path / "table.json")
    assert read_table(tmp_path / "table.json") == table
    (tmp_path / "bad.json").write_text(json.dumps({"runtime": "onnxruntime"}))
    for name in ("bad.json", "missing.json"):
        with pytest.raises(ArtifactError, match="given as latency table"):
            read_table(tmp_path / name)
    with pytest.raises(SettingsError, match="lacks the layer 0"):
        latency_cost(find_coupling(NETWORK, torch.zeros(1, 3, 10, 10)), table)
    with pytest.raises(SettingsError, match="without a table"):
        cost_of("latency", COUPLING, NETWORK)


def test_command_measures_a_network(tmp_path, monkeypatch, capsys):
    out = tmp_path / "table.json"
    given = ["--network", own.NAME, "--classes", "3", "--image-size", "32", "--out", str(out)]
    monkeypatch.setattr(sys, "argv", ["latency", *given])
    assert in_one_line(latency.main) == 0
    assert "ms an image" in capsys.readouterr().out
    assert read_table(out).threads == 1


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--threads", "0"], "threads 0 given; expected at least 1"),
        (
            ["--threads", "2", "--runtime", "torch"],
            "threads given with --runtime torch, which takes as many as it likes; leave them out",
        ),
        (["--out", "/nowhere/board.json"], "out /nowhere/board.json given; expected a file in a folder that exists"),
        (
            ["--network", "nowhere:net"],
            "network 'nowhere:net' given, but No module named 'nowhere'; expected package.module:function on the "
            "Python path",
        ),
        (["--classes", "many"], "argument --classes: invalid int value: 'many'; see --help"),
    ],
)
def test_what_is_wrong_is_one_line_before_anything_is_measured(tmp_path, monkeypatch, capsys, flags, message):
    monkeypatch.setattr(latency, "measure", lambda *_, **__: pytest.fail("it was measured"))
    given = ["--network", "resnet10", "--classes", "3", "--image-size", "32", "--out", str(tmp_path / "t.json"), *flags]
    monkeypatch.setattr(sys, "argv", ["latency", *given])
    assert in_one_line(latency.main) == 2
    assert capsys.readouterr().err == f"error: {message}\n"
