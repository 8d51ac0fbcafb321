"""Contact sheets and PNG files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcltool.pictures import GAP, PAPER, Picture, contact_sheet, save_png

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour: tuple[int, int, int], height: int = 16, width: int = 16) -> Picture:
    return np.full((height, width, 3), colour, np.uint8)


def colours(picture: Picture) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}


def test_pictures_stand_in_rows_below_their_columns_names() -> None:
    sheet = contact_sheet([[plain(RED), plain(GREEN)], [plain(BLUE), plain(RED)]], ("a", "b"), cell=32)
    top = sheet.shape[0] - 2 * (32 + GAP)
    assert sheet.shape == (top + 2 * (32 + GAP), 2 * 32 + 3 * GAP, 3)

    def cell(row: int, column: int) -> Picture:
        y, x = top + row * (32 + GAP), GAP + column * (32 + GAP)
        return sheet[y : y + 32, x : x + 32]

    assert [[colours(cell(row, column)) for column in range(2)] for row in range(2)] == [
        [{RED}, {GREEN}],
        [{BLUE}, {RED}],
    ]
    for column in range(2):  # something is written above each, and all of it fits
        above = sheet[:top, column * (32 + GAP) : (column + 1) * (32 + GAP)]
        assert PAPER in colours(above)
        assert len(colours(above)) > 2
    assert colours(sheet[:2]) == {PAPER}


def test_a_whole_number_enlargement_keeps_pixels_sharp() -> None:
    checks = np.indices((8, 8)).sum(0)[..., None] % 2 * np.uint8(255)
    sheet = contact_sheet([[np.repeat(checks, 3, 2).astype(np.uint8)]], ("checks",), cell=32)
    tile = sheet[-32 - GAP : -GAP, GAP : GAP + 32]
    assert np.array_equal(tile, np.repeat(np.repeat(checks, 4, 0), 4, 1).repeat(3, 2))


def test_rows_are_of_one_height_and_columns_as_wide_as_their_widest_picture() -> None:
    sheet = contact_sheet([[plain(RED, 20, 40)], [plain(BLUE, 50, 25)]], ("wide",), cell=30)
    assert sheet.shape[1] == 60 + 2 * GAP
    assert (sheet == np.array(BLUE)).all(2).sum() == 30 * 15


def test_a_row_with_a_picture_too_few_is_refused() -> None:
    with pytest.raises((ValueError, IndexError)):
        contact_sheet([[plain(RED)]], ("a", "b"))


def test_a_png_holds_what_was_given_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "new" / "picture.png"
    for colour in (RED, BLUE):
        save_png(path, plain(colour, 3, 5))
        assert np.array_equal(np.asarray(Image.open(path)), plain(colour, 3, 5))
    assert [file.name for file in path.parent.iterdir()] == ["picture.png"]
