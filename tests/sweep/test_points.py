"""Law 8: only finished points enter the front, and the points folder is all it is taken from."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import nn

from nasprune.artifact import Artifact
from nasprune.errors import ArtifactError
from nasprune.record import BOARD_REPORT
from sweep.points import KEYS, PointsFolder, volume, volumes_reached

_DENSE = {
    "network": "resnet10", "dataset": "scenes", "image_size": 48, "val_images": 100, "macs": 1000, "params": 9,
    "val_accuracy": 0.9, "test_accuracy": 0.9, "test_confusion": {"port": {"port": 9, "farm": 1}},
    "worst_class_test_accuracy": 0.9,
}  # fmt: skip
DENSE = Artifact(network=nn.Module(), record=_DENSE, directory=Path("nowhere"))


def take_front(study, dense, run_ids):
    """The front object of what lies in a study's folder."""
    folder = PointsFolder(study, dense)
    folder.read()
    return folder.front(run_ids)


def put(study, name, ratio, accuracy, budget=0, *, macs_ratio=None):
    """A point of this share of the cost that budgets are of, and of the MACs, by default about the same."""
    record = dict.fromkeys(KEYS, 0) | {
        "point": name, "trial": name[:4], "network": "resnet10", "head": "original", "dataset": "scenes",
        "classes": [], "image_size": 48, "bands": 3, "bit_depth": 8, "statistics": {}, "val_images": 100, "data": {},
        "provenance": {}, "widths": {},
        "budget": budget,
        "cost": "macs", "cost_ratio": ratio, "macs_ratio": 0.9 * ratio if macs_ratio is None else macs_ratio,
        "val_accuracy": accuracy, "test_accuracy": 1 - accuracy,
        "test_confusion": {"port": {"port": 7, "road": 3}}, "worst_class_test_accuracy": 0.7,
    }  # fmt: skip
    (study / "points" / name).mkdir(parents=True)
    (study / "points" / name / "point.json").write_text(json.dumps(record))


@pytest.fixture
def study(tmp_path):
    put(tmp_path, "t000-50pct", 0.5, 0.9)
    put(tmp_path, "t001-25pct", 0.25, 0.8)
    put(tmp_path, "t002-50pct", 0.49, 0.7)  # beaten on both by t001
    return tmp_path


def test_front_is_of_validation_accuracy_and_cost(study):
    front = take_front(study, DENSE, {"t000": "run"})
    assert {p["point"]: p["on_front"] for p in front["points"]} == {
        "t000-50pct": True, "t001-25pct": True, "t002-50pct": False,
    }  # fmt: skip
    assert front["points"][0]["run_id"] == "run"
    assert front["points"][0]["artifact"] == "points/t000-50pct"


def test_of_dense_and_the_front_it_says_how_each_class_fares(study):
    front = take_front(study, DENSE, {})
    assert front["dense"]["by_class"] == {"port": {"images": 10, "right": 9, "taken_for": "farm"}}
    told = {p["point"]: p.get("by_class") for p in front["points"]}
    port = {"port": {"images": 10, "right": 7, "taken_for": "road"}}
    assert told == {"t000-50pct": port, "t001-25pct": port, "t002-50pct": None}


def test_points_that_are_being_written_are_no_points(study):
    before = take_front(study, DENSE, {})
    put(study, ".t003-10pct.123.partial", 0.1, 0.99)
    (study / "points" / "t004-10pct").mkdir()  # a folder without a record
    assert take_front(study, DENSE, {}) == before


def test_a_damaged_point_is_named(study):
    (study / "points" / "t001-25pct" / "point.json").write_text("{}")
    with pytest.raises(ArtifactError, match="t001-25pct"):
        take_front(study, DENSE, {})


