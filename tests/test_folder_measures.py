"""Depth and normals keep their values: from the file to training, packs and translation, turned as the scene is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trees
from geometry import augmented
from mcltool_folder import FolderPlugin
from mcltool_folder.description import Description, Part
from PIL import Image

from mcltool import DataError, read_measure
from mcltool.core.config import DataConfig
from mcltool.data.dataset import TrainingData
from mcltool.data.pack import PackedDataset
from mcltool.data.packing import PackOptions, pack
from mcltool.plugin.contract import Condition
from mcltool.translate.plan import Task
from mcltool.translate.reader import Preparer

SIZE = (64, 64)
WHOLE = DataConfig(size=SIZE, load_scale=1.0, flip=False, exemplar_self=1.0)
"""Training at the size of the files: nothing is resized or cropped."""
TOLERANCE = 1e-3


def slope(number: int) -> np.ndarray:
    """500 to 5000, whole numbers, another slope for every photo."""
    return np.rint(500 + 4500 * np.linspace(0, 1, 64 * 64) ** (1 + number)).reshape(SIZE)


def plugin_of(part: Part) -> FolderPlugin:
    return FolderPlugin()._for(Description((part,)))


def depth_data(root: Path, form: str) -> Path:
    for number in range(3):
        base = root / ("val" if number == 2 else "train")
        trees.save(base / "images" / f"{number}.png", np.zeros((*SIZE, 3), np.uint8))
        stem = base / "depth" / f"{number}"
        if form == "png":
            trees.save(stem.with_suffix(".png"), slope(number).astype(np.uint16))
        elif form == "tiff":
            trees.save(stem.with_suffix(".tiff"), (slope(number) / 1000).astype(np.float32))
        else:
            stem.parent.mkdir(exist_ok=True)
            np.save(stem.with_suffix(".npy"), slope(number) / 1000)
    return root


def wanted(number: int) -> np.ndarray:
    return (slope(number) - 500) / 4500


@pytest.mark.parametrize("form", ["png", "tiff", "npy"])
def test_depth_keeps_its_values_through_training_pack_and_translation(tmp_path, form):
    plugin = FolderPlugin().for_data(depth_data(tmp_path, form))
    samples = {split: plugin.index(tmp_path, split) for split in ("train", "val")}
    list(pack(plugin, samples, tmp_path / "pack.h5", PackOptions(SIZE)))
    packed = PackedDataset(plugin, tmp_path / "pack.h5")
    assert packed.spec == plugin.spec
    assert packed.condition(packed.index(None, "val")[0], 64).raster.dtype == np.float32
    for source in (plugin, packed):
        data = TrainingData(source, source.index(tmp_path, "train"), WHOLE, seed=0)
        found = [data[number]["condition"][0].numpy() for number in range(2)]
        order = np.argsort([planes.mean() for planes in found])[::-1]  # the steeper slope is darker
        for number, place in enumerate(order):
            assert np.abs(found[place] - wanted(number)).max() < TOLERANCE
    told = FolderPlugin().for_spec(plugin.spec)
    (file,) = samples["val"][0].condition
    prepared = Preparer(told, 64).condition(Task(0, "", "", "", (str(file),)))
    assert np.abs(prepared.pixels[0] - wanted(2)).max() < TOLERANCE


def test_a_measure_of_16_bits_may_stay_16_bits_in_a_pack_and_when_resized(tmp_path):
    values = np.rint(np.linspace(500, 5000, 64 * 64)).reshape(SIZE).astype(np.uint16)
    half = Condition(SIZE, values, smooth=True).resized((32, 32)).raster
    exact = values.reshape(32, 2, 32, 2).mean((1, 3))
    assert half.dtype == np.uint16
    assert np.abs(half - exact).max() <= 1


def test_what_was_not_measured_does_not_darken_its_neighbours(tmp_path):
    values = np.full(SIZE, 3000, np.uint16)
    values[:, 31:50] = 0
    path = trees.save(tmp_path / "depth.png", values)
    part = Part("depth", "depth", range=(500.0, 5000.0), void=0.0)
    plugin = FolderPlugin()._for(Description((part,)))
    assert plugin.spec.names == ("depth", "known")
    planes = plugin.render(plugin.read_condition([path]).resized((24, 24)))
    known = planes[..., 1] > 0.05
    assert np.abs(planes[..., 0][known] - 2500 / 4500).max() < TOLERANCE
    assert not planes[..., 0][planes[..., 1] == 0].any()
    written = plugin.write_condition(plugin.read_condition([path]), tmp_path / "again")
    assert np.array_equal(np.load(written), values)


def test_depth_outside_the_range_is_refused_not_clipped(tmp_path):
    path = trees.save(tmp_path / "depth.png", np.full(SIZE, 6000, np.uint16))
    with pytest.raises(DataError, match="has 6000 to 6000, outside the range 500 to 5000"):
        plugin_of(Part("depth", "depth", range=(500.0, 5000.0))).read_condition([path])


# --- normals ---

SCENE = (128, 128)
CENTRE, RADIUS = (60.0, 66.0), 40.0


def normals_plugin() -> FolderPlugin:
    return plugin_of(Part("normals", "normals", range=(-1.0, 1.0)))


def height_normals(A: np.ndarray, shift: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Normals (y up) of the sphere's front after x, y -> A (x, y) + shift and as much nearer as it is larger.

    The surface was z(q) = sqrt(r^2 - |q - c|^2). It is now s z(A^-1 (p - shift)), s^2 = |det A|, whose slopes are
    s A^-T grad z. Returns (H, W, 3) and where it is well inside the sphere.
    """
    y, x = np.mgrid[: SCENE[0], : SCENE[1]].astype(np.float64)
    q = (np.stack([x, y], 2) - shift) @ np.linalg.inv(A).T - CENTRE
    z = np.sqrt(np.clip(RADIUS**2 - (q**2).sum(2), 1e-9, None))
    slopes = -q / z[..., None] @ np.linalg.inv(A) * np.sqrt(abs(np.linalg.det(A)))
    found = np.stack([-slopes[..., 0], slopes[..., 1], np.ones_like(z)], 2)
    return found / np.linalg.norm(found, axis=2, keepdims=True), (q**2).sum(2) < (0.8 * RADIUS) ** 2


