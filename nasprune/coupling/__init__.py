"""Which channels must live or die together: everything else in this package serves `find_coupling`."""

from nasprune.coupling.finding import find_coupling
from nasprune.coupling.result import Axis, Coupling, Group, Layer

__all__ = ["Axis", "Coupling", "Group", "Layer", "find_coupling"]
