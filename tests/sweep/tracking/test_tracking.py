"""Tracking's laws: written once however often it is written, found again, loadable, and never in the way."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from mlflow import MlflowClient

from nasprune.errors import ArtifactError, SettingsError
from nasprune.record import BOARD_FILES, BOARD_REPORT
from sweep.tracking.mlflow_client import default_uri
from sweep.tracking.tracker import cut_note
from tests.sweep.example_points import write_point
from tests.sweep.tracking.tracked import Make, check_model, everything, whole_study


def test_a_study_is_written_once_however_often_it_is_written(make: Make, tmp_path: Path, capfd):
    point = write_point(tmp_path / "s")
    first = make()
    run_id = whole_study(first, tmp_path, point=point)
    client = MlflowClient(default_uri(tmp_path))
    before = everything(client)
    assert whole_study(first, tmp_path, point=point) == run_id
    assert whole_study(make(), tmp_path, point=point) == run_id

    after = everything(client)
    # A driver that starts sets RUNNING and ends again; nothing else may differ.
    for state in (before, after):
        for run in state["runs"].values():
            run.pop("end")
    assert after == before
    assert len(after["runs"]) == 2
    assert len(after["models"]) == 1
    assert [step for step, *_ in after["runs"][run_id]["history"]["search_loss"]] == [1, 2, 3]
    printed = capfd.readouterr()
    assert printed.out + printed.err == ""


def test_a_trials_run_hangs_below_its_studys_and_holds_the_points_figures(make: Make, tmp_path: Path):
    tracker = make()
    run_id = whole_study(tracker, tmp_path, point=write_point(tmp_path / "s"))
    client = MlflowClient(default_uri(tmp_path))
    child, parent = client.get_run(run_id), client.get_run(tracker.run_id)
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert (child.data.tags["nasprune.trial"], child.data.tags["nasprune.study"]) == ("t000", "s")
    assert child.data.params == {"budget": "0.25", "mask": "hard"}
    assert child.data.metrics["val_accuracy"] == 0.9
    assert child.info.status == parent.info.status == "FINISHED"
    assert parent.data.metrics == {
        "points": 2,
        "points_on_front": 1,
        "best_val_accuracy": 0.9,
        "hypervolume": 0.7,
    }
    assert parent.data.tags["mlflow.note.content"].startswith("| point |")
    table = json.loads(Path(client.download_artifacts(parent.info.run_id, "front_table.json")).read_text())
    assert [row[table["columns"].index("point")] for row in table["data"]] == ["t000-25pct", "t001-25pct"]
    assert json.loads(parent.data.tags["mlflow.loggedArtifacts"]) == [{"path": "front_table.json", "type": "table"}]
    files = {file.path for file in client.list_artifacts(run_id, "points/t000-25pct")}
    assert files == {f"points/t000-25pct/{name}" for name in ("point.json", "weights.safetensors", "widths.json")}
    assert {file.path for file in client.list_artifacts(parent.info.run_id)} == {
        "front.html",
        "front_table.json",
        "study.json",
    }


def test_a_points_model_is_found_and_computes_the_same(make: Make, tmp_path: Path):
    point = write_point(tmp_path / "s")
    tracker = make()
    tracker.point("t000", point, step=3, hypervolume=0.5)
    assert tracker.wait(60)
    client = MlflowClient(default_uri(tmp_path))
    check_model(client, default_uri(tmp_path), client.get_experiment_by_name("scenes").experiment_id, point)


def test_files_for_the_board_that_are_measured_again_replace_those_logged(make: Make, tmp_path: Path):
    """As on another machine, in place. However often the same is told, it is logged once."""
    point, client = write_point(tmp_path / "s"), MlflowClient(default_uri(tmp_path))

    def told(latency: float) -> tuple[dict[str, float], int, str]:
        """What MLflow shows of the point's run, how many values of latency its model has, and its report."""
        files = {name: {"bytes": 7, "latency_ms": latency} for name in BOARD_FILES}
        (point / BOARD_REPORT).write_text(json.dumps({"machine": "board", **files}))
        for name in BOARD_FILES.values():
            (point / name).write_text(f"measured {latency} ms")
        tracker = make()
        tracker.point("t000", point, step=3, hypervolume=0.5)
        for _ in range(2):
            tracker.board("t000", point, step=3)
        assert tracker.wait(60)
        run = client.get_run(tracker.run_ids["t000"])
        ((_, _, metrics),) = everything(client)["models"].values()
        logged = Path(client.download_artifacts(run.info.run_id, f"points/{point.name}/{BOARD_FILES['int8']}"))
        shown = {key: run.data.metrics[key] for key in ("int8_latency_ms", "int8_bytes", "val_accuracy")}
        return shown, [key for key, *_ in metrics].count("int8_latency_ms"), logged.read_text()

    for latency, times in ((3.0, 1), (3.0, 1), (2.0, 2), (3.0, 3)):
        shown = {"int8_latency_ms": latency, "int8_bytes": 7.0, "val_accuracy": 0.9}
        assert told(latency) == (shown, times, f"measured {latency} ms")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")  # the kill
