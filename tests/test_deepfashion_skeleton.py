"""Poses drawn, by NumPy and by torch, and where joints are after geometry: see mcltool.poses.skeleton."""

from __future__ import annotations

import colorsys
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from geometry import augmented
from mcltool_deepfashion import DeepFashionFarPlugin, DeepFashionPlugin
from posing import PERSON, PLUGIN, without

from mcltool import Condition, DataError, Sample
from mcltool.core.config import DataConfig
from mcltool.data.batch import condition_picture
from mcltool.data.dataset import TrainingData
from mcltool.data.geometry import RandomState, evaluation_geometry, training_geometry
from mcltool.data.reading import planes_of
from mcltool.poses.pose import LIMBS, NAMES, SIDES
from mcltool.poses.skeleton import draw, draw_points


class OnePose(DeepFashionPlugin):
    def __init__(self, photo: np.ndarray, pose: Condition) -> None:
        self._photo, self._pose = photo, pose

    def photo(self, sample: Sample, short_side: int) -> np.ndarray:
        return self._photo

    def condition(self, sample: Sample, short_side: int) -> Condition:
        return self._pose


def segment_distance(p: tuple[float, float], a: np.ndarray, b: np.ndarray) -> float:
    """By the nearest point of the segment, one pixel at a time."""
    (ax, ay), (bx, by) = a, b
    squared = (bx - ax) ** 2 + (by - ay) ** 2
    t = ((p[0] - ax) * (bx - ax) + (p[1] - ay) * (by - ay)) / squared if squared else 0.0
    t = min(max(t, 0.0), 1.0)
    return math.hypot(p[0] - ax - t * (bx - ax), p[1] - ay - t * (by - ay))


