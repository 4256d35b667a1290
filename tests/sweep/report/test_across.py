"""The forms of a data set's front: every study and point is in them, names are only ever names."""

import copy
import io
import re

import numpy as np
import pytest
from rich.console import Console

from sweep.across import front_across
from sweep.report.across import figure, markdown, page, table
from sweep.report.view import AXES, MACS
from tests.sweep.fronts_of_studies import LARGE, SMALL, study_front
from tests.sweep.report.test_report import HOSTILE, beside_plotly

MANY = [study_front(f"s{number:02d}", 100 * (number + 1), {0.5: 0.8, 0.1: 0.7}) for number in range(20)]
ACROSS = {
    "one": front_across([LARGE], {}),
    "two": front_across([LARGE, SMALL], {"old": "another seed of the split"}),
    "many": front_across(MANY, {}),
    "collapsed": front_across([LARGE, study_front("lost", 100, {0.5: 0.0})], {}),
}
every = pytest.mark.parametrize("across", ACROSS.values(), ids=ACROSS)


def text_of(across, width=80):
    console = Console(width=width, record=True, file=io.StringIO())
    console.print(table(across))
    return console.export_text()


@every
def test_the_figure_holds_every_point_and_dense_network_at_its_cost(across):
    drawn = figure(across, MACS)
    names = {study["study"] for study in across["studies"]}
    held = [
        (trace.name, x, y) for trace in drawn.data if trace.name in names for x, y in zip(trace.x, trace.y, strict=True)
    ]
    asked = [(point["study"], point["macs"], 100 * point["val_accuracy"]) for point in across["points"]]
    assert sorted(held) == sorted(asked)
    dense = [trace for trace in drawn.data if trace.name == "dense"]
    assert [trace.x[0] for trace in dense] == [study["dense"]["macs"] for study in across["studies"]]


@every
def test_studies_can_be_told_apart(across):
    marked = {}
    for trace in figure(across, MACS).data:
        if trace.name not in ("front", "dense", "dense networks"):
            marked[trace.name] = (trace.marker.color, trace.marker.symbol)
    assert len(set(marked.values())) == len(marked) == len(across["studies"])


@every
def test_tables_hold_the_dense_networks_and_the_front(across):
    best = sum(point["on_front"] for point in across["points"])
    rows = len(re.findall("<tr[ >]", beside_plotly(page(across)))) - 1
    assert rows == best + len(across["studies"])
    assert sum(line.startswith("│") for line in text_of(across).splitlines()) == rows
    assert sum(line.startswith("| ") for line in markdown(across).splitlines()) == rows + 1
    for study in across["studies"]:
        assert study["study"] in text_of(across)


def test_a_study_that_was_left_out_is_named_with_the_reason():
    for text in (text_of(ACROSS["two"]), markdown(ACROSS["two"]), beside_plotly(page(ACROSS["two"]))):
        assert "study old, which has another seed of the split" in text


def test_it_can_be_drawn_against_all_that_was_measured():
    across = copy.deepcopy(front_across([LARGE, SMALL], {}))
    for record in (*across["points"], *(study["dense"] for study in across["studies"])):
        record |= {"float32_bytes": 1e9 / record["macs"]}  # the dearer by MACs the smaller
    text = page(across)
    (size,) = (axis for axis in AXES if axis.key == "float32_bytes")
    assert [axis.key for axis in AXES if f'data-axis="{axis.key}"' in text] == ["macs", "float32_bytes"]
    stairs = next(trace for trace in figure(across, size).data if trace.name == "front")
    assert max(stairs.y) == 96.0
    assert (np.diff(stairs.x) >= 0).all()
    assert (np.diff(stairs.y) >= 0).all()


def test_names_are_only_names():
    across = front_across([study_front(HOSTILE, 1000, {0.5: 0.96}, network=HOSTILE)], {HOSTILE: "other seed"})
    across["points"][0]["point"] = HOSTILE
    assert HOSTILE not in beside_plotly(page(across))
    assert "<b>[red]" not in beside_plotly(page(across))
    assert HOSTILE in text_of(across, width=300)
    row = next(line for line in markdown(across).splitlines() if "96.00 %" in line)
    assert len(re.findall(r"(?<!\\)\|", row)) == 9
