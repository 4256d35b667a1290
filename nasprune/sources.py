"""The code of a network that is not torchvision's, told by its source: networks of other code are other networks."""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from pathlib import Path

from nasprune.provenance import version

_OURS = ("nasprune", "sweep")  # of which another version makes no other network, as with those of torchvision
_INSTALLED = ("site-packages", "dist-packages")


def network_code(network: str) -> str:
    """What tells the code of a network apart from an earlier or later one, the same on every machine that has it.

    Args:
        network: As in `NetworkSettings`.

    Returns:
        Of timm its version, of a function of one's own a hash of its source, of others nothing.
    """
    module, colon, _ = network.partition(":")
    if not colon:
        return ""
    return f"timm {version('timm')}" if module == "timm" else _source_hash(module)


def _source_hash(module: str) -> str:
    """SHA-256 of a module's source and of all that it imports from beside it, their imports included.

    Beside it is what lies in the same folder of the Python path; in one that packages were installed into, its own
    package alone. Files are read and nothing is run. A comment changes the hash, too; where there is no such module, it
    is one of nothing, and building the network says so.
    """
    outermost = module.partition(".")[0]
    folder = _folder_of(outermost)
    sources: dict[str, bytes] = {}
    waiting = [module]
    while waiting and folder is not None:
        name = waiting.pop()
        first, _, _ = name.partition(".")
        above, _, _ = name.rpartition(".")
        if name in sources or (first != outermost and (first in _OURS or folder.name in _INSTALLED)):
            continue
        waiting += [above] if above else []  # a package is run before what is in it
        path = _file(folder, name)
        if path is not None:
            sources[name] = path.read_bytes()
            waiting += _imported(sources[name], name if path.name == "__init__.py" else above)
    digest = hashlib.sha256()
    for name, source in sorted(sources.items()):
        digest.update(f"{name}\0{hashlib.sha256(source).hexdigest()}\n".encode())
    return digest.hexdigest()


def _folder_of(outermost: str) -> Path | None:
    """The folder of the Python path in which a package or module lies; None if it is in none."""
    try:
        spec = importlib.util.find_spec(outermost)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    places = [*(spec.submodule_search_locations or ()), *([spec.origin] if spec.origin and spec.has_location else [])]
    return Path(places[0]).parent if places else None


def _file(folder: Path, name: str) -> Path | None:
    place = folder.joinpath(*name.split("."))
    return next((path for path in (place / "__init__.py", Path(f"{place}.py")) if path.is_file()), None)


def _imported(source: bytes, package: str) -> list[str]:
    """Names of all modules that a source of this package may import, wherever it does."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):  # building the network says so
        return []
    names: list[str] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names += [each.name for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = parts[: len(parts) + 1 - node.level] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names += [base, *(f"{base}.{each.name}" for each in node.names)]  # which may be modules
    return [name for name in names if name]
