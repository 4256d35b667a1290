"""What is printed where there is no terminal."""

from __future__ import annotations

import subprocess
import sys

PRINTING = """
import sys
from nasprune.commandline import in_one_line
from sweep.console import StandardOutput
from sweep.display import Display

def main():
    with Display(StandardOutput(), "s", trials=1, work=range(2)) as display:
        display.say("dense network")
        sys.stdin.read()
        display.say("a point")
    return 0

sys.exit(in_one_line(main, stopped="the same command goes on from here"))
"""


def test_a_run_whose_reader_has_gone_ends_as_by_ctrl_c():
    """As `head -1` goes, in the middle of a study."""
    running = subprocess.Popen(
        [sys.executable, "-c", PRINTING],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stdout.readline() == "dense network\n"
    running.stdout.close()
    running.stdin.close()
    assert running.stderr.read() == "the same command goes on from here\n"
    assert running.wait() == 130
    running.stderr.close()
