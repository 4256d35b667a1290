"""What each chart of a page shows: its own cost, and the accuracy of the very file that costs it."""

from __future__ import annotations

import re
import shlex
from html import escape, unescape

import pytest

from sweep import promote
from sweep.across import front_across
from sweep.report import across as data_set
from sweep.report import web
from sweep.report.text import markdown
from sweep.report.view import AXES, look
from tests.sweep.fronts_of_studies import LARGE, study_front
from tests.sweep.report.fronts import front_of, on_board
from tests.sweep.report.test_report import beside_plotly, in_a_browser

BY_KEY = {axis.key: axis for axis in AXES}


def measured():
    """A front of two points, of which the file of the more accurate one is of no use as INT8."""
    front = on_board(front_of([(0.5, 0.94, 0.5), (0.25, 0.91, 0.25)]))
    for record, float32, int8 in zip(
        (front["dense"], *front["points"]), (0.93, 0.94, 0.9), (0.92, 0.31, 0.9), strict=True
    ):
        record |= {"float32_val_accuracy": float32, "int8_val_accuracy": int8}
    return front


def hovers(drawn):
    """What is shown where one points at a point or a dense network, by its place."""
    return {
        (x, y): text
        for trace in drawn.data
        if trace.text
        for x, y, text in zip(trace.x, trace.y, trace.text, strict=True)
    }


def test_a_file_is_drawn_at_its_own_accuracy():
    view = look(measured(), BY_KEY["int8_bytes"])
    assert list(view.accuracies) == [0.31, 0.9]
    assert view.dense_accuracy == 0.92
    assert [view.points[index]["point"] for index in view.front] == ["t001-x"]
    texts = hovers(web.figure(view))
    assert {round(accuracy) for _, accuracy in texts} == {31, 90, 92}
    assert any("this file: validation 31.00 % · test" in text for text in texts.values())


def test_the_network_itself_is_drawn_at_the_accuracy_of_the_network():
    view = look(measured())
    assert list(view.accuracies) == [0.94, 0.91]
    assert len(view.front) == 2


def test_a_file_whose_accuracy_is_not_known_is_drawn_at_that_of_its_network():
    front = on_board(front_of([(0.5, 0.94, 0.5)]))
    assert list(look(front, BY_KEY["int8_bytes"]).accuracies) == [0.94]


def test_the_front_of_a_data_set_goes_by_the_accuracy_of_the_files():
    front = front_across([LARGE, study_front("small", 400, {0.5: 0.94})], {})
    for record in (*front["points"], *(study["dense"] for study in front["studies"])):
        record["int8_bytes"] = 1000 * record["macs"]
    front["points"][-1]["int8_val_accuracy"] = 0.31
    drawn = data_set.figure(front, BY_KEY["int8_bytes"])
    assert max(next(trace for trace in drawn.data if trace.name == "front").y) == 94.0


def data_set_measured():
    front = front_across([LARGE, study_front("small", 400, {0.5: 0.94}), study_front("bare", 300, {0.5: 0.8})], {})
    for record in (*front["points"], *(study["dense"] for study in front["studies"])):
        if record.get("study", record["network"]) != "bare":
            record |= {"int8_bytes": 1e9 / record["macs"], "int8_latency_ms": record["macs"] / 100}
    return front


def test_pointing_at_a_point_or_a_dense_network_tells_its_cost_on_the_axis():
    for axis in AXES[1:]:
        view = look(measured(), axis)
        texts = hovers(web.figure(view))
        assert len(texts) == 3
        for record, place in zip((*view.points, view.dense), (*view.shares, 1.0), strict=True):
            (text,) = (text for (x, _), text in texts.items() if x == place)
            assert f"{axis.name}: {axis.shown(record[axis.key])}" in text
    for axis in (BY_KEY["int8_latency_ms"], BY_KEY["int8_bytes"]):
        texts = hovers(data_set.figure(data_set_measured(), axis))
        assert len(texts) == 6
        for (cost, _), text in texts.items():
            assert f"{axis.name}: {axis.shown(cost)}" in text


def shown_rows(text, key):
    """Cells of the rows of a page's first table that are shown with a chart."""
    body = text[text.index("<tbody>") : text.index("</tbody>")]
    rows = re.findall(r'<tr data-axes="([^"]*)"( hidden)?>(.*?)</tr>', body)
    assert all(bool(hidden) == ("macs" not in axes.split()) for axes, hidden, _ in rows), "MACs are shown first"
    return [re.findall("<td>(.*?)</td>", cells) for axes, _, cells in rows if key in axes.split()]


def test_each_chart_of_a_study_counts_and_lists_what_is_drawn_there():
    front = measured()
    front["points"].append({**front_of([(0.1, 0.8, 0.1)])["points"][0], "point": "t002-x"})  # without files
    text = beside_plotly(web.page(front))
    subtitles = re.findall(r'data-axis="(\w+)"(?: hidden)?>\s*<p>(.*?)</p>', text)
    assert [key for key, _ in subtitles] == list(BY_KEY)
    for key, subtitle in subtitles:
        view = look(front, BY_KEY[key])
        assert "study night" in subtitle
        assert "105 validation images" in subtitle
        assert ("3 points, " if key == "macs" else "2 of 3 points measured, ") in subtitle
        assert f"{len(view.front)} on the front" in subtitle
        named = [re.sub("<.*?>", "", cells[0]) for cells in shown_rows(text, key)]
        assert sorted(named) == sorted(["dense", *(view.points[index]["point"] for index in view.front)])
    assert "Such files were made of 2 of the 3 points" in text
    assert "Such files" not in beside_plotly(web.page(measured())), "all were measured"