@pytest.mark.parametrize(
    "step",
    [
        "create_logged_model",
        "log_artifact",
        "log_model_artifacts",
        "log_outputs",
        "log_batch",
        "finalize_logged_model",
    ],
)
def test_a_kill_while_a_point_is_logged_is_mended(make: Make, tmp_path: Path, monkeypatch, step: str):
    """Each step is done, and the driver dies before it hears of it; the next one finds the entry where it was."""
    point = write_point(tmp_path / "s")
    tracker = make()
    tracker.trial_started("t000", {})
    assert tracker.wait(60)
    done = getattr(MlflowClient, step)

    def killed(*args, **kwargs):
        done(*args, **kwargs)
        raise SystemExit  # ends the thread and nothing else

    with monkeypatch.context() as patch:
        patch.setattr(MlflowClient, step, killed)
        tracker.point("t000", point, step=3, hypervolume=0.5)
        assert not tracker.wait(60)
    again = make()
    assert again.wait(60)
    again.point("t000", point, step=3, hypervolume=0.5)  # as every session tells all points again
    assert again.wait(60)
    state = everything(MlflowClient(default_uri(tmp_path)))
    ((status, _, metrics),) = state["models"].values()
    assert status == "READY"
    assert len({key for key, *_ in metrics}) == len(metrics) == 9
    run = state["runs"][again.run_ids["t000"]]
    assert len(run["outputs"]) == 1
    assert all(len(rows) == 1 for rows in run["history"].values())


def test_the_first_value_at_a_step_stays(make: Make, tmp_path: Path):
    make().trial_metrics("t000", 1, {"loss": 0.5})
    tracker = make()
    tracker.trial_metrics("t000", 1, {"loss": 0.4, "accuracy": 0.9})
    tracker.trial_metrics("t000", 2, {"loss": 0.3})
    assert tracker.wait(60)
    (run,) = (r for r in everything(MlflowClient(default_uri(tmp_path)))["runs"].values() if r["history"])
    assert [row[:2] for row in run["history"]["loss"]] == [(1, 0.5), (2, 0.3)]
    assert [row[:2] for row in run["history"]["accuracy"]] == [(1, 0.9)]


def test_a_trial_that_goes_on_runs_and_one_that_is_only_shown_does_not(make: Make, tmp_path: Path):
    client = MlflowClient(default_uri(tmp_path))
    point = write_point(tmp_path / "s")
    tracker = make()
    run_id = whole_study(tracker, tmp_path, point=point)
    again = make()
    assert again.wait(60)
    assert client.get_run(again.run_id).info.status == "RUNNING"
    again.point("t000", point, step=3, hypervolume=0.5)
    assert again.wait(60)
    assert client.get_run(run_id).info.status == "FINISHED"
    again.trial_started("t000", {"budget": 0.25, "mask": "hard"})
    assert again.wait(60)
    assert client.get_run(run_id).info.status == "RUNNING"
    again.trial_ended("t000", "FAILED")
    assert again.wait(60)
    assert client.get_run(run_id).info.status == "FAILED"


def test_no_run_is_left_running_by_a_driver_that_is_gone(make: Make, tmp_path: Path):
    client = MlflowClient(default_uri(tmp_path))
    tracker = make()
    for trial in ("t000", "t001"):
        tracker.trial_started(trial, {})
    tracker.trial_ended("t000", "FINISHED")

    assert tracker.wait(60)

    def states() -> list[str]:
        return [client.get_run(tracker.run_ids[trial]).info.status for trial in ("t000", "t001")]

    after = make()
    assert after.wait(60)
    assert after.run_ids == tracker.run_ids
    assert states() == ["FINISHED", "KILLED"]
    after.trial_started("t001", {})
    assert after.wait(60)
    assert states() == ["FINISHED", "RUNNING"]
    after.study_ended("KILLED")
    assert states() == ["FINISHED", "KILLED"]


