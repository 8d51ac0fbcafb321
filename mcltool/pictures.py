"""Contact sheets: rows of small pictures under a line of column names."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mcltool.files import write_bytes

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

INK, PAPER = (232, 232, 238), (26, 27, 34)
GAP = 4


def contact_sheet(rows: Sequence[Sequence[Picture]], names: Sequence[str], cell: int = 128) -> Picture:
    """Pictures in rows, each scaled to be ``cell`` pixels high, with ``names`` above the columns."""
    tiles = [[_scaled(picture, cell) for picture in row] for row in rows]
    widths = [max(row[i].width for row in tiles) for i in range(len(names))]
    letters = max(11, cell // 9)
    font = ImageFont.load_default(letters)
    top = int(letters * 1.8)
    size = (sum(widths) + GAP * (len(names) + 1), top + len(tiles) * (cell + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = np.cumsum([GAP, *(width + GAP for width in widths[:-1])]).tolist()
    for left, width, name in zip(lefts, widths, names, strict=True):
        draw.text((left + width / 2, top / 2), name, INK, font, anchor="mm")
    for number, row in enumerate(tiles):
        for left, tile in zip(lefts, row, strict=True):
            sheet.paste(tile, (left, top + number * (cell + GAP)))
    return np.asarray(sheet)


def save_png(path: Path, picture: Picture) -> None:
    """Write a PNG atomically."""
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _scaled(picture: Picture, height: int) -> Image.Image:
    """Whole-number enlargement stays sharp-edged, so that pixels can be judged; all else is smooth."""
    image = Image.fromarray(picture)
    width = max(1, round(image.width * height / image.height))
    exact = height % image.height == 0
    return image.resize((width, height), Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)
