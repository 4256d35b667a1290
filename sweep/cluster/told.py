"""What tasks on any node tell of their epochs, on its way to the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import ray
from ray.util.queue import Empty, Queue
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

_LOOK = 0.2  # seconds


class Told:
    """A context with a queue that tasks put tuples into, while the driver waits for them.

    Args:
        hear: Takes the items of a tuple, in the driver.
    """

    def __init__(self, hear: Callable[..., None]) -> None:
        self._hear = hear
        # Here, or it might die with a node that the work itself would survive.
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self.queue: Queue = Queue(actor_options={"num_cpus": 0, "scheduling_strategy": here})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.queue.shutdown(force=True)

    def first_of(self, running: list[Any]) -> Any:  # noqa: ANN401 (Ray's references)
        """The first of these tasks to end, waited for; what they tell is heard meanwhile."""
        while True:
            ended, _ = ray.wait(running, timeout=_LOOK)
            self._pass_on()
            if ended:
                return ended[0]

    def _pass_on(self) -> None:
        while True:
            try:
                told = self.queue.get_nowait()
            except Empty:
                return
            self._hear(*told)
