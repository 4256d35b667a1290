"""What a point is chosen by is what was asked."""

from __future__ import annotations

import pytest

from sweep import promote
from sweep.promoting import choice
from sweep.promoting.choosing import MACS, Cost
from sweep.report.view import milliseconds


def test_a_choice_by_latencies_of_several_machines_says_so():
    latency = Cost(key="int8_latency_ms", name="latency in int8", shown=milliseconds)
    points = [{"int8_latency_ms": 1.0, "board_machine": "fast"}, {"int8_latency_ms": 2.0, "board_machine": "slow"}, {}]
    told = choice.of_several_machines(points, latency)
    assert "measured on several machines" in told
    assert "fast; slow" in told
    assert choice.of_several_machines(points[1:], latency) == ""
    assert choice.of_several_machines(points, MACS) == ""


def test_a_limit_that_leaves_out_the_point_it_was_copied_from_says_so():
    points = [{"point": name, "study": "s", "macs": macs, "val_accuracy": macs / 1e7}
              for name, macs in (("a", 2_600_000), ("b", 2_684_000))]  # fmt: skip
    line = choice.just_missed(points, MACS, 2.68e6, None)
    assert line == (
        "b (number of MACs 2.68 M, exactly 2684000, accuracy 0.2684) misses the limit by less than tables show; "
        "--study s --point b takes it\n"
    )
    assert choice.just_missed(points, MACS, 2.69e6, None) == choice.just_missed(points, MACS, None, None) == ""


@pytest.mark.parametrize(
    ("flags", "key", "shown", "most"),
    [
        (["--max-macs", "9k"], "macs", "2.00 k", 9e3),
        (["--max-macs-ratio", "0.3"], "macs_ratio", "2000.000", 0.3),
        (["--max-latency-ms", "3"], "int8_latency_ms", "2000.00 ms", 3.0),
        (["--max-bytes", "900"], "int8_bytes", "0.00 MB", 900.0),
        (["--min-accuracy", "0.9", "--by", "latency"], "int8_latency_ms", "2000.00 ms", None),
        (["--min-accuracy", "0.9", "--by", "bytes"], "int8_bytes", "0.00 MB", None),
        (["--min-accuracy", "0.9"], "macs_ratio", "2000.000", None),
    ],
)
def test_what_a_point_is_chosen_by_is_what_was_asked(flags, key, shown, most):
    base = ["--study", "s", "--alias", "champion", "--precision", "int8"]
    cost, at_most = choice.wanted(promote.parse([*base, *flags]))
    assert (cost.key, at_most) == (key, most)
    assert cost.shown(2000.0) == shown


def test_units_of_a_count_are_thousands_millions_and_billions():
    given = {"2": 2, "2k": 2e3, "2 k": 2e3, "300M": 3e8, "1.2G": 1.2e9}
    assert {text: promote._count(text) for text in given} == given
