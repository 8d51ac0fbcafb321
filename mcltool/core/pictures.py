"""What people look at: contact sheets, heat maps, marks, sheets of captioned panels, and pages in HTML."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from itertools import zip_longest
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from mcltool.core.files import write_bytes

if TYPE_CHECKING:
    from jinja2 import Environment

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

RGB = tuple[int, int, int]

INK, PAPER = (232, 232, 238), (26, 27, 34)
GAP = 4
SMALLEST = 11
"""Pixels of letters."""

HEAT: Sequence[RGB] = (
    (0, 0, 4),
    (60, 15, 112),
    (140, 41, 129),
    (222, 73, 104),
    (254, 159, 109),
    (252, 253, 191),
)
"""From nothing to much, evenly brighter."""
DIVERGING: Sequence[RGB] = ((59, 76, 192), (141, 176, 254), (221, 221, 221), (244, 152, 122), (180, 4, 38))
"""From opposite over nothing to alike."""
MARKS: Sequence[RGB] = (
    (255, 221, 45),
    (0, 214, 255),
    (255, 79, 200),
    (125, 255, 96),
    (255, 145, 40),
    (190, 150, 255),
)
"""Colours that stand out from photos and from one another."""


def contact_sheet(rows: Sequence[Sequence[Picture]], names: Sequence[str], cell: int = 128) -> Picture:
    """Pictures in rows, each scaled to be ``cell`` pixels high, with ``names`` above the columns.

    Letters are as small as the narrowest column needs, and a column is as wide as its name in the smallest letters.
    """
    tiles = [[_scaled(picture, cell) for picture in row] for row in rows]
    smallest = ImageFont.load_default(SMALLEST)
    named = [round(smallest.getlength(name)) + GAP for name in names]
    widths = [max(named[i], *(row[i].width for row in tiles)) for i in range(len(names))]
    letters = max(SMALLEST, cell // 9)
    while letters > SMALLEST and not _fit(names, widths, ImageFont.load_default(letters)):
        letters -= 1
    font = ImageFont.load_default(letters)
    top = int(letters * 1.8)
    size = (sum(widths) + GAP * (len(names) + 1), top + len(tiles) * (cell + GAP))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    lefts = np.cumsum([GAP, *(width + GAP for width in widths[:-1])]).tolist()
    for left, width, name in zip(lefts, widths, names, strict=True):
        draw.text((left + width / 2, top / 2), name, INK, font, anchor="mm")
    for number, row in enumerate(tiles):
        for left, width, tile in zip(lefts, widths, row, strict=True):
            sheet.paste(tile, (left + (width - tile.width) // 2, top + number * (cell + GAP)))
    return np.asarray(sheet)


@dataclass(frozen=True, eq=False)
class Panel:
    """A picture with a caption above it. colour: the caption's."""

    picture: Picture
    caption: str
    colour: RGB = INK


@dataclass(frozen=True, eq=False)
class Strip:
    """Panels side by side. title: a line of its own above them; empty: none. bar: stands at the right end."""

    title: str
    panels: Sequence[Panel]
    bar: Picture | None = None


