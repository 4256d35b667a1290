"""A small imitation of the hub's file addresses, with ranges, and with the ways a server can fail."""

import hashlib
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from nasprune.catalog import Hosted

REVISION = "0123456789abcdef0123456789abcdef01234567"


def hosted(content, file="set.zip", sha256=None):
    return Hosted(
        repository="someone/scenes",
        revision=REVISION,
        file=file,
        sha256=sha256 or hashlib.sha256(content).hexdigest(),
    )


@dataclass
class Hub:
    """What is served, how it fails, and what was asked for."""

    endpoint: str = ""
    files: dict = field(default_factory=dict)  # file name -> content
    asked: list = field(default_factory=list)  # (file, Range header or None)
    break_after: list = field(default_factory=list)  # bytes after which each of the next answers breaks off
    statuses: list = field(default_factory=list)  # what the next requests are answered with
    ranges: bool = True

    def answer(self, request):
        match = re.fullmatch(rf"/datasets/someone/scenes/resolve/{REVISION}/(.+)", request.path)
        name = match[1] if match else None
        wanted = request.headers.get("Range")
        self.asked.append((name, wanted))
        if self.statuses:
            return request.send_error(self.statuses.pop(0))
        if name not in self.files:
            return request.send_error(404)
        content = self.files[name]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted and self.ranges else 0
        if start >= len(content):
            return request.send_error(416)
        request.send_response(206 if start else 200)
        if start:
            request.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        request.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
        request.send_header("X-Repo-Commit", REVISION)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        end = start + self.break_after.pop(0) if self.break_after else len(content)
        request.wfile.write(content[start:end])
        return None


@contextmanager
def serve():
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            hub.answer(self)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    hub.endpoint = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
