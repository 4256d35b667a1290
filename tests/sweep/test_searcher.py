"""The searcher's laws: slots, seeds, and what a kill may cost."""

import pickle
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import optuna
import pytest
from optuna.trial import FrozenTrial
from ray.tune.search import Searcher

from nasprune.errors import ArtifactError, SettingsError
from nasprune.search import SearchSettings
from sweep.searcher import DESCENT, TARGET, OptunaSearcher, verdict
from sweep.space import SPACES, Range, SearchSpace

SPACE = SPACES["saliency"]

DESCENDED = {"hypervolume": 0.7, "points": 3, "point": "t000-10pct", "finished": True}
GOOD = {"val_accuracy": 0.9, "macs_ratio": 0.25, "finished": True}
Make = Callable[..., OptunaSearcher]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes searchers on one database; a second call is a driver started after a kill."""
    made: list[OptunaSearcher] = []

    def build(
        *, trials: int = 6, budgets=(0.5, 0.25), objectives=TARGET, file: str = "optuna.db", **settings
    ) -> OptunaSearcher:
        for old in made:
            old.close()
        given = {"space": SPACE, **settings}
        searcher = OptunaSearcher(
            database=tmp_path / file, trials=trials, budgets=budgets, objectives=objectives, **given
        )
        made.append(searcher)
        return searcher

    yield build
    for searcher in made:
        searcher.close()


def stored(tmp_path: Path, file: str = "optuna.db") -> list[FrozenTrial]:
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / file}")
    found = optuna.load_study(study_name="nasprune", storage=storage).trials
    storage.engine.dispose()
    return found


def states(tmp_path: Path) -> list[str]:
    return [trial.state.name for trial in stored(tmp_path)]


def run_all(searcher: OptunaSearcher, *, first: int = 0, until: int = 10_000) -> list[dict]:
    """Runs trial after trial; the result depends on the suggestion alone."""
    given = []
    for number in range(first, until):
        suggestion = searcher.suggest(f"tune{number}")
        if suggestion == Searcher.FINISHED:
            break
        given.append(suggestion)
        result = {
            "val_accuracy": 1 - suggestion["cost_exponent"] / 2,
            "macs_ratio": suggestion["budget"],
            "finished": True,
        }
        searcher.on_trial_complete(f"tune{number}", result)
    return given


def test_budgets_take_turns_and_each_begins_with_the_recommendation(make: Make):
    given = run_all(make(trials=5))
    assert [suggestion["budget"] for suggestion in given] == [0.5, 0.25, 0.5, 0.25, 0.5]
    assert [suggestion["trial"] for suggestion in given] == ["t000", "t001", "t002", "t003", "t004"]
    for suggestion in given[:2]:
        assert {k: v for k, v in suggestion.items() if k not in ("trial", "budget")} == SPACE.chosen(
            asdict(SearchSettings())
        )
    assert given[2]["cost_exponent"] != given[0]["cost_exponent"]
    for suggestion in given:
        for name, values in SPACE.explored().items():
            assert values.low <= suggestion[name] <= values.high


def test_exactly_the_asked_trials_are_given_over_resumes(make: Make):
    assert len(run_all(make(trials=3), until=2)) == 2
    assert len(run_all(make(trials=3), first=2)) == 1
    assert make(trials=3).suggest("late") == Searcher.FINISHED
    more = make(trials=4)
    assert more.remaining() == 1
    assert len(run_all(more, first=3)) == 1


def test_same_seed_same_suggestions_even_over_kills(make: Make):
    whole = run_all(make(trials=13, seed=3, file="a.db"))  # TPE takes over after ten
    killed = run_all(make(trials=13, seed=3, file="b.db"), until=5)
    killed += run_all(make(trials=13, seed=3, file="b.db"), first=5, until=11)
    killed += run_all(make(trials=13, seed=3, file="b.db"), first=11)
    assert killed == whole
    assert run_all(make(trials=3, seed=4, file="c.db"))[2] != whole[2]
    draws = [suggestion["cost_exponent"] for suggestion in whole[2:]]
    assert len(set(draws)) == len(draws), "a draw came twice"


def test_results_steer_the_search(make: Make):
    # Low cost weights are best here: TPE's later half must lie lower than its random beginning.
    draws = [suggestion["cost_exponent"] for suggestion in run_all(make(trials=30, budgets=(0.5,)))]
    assert sorted(draws[20:])[5] < sorted(draws[1:11])[5]


@pytest.mark.parametrize(
    ("result", "error", "state"),
    [
        (GOOD, False, "COMPLETE"),
        ({**GOOD, "finished": False}, False, "PRUNED"),
        (GOOD, True, "FAIL"),
        (None, False, "FAIL"),
        ({}, False, "FAIL"),
        ({"val_accuracy": 0.9}, False, "FAIL"),
        ({**GOOD, "val_accuracy": float("nan")}, False, "FAIL"),
        ({**GOOD, "macs_ratio": float("inf")}, False, "FAIL"),
        ({**GOOD, "macs_ratio": None}, False, "FAIL"),
        ({**GOOD, "macs_ratio": "small"}, False, "FAIL"),
    ],
)
def test_only_whole_finite_results_are_complete(result, error, state):
    told, values = verdict(result, TARGET, error=error)
    assert told.name == state
    assert values == ([0.9, 0.25] if state == "COMPLETE" else None)


def test_failed_and_truncated_trials_are_told_and_never_on_the_front(make: Make, tmp_path: Path):
    searcher = make(trials=14)
    for number, (result, error) in enumerate(
        [(GOOD, False), ({**GOOD, "val_accuracy": 1.0, "finished": False}, False), (None, True)]
    ):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), result, error)
    assert states(tmp_path) == ["COMPLETE", "PRUNED", "FAIL"]
    # TPE must live with truncated trials past its random beginning.
    for number in range(3, 14):
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {**GOOD, "finished": number % 2 == 0})
    assert states(tmp_path).count("PRUNED") == 7


def descending(make: Make, **settings) -> OptunaSearcher:
    return make(objectives=DESCENT, budgets=(), **settings)


def test_descents_have_no_budget_and_only_the_first_is_recommended(make: Make):
    searcher = descending(make, trials=2)
    first, second = searcher.suggest("a"), searcher.suggest("b")
    assert first == {"trial": "t000", **SPACE.chosen(asdict(SearchSettings()))}
    assert set(second) == set(first)
    assert second["cost_exponent"] != first["cost_exponent"]


def test_a_stopped_descent_is_never_taken_for_a_finished_one(make: Make, tmp_path: Path):
    """It leaves how far it came, and no value that counts: the best trial is always a whole one."""
    searcher = descending(make, trials=14)
    searcher.suggest("whole")
    searcher.on_trial_complete("whole", {**DESCENDED, "hypervolume": 0.2})
    searcher.suggest("stopped")
    searcher.on_trial_result("stopped", {"phase": "search", "finished": False})  # an epoch tells nothing
    searcher.on_trial_result("stopped", {**DESCENDED, "points": 1, "hypervolume": 0.8, "finished": False})
    # Tune gives the result that it stops a trial with to this call only.
    searcher.on_trial_complete("stopped", {**DESCENDED, "points": 2, "hypervolume": 0.9, "finished": False})
    whole, stopped = stored(tmp_path)
    assert (whole.state.name, whole.value) == ("COMPLETE", 0.2)
    assert stopped.state.name == "PRUNED"
    assert stopped.intermediate_values == {1: 0.8, 2: 0.9}
    storage = optuna.storages.RDBStorage(f"sqlite:///{tmp_path / 'optuna.db'}")
    assert optuna.load_study(study_name="nasprune", storage=storage).best_trial.number == whole.number
    storage.engine.dispose()
    assert searcher.ended() == {"t000", "t001"}
    assert searcher.stopped() == {"t001"}
    for number in range(2, 14):  # TPE lives with stopped trials past its random beginning
        searcher.suggest(str(number))
        searcher.on_trial_complete(str(number), {**DESCENDED, "finished": number % 2 == 0})
    assert states(tmp_path).count("PRUNED") == 7


def test_a_stopped_descent_is_not_given_again(make: Make):
    searcher = descending(make, trials=2)
    searcher.suggest("a")
    searcher.on_trial_complete("a", {**DESCENDED, "points": 1, "finished": False})
    after = descending(make, trials=2)
    assert after.remaining() == 1
    assert after.suggest("b")["trial"] == "t001"


def test_what_was_told_once_stays(make: Make, tmp_path: Path):
    searcher = make()
    searcher.suggest("a")
    searcher.on_trial_complete("a", GOOD)
    searcher.on_trial_complete("a", {**GOOD, "val_accuracy": 0.1})
    searcher.on_trial_complete("a", None, error=True)
    assert [trial.values for trial in stored(tmp_path)] == [[0.9, 0.25]]


def test_an_unknown_trial_is_reported_and_changes_nothing(make: Make, tmp_path: Path, caplog):
    searcher = make()
    searcher.on_trial_complete("stranger", GOOD)
    assert "stranger" in caplog.text
    assert states(tmp_path) == []


def test_forgotten_trials_are_given_again_with_the_same_settings(make: Make, tmp_path: Path):
    searcher = make(trials=5)
    given = {name: searcher.suggest(name) for name in ("a", "b", "c")}
    searcher.on_trial_complete("a", GOOD)
    after = make(trials=5)
    assert [after.suggest(name) for name in ("b2", "c2")] == [given["b"], given["c"]]
    assert states(tmp_path) == ["COMPLETE", "RUNNING", "RUNNING"]  # one record a trial, whatever was killed
    after.on_trial_complete("b2", GOOD)
    after.on_trial_complete("c2", GOOD)
    assert [after.suggest(name)["trial"] for name in ("d", "e")] == ["t003", "t004"]
    assert after.suggest("f") == Searcher.FINISHED
    assert len({trial.user_attrs["slot"] for trial in stored(tmp_path)}) == 5


def test_every_running_trial_of_another_session_is_forgotten(make: Make, tmp_path: Path):
    searcher = make(trials=3)
    given = [searcher.suggest(name) for name in ("a", "b")]
    after = make(trials=3)
    again = [after.suggest(name) for name in ("c", "d", "e")]
    assert again[:2] == given
    assert again[2]["trial"] == "t002"
    assert after.suggest("f") == Searcher.FINISHED


def test_a_kill_inside_a_suggestion_costs_no_slot(make: Make, tmp_path: Path, monkeypatch):
    whole = run_all(make(trials=4, file="whole.db"))
    for step in ("ask", "set_user_attr"):
        searcher = make(trials=4)

        def killed(*_args, **_kwargs):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            owner = optuna.Study if step == "ask" else optuna.trial.Trial
            patch.setattr(owner, step, killed)
            with pytest.raises(KeyboardInterrupt):
                searcher.suggest("lost")
    assert run_all(make(trials=4)) == whole


def test_a_forgotten_trial_keeps_its_record_and_what_it_told(make: Make, tmp_path: Path):
    """Killed as often as one likes: the same settings, one record, each value told once."""
    settings = {"trials": 2, "objectives": DESCENT, "budgets": ()}
    given = make(**settings).suggest("a")
    for name in ("b", "c"):
        searcher = make(**settings)
        assert searcher.remaining() == 2
        assert searcher.suggest(name) == given
        searcher.on_trial_result(name, {"points": 1, "hypervolume": 0.5})
    assert searcher.suggest("d")["trial"] == "t001"
    assert searcher.suggest("e") == Searcher.FINISHED
    assert states(tmp_path) == ["RUNNING", "RUNNING"]
    assert [trial.intermediate_values for trial in stored(tmp_path)] == [{1: 0.5}, {}]


def test_every_change_is_told_before_anything_follows_from_it(make: Make, tmp_path: Path):
    seen: list[list[str]] = []
    searcher = make(trials=3, changed=lambda: seen.append(states(tmp_path)))
    searcher.suggest("a")
    searcher.suggest("b")
    searcher.on_trial_complete("a", GOOD)
    assert seen == [["RUNNING"], ["RUNNING", "RUNNING"], ["COMPLETE", "RUNNING"]]


def test_ray_may_save_and_pickle_it_and_nothing_is_left(make: Make, tmp_path: Path, caplog):
    searcher = make(trials=3)
    searcher.suggest("a")
    (tmp_path / "ray").mkdir()
    searcher.save_to_dir(str(tmp_path / "ray"), session_str="x")
    assert not list((tmp_path / "ray").iterdir())
    assert not caplog.text
    assert pickle.loads(pickle.dumps(searcher)).__dict__ == {}


def test_concurrency_is_counted_in_the_storage(make: Make):
    searcher = make(trials=3)
    assert searcher.set_max_concurrency(1)
    searcher.suggest("a")
    assert searcher.suggest("b") is None
    searcher.on_trial_complete("a", GOOD)
    assert searcher.suggest("b")["trial"] == "t001"


def test_only_the_chosen_settings_are_explored(make: Make):
    given = make(space=SearchSpace(cost_exponent=None, ramp=None)).suggest("a")
    assert list(given) == ["trial", "budget", "weight_learning_rate", "distillation"]


@pytest.mark.parametrize(
    "settings",
    [
        {"seed": 1},
        {"recommended": SearchSettings(cost_exponent=0.7)},
        {"budgets": (0.5, 0.1)},
        {"objectives": {"hypervolume": "maximize", "macs_ratio": "minimize"}},
        {"space": SearchSpace(ramp=None)},
        {"space": SearchSpace(ramp=Range(low=0.5, high=0.9))},
    ],
)
def test_a_study_goes_on_with_its_own_settings_only(make: Make, settings):
    make().suggest("a")
    with pytest.raises(SettingsError, match=next(iter(settings))):
        make(**settings).suggest("b")


def test_a_damaged_database_is_an_error_of_one_line(make: Make, tmp_path: Path):
    (tmp_path / "optuna.db").write_bytes(b"not a database, but long enough to be read as one" * 100)
    with pytest.raises(ArtifactError, match=r"optuna\.db cannot be used \(file is not a database\)") as caught:
        make().suggest("a")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("wrong", [{"low": 1.0, "high": 0.5}, {"low": 0.0, "high": 0.5, "log": True}])
def test_wrong_ranges_are_refused(wrong):
    with pytest.raises(SettingsError, match="expected"):
        Range(**wrong)


def test_a_recommendation_outside_the_space_is_refused(make: Make):
    with pytest.raises(SettingsError, match=r"search ramp 0.1 given .* expected 0.3 to 0.9"):
        make(recommended=SearchSettings(ramp=0.1))


@pytest.mark.parametrize("learn", list(SPACES))
def test_every_space_holds_the_recommendation_of_its_own_way(learn):
    settings = asdict(SearchSettings(learn=learn))
    assert set(SPACES[learn].chosen(settings)) == set(SPACES[learn].explored()) <= set(settings)


def test_fixed_settings_leave_the_space():
    assert list(SPACE.without(["ramp", "initial"]).explored()) == [n for n in SPACE.explored() if n != "ramp"]


def test_the_recommendation_is_the_callers(make: Make):
    given = make(recommended=SearchSettings(cost_exponent=0.7)).suggest("a")
    assert given["cost_exponent"] == 0.7


def test_what_failed_is_given_again_by_the_next_session_until_it_ends(make: Make):
    searcher = descending(make, trials=2)
    given = searcher.suggest("a")
    searcher.on_trial_complete("a", None, error=True)
    searcher = descending(make, trials=2)
    searcher.take_up()
    assert searcher.remaining() == 2
    assert searcher.suggest("b") == given
    searcher.on_trial_complete("b", DESCENDED)
    searcher = descending(make, trials=2)
    searcher.take_up()
    assert searcher.remaining() == 1
    assert searcher.suggest("c")["trial"] == "t001"
