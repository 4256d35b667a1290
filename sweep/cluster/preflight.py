"""Every node of a cluster is looked at before anything is trained: the same packages, the same storage."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasprune.errors import SettingsError
from nasprune.files import reason
from nasprune.sources import network_code
from sweep.storage.address import said
from sweep.storage.bucket import Bucket

if TYPE_CHECKING:
    from sweep.cluster.ray_cluster import Places
    from sweep.storage.bucket import Storage

OURS = ("nasprune", "sweep")
"""Packages compared by their source: a copy that is behind has the same version."""
THEIRS = ("torch", "torchvision", "numpy", "pyarrow", "safetensors", "onnx", "onnxruntime", "ray")
"""Packages compared by their version. Those that only the driver uses may differ."""
_PATIENCE = 120.0
"""Seconds a node has to answer: a process there must start."""
_COMING = 1800.0
"""Seconds a cluster has to bring its first node: a machine must be found, started and installed."""

Look = Callable[[], Mapping[str, Any]]


class NodeError(SettingsError):
    """A node that trials cannot run on."""


@dataclass(frozen=True)
class Seen:
    """What a node says of itself.

    Attributes:
        versions: Of what trials use, by name; missing packages are missing.
        storage: Why the storage cannot be used from there; empty if it can.
    """

    versions: Mapping[str, str]
    storage: str


def check_nodes(storage: Storage, places: Places, say: Callable[[str], None]) -> None:
    """Make sure that trials can run on every node, as far as one can see without running them.

    Where no node there can take a trial, the cluster is asked for one and waited for. A cluster of this machine
    alone is not looked at.

    Args:
        storage: The folder that all nodes share, or the bucket that all write.
        places: What trials need.
        say: Is told what is waited for.

    Raises:
        SettingsError: naming the node and what is wrong there.
    """
    import ray

    nodes = _nodes()
    here = ray.get_runtime_context().get_node_id()
    if set(nodes) == {here} and _fits(nodes[here], places.trial):
        return
    with _Probe(storage) as probe:
        look = ray.remote(_look_at(probe.place, probe.name))
        if not any(_fits(node, places.trial) for node in nodes.values()):
            _bring_node(places, say)
            nodes = _nodes()
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        asked = {
            look.options(
                num_cpus=0, max_retries=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)
            ).remote(): node_id
            for node_id in nodes
        }
        answered, silent = ray.wait(list(asked), num_returns=len(asked), timeout=_PATIENCE)
        seen: dict[str, Seen] = {}
        for answer in answered:
            with suppress(ray.exceptions.RayError):  # the node went, or the look failed: said below
                seen[asked[answer]] = Seen(*ray.get(answer))
        gone = set(nodes) - set(_nodes())
        for node_id in sorted(set(nodes) - set(seen) - gone, key=lambda node_id: str(nodes[node_id]["address"])):
            why = f"did not answer within {_PATIENCE:g} s" if silent else "cannot run a Python function of this driver"
            raise SettingsError(
                f"node {nodes[node_id]['address']} {why}; expected a node with the same packages as the driver's: "
                "install them there as on the others, and start Ray there again"
            )
        driver = versions()
        for node_id, found in seen.items():
            problem = compare(str(nodes[node_id]["address"]), found, driver, storage)
            if problem:
                raise SettingsError(problem)


def check_this_node(driver: Mapping[str, str], network: str) -> None:
    """Make sure that a node, which may have joined after the others were looked at, runs what the driver runs.

    Args:
        driver: The driver's `versions`.
        network: The study's, whose code counts, too.

    Raises:
        NodeError: naming the node and what is wrong there.
    """
    import ray

    problem = compare(ray.util.get_node_ip_address(), Seen(versions(network), ""), driver)  # type: ignore[no-untyped-call]
    if problem:
        raise NodeError(problem)


def compare(address: str, found: Seen, driver: Mapping[str, str], storage: Storage | None = None) -> str:
    """What is wrong with a node, in a line; empty if nothing is."""
    missing = [name for name in driver if name not in found.versions]
    if missing:
        return (
            f"node {address} has no {', '.join(missing)} in the Python that Ray runs there "
            f"({found.versions['interpreter']}); install the same packages on every node, and start Ray there again"
        )
    for name, version in driver.items():
        if name != "interpreter" and found.versions[name] != version:
            kind = "other code of" if name in OURS or ":" in name else "another"
            return (
                f"node {address} has {kind} {name} ({found.versions[name]}) than the driver ({version}); install the "
                "same on every node (ray up sends the project's files again), and start Ray there again"
            )
    if found.storage:
        mend = (
            "give every node the right to, by a role of the machine or credentials in the environment of ray start"
            if isinstance(storage, Bucket)
            else "mount the same folder on all nodes, or give a bucket"
        )
        return (
            f"storage {storage} given; expected one that every node can read and write, but node {address} "
            f"{said(found.storage)}; {mend}"
        )
    return ""


class _Probe:
    """What the nodes are to try the storage with: in a folder, a file that the driver leaves for the time of the look.

    Attributes:
        place: The folder, or the bucket's address.
        name: Of the file, and the start of those that the nodes make.
    """

    def __init__(self, storage: Storage) -> None:
        self._folder = None if isinstance(storage, Bucket) else storage.root
        self.place = storage.address if isinstance(storage, Bucket) else str(storage.root)
        self.name = f".shared-{uuid.uuid4().hex}"

    def __enter__(self) -> _Probe:
        if self._folder is not None:
            try:
                (self._folder / self.name).write_text(self.name)
            except OSError as error:
                raise SettingsError(f"storage {self._folder} cannot be written ({reason(error)})") from error
        return self

    def __exit__(self, *_: object) -> None:
        for path in () if self._folder is None else self._folder.glob(f"{self.name}*"):
            with suppress(OSError):
                path.unlink()


def _nodes() -> dict[str, dict[str, Any]]:
    """Address and resources of every node there is, by its identity."""
    import ray

    return {
        node["NodeID"]: {"address": node["NodeManagerAddress"], "resources": node["Resources"]}
        for node in ray.nodes()  # type: ignore[no-untyped-call]
        if node["Alive"]
    }


def _fits(node: Mapping[str, Any], trial: Mapping[str, float]) -> bool:
    return all(node["resources"].get(kind, 0.0) >= amount for kind, amount in trial.items())


def _bring_node(places: Places, say: Callable[[str], None]) -> None:
    """Have the cluster's autoscaler bring a node for a trial."""
    import ray

    wanted = " and ".join(f"{amount:g} {kind}" for kind, amount in places.trial.items())
    say(f"waiting for a node with {wanted}; the cluster starts one")

    def there() -> None:
        return None

    begun = time.monotonic()
    task = ray.remote(there).options(
        num_cpus=places.trial["CPU"], num_gpus=places.trial.get("GPU", 0.0), max_retries=-1
    )
    waiting = task.remote()
    if not ray.wait([waiting], timeout=_COMING)[0]:
        ray.cancel(waiting)
        raise SettingsError(
            f"no node with {wanted} came within {_COMING / 60:g} minutes; see why with: ray exec CLUSTER.yaml "
            "'ray status -v', and mind the cloud's quotas and what it has to give"
        )
    say(f"a node came after {time.monotonic() - begun:.0f} s")


