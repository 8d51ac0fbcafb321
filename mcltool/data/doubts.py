"""What makes a data set look as if it was read wrongly, though every file can be read. It is said, never mended."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from mcltool.core.errors import DataError, UsageError
from mcltool.data.views import orientation
from mcltool.plugin.contract import Condition, DatasetPlugin, Sample

FEW = 32
"""Samples that are looked at where not all are read."""
SHARE = 0.1
"""What a plugin doubts of fewer samples is taken for chance."""
TURNED = (
    "its EXIF orientation turns the photo; 'data preview' shows whether the condition fits; --no-exif takes photos as "
    "they are stored (--exif: they are right)"
)


def doubts_of(plugin: DatasetPlugin, sample: Sample, condition: Condition) -> list[str]:
    """What to doubt of one sample, a line each."""
    found = [plugin.doubt(condition)]
    if plugin.follow_exif is None and orientation(sample) != 1:
        found.append(TURNED)
    return [line for line in found if line]


def summed_up(counts: Counter[str], samples: int) -> list[str]:
    """What is left of doubts among so many samples, a line each."""
    left = {line: n for line, n in counts.items() if line == TURNED or n > SHARE * samples}
    return [f"{n} of {samples} samples: {line}" for line, n in left.items()]


def look(plugin: DatasetPlugin, samples: Sequence[Sample]) -> list[str]:
    """The doubts that a few samples give. What cannot be read is passed over: whoever reads it says so."""
    some = [sample for sample in samples[:: max(1, len(samples) // FEW)][:FEW] if sample.condition]
    counts: Counter[str] = Counter()
    for sample in some:
        try:
            counts.update(doubts_of(plugin, sample, plugin.condition(sample, 256)))
        except DataError:
            continue
    return summed_up(counts, len(some))


def check_ids(plugin: DatasetPlugin, samples: Sequence[Sample]) -> None:
    """Raises UsageError where two samples of a split have one id."""
    ids: set[str] = set()
    for sample in samples:
        if sample.id in ids:
            raise repeated(plugin, sample.id)
        ids.add(sample.id)


def repeated(plugin: DatasetPlugin, name: str) -> UsageError:
    """What to say of an id that two samples have."""
    return UsageError(
        f"{plugin.name}: two samples have the id {name!r}: nothing could tell them apart; give the files names of "
        "their own, or have the plugin make ids of their paths"
    )
