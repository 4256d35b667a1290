"""A bucket that cannot be used gives one clear line, before anything is trained, packed or written."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from sweep.commandline import command
from sweep.run import main
from tests.buckets import KEYS, Server, s3_server


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with s3_server() as made:
        yield made


@pytest.fixture
def refused(capsys, monkeypatch, tmp_path):
    """The one line that the command prints for a storage."""

    def build(storage: str) -> str:
        monkeypatch.setenv("NASPRUNE_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr(sys, "argv", ["run.py", "--scenes-per-class", "10", "--storage", storage])
        with pytest.raises(SystemExit) as exit_:
            command(main)
        assert exit_.value.code == 2
        said = capsys.readouterr()
        assert len(said.err.strip().splitlines()) == 1, said.err
        assert "secret" not in said.err.lower().replace("aws_secret_access_key", "")
        assert not [path for path in tmp_path.rglob("*") if path.is_file()], "nothing is written before all is right"
        return said.err.removeprefix("error: ")

    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    return build


@pytest.mark.parametrize(
    ("storage", "message"),
    [
        ("ftp://host/runs", "expected a folder, or an address that pyarrow knows"),
        ("s3://", "expected an address"),
        ("s3://bucket name/runs", "expected an address such as s3://bucket/folder"),
        ("s3://bucket/runs?colour=red", "expected an address such as s3://bucket/folder"),
        (
            "s3://bucket/runs?endpoint_override=127.0.0.1:9&scheme=http",
            "cannot be written (AWS Error NETWORK_CONNECTION",
        ),
        ("s3://user:secret@bucket/runs", "given with a password in it"),
        ("hdfs://host/runs", "Unable to load libjvm"),
    ],
)
def test_wrong_addresses(refused, storage, message):
    line = refused(storage)
    assert message in line
    assert line.startswith("storage '")


def test_no_such_bucket(refused, server: Server):
    assert "there is no such bucket; create it first" in refused(server.address("nowhere/runs"))


def test_a_mirror_that_cannot_be_written(refused, server: Server, monkeypatch):
    monkeypatch.setattr(Path, "mkdir", _full)
    line = refused(server.address("bucket/runs"))
    assert "to be mirrored in" in line
    assert "set NASPRUNE_CACHE to another folder" in line


def _full(*_args, **_kwargs):
    raise OSError(28, "No space left on device")


def test_credentials_without_the_right_to_write(refused, monkeypatch):
    """A server that checks rights, a user who may read and one nobody knows."""
    with s3_server() as strict:
        user = _reader(strict.url)
        requests.post(f"{strict.url}/moto-api/reset-auth", data="0", timeout=10).raise_for_status()
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIANOBODY")
        line = refused(strict.address("bucket/runs"))
        assert "refuses to be written (AWS Error INVALID_ACCESS_KEY_ID" in line
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", user["AccessKeyId"])
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", user["SecretAccessKey"])
        line = refused(strict.address("bucket/runs"))
        assert "refuses to be written (AWS Error ACCESS_DENIED" in line
        assert "expected credentials with the right to list, read, write and delete" in line
        assert user["AccessKeyId"] not in line


def _reader(url: str) -> dict[str, str]:
    """A user of a moto server with the right to read buckets alone."""
    import boto3

    reads = {"Effect": "Allow", "Action": ["s3:Get*", "s3:List*"], "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [reads]})
    iam = boto3.client("iam", endpoint_url=url, region_name="us-east-1")
    iam.create_user(UserName="reader")
    iam.put_user_policy(UserName="reader", PolicyName="reads", PolicyDocument=policy)
    return iam.create_access_key(UserName="reader")["AccessKey"]
