"""A study from its settings to its front."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nasprune.costing import cost_of
from nasprune.dense import dense_key
from nasprune.errors import SettingsError
from nasprune.latency import measure, read_table
from nasprune.networks import build, couple
from nasprune.scores import block_sizes, check_budget
from nasprune.weights import IMAGENET, load_initial_weights
from sweep.board import measure_files
from sweep.cluster.launched import wait_for_nodes
from sweep.cluster.preflight import check_nodes, versions
from sweep.cluster.ray_cluster import Growth, count_installing, count_nodes, find_places, ray_cluster
from sweep.display import Display
from sweep.points import PointsFolder, volumes_reached
from sweep.polish import polish_front
from sweep.searcher import DESCENT, TARGET, OptunaSearcher
from sweep.seldom import Seldom
from sweep.showing import Showing
from sweep.stopping import BudgetStopper
from sweep.storage.bucket import Bucket
from sweep.storage.folder import check_same_start, check_storage, claimed, tracked_name
from sweep.storage.ground import Ground
from sweep.storage.images import images_of, load_images
from sweep.telling import Telling
from sweep.tracking.mlflow_client import connect
from sweep.tracking.tracker import OUTBOX, Status, Tracker

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from rich.console import Console

    from nasprune.data import SceneData
    from nasprune.latency import LatencyTable
    from sweep.cluster.ray_cluster import Places
    from sweep.settings import StudySettings
    from sweep.storage.claim import Claim

OPTUNA = "optuna.db"
_TOLD = 30.0  # seconds that the last front waits for MLflow, to name every trial's run


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a study ended.

    Attributes:
        front: The content of front.json.
        failures: Reasons of trials that failed, by trial.
        stopped: How many trials were stopped early, since others did better at the same budget.
        unfinished: How many trials are not over yet.
    """

    front: Mapping[str, Any]
    failures: Mapping[str, str]
    stopped: int
    unfinished: int


def run_study(settings: StudySettings, console: Console) -> tuple[Outcome, Tracker]:
    """Run a study, or the rest of one, and leave its front.

    All that can be wrong with the settings is found before anything is trained or written.

    Raises:
        NaspruneError: with what the user can mend.
    """
    check_storage(settings)
    connect(settings.tracking_uri, settings.root)
    data = load_images(settings)
    key = dense_key(settings.dense_settings(len(data.classes), data.bands), data)
    check_same_start(settings, data.store.data_hash, key)
    table = _check_network(settings, data, lambda text: console.print(text, highlight=False, markup=False))
    bands = "" if settings.bands == "rgb" else f", {data.bands} bands"
    title = f"{settings.study}: {settings.network} on {data.dataset} at {settings.image_size} px{bands}"
    display = Display(console, title, trials=settings.trials, work=settings.work())
    with ray_cluster(), display:
        wait_for_nodes(count_nodes, display.say, installing=count_installing)
        places = find_places(settings)
        check_nodes(settings.place(), places, display.say)
        settings = dataclasses.replace(settings, device=places.device)
        with claimed(settings, data.store.data_hash, key, display.say) as claim:
            if claim is not None and settings.tracking_uri is None:
                display.say(f"MLflow is kept on this machine alone, in {settings.root}; --tracking-uri names a server")
            if table is not None:
                table.write(settings.table)
                settings.place().store_file(f"{settings.study}/{settings.table.name}")
            tracker = Tracker(
                study=tracked_name(settings.directory),
                dataset=data.dataset,
                storage=settings.root,
                outbox=settings.directory / OUTBOX,
                uri=settings.tracking_uri,
                params=settings.identity(),
            )
            outcome = telling_end(lambda: _run(settings, data, places, display, tracker, claim), tracker, claim)
    return outcome, tracker


def telling_end(run: Callable[[], Outcome], tracker: Tracker, claim: Claim | None) -> Outcome:
    """Run a study, and tell MLflow how it ended.

    Where another process took the study over, or may have, since the bucket does not answer, nothing is told: its runs
    are that one's. The next one to run it ends what is still running there.
    """
    status: Status = "FAILED"
    try:
        outcome = run()
        status = "KILLED" if outcome.unfinished else "FINISHED"
    except KeyboardInterrupt:  # where no trial runs: those Tune ends in order, and they are unfinished
        status = "KILLED"
        raise
    finally:
        try:
            if claim is None or claim.holds(unanswered=False):
                tracker.study_ended(status)
        finally:
            tracker.close()
    return outcome


