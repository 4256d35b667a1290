"""The front against the slow and obvious way; laws of its area; choosing a point."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasprune.errors import SettingsError
from sweep import front as front_module
from sweep.front import Cost, choose, on_front

# Few distinct values, so that ties and exact duplicates happen often.
COST = st.integers(1, 12).map(lambda twelfth: twelfth / 12)
ACCURACY = st.integers(0, 10).map(lambda tenth: tenth / 10)
POINTS = st.lists(st.tuples(COST, ACCURACY), max_size=25)


def columns(points):
    return tuple(np.array(points, dtype=float).reshape(-1, 2).T)


def beats(one, other):
    return one[0] <= other[0] and one[1] >= other[1] and one != other


def slow_front(points):
    return [
        not any(beats(other, point) for other in points) and point not in points[:index]
        for index, point in enumerate(points)
    ]


@given(POINTS)
def test_the_front_is_what_comparing_every_pair_gives(points):
    assert on_front(*columns(points)).tolist() == slow_front(points)


@given(POINTS, st.randoms())
def test_the_order_of_points_does_not_matter(points, random):
    shuffled = random.sample(points, len(points))
    kept = [
        sorted(point for point, good in zip(order, on_front(*columns(order)), strict=True) if good)
        for order in (points, shuffled)
    ]
    assert kept[0] == kept[1]
    assert hypervolume(*columns(points)) == pytest.approx(hypervolume(*columns(shuffled)))


@given(POINTS)
def test_the_front_of_the_front_is_itself(points):
    cost, accuracy = columns(points)
    front = on_front(cost, accuracy)
    assert on_front(cost[front], accuracy[front]).all()
    assert front.any() == bool(points)


@given(POINTS)
def test_along_the_front_accuracy_rises_with_cost(points):
    cost, accuracy = columns(points)
    front = on_front(cost, accuracy)
    order = np.argsort(cost[front])
    assert (np.diff(cost[front][order]) > 0).all()
    assert (np.diff(accuracy[front][order]) > 0).all()


def hypervolume(cost, accuracy, floor=1 / 13):
    return front_module.hypervolume(cost, accuracy, floor=floor)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 10)), max_size=8))
def test_the_hypervolume_is_the_count_of_beaten_cells(cells):
    """Costs are powers of a half down to 1/64, so on the log axis the area can be counted cell by cell."""
    beaten = np.zeros((6, 10), dtype=bool)
    for halvings, tenths in cells:
        beaten[: min(halvings, 6), :tenths] = True  # 1/128 lies below the floor, and counts as it
    cost, accuracy = [0.5**h for h, _ in cells], [t / 10 for _, t in cells]
    assert hypervolume(cost, accuracy, floor=1 / 64) == pytest.approx(beaten.sum() / 60)


@given(POINTS, st.tuples(COST, ACCURACY))
def test_a_new_point_never_shrinks_the_area_and_grows_it_if_it_beats_the_front(points, new):
    before, after = hypervolume(*columns(points)), hypervolume(*columns([*points, new]))
    assert after >= before - 1e-12
    useful = new[0] < 1 and new[1] > 0 and not any(beats(old, new) or old == new for old in points)
    assert (after > before + 1e-12) == useful


@given(POINTS)
def test_only_the_front_counts_for_the_area(points):
    cost, accuracy = columns(points)
    front = on_front(cost, accuracy)
    assert hypervolume(cost, accuracy) == hypervolume(cost[front], accuracy[front])


def test_the_area_of_known_fronts():
    assert hypervolume([], []) == 0
    assert hypervolume([1.0], [1.0]) == 0
    assert hypervolume([0.01], [0.8], floor=0.01) == pytest.approx(0.8)
    assert hypervolume([0.1], [0.8], floor=0.01) == pytest.approx(0.4)  # half of the axis is beyond
    assert hypervolume([0.1, 0.01], [0.8, 0.6], floor=0.01) == pytest.approx(0.7)
    assert hypervolume([0.001], [0.8], floor=0.01) == pytest.approx(0.8)


@pytest.mark.parametrize("floor", [0.0, 1.0, -1.0, float("nan")])
def test_a_floor_that_makes_no_axis_is_refused(floor):
    with pytest.raises(SettingsError, match="floor"):
        hypervolume([0.5], [0.5], floor=floor)


@pytest.mark.parametrize(
    ("cost", "accuracy", "told"),
    [
        ([0.1, 0.2], [0.5], "(2,) and (1,)"),
        ([0.1, float("nan")], [0.5, 0.5], "cost of point 1 is nan"),
        ([0.1, 0.2], [float("inf"), 0.5], "accuracy of point 0 is inf"),
    ],
)
def test_what_cannot_be_compared_is_refused(cost, accuracy, told):
    for function in (on_front, hypervolume):
        with pytest.raises(SettingsError) as refusal:
            function(cost, accuracy)
        assert told in str(refusal.value)


def record(name, share, accuracy):
    return {"point": name, "macs_ratio": share, "val_accuracy": accuracy}


STUDY = [
    record("t000-b0.5", 0.50, 0.93),
    record("t001-b0.25", 0.249, 0.91),
    record("t002-b0.25", 0.250, 0.90),  # beaten by the one above
    record("t003-b0.1", 0.098, 0.85),
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"at_most": 1.0}, "t000-b0.5"),
        ({"at_most": 0.499}, "t001-b0.25"),
        ({"at_most": 0.249}, "t001-b0.25"),
        ({"at_most": 0.2}, "t003-b0.1"),
        ({"min_accuracy": 0.0}, "t003-b0.1"),
        ({"min_accuracy": 0.86}, "t001-b0.25"),
        ({"min_accuracy": 0.91}, "t001-b0.25"),
        ({"min_accuracy": 0.93}, "t000-b0.5"),
        ({"point": "t002-b0.25"}, "t002-b0.25"),
    ],
    ids=str,
)
def test_the_point_that_was_asked_for_is_chosen(asked, expected):
    assert choose(STUDY, **asked)["point"] == expected
    assert choose(STUDY[::-1], **asked)["point"] == expected


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"at_most": 0.05}, "t003-b0.1 (MACs share 0.098,"),
        ({"min_accuracy": 0.95}, "t000-b0.5 (MACs share 0.5, accuracy 0.9300)"),
        ({"point": "t003-b0.2"}, "t003-b0.1"),
        ({"min_accuracy": 93}, "93"),
        ({"at_most": -0.1}, "-0.1"),
        ({"at_most": float("nan")}, "nan"),
        ({}, "none was given"),
        ({"at_most": 0.5, "min_accuracy": 0.9}, "at most 0.5 and min_accuracy 0.9"),
    ],
    ids=str,
)
def test_what_cannot_be_chosen_is_told_in_one_line_with_the_nearest(asked, told):
    with pytest.raises(SettingsError) as refusal:
        choose(STUDY, **asked)
    assert told in str(refusal.value)
    assert "\n" not in str(refusal.value)


LATENCY = Cost(key="int8_latency_ms", name="int8 latency", unit=" ms")
MEASURED = [
    {**STUDY[0], "int8_latency_ms": 4.0},
    {**STUDY[1], "int8_latency_ms": 5.0},  # fewer MACs than the one above, but slower and less accurate
    STUDY[2],
    {**STUDY[3], "int8_latency_ms": 1.0},
]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"at_most": 5.0}, "t000-b0.5"),
        ({"at_most": 3.9}, "t003-b0.1"),
        ({"min_accuracy": 0.86}, "t000-b0.5"),
        ({"point": "t002-b0.25"}, "t002-b0.25"),
    ],
    ids=str,
)
def test_a_point_is_chosen_by_what_its_files_measure(asked, expected):
    assert choose(MEASURED, cost=LATENCY, **asked)["point"] == expected


def test_what_was_never_measured_cannot_be_chosen_by():
    with pytest.raises(SettingsError, match="never measured"):
        choose(STUDY, cost=LATENCY, at_most=3.0)
    with pytest.raises(
        SettingsError, match=r"int8 latency of at most 0.5 ms; the cheapest is t003-b0.1 \(int8 latency 1 ms"
    ):
        choose(MEASURED, cost=LATENCY, at_most=0.5)


def test_nothing_can_be_chosen_from_an_empty_study():
    with pytest.raises(SettingsError, match="no finished point"):
        choose([], point="t000-b0.5")
