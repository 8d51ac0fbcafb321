"""A data set's conditions as files of their own, which translate-dir reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from mcltool.core.errors import DataError, McltoolError, UsageError, naming
from mcltool.core.files import NAME_ERRORS
from mcltool.plugin.contract import DatasetPlugin, Sample


@dataclass(frozen=True)
class ExportedCondition:
    """One sample's outcome: the file, or else why there is none."""

    id: str
    path: Path | None
    cause: str = ""


def export_conditions(
    plugin: DatasetPlugin, samples: Sequence[Sample], out: Path, short_side: int
) -> Iterator[ExportedCondition]:
    """Write the condition of every sample below ``out``, named by the sample's id; one result a sample.

    short_side: in pixels, for conditions that are drawn rather than read. Files that are there are replaced.
    Raises UsageError where ``out`` is a file, OSError where nothing more can be written, as on a full disk.
    """
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out}: expected a folder to write to, found a file")
    return (_export(plugin, sample, out, short_side) for sample in samples)


def _export(plugin: DatasetPlugin, sample: Sample, out: Path, short_side: int) -> ExportedCondition:
    name = PurePosixPath(sample.id)
    try:
        if name.is_absolute() or ".." in name.parts:
            raise DataError(f"{sample.id}: not a name of a file below {out}")
        condition = plugin.condition(sample, short_side)
    except (McltoolError, OSError) as error:
        return ExportedCondition(sample.id, None, str(error))
    try:
        with naming(out / name):
            return ExportedCondition(sample.id, plugin.write_condition(condition, out / name))
    except McltoolError as error:
        return ExportedCondition(sample.id, None, str(error))
    except OSError as error:
        if error.errno not in NAME_ERRORS:
            raise
        return ExportedCondition(sample.id, None, str(error))
