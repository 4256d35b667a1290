"""Downloads: whole, gone on with after a stop, or one line that says what to do; never a wrong byte."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from huggingface_hub import close_session, constants

from nasprune.catalog import CATALOG
from nasprune.data import download as downloads
from nasprune.data.download import download, fetch
from nasprune.errors import DataError
from tests.data.hub import hosted, serve
from tests.data.scene_files import raises_one_line

CONTENT = np.random.default_rng(0).bytes(300_000)
BY_HAND = ("by hand from https://example.org/scenes", "--data")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(downloads, "_PAUSE", 0.0)
    monkeypatch.setattr(downloads, "_TIMEOUT", 5.0)
    monkeypatch.setattr(downloads, "_CHUNK", 10_000)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def hub():
    with serve() as server:
        server.files["set.zip"] = CONTENT
        yield server


def known(**changes):
    return replace(CATALOG["ucm"], homepage="https://example.org/scenes", archive=hosted(CONTENT, **changes))


def visible(directory):
    return sorted(path.name for path in directory.iterdir() if path.suffix != ".lock")


def test_a_whole_download(hub, tmp_path):
    path = download(known(), tmp_path / "downloads", endpoint=hub.endpoint)
    assert path == tmp_path / "downloads" / "set.zip"
    assert path.read_bytes() == CONTENT
    assert hub.asked == [("set.zip", None)]
    assert visible(path.parent) == ["set.zip"]


def test_content_is_on_the_disk_before_it_has_its_name(hub, tmp_path, monkeypatch):
    """By its name it is trusted from then on: a power cut must not leave the name with less behind it."""
    flushed, sync = {}, os.fsync

    def synced(descriptor):
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        flushed[path.name] = (tmp_path / "set.zip").exists()
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", synced)
    download(known(), tmp_path, endpoint=hub.endpoint)
    assert flushed == {f"set.zip.{hosted(CONTENT).sha256[:12]}.partial": False, tmp_path.name: True}


def test_what_is_there_is_not_asked_for_again(hub, tmp_path):
    for _ in range(2):
        download(known(), tmp_path, endpoint=hub.endpoint)
    assert len(hub.asked) == 1


def test_a_stopped_download_goes_on_where_it_stopped(hub, tmp_path):
    hub.statuses = [404]
    with pytest.raises(DataError):
        download(known(), tmp_path, endpoint=hub.endpoint)
    (partial,) = tmp_path.glob("*.partial")
    partial.write_bytes(CONTENT[:123_456])
    assert download(known(), tmp_path, endpoint=hub.endpoint).read_bytes() == CONTENT
    assert hub.asked[-1] == ("set.zip", "bytes=123456-")
    assert visible(tmp_path) == ["set.zip"]


def test_a_broken_connection_is_gone_on_with(hub, tmp_path):
    hub.break_after = [100_000, 50_000, 0, 30_000]
    assert download(known(), tmp_path, endpoint=hub.endpoint).read_bytes() == CONTENT
    starts = [int(wanted.removeprefix("bytes=").removesuffix("-")) for _, wanted in hub.asked[1:]]
    assert starts == sorted(starts)
    assert starts[0] > 0


def test_a_server_without_ranges_sends_all_again(hub, tmp_path):
    hub.ranges = False
    hub.break_after = [100_000]
    assert download(known(), tmp_path, endpoint=hub.endpoint).read_bytes() == CONTENT


def test_a_partial_file_that_is_whole_already_is_taken(hub, tmp_path):
    (tmp_path / f"set.zip.{hosted(CONTENT).sha256[:12]}.partial").write_bytes(CONTENT)
    assert download(known(), tmp_path, endpoint=hub.endpoint).read_bytes() == CONTENT


def test_a_busy_server_is_asked_again(hub, tmp_path):
    hub.statuses = [503, 429]
    assert download(known(), tmp_path, endpoint=hub.endpoint).read_bytes() == CONTENT


def test_a_wrong_checksum_removes_the_file(hub, tmp_path):
    with raises_one_line(DataError, "SHA-256", "000000000000", "try again", *BY_HAND):
        download(known(sha256="0" * 64), tmp_path, endpoint=hub.endpoint)
    assert visible(tmp_path) == []


def test_a_damaged_partial_file_is_not_gone_on_with_for_ever(hub, tmp_path):
    (tmp_path / f"set.zip.{hosted(CONTENT).sha256[:12]}.partial").write_bytes(b"other bytes")
    with raises_one_line(DataError, "SHA-256"):
        download(known(), tmp_path, endpoint=hub.endpoint)
    assert download(known(), tmp_path, endpoint=hub.endpoint).read_bytes() == CONTENT


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_refusal_is_told_at_once(hub, tmp_path, status):
    hub.statuses = [status] * 2
    with raises_one_line(DataError, str(status), *BY_HAND):
        download(known(), tmp_path, endpoint=hub.endpoint)
    assert len(hub.asked) == 1


def test_a_server_that_does_not_answer_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(downloads, "_TIMEOUT", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with raises_one_line(DataError, "no answer in 4 attempts", *BY_HAND):
            download(known(), tmp_path, endpoint=endpoint)


def test_a_machine_without_a_network_is_told_the_way_around(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as closed:
        endpoint = f"http://127.0.0.1:{closed.getsockname()[1]}"
    with raises_one_line(DataError, "no answer", *BY_HAND):
        download(known(), tmp_path, endpoint=endpoint)


@pytest.mark.parametrize(
    ("name", "value"),
    [("ALL_PROXY", "socks5://127.0.0.1:9"), ("HTTP_PROXY", "foo://127.0.0.1:9"), ("SSL_CERT_FILE", "/nowhere")],
)
def test_an_environment_that_cannot_be_used_is_told(hub, tmp_path, monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    close_session()  # of the environment as it was
    with raises_one_line(DataError, "cannot fetch", "proxy or certificates", *BY_HAND):
        download(known(), tmp_path, endpoint=hub.endpoint)


def test_offline_mode_is_respected(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with raises_one_line(DataError, "HF_HUB_OFFLINE", *BY_HAND):
        download(known(), tmp_path, endpoint=hub.endpoint)
    assert hub.asked == []


def test_a_folder_that_cannot_be_written_is_one_line(hub, tmp_path):
    (tmp_path / "file").touch()
    with raises_one_line(DataError, "cannot write in"):
        fetch(hosted(CONTENT), tmp_path / "file" / "downloads", instead="or not", endpoint=hub.endpoint)
