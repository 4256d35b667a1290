"""The catalog: well formed, and its facts agree with the real files at hand."""

import hashlib
import random
import re
from collections import defaultdict

import pytest

from nasprune.catalog import CATALOG, check_classes
from nasprune.data.readers import list_scenes
from nasprune.data.splits import PARTS
from nasprune.errors import DataError
from tests.data.scene_files import raises_one_line

REAL = {"ucm": "UCMerced_LandUse.zip", "aid": "AID.zip", "nwpu": "NWPU-RESISC45-part.zip"}


@pytest.mark.parametrize("name", sorted(CATALOG))
def test_every_entry_is_well_formed(name):
    known = CATALOG[name]
    assert known.name == name
    assert list(known.classes) == sorted(set(known.classes))
    assert known.archive.file.endswith(".zip")
    assert set(known.lists) == set(PARTS)
    fewest, most = known.images_per_class
    assert 0 < fewest <= most
    for file in (known.archive, *known.lists.values()):
        assert re.fullmatch(r"[0-9a-f]{64}", file.sha256)
        assert re.fullmatch(r"[0-9a-f]{40}", file.revision)
        assert re.fullmatch(r"[\w-]+/[\w-]+", file.repository)


def test_the_numbers_of_classes_are_those_of_the_papers():
    assert {name: len(known.classes) for name, known in CATALOG.items()} == {
        "ucm": 21,
        "nwpu": 45,
        "aid": 30,
        "eurosat": 10,
        "eurosat-ms": 10,
    }


def test_unknown_classes_are_named_and_missing_ones_are_no_error():
    known = CATALOG["nwpu"]
    check_classes(known, known.classes)
    check_classes(known, ("airplane", "airport"))
    with raises_one_line(DataError, "NWPU-RESISC45", "'Airport', 'moon'", "--dataset folder"):
        check_classes(known, ("airplane", "moon", "Airport"))


@pytest.mark.parametrize("name", ["ucm", "aid"])
def test_whole_real_sets_have_the_classes_and_counts_of_the_catalog(real_data, name):
    counts = list_scenes(real_data / REAL[name]).counts
    assert tuple(counts) == CATALOG[name].classes
    assert (min(counts.values()), max(counts.values())) == CATALOG[name].images_per_class


def test_a_real_sample_has_classes_of_the_catalog(real_data):
    counts = list_scenes(real_data / REAL["nwpu"]).counts
    check_classes(CATALOG["nwpu"], counts)
    assert counts == {"airplane": 60, "airport": 60}


def test_the_checksums_of_the_lists_for_aid_are_those_of_the_split_they_describe(real_data):
    # That split is a recipe: each class's sorted names, shuffled by Random(0), cut at 60 and 80 %.
    classes = defaultdict(list)
    for name, _ in list_scenes(real_data / REAL["aid"]).images:
        classes[name.split("/")[0]].append(name.split("/")[1])
    parts = defaultdict(list)
    for names in classes.values():
        shuffled = sorted(names)
        random.Random(0).shuffle(shuffled)
        train, validation = round(0.6 * len(names)), round(0.2 * len(names))
        parts["train"] += shuffled[:train]
        parts["validation"] += shuffled[train : train + validation]
        parts["test"] += shuffled[train + validation :]
    for part, names in parts.items():
        text = "".join(f"{name}\n" for name in sorted(names))
        assert hashlib.sha256(text.encode()).hexdigest() == CATALOG["aid"].lists[part].sha256
