"""What a step of the search costs beside a step of distillation: same network, batch and teacher, in one process.

    uv run bench/search_step.py --network resnet18 --image-size 64 --batch-size 64

Two epochs of both are run in turn, so that a slow moment hits both, and the second of each is timed; the ratio of each
pair is taken, and their median shown. "teacher asked": the dense network answers for every batch; "asked once": its
answers are kept, as in a descent. The parts below are timed alone, for where the difference goes.
"""

from __future__ import annotations

import argparse
import copy
import statistics
import time
from collections.abc import Callable, Iterator
from typing import cast

import torch

from nasprune.answers import mean_answers
from nasprune.compute import choose_compute
from nasprune.cost import macs_cost
from nasprune.data.batches import Batches
from nasprune.lessons import AnsweredLessons, AskedLessons, Lessons
from nasprune.masking import MaskedNetwork
from nasprune.networks import NetworkSettings, build, couple
from nasprune.progress import Progress
from nasprune.scores import cut_at_budget
from nasprune.search import SearchSettings, search
from nasprune.session import Session
from nasprune.training import TrainingSettings, fit


class Fixed:
    """Batches that are there already: what is timed is training, not data."""

    def __init__(self, batches: list[tuple[torch.Tensor, torch.Tensor]]) -> None:
        self.batches = batches

    def __len__(self) -> int:
        return len(self.batches)

    def epoch(self, _: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The same every time."""
        yield from self.batches

    @property
    def images_count(self) -> int:
        """All of them."""
        return sum(len(labels) for _, labels in self.batches)

    def order(self, _: int) -> torch.Tensor:
        """As they lie."""
        return torch.arange(self.images_count)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    compute = choose_compute(arguments.device, threads=arguments.threads)
    settings = NetworkSettings(network=arguments.network, classes=21, image_size=arguments.image_size)
    dense = compute.place(build(settings)).eval()
    coupling = couple(dense, settings)
    cost = macs_cost(coupling).to(compute.device)
    side, size = arguments.image_size, arguments.batch_size

    def batch() -> tuple[torch.Tensor, torch.Tensor]:
        images = torch.randn(size, 3, side, side).contiguous(memory_format=torch.channels_last)
        return images.to(compute.device), torch.randint(21, (size,)).to(compute.device)

    batches = cast("Batches", Fixed([batch() for _ in range(arguments.steps)]))
    # On a GPU a step is recorded in the first epoch; the second is timed. Every step there learns scores.
    searching = SearchSettings(epochs=2, initial="l1", ramp=1.0)
    training = TrainingSettings(epochs=2, learning_rate=0.01)

    def seconds(run: Callable[[Session], object]) -> float:
        told: list[Progress] = []
        run(Session(None, told.append))
        return told[-1].metrics["seconds"] / arguments.steps

    def searched(lessons: Lessons) -> float:
        network = copy.deepcopy(dense)
        return seconds(
            lambda session: search(network, coupling, cost, lessons, 0.3, searching, compute, seed=0, session=session)
        )

    def tuned(lessons: Lessons) -> float:
        network = copy.deepcopy(dense)
        return seconds(lambda session: fit(network, lessons, training, compute, phase="tune", seed=0, session=session))

    print(f"{arguments.network}, {side} px, batch {size}, {compute.device.type}, {torch.get_num_threads()} threads")
    answers = mean_answers(dense, batches, compute, classes=21, views=1, session=Session())
    for name, lessons in (
        ("teacher asked", AskedLessons(batches, compute, dense)),
        ("asked once", AnsweredLessons(batches, answers)),
    ):
        pairs = [(searched(lessons), tuned(lessons)) for _ in range(arguments.rounds + 1)][1:]  # the first warms up
        ratios = sorted(a / b for a, b in pairs)
        print(
            f"{name:14} search {1000 * statistics.median(a for a, _ in pairs):6.1f} ms, distillation "
            f"{1000 * statistics.median(b for _, b in pairs):6.1f} ms a step, ratio {statistics.median(ratios):.3f} "
            f"({ratios[0]:.3f} to {ratios[-1]:.3f})"
        )
    scores = torch.randn(coupling.channels, device=compute.device)
    group_of = coupling.group_of.to(compute.device)
    masked = MaskedNetwork(copy.deepcopy(dense), coupling)
    mask = torch.ones(coupling.channels, device=compute.device, requires_grad=True)
    parts = {
        "threshold for a budget": lambda: cut_at_budget(scores, group_of, cost, 0.3),
        "masking the weights, forward and backward": lambda: sum(
            (weight.sum() for weight in masked.weights(mask).values()), torch.zeros((), device=compute.device)
        ).backward(),
    }
    for name, part in parts.items():
        print(f"{name}: {1000 * statistics.median(timed(part) for _ in range(20)):.1f} ms")


def timed(part: Callable[[], object]) -> float:
    """Seconds of one call."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    start = time.perf_counter()
    part()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
