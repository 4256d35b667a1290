"""Published splits: lists beside the data first, then from the hub, and never an image with two parts."""

from dataclasses import replace

import pytest
from huggingface_hub import constants

from nasprune.catalog import CATALOG
from nasprune.data.published import published_parts
from nasprune.data.splits import PARTS
from nasprune.errors import DataError
from tests.data.hub import hosted, serve
from tests.data.scene_files import raises_one_line

TEXTS = {"train": b"a00.tif\na01.tif\n", "validation": b"a02.tif\n", "test": b"b00.tif\r\nb01.tif"}
EXPECTED = {"a00": "train", "a01": "train", "a02": "validation", "b00": "test", "b01": "test"}
KNOWN = replace(CATALOG["ucm"], lists={part: hosted(TEXTS[part], f"set-{part}.txt") for part in PARTS})
NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def write(tmp_path):
    def lists(folder=tmp_path, **changes):
        folder.mkdir(exist_ok=True)
        for part, text in {**TEXTS, **changes}.items():
            (folder / f"set-{part}.txt").write_bytes(text)

    return lists


def test_lists_beside_a_zip_or_in_or_beside_a_folder_are_found(tmp_path, write):
    write()
    (tmp_path / "set").mkdir()
    for data in (tmp_path / "set.zip", tmp_path / "set"):
        assert published_parts(KNOWN, data, tmp_path / "downloads", endpoint=NOWHERE) == EXPECTED
    write(tmp_path / "set", train=b"a00.tif\na01.tif\na09.tif\n")
    assert "a09" in published_parts(KNOWN, tmp_path / "set", tmp_path / "downloads", endpoint=NOWHERE)


@pytest.mark.parametrize("beside", [None, "set.zip"])
def test_lists_are_fetched_where_they_are_not_beside_the_data(tmp_path, monkeypatch, beside):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    with serve() as hub:
        hub.files = {f"set-{part}.txt": text for part, text in TEXTS.items()}
        data = beside and tmp_path / "data" / beside
        assert published_parts(KNOWN, data, tmp_path / "downloads", endpoint=hub.endpoint) == EXPECTED
        assert len(hub.asked) == 3


def test_a_list_that_cannot_be_fetched_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with raises_one_line(DataError, "put set-train.txt beside", "stratified split"):
        published_parts(KNOWN, tmp_path / "set.zip", tmp_path / "downloads")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"test": b"b00.tif\na01.tif\n"}, ["'a01'", "train", "set-test.txt"]),
        ({"validation": b" \n"}, ["set-validation.txt", "empty"]),
        ({"train": b"\xff\xfe\x00"}, ["set-train.txt", "cannot be read"]),
    ],
)
def test_lists_that_are_no_split_are_refused(tmp_path, write, changes, words):
    write(**changes)
    with raises_one_line(DataError, *words):
        published_parts(KNOWN, tmp_path / "set.zip", tmp_path / "downloads", endpoint=NOWHERE)
