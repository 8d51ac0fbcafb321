"""The shapes data set against what it promises: samples from a seed, outlines, textures, exact truth."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from mcltool_shapes import ShapesPlugin, outlines, scene, styles
from numpy.typing import NDArray

from mcltool import DataError, Sample, Truth, UsageError

Image = NDArray[Any]
SIDE = 64


@pytest.fixture(scope="module")
def shapes() -> ShapesPlugin:
    return ShapesPlugin()


def _forget() -> None:
    for cached in (scene.draw_scene, scene.rasterise, styles.draw_style):
        cached.cache_clear()


def _pairs(shapes: ShapesPlugin, count: int, side: int) -> list[tuple[Truth, Image]]:
    """Truths between views of one group, with the exemplars' photos."""
    samples = shapes.index(None, "val")
    pairs = [(samples[4 * i], samples[4 * i + 1]) for i in range(count)]
    return [(shapes.truth(c, e, side), shapes.photo(e, side)) for c, e in pairs]


def _labels(shapes: ShapesPlugin, sample: Sample, side: int = SIDE) -> NDArray[np.uint8]:
    raster = shapes.condition(sample, side).raster
    assert raster is not None
    return raster


def _filled(instance: scene.Instance, side: int) -> NDArray[np.bool_]:
    """The instance's area at the pixels' centres (side, side), drawn by OpenCV from its outline's points."""
    fine = 9  # fillPoly adds half a pixel all round; of the fine picture's it is little
    angles = -np.pi + 2 * np.pi * (np.arange(outlines.ANGLES) + 0.5) / outlines.ANGLES + instance.angle
    radii = outlines.RADII[instance.outline] * instance.radius
    points = np.stack([instance.x + radii * np.cos(angles), instance.y + radii * np.sin(angles)], -1)
    canvas = np.zeros((side * fine, side * fine), np.uint8)
    cv2.fillPoly(canvas, [np.round((points * side * fine - 0.5) * 16).astype(np.int32)], 1, shift=4)
    return np.asarray(canvas[fine // 2 :: fine, fine // 2 :: fine] > 0)


def _close(a: Image, b: Image, tolerance: float) -> Image:
    return np.asarray(np.abs(a.astype(int) - b.astype(int)).max(-1) <= tolerance)


# Samples


def test_index_has_groups_of_four_views(shapes: ShapesPlugin) -> None:
    train, val = shapes.index(None, "train"), shapes.index(None, "val")
    assert (len(train), len(val)) == (20_000, 1_000)
    assert len({s.id for s in train}) == 20_000
    assert len({s.group for s in train}) == 5_000
    assert train[123].id == "train/000123"
    assert train[4].group == train[7].group != train[8].group
    assert not {s.group for s in train} & {s.group for s in val}


def test_other_splits_and_samples_are_refused(shapes: ShapesPlugin) -> None:
    with pytest.raises(UsageError, match="test"):
        shapes.index(None, "test")
    for other in ("test/000001", "train/one", "train"):
        with pytest.raises(UsageError, match=other):
            shapes.photo(Sample(other), SIDE)
    with pytest.raises(UsageError, match="-1"):
        ShapesPlugin(-1)


def test_a_sample_does_not_depend_on_order_or_instance(shapes: ShapesPlugin) -> None:
    samples = [*shapes.index(None, "train")[:12], shapes.index(None, "val")[0]]
    forward = [(shapes.photo(s, SIDE), _labels(shapes, s)) for s in samples]
    _forget()
    again = pickle.loads(pickle.dumps(shapes))
    backward = [(again.photo(s, SIDE), _labels(again, s)) for s in reversed(samples)][::-1]
    for (photo, labels), (other_photo, other_labels) in zip(forward, backward, strict=True):
        np.testing.assert_array_equal(photo, other_photo)
        np.testing.assert_array_equal(labels, other_labels)
    photos = {photo.tobytes() for photo, _ in forward}
    assert len(photos) == len(samples)


def test_a_sample_is_the_same_in_another_process(shapes: ShapesPlugin) -> None:
    code = (
        "import zlib; from mcltool import Sample; from mcltool_shapes import ShapesPlugin;"
        "print(zlib.crc32(ShapesPlugin().photo(Sample('train/004321'), 64).tobytes()))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": "7"},
    )
    assert int(run.stdout) == zlib.crc32(shapes.photo(Sample("train/004321"), 64).tobytes())


def test_seeds_and_splits_are_different_data() -> None:
    layouts, answers = set(), set()
    for seed in (0, 1):
        for split in ("train", "val"):
            shapes, sample = ShapesPlugin(seed), Sample(f"{split}/000000")
            layouts.add(_labels(shapes, sample).tobytes())
            raster = scene.rasterise(scene.draw_scene((9,)), SIDE)
            answers.add(shapes._style(sample).paint(raster.labels, raster.place).tobytes())
    assert len(layouts) == 4
    assert len(answers) == 4


def test_views_share_the_style_and_not_the_layout(shapes: ShapesPlugin) -> None:
    first, second, stranger = (Sample(f"train/{n:06d}") for n in (0, 1, 4))
    own = shapes.truth(first, second, SIDE).image
    np.testing.assert_array_equal(own, shapes.photo(first, SIDE))
    assert np.any(_labels(shapes, first) != _labels(shapes, second))
    other = shapes.truth(first, stranger, SIDE).image
    assert np.abs(own.astype(int) - other).mean() > 20


@pytest.mark.parametrize("side", [32, 96, 255])
def test_sizes_are_exact_and_show_the_same_scene(shapes: ShapesPlugin, side: int) -> None:
    sample = Sample("train/000007")
    photo, condition = shapes.photo(sample, side), shapes.condition(sample, side)
    assert photo.shape == (side, side, 3)
    assert photo.dtype == np.uint8
    assert condition.size == (side, side) == _labels(shapes, sample, side).shape
    # Nearest neighbour from a fine rendering is the same picture but for the pixels that edges run through.
    at = ((np.arange(side) + 0.5) / side * 1024).astype(int)
    fine = _labels(shapes, sample, 1024)[np.ix_(at, at)]
    assert (fine == condition.raster).mean() > 0.98


def test_what_a_caller_does_to_a_condition_stays_there(shapes: ShapesPlugin) -> None:
    sample = Sample("train/000009")
    before = _labels(shapes, sample).copy()
    _labels(shapes, sample)[:] = 0
    np.testing.assert_array_equal(_labels(shapes, sample), before)


def test_conditions_are_read_as_indices_and_as_colours(shapes: ShapesPlugin, tmp_path: Path) -> None:
    labels = _labels(shapes, Sample("val/000002"))
    colours = np.array(shapes.spec.palette, np.uint8)[labels]
    cv2.imwrite(str(tmp_path / "index.png"), labels)
    cv2.imwrite(str(tmp_path / "colour.png"), colours[..., ::-1])
    cv2.imwrite(str(tmp_path / "wrong.png"), labels + np.uint8(1))
    for name in ("index.png", "colour.png"):
        condition = shapes.read_condition([tmp_path / name])
        assert condition.size == (SIDE, SIDE)
        np.testing.assert_array_equal(condition.raster, labels)
    with pytest.raises(DataError, match=r"wrong\.png"):
        shapes.read_condition([tmp_path / "wrong.png"])
    with pytest.raises(UsageError):
        shapes.read_condition([])


# Layouts and outlines


def test_every_class_is_well_visible_in_every_sample(shapes: ShapesPlugin) -> None:
    overlaps = 0
    for n in range(300):
        layout = scene.draw_scene((shapes.seed, 0, n, 0))
        assert {i.label for i in layout} == set(range(1, scene.CLASSES + 1))
        assert scene.CLASSES <= len(layout) <= scene.CLASSES + 1
        labels = _labels(shapes, Sample(f"train/{n:06d}"))
        whole = np.zeros(scene.CLASSES + 1)
        for instance in layout:
            whole[instance.label] = max(whole[instance.label], np.pi * (instance.radius * SIDE) ** 2)
        seen = np.bincount(labels.ravel(), minlength=scene.CLASSES + 1)
        assert (seen[1:] / whole[1:]).min() > 0.45
        overlaps += np.sum([_filled(i, SIDE) for i in layout], axis=0).max() > 1
    assert overlaps > 280


def test_angles_and_classes_are_drawn_evenly() -> None:
    layouts = [scene.draw_scene((0, 0, n, 0)) for n in range(300)]
    angles = np.array([i.angle for layout in layouts for i in layout])
    assert np.abs(angles).max() <= scene.MAX_TURN
    assert np.histogram(angles, 8, (-scene.MAX_TURN, scene.MAX_TURN))[0].min() > 0.8 * len(angles) / 8
    on_top = np.bincount([layout[-1].outline for layout in layouts], minlength=scene.CLASSES)
    assert on_top.min() > 25


def test_the_last_resort_shows_every_class() -> None:
    for n in range(100):
        assert scene.visible_parts(scene._spread_out(np.random.default_rng(n))).min() >= scene.MIN_VISIBLE


def test_drawing_ends_when_no_layout_will_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scene, "MIN_VISIBLE", 2.0)
    layout = scene.draw_scene.__wrapped__((1, 2, 3))
    assert sorted(i.outline for i in layout) == list(range(scene.CLASSES))


