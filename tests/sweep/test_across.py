"""The front of a data set: the best of all its studies, measured on the same images."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nasprune.errors import ArtifactError
from sweep import promote
from sweep.across import by_dataset, comparable, front_across, read_fronts
from sweep.storage.bucket import MIRRORS, open_storage
from tests.buckets import write
from tests.sweep.fronts_of_studies import LARGE, SMALL, put, study_front


def best_of(across):
    return [(point["study"], point["point"]) for point in across["points"] if point["on_front"]]


def test_a_point_is_on_the_front_if_no_study_has_a_better_one():
    across = front_across([LARGE, SMALL], {})
    # MACs and accuracy: large 500 0.96, 250 0.93, 100 0.90; small 200 0.94, 100 0.91, 40 0.85.
    assert best_of(across) == [
        ("small", "t000-10pct"), ("small", "t000-25pct"), ("small", "t000-50pct"), ("large", "t000-50pct"),
    ]  # fmt: skip
    assert [point["macs"] for point in across["points"]] == sorted(point["macs"] for point in across["points"])
    assert len(across["points"]) == 6
    assert not any("by_class" in point for point in across["points"])


ACCURACIES = st.dictionaries(
    st.sampled_from([0.02, 0.05, 0.1, 0.25, 0.5]), st.sampled_from([0.7, 0.8, 0.9]), min_size=1
)


@given(st.lists(st.tuples(st.sampled_from([400, 1000, 2000]), ACCURACIES), min_size=1, max_size=4))
def test_what_beats_all_is_the_same_whatever_the_order(made):
    studies = [study_front(f"s{number}", macs, accuracies) for number, (macs, accuracies) in enumerate(made)]
    across = front_across(studies, {})
    assert best_of(across) == best_of(front_across(studies[::-1], {}))
    best = [point for point in across["points"] if point["on_front"]]
    for each in studies:
        for point in each.front["points"]:
            assert any(b["macs"] <= point["macs"] and b["val_accuracy"] >= point["val_accuracy"] for b in best)
    costs, accuracies = [b["macs"] for b in best], [b["val_accuracy"] for b in best]
    assert costs == sorted(set(costs))
    assert accuracies == sorted(set(accuracies))


def test_a_point_off_its_front_counts_where_its_files_were_measured():
    study = study_front("s", 1000, {0.5: 0.9, 0.25: 0.95})
    assert len(front_across([study], {})["points"]) == 1
    beaten = next(point for point in study.front["points"] if not point["on_front"])
    beaten["float32_bytes"] = 7
    assert len(front_across([study], {})["points"]) == 2


def test_studies_are_compared_if_they_split_the_same_images_alike():
    alike = study_front("other-size", 100, {0.5: 0.9}, image_size=128, bands="8,4,3")
    others = {
        "another seed of the split": {"seed": 1}, "other images": {"data_hash": "e" * 64},
        "another split": {"split": "published", "fractions": [0.5, 0.1, 0.4]},
        "other fractions and another seed of the split": {"seed": 1, "fractions": [0.5, 0.1, 0.4]},
    }  # fmt: skip
    strangers = [study_front(what, 100, {0.5: 0.99}, **changed) for what, changed in others.items()]
    same, left_out = comparable([strangers[0], LARGE, alike, *strangers[1:], SMALL])
    assert [each.study for each in same] == ["large", "other-size", "small"]
    assert left_out == {what: what for what in others}
    assert [each.input for each in same] == ["64 px", "128 px, bands 8,4,3", "64 px"]
    assert [each.study for each in comparable([LARGE, SMALL, strangers[1]], like="other images")[0]] == ["other images"]


def test_a_published_split_is_the_same_whatever_would_draw_another():
    published = [
        study_front(f"s{seed}", 100, {0.5: 0.9}, split="published", seed=seed, fractions=[0.7, seed / 10, 0.2])
        for seed in (0, 1)
    ]
    assert comparable(published) == (published, {})


def test_studies_are_read_by_data_set(tmp_path):
    for each in (SMALL, LARGE, study_front("aid-small", 400, {0.5: 0.8}, dataset="aid"), study_front("begun", 4, {})):
        put(tmp_path, each)
    storage = open_storage(str(tmp_path))
    sets = by_dataset(read_fronts(storage, storage.studies()))
    assert {name: [each.study for each in studies] for name, studies in sets.items()} == {
        "aid": ["aid-small"], "ucm": ["large", "small"],
    }  # fmt: skip
    assert list(sets) == ["aid", "ucm"]


@pytest.mark.parametrize("read", ["across", "promote"])
def test_a_front_that_is_read_is_the_storages_and_a_driver_at_work_keeps_its_own(tmp_path, monkeypatch, read):
    """All processes of a machine share its mirror of a bucket; one of them may be drawing a front, to store it then."""
    monkeypatch.setenv(MIRRORS, str(tmp_path / "mirrors"))
    (tmp_path / "bucket").mkdir()
    put(tmp_path / "bucket", LARGE)
    storage = open_storage((tmp_path / "bucket").as_uri())
    newer = write(storage, "large/front.json", "newer")
    if read == "across":
        assert read_fronts(storage, ["large"]) == [LARGE]
    else:
        asked = promote.parse(["--study", "large", "--point", "t000-25pct", "--alias", "champion"])
        assert promote.find(asked, storage) == ("large", LARGE.front["points"][1])
    assert newer.read_text() == "newer"


@pytest.mark.parametrize("file", ["front.json", "settings.json"])
@pytest.mark.parametrize("content", ["", "[]", "{}", '{"dense": {}, "points": [{}]}'])
def test_a_damaged_study_is_named(tmp_path, file, content):
    put(tmp_path, LARGE)
    (tmp_path / "large" / file).write_text(content)
    with pytest.raises(ArtifactError, match="front of study 'large'") as caught:
        read_fronts(open_storage(str(tmp_path)), ["large"])
    assert "\n" not in str(caught.value)


def test_what_is_kept_is_json():
    across = front_across([LARGE, SMALL], {"x": "other seed"})
    assert json.loads(json.dumps(across)) == across
