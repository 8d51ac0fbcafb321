"""Retrieved exemplars: what describes a photo, and which others are nearest."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from mcltool_shapes import ShapesPlugin
from safetensors.torch import save_file

import mcltool.data.retrieval
from mcltool.cli.main import cli
from mcltool.core.files import reserve
from mcltool.core.pretrained import vgg_file
from mcltool.data.retrieval import PLACES, describe, nearest, retrieve
from mcltool.model.vgg import random_vgg
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin, Sample

CPU = torch.device("cpu")


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(cli, list(map(str, args)))


def by_hand(vectors: np.ndarray, top: int) -> np.ndarray:
    """Nearest others in float64, the literal way."""
    distance = ((vectors[:, None].astype(np.float64) - vectors[None]) ** 2).sum(2)
    np.fill_diagonal(distance, np.inf)
    return distance.argsort(1)[:, :top]


@pytest.mark.parametrize("block", [1, 7, 40, 64])
def test_nearest_are_the_nearest_whatever_the_blocks(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mcltool.data.retrieval, "BLOCK", block)
    vectors = np.random.default_rng(0).normal(size=(40, 9)).astype(np.float32)
    done: list[int] = []
    found = nearest(vectors, 5, CPU, done.append)
    np.testing.assert_array_equal(found, by_hand(vectors, 5))
    assert sum(done) == 40


def test_where_there_are_too_few_others_there_is_none() -> None:
    vectors = np.array([[0.0], [1.0], [5.0]], np.float32)
    assert nearest(vectors, 4, CPU).tolist() == [[1, 2, -1, -1], [0, 2, -1, -1], [1, 0, -1, -1]]
    assert nearest(vectors[:1], 2, CPU).tolist() == [[-1, -1]]


class Drawn(DatasetPlugin):
    """One photo and one condition, as given."""

    name = "drawn"

    def __init__(self, photo: np.ndarray, planes: np.ndarray, classes: int = 4) -> None:
        self.drawn, self.planes, self.classes = photo, planes, classes

    @property
    def spec(self) -> ConditionSpec:
        names = tuple(map(str, range(self.classes)))
        return ConditionSpec("labels", names, ((0, 0, 0),) * self.classes)

    def index(self, root, split):
        return [Sample("0")]

    def read_condition(self, files):
        raise NotImplementedError

    def photo(self, sample, short_side):
        return self.drawn

    def condition(self, sample, short_side):
        return Condition(self.planes.shape, self.planes)


def distance(one: Drawn, other: Drawn) -> float:
    return float(np.linalg.norm(describe(one, Sample("0")) - describe(other, Sample("0"))))


def test_descriptors_tell_what_is_there_where_it_is_and_in_which_colours() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    left, right = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    left[:, :32] = right[:, 32:] = 1
    # How much there is of each class agrees; every cell disagrees: Hellinger, sqrt(2) a cell, by its share.
    assert distance(Drawn(grey, left), Drawn(grey, right)) == pytest.approx(np.sqrt(2), abs=1e-5)
    # Shares 1/2, 1/2 against 1, 0; and half of the cells.
    shares = (np.sqrt(0.5) - 1) ** 2 + 0.5
    assert distance(Drawn(grey, left), Drawn(grey, left * 0)) == pytest.approx(np.sqrt(shares + 1), abs=1e-5)
    light, dark = np.full((64, 64, 3), 250, np.uint8), np.full((64, 64, 3), 5, np.uint8)
    split, turned = light.copy(), light.copy()
    split[:, :32], turned[:, 32:] = dark[:, :32], dark[:, 32:]
    assert distance(Drawn(split, left), Drawn(turned, left)) > 1  # the same colours elsewhere
    assert distance(Drawn(light, left), Drawn(dark, left)) > 1
    assert distance(Drawn(light, left), Drawn(light, left)) == 0


def test_many_classes_are_projected_and_their_distances_kept() -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    blocks = [
        np.random.default_rng(n).integers(0, 100, (8, 8)).astype(np.uint8).repeat(8, 0).repeat(8, 1)
        for n in range(12)
    ]
    samples = [Drawn(grey, labels, classes=100) for labels in blocks]
    places = slice(100, 100 + PLACES)
    vectors = [describe(sample, Sample("0")) for sample in samples]
    assert len(vectors[0]) == 100 + PLACES + 4**3 + 8 * 8 * 3
    for n in range(1, 12):
        apart = np.linalg.norm(vectors[0][places] - vectors[n][places])
        differ = (blocks[0] != blocks[n]).mean()
        assert apart == pytest.approx(np.sqrt(2 * differ), rel=0.2)


class Planted(ShapesPlugin):
    """Shapes, in which val is a near-duplicate of train: shifted by a pixel or two, a little lighter, noisy."""

    def photo(self, sample, short_side):
        photo = super().photo(_plain(sample), short_side)
        if sample.id.startswith("train"):
            return photo
        draw = np.random.default_rng(int(sample.id[4:]))
        noisy = np.roll(photo, (1, 2), (0, 1)) * 1.05 + draw.normal(0, 5, photo.shape)
        return noisy.clip(0, 255).astype(np.uint8)

    def condition(self, sample, short_side):
        condition = super().condition(_plain(sample), short_side)
        if sample.id.startswith("train"):
            return condition
        return Condition(condition.size, np.roll(condition.raster, (1, 2), (0, 1)))


def _plain(sample: Sample) -> Sample:
    return Sample("train/" + sample.id.partition("/")[2])


def test_planted_near_duplicates_are_found_among_others_of_their_style() -> None:
    samples = [Sample(f"train/{n:06d}") for n in range(160)] + [
        Sample(f"val/{n:06d}") for n in range(0, 160, 4)
    ]
    found = retrieve(Planted(), samples, 2, "plain", CPU, 0)
    assert found.dtype == np.int32
    assert found.shape == (200, 2)
    assert found[160:, 0].tolist() == list(range(0, 160, 4))
    assert found[:160:4, 0].tolist() == list(range(160, 200))


@pytest.mark.slow
def test_vgg_features_are_compared_where_their_weights_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MCLTOOL_HOME", str(tmp_path))
    given = ("pair", "--plugin", "shapes", "--split", "val", "--workers", "0", tmp_path / "x.csv")
    result = run(*given, "--features", "vgg")
    assert (result.exit_code, "get them with 'mcltool weights get vgg19'" in result.stderr) == (2, True)
    vgg_file().parent.mkdir()
    network = random_vgg()
    save_file(network.state_dict(), vgg_file())

    samples = ShapesPlugin().index(None, "val")[:6]
    photos = torch.stack([torch.from_numpy(ShapesPlugin().photo(sample, 128)) for sample in samples])
    layers = network(photos.permute(0, 3, 1, 2).float() / 127.5 - 1, ("relu4_2", "relu5_2"))
    means = [layer.mean((2, 3)) for layer in layers]
    vectors = torch.cat([mean / mean.norm(dim=1, keepdim=True) for mean in means], 1).numpy()
    found = retrieve(ShapesPlugin(), samples, 5, "vgg", CPU, 0)
    np.testing.assert_array_equal(found, by_hand(vectors, 5))
    assert mcltool.data.retrieval.pick_features("auto") == "vgg"
    assert mcltool.data.retrieval.pick_features("plain") == "plain"


def test_a_full_disk_is_an_error_before_anything_is_mapped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write to a mapped file for which there is no room ends the process (SIGBUS)."""

    def full(handle: int, start: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    reserve(tmp_path / "a", 12)
    assert (tmp_path / "a").stat().st_size == 12
    monkeypatch.setattr(os, "posix_fallocate", full)
    given = ("--plugin", "shapes", "--split", "val", "--features", "plain", "--workers", "0")
    result = run("pair", *given, tmp_path / "p.csv")
    assert result.exit_code == 1
    assert result.stderr.endswith(
        "features: No space left on device; make room, then run the same command again\n"
    )
