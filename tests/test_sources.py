"""The code of a network: another hash for other code that makes it, the same for the same files anywhere."""

from __future__ import annotations

import shutil
from importlib.metadata import version

import pytest

from nasprune.sources import network_code

FILES = {
    "loose.py": "import torch, besides\nraise SystemExit('it is run')\ndef make(num_classes):\n    import lazily.own\n",
    "besides.py": "import nasprune.dense\n",
    "lazily/own.py": "",
    "pack/__init__.py": "from . import of_the_package\n",
    "pack/of_the_package.py": "",
    "pack/deep/__init__.py": "",
    "pack/deep/net.py": "from ..blocks import Block\nfrom . import sibling\nimport pack.whole, lost.entirely\n",
    "pack/deep/sibling.py": "from .. import blocks\n",
    "pack/blocks.py": "import pack.deep.net\n",
    "pack/whole.py": "this is no Python",
    "nasprune/dense.py": "",
    "other.py": "",
    "pack/other.py": "",
}
MADE_OF = {
    "loose:make": {"loose.py", "besides.py", "lazily/own.py"},
    "pack.deep.net:make": {name for name in FILES if name.startswith("pack/")} - {"pack/other.py"},
    "lost:make": set(),
    "lost.entirely:make": set(),
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    for name, source in FILES.items():
        (tmp_path / "code" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "code" / name).write_text(source)
    monkeypatch.syspath_prepend(tmp_path / "code")
    return tmp_path / "code"


@pytest.mark.parametrize("network", MADE_OF)
def test_it_changes_with_the_files_that_make_the_network_and_with_no_other(folder, network):
    before = network_code(network)
    changing = set()
    for name, source in FILES.items():
        (folder / name).write_text(f"{source}# seen\n")
        changing |= {name} if network_code(network) != before else set()
        (folder / name).write_text(source)
    assert changing == MADE_OF[network]
    assert network_code(network) == before


@pytest.mark.parametrize("network", MADE_OF)
def test_it_is_the_same_wherever_the_files_lie(folder, network, tmp_path, monkeypatch):
    here = network_code(network)
    folder.rename(tmp_path / "elsewhere")
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    assert network_code(network) == here


def test_of_an_installed_package_its_own_files_count_alone(folder, tmp_path, monkeypatch):
    installed = shutil.copytree(folder, tmp_path / "site-packages")
    folder.rename(tmp_path / "away")
    (installed / "pack" / "blocks.py").write_text("import besides\n")
    monkeypatch.syspath_prepend(installed)
    before = network_code("pack.deep.net:make")
    (installed / "besides.py").write_text("# another version\n")
    assert network_code("pack.deep.net:make") == before
    (installed / "pack" / "blocks.py").write_text("import besides\n# seen\n")
    assert network_code("pack.deep.net:make") != before


def test_others_are_told_by_a_version_or_by_their_name_alone():
    assert network_code("timm:resnet18") == f"timm {version('timm')}"
    assert network_code("resnet18") == network_code("resnet10") == ""
