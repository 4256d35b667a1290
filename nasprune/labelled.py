"""Labelled batches of a caller's own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from nasprune.errors import DataError, SettingsError

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
        bands: Of images.
        classes: How many logits the network makes.

    Raises:
        SettingsError: if they end after one epoch, or there are none.
    """

    def __init__(
        self, batches: Labelled, device: torch.device, *, default: torch.device, bands: int, classes: int
    ) -> None:
        self._batches, self._device, self._bands, self._classes = batches, device, bands, classes
        self._default = default
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
            SettingsError: if one is not images with a label each.
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
        if images.dim() < 3 or images.shape[1] != self._bands:
            raise SettingsError(
                f"a batch of images {tuple(images.shape)} given; expected (B, {self._bands}, H, W) like the example"
            )
        if labels.numel() != len(images) or labels.is_floating_point() or labels.is_complex():
            raise SettingsError(
                f"labels {tuple(labels.shape)} of {labels.dtype} given with {len(images)} images; expected the number "
                "of its class for each, a whole one"
            )
        labels = labels.reshape(-1).long()
        if not self._all_seen and len(labels):  # later on, labels on a GPU would be waited for in vain
            least, most = int(labels.min()), int(labels.max())
            if least < 0 or most >= self._classes:
                raise DataError(
                    f"labels from {least} to {most} given; expected 0 to {self._classes - 1}, one for each logit"
                )
        return images, labels