@pytest.mark.parametrize("flip", [False, True])
def test_turned_normals_are_those_of_the_turned_scene(flip):
    """Three points that move along tell what was done to the picture."""
    plugin = normals_plugin()
    marks = np.array([[10, 10], [100, 20], [30, 110]], np.float32)
    normals = trees.sphere(SCENE, RADIUS, CENTRE).astype(np.float32)
    seen = set()
    for seed in range(12):
        condition = Condition(SCENE, normals, marks, smooth=True)
        _, moved = augmented(np.zeros((*SCENE, 3), np.uint8), condition, seed, flip)
        edges = [(points[1:] - points[0]).T.astype(np.float64) for points in (marks, moved.points)]
        A = edges[1] @ np.linalg.inv(edges[0])
        shift = moved.points[0] - A @ marks[0]
        truth, inside = height_normals(A, shift)
        found = plugin.render(moved) * 2 - 1
        assert np.abs(found - truth)[inside].max() < 0.02
        assert np.abs(np.linalg.norm(found[inside], axis=1) - 1).max() < 1e-3
        seen.add(bool(np.linalg.det(A) < 0))
    assert seen == ({True, False} if flip else {False})


def test_normals_are_left_alone_where_nothing_was_turned():
    normals = trees.sphere(SCENE, RADIUS, CENTRE).astype(np.float32)
    planes = normals_plugin().render(Condition(SCENE, normals, smooth=True))
    assert np.abs(planes * 2 - 1 - normals).max() < 1e-5


def test_y_down_is_turned_as_y_up_is():
    normals = trees.sphere(SCENE, RADIUS, CENTRE).astype(np.float32)
    down = FolderPlugin()._for(Description((Part("normals", "n", range=(-1.0, 1.0), y="down"),)))
    mirrored = normals * np.array([1, -1, 1], np.float32)
    photo = np.zeros((*SCENE, 3), np.uint8)
    one = normals_plugin().render(augmented(photo, Condition(SCENE, normals, smooth=True), 3)[1])
    other = down.render(augmented(photo, Condition(SCENE, mirrored, smooth=True), 3)[1])
    assert np.abs(one[..., 1] - (1 - other[..., 1])).max() < 1e-5


# --- files of measures ---


def test_measures_are_read_as_they_are_stored(tmp_path):
    values = np.random.default_rng(0).integers(0, 65536, (5, 7, 3), np.uint16)
    import cv2

    cv2.imwrite(str(tmp_path / "colour.png"), values[..., ::-1])
    assert np.array_equal(read_measure(tmp_path / "colour.png"), values)
    np.save(tmp_path / "wide.npy", values.astype(np.float64))
    assert read_measure(tmp_path / "wide.npy").dtype == np.float32
    assert np.array_equal(read_measure(trees.save(tmp_path / "grey.png", values[..., 0])), values[..., 0])


def test_files_that_are_no_measures_are_refused(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    np.save(tmp_path / "row.npy", np.zeros(5, np.float32))
    (tmp_path / "broken.npy").write_bytes(b"\x93NUMPY")
    Image.fromarray(np.zeros((4, 4), np.uint8)).save(tmp_path / "grey.jpg")
    for name in ("objects.npy", "row.npy", "broken.npy", "grey.jpg", "missing.npy"):
        with pytest.raises(DataError, match=name):
            read_measure(tmp_path / name)
