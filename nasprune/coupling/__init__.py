"""Which channels must live or die together: everything else in this package serves `find_coupling`."""

from nasprune.coupling.finding import find_coupling
from nasprune.coupling.result import Axis, Coupling, Geometry, Group, Layer

__all__ = ["Axis", "Coupling", "Geometry", "Group", "Layer", "find_coupling"]
