"""A sample's files: conditions and exemplars are read for the network, and its pictures saved.

Reader processes import this, so nothing here imports torch before a picture has been made.
"""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

from mcltool.core import files
from mcltool.core.errors import DataError, McltoolError, UsageError
from mcltool.core.images import check_is_file, read_photo
from mcltool.core.pictures import contact_sheet, heat
from mcltool.data.geometry import Size, resize_condition, resize_photo
from mcltool.data.views import rendered
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin
from mcltool.translate.manifest import stamp
from mcltool.translate.settings import Settings
from mcltool.translate.sizes import network_size, output_size

if TYPE_CHECKING:
    from mcltool.translate.translator import Pictures

Picture = NDArray[np.uint8]

PNG = {"compress_level": 1, "compress_type": 3}
"""Run lengths after PNG's filters: a quarter to half the time of Pillow's own level 6, for photos 1 to 4% larger."""
QUALITY = {"jpg": 95, "webp": 90, "avif": 80}
# What is wrong with one output's name. Other trouble in writing, a full disk, would meet the next one too.
_NAME_ERRORS = {
    errno.ENOENT, errno.EEXIST, errno.EISDIR, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EILSEQ, errno.ENOTEMPTY,
    errno.EXDEV,
}  # fmt: skip


# --- reading ---


@dataclass(frozen=True, eq=False)
class Prepared:
    """A condition or an exemplar as read, or the cause why it is not.

    planes: of a condition at its network size, (H, W) uint8 labels or (C, H, W) float32 in [0, 1]; of an
    exemplar (H, W, 3) uint8. size: (height, width) in pixels of the output. source: stamp of the files before
    they were read.
    """

    planes: NDArray[Any] | None
    size: Size
    cause: str
    source: str
    milliseconds: float


class Preparer:
    """Reads conditions and exemplars for a model; pickled to reader processes.

    trained: short side in pixels that the model was trained at. size: as in Settings.
    """

    def __init__(self, plugin: DatasetPlugin, trained: int, size: int | str = "trained") -> None:
        self.plugin, self.trained, self.size = plugin, trained, size

    def condition(self, paths: Sequence[str], part: str) -> Prepared:
        """Read and resize a condition; trouble with it is its cause, not an error."""
        started, source = time.perf_counter(), stamp(paths)
        planes, size, cause = None, (0, 0), ""
        try:
            found = read_condition(self.plugin, [Path(path) for path in paths], part)
            try:
                short = min(found.size) if self.size == "keep" else self._short_side
                size = output_size(found.size, short)
                planes = prepare_condition(self.plugin, found, network_size(found.size, short))
            except DataError as error:
                cause = f"{paths[0]}: {error}"
        except McltoolError as error:
            cause = str(error)
        return Prepared(planes, size, cause, source, 1000 * (time.perf_counter() - started))

    def exemplar(self, photo: str) -> Prepared:
        """Read and resize an exemplar, likewise."""
        started, source = time.perf_counter(), stamp([photo])
        planes, cause = None, ""
        try:
            pixels = read_photo(Path(photo), self._short_side)
            try:
                planes = prepare_photo(pixels, self._short_side)
            except DataError as error:
                cause = f"{photo}: {error}"
        except McltoolError as error:
            cause = str(error)
        return Prepared(planes, (0, 0), cause, source, 1000 * (time.perf_counter() - started))

    @property
    def _short_side(self) -> int:
        return self.trained if isinstance(self.size, str) else self.size


def read_condition(plugin: DatasetPlugin, paths: Sequence[Path], part: str) -> Condition:
    """The condition in these files. Raises DataError, whatever goes wrong in the plugin."""
    try:
        for path in paths:
            check_is_file(path)
        return plugin.read_part(paths, part)
    except McltoolError:
        raise
    except Exception as error:  # a plugin is anyone's code: its trouble with one file is that file's
        raise DataError(f"{paths[0]}: {type(error).__name__}: {error}") from error