def draw_slowly(joints: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    short = min(size)
    planes = np.zeros((height, width, 20))
    there = ~np.isnan(joints).any(1)
    limbs = [(n, a, b) for n, (a, b) in enumerate(LIMBS) if there[a] and there[b]]
    strokes = [(n, joints[a], joints[b], short / 96) for n, a, b in limbs]
    strokes += [(n, joints[n], joints[n], short / 64) for n in range(18) if there[n]]
    for y in range(height):
        for x in range(width):
            for n, a, b in limbs:
                planes[y, x, 3 + n] = max(
                    0.0, 1 - segment_distance((x, y), joints[a], joints[b]) / (short / 4)
                )
            for n, a, b, reach in strokes:
                cover = min(max(reach + 0.5 - segment_distance((x, y), a, b), 0.0), 1.0)
                colour = np.array(colorsys.hsv_to_rgb(n * 20 / 360, 1, 1))
                planes[y, x, :3] = (1 - cover) * planes[y, x, :3] + cover * colour
    return planes


@pytest.mark.parametrize("size", [(40, 28), (17, 33), (3, 2)])
def test_drawing_agrees_with_a_formula_a_pixel(size: tuple[int, int]) -> None:
    joints = (PERSON - 0.3) * [size[1] / 100, size[0] / 100]
    joints[7] = [-9.5, 12.25]  # outside
    joints[4] = joints[3]  # a limb of no length
    joints[[9, 16]] = np.nan
    planes = PLUGIN.render(Condition(size, points=joints.astype(np.float32)))
    assert planes.shape == (*size, 20)
    assert planes.dtype == np.float32
    np.testing.assert_allclose(planes, draw_slowly(joints.astype(np.float32), size), atol=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("xp", [np, torch])
def test_a_batch_drawn_on_the_device_is_each_pose_drawn_alone(xp: Any) -> None:
    """By NumPy and by torch; absent, outside and double joints too. They differ by rounding in float32: by what a
    pixel is to the distance of a joint, which shows where that is 100000 pixels."""
    size = (96, 64)
    sway = np.random.default_rng(0).normal(0, 4, (6, 18, 2))
    poses = ((PERSON + sway) * [size[1] / 100, size[0] / 100]).astype(np.float32)
    poses[1, 4] = poses[1, 3]
    poses[2, [9, 16]] = np.nan
    poses[3] = np.nan
    poses[4] += 70  # most of it outside
    poses[5, 7] = [1e30, -3e9]
    y, x = (np.arange(side, dtype=np.float32) for side in size)
    planes = np.asarray(draw_points(xp, xp.asarray(poses), xp.asarray(x), xp.asarray(y)))
    assert planes.dtype == np.float32
    for number, (pose, drawn) in enumerate(zip(poses, planes, strict=True)):
        alone = PLUGIN.render(Condition(size, points=pose))
        np.testing.assert_allclose(drawn.transpose(1, 2, 0), alone, atol=1e-2 if number == 5 else 1e-4)
    np.testing.assert_allclose(planes[2].transpose(1, 2, 0), draw_slowly(poses[2], size), atol=1e-4)


def test_training_sends_joints_and_sees_what_render_draws() -> None:
    photo, condition = marked((200, 200))
    data = TrainingData(OnePose(photo, condition), [Sample("a")], DataConfig(size=(64, 64)), 0)
    for number in range(4):
        joints, planes = data.item(number)["condition"], data[number]["condition"]
        assert joints.shape == (18, 2)
        expected = PLUGIN.render(Condition((64, 64), points=joints.numpy()))
        np.testing.assert_allclose(planes.permute(1, 2, 0), expected, atol=1e-4)


def test_drawings_at_two_sizes_look_alike() -> None:
    small = PLUGIN.render(Condition((100, 100), points=PERSON))
    large = PLUGIN.render(Condition((400, 400), points=(PERSON + 0.5) * 4 - 0.5))
    averaged = large.reshape(100, 4, 100, 4, 20).mean((1, 3))
    assert np.abs(averaged[..., 3:] - small[..., 3:]).max() < 0.02
    assert np.abs(averaged[..., :3] - small[..., :3]).mean() < 0.01


def test_absent_joints_leave_their_limbs_empty() -> None:
    planes = PLUGIN.render(Condition((100, 100), points=without("right elbow")))
    for limb, ends in enumerate(LIMBS):
        assert planes[..., 3 + limb].any() == (NAMES.index("right elbow") not in ends)
    nobody = PLUGIN.render(Condition((50, 70), points=np.full((18, 2), np.nan, np.float32)))
    assert nobody.shape == (50, 70, 20)
    assert not nobody.any()


@pytest.mark.parametrize("offset", [1e2, -1e4, 3e9, 1e30])
@pytest.mark.filterwarnings("error")
def test_joints_far_outside_are_no_trouble(offset: float) -> None:
    for moved in (PERSON + np.float32(offset), PERSON * np.where(np.arange(18) % 2, 1, offset)[:, None]):
        planes = PLUGIN.render(Condition((64, 96), points=moved.astype(np.float32)))
        assert np.isfinite(planes).all()
        assert planes.min() >= 0
        assert planes.max() <= 1


def test_the_spec_fits_what_is_drawn() -> None:
    spec = PLUGIN.spec
    assert (spec.kind, spec.channels) == ("channels", 20)
    assert spec.names[:5] == ("red", "green", "blue", "neck to right shoulder", "neck to left shoulder")
    condition = Condition((100, 100), points=PERSON)
    assert planes_of(PLUGIN, condition).shape == (20, 100, 100)
    red, green, blue = condition_picture(PLUGIN.render(condition), spec)[10, 50]
    assert red == 255  # the nose
    assert max(green, blue) < 100  # the glow of the limbs that meet there


def test_a_condition_without_joints_is_an_error() -> None:
    with pytest.raises(DataError, match="18 points"):
        PLUGIN.render(Condition((8, 8), np.zeros((8, 8), np.uint8)))
    with pytest.raises(DataError, match="18 points"):
        PLUGIN.write_condition(Condition((8, 8), points=np.zeros((17, 2), np.float32)), Path("a"))


def marked(size: tuple[int, int]) -> tuple[np.ndarray, Condition]:
    """A photo with a white disc at the left wrist, and the pose that says so (on a canvas half as large)."""
    joints = (PERSON + 0.5) * [size[1] / 100, size[0] / 100] - 0.5
    y, x = np.mgrid[: size[0], : size[1]]
    wrist = joints[NAMES.index("left wrist")]
    disc = (x - wrist[0]) ** 2 + (y - wrist[1]) ** 2 < 16
    photo = np.repeat(disc[..., None] * np.uint8(255), 3, 2)
    points = ((joints + 0.5) / 2 - 0.5).astype(np.float32)
    return photo, Condition((size[0] // 2, size[1] // 2), points=points, mirror=SIDES)


def is_inside(pose: Condition, margin: int) -> bool:
    """Whether the marker is in the picture, and this far from its edge."""
    x, y = pose.points[NAMES.index("left wrist")]
    return bool(margin <= x < pose.size[1] - margin and margin <= y < pose.size[0] - margin)


def test_joints_are_drawn_where_the_photos_marker_went() -> None:
    photo, condition = marked((240, 200))
    config = DataConfig(size=(128, 96), load_scale=1.2)
    views = [training_geometry(photo, condition, config, RandomState(seed)) for seed in range(10)]
    views = [view for view in views if is_inside(view[1], 12)]  # what lies outside may be reflected back in
    views += [augmented(*view, seed) for seed, view in enumerate(views)]
    views.append(evaluation_geometry(photo, condition, (128, 96)))
    views = [view for view in views if is_inside(view[1], 8)]
    assert len(views) > 10
    for moved, pose in views:
        wrist = pose.points[NAMES.index("left wrist")]
        left, top = wrist.astype(int) - 6
        y, x = np.mgrid[top : top + 14, left : left + 14]
        weights = moved[top : top + 14, left : left + 14, 0].astype(float)
        centre = [(x * weights).sum() / weights.sum(), (y * weights).sum() / weights.sum()]
        assert wrist == pytest.approx(centre, abs=0.5)
        colour = PLUGIN.render(pose)[round(centre[1]), round(centre[0]), :3]
        assert colour == pytest.approx(np.array(colorsys.hsv_to_rgb(7 / 18, 1, 1)), abs=0.02)


def test_mirrored_people_have_their_left_side_on_the_other_side() -> None:
    photo, condition = marked((200, 200))
    config = DataConfig(size=(192, 192), load_scale=1.0, flip=True)
    views = [training_geometry(photo, condition, config, RandomState(seed)) for seed in range(20)]
    straight = training_geometry(
        photo, condition, DataConfig(size=(192, 192), load_scale=1.0), RandomState(0)
    )
    views += [augmented(*straight, seed, flip=True) for seed in range(20)]
    mirrored = 0
    for moved, pose in views:
        points = pose.points
        down = points[8] + points[11] - 2 * points[1]  # from the neck down, whichever way it is turned
        for right, left in SIDES:
            across = points[left] - points[right]
            assert across[0] * down[1] > across[1] * down[0]  # still seen from in front
        # The marker was at the left wrist; in a mirrored picture it is at the right one.
        lit = [
            moved[tuple(points[NAMES.index(f"{side} wrist")].round().astype(int)[::-1])][0] > 128
            for side in ("left", "right")
        ]
        assert sorted(lit) == [False, True]
        mirrored += lit[1]
    assert 10 < mirrored < 30


def test_mirrored_labels_and_channels_change_places_too() -> None:
    labels = np.full((32, 32), 7, np.uint8)
    labels[:, :8], labels[:, 20:] = 1, 2  # the left thing is the smaller one
    photo = np.repeat(labels[..., None], 3, 2)
    channels = np.stack([labels, labels + 10, labels + 20], 2)
    config = DataConfig(size=(32, 32), load_scale=1.0, flip=True)
    seen = set()
    for seed in range(10):
        flat, deep = (
            training_geometry(photo, condition, config, RandomState(seed))[1].raster
            for condition in (
                Condition((32, 32), labels, mirror=((1, 2),)),
                Condition((32, 32), channels, mirror=((2, 0),)),
            )
        )
        assert (flat[0, 0], flat[0, 16], flat[0, 31]) == (1, 7, 2)  # sides keep their names
        is_mirrored = bool((flat == 1).sum() > (flat == 2).sum())
        assert deep[0, 31].tolist() == ([21, 11, 1] if is_mirrored else [2, 12, 22])
        seen.add(is_mirrored)
    assert seen == {False, True}


def test_far_maps_are_not_cut_off_and_fall_evenly_to_the_diagonal() -> None:
    """One limb along a row: the distance of a pixel below it is its row's."""
    joints = np.full((18, 2), np.nan, np.float32)
    joints[0], joints[1] = (10, 20), (90, 20)  # nose and neck
    size = (400, 100)
    limb = next(n for n, ends in enumerate(LIMBS) if set(ends) == {0, 1})
    near, far = (draw(joints, size, far)[..., 3 + limb] for far in (False, True))
    assert near[300, 50] == 0
    assert far[300, 50] == pytest.approx(1 - 280 / np.hypot(*size), abs=1e-5)
    assert far.min() > 0
    y, x = (np.arange(side, dtype=np.float32) for side in size)
    assert np.allclose(DeepFashionFarPlugin.draw_points(np, joints[None], x, y)[0, 3 + limb], far, atol=1e-5)