def test_what_files_for_the_board_measure_comes_later(study):
    folder = PointsFolder(study, DENSE)
    folder.read()
    assert not any("int8_bytes" in point for point in folder.front({})["points"])
    files = {precision: {"bytes": 7, "val_accuracy": 0.5} for precision in ("float32", "int8")}
    measured = {"machine": "board", **files}
    (study / "points" / "t000-50pct" / BOARD_REPORT).write_text(json.dumps(measured))
    folder.read()
    found = {point["point"]: point.get("int8_bytes") for point in folder.front({})["points"]}
    assert found == {"t000-50pct": 7.0, "t002-50pct": None, "t001-25pct": None}
    (point,) = (point for point in folder.front({})["points"] if "int8_bytes" in point)
    assert (point["float32_val_accuracy"], point["int8_val_accuracy"], point["val_accuracy"]) == (0.5, 0.5, 0.9)
    assert [point.get("board_machine") for point in folder.front({})["points"]].count("board") == 1


def test_no_points_yet(tmp_path):
    assert take_front(tmp_path, DENSE, {})["points"] == []


def test_volumes_follow_each_trials_own_descent(tmp_path):
    for name, budget, accuracy in (
        ("t000-10pct", 0.1, 0.6),
        ("t000-1pct", 0.01, 0.5),
        ("t001-10pct", 0.1, 0.8),
    ):
        put(tmp_path, name, budget, accuracy, budget)
    reached = volumes_reached(take_front(tmp_path, DENSE, {}), budgets=(0.01, 0.1))
    assert reached == {"t000": pytest.approx([0.3, 0.55]), "t001": pytest.approx([0.4])}


# Few values, so that points are equal in one or both.
PUT = st.lists(
    st.tuples(st.sampled_from((0.1, 0.2, 0.5)), st.sampled_from((0.7, 0.8, 0.9)), st.booleans()),
    min_size=1,
    max_size=12,
)


@given(points=PUT, order=st.randoms(use_true_random=False))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_front_that_grows_is_the_front_from_scratch(tmp_path, points, order):
    """In whatever order points come and are told of, and whether or not somebody reads the folder between."""
    study = tmp_path / str(len(list(tmp_path.iterdir())))
    folder = PointsFolder(study, DENSE)
    names = [f"t{number:03d}-x" for number in range(len(points))]
    order.shuffle(names)
    for number, (name, (ratio, accuracy, told)) in enumerate(zip(names, points, strict=True)):
        put(study, name, ratio, accuracy)
        if told:
            assert folder.add(name)["point"] == name
            assert folder.front({})["points"]
        elif number % 3 == 0:
            folder.read()
            assert folder.front({}) == take_front(study, DENSE, {})
    folder.read()
    runs = {names[0][:4]: "run"}
    assert folder.front(runs) == take_front(study, DENSE, runs)


def test_a_point_is_read_once_and_forgotten_with_its_folder(study):
    folder = PointsFolder(study, DENSE)
    folder.read()
    before = folder.front({})
    (study / "points" / "t001-25pct" / "point.json").write_text("{}")  # nobody looks at it again
    folder.read()
    assert folder.front({}) == before
    shutil.rmtree(study / "points" / "t001-25pct")
    folder.read()
    assert folder.front({}) == take_front(study, DENSE, {})
    assert len(folder.front({})["points"]) == 2


def test_hypervolumes_go_by_the_cost_of_the_budgets(tmp_path):
    put(tmp_path, "t000-10pct", 0.1, 0.8, 0.1, macs_ratio=0.5)
    front = take_front(tmp_path, DENSE, {})
    assert volume(front["points"], (0.01,)) == pytest.approx(0.4)
    assert volumes_reached(front, budgets=(0.01, 0.1)) == {"t000": pytest.approx([0.4])}


def test_the_front_goes_by_macs(tmp_path):
    put(tmp_path, "t000-a", 0.1, 0.8, macs_ratio=0.5)
    put(tmp_path, "t000-b", 0.2, 0.8, macs_ratio=0.4)
    front = take_front(tmp_path, DENSE, {})
    assert [(point["point"], point["on_front"]) for point in front["points"]] == [("t000-a", False), ("t000-b", True)]
