"""Numbers of channels, which of them are equal, and the groups that come of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from nasprune.errors import NetworkError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy.typing as npt

    Numbers = npt.NDArray[np.int64]

FIXED = 0
"""The provisional number of every channel that must stay."""


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """What became of the provisional numbers.

    Attributes:
        final: From provisional to final numbers; fixed channels have the number one past the last channel.
        groups: (name, start, size) of each group.
        whole: Modules all of whose channels stay, with the reason.
    """

    final: Numbers
    groups: list[tuple[str, int, int]]
    whole: Mapping[str, str]


class Numbering:
    """A union-find structure of channel numbers."""

    def __init__(self) -> None:
        self._parents = [FIXED]
        self._producers = [""]
        self._reasons: list[tuple[Numbers, str]] = []

    def fresh(self, count: int, producer: str) -> Numbers:
        """`count` new channel numbers, made by the module `producer`; "" if they are nobody's yet."""
        start = len(self._parents)
        self._parents.extend(range(start, start + count))
        self._producers.extend([producer] * count)
        return np.arange(start, start + count)

    def find(self, number: int) -> int:
        """The number that stands for all those equal to `number`."""
        while self._parents[number] != number:
            self._parents[number] = self._parents[self._parents[number]]
            number = self._parents[number]
        return number

    def roots(self, numbers: Numbers) -> Numbers:
        """`find` of each."""
        return np.array([self.find(number) for number in numbers.tolist()], dtype=np.int64)

    def merge(self, left: Numbers, right: Numbers) -> None:
        """Make two equally long vectors equal, element by element. The smaller number stands for both."""
        if left is right or np.array_equal(left, right):
            return
        for a, b in zip(left.tolist(), right.tolist(), strict=True):
            low, high = sorted((self.find(a), self.find(b)))
            self._parents[high] = low

    def fix(self, numbers: Numbers, reason: str) -> None:
        """Make channels stay."""
        self._reasons.append((numbers, reason))
        self.merge(np.full_like(numbers, FIXED), numbers)

    def number(self, uses: Iterable[Numbers]) -> Numbered:
        """Final numbers and groups.

        Channels of modules that share any channel form one group. Channels of a group are alike: where some
        appear more often than others along any axis (a concatenation that was shuffled), they form groups of
        their own, so that costs depend on the widths alone.

        Args:
            uses: The channels along every axis that matters, as provisional numbers.

        Raises:
            NetworkError: if no channel can be pruned.
        """
        roots = self.roots(np.arange(len(self._parents)))
        family = self._families(roots)
        uses_of = _fingerprints(roots, uses)
        members: dict[tuple[str, int], list[int]] = {}
        for root in sorted(set(roots.tolist()) - {FIXED}):
            if family[root]:
                members.setdefault((family[root], int(uses_of[root])), []).append(root)
        # A group of one channel cannot lose it.
        members = {key: numbers for key, numbers in members.items() if len(numbers) > 1}
        if not members:
            raise NetworkError(
                "nothing to prune: every channel of this network is an input or an output, or must stay; "
                "expected at least one hidden convolution or linear layer"
            )
        total = sum(len(numbers) for numbers in members.values())
        final = np.full(len(roots), total, dtype=np.int64)
        groups: list[tuple[str, int, int]] = []
        start = 0
        names: set[str] = set()
        for (producer, _), numbers in members.items():
            name, more = producer, 2
            while name in names:
                name, more = f"{producer}#{more}", more + 1
            names.add(name)
            final[numbers] = np.arange(start, start + len(numbers))
            groups.append((name, start, len(numbers)))
            start += len(numbers)
        return Numbered(final=final[roots], groups=groups, whole=self._whole(roots, final[roots] == total))

    def _families(self, roots: Numbers) -> dict[int, str]:
        """For each root the first module of its family; "" where no module makes it."""
        heads: dict[str, str] = {}

        def head(producer: str) -> str:
            while heads.setdefault(producer, producer) != producer:
                producer = heads[producer]
            return producer

        first: dict[int, str] = {}
        order: dict[str, int] = {}
        for number, root in enumerate(roots.tolist()):
            producer = self._producers[number]
            if root == FIXED or not producer:
                continue
            order.setdefault(producer, number)
            ours, theirs = head(producer), head(first.setdefault(root, producer))
            if ours != theirs:
                early, late = sorted((ours, theirs), key=order.__getitem__)
                heads[late] = early
        return {root: head(first[root]) if root in first else "" for root in set(roots.tolist())}

    def _whole(self, roots: Numbers, stays: npt.NDArray[np.bool_]) -> dict[str, str]:
        reasons: dict[int, str] = {}
        for numbers, reason in self._reasons:
            for number in numbers.tolist():
                reasons.setdefault(number, reason)
        found = {}
        for producer, its in _places(self._producers).items():
            if producer and bool(stays[its].all()):
                because = next((reasons[n] for n in its.tolist() if n in reasons), "")
                found[producer] = because or (
                    "joined with channels that stay" if bool((roots[its] == FIXED).all()) else "a single channel"
                )
        return found


def _fingerprints(roots: Numbers, uses: Iterable[Numbers]) -> npt.NDArray[np.uint64]:
    """For each root a number that says how often it appears along each axis.

    The counts themselves would be a table of all axes by all channels; a sum of them with random weights, modulo
    2^64, tells two rows of it apart but for one chance in 2^64.
    """
    found = np.zeros(len(roots), dtype=np.uint64)
    weights = np.random.default_rng(0)
    for numbers in uses:
        present, counts = np.unique(roots[numbers], return_counts=True)
        found[present] += weights.integers(1, 2**64, dtype=np.uint64) * counts.astype(np.uint64)
    return found


def _places(producers: list[str]) -> dict[str, Numbers]:
    """The numbers of each producer."""
    places: dict[str, list[int]] = {}
    for number, producer in enumerate(producers):
        places.setdefault(producer, []).append(number)
    return {producer: np.array(numbers) for producer, numbers in places.items()}