def test_more_runs_than_a_page_are_found(make: Make, monkeypatch):
    tracker = make()
    for number in range(5):
        tracker.trial_started(f"t{number:03d}", {})
    assert tracker.wait(60)
    search = MlflowClient.search_runs
    monkeypatch.setattr(MlflowClient, "search_runs", lambda *a, **k: search(*a, **{**k, "max_results": 2}))
    assert make().run_ids == tracker.run_ids


def test_a_study_that_goes_on_is_the_same(make: Make):
    make()
    with pytest.raises(ArtifactError, match="study s is tracked with seed 0"):
        make(params={"seed": 1})


def test_studies_share_an_experiment_and_nothing_else(make: Make, tmp_path: Path):
    first, second = make(study="a"), make(study="b")
    first.point("t000", write_point(tmp_path / "a"), step=3, hypervolume=0.5)
    second.point("t000", write_point(tmp_path / "b", seed=1), step=3, hypervolume=0.5)
    assert first.wait(60)
    assert second.wait(60)
    assert len({first.run_ids["t000"], second.run_ids["t000"], first.run_id, second.run_id}) == 4
    assert len(everything(MlflowClient(default_uri(tmp_path)))["models"]) == 2


def test_another_network_under_a_points_name_is_refused(make: Make, tmp_path: Path):
    tracker = make()
    tracker.point("t000", write_point(tmp_path / "a"), step=3, hypervolume=0.5)
    tracker.point("t000", write_point(tmp_path / "b", seed=1), step=3, hypervolume=0.5)
    with pytest.raises(ArtifactError, match="another network"):
        tracker.wait(60)
    tracker.trial_metrics("t000", 1, {"loss": 0.5})
    assert tracker.wait(60)
    assert tracker.undelivered == 0, "what is refused must not hold up what follows"


def test_another_trial_under_a_trials_name_is_refused(make: Make):
    tracker = make()
    tracker.trial_started("t000", {"budget": 0.25})
    tracker.trial_started("t000", {"budget": 0.5})
    with pytest.raises(ArtifactError, match=r"budget 0\.25"):
        tracker.wait(60)


@pytest.mark.parametrize("name", ["weights.safetensors", "model.onnx", "point.json"])
def test_a_point_that_is_not_whole_is_refused(make: Make, tmp_path: Path, name: str):
    point = write_point(tmp_path / "s")
    (point / name).unlink()
    tracker = make()
    tracker.point("t000", point, step=3, hypervolume=0.5)
    with pytest.raises(ArtifactError, match=name):
        tracker.wait(60)


def test_a_damaged_model_is_refused(make: Make, tmp_path: Path):
    point = write_point(tmp_path / "s")
    (point / "model.onnx").write_bytes(b"\xff" * 64)
    tracker = make()
    tracker.point("t000", point, step=3, hypervolume=0.5)
    with pytest.raises(ArtifactError, match="not a readable ONNX file"):
        tracker.wait(60)


def test_a_deleted_experiment_is_named(make: Make, tmp_path: Path):
    make()
    client = MlflowClient(default_uri(tmp_path))
    client.delete_experiment(client.get_experiment_by_name("scenes").experiment_id)
    with pytest.raises(SettingsError, match="experiment 'scenes' is deleted"):
        make()


def test_notes_fit():
    assert cut_note("short") == "short"
    lines = [f"| point {number} |" for number in range(1000)]
    note = cut_note("\n".join(lines))
    assert len(note) < 8000
    kept = note.split("\n\n")[0].split("\n")
    assert kept == lines[: len(kept)]
    assert f"{1000 - len(kept)} more lines" in note


def test_the_hint_shows_how_to_browse(make: Make, tmp_path: Path):
    tracker = make()
    tracker.point("t000", write_point(tmp_path / "s"), step=3, hypervolume=0.5)
    tracker.point("t001", write_point(tmp_path / "s", "t001-25pct", seed=1), step=3, hypervolume=0.6)
    assert tracker.wait(60)
    hint = tracker.browse_hint()
    assert hint.command == (
        f"uv run mlflow ui --backend-store-uri {default_uri(tmp_path)} --host 127.0.0.1 --port 5000 --workers 1"
    )
    start = "http://127.0.0.1:5000/#/experiments/1/runs"
    assert hint.link.startswith(f"{start}?searchFilter=tags.%60nasprune.study%60")
    assert hint.front.startswith(f"{start}/{tracker.run_id}")
    query = parse_qs(urlsplit(hint.link.replace("/#", "")).query)
    found = MlflowClient(default_uri(tmp_path)).search_runs(
        ["1"], query["searchFilter"][0], order_by=[f"{query['orderByKey'][0]} DESC"]
    )
    assert [run.info.run_id for run in found] == [tracker.run_ids[trial] for trial in ("t001", "t000")]