def test_rasters_agree_with_polygons_drawn_by_opencv() -> None:
    for n in range(5):
        layout = scene.draw_scene((5, 0, n, 0))
        raster = scene.rasterise(layout, 256)
        painted = np.full((256, 256), -1)
        for index, instance in enumerate(layout):
            painted[_filled(instance, 256)] = index
        assert (painted == raster.layer).mean() > 0.99
        classes = np.array([0, *(i.label for i in layout)])
        np.testing.assert_array_equal(classes[raster.layer + 1], raster.labels)


@pytest.mark.parametrize("number", range(scene.CLASSES))
def test_outlines_have_no_symmetry(number: int) -> None:
    """Measured on filled pixels, so that the plugin's own measure is checked as well."""

    def area(angle: float, mirrored: bool = False) -> Image:
        canvas = _filled(scene.Instance(number, 0.5, 0.5, 0.2, 0.0 if mirrored else angle), 128)
        if not mirrored:
            return canvas
        turn = cv2.getRotationMatrix2D((63.5, 63.5), -np.rad2deg(angle), 1)
        return np.asarray(cv2.warpAffine(canvas[:, ::-1].astype(np.uint8), turn, (128, 128)) > 0)

    plain = area(0.0)
    assert plain.sum() == pytest.approx(np.pi * (0.2 * 128) ** 2, rel=0.02)

    def alike(other: Image) -> float:
        return float((plain & other).sum() / (plain | other).sum())

    turned = max(alike(area(a)) for a in np.deg2rad(np.arange(45, 316, 5)))
    mirrored = max(alike(area(a, True)) for a in np.deg2rad(np.arange(0, 360, 5)))
    assert turned < 0.85
    assert mirrored < 0.85


