"""Buckets of each kind, and nodes that see them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sweep.commandline import parse_settings
from sweep.settings import StudySettings
from sweep.storage import bucket as storing
from sweep.storage.bucket import Bucket, open_storage
from tests.buckets import KEYS, Node, Server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server() as made:
        yield made


@pytest.fixture(params=["file", "s3"])
def address(request, tmp_path, monkeypatch) -> str:
    """A fresh place in a bucket of each kind."""
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    if request.param == "file":
        return (tmp_path / "far away").as_uri()
    return request.getfixturevalue("server").address(f"bucket/{tmp_path.name}")


@pytest.fixture
def node(address, tmp_path, monkeypatch) -> Node:
    """The storage as a node of that name sees it: each has a disk of its own."""

    def build(name: str) -> Bucket:
        monkeypatch.setenv(storing.MIRRORS, str(tmp_path / name))
        bucket = open_storage(address)
        assert isinstance(bucket, Bucket)
        return bucket

    return build


@pytest.fixture
def settings(address) -> StudySettings:
    """Of a study of a few generated scenes in that bucket."""
    return parse_settings(["--scenes-per-class", "10", "--image-size", "16", "--storage", address]).resolved()
