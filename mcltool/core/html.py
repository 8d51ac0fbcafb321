"""Pages that need no other file: templates of mcltool/core/pages, filled by Jinja2, with pictures inside."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from numpy.typing import NDArray
from PIL import Image

_PAGES = Environment(
    loader=PackageLoader("mcltool.core", "pages"),
    autoescape=True,
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)


def page(template: str, **values: Any) -> str:
    """The page, or part of one, of ``template``.html.j2 with ``values``, which are escaped."""
    return _PAGES.get_template(f"{template}.html.j2").render(**values)


def embedded(picture: NDArray[np.uint8], side: int) -> str:
    """A (H, W, 3) picture as a data address: exact where it is small, a JPEG of ``side`` pixels where it is large."""
    image = Image.fromarray(picture)
    kind = "PNG" if max(image.size) <= side // 2 else "JPEG"
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, kind, **({"quality": 88} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"