def test_each_chart_of_a_data_set_counts_and_lists_what_is_drawn_there():
    text = beside_plotly(data_set.page(data_set_measured()))
    subtitles = dict(re.findall(r'data-axis="(\w+)"(?: hidden)?>\s*<p>(.*?)</p>', text))
    assert subtitles == {
        "macs": "3 studies, 5 points, 3 on the front · 105 validation images",
        "int8_latency_ms": "3 studies, 4 of 5 points measured, 3 on the front · 105 validation images",
        "int8_bytes": "3 studies, 4 of 5 points measured, 1 on the front · 105 validation images",
    }
    rows = {key: [cells[3] for cells in shown_rows(text, key)] for key in subtitles}
    assert rows["macs"] == ["dense"] * 3 + ["t000-50pct", "t000-50pct", "t000-10pct"]
    assert rows["int8_bytes"] == ["dense"] * 2 + ["t000-50pct"]
    assert "2.00 MB" in shown_rows(text, "int8_bytes")[-1], "what it goes by is in the table"


def test_no_two_columns_of_a_table_have_one_head():
    for text in (beside_plotly(web.page(measured())), beside_plotly(data_set.page(data_set_measured()))):
        heads = re.findall("<th>(.*?)</th>", text[: text.index("</thead>")])
        assert len(set(heads)) == len(heads)
        assert {"INT8 size", "INT8 latency"} < set(heads)
    line = next(line for line in markdown(measured()).splitlines() if "budget" in line)
    assert {"float32 size", "float32 latency", "INT8 validation", "INT8 test"} < set(line.strip("| ").split(" | "))


@pytest.mark.parametrize("machines", [("Atom & Co",), ("Atom & Co", "Xeon <2>")], ids=["one", "two"])
def test_machines_are_named_and_several_are_warned_of_where_latencies_are_drawn(machines):
    front, of_set = measured(), data_set_measured()
    records = [front["dense"], *front["points"], *(study["dense"] for study in of_set["studies"]), *of_set["points"]]
    for record in records:
        record["board_machine"] = machines[0]
    for shown in (front, of_set):
        shown["points"][0]["board_machine"] = machines[-1]
    for text in (beside_plotly(web.page(front)), beside_plotly(data_set.page(of_set))):
        note = text[text.rindex("<p>The table holds") :]
        assert all(escape(machine) in note for machine in machines)
        warned = re.findall(r'data-axis="(\w+)"(?: hidden)?>\s*<p>[^<]*</p>\s*<p class="warning">([^<]*)</p>', text)
        latencies = [key for key in BY_KEY if f'"{key}"' in text and key.endswith("latency_ms")]
        assert [key for key, _ in warned] == (latencies if len(machines) > 1 else [])
        assert all(escape(machine) in told for machine in machines for _, told in warned)
    texts = hovers(web.figure(look(front, BY_KEY["int8_latency_ms"]))).values()
    assert all(any(f"measured on {escape(machine)}" in text for text in texts) for machine in machines)


def test_each_row_of_a_study_s_front_has_the_command_that_promotes_its_point():
    front = {**front_of([(0.5, 0.94, 0.5), (0.25, 0.91, 0.25)]), "places": ["--storage", "gs://b/my runs"]}
    text = beside_plotly(web.page(front))
    rows = re.findall(
        r'<tr data-axes="[^"]*">(?:(?!</tr>).)*<button class="command".*?</tr>\s*'
        r'<tr class="command" hidden><td colspan="(\d+)"><code>(.*?)</code></td></tr>',
        text,
    )
    heads = re.findall("<th>(.*?)</th>", text[: text.index("</thead>")])
    assert [int(columns) for columns, _ in rows] == [len(heads)] * 2
    for (_, command), point in zip(rows, front["points"], strict=True):
        _, _, script, *arguments = shlex.split(unescape(command))
        given = promote.parse(arguments)
        assert script == "sweep/promote.py"
        assert (given.study, given.point, given.storage) == ("night", point["point"], "gs://b/my runs")


@pytest.mark.system
def test_a_browser_shows_the_command_that_is_asked_for_until_another_chart_is(tmp_path):
    page = web.page({**measured(), "study": "night"})
    clicks = "document.querySelector('button.command').click();"
    told = "document.title = [...document.querySelectorAll('tr.command')].map(row => row.hidden).join();"
    for more, seen in (("", "false,true"), ("document.querySelector('nav button:last-child').click();", "true,true")):
        text = page.replace("</body>", f"<script>{clicks}{more}{told}</script></body>")
        assert f"<title>{seen}</title>" in in_a_browser(text, tmp_path)
