"""Where and in which precision the work runs."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import nn

from nasprune.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Compute:
    """A device and the number format of forward passes on it.

    Attributes:
        device: Where tensors live.
        bfloat16: Autocast to bfloat16 in training; evaluation is always float32.
    """

    device: torch.device
    bfloat16: bool

    def place(self, network: nn.Module) -> nn.Module:
        """Move a network here, its convolutions over images in the channels-last layout that batches come in."""
        network = network.to(self.device)
        for tensor in (*network.parameters(), *network.buffers()):
            if tensor.dim() == 4:  # a volume's kernel has five sides, for which torch has another layout
                tensor.data = tensor.data.to(memory_format=torch.channels_last)
        return network

    def seed(self, number: int) -> None:
        """Begin chance anew, of the processor and of this device; that of other devices is not ours."""
        torch.default_generator.manual_seed(number)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(number)

    def autocast(self) -> AbstractContextManager[None]:
        """The context of training's forward passes."""
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.bfloat16)


def choose_compute(device: str = "auto", *, threads: int | None = None) -> Compute:
    """The best device at hand, or the one named, with bfloat16 where it is faster than float32.

    Args:
        device: "auto", "cpu" or "cuda".
        threads: Threads for work on the CPU, as many as the CPUs this process was given; None leaves
            torch's own choice.

    Raises:
        SettingsError: if the device named is not there.
    """
    if device not in {"auto", "cpu", "cuda"}:
        raise SettingsError(f"device '{device}' given; expected auto, cpu or cuda")
    cuda = torch.cuda.is_available()
    if device == "cuda" and not cuda:
        raise SettingsError("device cuda given, but torch sees no GPU here; use --device cpu or auto")
    if threads is not None:
        torch.set_num_threads(threads)
    # Without the instruction, bfloat16 is emulated and slower than float32.
    if cuda and device != "cpu":
        # The choice of algorithm must not differ between runs, and float32 must mean float32.
        torch.backends.cudnn.benchmark = False
        torch.backends.cudnn.deterministic = True
        torch.backends.cudnn.allow_tf32 = False
        return Compute(device=torch.device("cuda"), bfloat16=torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    bfloat16 = bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
    return Compute(device=torch.device("cpu"), bfloat16=bfloat16)
