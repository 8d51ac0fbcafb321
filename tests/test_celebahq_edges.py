"""Line drawings, made of faces and read from files: see mcltool.core.drawings and mcltool_celebahq.drawings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from faces import EDGES, add, make_root, read, rim
from geometry import augmented
from numpy.typing import NDArray
from PIL import Image

from mcltool import Condition, DataError


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_root(tmp_path)


def test_a_square_part_gives_its_outline(tmp_path: Path) -> None:
    box = (20, 10, 50, 44)
    for number in (0, 1):
        add(tmp_path, number, {"skin": box})
    condition = EDGES.condition(EDGES.index(tmp_path, "val")[0], 64)
    assert (condition.size, condition.smooth) == ((64, 64), True)
    np.testing.assert_array_equal(condition.raster, rim(box))


def test_a_part_at_the_border_has_no_line_along_it(tmp_path: Path) -> None:
    for number in (0, 1):
        add(tmp_path, number, {"hair": (0, 0, 30, 64)})
    expected = np.zeros((64, 64), np.uint8)
    expected[29] = 255
    np.testing.assert_array_equal(read(EDGES, tmp_path), expected)


def test_the_photos_edges_count_on_hair_and_background_and_not_on_the_face(tmp_path: Path) -> None:
    """A photo whose right half is lighter: one edge from top to bottom, at x = 31.5 of 64."""
    photo = np.full((128, 128, 3), 60, np.uint8)
    photo[:, 64:] = 190
    for number in (0, 1):
        add(tmp_path, number, {"hair": (8, 0, 24, 64), "skin": (24, 16, 52, 48)}, photo)
    lines = read(EDGES, tmp_path) > 0
    near = lines[:, 30:34].any(axis=1)
    # Rows of background and hair, but for a margin of one pixel at the face; the outlines are rows 8, 23, 51.
    assert near[:22].all()
    assert near[54:].all()
    assert not near[25:51].any()
    assert not lines[54:, :30].any()
    assert not lines[54:, 34:].any()


@pytest.mark.parametrize("short_side", [32, 48, 64, 200, 0])
def test_lines_are_drawn_as_fine_as_the_picture_they_are_for(short_side: int, root: Path) -> None:
    side = min(short_side or 64, 64)
    lines = read(EDGES, root, short_side)
    assert lines.shape == (side, side)
    assert set(np.unique(lines)) == {0, 255}
    bottom = round(56 * side / 64) - 1  # the last row of skin, with no hair or neck below it
    assert (lines[bottom, round(18 * side / 64) : round(46 * side / 64)] == 255).all()
    assert not lines[bottom + 2 :].any()


def distances(edge: NDArray[np.bool_]) -> NDArray[np.float64]:
    """From each pixel to the nearest edge pixel, all pairs compared."""
    pixels = np.stack(np.mgrid[: edge.shape[0], : edge.shape[1]], axis=-1).reshape(-1, 1, 2)
    return np.asarray(np.sqrt(((pixels - np.argwhere(edge)[None]) ** 2).sum(-1)).min(1).reshape(edge.shape))


def planes_of(lines: NDArray[np.uint8]) -> NDArray[np.float32]:
    return EDGES.render(Condition((lines.shape[0], lines.shape[1]), lines, smooth=True))


@pytest.mark.parametrize("size", [(40, 40), (32, 56), (64, 36)])
def test_the_second_channel_is_the_distance_to_the_nearest_line(size: tuple[int, int]) -> None:
    lines = (np.random.default_rng(1).random(size) > 0.985).astype(np.uint8) * np.uint8(255)
    lines[:, size[1] // 2 :] = 0  # far enough from any line for the distance to be cut off
    planes = planes_of(lines)
    assert (planes.shape, planes.dtype) == ((*size, 2), np.float32)
    np.testing.assert_array_equal(planes[..., 0], lines / 255)
    expected = np.minimum(distances(lines > 0) / (min(size) / 8), 1)
    np.testing.assert_allclose(planes[..., 1], expected, atol=1e-5)
    assert planes[..., 1].max() == 1


def test_rendering_is_repeatable_to_the_bit() -> None:
    """Wherever the arrays lie in memory: OpenCV's distances alone are not."""
    lines = (np.random.default_rng(2).random((64, 64)) > 0.98).astype(np.uint8) * np.uint8(255)
    exact = np.sqrt(np.rint(np.square(distances(lines > 0))).astype(np.float32)) / np.float32(8)
    for _ in range(50):
        np.testing.assert_array_equal(planes_of(lines)[..., 1], np.minimum(exact, 1))


def test_a_crop_without_lines_is_far_from_them_all_over() -> None:
    planes = planes_of(np.zeros((32, 32), np.uint8))
    np.testing.assert_array_equal(planes, np.broadcast_to(np.float32([0, 1]), (32, 32, 2)))


