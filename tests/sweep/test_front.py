"""The front against the slow and obvious way; laws of its area."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasprune.errors import SettingsError
from sweep import front as front_module
from sweep.front import on_front

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
