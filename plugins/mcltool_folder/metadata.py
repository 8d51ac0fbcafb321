"""Metadata files of the common image-folder convention: a row a sample, paths relative to the file's folder."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from mcltool import UsageError

NAMES = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
PHOTO_COLUMNS = ("output_file_name", "file_name")
"""The column of the photo, the first there is."""
ENDING = "file_name"
GROUP = "group"

Row = dict[str, str]


def find_metadata(folder: Path) -> Path | None:
    """Raises UsageError where there are several."""
    found = [folder / name for name in NAMES if (folder / name).is_file()]
    if len(found) > 1:
        raise UsageError(f"{found[0]}: there is {found[1].name} too; keep one of them")
    return found[0] if found else None


def read_metadata(path: Path) -> list[Row]:
    """The rows, values as text. Raises UsageError for what is not such a table or leaves its folder."""
    try:
        readers = {".jsonl": _json_lines, ".csv": _csv, ".parquet": _parquet}
        rows = list(readers[path.suffix](path))
    except (OSError, ValueError, csv.Error) as error:
        raise UsageError(f"{path}: cannot be read ({' '.join(str(error).split())})") from None
    if not rows or photo_column(rows[0]) is None:
        raise UsageError(f"{path}: expected rows with file_name, or input_file_name and output_file_name")
    for number, row in enumerate(rows, 1):
        for column in file_columns(rows[0]):
            name = PurePosixPath(row.get(column, ""))
            if not name.name:
                raise UsageError(f"{path}: row {number} has no {column}")
            if name.is_absolute() or ".." in name.parts:
                raise UsageError(f"{path}: row {number}: {name} leaves the folder")
    return rows


def photo_column(row: Row) -> str | None:
    return next((column for column in PHOTO_COLUMNS if column in row), None)


def file_columns(row: Row) -> list[str]:
    return [column for column in row if column.endswith(ENDING)]


def _json_lines(path: Path) -> Iterator[Row]:
    for line in path.read_text("utf-8-sig").splitlines():
        if line.strip():
            row = json.loads(line)
            if not isinstance(row, dict):
                raise ValueError(f"expected an object a line, found {line[:40]}")
            yield _texts(row)


def _csv(path: Path) -> Iterator[Row]:
    for row in csv.DictReader(io.StringIO(path.read_text("utf-8-sig"))):
        yield _texts(row)


def _parquet(path: Path) -> Iterator[Row]:
    try:
        from pyarrow import ArrowException, parquet
    except ImportError:
        raise UsageError(f"{path}: needs pip install 'mcltool[parquet]'; or write metadata.csv") from None
    try:
        yield from (_texts(row) for row in parquet.read_table(path).to_pylist())
    except ArrowException as error:
        raise ValueError(error) from None


def _texts(row: dict[str, object]) -> Row:
    return {key: str(value).replace("\\", "/") for key, value in row.items() if key and value is not None}
