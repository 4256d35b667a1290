"""Hosts made of Linux namespaces, each with its own network, processes, hostname, temporary Ray folder and sshd.

What happens to machines of a cluster can be done to them: log in, kill one, pull its cable, fill its disk. They share
this machine's files, so its interpreter and packages are theirs too; a host's home is its own and survives its death.

    with Network(folder) as network:
        head = network.boot("head")
        head.shell("hostname")
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Self

PROGRAMS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "/usr/sbin/sshd": "openssh-server",
    "ssh": "openssh-client",
    "rsync": "rsync",
}
_PREFIX = "198.18"  # reserved for such tests by RFC 2544, so it is nobody's network
_SSHD = """\
Port 22
ListenAddress {address}
HostKey {host_key}
PasswordAuthentication no
PermitRootLogin prohibit-password
PidFile none
MaxSessions 100
MaxStartups 100
"""
# The first process of a host. It sees no other's processes, and all it starts end with it.
_INIT = """\
set -e
mount -t tmpfs tmpfs /run && mkdir /run/sshd
mkdir -p /tmp/ray && mount -t tmpfs -o size={disk} tmpfs /tmp/ray
mount -t tmpfs -o size=1g tmpfs /dev/shm
mount --bind {folder}/passwd /etc/passwd
mount --bind {folder}/hosts /etc/hosts
mount --bind {folder}/resolv.conf /etc/resolv.conf
hostname {name}
cd /
exec env -i PATH="$PATH" LANG=C.UTF-8 /usr/sbin/sshd -D -e -f {folder}/sshd_config
"""


def missing() -> str:
    """Why this machine cannot have such hosts, or nothing if it can."""
    if os.name != "posix" or not Path("/proc/self/ns/net").exists():
        return "namespace hosts need Linux"
    if os.geteuid() != 0:
        return "namespace hosts need root"
    lacking = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if lacking:
        return f"namespace hosts need {', '.join(lacking)}"
    tried = subprocess.run(
        ["unshare", "--mount", "--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc",
         "sh", "-c", "mount -t tmpfs tmpfs /mnt && ip link add probe type veth peer name other"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode:
        return f"this machine lets nobody make namespaces and mounts in them ({tried.stderr.strip()[:100]})"
    return ""


class Network:
    """A switch, and the hosts plugged into it. This machine is on it too.

    Args:
        folder: Takes the keys and the hosts' homes.
        disk: Size of a host's /tmp/ray, where Ray keeps sessions and spilled objects, as mount takes it.
    """

    def __init__(self, folder: Path, *, disk: str = "2g") -> None:
        self.folder = folder.absolute()
        self.disk = disk
        self.key = self.folder / "key"
        self.hosts: dict[str, Host] = {}
        self.bridge = ""

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        for key in (self.key, self.folder / "host_key"):
            if not key.exists():
                _do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)
        for number in range(1, 250):
            bridge = f"hosts{number}"
            if subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], capture_output=True).returncode == 0:
                self.bridge, self.net = bridge, f"{_PREFIX}.{number}"
                break
        else:
            raise RuntimeError("no number is free for another network")
        _do("ip", "addr", "add", f"{self.net}.1/24", "dev", self.bridge)
        _do("ip", "link", "set", self.bridge, "up")
        return self

    def __exit__(self, *_: object) -> None:
        for host in self.hosts.values():
            host.kill()
        _do("ip", "link", "del", self.bridge)

    def boot(self, name: str) -> Host:
        """Start a host, new or killed before, and wait until one can log in; its address and home are for life."""
        host = self.hosts.get(name) or Host(self, name, octet=10 + len(self.hosts))
        self.hosts[name] = host
        (self.folder / "hosts").write_text(
            "127.0.0.1 localhost\n" + "".join(f"{other.address} {other.name}\n" for other in self.hosts.values())
        )
        host.boot()
        return host


class Host:
    """One host of a network. `address` is its IPv4 address, `home` the home folder of its root."""

    def __init__(self, network: Network, name: str, *, octet: int) -> None:
        self.network = network
        self.name = name
        self.address = f"{network.net}.{octet}"
        self.folder = network.folder / name
        self.home = self.folder / "home"
        self.plug = f"{network.bridge}p{octet}"
        self._process: subprocess.Popen[bytes] | None = None

    def boot(self) -> None:
        """See `Network.boot`."""
        if self.alive():
            return
        files = self.network.folder
        (self.home / ".ssh").mkdir(parents=True, exist_ok=True)
        shutil.copy(files / "key.pub", self.home / ".ssh" / "authorized_keys")
        for path, mode in ((self.home, 0o700), (self.home / ".ssh", 0o700)):
            path.chmod(mode)
        profile = self.home / ".bash_profile"
        if not profile.exists():
            profile.write_text("")
        lines = Path("/etc/passwd").read_text().splitlines()
        root = f"root:x:0:0:root:{self.home}:/bin/bash"
        (self.folder / "passwd").write_text("\n".join([root, *(x for x in lines if not x.startswith("root:"))]) + "\n")
        (self.folder / "resolv.conf").write_text("")
        shutil.copy(files / "hosts", self.folder / "hosts")
        (self.folder / "sshd_config").write_text(_SSHD.format(address=self.address, host_key=files / "host_key"))
        init = _INIT.format(folder=shlex.quote(str(self.folder)), name=self.name, disk=self.network.disk)
        # `ip` comes first: sshd must find its address. The first process waits for a line, which says that it is there.
        init = f"read _; {init}"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--net", "--pid", "--uts", "--ipc",
                 "--fork", "--kill-child", "--mount-proc", "bash", "-c", init],
                stdin=subprocess.PIPE, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip
        pid = str(self._first())
        _do("ip", "link", "add", self.plug, "type", "veth", "peer", "name", "eth0", "netns", pid)
        _do("ip", "link", "set", self.plug, "master", self.network.bridge, "up")
        inside = ["nsenter", "--target", pid, "--net", "ip"]
        _do(*inside, "link", "set", "lo", "up")
        _do(*inside, "addr", "add", f"{self.address}/24", "dev", "eth0")
        _do(*inside, "link", "set", "eth0", "up")
        _do(*inside, "route", "add", "default", "via", f"{self.network.net}.1")
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        self._process.stdin.close()
        _wait_for(lambda: self.ssh("true", check=False).returncode == 0, f"host {self.name} lets nobody in")

    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """Pull its plug: every process of it ends at once (kill -9), its home stays."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.wait()
            self._process = None
            # The network namespace, and the cable in it, go when the kernel finds the time.
            _wait_for(lambda: not Path(f"/sys/class/net/{self.plug}").exists(), f"cable {self.plug} stays")

    def cut(self) -> None:
        """Pull its network cable."""
        _do("ip", "link", "set", self.plug, "down")

    def mend(self) -> None:
        """Plug its network cable in again."""
        _do("ip", "link", "set", self.plug, "up")

    def ssh(self, command: str, *, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command in a login shell, logged in over the network."""
        done = subprocess.run(
            ["ssh", "-i", self.network.key, "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
             "-o", "LogLevel=ERROR", "-o", "ConnectTimeout=5", "-o", "IdentitiesOnly=yes", f"root@{self.address}",
             f"bash --login -c {shlex.quote(command)}"],
            capture_output=True, text=True, check=False, timeout=timeout,
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command} on {self.name}: {done.stdout}{done.stderr}"
        return done

    def shell(self, command: str, *, check: bool = True, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """Run a command inside without the network, as somebody at its console."""
        done = subprocess.run(
            ["nsenter", "--target", str(self._first()), "--mount", "--net", "--pid", "--uts", "--ipc",
             "env", "-i", f"HOME={self.home}", f"PATH={os.environ['PATH']}", "bash", "--login", "-c", command],
            capture_output=True, text=True, check=False, timeout=timeout, cwd="/",
        )  # fmt: skip
        assert not check or done.returncode == 0, f"{command} on {self.name}: {done.stdout}{done.stderr}"
        return done

    def processes(self) -> dict[int, str]:
        """Command lines of all its processes, by their numbers on this machine, without the host's own sshd."""
        first = self._first()
        space = (Path("/proc") / str(first) / "ns" / "pid").readlink()
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if entry.name.isdigit() and int(entry.name) != first and (entry / "ns" / "pid").readlink() == space:
                    line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                    if line and not line.startswith("sshd:"):
                        found[int(entry.name)] = line
        return found

    def listening(self) -> set[tuple[str, int]]:
        """Addresses and ports that its processes listen on, IPv4 and IPv6, sshd's left out."""
        lines = self.shell("cat /proc/net/tcp /proc/net/tcp6").stdout.splitlines()
        found = set()
        for fields in (line.split() for line in lines):
            if len(fields) > 3 and fields[3] == "0A":
                host, port = fields[1].split(":")
                found.add((_readable(host), int(port, 16)))
        return found - {(self.address, 22)}

    def _first(self) -> int:
        """The number, on this machine, of the host's first process."""
        assert self._process is not None, f"host {self.name} is off"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        _wait_for(lambda: not self.alive() or bool(children.read_text().split()), f"host {self.name} does not begin")
        assert self.alive(), f"host {self.name} died: {(self.folder / 'log').read_text()[-500:]}"
        return int(children.read_text().split()[0])


def _readable(host: str) -> str:
    """An address as /proc/net writes it, words in the machine's byte order, as people write it."""
    import ipaddress
    import sys

    words = [bytes.fromhex(host[i : i + 8]) for i in range(0, len(host), 8)]
    raw = b"".join(word[::-1] if sys.byteorder == "little" else word for word in words)
    address = ipaddress.ip_address(raw)
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _do(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}: {done.stderr.strip()}"


def _wait_for(ready, what: str, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise TimeoutError(what)
        time.sleep(0.05)
