"""A bucket behind mirrors: what is whole arrives whole, what is not exists nowhere; a plain folder costs nothing."""

from __future__ import annotations

import json
import pickle
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import torch
from torch import nn

from nasprune.errors import ArtifactError
from nasprune.record import RECORD
from nasprune.session import Session, State
from sweep.commandline import parse_settings
from sweep.storage import bucket as storing
from sweep.storage.bucket import Bucket, Storage, open_storage
from tests.buckets import Node, write


def point(bucket: Storage, name: str = "s/points/t000-50pct", *, accuracy: float = 0.5) -> str:
    write(bucket, f"{name}/weights.safetensors", f"weights of {accuracy}")
    write(bucket, f"{name}/{RECORD}", json.dumps({"accuracy": accuracy}))
    return name


def content(bucket: Storage, name: str) -> dict[str, str]:
    folder = bucket.root / name
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_what_one_node_stores_another_fetches(node: Node):
    one, two = node("one"), node("two")
    assert one.root != two.root
    write(one, "s/settings.json", "{}")
    one.store_file("s/settings.json")
    name = point(one)
    one.store_folder(name)
    one.store_path(write(one, "s/trials/t000/t000-50pct/search.safetensors", "state"))
    assert two.content("s/settings.json") == b"{}"
    assert not (two.root / "s/settings.json").exists(), "what is read is not fetched"
    assert two.fetch_file("s/settings.json")
    assert two.fetch_folder(name)
    two.fetch_files("s/trials/t000")
    for each in ("s/points", "s/trials/t000"):
        assert {k: v for k, v in content(two, each).items() if not k.endswith(".lock")} == content(one, each)
    assert (two.root / "s/settings.json").read_text() == "{}"
    write(one, "s/front.json")
    one.store_file("s/front.json")
    assert two.studies() == ["s"]
    two.remove(name)
    two.remove("s/settings.json")
    assert not one.fetch_folder(name)
    assert not one.fetch_file("s/settings.json")
    assert not (one.root / name).exists(), "what the bucket has no more is a node's own no more"
    two.remove(name)  # twice is once


def test_what_is_nowhere_is_not_fetched(node: Node):
    one = node("one")
    write(one, "s/settings.json")
    point(one)
    write(one, "s/trials/t000/x.safetensors")
    with pytest.raises(FileNotFoundError, match=r"there is no s/settings\.json in"):
        one.content("s/settings.json")
    assert not one.fetch_file("s/settings.json")
    assert not one.fetch_folder("s/points/t000-50pct")
    one.fetch_files("s/trials/t000")
    one.fetch_folders("s/points")
    one.fetch_database("s/optuna.db")
    left = [path for path in (one.root / "s").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert not left, "a mirror alone counts for nothing"


def test_a_folder_whose_storing_was_killed_does_not_exist(node: Node, monkeypatch):
    one, two = node("one"), node("two")
    name = point(one)
    put = Bucket._put

    def killed(self, path, name):
        if path.name == RECORD:
            raise KeyboardInterrupt
        put(self, path, name)

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "_put", killed)
        with pytest.raises(KeyboardInterrupt):
            one.store_folder(name)
    assert not two.fetch_folder(name)
    two.fetch_folders("s/points")
    assert not (two.root / name).exists()
    one.store_folder(name)
    assert two.fetch_folder(name)


@pytest.mark.parametrize("what", ["weights.safetensors", RECORD])
def test_a_fetch_that_was_killed_leaves_nothing_under_its_name(node: Node, monkeypatch, what):
    one, two = node("one"), node("two")
    name = point(one)
    one.store_folder(name)
    get = Bucket._get

    def killed(self, name, path):
        get(self, name, path)
        if path.name == what:
            path.write_text("half")
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Bucket, "_get", killed)
        with pytest.raises(KeyboardInterrupt):
            two.fetch_folder(name)
    assert not (two.root / name).exists()
    assert two.fetch_folder(name)
    assert content(two, name) == content(one, name)


def test_a_point_that_is_there_stays_and_replaces_any_other_of_its_name(node: Node):
    one, two = node("one"), node("two")
    name = point(one, accuracy=0.5)
    one.store_folder(name)
    point(two, accuracy=0.6)
    two.store_folder(name)
    assert two.fetch_folder(name)
    assert content(two, name) == content(one, name)
    assert json.loads((two.root / name / RECORD).read_text())["accuracy"] == 0.5


