"""Choosing a point: the one that was asked for, or in one line why there is none."""

import pytest

from nasprune.errors import SettingsError
from sweep.promoting.choosing import MACS, MACS_SHARE, Cost, choose, missed, told
from sweep.report.view import milliseconds


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
        ({"min_accuracy": 0.95}, "t000-b0.5 (MACs share 0.500, accuracy 0.9300)"),
        ({"point": "t003-b0.2"}, "nearest name is t003-b0.1"),
        ({"point": "t00"}, "nearest name is t003-b0.1"),
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


LATENCY = Cost(key="int8_latency_ms", name="latency in int8", shown=milliseconds, accuracy="int8_val_accuracy")
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


@pytest.mark.parametrize(
    ("asked", "expected"),
    [({"at_most": 5.0}, "b"), ({"at_most": 3.0}, "c"), ({"min_accuracy": 0.7}, "b"), ({"min_accuracy": 0.9}, "old")],
    ids=str,
)
def test_a_file_is_chosen_by_its_own_accuracy(asked, expected):
    """The network of a is the best, but its INT8 file is next to chance. Of the file of old no more is known."""
    measured = {"a": (0.95, 2.0, 0.3), "b": (0.90, 4.0, 0.8), "c": (0.85, 1.0, 0.6), "old": (0.93, 6.0, None)}
    points = [
        record(name, 0.1, accuracy) | {LATENCY.key: cost} | ({} if own is None else {LATENCY.accuracy: own})
        for name, (accuracy, cost, own) in measured.items()
    ]
    assert choose(points, cost=LATENCY, **asked)["point"] == expected
    assert missed(points, cost=LATENCY, min_accuracy=0.80004)["point"] == "b"
    assert told(points[0], LATENCY) == "a (latency in int8 2.00 ms, accuracy 0.3000)"


def test_what_was_never_measured_cannot_be_chosen_by():
    with pytest.raises(SettingsError, match="never measured"):
        choose(STUDY, cost=LATENCY, at_most=3.0)
    with pytest.raises(
        SettingsError, match=r"latency in int8 of at most 0.50 ms; the cheapest is t003-b0.1 \(latency in int8 1.00 ms"
    ):
        choose(MEASURED, cost=LATENCY, at_most=0.5)


def test_nothing_can_be_chosen_from_an_empty_study():
    with pytest.raises(SettingsError, match="no finished point"):
        choose([], point="t000-b0.5")


def test_costs_are_told_as_tables_show_them_and_flags_take_them():
    with pytest.raises(SettingsError, match=r"of MACs of at most 1.00 M; the cheapest is a \(number of MACs 2.68 M,"):
        choose([{**record("a", 0.1, 0.9), "macs": 2_675_123}], cost=MACS, at_most=1e6)


@pytest.mark.parametrize("begun", ["t000", "t000-", "t000-1"])
def test_of_names_the_nearest_is_one_that_goes_on_as_given(begun):
    """By letters alone a shorter one is nearer to it."""
    names = [record(name, 0.1, 0.9) for name in ("t001-5pct", "t000-10pct-polished", "t010-1pct")]
    with pytest.raises(SettingsError, match="nearest name is t000-10pct-polished"):
        choose(names, point=begun)


@pytest.mark.parametrize(
    ("asked", "chosen", "left_out", "words"),
    [
        ({"min_accuracy": 0.4167}, "b", "a", "a (MACs share 0.099, accuracy 0.4167, exactly 0.41666)"),
        ({"at_most": 0.099}, "0", "a", "a (MACs share 0.099, exactly 0.09915, accuracy 0.4167)"),
        ({"min_accuracy": 0.4168}, "b", None, ""),
        ({"min_accuracy": 0.41666}, "a", None, ""),
        ({"at_most": 0.0992}, "a", None, ""),
    ],
    ids=str,
)
def test_a_figure_that_tables_rounded_is_known_again(asked, chosen, left_out, words):
    """Both 0 and a have a share of 9.9 %, and the accuracy of a is 41.67 %, where figures are rounded."""
    study = [record("0", 0.0989, 0.4), record("a", 0.09915, 0.41666), record("b", 0.5, 0.6), record("c", 0.6, 0.41669)]
    assert choose(study, **asked)["point"] == chosen
    close = missed(study, **asked)
    assert (close and close["point"]) == left_out
    assert (told(close, MACS_SHARE, **asked) if close else "") == words


def test_a_refusal_tells_apart_what_tables_show_alike():
    with pytest.raises(
        SettingsError, match=r"at most 0\.099; the cheapest is a \(MACs share 0\.099, exactly 0\.09915, "
    ):
        choose([record("a", 0.09915, 0.9)], at_most=0.099)
    with pytest.raises(SettingsError, match=r"of 0\.9334 or more; .* accuracy 0\.9334, exactly 0\.93336\)"):
        choose([record("a", 0.09915, 0.93336)], min_accuracy=0.9334)
