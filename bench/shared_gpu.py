"""How many training steps several processes take together on one GPU, and one alone, recorded or kernel by kernel.

    uv run bench/shared_gpu.py --processes 16                   # they take turns
    nvidia-cuda-mps-control -d                                  # from now on they run side by side
    uv run bench/shared_gpu.py --processes 16
    echo quit | nvidia-cuda-mps-control

Each process tunes a network of its own, cut to `--budget`, on a batch that is on the GPU already; counting begins when
all are ready. Trials of a sweep with `--gpus-per-trial 0.25` share a GPU like this.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier

import torch

from nasprune.compute import choose_compute
from nasprune.cost import macs_cost
from nasprune.networks import NetworkSettings, build, couple
from nasprune.scores import cut_at_budget
from nasprune.stepping import Step
from nasprune.surgery import derive
from nasprune.training import TrainingSettings, distillation_loss, sgd


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--network", default="resnet18")
    parser.add_argument("--image-size", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--budget", type=float, default=0.1)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--device", default="auto")
    arguments = parser.parse_args()
    context = multiprocessing.get_context("spawn")  # a GPU cannot be used in a forked process
    ways = (False, True) if choose_compute(arguments.device).device.type == "cuda" else (False,)
    for count in sorted({1, arguments.processes}):
        for recorded in ways:
            rates: Queue[float] = context.Queue()
            ready = context.Barrier(count)
            processes = [
                context.Process(target=train, args=(arguments, recorded, ready, rates), daemon=True)
                for _ in range(count)
            ]
            for process in processes:
                process.start()
            total = sum(rates.get(timeout=300) for _ in processes)
            for process in processes:
                process.join()
            how = "recorded" if recorded else "kernel by kernel"
            print(f"{count:3} processes, {how:16}: {total:8.1f} steps/s in all, {1000 * count / total:6.2f} ms a step")


def train(arguments: argparse.Namespace, recorded: bool, ready: Barrier, rates: Queue[float]) -> None:
    """One process: tune for some seconds, and put the steps a second."""
    compute = choose_compute(arguments.device, threads=1)
    settings = NetworkSettings(network=arguments.network, classes=21, image_size=arguments.image_size)
    dense = compute.place(build(settings))
    coupling = couple(dense, settings)
    scores = torch.rand(coupling.channels, generator=torch.Generator().manual_seed(0)).to(compute.device)
    cost = macs_cost(coupling).to(compute.device)
    cut = cut_at_budget(scores, coupling.group_of.to(compute.device), cost, arguments.budget)
    network = compute.place(derive(dense, coupling, cut.kept)).train()
    shape = (arguments.batch_size, 3, arguments.image_size, arguments.image_size)
    images = torch.randn(shape, device=compute.device).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(21, (arguments.batch_size,), device=compute.device)
    taught = torch.randn((arguments.batch_size, 21), device=compute.device)

    def loss(logits: torch.Tensor, labels: torch.Tensor, taught: torch.Tensor | None) -> torch.Tensor:
        return distillation_loss(logits, taught, labels, 0.7, 4.0)

    optimizer = sgd(network, TrainingSettings(epochs=1))
    step = Step(network, loss, optimizer, clip=TrainingSettings.clip, compute=compute, graphs=recorded)

    def take(steps: int) -> None:
        for _ in range(steps):
            step(images, labels, taught, rate=0.01)
        if compute.device.type == "cuda":
            torch.cuda.synchronize()

    take(8)
    ready.wait()
    start, steps = time.monotonic(), 0
    while time.monotonic() - start < arguments.seconds:
        take(10)
        steps += 10
    rates.put(steps / (time.monotonic() - start))


if __name__ == "__main__":
    main()