@pytest.mark.parametrize("fetch", ["fetch_folder", "fetch_folders"])
def test_what_was_added_to_a_folder_reaches_those_who_have_it(node: Node, monkeypatch, fetch):
    """Files for the board are made at the end, by one machine; their report says that all of them are there."""
    one, other = node("one"), node("other")
    for file in ("model.onnx", RECORD):
        write(one, f"s/points/p/{file}")
    one.store_folder("s/points/p")
    assert other.fetch_folder("s/points/p")
    for file in ("board.json", "board.onnx"):
        one.store_path(write(one, f"s/points/p/{file}", "measured"))
    came = []
    get = Bucket._get
    monkeypatch.setattr(Bucket, "_get", lambda self, name, path: (came.append(Path(name).name), get(self, name, path)))
    getattr(other, fetch)({"fetch_folder": "s/points/p", "fetch_folders": "s/points"}[fetch])
    assert came == ["board.onnx", "board.json"], "only what is new, and the report last"
    assert (other.root / "s/points/p/board.json").read_text() == "measured"


def test_files_of_a_killed_measurement_are_replaced_with_their_report(node: Node):
    """Killed before the report was written: another machine measured, and its report is not of what lies here."""
    one, other = node("one"), node("other")
    one.store_folder(point(one, "s/points/p"))
    write(one, "s/points/p/board.onnx", "half")
    for file in ("board.onnx", "board_int8.onnx", "board.json"):
        other.store_path(write(other, f"s/points/p/{file}", "stored"))
    one.fetch_folders("s/points")
    assert (one.root / "s/points/p/board.onnx").read_text() == "stored"


@pytest.mark.parametrize("stored", [False, True])
def test_files_for_the_board_that_never_reached_the_bucket_are_gone_with_the_session(node: Node, stored):
    """Those of another machine, if it has measured the point meanwhile, come in their place."""
    one, other = node("one"), node("other")
    one.store_folder(point(one, "s/points/p"))
    files = ("board.onnx", "board_int8.onnx", "board.json")
    for file in files:
        write(one, f"s/points/p/{file}", "killed")
        if stored:
            other.store_path(write(other, f"s/points/p/{file}", "stored"))
    one.fetch_folders("s/points")
    assert (one.root / "s/points/p/board.json").exists() == one.fetch_board("s/points/p") == stored
    if stored:
        assert {(one.root / f"s/points/p/{file}").read_text() for file in files} == {"stored"}


def test_all_points_come_at_once_and_only_whole_ones(node: Node):
    one, two = node("one"), node("two")
    for trial in range(20):
        one.store_folder(point(one, f"s/points/t{trial:03d}", accuracy=trial))
    one.store_path(write(one, "s/points/t999/weights.safetensors"))
    point(two, "s/points/t500")
    two.fetch_folders("s/points")
    assert sorted(path.parent.name for path in two.root.glob(f"s/points/[!.]*/{RECORD}")) == [
        f"t{trial:03d}" for trial in range(20)
    ]
    assert not list(two.root.glob("s/points/.*.partial"))


def test_a_database_is_copied_whole_while_it_is_in_use(node: Node):
    one, two = node("one"), node("two")
    (one.root / "s").mkdir(parents=True)
    with closing(sqlite3.connect(one.root / "s/optuna.db")) as database:
        database.execute("create table trials (number)")
        database.execute("insert into trials values (1)")
        database.commit()
        database.execute("insert into trials values (2)")  # not committed: no part of the copy
        one.store_database("s/optuna.db")
    write(two, "s/optuna.db", "of another life")
    write(two, "s/optuna.db-journal", "of a writer that was killed")
    two.fetch_database("s/optuna.db")
    with closing(sqlite3.connect(two.root / "s/optuna.db")) as database:
        assert database.execute("select number from trials").fetchall() == [(1,)]
    assert not (two.root / "s/optuna.db-journal").exists()


def test_a_database_that_cannot_be_copied_is_one_line(node: Node):
    one = node("one")
    write(one, "s/optuna.db", "not a database, but long enough to be read as one" * 100)
    with pytest.raises(ArtifactError, match=r"s/optuna\.db of .* cannot be copied: file is not a database"):
        one.store_database("s/optuna.db")


def test_a_storage_travels_without_credentials(node: Node):
    one = node("one")
    write(one, "x")
    one.store_file("x")  # with an open connection, too
    text = pickle.dumps(one)
    assert b"AWS" not in text
    assert b"secret" not in text.lower()
    assert pickle.loads(text).fetch_file("x")


