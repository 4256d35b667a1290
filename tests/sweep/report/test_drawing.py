"""A front drawn by another process: the same files, and no death of either end leaves half of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from nasprune.errors import DataError
from sweep.report.drawing import Drawing
from sweep.report.plot import draw
from sweep.report.web import page
from tests.sweep.processes import alive
from tests.sweep.report.fronts import FRONTS

FILES = ("front.json", "front.png", "front.html")


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / name for name in FILES]
    paths[0].write_text(json.dumps(FRONTS["tied"]))
    return paths


def test_it_draws_what_would_be_drawn_here(paths: list[Path], capfd):
    Drawing(*paths).end()
    assert paths[1].read_bytes() == draw(FRONTS["tied"])
    assert paths[2].read_text() == page(FRONTS["tied"])
    paths[0].write_text(json.dumps(FRONTS["one"]))
    Drawing(*paths).end()
    assert paths[1].read_bytes() == draw(FRONTS["one"]), "a picture that is there is replaced"
    assert sorted(path.name for path in paths[0].parent.iterdir()) == sorted(FILES)
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


@pytest.mark.parametrize("lacking", [1, 2])
def test_a_file_that_cannot_be_written_is_told_in_one_line(paths: list[Path], lacking, capfd):
    paths[lacking].mkdir()
    with pytest.raises(DataError, match="cannot write"):
        Drawing(*paths).end()
    assert paths[lacking].is_dir()
    assert not list(paths[0].parent.glob("*.unfinished"))
    assert capfd.readouterr().err == ""


def test_a_killed_one_is_followed_by_another(paths: list[Path]):
    drawing = Drawing(*paths)
    os.kill(drawing.pid, signal.SIGKILL)
    drawing.end()
    assert paths[1].read_bytes() == draw(FRONTS["tied"])


def test_it_ends_with_who_began_it(paths: list[Path]):
    began = (
        "import sys; from pathlib import Path; from sweep.report.drawing import Drawing; "
        "print(Drawing(*map(Path, sys.argv[1:])).pid, flush=True); sys.stdin.read()"
    )
    driver = subprocess.Popen(
        [sys.executable, "-c", began, *map(str, paths)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[3],
    )
    pid = int(driver.stdout.readline())
    os.kill(pid, signal.SIGSTOP)  # it has not drawn yet
    driver.kill()
    driver.communicate()
    os.kill(pid, signal.SIGCONT)
    deadline = time.monotonic() + 60
    while alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not alive(pid)
    assert not paths[1].exists()
