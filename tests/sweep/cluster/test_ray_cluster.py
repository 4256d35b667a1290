"""How a process that Ray runs in begins and ends, and how many trials its nodes take."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from nasprune.errors import SettingsError
from sweep.cluster.ray_cluster import Growth, Places, ended_as_by_ctrl_c, ray_cluster


@pytest.fixture
def handlers():
    """The system's own while a test runs, whatever Ray has set in this process, and what there was afterwards."""
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = {number: signal.signal(number, signal.SIG_DFL) for number in numbers}
    yield
    for number, handler in before.items():
        signal.signal(number, signal.SIG_DFL if handler is None else handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_a_closed_terminal_interrupt_where_ctrl_c_is_ignored(handlers, number):
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with pytest.raises(KeyboardInterrupt), ended_as_by_ctrl_c():
        os.kill(os.getpid(), number)
    assert signal.getsignal(number) == signal.SIG_DFL


def test_a_closed_terminal_does_not_end_what_was_told_to_outlive_it(handlers):
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with ended_as_by_ctrl_c():
        os.kill(os.getpid(), signal.SIGHUP)
    assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN


def test_sigterm_goes_to_whoever_handles_ctrl_c_at_that_time(handlers):
    told = []
    with ended_as_by_ctrl_c():
        signal.signal(signal.SIGINT, lambda number, frame: told.append(number))
        os.kill(os.getpid(), signal.SIGTERM)
    assert told == [signal.SIGINT]


def test_another_thread_than_the_main_one_leaves_handlers_alone(handlers):
    def enter():
        with ended_as_by_ctrl_c():
            seen.append(signal.getsignal(signal.SIGTERM))

    seen = []
    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_nodes_that_join_late_take_trials(monkeypatch):
    nodes, now, allowed = [{"CPU": 2.0}], [0.0], []
    monkeypatch.setattr("ray.nodes", lambda: [{"Alive": True, "Resources": node} for node in nodes])
    places = Places(trial={"CPU": 1.0, "GPU": 0.3}, at_once=2, dense={"CPU": 1.0, "GPU": 1.0}, device="auto")
    growth = Growth(places, allowed.append, clock=lambda: now[0])

    def look_with(*gpus: float) -> list[int]:
        nodes[:] = [{"CPU": 8.0, "GPU": each} for each in gpus] + [{"CPU": 64.0}]
        now[0] += 20
        growth.look()
        growth.look()
        return allowed

    assert look_with(0.6) == []
    assert look_with(1.0, 2.0) == [9]
    assert look_with(1.0) == [9]  # a node that went ends no trial by itself
    assert look_with(1.0, 2.0, 1.0) == [9, 12]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (Exception("The current node timed out during startup. This ..."), "it is too busy, or short of memory"),
        (FileNotFoundError(2, "No such file or directory", "/nowhere/.ray"), "set HOME to a folder that can be writ"),
    ],
)
def test_what_keeps_ray_from_starting_is_told_apart(handlers, monkeypatch, error, expected):
    def init(**_given: object) -> None:
        raise error

    monkeypatch.setenv("HOME", "/nowhere")
    monkeypatch.setattr("ray.init", init)
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.setenv("RAY_ADDRESS", "local")
    with pytest.raises(SettingsError, match=expected), ray_cluster():
        pytest.fail("it has started")


@pytest.mark.parametrize("kind", ["too long", "a file"])
def test_ray_that_cannot_start_here_says_what_to_set(handlers, tmp_path, monkeypatch, kind):
    folder = tmp_path / ("x" * 80 if kind == "too long" else "file")
    folder.mkdir() if kind == "too long" else folder.touch()
    monkeypatch.setenv("RAY_TMPDIR", str(folder))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    with (
        pytest.raises(SettingsError, match=f"Ray cannot start on this machine with its files in {folder}"),
        ray_cluster(),
    ):
        pytest.fail("it has started")
