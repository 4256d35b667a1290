"""One call for those who do not sweep: any network, their own batches, a descent through budgets."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from contextlib import ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import nn

from nasprune.compute import choose_compute
from nasprune.copying import copy_of
from nasprune.coupling import find_coupling
from nasprune.descent import Descent, DescentSettings, Pruned
from nasprune.errors import SettingsError
from nasprune.files import locked
from nasprune.labelled import CheckedBatches, Labelled
from nasprune.lessons import AskedLessons
from nasprune.progress import Progress
from nasprune.proof import proven
from nasprune.session import Session
from nasprune.state import tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from nasprune.compute import Compute
    from nasprune.latency import LatencyTable


def prune(
    network: nn.Module,
    example: torch.Tensor,
    train: Labelled,
    budgets: Sequence[float],
    *,
    validation: Labelled | None = None,
    test: Labelled | None = None,
    settings: DescentSettings | None = None,
    table: LatencyTable | None = None,
    device: str = "auto",
    seed: int = 0,
    checkpoints: Path | str | None = None,
    report: Callable[[float, Progress], None] = lambda budget, progress: None,
) -> Iterator[Pruned]:
    """Prune a trained network to one budget after the other, each from the one before, with itself as teacher.

    Args:
        network: Trained, also as `DataParallel` holds it; left as it is. It makes logits (B, classes) and nothing else,
            in evaluation and in training. Layers that are frozen in it are trained here, since those that lose channels
            must heal, and all of it is computed in float32.
        example: An input like the images, (B, bands, H, W) with B at least 2; its values do not matter.
        train: Batches to search and tune with, augmented and normalised as the network was trained.
        budgets: Wanted shares of the network's cost, in (0, 1], each below the one before.
        validation: Batches to measure with, right after each cut and when tuned. These and those of `test` are looked
            through once before the work.
        test: Batches to measure each finished network with.
        settings: How; epochs, kind of cost, rounding of widths. Of no use here: views, batch size, augmentation. By
            default tuning takes 24 epochs at half the cost, 64 at a tenth.
        table: For a cost of latency, see `nasprune.latency`.
        device: "auto", "cpu" or "cuda".
        seed: Of dropout, and of what batches draw from torch's own chance, as a DataLoader that shuffles does.
        checkpoints: Folder to keep the way in, so that the same call goes on where it was stopped; it holds a few times
            the network's weights for each budget, and one process at a time works in it. None keeps nothing.
        report: Called after every epoch with the budget that is worked at.

    Returns:
        The finished network of each budget, on the device that computes, one after the other as they are asked for,
        all of its layers trainable; what was given stays as it is.

    Raises:
        NetworkError: if the network cannot be cut; the message names module and operation. Or if it makes anything but
            logits.
        SettingsError: if a budget cannot be reached, the budgets do not fall, or two are the same to six digits; if
            there are no batches, or one is not images like the example with a label each, or one that the network
            cannot be run or trained on; or if another process works in the folder of checkpoints.
        DataError: if a label stands for no logit, or a checkpoint cannot be written.
        TrainingError: if a training diverges.
        ArtifactError: if a checkpoint is damaged, or of another network, other settings or other budgets.
    """
    settings = settings or DescentSettings()
    if isinstance(budgets, int | float):
        raise SettingsError(f"budgets {budgets:g} given; expected a list of them, as [{budgets:g}]")
    compute, default = choose_compute(device), torch.get_default_device()
    with _apart(compute):
        if isinstance(network, nn.DataParallel | nn.parallel.DistributedDataParallel):
            network = network.module
        dense = compute.place(copy_of(network).float()).eval()
        example = example.to(compute.device, torch.float32)
        coupling = proven(dense, find_coupling(dense, example), example)
        with torch.no_grad():
            classes = dense(example).shape[1]

        image = tuple(example.shape[1:])

        def given(labelled: Labelled, *, trains: bool = False) -> CheckedBatches:
            return CheckedBatches(
                labelled, compute.device, default=default, network=dense, image=image, classes=classes, trains=trains
            )

        measuring = {
            name: given(each) for name, each in (("validation", validation), ("test", test)) if each is not None
        }
        way = Descent(
            dense=dense,
            coupling=coupling,
            image=image,
            lessons=AskedLessons(given(train, trains=True), compute, dense),
            validation=measuring.get("validation"),
            test=measuring.get("test"),
            settings=settings,
            compute=compute,
            seed=seed,
            table=table,
        )
    whose = _identity(dense, image, settings, table, seed)
    folder = None if checkpoints is None else Path(checkpoints)
    if len({f"{budget:g}" for budget in budgets}) != len(budgets):  # as their checkpoints are named
        raise SettingsError(f"budgets {list(budgets)} given; expected each below the one before, by six digits")

    def session(budget: float) -> Session:
        directory = None if folder is None else folder / f"{budget:g}"
        before = [above for above in budgets if above >= budget]
        return Session(directory, lambda progress: report(budget, progress), identity=f"{whose} {before}")

    def reached() -> Iterator[Pruned]:
        with nullcontext() if folder is None else locked(folder / "prune", wait=False):
            with _apart(compute):
                for labelled in measuring.values():
                    labelled.look_through()
            finished = way.through(budgets, session)
            while True:
                with _apart(compute):
                    each = next(finished, None)
                if each is None:
                    return
                # In torch's own layout: who trains it on need not meet what `right_gradients` keeps us from.
                network = each.network.eval().to(memory_format=torch.contiguous_format)
                yield dataclasses.replace(each, network=network)

    return reached()


@contextmanager
def _apart(compute: Compute) -> Iterator[None]:
    """Work that leaves the caller's chance as it was, whatever device they make tensors on by default."""
    with ExitStack() as stack:
        gpus = [torch.cuda.current_device()] if compute.device.type == "cuda" else []
        stack.enter_context(torch.random.fork_rng(devices=gpus))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        yield


def _identity(
    network: nn.Module, image: tuple[int, ...], settings: DescentSettings, table: LatencyTable | None, seed: int
) -> str:
    """A hash of all that decides what becomes of a network but its images, of which it has the size."""
    times = None if table is None else dataclasses.asdict(table)
    digest = hashlib.sha256(json.dumps([dataclasses.asdict(settings), times, seed, image]).encode())
    for name, value in tensors_of(network).items():
        digest.update(name.encode())
        digest.update(value.cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
