"""Resizing: block means, bilinear weights and nearest pixels worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from geometry import augmented
from numpy.typing import NDArray

from mcltool.core.config import DataConfig
from mcltool.core.pixels import resize_labels, resize_photo
from mcltool.data.geometry import RandomState, training_geometry
from mcltool.plugin.contract import Condition

RANDOM = np.random.default_rng(3)


def noise(*shape: int) -> NDArray[np.uint8]:
    return RANDOM.integers(0, 256, shape, np.uint8)


def centres(old: int, new: int) -> NDArray[np.float64]:
    """Where the centres of ``new`` pixels lie among ``old`` ones over the same length."""
    return (np.arange(new) + 0.5) * old / new - 0.5


def bilinear(image: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.float64]:
    """Linear interpolation between pixel centres, the border repeated, by plain arithmetic."""
    result = image.astype(float)
    for axis in (0, 1):
        at = centres(image.shape[axis], size[axis]).clip(0, image.shape[axis] - 1)
        low = np.floor(at).astype(int).clip(0, max(0, image.shape[axis] - 2))
        high = np.minimum(low + 1, image.shape[axis] - 1)
        share = (at - low).reshape([-1 if k == axis else 1 for k in range(image.ndim)])
        result = result.take(low, axis) * (1 - share) + result.take(high, axis) * share
    return result


@pytest.mark.parametrize("depth", [(), (1,), (3,), (7,)])
def test_a_shrunk_photo_has_the_means_of_blocks(depth: tuple[int, ...]) -> None:
    photo = noise(12, 20, *depth)
    small = resize_photo(photo, (3, 5))
    means = photo.reshape(3, 4, 5, 4, *depth).mean(axis=(1, 3))
    assert small.dtype == np.uint8
    np.testing.assert_allclose(small, means, atol=0.51)


@pytest.mark.parametrize("depth", [(), (1,), (3,), (7,)])
@pytest.mark.parametrize("size", [(24, 40), (25, 33), (12, 21), (13, 10), (6, 40)])
def test_a_photo_with_a_side_that_grows_is_interpolated(
    size: tuple[int, int], depth: tuple[int, ...]
) -> None:
    photo = noise(12, 20, *depth)
    large = resize_photo(photo, size)
    assert large.shape == (*size, *depth)
    np.testing.assert_allclose(large, bilinear(photo, size), atol=1.0)


def test_a_side_that_stays_does_not_keep_the_other_from_being_averaged() -> None:
    photo = noise(6, 20, 3)
    np.testing.assert_allclose(
        resize_photo(photo, (6, 10)), photo.reshape(6, 10, 2, 3).mean(axis=2), atol=0.51
    )


@pytest.mark.parametrize("size", [(3, 5), (5, 9), (24, 40), (31, 17)])
def test_labels_are_taken_from_the_pixel_at_the_centre(size: tuple[int, int]) -> None:
    labels = noise(13, 21)  # odd, so that no centre falls between two pixels
    rows = np.floor(centres(13, size[0]) + 0.5).astype(int)
    columns = np.floor(centres(21, size[1]) + 0.5).astype(int)
    np.testing.assert_array_equal(resize_labels(labels, size), labels[np.ix_(rows, columns)])


@pytest.mark.parametrize("smooth", [True, False])
def test_a_condition_is_resized_as_its_field_says(smooth: bool) -> None:
    raster = noise(12, 20)
    condition = Condition((12, 20), raster, smooth=smooth)
    for size in ((6, 10), (24, 40)):
        resized = condition.resized(size)
        expected = resize_photo(raster, size) if smooth else resize_labels(raster, size)
        np.testing.assert_array_equal(resized.raster, expected)
        assert (resized.size, resized.smooth) == (size, smooth)
    assert resized.raster is not None
    assert set(np.unique(resized.raster)) <= set(np.unique(raster)) or smooth


def test_points_follow_the_pixels_they_are_on() -> None:
    points = np.array([[2, 1], [np.nan, np.nan], [-0.5, -0.5], [19.5, 11.5], [-30, 40]], np.float32)
    before = points.copy()
    resized = Condition((12, 20), points=points).resized((24, 60)).points
    # A pixel becomes 2 high and 3 wide; the corners of the picture stay its corners.
    expected = [[7, 2.5], [np.nan, np.nan], [-0.5, -0.5], [59.5, 23.5], [-89, 80.5]]
    np.testing.assert_allclose(resized, expected, atol=1e-5)
    np.testing.assert_array_equal(points, before)


def test_what_else_a_condition_says_is_kept() -> None:
    condition = Condition((4, 4), noise(4, 4), smooth=True, mirror=((1, 2),))
    resized = condition.resized((8, 8))
    assert (resized.smooth, resized.mirror, resized.points) == (True, ((1, 2),), None)


def test_what_has_the_size_is_returned_itself() -> None:
    photo = noise(4, 6, 3)
    condition = Condition((4, 6), photo)
    assert resize_photo(photo, (4, 6)) is photo
    assert resize_labels(photo, (4, 6)) is photo
    assert condition.resized((4, 6)) is condition


def test_warps_obey_the_field_too() -> None:
    """A disc of 255: only a smooth raster gets values between when it is turned, as the photo does."""
    y, x = np.mgrid[:64, :64]
    disc = ((x - 30) ** 2 + (y - 34) ** 2 < 200).astype(np.uint8) * np.uint8(255)
    photo = np.stack([disc] * 3, axis=2)
    for seed in range(5):
        pictures, rasters = [], []
        for smooth in (True, False):
            view = augmented(photo, Condition((64, 64), disc, smooth=smooth), seed, flip=True)
            assert view[1].smooth is smooth
            assert view[1].raster is not None
            pictures.append(view[0])
            rasters.append(view[1].raster)
        np.testing.assert_array_equal(*pictures)
        np.testing.assert_array_equal(rasters[0], pictures[0][..., 0])
        assert set(np.unique(rasters[1])) == {0, 255}


def test_training_geometry_keeps_the_field_through_crop_and_mirror() -> None:
    config = DataConfig(size=(32, 32), load_scale=1.25, flip=True)
    grey = noise(80, 80)
    for seed in range(4):
        photo, condition = training_geometry(
            np.stack([grey] * 3, axis=2), Condition((80, 80), grey, smooth=True), config, RandomState(seed)
        )
        assert condition.smooth
        np.testing.assert_array_equal(condition.raster, photo[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("size", [(20, 25), (17, 23), (80, 99)])
def test_many_channels_are_resized_as_each_by_itself(dtype: type, size: tuple[int, int]) -> None:
    raster = np.random.default_rng(0).uniform(0, 200, (40, 50, 9)).astype(dtype)
    for resize in (resize_photo, resize_labels):
        found = resize(raster, size)
        assert found.dtype == dtype
        alone = np.stack([resize(raster[..., c], size) for c in range(9)], 2)
        assert np.allclose(found, alone, rtol=1e-5, atol=0)
