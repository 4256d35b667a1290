"""The cluster there is to join, and what it may still become: nodes come when there is work, and go at any time."""

from __future__ import annotations

import json
import os
import socket
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nasprune.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CONFIG = Path("~/ray_bootstrap_config.yaml")
"""The launcher puts the cluster's description here on the head."""
_LOCAL = "local"  # in RAY_ADDRESS: a Ray of one's own, whatever else runs here
_HEAD = "node:__internal_head__"
_PATIENCE = 180.0
_INSTALLING = 1800.0
_BEING_SET_UP = ("syncing-files", "setting-up")  # the launcher's words


def cluster_to_join() -> bool:
    """Whether RAY_ADDRESS names a cluster, or else one that `ray start` began on this machine answers."""
    named = os.environ.get("RAY_ADDRESS")
    if named:
        return named != _LOCAL
    address = cluster_address()
    return address is not None and answers(address)


def cluster_address() -> tuple[str, int] | None:
    """Host and port that RAY_ADDRESS names, or else those of the cluster that `ray start` began on this machine.

    Raises:
        SettingsError: if it names anything else, as the dashboard, or a proxy for Ray's client.
    """
    named = os.environ.get("RAY_ADDRESS", "")
    if named == _LOCAL:
        return None
    if named not in ("", "auto"):
        address = _host_and_port(named)
        if address is None or "://" in named:
            raise SettingsError(
                f"RAY_ADDRESS '{named}' given; expected HOST:PORT of a cluster's head, as 10.0.0.1:6379, or auto for "
                "the cluster of this machine, without http:// or ray:// before it; mend it, or unset RAY_ADDRESS"
            )
        return address
    try:
        return _host_and_port((temporary() / "ray" / "ray_current_cluster").read_text().strip())
    except OSError:
        return None


def temporary() -> Path:
    """Where Ray keeps its folder, by its own rule; Slurm sets TMPDIR, and so do systems with a folder a user."""
    given = os.environ.get("RAY_TMPDIR")
    if given is None and sys.platform.startswith("linux"):
        given = os.environ.get("TMPDIR")
    return Path("/tmp" if given is None else given)  # noqa: S108 (Ray's own)


def _host_and_port(text: str) -> tuple[str, int] | None:
    """Of HOST:PORT, where a host of colons may stand in brackets; None for any other text."""
    host, _, port = text.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None


def answers(address: tuple[str, int]) -> bool:
    """Whether something listens there."""
    try:
        with socket.create_connection(address, timeout=5):
            return True
    except (OSError, ValueError):  # the second of a name that no host can have
        return False


def nodes_to_come(nodes: Sequence[Mapping[str, float]], config: Path = CONFIG) -> list[dict[str, float]]:
    """The resources of nodes that the launcher's autoscaler would add if there was work for them.

    Args:
        nodes: The resources of every node there is.
        config: The cluster's description.

    Returns:
        One entry a node; none where this machine is not the head of a launched cluster, or resources are only known
        once nodes are there, as of machines one owns.
    """
    described = _described(config)
    kinds = described.get("available_node_types", {})
    head = described.get("head_node_type")
    planned = [
        {name: float(amount) for name, amount in kind["resources"].items()}
        for name, kind in kinds.items()
        if name != head and kind.get("resources")
        for _ in range(kind.get("max_workers", 0))
    ][: described.get("max_workers", 0)]
    # What is there counts first, whatever kind it is of; the largest of the planned may yet be added.
    there = sum(_HEAD not in node for node in nodes)
    planned.sort(key=lambda node: (node.get("GPU", 0.0), node.get("CPU", 0.0)), reverse=True)
    return planned[: max(0, len(planned) - there)]


def being_set_up(status: bytes | None) -> int:
    """How many nodes the launcher's autoscaler installs at this moment, by the status it keeps in the cluster."""
    told: dict[str, Any] = json.loads(status) if status else {}
    pending = told.get("autoscaler_report", {}).get("pending_nodes", ())
    return sum(step in _BEING_SET_UP for _, _, step in pending)


def wait_for_nodes(
    count: Callable[[], int],
    say: Callable[[str], None],
    config: Path = CONFIG,
    *,
    installing: Callable[[], int] = lambda: 0,
    patience: float = _PATIENCE,
) -> None:
    """Wait for the nodes that the cluster is to have at any time, which join some time after `ray up` has returned.

    Args:
        count: Says how many nodes there are, the head among them.
        say: Takes lines for the terminal.
        config: The cluster's description.
        installing: Says how many nodes are being set up, see `being_set_up`; for those half an hour is waited.
        patience: Seconds for all others; the study goes on with the nodes that are there by then.
    """
    described = _described(config)
    kinds = described.get("available_node_types", {})
    wanted = 1 + sum(kind.get("min_workers", 0) for kind in kinds.values())
    begun = time.monotonic()
    there = count()
    if there < wanted:
        say(f"waiting for nodes: {there} of {wanted} are there")
    while there < wanted and time.monotonic() < begun + (max(patience, _INSTALLING) if installing() else patience):
        time.sleep(0.5)
        there = count()
    if there < wanted:
        say(f"going on with {there} of {wanted} nodes; for the others see: ray exec CLUSTER.yaml 'ray status -v'")


def _described(config: Path) -> dict[str, Any]:
    """The launcher's own description, defaults filled in; empty where a study starts a Ray of its own."""
    if not cluster_to_join():
        return {}
    try:
        described: dict[str, Any] = json.loads(config.expanduser().read_text())
    except (OSError, ValueError):
        return {}
    return described
