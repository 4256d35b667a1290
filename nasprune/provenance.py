"""Where a result came from: code, versions, machine."""

from __future__ import annotations

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from nasprune.compute import Compute


def provenance(compute: Compute, **known: Any) -> dict[str, Any]:  # noqa: ANN401 (any JSON value)
    """A JSON object with the code's commit, package versions and hardware, and what the caller knows.

    To be asked for before the work: files may change while it runs.
    """
    import torch

    return {
        **known,
        "commit": commit(),
        "versions": {name: version(name) for name in ("nasprune", "torch", "torchvision")},
        "device": compute.device.type,
        "hardware": torch.cuda.get_device_name() if compute.device.type == "cuda" else processor(),
        "bfloat16": compute.bfloat16,
        "threads": torch.get_num_threads(),
    }


def machine() -> str:
    """The model of the GPU where there is one, else of the processor."""
    import torch

    return str(torch.cuda.get_device_name()) if torch.cuda.is_available() else processor()


def processor() -> str:
    """The processor's model, as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:  # not Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def version(package: str) -> str:
    """The version of an installed package."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"  # run from a checkout


def commit() -> str:
    """The code's commit, with "+" if files were changed since; "unknown" outside a git checkout of its own."""
    root = Path(__file__).resolve().parent.parent
    try:
        # Installed, the code may lie in somebody else's checkout, as .venv does.
        if Path(_git(root, "rev-parse", "--show-toplevel")).resolve() != root:
            return "unknown"
        return _git(root, "describe", "--always", "--abbrev=12", "--dirty=+", "--exclude=*")
    except (OSError, subprocess.SubprocessError):
        return "unknown"


def _git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, timeout=10, check=True)
    return done.stdout.strip()
