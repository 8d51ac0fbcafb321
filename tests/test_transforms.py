"""Geometry: photo, raster and points are looked for where the other two say they are."""

from __future__ import annotations

import os
import subprocess
import sys

import cv2
import numpy as np
import pytest
import torch
from geometry import augmented

from mcltool.core.config import DataConfig
from mcltool.core.pixels import same_aspect
from mcltool.data.batch import warped
from mcltool.data.geometry import (
    RandomState,
    augmented_target,
    evaluation_geometry,
    load_size,
    training_geometry,
)
from mcltool.plugin.contract import Condition

SEEDS = range(40)


def disc(size, centre, radius, value=1):
    y, x = np.mgrid[: size[0], : size[1]]
    return ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2).astype(np.uint8) * value


def centroid(weights):
    """x, y of the centre of mass, by pixel indices."""
    y, x = np.mgrid[: weights.shape[0], : weights.shape[1]]
    return np.array([(x * weights).sum(), (y * weights).sum()]) / weights.sum()


def marked_scene(photo_size, raster_size, places, radius):
    """One disc a colour channel in the photo, the same discs as labels 1..3, and their centres as points.

    places: x, y as shares of the picture; the points lie on the raster's canvas.
    """
    photo = np.zeros((*photo_size, 3), np.uint8)
    raster = np.zeros(raster_size, np.uint8)
    points = np.empty((len(places), 2), np.float32)
    for k, place in enumerate(places):
        centre = np.array(place) * photo_size[::-1] - 0.5
        photo[..., k] = disc(photo_size, centre, radius * photo_size[0], 255)
        points[k] = np.array(place) * raster_size[::-1] - 0.5
        raster[disc(raster_size, points[k], radius * raster_size[0]) > 0] = k + 1
    return photo, Condition(raster_size, raster, points)


def assert_moved_together(photo, condition, tolerance):
    """Every mark that lies well inside is found at its point, in photo and raster; returns how many did."""
    seen = 0
    height, width = condition.size
    assert photo.shape == (height, width, 3)
    assert condition.raster.shape == (height, width)
    for k, (x, y) in enumerate(condition.points):
        if not (12 < x < width - 12 and 12 < y < height - 12):
            continue
        seen += 1
        assert centroid(photo[..., k].astype(float)) == pytest.approx([x, y], abs=tolerance)
        assert centroid((condition.raster == k + 1).astype(float)) == pytest.approx([x, y], abs=tolerance)
    return seen


PLACES = ((0.25, 0.3), (0.7, 0.35), (0.45, 0.75))


@pytest.mark.parametrize("raster_size", [(120, 150), (60, 75), (360, 450)])
def test_photo_raster_and_points_move_together(raster_size):
    photo, condition = marked_scene((120, 150), raster_size, PLACES, 0.06)
    config = DataConfig(size=(96, 128), load_scale=1.2, flip=True)
    seen = sum(
        assert_moved_together(*training_geometry(photo, condition, config, RandomState(s)), 0.6)
        for s in SEEDS
    )
    assert seen > len(SEEDS)


def test_photo_raster_and_points_move_together_in_the_augmented_view():
    places = ((0.4, 0.42), (0.6, 0.45), (0.52, 0.6))
    photo, condition = marked_scene((128, 96), (128, 96), places, 0.04)
    views = [augmented(photo, condition, seed, flip=True) for seed in SEEDS]
    assert sum(assert_moved_together(*view, 0.6) for view in views) > 2 * len(SEEDS)
    # What was drawn differs from seed to seed, and half of it is mirrored.
    x = np.array([view[1].points[1, 0] - view[1].points[0, 0] for view in views])
    assert 8 < (x < 0).sum() < 32


def copy_of(photo, seed, flip=False):
    """The augmented target as the device makes it."""
    matrix = augmented_target(photo.shape[:2], flip, RandomState(seed))
    found = warped(torch.from_numpy(photo.transpose(2, 0, 1).copy())[None], torch.from_numpy(matrix)[None])
    return found[0].permute(1, 2, 0).numpy()


