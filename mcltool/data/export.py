"""Samples as files of their own: conditions that translate-dir reads, and a sheet of what training sees."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from mcltool.core.config import DataConfig
from mcltool.core.errors import DataError, McltoolError, UsageError, naming
from mcltool.core.files import NAME_ERRORS
from mcltool.core.pictures import Picture, contact_sheet, save_png
from mcltool.plugin.contract import DatasetPlugin, Sample

COLUMNS = {
    "condition": "condition",
    "target": "target",
    "exemplar": "exemplar",
    "exemplar_condition": "its condition",
    "augmented": "augmented",
}
"""Of the sheet: the part of a sample, and its name."""
CELL = 256
"""Pixels a picture on the sheet is high at most."""


class ExportedCondition(NamedTuple):
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


def save_preview(
    plugin: DatasetPlugin, samples: Sequence[Sample], config: DataConfig, seed: int, count: int, out: Path
) -> int:
    """Draw the first ``count`` samples that a run of ``seed`` trains on, after all augmentation; returns how many.

    A row has condition, target (its photo), exemplar, the exemplar's own condition, and the augmented target. Raises
    McltoolError where a sample cannot be read.
    """
    from mcltool.data.batch import condition_picture
    from mcltool.data.dataset import TrainingData

    data = TrainingData(plugin, samples, config, seed)
    rows: list[list[Picture]] = []
    for item in map(data.__getitem__, range(min(count, len(data)))):
        row = []
        for name in COLUMNS:
            part = item[name].numpy()
            part = part if part.ndim == 2 else part.transpose(1, 2, 0)
            row.append(condition_picture(part, plugin.spec) if "condition" in name else part)
        rows.append(row)
    save_png(out, contact_sheet(rows, list(COLUMNS.values()), min(CELL, config.size[0])))
    return len(rows)
