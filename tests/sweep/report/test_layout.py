"""Pages and pictures are clean at every width: nothing covers another thing, is cut off, or squeezes the rest."""

from __future__ import annotations

import itertools
import json
import re

import numpy as np
import pytest

from sweep.report.classes import class_section
from sweep.report.geometry import cost_range, labelled
from sweep.report.plot import picture
from sweep.report.view import look
from sweep.report.web import figure, page
from tests.sweep.report.fronts import FRONTS, by_class, front_of, on_board
from tests.sweep.report.test_report import beside_plotly, in_a_browser

FLAT = front_of([(0.5, 0.93, 0.5), (0.25, 0.928, 0.25), (0.1, 0.926, 0.1), (0.05, 0.924, 0.05)])
"""Hardly any accuracy is lost, so the dense network's line runs through the labels of all points."""


@pytest.mark.parametrize("front", [FLAT, FRONTS["collapsed"], FRONTS["perfect"]], ids=["flat", "collapsed", "perfect"])
def test_in_the_picture_the_dense_network_s_label_leaves_the_points_theirs(front):
    drawn, view = picture(front), look(front)
    (dense,) = (text for text in drawn.axes[0].texts if text.get_text() == view.dense_label)
    others = [text for text in drawn.axes[0].texts if text is not dense]
    if front is FLAT:
        assert len(others) == len(front["points"])
    assert not any(dense.get_window_extent().overlaps(other.get_window_extent()) for other in others)
    frame = drawn.axes[0].get_window_extent()
    assert frame.x0 <= dense.get_window_extent().x0 < dense.get_window_extent().x1 <= frame.x1


def test_a_legend_names_a_few_budgets_with_the_ends_among_them():
    named = [
        trace.name
        for trace in figure(look(FRONTS["many budgets"])).data
        if trace.name.startswith("budget") and trace.showlegend
    ]
    assert len(named) == 7
    assert (named[0], named[-1]) == ("budget 5 %", "budget 95 %")


def test_the_label_of_the_cheapest_point_has_room_before_the_axis():
    low, high = cost_range(0.02, 1.22)
    assert high == 1.22
    assert np.log(0.02 / low) / np.log(high / low) == pytest.approx(0.16)


def test_labels_lie_apart():
    costs, accuracies = np.array([0.05, 0.06, 0.07, 0.5]), np.array([0.9, 0.901, 0.93, 0.931])
    chosen = labelled([3, 2, 1, 0], costs, accuracies, width=np.log(100), height=0.1)
    assert chosen == [3, 2, 1], "the last would lie on the one before it"


def test_long_names_of_classes_are_whole_where_one_points_and_widths_likewise():
    front = front_of([(0.1, 0.75, 0.1)])
    name = "dense residential " * 7
    for record in (front["dense"], *front["points"]):
        record["by_class"] = {name: by_class(0.9)["beach"]}
    assert f'<td title="{name}">' in class_section(look(front))
    assert "40 channels in 2 groups" in " ".join(figure(look(front)).data[1].text)
    assert "widths" not in re.findall("<th>(.*?)</th>", beside_plotly(page(front)))


@pytest.mark.system
def test_in_a_narrow_window_nothing_covers_another_thing_or_leaves_the_page(tmp_path):
    front = front_of([(b / 20, 0.8 + b / 200, b / 20) for b in range(1, 20)], network="package_of_mine.networks:" * 3)
    text = page(on_board(front)).replace("displaylogo: false", "displayModeBar: true, displaylogo: false")
    measuring = """<script>
    document.querySelector('nav button[data-axis=int8_bytes]').click();
    const parts = (...names) => names.flatMap(name => [...document.querySelectorAll(".chart:not([hidden]) " + name)])
      .map(part => part.getBoundingClientRect()).map(box => [box.left, box.top, box.right, box.bottom]);
    document.title = JSON.stringify({
      wide: document.documentElement.scrollWidth,
      parts: parts(".legend", ".xtitle", ".ytitle", ".modebar-group", ".annotation", ".ytick", ".xtick"),
      printed: (dispatchEvent(new Event("beforeprint")),
        document.querySelector(".chart:not([hidden]) .main-svg").getAttribute("width")),
    });
    </script></body>"""
    seen = in_a_browser(text.replace("</body>", measuring), tmp_path, "--window-size=500,900")
    found = json.loads(re.search("<title>(.*?)</title>", seen)[1])
    assert found["wide"] <= 500
    assert len(found["parts"]) > 15
    assert found["printed"] == "690", "as wide as a page of paper, whatever the window"
    for left, _, right, _ in found["parts"]:
        assert 0 <= left < right <= 500
    for one, other in itertools.combinations(found["parts"], 2):
        apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
        assert apart, (one, other)
