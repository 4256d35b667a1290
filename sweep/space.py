"""What a study explores: which settings of a search, and between which bounds."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from nasprune.errors import SettingsError


@dataclass(frozen=True, kw_only=True)
class Range:
    """Numbers from `low` to `high`, both included.

    Raises:
        SettingsError: If the bounds are out of order, or a logarithmic range is not positive.
    """

    low: float
    high: float
    log: bool = False
    """Explore orders of magnitude rather than differences."""

    def __post_init__(self) -> None:
        if not self.low <= self.high:  # NaN is not either
            raise SettingsError(f"range {self.low:g} to {self.high:g} given; expected low <= high; swap them")
        if self.log and self.low <= 0:
            raise SettingsError(
                f"logarithmic range from {self.low:g} given; expected a lower bound above 0; raise it or set log=False"
            )

    @classmethod
    def parsed(cls, text: str) -> "Range":
        """Read LOW:HIGH; from a factor of ten on, orders of magnitude are explored.

        Raises:
            ValueError: If these are not two numbers.
            SettingsError: If they are out of order.
        """
        low, high = (float(part) for part in text.split(":"))
        return cls(low=low, high=high, log=0 < 10 * low <= high)

    def nearest(self, value: float) -> float:
        """The number within the bounds that is closest to `value`."""
        return min(max(value, self.low), self.high)

    def holds(self, value: Any) -> bool:  # noqa: ANN401  # any value may be asked about
        """Whether `value` is a number within the bounds."""
        return isinstance(value, int | float) and self.low <= value <= self.high


@dataclass(frozen=True, kw_only=True)
class SearchSpace:
    """The settings of a search (`nasprune.search.SearchSettings`) that a study explores.

    None leaves a setting alone.
    """

    cost_exponent: Range | None = Range(low=0.5, high=1.2)
    """How strongly a channel's cost counts against it."""
    ramp: Range | None = Range(low=0.3, high=0.9)
    """Share of the search in which the budget falls."""
    weight_learning_rate: Range | None = Range(low=0.01, high=0.1, log=True)
    """Peak step size of the weights (SGD)."""
    distillation: Range | None = Range(low=0.3, high=1.0)
    """Share of the loss that comes from the dense network."""
    distillation_temperature: Range | None = None
    """Of both networks' logits."""
    saliency_epochs: Range | None = None
    """Epochs that saliency is averaged over."""
    cost_weight: Range | None = None
    """Weight of the cost-aware loss."""
    score_learning_rate: Range | None = None
    """Step size of the scores."""
    temperature_start: Range | None = None
    """Of the masks' sigmoid at the first step, in standardised score units."""
    temperature_end: Range | None = None
    """At the last step."""

    def explored(self) -> dict[str, Range]:
        """The explored settings by name, in the order of the fields."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if value is not None}

    def without(self, names: Iterable[str]) -> "SearchSpace":
        """The space with some settings left alone, such as those that the user fixed; others' names do nothing."""
        return replace(self, **{name: None for name in names if name in self.explored()})

    def chosen(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The explored ones out of all settings of a search.

        Raises:
            SettingsError: If one lies outside its range, where the study could never return to it.
        """
        explored = self.explored()
        for name, values in explored.items():
            if not values.holds(settings[name]):
                wanted = f"{values.low:g} to {values.high:g}"
                raise SettingsError(
                    f"search {name} {settings[name]} given for a study that explores it; expected {wanted}; "
                    "give such a value, or widen the space"
                )
        return {name: settings[name] for name in explored}

    def described(self) -> dict[str, Any]:
        """The space as plain data, equal for equal spaces."""
        return {name: asdict(value) for name, value in self.explored().items()}


EXPLORABLE = frozenset(field.name for field in fields(SearchSpace))
"""Names of the settings that a study can explore."""

SPACES: Mapping[str, SearchSpace] = {
    "saliency": SearchSpace(saliency_epochs=Range(low=0.5, high=8.0, log=True)),
    "gradient": SearchSpace(
        cost_weight=Range(low=0.03, high=1.0, log=True),
        score_learning_rate=Range(low=0.005, high=0.1, log=True),
        temperature_start=Range(low=0.2, high=1.5),
        temperature_end=Range(low=0.02, high=0.2, log=True),
    ),
    "frozen": SearchSpace(),
}
"""What a study explores, for each way that scores learn."""
