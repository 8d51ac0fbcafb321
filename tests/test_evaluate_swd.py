"""The sliced Wasserstein distance against a second implementation in float64, and against known answers."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import convolve
from scipy.stats import wasserstein_distance

from mcltool import UsageError
from mcltool.evaluate import swd
from mcltool.evaluate.swd import (
    NUMBERS,
    PATCHES,
    SIDE,
    PatchSet,
    PyramidPatches,
    chosen_images,
    laplacian_pyramid,
    pyramid_distances,
    random_directions,
    sliced_wasserstein,
)

Doubles = NDArray[np.float64]
KERNEL = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256


def images(count: int, seed: int, size: tuple[int, int] = (32, 32), smooth: int = 0) -> NDArray[np.uint8]:
    """Noise, smoothed by averaging over some pixels to each side."""
    noise = np.random.default_rng(seed).uniform(0, 255, (count, *size, 3))
    window = np.ones((1, 2 * smooth + 1, 2 * smooth + 1, 1))
    return np.asarray(convolve(noise, window / window.sum(), mode="wrap").astype(np.uint8))


def plain_pyramid(image: Doubles) -> list[Doubles]:
    """By its definition: filter and take every second pixel; put zeros between, filter and take four times."""

    def filtered(picture: Doubles) -> Doubles:
        return np.stack([convolve(picture[..., c], KERNEL, mode="mirror") for c in range(3)], -1)

    levels = [image]
    while min(levels[-1].shape[:2]) // 2 >= 16:
        levels.append(filtered(levels[-1])[::2, ::2])
    details = []
    for fine, coarse in pairwise(levels):
        spread = np.zeros_like(fine)
        spread[::2, ::2] = coarse
        details.append(fine - 4 * filtered(spread))
    return [*details, levels[-1]]


def plain_distances(a: NDArray[np.uint8], b: NDArray[np.uint8], seed: int) -> list[float]:
    """The paper's recipe with plain loops, scipy's distance and float64; the same random draws."""
    directions = random_directions(swd.DIRECTIONS, NUMBERS, seed).astype(np.float64)
    sets: list[list[Doubles]] = []
    for pictures in (a, b):
        levels: list[list[Doubles]] = [[] for _ in plain_pyramid(pictures[0].astype(np.float64))]
        for number, picture in enumerate(pictures):
            generator = np.random.default_rng([seed, number])
            for found, level in zip(levels, plain_pyramid(picture.astype(np.float64)), strict=True):
                tops = generator.integers(0, level.shape[0] - 6, PATCHES)
                lefts = generator.integers(0, level.shape[1] - 6, PATCHES)
                found += [level[y : y + 7, x : x + 7] for y, x in zip(tops, lefts, strict=True)]
        stacked = [np.stack(found) for found in levels]
        sets.append([(s - s.mean((0, 1, 2))) / s.std((0, 1, 2)) for s in stacked])
    found = []
    for ours, theirs in zip(*sets, strict=True):
        p, q = (s.reshape(-1, NUMBERS) @ directions.T for s in (ours, theirs))
        found.append(1000 * np.mean([wasserstein_distance(p[:, d], q[:, d]) for d in range(p.shape[1])]))
    return found


def distances(a: NDArray[np.uint8], b: NDArray[np.uint8], seed: int = 0) -> dict[int, float]:
    sets = []
    for pictures in (a, b):
        sets.append(PyramidPatches(pictures.shape[1:3], seed))
        for picture in pictures:
            sets[-1].add(picture)
    found = pyramid_distances(*sets)
    for patches in sets:
        patches.close()
    return found


def patch_set(points_PK: Doubles) -> PatchSet:
    found = PatchSet()
    found.add(points_PK.reshape(-1, SIDE, SIDE, 3).astype(np.float32))
    return found


@pytest.mark.parametrize("size", [(64, 64), (96, 64), (16, 16)])
def test_the_pyramid_is_burt_and_adelsons(size: tuple[int, int]) -> None:
    image = images(1, 0, size)[0].astype(np.float64)
    ours, plain = laplacian_pyramid(image.astype(np.float32)), plain_pyramid(image)
    assert [level.shape for level in ours] == [level.shape for level in plain]
    for level, wanted in zip(ours, plain, strict=True):
        np.testing.assert_allclose(level, wanted, atol=1e-3)


def test_distances_are_those_of_the_plain_implementation() -> None:
    a, b = images(6, 0, (48, 32)), images(6, 1, (48, 32), smooth=1)
    ours, plain = distances(a, b, seed=3), plain_distances(a, b, seed=3)
    assert list(ours) == [32, 16]
    assert list(ours.values()) == pytest.approx(plain, rel=1e-3)
    assert min(plain) > 10


def test_equal_sets_are_at_distance_0_and_the_distance_grows_with_the_difference() -> None:
    real = images(8, 0, smooth=2)
    assert set(distances(real, real).values()) == {0.0}
    rng = np.random.default_rng(5)
    found = []
    for deviation in (4, 16, 64):
        noisy = real + rng.normal(0, deviation, real.shape)
        found.append(distances(real, noisy.clip(0, 255).astype(np.uint8))[32])
    assert 0 < found[0] < found[1] < found[2]


def test_each_set_is_normalised_by_its_own_colours() -> None:
    """As the authors do: another brightness or contrast alone is no distance."""
    dark = images(6, 0, smooth=1) // 4
    bright = (3 * dark + 20).astype(np.uint8)
    assert max(distances(dark, bright).values()) < 1


def test_two_points_have_a_closed_form() -> None:
    """All patches t against all patches -t, t of mean 0 and deviation 1 in each colour: W1 is 2 |t . d|."""
    pattern = np.random.default_rng(0).standard_normal((SIDE * SIDE, 3))
    t = (20 * (pattern - pattern.mean(0)) / pattern.std(0)).reshape(1, NUMBERS)
    directions = random_directions(64, NUMBERS, 1)
    found = sliced_wasserstein(patch_set(t.repeat(9, 0)), patch_set(-t.repeat(9, 0)), directions)
    assert found == pytest.approx(np.abs(2 * directions @ t[0] / 20).mean(), rel=1e-3)


def test_directions_are_unit_vectors_and_even() -> None:
    directions = random_directions(512, NUMBERS, 0)
    np.testing.assert_allclose(np.linalg.norm(directions, axis=1), 1, rtol=1e-5)
    assert np.abs(directions.mean(0)).max() < 5 / np.sqrt(512 * NUMBERS)


def test_blocks_of_directions_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """However little memory there is for projections and patches."""
    a, b = images(3, 0), images(3, 1, smooth=1)
    whole = distances(a, b)
    monkeypatch.setattr(swd, "_BUDGET", 4 * 3 * PATCHES * 7)
    monkeypatch.setattr(swd, "_CHUNK", 100)
    for side, value in distances(a, b).items():
        assert value == pytest.approx(whole[side], rel=1e-5)


def test_at_most_16384_images_of_each_set_are_looked_at_and_as_many_of_both() -> None:
    ours, theirs = chosen_images((20_000, 30_000))
    assert len(ours) == len(theirs) == 16384
    assert (np.diff(ours) > 0).all()
    few, many = chosen_images((10, 500))
    assert few.tolist() == list(range(10))
    assert len(many) == 10
    same = chosen_images((20_000, 20_000))
    assert (same[0] == same[1]).all()


def test_images_that_are_too_small_or_of_one_colour() -> None:
    with pytest.raises(UsageError, match="at least 16 x 16 pixels, not 20 x 8"):
        PyramidPatches((8, 20))
    grey = np.full((2, 16, 16, 3), 9, np.uint8)
    assert distances(grey, grey) == {16: 0.0}
    assert np.isfinite(distances(grey, images(2, 0, (16, 16)))[16])
