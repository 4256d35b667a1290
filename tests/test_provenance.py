"""Where a result came from is told so that it can be found again."""

from __future__ import annotations

from nasprune import provenance
from nasprune.compute import choose_compute


def test_work_on_the_cpu_names_the_processor_as_files_for_the_board_do(monkeypatch):
    """Python alone knows no more on Linux than the architecture, if that."""
    monkeypatch.setattr(provenance, "processor", lambda: "Cortex-A53")
    assert provenance.provenance(choose_compute("cpu"), seed=3)["hardware"] == "Cortex-A53"
