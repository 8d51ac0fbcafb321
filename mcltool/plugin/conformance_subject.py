"""What conformance checks share: the plugin under test, and how a check fails."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from mcltool.core.errors import McltoolError, UsageError
from mcltool.plugin.contract import DatasetPlugin, Sample

PROBES = 3
"""Samples of each split that are read."""


@dataclass
class Subject:
    """The plugin under test. samples: by split, filled by the check of the index."""

    plugin: DatasetPlugin
    root: Path | None
    samples: dict[str, Sequence[Sample]] = field(default_factory=dict)

    def probes(self, *splits: str) -> list[Sample]:
        """A few samples of each split, or of the given ones: the first, the last and some between."""
        found = []
        for samples in (self.samples[split] for split in splits or self.samples):
            places = np.linspace(0, len(samples) - 1, min(PROBES, len(samples)))
            found += [samples[int(place)] for place in places]
        if not found:
            raise SkipError("there are no samples")
        return found


class SkipError(Exception):
    """The check cannot be made; the message says why."""


def require(holds: object, message: str) -> None:
    if not holds:
        raise AssertionError(message)


def require_raises(kind: type[McltoolError], call: Callable[[], object], what: str) -> str:
    """The message of the error that ``call`` raises."""
    expected = "UsageError" if kind is UsageError else "DataError"
    try:
        call()
    except kind as error:
        return str(error)
    except Exception as error:
        raise AssertionError(f"{what}: expected {expected}, found {type(error).__name__}: {error}") from error
    raise AssertionError(f"{what} raises nothing, expected {expected}")


def form(value: object) -> str:
    return f"{value.shape} {value.dtype}" if isinstance(value, np.ndarray) else repr(value)
