"""`clusters/local.yaml` on namespace hosts: the launcher's own commands, run as its user runs them."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.hosts import Host, Network

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = sysconfig.get_paths()["purelib"]
# What an editable install leaves behind, without its 6 GB: the packages of others come from this machine, the
# project's own are those that the launcher has sent to the host.
INSTALL = f"""
{sys.executable} -m venv --without-pip ~/nasprune/.venv && cd ~/nasprune/.venv &&
echo {PACKAGES} > $(echo lib/*/site-packages)/others.pth && echo ~/nasprune > $(echo lib/*/site-packages)/project.pth &&
sed 1c\\#!$HOME/nasprune/.venv/bin/python {Path(sys.executable).parent}/ray > bin/ray && chmod +x bin/ray
""".replace("\n", " ").strip()


class LocalCluster:
    """A head and workers of a network, described by `clusters/local.yaml` with their addresses filled in.

    Args:
        network: Where the hosts are booted.
        storage: A folder that all hosts see.
        workers: How many.
        settings: Further variables of every host's environment.
    """

    def __init__(self, network: Network, storage: Path, *, workers: int = 2, **settings: str) -> None:
        self.head = network.boot("head")
        self.workers = [network.boot(f"worker{number}") for number in range(workers)]
        self.hosts: list[Host] = [self.head, *self.workers]
        self.storage = storage
        self.file = network.folder / "cluster.yaml"
        user = network.folder / "user"
        user.mkdir(exist_ok=True)
        kept = ("RAY_ADDRESS", "RAY_AUTH_MODE", "NASPRUNE_STORAGE", "NASPRUNE_TRACKING_URI")
        self._environment = {name: value for name, value in os.environ.items() if name not in kept} | {
            "HOME": str(user),
            "RAY_UP_enable_autoscaler_v2": "0",
            "RAY_USAGE_STATS_ENABLED": "0",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        }
        self.file.write_text(yaml.safe_dump(self._described(network, settings)))
        for host in self.hosts:
            (host.home / ".bashrc").touch()
        assert self.ray("get-auth-token", "--generate").returncode == 0

    def _described(self, network: Network, settings: dict[str, str]) -> dict[str, Any]:
        text = (ROOT / "clusters" / "local.yaml").read_text()
        given = " ".join(f"{name}={value}" for name, value in {"RAY_AUTH_MODE": "token", **settings}.items())
        assert "NASPRUNE_STORAGE=/shared/nasprune" in text
        assert "RAY_AUTH_MODE=token" in text
        text = text.replace("NASPRUNE_STORAGE=/shared/nasprune", f"NASPRUNE_STORAGE={self.storage}")
        described: dict[str, Any] = yaml.safe_load(text.replace("RAY_AUTH_MODE=token", given))
        described["cluster_name"] = network.bridge
        described["provider"]["head_ip"] = self.head.address
        described["provider"]["worker_ips"] = [worker.address for worker in self.workers]
        described["auth"] = {"ssh_user": "root", "ssh_private_key": str(network.key)}
        # A checkout that nobody has installed with uv has no lock file; nothing here is installed from it.
        if not (ROOT / "uv.lock").exists():
            del described["file_mounts"]["~/nasprune/uv.lock"]
        get_uv, install, *rest = described["setup_commands"]
        assert "install.sh" in get_uv
        assert "uv sync" in install
        described["setup_commands"] = [INSTALL, *rest]
        return described

    def ray(self, *words: str | Path, timeout: float = 500, **variables: str) -> subprocess.CompletedProcess[str]:
        """One of Ray's commands, in the project's folder; standard error is in the output."""
        return subprocess.run(
            ["ray", *map(str, words)], env=self._environment | variables, cwd=ROOT, timeout=timeout, check=False,
            text=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def up(self) -> None:
        """`ray up`."""
        done = self.ray("up", "--yes", self.file)
        assert done.returncode == 0, done.stdout

    def submit(self, *words: str) -> subprocess.CompletedProcess[str]:
        """`ray submit` of `sweep/run.py`."""
        return self.ray("submit", self.file, "sweep/run.py", "--", *words)

    @contextmanager
    def dashboard(self, port: int) -> Iterator[None]:
        """`ray dashboard`: the head's dashboard behind a port of this machine, for as long as it lasts."""
        command = ["ray", "dashboard", "--port", str(port), str(self.file)]
        forwarding = subprocess.Popen(
            command, env=self._environment, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        try:
            deadline = time.monotonic() + 60
            while not _listens(port):
                assert forwarding.poll() is None, forwarding.communicate()[0]
                assert time.monotonic() < deadline, "no port was forwarded"
                time.sleep(0.2)
            yield
        finally:
            os.killpg(forwarding.pid, signal.SIGTERM)
            forwarding.communicate()

    def job(self, verb: str, port: int, *words: str) -> subprocess.CompletedProcess[str]:
        """`ray job`, through a forwarded port of the dashboard."""
        return self.ray("job", verb, "--address", f"http://127.0.0.1:{port}", *words, RAY_AUTH_MODE="token")

    def down(self) -> None:
        """`ray down`, and nothing of the launcher's own stays on this machine either."""
        done = self.ray("down", "--yes", self.file)
        assert done.returncode == 0, done.stdout
        for path in Path("/tmp/ray").glob(f"cluster-{yaml.safe_load(self.file.read_text())['cluster_name']}.*"):
            path.unlink()
        shutil.rmtree(self._environment["HOME"], ignore_errors=True)


def _listens(port: int) -> bool:
    with closing(socket.socket()) as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0
