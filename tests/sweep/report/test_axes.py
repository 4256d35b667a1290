"""What each chart of a page shows: its own cost, and the accuracy of the very file that costs it."""

from __future__ import annotations

from sweep.across import front_across
from sweep.report import across as data_set
from sweep.report import web
from sweep.report.view import AXES, look
from tests.sweep.fronts_of_studies import LARGE, study_front
from tests.sweep.report.fronts import front_of, on_board

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