# Textures and truth


def test_a_texture_turns_and_scales_with_its_shape() -> None:
    """The photo of a turned, larger shape is the turned, larger photo."""
    style = styles.draw_style((0, 0, 3, 1))
    small = scene.Instance(0, 0.5, 0.5, 0.15, 0.0)
    large = scene.Instance(0, 0.4, 0.6, 0.30, 1.1)
    rasters = [scene.rasterise((i,), 256) for i in (small, large)]
    photos = [style.paint(r.labels, r.place) for r in rasters]
    turn = np.array([[2 * np.cos(1.1), -2 * np.sin(1.1)], [2 * np.sin(1.1), 2 * np.cos(1.1)]])
    centre, target = np.array([127.5, 127.5]), np.array([0.4, 0.6]) * 256 - 0.5
    motion = np.hstack([turn, (target - turn @ centre)[:, None]])
    moved = cv2.warpAffine(photos[0], motion, (256, 256))
    inner = cv2.erode((rasters[1].labels > 0).astype(np.uint8), np.ones((9, 9))) > 0
    assert inner.sum() > 3000
    assert np.abs(moved.astype(int) - photos[1])[inner].max() <= 12
    assert photos[1][inner].std(0).max() > 10


def test_textures_tell_places_and_classes_apart() -> None:
    spread, apart = [], []
    for n in range(40):
        style = styles.draw_style((0, 0, n, 1))
        u, v = np.random.default_rng(n).uniform(-1, 1, (2, 400)).astype(np.float32)
        colours = np.array([texture.paint(u, v) for texture in style.textures])
        assert colours.min() >= 0
        assert colours.max() < 255.5
        spread.append(colours.std(1).max(-1))
        means = colours.mean(1)
        apart.append(np.linalg.norm(means[1:, None] - means[None, :-1], axis=-1).mean())
    inside = np.array(spread)
    assert inside[:, 1:].mean() > 25
    assert inside[:, 0].mean() < 0.5 * inside[:, 1:].mean()  # background is the quieter one
    assert np.mean(apart) > 50


