"""The kinds of cost a budget can be a share of."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

from nasprune.cost import Cost, macs_cost, params_cost
from nasprune.errors import SettingsError
from nasprune.latency import LatencyTable, latency_cost

if TYPE_CHECKING:
    from torch import nn

    from nasprune.coupling import Coupling

CostKind = Literal["macs", "params", "latency"]
COSTS: tuple[CostKind, ...] = ("macs", "params", "latency")


def cost_of(kind: CostKind, coupling: Coupling, network: nn.Module, table: LatencyTable | None = None) -> Cost:
    """The cost of a network, dense or on its way down.

    Args:
        kind: See `COSTS`.
        coupling: Of the network.
        network: For its parameters' shapes.
        table: For "latency": times of the dense network's layers.

    Raises:
        SettingsError: if the kind is not known, or the table is missing or of another network.
    """
    if kind == "macs":
        return macs_cost(coupling)
    if kind == "params":
        return params_cost(coupling, network)
    if kind != "latency":
        raise SettingsError(f"cost '{kind}' given; expected one of {', '.join(COSTS)}")
    if table is None:
        raise SettingsError(
            "cost 'latency' given without a table of times; measure one with python -m nasprune.latency"
        )
    return latency_cost(coupling, table)
