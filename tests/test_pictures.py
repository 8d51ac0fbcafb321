"""Contact sheets, heat maps, marks, sheets of panels, and PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mcltool.core.pictures import (
    DIVERGING,
    GAP,
    HEAT,
    PAPER,
    RGB,
    Panel,
    Picture,
    Strip,
    contact_sheet,
    crossed,
    heat,
    heat_bar,
    overlaid,
    panel_sheet,
    save_png,
)

RED, GREEN, BLUE = (255, 0, 0), (0, 255, 0), (0, 0, 255)


def plain(colour: tuple[int, int, int], height: int = 16, width: int = 16) -> Picture:
    return np.full((height, width, 3), colour, np.uint8)


def colours_of(picture: Picture) -> set[tuple[int, ...]]:
    return {tuple(pixel) for pixel in picture.reshape(-1, 3).tolist()}


def test_pictures_stand_in_rows_below_their_columns_names() -> None:
    sheet = contact_sheet([[plain(RED), plain(GREEN)], [plain(BLUE), plain(RED)]], ("a", "b"), cell=32)
    top = sheet.shape[0] - 2 * (32 + GAP)
    assert sheet.shape == (top + 2 * (32 + GAP), 2 * 32 + 3 * GAP, 3)

    def cell(row: int, column: int) -> Picture:
        y, x = top + row * (32 + GAP), GAP + column * (32 + GAP)
        return sheet[y : y + 32, x : x + 32]

    assert [[colours_of(cell(row, column)) for column in range(2)] for row in range(2)] == [
        [{RED}, {GREEN}],
        [{BLUE}, {RED}],
    ]
    for column in range(2):  # something is written above each, and all of it fits
        above = sheet[:top, column * (32 + GAP) : (column + 1) * (32 + GAP)]
        assert PAPER in colours_of(above)
        assert len(colours_of(above)) > 2
    assert colours_of(sheet[:2]) == {PAPER}


def test_names_do_not_overlap_above_narrow_pictures() -> None:
    """Portrait pictures have letters that fit; the narrowest ones stand in columns as wide as their names."""
    names = ("condition", "its condition", "augmented")
    for height, width in ((256, 128), (64, 32)):
        sheet = contact_sheet([[plain(RED, height, width)] * 3], names, cell=height)
        top = sheet.shape[0] - height - GAP
        columns = np.flatnonzero((sheet[:top] != PAPER).any((0, 2)))
        assert columns[0] > 0
        assert columns[-1] < sheet.shape[1] - 1
        assert (np.diff(columns) > GAP).sum() >= 2  # between names


def test_a_whole_number_enlargement_keeps_pixels_sharp() -> None:
    checks = np.indices((8, 8)).sum(0)[..., None] % 2 * np.uint8(255)
    sheet = contact_sheet([[np.repeat(checks, 3, 2).astype(np.uint8)]], ("a",), cell=32)
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


# --- Heat maps ---


def test_heat_goes_from_the_first_to_the_last_colour_and_is_clamped() -> None:
    values = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0]])
    colours = ((0, 0, 0), (100, 0, 0), (100, 200, 0))
    found = heat(values, 0, 1, colours)
    assert found.tolist() == [[[0, 0, 0], [0, 0, 0], [100, 0, 0], [100, 200, 0], [100, 200, 0]]]


def test_heat_of_one_value_everywhere_is_no_error() -> None:
    assert heat(np.zeros((2, 3)), 0, 0).shape == (2, 3, 3)


@pytest.mark.parametrize("colours", [HEAT, DIVERGING])
def test_a_bar_has_its_highest_colour_on_top(colours: Sequence[RGB]) -> None:
    bar = heat_bar(-1, 1, 100, colours)
    assert bar.shape[0] == 100
    assert (tuple(bar[0, 0]), tuple(bar[-1, 0])) == (colours[-1], colours[0])
    assert len(colours_of(bar[:, 10:])) > 2, "there are no numbers"


def test_an_overlay_is_hot_where_values_are_high_and_grey_elsewhere() -> None:
    values = np.array([[0.0, 0.0], [0.0, 0.3]])
    found = overlaid(plain((90, 150, 30), 8, 8), values)
    assert colours_of(found[:4]) == colours_of(found[4:, :4]) == {(40, 40, 40)}  # 0.45 of 90, the mean
    assert colours_of(found[4:, 4:]) == {HEAT[-1]}


def test_an_overlay_of_nothing_is_grey() -> None:
    assert colours_of(overlaid(plain(RED, 4, 4), np.zeros((2, 2)))) == {(38, 38, 38)}


def test_crosses_are_centred_at_their_places_on_the_enlarged_picture() -> None:
    found = crossed(plain((0, 0, 0), 16, 32), [(0.25, 0.5, RED), (0.75, 0.5, GREEN)], 240)
    assert found.shape == (240, 480, 3)
    for colour, x in ((RED, 120), (GREEN, 360)):
        rows, columns = np.nonzero((found == colour).all(2))
        assert rows.mean() == pytest.approx(120, abs=1.5)
        assert columns.mean() == pytest.approx(x, abs=1.5)
    assert tuple(found[0, 0]) == (0, 0, 0)


# --- Panels ---


def test_panels_stand_in_common_columns_with_titles_captions_and_bars() -> None:
    bar = plain(BLUE, 64, 20)
    strips = [
        Strip("", [Panel(plain(RED), "a"), Panel(plain(GREEN, 16, 32), "b", GREEN)]),
        Strip("a title", [Panel(plain(GREEN), "c")], bar),
    ]
    sheet = panel_sheet(strips, cell=64)

    def box(colour: RGB, below: int = 0) -> tuple[int, int, int, int]:
        rows, columns = np.nonzero((sheet == colour).all(2))
        rows, columns = rows[rows >= below], columns[rows >= below]
        return rows.min(), rows.max() + 1, columns.min(), columns.max() + 1

    top, bottom, left, right = box(RED)
    assert (bottom - top, right - left) == (64, 64)
    second = box(GREEN, below=bottom + 1)
    assert second[2:] == (left, right)  # below the red one
    assert box(BLUE)[:2] == second[:2]  # the bar stands beside it
    assert box(BLUE)[2] > right
    assert sheet.shape[1] >= left + 64 + 128 + 20


def test_captions_that_are_too_long_are_cut() -> None:
    """Both sheets are as wide as the picture asks for, and nothing is written beside it."""
    short, long = (panel_sheet([Strip("", [Panel(plain(RED), text)])], 64) for text in ("a", "word " * 40))
    assert short.shape == long.shape
    assert colours_of(long[:, :8]) == {PAPER}
    assert colours_of(long[:, -8:]) == {PAPER}
