"""Labelled batches of a caller's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import torch

from nasprune.copying import copy_of
from nasprune.errors import DataError, SettingsError, first_line

if TYPE_CHECKING:
    from torch import nn

Labelled = Iterable[Sequence[torch.Tensor]]
"""Batches of images (B, bands, H, W) and labels (B,), as often as asked: a DataLoader, or a list.

Images of any kind of number are taken as float32 with the values that they have, so a network that was trained on
values in [0, 1] is to be given these. Labels are whole numbers of any kind, (B,) or (B, 1)."""


class CheckedBatches:
    """The caller's batches on the device, each looked at before it is used.

    Args:
        batches: See `Labelled`.
        device: That computes.
        default: The caller's default device, under which their batches are made.
        network: That they are for, on the device and in evaluation mode; left as it is.
        image: (bands, H, W) of its example. Batches may have other sides where the network runs on them.
        classes: How many logits the network makes.
        trains: Whether it is trained with these.

    Raises:
        SettingsError: if they end after one epoch, or there are none.
    """

    def __init__(
        self, batches: Labelled, device: torch.device, *, default: torch.device, network: nn.Module,
        image: tuple[int, ...], classes: int, trains: bool = False,
    ) -> None:  # fmt: skip
        self._batches, self._device, self._default = batches, device, default
        self._network, self._image, self._classes, self._trains = network, image, classes, trains
        self._run_on = {(image, False)}
        self._all_seen = False
        if isinstance(batches, Iterator):
            raise SettingsError("an iterator given, which ends after one epoch; expected a DataLoader or a list")
        try:
            self._count = len(batches)  # type: ignore[arg-type]
        except TypeError:  # a loader of a stream does not know before it has run
            self._count = sum(1 for _ in self._made())
        if not self._count:
            raise SettingsError("no batches given; expected (images, labels) that can be run through many times")

    def __len__(self) -> int:
        return self._count

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """The batches once more; a loader shuffles and augments by itself.

        Raises:
            SettingsError: if one is not images with a label each, or the network does not run on it.
            DataError: if a label stands for no logit.
        """
        for batch in self._made():
            images, labels = self._checked(batch)
            layout = torch.channels_last if images.dim() == 4 else torch.contiguous_format
            images, labels = (each.to(self._device, non_blocking=each.is_pinned()) for each in (images, labels))
            yield images.to(torch.float32, memory_format=layout), labels
        self._all_seen = True

    def look_through(self) -> None:
        """Look at every batch now, so that one that cannot be used costs no work; raises as `epoch` does."""
        for batch in self._made():
            self._checked(batch)
        self._all_seen = True

    def _made(self) -> Iterator[Sequence[torch.Tensor]]:
        """The batches as they are made, by code that may rely on its default device."""
        if self._default == torch.get_default_device():
            yield from self._batches
            return
        with self._default:
            made = iter(self._batches)
        while True:
            try:
                with self._default:
                    batch = next(made)
            except StopIteration:
                return
            yield batch

    def _checked(self, batch: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """Images as they are, and labels int64 (B,)."""
        parts = batch if isinstance(batch, tuple | list) else ()
        if len(parts) != 2 or not all(isinstance(part, torch.Tensor) for part in parts):
            of = f" of {', '.join(type(part).__name__ for part in parts)}" if parts else ""
            raise SettingsError(
                f"a batch that is a {type(batch).__name__}{of} given; expected a pair of tensors, (images, labels), "
                "which a loader's collate_fn can make"
            )
        images, labels = parts
        if images.dim() < 3 or images.shape[1] != self._image[0] or not len(images):
            raise SettingsError(
                f"a batch of images {tuple(images.shape)} given; "
                f"expected (B, {self._image[0]}, H, W) like the example, and B at least 1"
            )
        if labels.numel() != len(images) or labels.is_floating_point() or labels.is_complex():
            raise SettingsError(
                f"labels {tuple(labels.shape)} of {labels.dtype} given with {len(images)} images; expected the number "
                "of its class for each, a whole one"
            )
        labels = labels.reshape(-1).long()
        if not self._all_seen:  # later on, labels on a GPU would be waited for in vain
            least, most = int(labels.min()), int(labels.max())
            if least < 0 or most >= self._classes:
                raise DataError(
                    f"labels from {least} to {most} given; expected 0 to {self._classes - 1}, one for each logit"
                )
        self._run(images)
        return images, labels

    def _run(self, images: torch.Tensor) -> None:
        """Let the network run once on images of each size, and be trained on a batch of one, as a last one may be."""
        alone = self._trains and len(images) == 1
        kind = (tuple(images.shape[1:]), alone)
        if kind in self._run_on:
            return
        self._run_on.add(kind)
        few = images[:2].to(self._device, torch.float32)
        gpus = [torch.cuda.current_device()] if self._device.type == "cuda" else []
        try:
            with torch.no_grad(), torch.random.fork_rng(devices=gpus):
                (copy_of(self._network).train() if alone else self._network)(few)
        except Exception as error:  # whatever the network's own code raises
            reason = first_line(error)
            if alone:
                raise SettingsError(
                    f"a batch of one image given, on which the network cannot be trained ({reason}); expected at least "
                    "two in each: give the loader drop_last=True or another batch size"
                ) from error
            raise SettingsError(
                f"images {kind[0]} given, on which the network does not run ({reason}); expected images like the "
                f"example, {self._image}"
            ) from error
