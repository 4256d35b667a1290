"""`sweep/compare.py`, against a real store: one front a data set, and one run of it in MLflow."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from mlflow import MlflowClient

from nasprune.errors import ArtifactError, NaspruneError, SettingsError
from sweep import compare, promote
from sweep.promoting.choice import find
from sweep.settings import StudySettings
from sweep.storage.bucket import open_storage
from sweep.tracking.mlflow_client import default_uri, quiet
from tests.sweep.fronts_of_studies import LARGE, SMALL, put, study_front

ROOT = Path(compare.__file__).parent.parent


@pytest.fixture
def studies(storage: Path) -> Path:
    """A storage with two studies of UC Merced, tracked."""
    with quiet():
        MlflowClient(default_uri(storage)).create_experiment("ucm", (storage / "artifacts").as_uri())
    for each in (LARGE, SMALL):
        put(storage, each)
    return storage


def dataset_runs(storage: Path, dataset: str = "ucm"):
    client = MlflowClient(default_uri(storage))
    with quiet():
        experiment = client.get_experiment_by_name(dataset).experiment_id
        found = client.search_runs([experiment], filter_string="tags.`nasprune.kind` = 'front'")
        return [(run, sorted(f.path for f in client.list_artifacts(run.info.run_id))) for run in found]


def run(storage: Path, *flags: str) -> int:
    return compare.main(["--storage", str(storage), *flags])


def test_the_front_is_left_as_files_and_as_one_run(studies: Path, capfd):
    assert run(studies) == 0
    put(studies, study_front("best", 100, {0.5: 0.99}))
    assert run(studies) == 0
    front = json.loads((studies / "shared" / "fronts" / "ucm" / "front.json").read_text())
    assert [p["study"] for p in front["points"] if p["on_front"]] == ["small", "best"]
    ((found, files),) = dataset_runs(studies)
    assert files == ["front.html", "front.json"]
    assert found.info.run_name == "front of ucm"
    assert found.info.status == "FINISHED"
    assert found.data.metrics == {"studies": 3, "points": 7, "points_on_front": 2, "best_val_accuracy": 0.99}
    assert "| best | best | 64 px |" in found.data.tags["mlflow.note.content"]
    printed = capfd.readouterr().out
    assert found.info.run_id in printed
    assert "sweep/promote.py --study best --storage" in printed


def test_storages_that_share_a_server_share_no_run(studies: Path, tmp_path: Path):
    """Each finds its own again, whatever another has left meanwhile."""
    other = tmp_path / "other"
    other.mkdir()
    put(other, study_front("alone", 100, {0.5: 0.7}))
    store = ["--tracking-uri", default_uri(studies)]
    for _ in range(2):
        assert run(studies, *store) == run(other, *store) == 0
    found = {run.data.metrics["best_val_accuracy"]: files for run, files in dataset_runs(studies)}
    assert found == {0.96: ["front.html", "front.json"], 0.7: ["front.html", "front.json"]}
    assert len(dataset_runs(studies)) == 2


def test_a_damaged_name_of_a_front_is_one_line(studies: Path):
    assert run(studies) == 0
    (studies / "shared" / "fronts" / "ucm" / compare.TRACKED).write_text("{")
    with pytest.raises(ArtifactError, match=r"tracked\.json cannot be read .*; delete it"):
        run(studies)


def test_every_data_set_has_its_own_or_one_is_named(studies: Path):
    with quiet():
        MlflowClient(default_uri(studies)).create_experiment("aid", (studies / "artifacts").as_uri())
    put(studies, study_front("aid-small", 400, {0.5: 0.8}, dataset="aid"))
    assert run(studies, "--dataset", "aid") == 0
    assert dataset_runs(studies) == []
    assert run(studies) == 0
    assert len(dataset_runs(studies)) == len(dataset_runs(studies, "aid")) == 1


def test_what_was_measured_on_other_images_is_left_out_and_named(studies: Path, capfd):
    put(studies, study_front("lucky", 100, {0.5: 1.0}, seed=7))
    assert run(studies) == 0
    assert "study lucky, which has another seed of the split" in capfd.readouterr().out
    ((found, _),) = dataset_runs(studies)
    assert found.data.metrics["best_val_accuracy"] == 0.96
    with pytest.raises(SettingsError, match="beside 'large' 'lucky' has another seed of the split; leave these out"):
        run(studies, "--studies", "large,lucky")


@pytest.mark.parametrize(
    ("flags", "reason"),
    [
        (["--studies", "nosuch"], r"study 'nosuch' given; .*\(there: large, small\)"),
        (["--dataset", "mars"], r"no study of data set 'mars' under .*\(studies there: large, small\)"),
        (["--stud", "x"], "unrecognized arguments: --stud"),
        (["--tracking-uri", "http://"], "add the host"),
        (["--storage", "s3://me:secret@bucket/x"], "given with a password"),
    ],
)
def test_what_cannot_be_honoured_is_one_line(studies: Path, flags, reason):
    with pytest.raises(NaspruneError, match=reason) as caught:
        run(studies, *flags)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert dataset_runs(studies) == []


def test_a_store_without_the_studies_is_refused(studies: Path, empty_store: Path):
    other = studies / "other.db"
    other.write_bytes(empty_store.read_bytes())
    with pytest.raises(SettingsError, match=r"no study of 'ucm' is tracked in sqlite:///.*other\.db"):
        run(studies, "--tracking-uri", f"sqlite:///{other}")


def test_as_a_script_errors_are_one_line_and_code_2(tmp_path: Path):
    done = subprocess.run(
        [sys.executable, ROOT / "sweep" / "compare.py", "--storage", tmp_path],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: no study under .* has a finished point \(studies there: none\); .*\n", done.stderr)


@pytest.mark.parametrize("script", ["compare", "promote"])
def test_a_python_without_the_packages_is_one_line(tmp_path: Path, script):
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # it may name packages
    done = subprocess.run(
        [sys.executable, "-S", ROOT / "sweep" / f"{script}.py", "--help"],
        capture_output=True, text=True, check=False, cwd=tmp_path, env=bare,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"error: {sys.executable} has no nasprune; run `uv run sweep/{script}.py` in its folder\n"


def test_a_study_that_ended_is_compared_with_those_like_it(studies: Path):
    def line(study):
        return compare.compare_with(study, StudySettings(study=study, storage=str(studies)).resolved())

    assert line("small").startswith("2 studies of ucm on one front: ")
    put(studies, study_front("alone", 100, {0.5: 0.9}, seed=7))
    put(studies, study_front("failed", 100, {}))
    before = dataset_runs(studies)
    assert line("alone") == line("failed") == ""
    assert [run.data.metrics for run, _ in dataset_runs(studies)] == [run.data.metrics for run, _ in before]


def test_the_front_of_a_data_set_is_what_a_promotion_chooses_from_whichever_study_ends_last(studies: Path):
    """That of the most studies on the same images; others are compared beside it, if one likes."""
    for name in ("d", "e"):
        put(studies, study_front(name, 200, {0.5: 0.99}, seed=7))
    put(studies, study_front("third", 100, {0.5: 0.5}))

    def page(folder: str = "ucm") -> set[str]:
        front = json.loads((studies / "shared" / "fronts" / folder / "front.json").read_text())
        return {study["study"] for study in front["studies"]}

    lines = {}
    for study in ("d", "small", "e"):
        lines[study] = compare.compare_with(study, StudySettings(study=study, storage=str(studies)).resolved())
        asked = ["--dataset", "ucm", "--alias", "a", "--storage", str(studies), "--min-accuracy", "0.9", "--by", "macs"]
        if study != "d":
            assert page() == {"large", "small", "third"}
            assert find(promote.parse(asked), open_storage(str(studies)))[0] in page()
    assert lines["small"].startswith("3 studies of ucm on one front: ")
    assert lines["d"].startswith("the front of ucm is of 3 studies beside which 'd' has another seed of the split; ")
    words = shlex.split(lines["e"].split("; ")[1])
    assert words[:5] == ["uv", "run", "sweep/compare.py", "--studies", "d,e"]
    assert compare.main(words[3 : words.index("compares")]) == 0
    assert page() == {"large", "small", "third"}
    (beside,) = {path.parent.name for path in (studies / "shared" / "fronts").glob("*/front.json")} - {"ucm"}
    assert page(beside) == {"d", "e"}
    found = {run.info.run_name: run.data.metrics["best_val_accuracy"] for run, _ in dataset_runs(studies)}
    assert found == {"front of ucm": 0.96, "front of ucm: d, e": 0.99}


def test_a_study_that_is_named_twice_counts_once(studies: Path):
    assert run(studies, "--studies", "large,small, large,") == 0
    ((found, _),) = dataset_runs(studies)
    assert found.info.run_name == "front of ucm: large, small"
    assert (found.data.metrics["studies"], found.data.metrics["points"]) == (2, 6)


def test_a_front_in_a_bucket_is_left_there(studies: Path, tmp_path: Path, monkeypatch):
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    for each in ("large", "small"):
        (studies / each).rename(bucket / each)
    monkeypatch.setenv("NASPRUNE_CACHE", str(tmp_path / "cache"))
    arguments = ["--storage", bucket.as_uri(), "--tracking-uri", default_uri(studies)]
    assert compare.main(arguments) == 0
    assert (bucket / "shared" / "fronts" / "ucm" / "front.html").stat().st_size > 1_000_000
    monkeypatch.setenv("NASPRUNE_CACHE", str(tmp_path / "another machine"))
    assert compare.main(arguments) == 0
    assert len(dataset_runs(studies)) == 1
