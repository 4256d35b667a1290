"""A real S3 server on this machine, and nodes that see a bucket, for tests of storage in one."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import requests

from sweep.storage.bucket import Bucket, Storage

Node = Callable[[str], Bucket]
"""Gives the bucket as the node of a name sees it, which has a disk of its own."""

KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_EC2_METADATA_DISABLED": "true"}
"""What a client needs in its environment; without any key this server keeps garbage."""


@dataclass(frozen=True)
class Server:
    """An S3 server with one bucket."""

    url: str

    def address(self, path: str) -> str:
        """The address of `bucket/folder` as `--storage` takes it."""
        return f"s3://{path}?endpoint_override={self.url.removeprefix('http://')}&scheme=http"

    def make(self, bucket: str) -> None:
        requests.put(f"{self.url}/{bucket}", timeout=10).raise_for_status()


@contextmanager
def s3_server() -> Iterator[Server]:
    with closing(socket.socket()) as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)],
        env={**os.environ, **KEYS},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + 60
        while server.poll() is None and time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        made = Server(f"http://127.0.0.1:{port}")
        made.make("bucket")
        yield made
    finally:
        server.kill()
        server.wait()


def write(bucket: Storage, name: str, content: str = "content") -> Path:
    """Write a file on a node's disk alone."""
    path = bucket.root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    return path
