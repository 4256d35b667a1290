"""Labelled scenes in, batches out: everything else in this package serves `load`."""

from nasprune.data.batches import Batches
from nasprune.data.loading import SceneData, load, load_packed
from nasprune.data.settings import DataSettings

__all__ = ["Batches", "DataSettings", "SceneData", "load", "load_packed"]
