"""Encoding and writing pictures in threads, so that the device need not wait for it."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from mcltool import files
from mcltool.data.batches import condition_picture
from mcltool.data.contract import ConditionSpec
from mcltool.errors import DataError, UsageError
from mcltool.pictures import contact_sheet, heat
from mcltool.translate.job import Result
from mcltool.translate.pipeline import Outcome
from mcltool.translate.plan import Plan
from mcltool.translate.prepare import finish
from mcltool.translate.settings import Settings

Picture = NDArray[np.uint8]

THREADS = 2
PNG_LEVEL = 3
"""Half the time of Pillow's own 6, for photos 3% larger."""
QUALITY = {"jpg": 95, "webp": 90, "avif": 80}
# What is wrong with one output's name. Other trouble in writing, a full disk, would meet the next one too.
_NAME_ERRORS = {
    errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTEMPTY,
    errno.EXDEV,
}  # fmt: skip


def check_format(settings: Settings) -> None:
    """Raises UsageError for a format that the installed Pillow does not write."""
    if settings.format in ("webp", "avif") and not features.check(settings.format):
        raise UsageError(f"--format {settings.format}: the installed Pillow cannot write it")


class Writer:
    """Writes the pictures of outcomes to an output folder: ``with Writer(...) as writer``.

    scratch: the folder for temporary files. record: called with an outcome, the cause why it could not be
    written, or "", and milliseconds, when that is known. Leaving the writer finishes the files in flight.
    """

    def __init__(
        self,
        out: Path,
        scratch: Path,
        plan: Plan,
        settings: Settings,
        spec: ConditionSpec,
        record: Callable[[Outcome, str, float], Result],
    ) -> None:
        self._out, self._scratch, self._plan = out, scratch, plan
        self._settings, self._spec, self._record = settings, spec, record
        self._make_folder = lru_cache(1024)(self._check_folder)

    def __enter__(self) -> Writer:
        self._root = self._out.resolve()
        self._pool = ThreadPoolExecutor(THREADS, "writer")
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)

    def submit(self, outcome: Outcome) -> Future[Result]:
        """Write what came of a task; the result is what ``record`` makes of it.

        The future raises OSError where nothing more can be written.
        """
        return self._pool.submit(self._write, outcome)

    def _write(self, outcome: Outcome) -> Result:
        started, task, cause = time.perf_counter(), outcome.task, ""
        try:
            for kind, picture in pictures_of(outcome, self._settings.save, self._spec).items():
                name = self._plan.names.extra(task.number, kind) if kind else task.output
                self._save(self._out / name, picture)
        except DataError as error:
            cause = str(error)
        return self._record(outcome, cause, 1000 * (time.perf_counter() - started))

    def _save(self, path: Path, picture: Picture) -> None:
        """Raises DataError for what is wrong with this name alone, OSError for what is with the disk.

        As ``files.replacing``, with as few calls of the system as will do.
        """
        temporary = self._scratch / f"{threading.get_ident()}.tmp"
        try:
            self._make_folder(path.parent)
            with files.create(temporary) as file:
                save_picture(file, picture, self._settings)
            files.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno not in _NAME_ERRORS:
                raise
            raise DataError(f"{path}: cannot be written ({error.strerror})") from None

    def _check_folder(self, folder: Path) -> None:
        if not folder.resolve().is_relative_to(self._root):
            raise DataError(f"{folder}: a link leads out of {self._out}")
        folder.mkdir(parents=True, exist_ok=True)


def pictures_of(outcome: Outcome, save: Sequence[str], spec: ConditionSpec) -> dict[str, Picture]:
    """The pictures of a task that was translated, by kind as in Settings; "", the result, is the last."""
    pictures, row, size = outcome.pictures, outcome.row, outcome.condition.size
    assert pictures is not None
    pictures.wait()
    image = finish(pictures.image[row], size)
    warp = image if pictures.warped is None else finish(pictures.warped[row], size)
    found: dict[str, Picture] = {}
    for kind in save:
        if kind == "warp":
            found[kind] = warp
        elif kind == "grid":
            found[kind] = _grid(outcome, warp, image, spec)
        else:
            assert pictures.confidence is not None
            found[kind] = finish(heat(pictures.confidence[row], 0, 1), size)
    return found | {"": image}


def _grid(outcome: Outcome, warp: Picture, image: Picture, spec: ConditionSpec) -> Picture:
    planes, exemplar = outcome.condition.planes, outcome.exemplar
    assert planes is not None
    assert exemplar is not None
    rendered: NDArray[Any] = planes if planes.ndim == 2 else planes.transpose(1, 2, 0)
    row = [condition_picture(rendered, spec), exemplar.pixels, warp, image]
    return contact_sheet([row], ("condition", "exemplar", "warped", "result"), max(96, image.shape[0]))


def save_picture(file: IO[bytes], picture: Picture, settings: Settings) -> None:
    """Encode to an open file."""
    options: dict[str, Any] = {"compress_level": PNG_LEVEL}
    if settings.format != "png":
        options["quality"] = settings.quality or QUALITY[settings.format]
    Image.fromarray(picture).save(file, "jpeg" if settings.format == "jpg" else settings.format, **options)
