"""Scores of images and correspondences against a truth made by hand, and against the shapes data set's."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from mcltool_shapes import ShapesPlugin

from mcltool import Truth
from mcltool.evaluate.truth import (
    cell_classes,
    psnr,
    score_matches,
    true_matches,
    warp_by_cells,
    warp_from_grid,
)

GRID = (4, 4)


def _by_hand() -> Truth:
    """8 x 8 pixels, in cells of 2 x 2.

    A square of class 1 is in rows 0-3, columns 0-3 of the exemplar and 4 columns further right in the
    condition; a square of class 2 is in rows 4-7, columns 0-3 of both. The squares' frames have their
    origins at the first pixels and a unit of 2 pixels; the background's unit is the image's side.
    """
    labels, theirs = np.zeros((8, 8), np.uint8), np.zeros((8, 8), np.uint8)
    labels[0:4, 4:8], theirs[0:4, 0:4] = 1, 1
    labels[4:8, 0:4], theirs[4:8, 0:4] = 2, 2
    y, x = np.mgrid[:8, :8].astype(np.float32)
    source = np.stack([np.where(labels == 1, x - 4, x), y], -1)
    visible = (labels > 0) | (theirs == 0)
    source[~visible] = np.nan
    half, eighth = np.float32(0.5), np.float32(0.125)
    frames = (
        (0, np.array([[eighth, 0, eighth / 2], [0, eighth, eighth / 2]], np.float32)),
        (1, np.array([[half, 0, 0], [0, half, 0]], np.float32)),
        (2, np.array([[half, 0, 0], [0, half, -2]], np.float32)),
    )
    place = np.stack([(x + 0.5) / 8, (y + 0.5) / 8], -1)
    place[labels == 1] = np.stack([(x - 4) / 2, y / 2], -1)[labels == 1]
    place[labels == 2] = np.stack([x / 2, (y - 4) / 2], -1)[labels == 2]
    image = np.zeros((8, 8, 3), np.uint8)
    return Truth(image, labels, theirs, 0, visible, source, place.astype(np.float32), frames)


def test_psnr_is_ten_times_the_logarithm_of_255_squared_over_the_error() -> None:
    a = np.full((4, 4, 3), 100, np.uint8)
    b = a.copy()
    b[0, 0] = 110
    b[3, 3] = 200
    mask = np.ones((4, 4), bool)
    mask[3, 3] = False
    assert psnr(a, b, mask) == pytest.approx(20 * math.log10(255 / 10) + 10 * math.log10(15))
    assert psnr(b, a) == pytest.approx(10 * math.log10(255**2 * 16 / (100 + 10_000)))
    assert psnr(a, a) == math.inf
    assert math.isnan(psnr(a, b, np.zeros((4, 4), bool)))
    with pytest.raises(ValueError, match="uint8"):
        psnr(a, a.astype(float))
    with pytest.raises(ValueError, match="one size"):
        psnr(a, a[:2])


def test_a_cell_is_of_its_majority_and_a_tie_goes_to_the_lowest_class() -> None:
    labels = np.array([[3, 3, 0, 5], [1, 3, 5, 0], [2, 2, 9, 8], [1, 1, 7, 9]], np.uint8)
    np.testing.assert_array_equal(cell_classes(labels, (2, 2)), [[3, 0], [1, 9]])
    np.testing.assert_array_equal(cell_classes(labels, (4, 4)), labels)
    np.testing.assert_array_equal(cell_classes(labels[:2], (1, 2)), [[3, 0]])
    with pytest.raises(ValueError, match="3 x 2"):
        cell_classes(labels, (3, 2))


def test_true_matches_of_the_hand_made_truth() -> None:
    expected = np.arange(16).reshape(4, 4)
    expected[:2, 2:] -= 2  # class 1 comes from two cells further left
    expected[:2, :2] = -1  # background under the exemplar's square
    np.testing.assert_array_equal(true_matches(_by_hand(), GRID).reshape(4, 4), expected)


def test_true_matches_round_to_the_cell_that_holds_the_source() -> None:
    truth = _by_hand()
    source = np.full((8, 8, 2), 0.0, np.float32)
    source[4:] = (3.4, 3.6)  # cells of 4 x 2 pixels meet at 3.5
    matches = true_matches(replace(truth, source=source, visible=np.ones((8, 8), bool)), (4, 2))
    np.testing.assert_array_equal(matches.reshape(4, 2), [[0, 0], [0, 0], [4, 4], [4, 4]])
    source[4:] = (3.6, 7.4)
    matches = true_matches(replace(truth, source=source, visible=np.ones((8, 8), bool)), (4, 2))
    np.testing.assert_array_equal(matches.reshape(4, 2), [[0, 0], [0, 0], [7, 7], [7, 7]])


def test_scores_of_the_hand_made_truth() -> None:
    truth = _by_hand()
    match = true_matches(truth, GRID)
    best = score_matches(truth, match, GRID)
    assert (best.class_match, best.background_class_match) == (1.0, 1.0)
    assert (best.cells, best.background_cells) == (8, 4)
    # What stands for a cell is its first pixel, half a pixel from the centre in x and y; a unit is 2 pixels.
    assert best.match_error == pytest.approx(math.hypot(0.25, 0.25), abs=1e-6)

    wrong = match.copy()
    wrong[2] = 15  # class 1 to background: 7 columns and 6 rows too far
    wrong[8] = 9  # within class 2, a cell too far right
    wrong[15] = 0  # background to class 1
    scores = score_matches(truth, wrong, GRID)
    assert scores.class_match == pytest.approx(7 / 8)
    assert scores.background_class_match == pytest.approx(3 / 4)
    errors = [math.hypot(0.25, 0.25)] * 6 + [math.hypot(6.5 / 2, 6.5 / 2), math.hypot(2.5 / 2, 0.25)]
    assert scores.match_error == pytest.approx(np.mean(errors), abs=1e-6)


def test_of_several_instances_the_nearest_counts() -> None:
    truth = _by_hand()
    match = true_matches(truth, GRID)
    match[2] = 15
    # A second instance of class 1 whose own place for that cell is at the matched cell's centre, (6.5, 6.5).
    twin = (1, np.array([[0.5, 0, -3.25], [0, 0.5, -3.25]], np.float32))
    scores = score_matches(replace(truth, frames=(*truth.frames, twin)), match, GRID)
    assert scores.match_error == pytest.approx(math.hypot(0.25, 0.25) * 7 / 8, abs=1e-6)


def test_hidden_cells_and_classes_not_in_the_exemplar_do_not_count() -> None:
    truth = _by_hand()
    match = true_matches(truth, GRID)
    hidden = truth.visible.copy()
    hidden[0, 4] = False  # the pixel that stands for cell 2
    assert score_matches(replace(truth, visible=hidden), match, GRID).cells == 7
    without = replace(truth, exemplar_labels=np.where(truth.exemplar_labels == 2, 0, truth.exemplar_labels))
    assert score_matches(without, match, GRID).cells == 4
    empty = score_matches(replace(truth, visible=np.zeros((8, 8), bool)), np.full(16, -1), GRID)
    assert (empty.cells, empty.background_cells) == (0, 0)
    assert math.isnan(empty.class_match)
    assert math.isnan(empty.background_class_match)
    assert math.isnan(empty.match_error)


def test_a_cell_on_an_edge_speaks_for_its_majority() -> None:
    """Of a cell with three pixels of class 1 and one of background at its first pixel, the place is class
    1's.
    """
    truth = _by_hand()
    labels, place = truth.labels.copy(), truth.place.copy()
    labels[0, 4], place[0, 4] = 0, (99, 99)
    scores = score_matches(replace(truth, labels=labels, place=place), true_matches(truth, GRID), GRID)
    assert scores.cells == 8
    assert scores.match_error < 0.5


def test_wrong_matches_are_refused() -> None:
    truth = _by_hand()
    match = true_matches(truth, GRID)
    with pytest.raises(ValueError, match="16 cells"):
        score_matches(truth, match[:15], GRID)
    for outside in (-1, 16):
        match[2] = outside
        with pytest.raises(ValueError, match="outside the grid"):
            score_matches(truth, match, GRID)


def test_warp_by_cells_moves_whole_cells() -> None:
    image = np.arange(8 * 12 * 3, dtype=np.uint16).reshape(8, 12, 3).astype(np.uint8)
    match = np.array([5, -1, 0, 3, 3, 1])
    warped = warp_by_cells(image, match, (2, 3))
    np.testing.assert_array_equal(warped[:4, :4], image[4:, 8:])
    np.testing.assert_array_equal(warped[:4, 4:8], image[:4, 4:8])
    np.testing.assert_array_equal(warped[4:, 4:8], image[4:, :4])
    np.testing.assert_array_equal(warped[4:, 8:], image[:4, 4:8])
    np.testing.assert_array_equal(warp_by_cells(image, np.arange(6), (2, 3)), image)


def test_warp_from_grid_interpolates_the_cells_means_at_the_sources() -> None:
    truth = _by_hand()
    ramp = np.repeat(np.tile((10 * np.arange(8)).astype(np.uint8), (8, 1))[..., None], 3, axis=-1)
    warped = warp_from_grid(truth, ramp, GRID)
    # Between the centres of the outer cells a ramp is its own interpolation.
    x = np.clip(np.nan_to_num(truth.source[..., 0]), 0.5, 6.5)
    np.testing.assert_array_equal(warped[truth.visible][:, 0], (10 * x)[truth.visible])
    np.testing.assert_array_equal(warped[~truth.visible], ramp[~truth.visible])
    warped = warp_from_grid(truth, ramp.swapaxes(0, 1), GRID)
    y = np.clip(np.nan_to_num(truth.source[..., 1]), 0.5, 6.5)
    np.testing.assert_array_equal(warped[truth.visible][:, 0], (10 * y)[truth.visible])


def test_the_true_correspondence_of_shapes_scores_best() -> None:
    shapes, grid = ShapesPlugin(), (16, 16)
    samples = shapes.index(None, "val")
    rng = np.random.default_rng(0)
    rows = []
    for n in range(0, 64, 4):
        truth, exemplar = shapes.truth(samples[n], samples[n + 1], 64), shapes.photo(samples[n + 1], 64)
        match = true_matches(truth, grid)
        best, blind = score_matches(truth, match, grid), score_matches(truth, rng.permutation(256), grid)
        shift = np.where((match >= 0) & (match % 16 < 15), match + 1, match)
        near = score_matches(truth, shift, grid)
        warps = warp_by_cells(exemplar, match, grid), warp_from_grid(truth, exemplar, grid)
        decibels = [psnr(image, truth.image, truth.visible) for image in (exemplar, *warps)]
        rows.append([best.class_match, best.background_class_match, best.match_error, near.match_error])
        rows[-1] += [blind.class_match, blind.match_error, *decibels]
    means = np.mean(rows, 0).tolist()
    best_class, best_background, best_error, near_error, blind_class, blind_error, raw, cells, smooth = means
    assert best_class > 0.88
    assert best_background > 0.93
    assert blind_class < 0.3
    # Radii are 10 to 16 pixels and cells 4: a place known to the cell is off by about 0.15.
    assert best_error < 0.17
    assert best_error + 0.1 < near_error < 0.5
    assert blind_error > 1.0
    assert raw + 3 < cells < smooth
