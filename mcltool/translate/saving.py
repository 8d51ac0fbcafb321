"""Saves pictures: at their output's size, whole or not at all, and marked as generated."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import IO, Any
from xml.sax.saxutils import quoteattr

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import mcltool
from mcltool.core import files
from mcltool.core.errors import DataError, printable
from mcltool.core.pictures import Picture, contact_sheet, heat
from mcltool.core.pixels import Size, resize_photo
from mcltool.plugin.contract import ConditionSpec
from mcltool.translate.plan import Task

PNG = {"compress_level": 1, "compress_type": 3}
"""Run lengths after PNG's filters: a quarter to half the time of Pillow's own level 6, for photos 1 to 4% larger."""
QUALITY = {"jpg": 95, "webp": 90, "avif": 80}


def pictures_to_save(task: Task, kinds: Sequence[str], spec: ConditionSpec) -> dict[str, Picture]:
    """The pictures of a task by kind, as in Settings.save, at their output's size; "", the output, is last.

    Waits for the device.
    """
    assert task.made
    assert task.pixels is not None
    made, size = task.made(), task.size
    image = resized(made["image"], size)
    found: dict[str, Picture] = {}
    for kind in kinds:
        if kind == "confidence":
            found[kind] = resized(heat(made[kind], 0, 1), size)
            continue
        found[kind] = warp = resized(made["warp"], size)
        if kind == "grid":
            row = [picture_of(task.pixels, spec), *task.photos, warp, image]
            titles = ("condition", *["exemplar"] * len(task.photos), "warped", "result")
            found[kind] = contact_sheet([row], titles, max(96, image.shape[0]))
    return found | {"": image}


def save_picture(
    file: IO[bytes],
    picture: Picture,
    form: str,
    quality: int | None = None,
    marks: Mapping[str, Any] | None = None,
) -> None:
    """Encode to an open file. form, quality: as format and quality in Settings. marks: as ``provenance`` gives them."""
    options: Mapping[str, Any] = PNG if form == "png" else {"quality": quality or QUALITY[form]}
    Image.fromarray(picture).save(file, "jpeg" if form == "jpg" else form, **options, **(marks or {}))


class OutputFolder:
    """Saves pictures below ``out``, and nowhere else; from several threads.

    scratch: a folder of the same file system for temporary files. form, quality: as in ``save_picture``.
    """

    def __init__(self, out: Path, scratch: Path, form: str, quality: int | None) -> None:
        self._out, self._root, self._scratch = out, out.resolve(), scratch
        self._form, self._quality = form, quality
        self._made = lru_cache(1024)(self._make)

    def save(self, name: str, picture: Picture, marks: Mapping[str, Any] | None = None) -> None:
        """Save as OUT/``name``, whole or not at all.

        As ``files.replacing``, with fewer system calls. Raises DataError for a problem with this name alone, OSError
        for one with the disk.
        """
        path, temporary = self._out / name, self._scratch / f"{threading.get_ident()}.tmp"
        try:
            self._made(path.parent)
            with files.create(temporary) as file:
                save_picture(file, picture, self._form, self._quality, marks)
            files.replace(temporary, path)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            if error.errno not in files.NAME_ERRORS:
                raise
            raise DataError(f"{path}: cannot be written ({error.strerror})") from None

    def _make(self, folder: Path) -> None:
        if not folder.resolve().is_relative_to(self._root):
            raise DataError(f"{folder}: a link leads out of {self._out}")
        folder.mkdir(parents=True, exist_ok=True)


def resized(picture: Picture, size: Size) -> Picture:
    """A picture (H, W, 3) at ``size``."""
    return resize_photo(np.ascontiguousarray(picture), size)


def picture_of(planes: NDArray[Any], spec: ConditionSpec) -> Picture:
    """A condition as the network sees it, (H, W) or (C, H, W), in its palette's colours."""
    from mcltool.data.batch import condition_picture  # which imports torch

    return condition_picture(planes if planes.ndim == 2 else planes.transpose(1, 2, 0), spec)


# --- provenance ---

SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
"""IPTC's term for media made by a trained model."""
_XMP = """<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"
 xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:mcltool="https://mcltool/ns/1.0/"
 Iptc4xmpExt:DigitalSourceType={type} xmp:CreatorTool={tool} mcltool:weights={weights} mcltool:plugin={plugin}
 mcltool:condition={condition} mcltool:exemplar={exemplar}/>
</rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>"""
_SOFTWARE, _DESCRIPTION = 0x0131, 0x010E
"""Tags of EXIF."""


def provenance(form: str, weights: str, plugin: str, condition: str, exemplar: str) -> dict[str, Any]:
    """Arguments of ``PIL.Image.save`` that mark a picture in the format ``form`` as generated, by what and from what.

    PNG stores this as text and XMP; JPEG, WebP and AVIF as EXIF and XMP. It holds no date and no local path: the same
    inputs give the same bytes. weights: their SHA-256. condition, exemplar: the names in the manifest.
    """
    tool = f"mcltool {mcltool.__version__}"
    made_of = {"weights": weights, "plugin": plugin, "condition": condition, "exemplar": exemplar}
    document = json.dumps({"generated": True, **made_of})
    quoted = {name: quoteattr(printable(value)) for name, value in made_of.items()}
    xmp = _XMP.format(type=quoteattr(SOURCE_TYPE), tool=quoteattr(tool), **quoted)
    if form == "png":
        text = PngInfo()
        text.add_text("Software", tool)
        text.add_text("Comment", "Generated image")
        text.add_text("mcltool", document)
        text.add_itxt("XML:com.adobe.xmp", xmp)
        return {"pnginfo": text}
    exif = Image.Exif()
    exif[_SOFTWARE], exif[_DESCRIPTION] = tool, f"Generated image: {document}"
    return {"exif": exif.tobytes(), "xmp": xmp.encode()}
