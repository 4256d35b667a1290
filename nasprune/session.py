"""Phases of epochs that report themselves, and start again where they were stopped."""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from nasprune.errors import ArtifactError, TrainingError
from nasprune.files import write_bytes
from nasprune.progress import Progress
from nasprune.state import load_tensors, tensors_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import nn


@dataclass(frozen=True, kw_only=True)
class State:
    """All that must be kept for a phase to go on: modules, optimisers and loose tensors, by name."""

    modules: Mapping[str, nn.Module] = field(default_factory=dict)
    optimizers: Mapping[str, torch.optim.Optimizer] = field(default_factory=dict)
    tensors: Mapping[str, torch.Tensor] = field(default_factory=dict)

    def flat(self) -> dict[str, torch.Tensor]:
        """Every tensor under one flat name, detached copies sharing no memory."""
        flat: dict[str, torch.Tensor] = {}
        for name, module in self.modules.items():
            flat |= {f"module/{name}/{key}": value for key, value in tensors_of(module).items()}
        for name, optimizer in self.optimizers.items():
            for index, slots in optimizer.state_dict()["state"].items():
                for slot, value in slots.items():
                    if value is not None:
                        flat[f"optimizer/{name}/{index}/{slot}"] = torch.as_tensor(value)
        flat |= {f"tensor/{name}": value for name, value in self.tensors.items()}
        return {key: value.detach().clone().contiguous() for key, value in flat.items()}

    def load(self, flat: Mapping[str, torch.Tensor]) -> None:
        """Put back what `flat` gave."""
        for name, module in self.modules.items():
            prefix = f"module/{name}/"
            load_tensors(module, {k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)})
        for name, optimizer in self.optimizers.items():
            weights = [weight for group in optimizer.param_groups for weight in group["params"]]
            slots: dict[int, dict[str, Any]] = {}
            for key, value in flat.items():
                if key.startswith(f"optimizer/{name}/"):
                    _, _, index, slot = key.split("/")
                    slots.setdefault(int(index), {})[slot] = _laid_out_as(weights[int(index)], value)
            optimizer.load_state_dict(optimizer.state_dict() | {"state": slots})
        with torch.no_grad():
            for name, tensor in self.tensors.items():
                tensor.copy_(flat[f"tensor/{name}"])


class Session:
    """Keeps checkpoints of a run's phases in a folder and passes on what each epoch reports.

    Args:
        directory: Where checkpoints are kept; None keeps none.
        report: Called after every epoch, once its checkpoint is safe.
        identity: What the run is, for example its settings' hash: a checkpoint of another run is refused.
        seconds_between: Least time between two checkpoints of a phase; its last epoch is always kept. Where keeping one
            takes long, it is more: 20 times as long as that.
        kept: Called with each file as soon as it is written, before its epoch is reported.
    """

    def __init__(
        self,
        directory: Path | None = None,
        report: Callable[[Progress], None] = lambda _: None,
        *,
        identity: str = "",
        seconds_between: float = 10.0,
        kept: Callable[[Path], None] = lambda _: None,
    ) -> None:
        self.directory = directory
        self.report = report
        self.identity = identity
        self.seconds_between = seconds_between
        self.kept = kept

    def run(self, phase: str, epochs: int, train_epoch: Callable[[int], Mapping[str, float]], state: State) -> None:
        """Run the epochs of a phase that are not done yet.

        The last one that is done is reported once more: whoever was to hear of it may have been killed before.

        Args:
            phase: Name of the phase; also of its checkpoint.
            epochs: How many epochs the phase has.
            train_epoch: Runs the epoch of that number and returns its metrics.
            state: What changes from epoch to epoch; restored first if there is a checkpoint.

        Raises:
            TrainingError: if the loss of an epoch is no finite number; its checkpoint is not written.
            ArtifactError: if the checkpoint is damaged, or of another run.
            DataError: if one cannot be written.
        """
        saved, pause = 0.0, self.seconds_between
        done, told = self._restore(phase, state)
        if told is not None:
            self.report(Progress(phase=phase, epoch=done, epochs=epochs, metrics=told))
        for epoch in range(done, epochs):
            start = time.monotonic()
            metrics = dict(train_epoch(epoch))
            if not math.isfinite(metrics.get("loss", 0.0)):
                raise TrainingError(
                    f"{phase}: the loss is {metrics['loss']} after epoch {epoch + 1} of {epochs}; expected a finite "
                    "number: the training has diverged, give a lower learning rate"
                )
            metrics["seconds"] = time.monotonic() - start
            before = time.monotonic()
            if epoch + 1 == epochs or before - saved >= pause:
                self._keep(phase, epoch + 1, state, metrics)
                saved = time.monotonic()
                pause = max(self.seconds_between, 20 * (saved - before))
            self.report(Progress(phase=phase, epoch=epoch + 1, epochs=epochs, metrics=metrics))

    def once(self, name: str, make: Callable[[], torch.Tensor]) -> torch.Tensor:
        """A tensor that is made once in the life of the run, and read back by those who resume it."""
        path = self._path(name)
        if path is not None and path.exists():
            return self._read(path)[1]["tensor/made"]
        tensor = make()
        self._keep(name, 0, State(tensors={"made": tensor}))
        return tensor

    def _path(self, phase: str) -> Path | None:
        return None if self.directory is None else self.directory / f"{phase}.safetensors"

    def _keep(self, phase: str, epoch: int, state: State, metrics: Mapping[str, float] | None = None) -> None:
        path = self._path(phase)
        if path is None:
            return
        meta = {"epoch": str(epoch), "identity": self.identity, "metrics": json.dumps(metrics)}
        write_bytes(path, save(state.flat(), meta))
        self.kept(path)

    def _restore(self, phase: str, state: State) -> tuple[int, dict[str, float] | None]:
        """Epochs done, and the last one's metrics."""
        path = self._path(phase)
        if path is None or not path.exists():
            return 0, None
        meta, flat = self._read(path)
        state.load(flat)
        return int(meta["epoch"]), json.loads(meta.get("metrics", "null"))

    def _read(self, path: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
        try:
            with safe_open(path, framework="pt") as file:
                meta = file.metadata()
                flat = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
        except SafetensorError as error:
            raise ArtifactError(
                f"checkpoint {path} is damaged ({error}); delete it to start this phase again"
            ) from error
        if meta["identity"] != self.identity:
            raise ArtifactError(f"checkpoint {path} belongs to a run with other settings; delete it to start again")
        return meta, flat


def _laid_out_as(weight: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """`value` in the memory layout of `weight`, where it has its shape.

    SGD's fused kernels run through weights and momentum as they lie in memory. Of two layouts the one for GPUs makes an
    error, and the one for CPUs gives weights the momentum of others, without a word.
    """
    return torch.empty_like(weight).copy_(value) if value.shape == weight.shape else value