def test_a_user_is_told_where_a_file_is(tmp_path):
    bucket = open_storage("s3://user@bucket/runs/?endpoint_override=host:9&scheme=http")
    assert bucket.where("s/front.html") == "s3://bucket/runs/s/front.html?endpoint_override=host:9&scheme=http"
    assert open_storage(str(tmp_path)).where("s/front.html") == str(tmp_path / "s" / "front.html")


def test_a_bucket_that_comes_back_is_waited_for(node: Node, monkeypatch):
    one = node("one")
    write(one, "x")
    waited: list[float] = []
    monkeypatch.setattr(storing.time, "sleep", waited.append)
    put = Bucket._put

    def away(self, path, name):
        if len(waited) < 3:
            raise OSError("AWS Error NETWORK_CONNECTION during PutObject operation: http://user:secret@host")
        put(self, path, name)

    monkeypatch.setattr(Bucket, "_put", away)
    one.store_file("x")
    assert waited == [1.0, 2.0, 4.0]
    monkeypatch.setattr(storing, "_PAUSES", (1.0,))
    waited.clear()
    with pytest.raises(ArtifactError, match="NETWORK_CONNECTION") as caught:
        one.store_file("x")
    assert "secret" not in str(caught.value)


def test_a_trial_goes_on_elsewhere_from_its_last_checkpoint(node: Node, monkeypatch):
    """A checkpoint is in the bucket before its epoch is reported."""
    clock = [100.0]
    monkeypatch.setattr("nasprune.session.time.monotonic", lambda: clock[0])
    one, two = node("one"), node("two")
    folder = "s/trials/t000/t000-50pct"

    def work(done: list[int], dies_at: int | None = None) -> Callable[[int], dict[str, float]]:
        def epoch(number: int) -> dict[str, float]:
            if number == dies_at:
                raise KeyboardInterrupt
            done.append(number)
            clock[0] += 10
            return {}

        return epoch

    reported: list[int] = []
    state = State(modules={"n": nn.Linear(2, 2)})
    session = Session(one.root / folder, lambda p: reported.append(p.epoch), kept=one.store_path)
    with pytest.raises(KeyboardInterrupt):
        session.run("tune", 5, work([], dies_at=3), state)
    assert reported == [1, 2, 3]
    two.fetch_files("s/trials/t000")
    again: list[int] = []
    elsewhere = State(modules={"n": nn.Linear(2, 2)})
    Session(two.root / folder, kept=two.store_path).run("tune", 5, work(again), elsewhere)
    assert again == [3, 4]
    assert all(torch.equal(a, b) for a, b in zip(state.flat().values(), elsewhere.flat().values(), strict=True))


def test_a_plain_folder_is_left_alone(tmp_path):
    folder = open_storage(str(tmp_path))
    assert type(folder) is Storage
    assert folder.root == tmp_path
    name = point(folder)
    before = content(folder, ".")
    folder.check()
    folder.store_folder(name)
    folder.store_file("nowhere")
    folder.store_database("nowhere")
    folder.fetch_files("s")
    folder.fetch_folders("s/points")
    folder.fetch_database("s/optuna.db")
    assert folder.fetch_folder(name)
    assert not folder.fetch_folder("s/points/t001")
    assert folder.fetch_file(f"{name}/{RECORD}")
    assert folder.content(f"{name}/{RECORD}") == (folder.root / name / RECORD).read_bytes()
    assert content(folder, ".") == before


def test_every_node_sees_its_own_mirror_of_the_same_settings(monkeypatch, tmp_path):
    settings = parse_settings(["--storage", "s3://bucket/runs?region=eu-west-1"]).resolved()
    monkeypatch.setenv(storing.MIRRORS, str(tmp_path / "one"))
    one = settings.directory
    monkeypatch.setenv(storing.MIRRORS, str(tmp_path / "two"))
    assert settings.directory.relative_to(tmp_path / "two") == one.relative_to(tmp_path / "one")
    monkeypatch.delenv(storing.MIRRORS)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert settings.directory.is_relative_to(tmp_path / ".cache" / "nasprune")
    other = parse_settings(["--storage", "s3://bucket/other?region=eu-west-1"])
    assert other.root != settings.root


def test_half_a_write_to_a_shared_folder_changes_nothing(tmp_path, monkeypatch):
    monkeypatch.setenv(storing.MIRRORS, str(tmp_path / "node"))
    bucket = open_storage((tmp_path / "far away").as_uri())
    assert isinstance(bucket, Bucket)
    bucket.write("s/x", b"old")

    def half(target) -> None:
        target.write(b"n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bucket._send("s/x", half)
    assert bucket.read("s/x") == b"old"
    assert bucket.names("s") == ["x"]
