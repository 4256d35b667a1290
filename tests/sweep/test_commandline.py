"""The command line, which other tools rely on, and the settings behind it."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shlex
from pathlib import Path

import pytest

from nasprune.data.augment import Augmentation
from nasprune.errors import SettingsError
from nasprune.search import SearchSettings
from nasprune.training import TrainingSettings
from sweep.commandline import command, name_places, parse_settings
from sweep.given import augmentation_given, search_given, shown
from sweep.settings import StudySettings, fields
from sweep.space import Range

FLAGS = {
    "dataset", "data", "image_size", "bands", "split", "fractions", "scenes_per_class", "network", "head", "weights",
    "budgets", "trials", "dense_epochs", "search_epochs", "tune_epochs", "polish_epochs", "growth",
    "dense_learning_rate", "tune_learning_rate", "batch_size", "search", "mode", "reduction_factor", "cost",
    "latency_table", "round_to", "augmentation", "views", "board", "seed", "study", "storage", "tracking_uri", "device",
    "cpus_per_trial", "gpus_per_trial",
}  # fmt: skip


def test_flags_are_frozen():
    assert {setting.name for setting in fields()} == FLAGS


def test_documented_call():
    settings = parse_settings(
        shlex.split(
            "--dataset ucm --data PATH --network resnet34 --image-size 64 --budgets 0.5,0.25,0.1 --trials 12 "
            "--dense-epochs 60 --search-epochs 8 --tune-epochs 16 --seed 0 --study NAME --storage DIR "
            "--tracking-uri http://127.0.0.1:5000"
        )
    )
    assert (settings.data, settings.storage) == (Path("PATH"), "DIR")
    assert settings.budgets == (0.5, 0.25, 0.1)
    assert (settings.trials, settings.dense_epochs, settings.search_epochs, settings.tune_epochs) == (12, 60, 8, 16)
    assert settings.directory == Path("DIR/NAME")


def test_file_and_flags_mean_the_same(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text(
        'network = "vgg16_bn"\nbudgets = [0.5, 0.1]\ntrials = 4\nsearch = ["ramp=0.4", "cost_exponent=1"]\n'
    )
    flags = [
        "--network",
        "vgg16_bn",
        "--budgets",
        "0.5,0.1",
        "--trials",
        "4",
        "--search",
        "ramp=0.4,cost_exponent=1",
    ]
    assert parse_settings(["--settings", str(path)]) == parse_settings(flags)


def test_flags_win_over_the_file(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("trials = 4\nseed = 3\n")
    settings = parse_settings(["--settings", str(path), "--trials", "5"])
    assert (settings.trials, settings.seed) == (5, 3)


def test_fixed_search_settings_win_over_explored_ones():
    settings = StudySettings(search=("learn=gradient", "cost_weight=0.5"))
    search = settings.descent_settings({"cost_weight": 0.03, "ramp": 0.5}).search
    assert (search.learn, search.cost_weight, search.ramp, search.epochs) == (
        "gradient",
        0.5,
        0.5,
        settings.search_epochs,
    )


def test_a_range_of_a_search_setting_is_what_the_study_explores():
    settings = StudySettings(search=("weight_learning_rate=0.001:0.01", "ramp=0.4:0.6", "distillation=0.5"))
    explored = settings.space().explored()
    assert explored["weight_learning_rate"] == Range(low=0.001, high=0.01, log=True)  # a factor of ten: orders of it
    assert explored["ramp"] == Range(low=0.4, high=0.6)
    assert set(StudySettings().space().explored()) - set(explored) == {"distillation"}
    recommended = settings.descent_settings({}).search
    assert (recommended.weight_learning_rate, recommended.ramp) == (0.01, 0.6)  # the nearest in range
    assert settings.space().chosen(dataclasses.asdict(recommended))
    assert settings.descent_settings({"ramp": 0.5}).search.ramp == 0.5


def test_a_setting_that_is_not_explored_by_default_can_be():
    assert "distillation_temperature" not in StudySettings().space().explored()
    explored = StudySettings(search=("distillation_temperature=1:8",)).space().explored()
    assert explored["distillation_temperature"] == Range(low=1, high=8)


def test_augmentation_is_that_of_the_dense_network_and_of_the_descents():
    settings = StudySettings(augmentation=("flips=no", "shift=0.25"), views=7, polish_epochs=1)
    expected = Augmentation(flips=False, transposes=True, shift=0.25)
    for given in (settings.dense_settings(2, 3), settings.descent_settings({}), settings.polish_settings()):
        assert given.augmentation == expected
    assert settings.descent_settings({}).views == 7
    assert StudySettings().dense_settings(2, 3).augmentation == Augmentation()


def test_an_epoch_of_a_smaller_network_is_less_work():
    settings = StudySettings(budgets=(0.1, 0.5), search_epochs=1, tune_epochs=4)
    work, first = settings.work(), settings.steps([0.5])
    assert len(work) == settings.steps(settings.budgets) + 1
    epochs = [round(after - before, 9) for before, after in itertools.pairwise(work)]
    assert len(set(epochs[:first])) == len(set(epochs[first:])) == 1  # from the largest budget down
    assert 1 > epochs[0] > 2 * epochs[-1] > 0


def test_help_shows_what_can_be_given_here():
    given = parse_settings(["--augmentation", shown(Augmentation(flips=False, shift=0.25))])
    assert augmentation_given(given.augmentation) == Augmentation(flips=False, shift=0.25)
    fixed, ranges = search_given(shown(SearchSettings(ramp=0.4)).split(", "))
    assert SearchSettings(**fixed) == SearchSettings(ramp=0.4)
    assert not ranges


def test_spaces_between_values_change_nothing():
    spaced = parse_settings(["--augmentation", "flips=no, shift=0.25", "--budgets", "0.5, 0.1"])
    assert spaced == parse_settings(["--augmentation", "flips=no,shift=0.25", "--budgets", "0.5,0.1"])


def test_an_interrupted_command_says_how_to_go_on(capsys):
    def interrupted(arguments):
        raise KeyboardInterrupt

    with pytest.raises(SystemExit) as exit_:
        command(interrupted)
    assert exit_.value.code == 130
    assert "goes on from here" in capsys.readouterr().err


def test_environment_gives_what_neither_flags_nor_file_say(tmp_path, monkeypatch):
    monkeypatch.setenv("NASPRUNE_STORAGE", "/shared/studies")
    monkeypatch.setenv("NASPRUNE_TRACKING_URI", "http://127.0.0.1:5000")
    settings = parse_settings([])
    assert (str(settings.storage), settings.tracking_uri) == ("/shared/studies", "http://127.0.0.1:5000")
    path = tmp_path / "settings.toml"
    path.write_text('storage = "file"\n')
    assert str(parse_settings(["--settings", str(path)]).storage) == "file"
    assert str(parse_settings(["--settings", str(path), "--storage", "flag"]).storage) == "flag"
    monkeypatch.setenv("NASPRUNE_STORAGE", "")
    assert parse_settings([]).storage == StudySettings().storage


def test_a_printed_command_leaves_the_environments_password_where_it_is(monkeypatch):
    """A flag without the password would win over the variable that has it, and be refused."""
    monkeypatch.setenv("NASPRUNE_TRACKING_URI", "https://user:password@host")
    storage = ["--storage", "/shared/studies"]
    assert name_places(parse_settings(storage)) == storage
    other = name_places(parse_settings([*storage, "--tracking-uri", "https://user:password@other"]))
    assert other == [*storage, "--tracking-uri", "https://other"]
    monkeypatch.delenv("NASPRUNE_TRACKING_URI")
    words = [*storage, "--tracking-uri", "http://host"]
    assert name_places(parse_settings(words)) == words


def test_promote_finds_the_same_storage(monkeypatch):
    from sweep.promote import parse

    monkeypatch.setenv("NASPRUNE_STORAGE", "/shared/studies")
    words = ["--study", "s", "--point", "p", "--alias", "a"]
    assert str(parse(words).storage) == "/shared/studies"
    assert str(parse([*words, "--storage", "/other"]).storage) == "/other"


def test_single_file_without_packages_says_what_is_missing(tmp_path):
    """As `ray submit` copies it to a head that the cluster file has not set up."""
    import shutil
    import subprocess
    import sys

    import sweep.run

    copied = tmp_path / "run.py"
    shutil.copy(sweep.run.__file__, copied)
    (tmp_path / "nasprune").mkdir()  # the folder of the cluster's file mounts: no package
    bare = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # it may name packages
    done = subprocess.run(
        [sys.executable, "-S", copied], capture_output=True, text=True, check=False, cwd=tmp_path, env=bare
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {sys.executable} has no nasprune, sweep, torch, ray, optuna, mlflow, rich; run")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "auto"])
def test_cluster_that_does_not_answer_is_one_line(address, monkeypatch, tmp_path, capsys):
    import sys

    from sweep.cluster.ray_cluster import ray_cluster

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.setenv("RAY_ADDRESS", address)

    def join(_):
        with ray_cluster():
            return 0

    monkeypatch.setattr(sys, "argv", ["run.py"])
    with pytest.raises(SystemExit) as ended:
        command(join)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"error: RAY_ADDRESS '{address}' given; expected a Ray cluster that answers")


def test_a_key_of_a_settings_file_written_as_the_flag_is_told_how_to_write_it(tmp_path):
    path = tmp_path / "settings.toml"
    path.write_text("dense-epochs = 3\n")
    with pytest.raises(SettingsError, match="has 'dense-epochs'; write dense_epochs"):
        parse_settings(["--settings", str(path)])


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("growth = true", "growth 'True' given; expected a number"),
        ("gpus_per_trial = true", "gpus-per-trial 'True' given; expected a number"),
        ("trials = true", "trials 'True' given; expected a whole number"),
        ("budgets = [true]", r"budgets '\[True\]' given; expected comma-separated numbers"),
        ("search = true", "search 'True' given; expected comma-separated words"),
        ("study = true", "study 'True' given; expected a word in quotes"),
        ("storage = []", r"storage '\[\]' given; expected a word in quotes"),
        ("study = 2026-11-30", "study '2026-11-30' given; expected a word in quotes"),
        ("data = false", "data 'False' given; expected a path in quotes"),
    ],
)
def test_a_value_of_another_kind_in_a_settings_file_is_told(tmp_path, line, expected):
    (tmp_path / "s.toml").write_text(line)
    with pytest.raises(SettingsError, match=expected):
        parse_settings(["--settings", str(tmp_path / "s.toml")])


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (["--search", "learn=gradient", "--search", "ramp=0.5"], "--search given twice; expected it once"),
        (["--augmentation", "flips=no", "--augmentation=shift=0"], "--augmentation given twice"),
        (["--storage", ""], "storage '' given; expected a folder or an address"),
        (["--storage=~/runs"], "storage '~/runs' given; expected a folder by its own name"),
        (["--dataset", "folder", "--data", ""], "data '' given; expected a path"),
        (["--dense-learning-rate", "nan"], "learning rate nan given; expected above 0 and below 10"),
        (["--tune-epochs", "1000000000"], "tune-epochs 1000000000 given; expected 1 to 100000"),
        (["--gpus-per-trial", "0.00001"], "gpus-per-trial 1e-05 given; expected 0, or 0.0001 to 1"),
        (["--study=-x"], "first a letter or a digit"),
        (["--study", "x" * 101], "up to 100 letters"),
    ],
)
def test_what_would_be_forgotten_or_do_harm_later_is_refused_at_once(flags, expected):
    with pytest.raises(SettingsError, match=expected):
        parse_settings(flags)


def test_of_other_flags_the_last_one_counts():
    assert parse_settings(["--trials", "3", "--budgets", "0.5", "--budgets", "0.2", "--trials=5"]).trials == 5


def test_a_settings_file_is_utf_8_wherever_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setattr("locale.getencoding", lambda: "latin-1")
    (tmp_path / "s.toml").write_bytes('\ufeffdataset = "folder"\r\ndata = "Höhe"\r\n'.encode())
    assert parse_settings(["--settings", str(tmp_path / "s.toml")]).data == Path("Höhe")


def test_a_number_in_a_settings_file_may_stand_for_a_word(tmp_path):
    (tmp_path / "s.toml").write_text("bands = 4\nstudy = 7\ngrowth = 1\nbudgets = 0.5\n")
    settings = parse_settings(["--settings", str(tmp_path / "s.toml")])
    assert (settings.bands, settings.study, settings.growth, settings.budgets) == ("4", "7", 1.0, (0.5,))


GIVEN = StudySettings(
    seed=3, batch_size=17, dense_learning_rate=0.011, tune_learning_rate=0.012, dense_epochs=5, tune_epochs=6,
    search_epochs=2, growth=0.3, round_to=8, cost="params", polish_epochs=9, budgets=(0.1, 0.5),
)  # fmt: skip


def test_what_is_given_for_the_dense_network_arrives_there():
    dense = GIVEN.dense_settings(4, 3)
    assert dense.training == TrainingSettings(epochs=5, learning_rate=0.011)
    assert (dense.batch_size, dense.seed, GIVEN.data_settings().seed) == (17, 3, 3)
    assert (dense.network.classes, dense.network.bands) == (4, 3)


def test_what_is_given_for_descents_arrives_there():
    descent = GIVEN.descent_settings({})
    assert descent.tuning == TrainingSettings(epochs=6, learning_rate=0.012)
    assert descent.search.epochs == 2
    assert (descent.batch_size, descent.growth, descent.round_to, descent.cost) == (17, 0.3, 8, "params")
    assert GIVEN.budgets_of({}) == (0.5, 0.1)


def test_polishing_takes_as_long_at_every_budget():
    assert [GIVEN.polish_settings().epochs(budget)[1] for budget in (0.5, 0.1)] == [9, 9]


def test_what_a_resumed_study_may_change_is_frozen():
    assert {setting.name for setting in fields() if setting.metadata["free"]} == {
        "trials", "polish_epochs", "board", "storage", "tracking_uri", "device", "cpus_per_trial", "gpus_per_trial",
        "data", "latency_table",
    }  # fmt: skip