def prepare_condition(plugin: DatasetPlugin, condition: Condition, size: Size) -> NDArray[Any]:
    """``condition`` at ``size``: (H, W) uint8 labels, or (C, H, W) float32 in [0, 1].

    Raises DataError where what the plugin renders does not fit its spec.
    """
    planes = rendered(plugin, resize_condition(condition, size))
    return np.ascontiguousarray(planes if planes.ndim == 2 else planes.transpose(2, 0, 1))


def prepare_photo(photo: Picture, short_side: int) -> Picture:
    """An exemplar (H, W, 3) at its network size."""
    height, width = photo.shape[:2]
    return resize_photo(photo, network_size((height, width), short_side))


# --- saving ---


def pictures_of(
    made: Pictures, row: int, condition: Prepared, exemplar: Picture, save: Sequence[str], spec: ConditionSpec
) -> dict[str, Picture]:
    """The pictures of one condition at its output size, by kind as in Settings; "", the result, is the last.

    made, row: what came of its batch, and its place there. exemplar: (H, W, 3) uint8.
    """
    made.wait()
    image = _finished(made.image[row], condition.size)
    warp = image if made.warped is None else _finished(made.warped[row], condition.size)
    found: dict[str, Picture] = {}
    for kind in save:
        if kind == "warp":
            found[kind] = warp
        elif kind == "grid":
            row_of_grid = [_condition_picture(condition, spec), exemplar, warp, image]
            titles = ("condition", "exemplar", "warped", "result")
            found[kind] = contact_sheet([row_of_grid], titles, max(96, image.shape[0]))
        else:
            assert made.confidence is not None
            found[kind] = _finished(heat(made.confidence[row], 0, 1), condition.size)
    return found | {"": image}


def check_format(settings: Settings) -> None:
    """Raises UsageError for a format that the installed Pillow does not write."""
    if settings.format in ("webp", "avif") and not features.check(settings.format):
        raise UsageError(f"--format {settings.format}: the installed Pillow cannot write it")


def save_picture(file: IO[bytes], picture: Picture, settings: Settings) -> None:
    """Encode to an open file."""
    lossy = {"quality": settings.quality or QUALITY.get(settings.format)}
    options: dict[str, Any] = PNG if settings.format == "png" else lossy
    Image.fromarray(picture).save(file, "jpeg" if settings.format == "jpg" else settings.format, **options)


class OutputFolder:
    """Saves pictures below ``out``, and nowhere else; from several threads.

    scratch: the folder for temporary files, of the same file system.
    """

    def __init__(self, out: Path, scratch: Path, settings: Settings) -> None:
        self._out, self._root, self._scratch, self._settings = out, out.resolve(), scratch, settings
        self._made = lru_cache(1024)(self._make)

    def save(self, name: str, picture: Picture) -> None:
        """Save as OUT/``name``, whole or not at all.

        As ``files.replacing``, with as few calls of the system as will do. Raises DataError for what is wrong
        with this name alone, OSError for what is with the disk.
        """
        path, temporary = self._out / name, self._scratch / f"{threading.get_ident()}.tmp"
        try:
            self._made(path.parent)
            with files.create(temporary) as file:
                save_picture(file, picture, self._settings)
            files.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno not in _NAME_ERRORS:
                raise
            raise DataError(f"{path}: cannot be written ({error.strerror})") from None

    def _make(self, folder: Path) -> None:
        if not folder.resolve().is_relative_to(self._root):
            raise DataError(f"{folder}: a link leads out of {self._out}")
        folder.mkdir(parents=True, exist_ok=True)


def _finished(picture: Picture, size: Size) -> Picture:
    return resize_photo(np.ascontiguousarray(picture), size)


def _condition_picture(condition: Prepared, spec: ConditionSpec) -> Picture:
    from mcltool.data.batch import condition_picture

    assert condition.planes is not None
    planes = condition.planes if condition.planes.ndim == 2 else condition.planes.transpose(1, 2, 0)
    return condition_picture(planes, spec)
