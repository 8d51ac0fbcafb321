"""Folders of images that are compared: which there are, what belongs to what, and reading them at one size."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from mcltool.core.errors import DataError, UsageError
from mcltool.core.files import parse_json
from mcltool.core.images import read_photo
from mcltool.core.pixels import resize_photo
from mcltool.plugin.contract import IMAGE_SUFFIXES, walk_files
from mcltool.translate.exemplars import Exemplar, Weights

Files = Mapping[str, Path]
"""Images by their names: relative to their folder, "/"-separated, without suffix; sorted."""
Size = tuple[int, int]
"""Height, width in pixels."""
Picture = NDArray[np.uint8]
"""(H, W, 3)."""


@dataclass(frozen=True)
class Form:
    """How images are looked at. size: resized to this, None: as they are. jpeg: recoded at this quality, 1 to 100."""

    size: Size | None = None
    jpeg: int | None = None


AS_THEY_ARE = Form()

EXTRA = re.compile(r"\.(warp|grid|confidence)$")
BATCH = 16
"""Images that a network sees at a time."""


@dataclass(frozen=True, eq=False)
class Pair:
    """An output and what it is compared with; all (3, H, W) uint8.

    real: the truth, of the output's size. exemplars: their short sides are the output's. others: outputs of the same
    condition in other styles, of the output's size. weights: (E, h, w) of the exemplars on a grid of the output's
    places, see ``mcltool.translate.exemplars``; None: of one exemplar.
    """

    name: str
    output: Tensor
    real: Tensor | None = None
    exemplars: tuple[Tensor, ...] = ()
    others: tuple[Tensor, ...] = ()
    weights: Weights | None = None


def find_images(folder: Path, what: str) -> dict[str, Path]:
    """The images below ``folder``, without what ``translate-dir --save`` puts beside its results (a.grid.png
    where there is a.png). what: the folder's role, for messages.

    Raises UsageError where the folder is missing or empty, or two of its files have one name.
    """
    found: dict[str, Path] = {}
    for path in walk_files(folder, IMAGE_SUFFIXES):
        name = path.relative_to(folder).with_suffix("").as_posix()
        if name in found:
            raise UsageError(f"{what}: {found[name]} and {path.name} have the same name but for the suffix")
        found[name] = path
    if not found:
        raise UsageError(f"{folder}: no images in it ({', '.join(sorted(IMAGE_SUFFIXES))}); {what}")
    return {
        name: found[name]
        for name in sorted(found)
        if not (EXTRA.search(name) and EXTRA.sub("", name) in found)
    }


def common_names(outputs: Files, others: Files, what: str, partial: bool) -> list[str]:
    """The names that both have. what: the role of ``others``.

    Raises UsageError where one has names that the other lacks, unless ``partial``; always where none are common.
    """
    common = [name for name in outputs if name in others]
    alone = [name for name in outputs if name not in others]
    left = [name for name in others if name not in outputs]
    if not common:
        raise UsageError(
            f"no image of OUT has the name of one of {what}: such as {next(iter(outputs))} there and "
            f"{next(iter(others))} here; names are compared without suffix"
        )
    if (alone or left) and not partial:
        parts = []
        if alone:
            parts.append(
                f"{len(alone)} of {len(outputs)} images of OUT are not in {what}, such as {alone[0]}"
            )
        if left:
            parts.append(f"{len(left)} of {len(others)} images of {what} are not in OUT, such as {left[0]}")
        raise UsageError(f"{'; '.join(parts)}; --partial scores the {len(common)} that both have")
    return common


def pair_exemplars(
    out: Path, outputs: Files, names: Sequence[str], folder: Path
) -> dict[str, tuple[Exemplar, ...]]:
    """The exemplars of each of ``names``: what OUT's manifest says, else the one of its name, else the only one.

    Raises UsageError where that cannot be.
    """
    exemplars = find_images(folder, "--exemplars")
    said = _manifest(out)
    chosen: dict[str, tuple[Exemplar, ...]] = {}
    missing = []
    for name in names:
        used = said.get(outputs[name].relative_to(out).as_posix(), "")
        if used and (folder / used).is_file():
            chosen[name] = (Exemplar(folder / used),)
        elif " + " in used:
            chosen[name] = tuple(Exemplar.parse(label, folder) for label in used.split(" + "))
            for photo in (one.path for one in chosen[name] if not Path(one.path).is_file()):
                raise UsageError(f"{photo}: no such file, but {name} was made of it")
        elif name in exemplars:
            chosen[name] = (Exemplar(exemplars[name]),)
        elif len(exemplars) == 1:
            chosen[name] = (Exemplar(next(iter(exemplars.values()))),)
        else:
            missing.append(name)
    if missing:
        raise UsageError(
            f"{folder}: no exemplar for {len(missing)} of {len(names)} outputs, such as {missing[0]}: neither the "
            "manifest in OUT nor a name tells"
        )
    return chosen


def _manifest(out: Path) -> dict[str, str]:
    """Outputs and the exemplars they were made of, both relative, as translate-dir wrote them down."""
    path = out / "manifest.jsonl"
    said: dict[str, str] = {}
    if path.is_file():
        for line in path.read_text("utf-8", "replace").splitlines():
            try:
                entry = parse_json(line)
                used = PurePosixPath(entry["exemplar"])
                if not used.is_absolute() and ".." not in used.parts:
                    said[str(entry["output"])] = str(used)
            except (ValueError, KeyError, TypeError):
                continue  # half a line of a killed job
    return said


def read_image(path: Path, form: Form = AS_THEY_ARE) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 in ``form``. Raises DataError."""
    return in_form(read_photo(path), form)


def in_form(photo: NDArray[np.uint8], form: Form) -> NDArray[np.uint8]:
    """A photo (H, W, 3) as it is compared; what shrinks is averaged."""
    if form.size is not None:
        photo = resize_photo(photo, form.size)
    if form.jpeg is None:
        return photo
    coded = BytesIO()
    Image.fromarray(photo).save(coded, "JPEG", quality=form.jpeg)
    return np.asarray(Image.open(coded))


def read_like(path: Path, output: NDArray[np.uint8], output_path: Path, form: Form) -> NDArray[np.uint8]:
    """As ``read_image``, with a DataError where the size is not that of ``output``."""
    image = read_image(path, form)
    if image.shape != output.shape:
        (high, wide), (height, width) = image.shape[:2], output.shape[:2]
        raise DataError(
            f"{path}: {wide} x {high} pixels, but {output_path} is {width} x {height}; --size {height}x{width} "
            "compares both at that size"
        )
    return image


def read_exemplar(path: Path, short_side: int) -> NDArray[np.uint8]:
    """(H, W, 3) uint8 of the short side ``short_side``, its aspect kept."""
    photo = read_photo(path, short_side)
    scale = short_side / min(photo.shape[:2])
    return resize_photo(photo, (round(photo.shape[0] * scale), round(photo.shape[1] * scale)))


def tensor(image: NDArray[np.uint8]) -> Tensor:
    """(H, W, 3) as (3, H, W)."""
    return torch.from_numpy(np.array(image.transpose(2, 0, 1), order="C"))


def batches(paths: Sequence[Path], form: Form = AS_THEY_ARE) -> Iterator[Tensor]:
    """The images in order, (B, 3, H, W) uint8, as many of one size in a row as fit a batch."""
    waiting: list[Tensor] = []
    for path in paths:
        image = tensor(read_image(path, form))
        if waiting and (len(waiting) == BATCH or waiting[0].shape != image.shape):
            yield torch.stack(waiting)
            waiting = []
        waiting.append(image)
    if waiting:
        yield torch.stack(waiting)
