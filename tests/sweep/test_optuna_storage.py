"""The storage's law: memory and database hold the same after every call, and Optuna sees no difference."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import optuna
import pytest
import sqlalchemy
from optuna.distributions import CategoricalDistribution, FloatDistribution
from optuna.exceptions import StorageInternalError
from optuna.samplers import TPESampler
from optuna.storages import BaseStorage, RDBStorage
from optuna.trial import TrialState

from nasprune.errors import ArtifactError
from sweep.optuna_storage import WrittenThrough

SPACE = {"x": FloatDistribution(0.1, 10, log=True), "budget": CategoricalDistribution((0.5, 0.25))}


def history(storage: BaseStorage, name: str) -> list[tuple]:
    study = optuna.load_study(study_name=name, storage=storage)
    return [
        (t.number, t.state, t.values, t.params, t.distributions, t.intermediate_values, t.user_attrs, t.system_attrs)
        for t in study.get_trials(deepcopy=False)
    ]


def url(folder: Path, name: str = "o.db") -> str:
    return f"sqlite:///{folder / name}"


def work(storage: BaseStorage, directions: list[str], *, first: int, until: int, name: str = "s") -> optuna.Study:
    """All that a searcher does: ask, enqueue, report, tell whole, stopped, failed and not at all."""
    study = optuna.create_study(storage=storage, study_name=name, directions=directions, load_if_exists=True)
    study.set_user_attr("settings", {"seed": 0})
    rng = np.random.default_rng(first)
    for number in range(first, until):
        if number % 4 == 0:
            study.enqueue_trial({"x": 1 + number / 10}, user_attrs={"slot": number})
        study.sampler = TPESampler(seed=number)
        trial = study.ask(SPACE)
        trial.set_user_attr("tune_id", f"tune{number}")
        if len(directions) == 1:
            trial.report(rng.random(), step=1)
        if number % 7 == 3:
            study.tell(trial, state=TrialState.FAIL)
        elif number % 5 == 2:
            study.tell(trial, state=TrialState.PRUNED)
        elif number % 6 != 1:
            study.tell(trial, list(rng.random(len(directions))))
    return study


@pytest.fixture
def opened():
    storages: list[WrittenThrough] = []

    def opened(address: str) -> WrittenThrough:
        storages.append(WrittenThrough(address))
        return storages[-1]

    yield opened
    for storage in storages:
        storage.close()


@pytest.mark.parametrize("directions", [["maximize"], ["maximize", "minimize"]])
def test_memory_database_and_optunas_own_storage_hold_the_same(tmp_path, opened, directions):
    whole = opened(url(tmp_path))
    work(whole, directions, first=0, until=40)
    kept = RDBStorage(url(tmp_path))
    plain = RDBStorage(url(tmp_path, "plain.db"))
    work(plain, directions, first=0, until=40)
    assert history(whole, "s") == history(kept, "s") == history(plain, "s")
    attributes = optuna.load_study(study_name="s", storage=kept).user_attrs
    assert attributes == optuna.load_study(study_name="s", storage=whole).user_attrs == {"settings": {"seed": 0}}
    for storage in (kept, plain):
        storage.engine.dispose()


def test_a_database_opened_again_goes_on_as_if_it_had_stayed_open(tmp_path, opened):
    directions = ["maximize"]
    for first in range(0, 40, 8):
        again = opened(url(tmp_path))
        work(again, directions, first=first, until=first + 8)
    whole = opened(url(tmp_path, "whole.db"))
    for first in range(0, 40, 8):
        work(whole, directions, first=first, until=first + 8)
    assert history(again, "s") == history(whole, "s") == history(opened(url(tmp_path)), "s")


def test_studies_that_another_program_put_there_stay_apart(tmp_path, opened):
    other = RDBStorage(url(tmp_path))
    work(other, ["minimize"], first=0, until=5, name="other")
    other.engine.dispose()
    both = opened(url(tmp_path))
    work(both, ["maximize"], first=0, until=9)
    both.delete_study(both.get_study_id_from_name("other"))
    again = opened(url(tmp_path))
    assert [study.study_name for study in again.get_all_studies()] == ["s"]
    assert history(again, "s") == history(both, "s")


def test_a_write_that_the_database_refuses_is_not_in_memory(tmp_path, opened, monkeypatch):
    storage = opened(url(tmp_path))
    study = work(storage, ["maximize"], first=0, until=3)
    trial = study.ask(SPACE)

    def full(*_args, **_kwargs):
        raise OSError("disk full")

    before = history(storage, "s")
    for name in ("set_trial_user_attr", "set_trial_state_values", "set_trial_intermediate_value", "create_new_trial"):
        monkeypatch.setattr(RDBStorage, name, full)
    for write in (
        lambda: trial.set_user_attr("a", 1), lambda: trial.report(0.5, 1), lambda: study.tell(trial, 0.5), study.ask,
    ):  # fmt: skip
        with pytest.raises(OSError, match="disk full"):
            write()
    assert history(storage, "s") == before


def test_a_full_disk_is_one_line_and_nothing_is_written_after_it(tmp_path, opened):
    """Not even what takes no room, or a trial that could not be told as finished would be told as failed."""
    storage = opened(url(tmp_path))
    study = work(storage, ["maximize"], first=0, until=3)
    trial = study.ask(SPACE)
    before = history(storage, "s")
    limit = "PRAGMA max_page_count = 1"  # no more than there are
    sqlalchemy.event.listen(storage._kept.engine, "checkout", lambda connection, *_: connection.execute(limit))
    with pytest.raises(ArtifactError, match=r"o\.db cannot be used \(database or disk is full\)") as caught:
        trial.set_user_attr("long", "x" * 100_000)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value.__cause__, StorageInternalError)
    with pytest.raises(ArtifactError, match="disk is full"):
        study.tell(trial, state=TrialState.FAIL)
    assert history(storage, "s") == history(opened(url(tmp_path)), "s") == before


@pytest.mark.parametrize("writing", [False, True])
def test_a_database_that_another_program_holds_is_one_line(tmp_path, opened, writing):
    impatient = url(tmp_path) + "?timeout=0.1"
    storage = opened(impatient)
    trial = work(storage, ["maximize"], first=0, until=3).ask(SPACE)
    with closing(sqlite3.connect(tmp_path / "o.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE" if writing else "BEGIN EXCLUSIVE")
        with pytest.raises(ArtifactError, match=r"o\.db cannot be used \(database is locked\)"):
            trial.report(0.5, step=7) if writing else opened(impatient)


@pytest.mark.parametrize("table", ["studies", "trials", "trial_params"])
def test_a_damaged_page_behind_a_good_head_is_one_line(tmp_path, opened, table):
    storage = opened(url(tmp_path))
    work(storage, ["maximize"], first=0, until=3)
    storage.close()
    with closing(sqlite3.connect(tmp_path / "o.db")) as database:
        ((page,),) = database.execute("SELECT rootpage FROM sqlite_master WHERE name = ?", (table,))
        ((size,),) = database.execute("PRAGMA page_size")
    with (tmp_path / "o.db").open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xaa" * size)
    with pytest.raises(ArtifactError, match=r"o\.db cannot be used \(database disk image is malformed\)"):
        opened(url(tmp_path))