def smooth_noise(height, width):
    coarse = np.random.default_rng(0).integers(0, 256, (height // 8, width // 8, 3), np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)


def test_the_copy_made_on_the_device_agrees_with_a_formula_a_pixel():
    """In float64: each pixel from the four around its place, what lies outside reflected about the border's pixels."""
    photo = smooth_noise(32, 48)

    def reflect(n, last):
        n = n % (2 * last)
        return 2 * last - n if n > last else n

    for seed in range(3):
        found = copy_of(photo, seed, flip=True)
        matrix = augmented_target((32, 48), True, RandomState(seed)).astype(np.float64)
        expected = np.empty((32, 48, 3))
        for y, x in np.ndindex(32, 48):
            u, v = matrix @ [x, y, 1]
            left, top = int(np.floor(u)), int(np.floor(v))
            expected[y, x] = sum(
                (1 - abs(u - column))
                * (1 - abs(v - row))
                * photo[reflect(row, 31), reflect(column, 47)].astype(float)
                for row in (top, top + 1)
                for column in (left, left + 1)
            )
        assert np.abs(found - expected).max() < 0.51  # it is rounded to whole bytes


def test_augmented_copy_has_no_black_border():
    white = np.full((64, 64, 3), 255, np.uint8)
    assert min(copy_of(white, seed).min() for seed in SEEDS) == 255
    assert min(augmented(white, Condition((64, 64), white), seed)[0].min() for seed in SEEDS) == 255


def test_the_copy_is_mirrored_half_of_the_time():
    ramp = np.repeat(np.linspace(0, 255, 64).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    falls = [copy_of(ramp, seed, flip=True)[32, 16, 0] > 127 for seed in SEEDS]
    assert 10 < sum(falls) < 30
    assert not any(copy_of(ramp, seed)[32, 16, 0] > 150 for seed in SEEDS)


def test_points_are_scaled_about_pixel_centres():
    photo = np.zeros((16, 16, 3), np.uint8)
    photo[9, 5] = 255
    raster = photo[..., 0] // 255
    config = DataConfig(size=(64, 64), load_scale=1.0)
    condition = Condition((16, 16), raster, np.array([[5, 9]], np.float32))
    photo, condition = training_geometry(photo, condition, config, RandomState(0))
    assert condition.points.tolist() == [[21.5, 37.5]]  # the middle of the 4 x 4 block that the pixel became
    assert centroid(photo[..., 0].astype(float)) == pytest.approx([21.5, 37.5], abs=0.05)
    assert np.array_equal(np.argwhere(condition.raster).min(0), [36, 20])
    assert np.array_equal(np.argwhere(condition.raster).max(0), [39, 23])


def test_a_rounded_aspect_is_stretched_to_the_photos():
    condition = Condition((64, 44), points=np.array([[-0.5, -0.5], [43.5, 63.5]], np.float32))
    photo = np.zeros((110, 75, 3), np.uint8)
    _, moved = evaluation_geometry(photo, condition, (128, 64))
    width = round(75 * 128 / 110)  # 87, of which the middle 64 are left
    assert moved.points[:, 1] == pytest.approx([-0.5, 127.5], abs=1e-3)
    assert np.ptp(moved.points[:, 0]) == pytest.approx(width, abs=1e-3)


def numbered(height, width):
    """A photo whose every pixel says where it was: channels are y, x, 0."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([y, x, np.zeros_like(x)], axis=2)


def test_crop_is_an_exact_window_at_every_offset():
    photo = numbered(80, 80)
    config = DataConfig(size=(64, 64), load_scale=1.25)
    offsets = []
    for seed in range(200):
        condition = Condition((80, 80), photo[..., 0].copy(), np.array([[10, 20]], np.float32))
        cropped, moved = training_geometry(photo, condition, config, RandomState(seed))
        top, left = (int(v) for v in cropped[0, 0, :2])
        assert np.array_equal(cropped, photo[top : top + 64, left : left + 64])
        assert np.array_equal(moved.raster, cropped[..., 0])
        assert moved.points.tolist() == [[10 - left, 20 - top]]
        offsets.append((top, left))
    tops, lefts = np.array(offsets).T
    assert (tops.min(), tops.max(), lefts.min(), lefts.max()) == (0, 16, 0, 16)
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.25


def test_mirror_happens_half_of_the_time_whatever_the_crop():
    photo = numbered(80, 80)
    config = DataConfig(size=(64, 64), load_scale=1.25, flip=True)
    mirrored, lefts = [], []
    for seed in range(200):
        condition = Condition((80, 80), photo[..., 1].copy(), np.array([[30, 40]], np.float32))
        cropped, moved = training_geometry(photo, condition, config, RandomState(seed))
        first, last = int(cropped[0, 0, 1]), int(cropped[0, -1, 1])
        mirrored.append(first > last)
        lefts.append(min(first, last))
        x, y = moved.points[0]
        assert cropped[int(y), int(x), :2].tolist() == [40, 30]
        assert moved.raster[int(y), int(x)] == 30
    assert 70 < sum(mirrored) < 130
    assert abs(np.corrcoef(mirrored, lefts)[0, 1]) < 0.25


def test_nothing_is_touched_where_nothing_is_to_do():
    photo = numbered(64, 96)
    condition = Condition((64, 96), photo[..., 0])
    config = DataConfig(size=(64, 96), load_scale=1.0)
    same, untouched = training_geometry(photo, condition, config, RandomState(5))
    assert np.array_equal(same, photo)
    assert np.shares_memory(same, photo)
    assert np.array_equal(untouched.raster, photo[..., 0])


def test_evaluation_takes_the_centre_at_the_size_itself():
    photo = numbered(64, 100)
    condition = Condition((64, 100), photo[..., 1].copy(), np.array([[50, 7]], np.float32))
    cropped, moved = evaluation_geometry(photo, condition, (64, 64))
    assert np.array_equal(cropped, photo[:, 18:82])
    assert np.array_equal(moved.raster, photo[:, 18:82, 1])
    assert moved.points.tolist() == [[32, 7]]


@pytest.mark.parametrize("size", [(250, 90), (90, 250), (40, 50), (64, 64)])
def test_any_aspect_is_covered_without_distortion(size):
    photo = np.zeros((*size, 3), np.uint8)
    photo[..., 0] = disc(size, (size[1] / 2, size[0] / 2), 12, 255)
    cropped, _ = evaluation_geometry(photo, Condition(size, photo[..., 0]), (64, 96))
    assert cropped.shape == (64, 96, 3)
    ys, xs = np.nonzero(cropped[..., 0] > 127)
    assert np.ptp(ys) == pytest.approx(np.ptp(xs), abs=1)
    assert max(64 / size[0], 96 / size[1]) * 24 == pytest.approx(np.ptp(xs), abs=2)


def test_absent_points_stay_absent_and_outside_points_stay():
    photo = numbered(80, 80)
    points = np.array([[np.nan, np.nan], [-30, 5], [200, 300], [40, 40]], np.float32)
    condition = Condition((80, 80), points=points)
    config = DataConfig(size=(64, 64), load_scale=1.5, flip=True)
    for seed in range(10):
        cropped, moved = training_geometry(photo, condition, config, RandomState(seed))
        cropped, moved = augmented(cropped, moved, seed)
        assert moved.raster is None
        assert moved.points.shape == (4, 2)
        assert moved.points.dtype == np.float32
        assert np.isnan(moved.points).tolist() == [[True, True]] + [[False, False]] * 3
        assert np.abs(moved.points[2]).max() > 80
    none = Condition((80, 80), points=np.full((3, 2), np.nan, np.float32))
    assert np.isnan(training_geometry(photo, none, config, RandomState(0))[1].points).all()


@pytest.mark.parametrize("channels", [1, 2, 7])
def test_rasters_of_any_depth_keep_it(channels):
    raster = np.random.default_rng(0).integers(0, 256, (50, 60, channels), np.uint8)
    config = DataConfig(size=(32, 32), load_scale=1.3, flip=True)
    view = training_geometry(numbered(100, 120), Condition((50, 60), raster), config, RandomState(1))
    assert view[1].raster.shape == (32, 32, channels)
    assert augmented(*view, 1)[1].raster.shape == (32, 32, channels)


def test_what_is_given_is_not_changed():
    photo, raster = numbered(80, 80), numbered(80, 80)[..., 0].copy()
    points = np.array([[3, 4]], np.float32)
    for array in (photo, raster, points):
        array.flags.writeable = False
    view = training_geometry(
        photo,
        Condition((80, 80), raster, points),
        DataConfig(size=(64, 64), load_scale=1.25, flip=True),
        RandomState(3),
    )
    augmented(*view, 3)


def test_a_seed_says_it_all():
    photo, condition = marked_scene((120, 150), (120, 150), PLACES, 0.06)
    config = DataConfig(size=(64, 64), load_scale=1.2, flip=True)

    def draw(seed):
        view = training_geometry(photo, condition, config, RandomState(seed))
        copy, moved = augmented(*view, seed)
        return view[0], view[1].points, copy, moved.raster, moved.points

    first = draw(7)
    other = draw(8)
    assert all(np.array_equal(a, b) for a, b in zip(first, draw(7), strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_short_side_is_enough_for_any_aspect():
    assert max(load_size(DataConfig(size=(256, 192), load_scale=1.1))) == 282
    assert max(load_size(DataConfig(size=(64, 64), load_scale=1.0))) == 64


def test_same_aspect_allows_for_rounding_alone():
    assert same_aspect((1024, 1024), (512, 512))
    assert same_aspect((1101, 750), (256, 176))
    assert same_aspect((500, 333), (62, 42))  # 41.3 rounded up
    assert not same_aspect((500, 333), (62, 44))
    assert same_aspect((1000, 1000), (500, 504))
    assert not same_aspect((1000, 1000), (500, 506))
    assert not same_aspect((256, 256), (256, 192))
    assert not same_aspect((256, 192), (192, 256))


def run_python(code):
    environment = {k: v for k, v in os.environ.items() if k != "NO_ALBUMENTATIONS_UPDATE"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_importing_mcltool_imports_no_heavy_library():
    run_python(
        "import sys, mcltool\n"
        "heavy = {'torch', 'albumentations', 'cv2', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )


@pytest.mark.slow
def test_albumentations_is_imported_late_and_never_goes_online():
    run_python(
        "import os, socket, sys\n"
        "def online(*a, **k): sys.exit('went online')\n"
        "socket.socket.connect = socket.create_connection = socket.getaddrinfo = online\n"
        "import mcltool.data.geometry as t\n"
        "assert 'albumentations' not in sys.modules\n"
        "t.augmented_target((32, 32), True, t.RandomState(0))\n"
        "assert os.environ['NO_ALBUMENTATIONS_UPDATE'] == '1'\n"
        "assert sys.modules['albumentations.check_version'].opener is None, 'looked for a newer version'"
    )
