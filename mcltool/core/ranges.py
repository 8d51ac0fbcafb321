"""What numbers a setting may be, written as the type of its field."""

from __future__ import annotations

import typing
from dataclasses import dataclass
from typing import Annotated, Any

from mcltool.core.errors import UsageError

MOST_CHANNELS, MOST_PIXELS = 16_384, 16_384
"""Limits far above use: a weights file or a config from elsewhere may say anything."""


@dataclass(frozen=True)
class Range:
    """least, most: may be reached; above, below: may not."""

    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None

    def problem(self, number: float) -> str | None:
        """What is wrong with ``number``, if anything."""
        if self.least is not None and self.most == 1 and not self.least <= number <= 1:
            return f"must be between {self.least:g} and 1"
        if self.least is not None and number < self.least:
            return f"must be at least {self.least:g}" if self.least else "must not be negative"
        if self.above is not None and number <= self.above:
            return f"must be above {self.above:g}"
        if self.most is not None and number > self.most:
            return f"must be at most {self.most:g}"
        if self.below is not None and number >= self.below:
            return f"must be below {self.below:g}"
        return None


Count = Annotated[int, Range(1)]
Whole = Annotated[int, Range(0)]
Width = Annotated[int, Range(1, MOST_CHANNELS)]
Weight = Annotated[float, Range(0)]
Share = Annotated[float, Range(0, 1)]
Decay = Annotated[float, Range(0, below=1)]
Positive = Annotated[float, Range(above=0)]


def check_ranges(section: str, values: Any) -> None:
    """Raises UsageError for a number outside of the Range beside its field."""
    for name, hint in typing.get_type_hints(type(values), include_extras=True).items():
        value = getattr(values, name)
        numbers = value if isinstance(value, tuple) else (value,)
        for limits in (limits for part in (hint, *typing.get_args(hint)) for limits in _limits(part)):
            for number in numbers:
                problem = None if number is None else limits.problem(number)
                each = " each" if isinstance(value, tuple) else ""
                check(problem is None, f"{section}.{name}", f"{problem}{each}")


def _limits(hint: Any) -> list[Range]:
    return [item for item in getattr(hint, "__metadata__", ()) if isinstance(item, Range)]


def check(holds: bool, address: str, message: str) -> None:
    if not holds:
        raise UsageError(f"{address}: {message}")