def panel_sheet(strips: Sequence[Strip], cell: int = 256) -> Picture:
    """Strips below one another, their panels in common columns; pictures are scaled to ``cell`` pixels high."""
    tiles = [[_scaled(panel.picture, cell) for panel in strip.panels] for strip in strips]
    columns = [max(tile.width for tile in column if tile) for column in zip_longest(*tiles)]
    lefts = np.cumsum([3 * GAP, *(width + 3 * GAP for width in columns)]).tolist()
    letters = max(SMALLEST, cell // 18)
    small, large = ImageFont.load_default(letters), ImageFont.load_default(round(1.15 * letters))
    line = round(1.7 * letters)
    tops = np.cumsum([2 * GAP, *((2 if s.title else 1) * line + cell + 4 * GAP for s in strips)]).tolist()
    bars = max((strip.bar.shape[1] + 3 * GAP for strip in strips if strip.bar is not None), default=0)
    sheet = Image.new("RGB", (lefts[-1] + bars, tops[-1]), PAPER)
    draw = ImageDraw.Draw(sheet)
    for strip, row, top in zip(strips, tiles, tops, strict=False):
        if strip.title:
            draw.text((lefts[0], top + line / 2), strip.title, INK, large, anchor="lm")
            top += line
        for panel, tile, left in zip(strip.panels, row, lefts, strict=False):
            caption = _fitting(panel.caption, tile.width, small)
            draw.text((left + tile.width / 2, top + line / 2), caption, panel.colour, small, anchor="mm")
            sheet.paste(tile, (left, top + line))
        if strip.bar is not None:
            sheet.paste(Image.fromarray(strip.bar), (lefts[len(strip.panels)], top + line))
    return np.asarray(sheet)


def heat(values: NDArray[Any], low: float, high: float, colours: Sequence[RGB] = HEAT) -> Picture:
    """``values`` (h, w) in colours: ``low`` the first, ``high`` the last, evenly between them, clamped beyond."""
    share = np.clip((np.asarray(values, np.float64) - low) / max(high - low, 1e-12), 0, 1)
    stops, anchors = np.linspace(0, 1, len(colours)), np.asarray(colours, np.float64)
    channels = [np.interp(share, stops, anchors[:, channel]) for channel in range(3)]
    return np.stack(channels, -1).round().astype(np.uint8)


def heat_bar(low: float, high: float, height: int, colours: Sequence[RGB] = HEAT) -> Picture:
    """The scale of a heat map, ``height`` pixels high, with numbers at its ends and its middle."""
    letters = max(SMALLEST, height // 18)
    font = ImageFont.load_default(letters)
    thick = max(8, height // 16)
    image = Image.new("RGB", (thick + 2 * GAP + 4 * letters, height), PAPER)
    ramp = heat(np.linspace(1, 0, height)[:, None].repeat(thick, 1), 0, 1, colours)
    image.paste(Image.fromarray(ramp), (0, 0))
    draw = ImageDraw.Draw(image)
    for share, anchor in ((0.0, "ld"), (0.5, "lm"), (1.0, "la")):
        number = f"{low + share * (high - low):.3g}"
        draw.text((thick + GAP, (1 - share) * (height - 1)), number, INK, font, anchor=anchor)
    return np.asarray(image)


def overlaid(picture: Picture, values: NDArray[Any], colours: Sequence[RGB] = HEAT) -> Picture:
    """``picture`` dim and grey, with the heat of ``values`` (h, w; at least 0) over it where they are high."""
    height, width = picture.shape[:2]
    share = np.asarray(values, np.float64) / max(float(np.max(values)), 1e-12)
    rows, columns = (np.arange(n) * m // n for n, m in zip((height, width), share.shape, strict=True))
    strength = np.sqrt(share[rows][:, columns])[..., None]
    grey = 0.45 * picture.mean(2, keepdims=True)
    mixed = (1 - strength) * grey + strength * heat(strength[..., 0], 0, 1, colours)
    return np.asarray(mixed.round().astype(np.uint8))


def crossed(picture: Picture, marks: Sequence[tuple[float, float, RGB]], height: int) -> Picture:
    """``picture`` scaled to ``height``, with a cross at every (x, y, colour); x, y in [0, 1] of width and height."""
    image = _scaled(picture, height)
    draw = ImageDraw.Draw(image)
    arm = height / 24
    for x, y, colour in marks:
        column, row = x * image.width, y * image.height
        for ink, thick in ((PAPER, max(5, height // 50)), (colour, max(2, height // 110))):
            reach = arm + (thick / 2 if ink == PAPER else 0)
            draw.line((column - reach, row, column + reach, row), ink, thick)
            draw.line((column, row - reach, column, row + reach), ink, thick)
    return np.asarray(image)


def save_png(path: Path, picture: NDArray[np.uint8], palette: Sequence[RGB] = ()) -> None:
    """Write (H, W, 3) colours, (H, W) grey levels, or (H, W) indices into ``palette`` as a PNG, atomically."""
    image, buffer = Image.fromarray(picture), BytesIO()
    if palette:
        image.putpalette(bytes(value for colour in palette for value in colour))
    image.save(buffer, "PNG")
    write_bytes(path, buffer.getvalue())


def _fit(
    names: Sequence[str], widths: Sequence[int], font: ImageFont.FreeTypeFont | ImageFont.ImageFont
) -> bool:
    return all(font.getlength(name) + GAP <= width for name, width in zip(names, widths, strict=True))


def _fitting(text: str, width: int, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """``text``, its end left out where it is wider than ``width`` pixels."""
    kept = text
    while kept and font.getlength(kept) > width:
        kept = kept.removesuffix("…")[:-1].rstrip() + "…" if len(kept) > 1 else ""
    return kept


def _scaled(picture: Picture, height: int) -> Image.Image:
    """Whole-number enlargement stays sharp-edged, so that pixels can be judged; all else is smooth."""
    image = Image.fromarray(picture)
    width = max(1, round(image.width * height / image.height))
    exact = height % image.height == 0
    return image.resize((width, height), Image.Resampling.NEAREST if exact else Image.Resampling.LANCZOS)


def page(template: str, **values: Any) -> str:
    """The page ``template``.html.j2, which needs no other file, or a part of one; ``values`` are escaped."""
    return _pages().get_template(f"{template}.html.j2").render(**values)


def embedded(picture: NDArray[np.uint8], side: int) -> str:
    """A (H, W, 3) picture as a data address: exact where it is small, a JPEG of ``side`` pixels where it is large."""
    image = Image.fromarray(picture)
    kind = "PNG" if max(image.size) <= side // 2 else "JPEG"
    image.thumbnail((side, side), Image.Resampling.LANCZOS)
    buffer = BytesIO()
    image.save(buffer, kind, **({"quality": 88} if kind == "JPEG" else {}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(buffer.getvalue()).decode()}"


@cache
def _pages() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("mcltool.core", "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