def test_the_exemplar_at_the_sources_is_the_answer(shapes: ShapesPlugin) -> None:
    for truth, exemplar in _pairs(shapes, 3, 384):
        assert 0.3 < truth.visible.mean() < 0.99
        assert np.isfinite(truth.source[truth.visible]).all()
        assert np.isnan(truth.source[~truth.visible]).all()
        x, y = np.nan_to_num(truth.source).transpose(2, 0, 1)
        warped = cv2.remap(exemplar, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        good = _close(warped, truth.image, 16)[truth.visible]
        assert good.mean() > 0.99
        labels = cv2.remap(truth.exemplar_labels, x, y, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
        np.testing.assert_array_equal(labels[truth.visible], truth.labels[truth.visible])


def test_frames_take_the_sources_to_the_places(shapes: ShapesPlugin) -> None:
    for truth, _ in _pairs(shapes, 6, SIDE):
        for label in range(scene.CLASSES + 1):
            at = truth.visible & (truth.labels == label)
            points = np.column_stack([truth.source[at], np.ones(at.sum())])
            off = [
                np.abs(points @ m.T.astype(float) - truth.place[at]).max(1)
                for k, m in truth.frames
                if k == label
            ]
            assert np.min(off, axis=0).max() < 1e-3
        background = truth.labels == truth.background
        rows, columns = np.nonzero(background)
        np.testing.assert_allclose(
            truth.place[background], (np.stack([columns, rows], -1) + 0.5) / SIDE, atol=1e-6
        )


def _sources_one_by_one(exemplar: scene.Scene, label: int, place: complex, top: Image) -> list[complex]:
    """Where ``place`` of a shape of class ``label`` shows, in pixels, without the frames' matrices."""
    found = []
    for index, i in enumerate(exemplar):
        spot = complex(i.x, i.y) + i.radius * np.exp(1j * i.angle) * place
        spot = complex(spot * SIDE - (0.5 + 0.5j))
        x, y = round(spot.real), round(spot.imag)
        if i.label == label and 0 <= x < SIDE and 0 <= y < SIDE and top[y, x] == index:
            found.append(spot)
    return found


def test_hidden_is_what_the_exemplar_does_not_show(shapes: ShapesPlugin) -> None:
    samples = shapes.index(None, "val")
    several = 0
    for n in range(0, 32, 4):
        truth = shapes.truth(samples[n], samples[n + 1], SIDE)
        exemplar = scene.draw_scene((0, 1, n + 1, 0))
        areas = np.array([_filled(i, SIDE) for i in exemplar])
        top = np.where(areas.any(0), len(exemplar) - 1 - areas[::-1].argmax(0), -1)
        wrong = 0
        for row, column in np.ndindex(SIDE, SIDE):
            label, place = int(truth.labels[row, column]), complex(*truth.place[row, column])
            here = complex(column, row)
            found = _sources_one_by_one(exemplar, label, place, top)
            if label == 0 and top[row, column] < 0:
                found = [here]
            several += len(found) > 1
            off = min((abs(spot - here) for spot in found), default=-1.0)
            told = abs(complex(*truth.source[row, column]) - here) if truth.visible[row, column] else -1.0
            wrong += abs(off - told) > 0.02
        assert wrong < 0.015 * SIDE * SIDE  # OpenCV's polygons differ in a few edge pixels
    assert several > 500


def test_a_scene_is_its_own_answer(shapes: ShapesPlugin) -> None:
    sample = Sample("val/000010")
    truth = shapes.truth(sample, sample, SIDE)
    assert truth.visible.mean() > 0.999
    np.testing.assert_array_equal(truth.image, shapes.photo(sample, SIDE))
    rows, columns = np.mgrid[:SIDE, :SIDE]
    here = np.stack([columns, rows], -1)
    assert np.nanmax(np.abs(truth.source - here)) < 1e-2
