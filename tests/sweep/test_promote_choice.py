"""What a point is chosen by is what was asked."""

from __future__ import annotations

from argparse import Namespace

import pytest

from nasprune.errors import SettingsError
from sweep import promote
from sweep.promoting import choice
from sweep.promoting.choosing import MACS, Cost
from sweep.report.view import milliseconds

BASE = ["--study", "s", "--alias", "champion"]


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
    given = Namespace(min_accuracy=None, precision=None)
    line = choice.just_missed(points, MACS, 2.68e6, given)
    assert line == (
        "b (number of MACs 2.68 M, exactly 2684000, accuracy 0.2684) misses the limit by less than tables show; "
        "--study s --point b takes it\n"
    )
    given.precision = "int8"
    assert choice.just_missed(points, MACS, 2.68e6, given).endswith("--study s --point b --precision int8 takes it\n")
    assert choice.just_missed(points, MACS, 2.69e6, given) == choice.just_missed(points, MACS, None, given) == ""


@pytest.mark.parametrize(
    ("flags", "key", "shown", "most"),
    [
        (["--max-macs", "9k"], "macs", "2.00 k", 9e3),
        (["--max-macs-ratio", "0.3"], "macs_ratio", "2000.000", 0.3),
        (["--max-latency-ms", "3"], "float32_latency_ms", "2000.00 ms", 3.0),
        (["--max-latency-ms", "3", "--precision", "int8"], "int8_latency_ms", "2000.00 ms", 3.0),
        (["--max-bytes", "900", "--precision", "int8"], "int8_bytes", "0.00 MB", 900.0),
        (["--min-accuracy", "0.9", "--by", "latency", "--precision", "int8"], "int8_latency_ms", "2000.00 ms", None),
        (["--min-accuracy", "0.9", "--by", "bytes"], "float32_bytes", "0.00 MB", None),
        (["--min-accuracy", "0.9"], "macs_ratio", "2000.000", None),
    ],
)
def test_what_a_point_is_chosen_by_is_what_was_asked(flags, key, shown, most):
    cost, at_most = choice.wanted(promote.parse([*BASE, *flags]))
    assert (cost.key, at_most) == (key, most)
    assert cost.shown(2000.0) == shown
    of_board = key.startswith(("float32", "int8"))
    assert cost.accuracy == (f"{key.split('_')[0]}_val_accuracy" if of_board else "val_accuracy")


@pytest.mark.parametrize("flags", [["--max-macs", "9k"], ["--max-macs-ratio", "0.3"], ["--min-accuracy", "0.9"]])
@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_a_precision_that_says_nothing_is_refused(flags, precision):
    with pytest.raises(SettingsError, match=f"--precision {precision} given with a choice by MACs"):
        promote.parse([*BASE, *flags, "--precision", precision])


def test_a_file_for_the_board_is_verified_where_it_counts_or_is_named():
    of = {("--max-bytes", "900"): "float32", ("--point", "p"): None, ("--max-macs", "9"): None}
    assert {flags: promote.parse([*BASE, *flags]).precision for flags in of} == of
    assert promote.parse([*BASE, "--point", "p", "--precision", "int8"]).precision == "int8"


def test_units_of_a_count_are_thousands_millions_and_billions():
    given = {"2": 2, "2k": 2e3, "2 k": 2e3, "300M": 3e8, "1.2G": 1.2e9}
    assert {text: promote._count(text) for text in given} == given