def _run(
    settings: StudySettings,
    data: SceneData,
    places: Places,
    display: Display,
    tracker: Tracker,
    claim: Claim | None,
) -> Outcome:
    from sweep.dense import shared_dense
    from sweep.schedule import Follower, run_trials

    storage, study = settings.place(), settings.study
    if isinstance(storage, Bucket) and claim is not None:
        storage.before_trying_again = claim.check
    dense, answers = shared_dense(settings, data, places, display)
    record = dense.record
    display.say(
        f"dense network: {record['macs'] / 1e6:.1f} M MACs, {record['params'] / 1e6:.2f} M parameters, "
        f"validation accuracy {record['val_accuracy']:.1%}"
    )
    ground = Ground(
        dense=dense.directory.name, answers=answers, images=images_of(data), versions=versions(settings.network)
    )
    storage.fetch_folders(f"{study}/points")
    storage.fetch_database(f"{study}/{OPTUNA}")

    def keep_searcher() -> None:
        """The database is the truth of what was asked and told: nothing goes on before it is kept."""
        if claim is not None:
            claim.check()
        storage.store_database(f"{study}/{OPTUNA}")

    searcher = OptunaSearcher(
        database=settings.directory / OPTUNA,
        trials=settings.trials,
        objectives=DESCENT if settings.mode == "descent" else TARGET,
        budgets=() if settings.mode == "descent" else settings.budgets,
        seed=settings.seed,
        space=settings.space(),
        recommended=settings.descent_settings({}).search,
        changed=keep_searcher,
        keeping_errors=lambda: follower.keeping_errors(),
    )

    points, telling = PointsFolder(settings.directory, dense), Telling(settings, tracker)

    shown = Seldom(lambda: Showing(settings, points.front(tracker.run_ids), tracker, claim))

    def refresh() -> dict[str, Any]:
        """The front as it is on disk now, with every point of it told."""
        points.read()
        front = points.front(tracker.run_ids)
        telling.expect(front)
        telling.tell(front["points"])
        display.front(len(points), len(points.best()))
        shown.ask()
        shown.go_on()
        return front

    def added(name: str) -> None:
        """A point may be new. What is done here is done for every point, so it must not grow with their number."""
        if name not in telling:
            storage.fetch_folder(f"{study}/points/{name}")
            point, best = points.add(name), points.best()
            telling.tell(points.of_trial(point["trial"]))
            display.front(len(points), len(best))
            display.point(point)
            shown.ask()
            shown.go_on()

    growth = Growth(places, searcher.set_max_concurrency)

    def often() -> None:
        shown.go_on()
        growth.look()

    follower = Follower(display, tracker, added, often)
    try:
        front = refresh()  # of an earlier session, which may have died before tracking all of it
        over = searcher.ended()
        for trial in over:
            tracker.trial_ended(trial, "FINISHED")
        display.resumed(len(over))
        stopper = BudgetStopper(settings.reduction_factor, volumes_reached(front, settings.budgets))
        run_trials(settings, ground, searcher, stopper, places, follower)
        tracker.wait(_TOLD)
        front = refresh()
        ended, stopped = searcher.ended(), searcher.stopped()
        unfinished = max(0, settings.trials - len(ended | set(follower.failures)))
        try:
            if settings.polish_epochs and not unfinished and not follower.failures:
                polish_front(settings, front, ground, places, display, added)
        finally:
            telling.tell(points.front(tracker.run_ids)["points"], rest=True)
        front = refresh()
        if not unfinished:
            measure_files(settings, front, dense, data, display)
            front = refresh()
    finally:
        searcher.close()
        shown.finish()
    return Outcome(front=front, failures=follower.failures, stopped=len(stopped), unfinished=unfinished)


def _check_network(settings: StudySettings, data: SceneData, say: Callable[[str], object]) -> LatencyTable | None:
    """Check that a file of initial weights fits, and that every budget can be reached.

    Gives the table of times that a cost of latency goes by. Where it is measured here, `say` is told of each kind of
    layer.

    Raises:
        NaspruneError: if one of them is not so.
    """
    how = settings.descent_settings({})
    network_settings = settings.dense_settings(len(data.classes), data.bands).network
    network = build(network_settings)
    coupling = couple(network, network_settings)
    if settings.weights != IMAGENET:  # that is downloaded where it is needed
        load_initial_weights(network, settings.network, settings.weights)
    table = None
    if how.cost == "latency":
        kept = settings.latency_table or (settings.table if settings.table.exists() else None)
        table = measure(coupling, report=say) if kept is None else read_table(kept)
        if settings.table.exists() and table != read_table(settings.table):
            raise SettingsError(
                f"latency-table {kept} given, whose times are not those that study '{settings.study}' was started "
                f"with, which are in {settings.table}; give that file, or another --study"
            )
    cost = cost_of(how.cost, coupling, network, table)
    for budget in settings.budgets:
        check_budget(budget, cost, block_sizes(coupling, how.round_to))
    return table
