"""Settings that a machine has once and for all: a cluster's file gives them, so that commands there need not."""

from __future__ import annotations

import os

STORAGE = "NASPRUNE_STORAGE"
"""Where studies are kept, unless --storage is given."""
TRACKING_URI = "NASPRUNE_TRACKING_URI"
"""The MLflow store or server, unless --tracking-uri is given."""

_VARIABLES = {"storage": STORAGE, "tracking_uri": TRACKING_URI}


def given() -> dict[str, str]:
    """Values by the names of the settings; what is empty counts as not given."""
    return {name: value for name, variable in _VARIABLES.items() if (value := os.environ.get(variable))}


def variable_of(setting: str) -> str | None:
    """The variable that gives a setting, if there is one."""
    return _VARIABLES.get(setting)