def versions(network: str = "") -> dict[str, str]:
    """Of this process: `interpreter` (its path), `python`, and by package what nodes are compared by.

    Of a network that is not torchvision's also its code, by its name.
    """
    code = network_code(network)
    return dict(_look_at("", "")()[0]) | ({network: code[:16]} if code else {})


def _look_at(storage: str, name: str) -> Callable[[], tuple[dict[str, str], str]]:
    """A function that needs none of our packages where it runs, since they may be what is missing there."""
    ours, theirs = OURS, THEIRS

    def look() -> tuple[dict[str, str], str]:
        import hashlib
        import importlib.metadata
        import importlib.util
        import pathlib
        import platform
        import sys
        import time
        import uuid

        found = {"interpreter": sys.executable, "python": ".".join(platform.python_version_tuple()[:2])}
        for package in theirs:
            try:
                # What follows a + is the build, which may differ between CPU and GPU nodes.
                found[package] = importlib.metadata.version(package).split("+")[0]
            except importlib.metadata.PackageNotFoundError:
                continue
        for package in ours:
            spec = importlib.util.find_spec(package)
            if spec is None or not spec.origin:
                continue
            source = hashlib.sha256()
            root = pathlib.Path(spec.origin).parent
            for path in sorted(root.rglob("*.py")):
                source.update(str(path.relative_to(root)).encode() + path.read_bytes())
            found[package] = source.hexdigest()[:8]
        if not storage:
            return found, ""
        if ":/" in storage:
            try:
                from pyarrow import fs

                system, base = fs.FileSystem.from_uri(storage)
                own = f"{base.rstrip('/')}/{name}-{uuid.uuid4().hex}"
                with system.open_output_stream(own) as target:
                    target.write(b"x")
                with system.open_input_stream(own) as source:
                    source.read()
                system.delete_file(own)
            except Exception as error:
                return found, f"cannot use it ({error})"
            return found, ""
        probe = pathlib.Path(storage, name)
        deadline = time.monotonic() + 10
        while not probe.exists() and time.monotonic() < deadline:
            time.sleep(0.5)  # a network's file system may know only after a while
        if not probe.exists():
            return found, "does not see there what the driver writes"
        try:
            pathlib.Path(storage, f"{name}-{uuid.uuid4().hex}").write_text("")
        except OSError as error:
            return found, f"cannot write there ({error.strerror})"
        return found, ""

    return look
