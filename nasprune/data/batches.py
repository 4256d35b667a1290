"""Batches of normalised images on a device."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import torch

from nasprune.data.augment import Augmentation, augment, light_of, unit
from nasprune.data.mapped import MappedImages
from nasprune.data.statistics import Statistics
from nasprune.errors import DataError, SettingsError


class Batches:
    """The images at some indices, batch after batch, as often as asked.

    Args:
        images: the mapped images.
        labels: int64 (N,) classes of all mapped images.
        indices: int64 (n,) which images to serve.
        batch_size: images a batch, at least 1.
        statistics: for the normalisation.
        device: where the batches are to lie.
        augmentation: None serves every image once, unchanged and in order. Otherwise the order is shuffled
            and every image changed, both drawn from (seed, epoch number) alone.
        seed: of order and augmentation.
        colours: whether the bands are red, green and blue of 8 bits, whose light changes as a camera's does.
        drop_last: whether, with augmentation, a last batch of one image or less than half the size is left out, since
            batch norm learns badly from a few images and refuses one where nothing but channels is left; not if it is
            the only one. It differs from epoch to epoch.

    Raises:
        DataError: if there are no indices.
        SettingsError: if the batch size is below 1.
    """

    def __init__(
        self,
        images: MappedImages,
        labels: npt.NDArray[np.int64],
        indices: npt.NDArray[np.int64],
        *,
        batch_size: int,
        statistics: Statistics,
        device: torch.device,
        augmentation: Augmentation | None = None,
        seed: int = 0,
        colours: bool = True,
        drop_last: bool = True,
    ) -> None:
        if batch_size < 1:
            raise SettingsError(f"batch size {batch_size}: give at least 1")
        if len(indices) == 0:
            raise DataError("no image to make batches of: the part is empty")
        self._images = images
        self._labels = labels
        self._indices = np.array(indices, dtype=np.int64)
        self._batch_size = batch_size
        self._statistics = statistics
        self._device = device
        self._augmentation = augmentation
        self._seed = seed
        self._colours = colours
        self._drops = drop_last and augmentation is not None

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        whole, rest = divmod(len(self._indices), self._batch_size)
        dropped = self._drops and whole > 0 and (2 * rest < self._batch_size or rest == 1)
        return whole + (rest > 0 and not dropped)

    @property
    def images_count(self) -> int:
        """Images served, those of a last batch that is dropped included."""
        return len(self._indices)

    def order(self, number: int) -> torch.Tensor:
        """int64 (n,) in 0..images_count - 1: which of the images an epoch serves, one after the other."""
        return torch.from_numpy(self._chance_of(number)[0][: len(self) * self._batch_size])

    def epoch(self, number: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Serve every image once.

        Args:
            number: of the epoch, from 0; with the seed it fixes all chance, so that a resumed run sees what
                an uninterrupted one would.

        Yields:
            x float32 (b, bands, S, S), normalised, channels-last, and y int64 (b,), both on the device. b is the
            batch size but for a short last batch.
        """
        order, seed_of_views = self._chance_of(number)
        augmentation = self._augmentation
        generator = torch.Generator(self._device).manual_seed(seed_of_views)
        scale, offset = self._normalisation()
        light = None if self._colours else light_of(self._statistics)
        pinned = self._device.type == "cuda"
        for start in range(0, len(self) * self._batch_size, self._batch_size):
            chosen = self._indices[order[start : start + self._batch_size]]
            y = torch.from_numpy(self._labels[chosen])
            x = self._images.gather(chosen, pinned=pinned).to(self._device, non_blocking=pinned)
            y = (y.pin_memory() if pinned else y).to(self._device, non_blocking=pinned)
            if augmentation is not None:
                x = augment(x, augmentation, generator, light=light)
            else:
                x = x.float().mul_(unit(x))
            yield x.mul_(scale).add_(offset), y

    def _chance_of(self, number: int) -> tuple[npt.NDArray[np.int64], int]:
        """The order of all images in an epoch, and the seed of their views there."""
        if self._augmentation is None:
            return np.arange(len(self._indices)), 0
        for_order, for_views = np.random.SeedSequence([self._seed, number]).spawn(2)
        order = np.random.default_rng(for_order).permutation(len(self._indices))
        return order, int(for_views.generate_state(1, np.uint64)[0] >> np.uint64(1))

    def _normalisation(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and offset (bands, 1, 1) that take [0, 1] to mean 0, deviation 1."""
        mean = torch.tensor(self._statistics.mean, device=self._device)[:, None, None]
        deviation = torch.tensor(self._statistics.deviation, device=self._device)[:, None, None]
        return 1 / deviation, -mean / deviation
