"""Where a result came from is told so that it can be found again."""

from __future__ import annotations

import subprocess

import pytest

from nasprune import provenance
from nasprune.compute import choose_compute


@pytest.fixture
def checkout(tmp_path):
    """A git repository with one commit, and that commit."""
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for arguments in (["init", "-q"], [*who, "commit", "-q", "--allow-empty", "-m", "first"]):
        subprocess.run(["git", *arguments], cwd=tmp_path, check=True)
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    return tmp_path, told.stdout.strip()


@pytest.mark.parametrize(("folder", "own"), [(".", True), (".venv/lib/site-packages", False), ("vendored", False)])
def test_a_commit_is_of_the_repository_that_the_code_is(checkout, monkeypatch, folder, own):
    """An installed package lies in whatever repository its environment was made in."""
    root, head = checkout
    place = root / folder / "nasprune"
    place.mkdir(parents=True)
    monkeypatch.setattr(provenance, "__file__", str(place / "provenance.py"))
    assert provenance.commit() == (head[:12] if own else "unknown")


def test_a_changed_file_is_told(checkout, monkeypatch):
    root, head = checkout
    (root / "changed.py").touch()
    subprocess.run(["git", "add", "."], cwd=root, check=True)
    monkeypatch.setattr(provenance, "__file__", str(root / "nasprune" / "provenance.py"))
    (root / "nasprune").mkdir()
    assert provenance.commit() == f"{head[:12]}+"


def test_work_on_the_cpu_names_the_processor_as_files_for_the_board_do(monkeypatch):
    """Python alone knows no more on Linux than the architecture, if that."""
    monkeypatch.setattr(provenance, "processor", lambda: "Cortex-A53")
    assert provenance.provenance(choose_compute("cpu"), seed=3)["hardware"] == "Cortex-A53"
