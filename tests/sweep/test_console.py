"""What is printed where there is no terminal."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tty

from sweep.console import StandardOutput
from sweep.report.text import table
from tests.sweep.report.fronts import front_of

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


def test_a_run_outlives_its_terminal():
    """One that was disowned; others get a signal when it is closed."""
    terminal, output = os.openpty()
    tty.setraw(output)
    running = subprocess.Popen(
        [sys.executable, "-c", PRINTING],
        stdin=subprocess.PIPE, stdout=output, stderr=subprocess.PIPE, text=True, env={**os.environ, "TERM": "dumb"},
    )  # fmt: skip
    os.close(output)
    shown = b""
    while b"dense network" not in shown:
        shown += os.read(terminal, 1000)
    os.close(terminal)
    assert running.communicate() == (None, "")
    assert running.returncode == 0


def test_a_locale_that_lacks_a_letter_ends_no_study(monkeypatch):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    console = StandardOutput()
    console.print(table(front_of([(0.24, 0.9, 0.25)])))
    console.print("/Höhe/front.html")
    sys.stdout.flush()
    assert b"90.00 %" in written.getvalue()
    assert rb"/H\xf6he/front.html" in written.getvalue()


def test_a_table_is_whole_where_there_is_no_terminal(capsys, monkeypatch):
    """Point names are what is promoted by."""
    monkeypatch.setenv("COLUMNS", "60")  # of a shell that has exported it
    name = f"t000-12.5pct-polished20-{'x' * 60}"
    StandardOutput().print(table(front_of([(0.24, 0.9, 0.25)], point=name)))
    lines = capsys.readouterr().out.splitlines()
    assert any(name in line and "90.00 %" in line for line in lines)
    assert max(map(len, lines)) < 200
