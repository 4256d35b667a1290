"""Early stopping's laws: only equals are compared, and what was known before a kill is known after it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sweep.stopping import BudgetStopper, goes_on

VALUES = st.lists(st.floats(0, 1), max_size=20)


def result(trial: str, points: int, hypervolume: float, *, finished: bool = False, went_on: bool = False) -> dict:
    return {
        "trial": trial, "points": points, "hypervolume": hypervolume, "finished": finished, "went_on": went_on,
    }  # fmt: skip


@given(VALUES, st.floats(0, 1))
def test_a_factor_of_one_stops_none(before, value):
    assert goes_on(value, before, 1)


@given(st.floats(0, 1), st.floats(1, 10))
def test_the_first_always_goes_on(value, factor):
    assert goes_on(value, [], factor)


@given(st.lists(st.floats(0, 1), min_size=1), st.floats(1, 10))
def test_who_is_as_good_as_the_best_goes_on_and_a_better_one_is_never_stopped_first(before, factor):
    assert goes_on(max(before), before, factor)
    judged = [goes_on(value, before, factor) for value in sorted(before)]
    assert judged == sorted(judged)


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_of_many_the_best_share_goes_on(factor):
    before = list(np.linspace(0, 1, 1000))
    share = np.mean([goes_on(value, before, factor) for value in before])
    assert share == pytest.approx(1 / factor, abs=0.002)


def test_trials_are_compared_at_the_same_budget_only():
    stopper = BudgetStopper(2, {})
    assert not stopper("a", result("t000", 1, 0.4))
    assert not stopper("a", result("t000", 2, 0.6))
    # Far below t000 as it stands now, but above it at this budget.
    assert not stopper("b", result("t001", 1, 0.45))
    assert stopper("b", result("t001", 2, 0.5))
    assert stopper("c", result("t002", 1, 0.3))


def test_epochs_and_last_points_stop_nothing():
    stopper = BudgetStopper(2, {"t000": [0.5, 0.9]})
    assert not stopper("b", {"trial": "t001", "finished": False, "phase": "search"})
    assert not stopper("b", result("t001", 2, 0.1, finished=True))


def test_a_resumed_session_judges_as_the_one_before():
    told = [
        ("t000", 1, 0.5),
        ("t001", 1, 0.4),
        ("t000", 2, 0.7),
        ("t002", 1, 0.45),
        ("t002", 2, 0.6),
        ("t003", 1, 0.41),
    ]
    undisturbed = BudgetStopper(2, {})
    expected = [undisturbed("", result(*each)) for each in told]
    for cut in range(len(told)):
        reached: dict[str, list[float]] = {}
        for trial, _, volume in told[:cut]:
            reached.setdefault(trial, []).append(volume)
        resumed = BudgetStopper(2, reached)
        assert [resumed("", result(*each)) for each in told[cut:]] == expected[cut:]


def test_a_point_told_again_is_judged_once():
    """After a failure in the same session, and after a kill, though better ones have come since."""
    stopper = BudgetStopper(2, {})
    assert not stopper("a", result("t000", 1, 0.5))
    assert not stopper("b", result("t001", 1, 0.6))
    assert not stopper("a", result("t000", 1, 0.5))
    resumed = BudgetStopper(2, {"t000": [0.5], "t001": [0.6]})
    assert not resumed("a", result("t000", 1, 0.5, went_on=True))
    assert resumed("a", result("t000", 1, 0.5))  # killed before it went on: it is judged now
    assert not resumed("b", result("t001", 1, 0.6))
