"""Colour jitter: target and exemplar change alike, so that a right answer stays one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from mcltool.core.config import DataConfig
from mcltool.core.pixels import colour_change, recoloured
from mcltool.data.dataset import TrainingData
from mcltool.plugin import registry

PLAIN = DataConfig(size=(32, 32), load_scale=1.0, exemplar_self=1.0, exemplar_affine=False)


def data(**changes: object) -> TrainingData:
    shapes = registry.load("shapes")
    return TrainingData(shapes, shapes.index(None, "train"), replace(PLAIN, **changes), seed=3)  # type: ignore[arg-type]


def test_a_photo_that_is_its_own_exemplar_stays_the_right_answer() -> None:
    plain, jittered = data()[0], data(colour_jitter=0.5)[0]
    assert torch.equal(plain["target"], plain["exemplar"])
    assert torch.equal(jittered["target"], jittered["exemplar"])
    assert (jittered["target"].float() - plain["target"].float()).abs().mean() > 5


def test_nothing_else_of_a_sample_changes() -> None:
    plain, jittered = data(exemplar_affine=True)[5], data(exemplar_affine=True, colour_jitter=0.5)[5]
    for name in ("condition", "exemplar_condition", "paired"):
        assert torch.equal(plain[name], jittered[name])


def test_each_sample_has_colours_of_its_own_and_always_the_same() -> None:
    one, same, other = (data(colour_jitter=0.5)[n]["target"] for n in (0, 0, 1))
    assert torch.equal(one, same)
    changes = [colour_change(0.5, np.random.default_rng(seed)) for seed in (0, 0, 1)]
    assert np.array_equal(changes[0], changes[1])
    assert not np.array_equal(changes[0], changes[2])
    assert not torch.equal(one, other)


class Draw:
    """Stands in for a generator: brightness, contrast, saturation and hue as given."""

    def __init__(self, *numbers: float) -> None:
        self.numbers = np.array(numbers)

    def uniform(self, *_: float) -> np.ndarray:
        return self.numbers


@pytest.mark.parametrize(
    ("drawn", "expected"),
    [
        ((0, 0, 0, 0), [(200, 100, 50), (128, 128, 128)]),
        ((0.5, 0, 0, 0), [(232, 132, 82), (160, 160, 160)]),  # a quarter of 127.5 lighter
        ((0, 1, 0, 0), [(236, 86, 11), (128, 128, 128)]),  # 1.5 times as far from mid grey
        ((0, 0, -2, 0), [(117, 117, 117), (128, 128, 128)]),  # without any colour: the mean of the three
        ((0, 0, 0, 4), [(50, 200, 100), (128, 128, 128)]),  # 120 degrees: the three change places
    ],
)
def test_what_each_number_does(drawn: tuple[float, ...], expected: list[tuple[int, ...]]) -> None:
    photo = np.array([[(200, 100, 50), (128, 128, 128)]], np.uint8)
    colours = colour_change(0.5, Draw(*drawn))  # type: ignore[arg-type]
    assert np.abs(recoloured(photo, colours)[0].astype(int) - np.array(expected)).max() <= 1
