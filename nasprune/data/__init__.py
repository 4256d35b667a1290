"""Labelled scenes in, batches out: everything else in this package serves `load`."""

from nasprune.catalog import CATALOG, Catalogued
from nasprune.data.batches import Augmentation, Batches
from nasprune.data.loading import SceneData, load, load_packed
from nasprune.data.readers import EncodedImage, read_scenes
from nasprune.data.settings import DATASETS, DataSettings
from nasprune.data.splits import PARTS, Part, Split, published_split, stratified_split
from nasprune.data.statistics import Statistics, measure
from nasprune.data.store import MappedImages, Store, open_store, pack

__all__ = [
    "CATALOG",
    "DATASETS",
    "PARTS",
    "Augmentation",
    "Batches",
    "Catalogued",
    "DataSettings",
    "EncodedImage",
    "MappedImages",
    "Part",
    "SceneData",
    "Split",
    "Statistics",
    "Store",
    "load",
    "load_packed",
    "measure",
    "open_store",
    "pack",
    "published_split",
    "read_scenes",
    "stratified_split",
]
