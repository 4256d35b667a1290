"""One driver at a time over a bucket, and none for ever."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from nasprune.errors import SettingsError
from sweep.storage import claim as claiming
from sweep.storage.bucket import MIRRORS, Bucket, open_storage
from sweep.storage.claim import held

Node = Callable[[str], Bucket]


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(claiming, "BEAT", 0.2)
    monkeypatch.setattr(claiming, "LIFE", 2.0)
    monkeypatch.setattr(claiming, "_SETTLE", 0.1)


@pytest.fixture
def node(tmp_path: Path, monkeypatch) -> Node:
    def build(name: str) -> Bucket:
        monkeypatch.setenv(MIRRORS, str(tmp_path / name))
        bucket = open_storage((tmp_path / "bucket").as_uri())
        assert isinstance(bucket, Bucket)
        return bucket

    return build


def kept(bucket: Bucket) -> dict | None:
    content = bucket.read("s/claim.json")
    return None if content is None else json.loads(content)


def comes(wanted: Callable[[], bool]) -> bool:
    """Waits for it, but not for ever."""
    deadline = time.monotonic() + 30
    while not wanted():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def died(bucket: Bucket) -> None:
    """What a driver that was killed leaves behind."""
    content = {"owner": "other", "mirror": claiming._mirror(bucket), "host": "host1", "beats": 7}
    bucket.write("s/claim.json", json.dumps(content).encode())


def test_a_second_driver_is_refused_while_the_first_lives(node: Node):
    said: list[str] = []
    with held(node("one"), "s", said.append) as claim:
        with (
            pytest.raises(SettingsError, match="study 's' is being run by another process"),
            held(node("two"), "s", said.append),
        ):
            pytest.fail("two drivers hold one study")
        claim.check()
        with held(node("two"), "another", said.append):
            pass
    assert kept(node("one")) is None
    with held(node("two"), "s", said.append):
        pass
    assert len(said) == 1
    assert "waiting up to 2 s to see whether it lives" in said[0]


def test_a_dead_drivers_claim_runs_out(node: Node):
    died(node("one"))
    said: list[str] = []
    with held(node("two"), "s", said.append) as claim:
        claim.check()
        assert kept(node("two"))["owner"] != "other"
    assert [line.partition(":")[0] for line in said] == [
        "study 's' is claimed by a process on host1",
        "the process on host1 that ran study 's' is gone",
    ]


def test_on_the_same_disk_nobody_waits_for_the_dead(node: Node):
    died(node("one"))
    said: list[str] = []
    with held(node("one"), "s", said.append):
        pass
    assert not said


def test_a_driver_that_was_away_for_too_long_stops(node: Node):
    one = node("one")
    with held(one, "s", print) as claim:
        died(node("two"))  # somebody took over
        assert comes(lambda: claim._lost)
        with pytest.raises(SettingsError, match="was taken over by another process"):
            claim.check()
    assert kept(one)["owner"] == "other", "another's claim is not released"


def test_a_driver_that_slept_with_its_machine_looks_at_its_claim_first(node: Node, monkeypatch):
    """Another took over meanwhile, and by time.monotonic() no time has passed."""
    monkeypatch.setattr(claiming, "BEAT", 60)  # no beat tells it
    with held(node("one"), "s", print) as claim:
        claim.check()
        died(node("two"))
        awake = time.clock_gettime
        slept = {claiming._CLOCK: 3600.0}
        monkeypatch.setattr(time, "clock_gettime", lambda clock: awake(clock) + slept.get(clock, 0.0))
        with pytest.raises(SettingsError, match="was taken over by another process"):
            claim.check()


def test_a_driver_that_comes_back_writes_nothing_that_it_may_not(node: Node, monkeypatch, tmp_path):
    """Cut off while it writes, another took over: its next try is not made."""
    one = node("one")
    with held(one, "s", print) as claim, monkeypatch.context() as patch:
        one.before_trying_again = claim.check
        monkeypatch.setattr(claiming, "BEAT", 60)  # no beat tells it
        claim._seen -= claiming.LIFE
        patch.setattr("sweep.storage.bucket._PAUSES", (0.01, 0.01))
        patch.setattr(Bucket, "_put", _once_away(lambda: died(node("two"))))
        (one.root / "s").mkdir(exist_ok=True)
        (one.root / "s" / "file").write_text("mine")
        with pytest.raises(SettingsError, match="was taken over by another process"):
            one.store_file("s/file")
    assert node("two").read("s/file") is None


def _once_away(meanwhile: Callable[[], object]):
    put, tries = Bucket._put, []

    def away(self: Bucket, path: Path, name: str) -> None:
        tries.append(name)
        if len(tries) == 1:
            meanwhile()
            raise OSError("away")
        put(self, path, name)

    return away


def test_while_the_bucket_is_away_a_driver_keeps_its_claim(node: Node, monkeypatch):
    one = node("one")
    with held(one, "s", print) as claim:
        with monkeypatch.context() as patch:
            tries = []

            def away(*_args):
                tries.append(1)
                raise OSError("away")

            patch.setattr(Bucket, "read", away)
            assert comes(lambda: len(tries) >= 3)
        before = kept(one)["beats"]
        assert comes(lambda: kept(one)["beats"] != before)
        claim.check()


def test_of_two_that_begin_at_once_one_holds(node: Node):
    holders, refused, ready = [], [], threading.Barrier(2)

    def drive(bucket: Bucket) -> None:
        ready.wait()
        try:
            with held(bucket, "s", print):
                holders.append(bucket)
                comes(lambda: refused)
        except SettingsError as error:
            refused.append(str(error))

    threads = [threading.Thread(target=drive, args=[node(name)]) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(holders), len(refused)) == (1, 1)
    assert "is being run by another process" in refused[0]
