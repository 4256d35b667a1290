"""What benchmarks print is what they measured, and a wrong word costs no time."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"


@pytest.mark.parametrize("lost", ["difference", "onnx_difference", "reload_difference"])
def test_logits_that_are_no_numbers_pass_no_law(monkeypatch, lost):
    monkeypatch.syspath_prepend(BENCH)
    networks = importlib.import_module("networks")
    differences = {"difference": 1e-7, "onnx_difference": 2e-7, "reload_difference": 0.0}
    cut = {"macs_exact": True, "tight": True, "macs_ratio": 0.5, **differences}
    row = {"network": "one", "groups": 1, "channels": 8, "least": 0.1, "error": "", "torch_pruning": {}}
    row["cuts"] = [cut, {**cut, lost: float("nan")}, cut]
    assert not networks.passes(row)
    assert "| one | NO |" in networks.line(row)
    assert ("nan" in networks.line(row)) == (lost != "reload_difference")  # which has no column
    assert networks.passes({**row, "cuts": [cut, cut]})


def test_the_table_of_latencies_is_one_in_markdown(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    row = {"network": "one", "size": 64, "way": "macs", "budget": 0.5, "macs_ratio": 0.5, "ms": 1.0, "faster": 2.0}
    head, rule, *rows = importlib.import_module("latency").table([row | {"predicted_ms": 1.0}]).splitlines()
    assert set(rule) == {"|", "-"}
    assert head.count("|") == rule.count("|") == rows[0].count("|")


@pytest.mark.parametrize("script", ["reliability", "tracking"])
def test_an_unknown_case_is_told_before_anything_begins(monkeypatch, script):
    monkeypatch.syspath_prepend(BENCH)
    monkeypatch.setattr(sys, "argv", [script, "--cases", "earthquake"])
    with pytest.raises(SystemExit, match="case 'earthquake' given; expected of "):
        importlib.import_module(script).main()