@pytest.mark.parametrize("side", [16, 32, 50, 64, 100, 128, 256, 511, 700, 1024])
def test_a_thin_line_stays_whole_at_any_size(side: int) -> None:
    """A circle and a slanting line, a pixel wide on 512: each stays one piece, hardly wider."""
    lines = np.zeros((512, 512), np.uint8)
    cv2.circle(lines, (200, 200), 150, 255, 1)
    cv2.line(lines, (380, 500), (500, 40), 255, 1)
    edge = EDGES.render(Condition((512, 512), lines, smooth=True).resized((side, side)))[..., 0]
    pieces, _ = cv2.connectedComponents(edge.astype(np.uint8), connectivity=8)
    assert pieces == 3  # and the ground
    width = edge.sum() / ((2 * np.pi * 150 + np.hypot(120, 460)) * side / 512)
    assert 0.9 < width < (1.5 if side <= 512 else 2 * side / 512)


def test_a_turned_line_stays_whole() -> None:
    lines = np.zeros((64, 64), np.uint8)
    cv2.circle(lines, (32, 32), 14, 255, 1)
    photo = np.zeros((64, 64, 3), np.uint8)
    for seed in range(20):
        _, moved = augmented(photo, Condition((64, 64), lines, smooth=True), seed, flip=True)
        edge = EDGES.render(moved)[..., 0].astype(np.uint8)
        assert cv2.connectedComponents(edge, connectivity=8)[0] == 2
        assert 0.7 < edge.sum() / (np.pi * 28) < 2.6


def strokes() -> NDArray[np.bool_]:
    lines = np.zeros((48, 60), bool)
    lines[10:40, 12] = lines[10, 12:50] = lines[30:33, 5:55] = True
    return lines


def paint(ground: tuple[int, ...], line: tuple[int, ...]) -> NDArray[np.uint8]:
    return np.where(strokes()[..., None], np.uint8(line), np.uint8(ground))


DRAWINGS: dict[str, Callable[[], Any]] = {
    "black on white": lambda: paint((255,), (0,))[..., 0],
    "white on black": lambda: paint((0,), (255,))[..., 0],
    "grey on paper": lambda: paint((235, 228, 210), (120, 118, 119)),
    "yellow on white": lambda: paint((255, 255, 255), (255, 255, 60)),
    "white on grey": lambda: paint((128, 128, 128), (250, 250, 250)),
    "black on clear": lambda: paint((0, 0, 0, 0), (0, 0, 0, 255)),
    "white on clear": lambda: paint((255, 255, 255, 0), (255, 255, 255, 255)),
    "white on clear black": lambda: paint((0, 0, 0, 0), (255, 255, 255, 255)),
    "grey and alpha": lambda: Image.fromarray(paint((0, 0, 0, 0), (0, 0, 0, 255)), "RGBA").convert("LA"),
    "opaque alpha": lambda: paint((255, 255, 255, 255), (20, 20, 60, 255)),
    "one bit": lambda: Image.fromarray(~strokes()),
    "palette": lambda: Image.fromarray(paint((255, 255, 255), (200, 0, 0))).convert("P"),
    "16 bit": lambda: paint((255,), (0,))[..., 0].astype(np.uint16) * 257,
}


@pytest.mark.parametrize("kind", DRAWINGS)
def test_lines_of_any_polarity_and_file_are_found(kind: str, tmp_path: Path) -> None:
    picture = DRAWINGS[kind]()
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    image.save(tmp_path / "drawing.png")
    condition = EDGES.read_condition([tmp_path / "drawing.png"])
    assert (condition.size, condition.smooth) == ((48, 60), True)
    np.testing.assert_array_equal(condition.raster, strokes() * np.uint8(255))


def test_the_noise_of_a_jpeg_is_not_lines(tmp_path: Path) -> None:
    Image.fromarray(paint((255, 255, 255), (0, 0, 0))).save(tmp_path / "drawing.jpg", quality=60)
    raster = EDGES.read_condition([tmp_path / "drawing.jpg"]).raster
    np.testing.assert_array_equal(raster, strokes() * np.uint8(255))


@pytest.mark.parametrize("colour", ["white", "black", "#808080", "#00000000"])
def test_an_empty_sheet_is_an_error_that_names_it(colour: str, tmp_path: Path) -> None:
    Image.new("RGBA", (40, 30), colour).save(tmp_path / "sheet.png")
    with pytest.raises(DataError, match=r"sheet\.png: expected a line drawing, found one even colour"):
        EDGES.read_condition([tmp_path / "sheet.png"])


def test_what_is_no_drawing_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n")
    with pytest.raises(DataError, match=r"broken\.png: "):
        EDGES.read_condition([tmp_path / "broken.png"])
    for files in ([], [tmp_path / "a.png", tmp_path / "b.png"]):
        with pytest.raises(DataError, match=f"one line drawing or part masks, not {len(files)} files"):
            EDGES.read_condition(files)
    with pytest.raises(DataError, match="without a line drawing"):
        EDGES.render(Condition((4, 4)))


def test_a_drawing_written_and_read_is_the_one_trained_on(root: Path) -> None:
    sample = EDGES.index(root, "val")[0]
    condition = EDGES.condition(sample, 48)
    written = EDGES.read_condition([EDGES.write_condition(condition, root / "drawing")])
    np.testing.assert_array_equal(written.raster, condition.raster)
    np.testing.assert_array_equal(EDGES.render(written), EDGES.render(condition))
    # And the sample's files, the photo among them, are a condition as they stand.
    np.testing.assert_array_equal(EDGES.read_condition(sample.condition).raster, read(EDGES, root))
