"""Conversions between stored bytes and what networks see, against loops over pixels."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest
import torch

from mcltool.data.batches import (
    BACKGROUND,
    Batch,
    collate,
    condition_picture,
    condition_planes,
    condition_tensor,
    photo_tensor,
    to_bytes,
    to_unit,
)
from mcltool.data.contract import Condition, ConditionSpec, DatasetPlugin
from mcltool.errors import DataError

LABELS = ConditionSpec("labels", ("sky", "tree", "road"), ((10, 20, 30), (40, 50, 60), (70, 80, 90)))
EDGES = ConditionSpec("channels", ("near", "far"), ((255, 0, 100), (0, 200, 200)))


class Rendering(DatasetPlugin):
    """A plugin that renders what it is told to."""

    name = "rendering"

    def __init__(self, spec, planes):
        self._spec, self._planes = spec, planes

    @property
    def spec(self):
        return self._spec

    def index(self, root, split):
        return []

    def read_condition(self, files):
        raise NotImplementedError

    def render(self, condition):
        return self._planes


def item(value):
    picture = torch.full((3, 32, 64), value, dtype=torch.uint8)
    labels = torch.full((32, 64), value, dtype=torch.uint8)
    return {
        "condition": labels,
        "photo": picture,
        "exemplar": picture + 1,
        "exemplar_condition": labels + 1,
        "pseudo": picture + 2,
        "paired": torch.tensor(value % 2 == 0),
    }


def test_collate_stacks_each_field():
    batch = collate([item(4), item(7)])
    assert len(batch) == 2
    assert batch.condition.shape == (2, 32, 64)
    assert batch.photo.shape == (2, 3, 32, 64)
    assert batch.photo[:, 0, 0, 0].tolist() == [4, 7]
    assert batch.exemplar[:, 0, 0, 0].tolist() == [5, 8]
    assert batch.exemplar_condition[:, 0, 0].tolist() == [5, 8]
    assert batch.pseudo[:, 0, 0, 0].tolist() == [6, 9]
    assert batch.paired.tolist() == [True, False]
    assert batch.paired.dtype == torch.bool


def test_a_batch_moves_as_a_whole_and_keeps_its_types():
    batch = collate([item(4), item(7)])
    moved = batch.to("meta")
    for field in fields(Batch):
        before, after = getattr(batch, field.name), getattr(moved, field.name)
        assert after.device.type == "meta"
        assert (after.shape, after.dtype) == (before.shape, before.dtype)


def test_labels_become_one_hot():
    labels = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2, 5, 7), np.uint8))
    planes = condition_planes(labels, LABELS)
    assert planes.shape == (2, 3, 5, 7)
    assert planes.dtype == torch.float32
    for b, y, x in np.ndindex(2, 5, 7):
        assert planes[b, :, y, x].tolist() == [float(k == labels[b, y, x]) for k in range(3)]


def test_channels_pass_through():
    channels = torch.rand(2, 2, 5, 7)
    assert torch.equal(condition_planes(channels, EDGES), channels)


def test_every_byte_survives_the_way_to_the_networks_and_back():
    photo = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16).expand(1, 3, 16, 16)
    unit = to_unit(photo)
    assert unit.min() == -1
    assert unit.max() == 1
    assert unit[0, 0, 0, 1] == pytest.approx(1 / 127.5 - 1)
    assert torch.equal(to_bytes(unit), photo)


def test_bytes_are_rounded_and_clamped():
    image = torch.tensor([-1.2, -1.0, 0.0, 0.5, 1.0, 7.0])
    assert to_bytes(image).tolist() == [0, 0, 128, 191, 255, 255]
    assert to_bytes(image.bfloat16()).tolist() == [0, 0, 128, 191, 255, 255]


def test_label_pictures_use_the_palette():
    labels = np.array([[0, 2], [1, 1]], np.uint8)
    picture = condition_picture(labels, LABELS)
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[10, 20, 30], [70, 80, 90]], [[40, 50, 60], [40, 50, 60]]]


def test_channel_pictures_show_the_brighter_on_a_dark_ground():
    rendered = np.array([[[0, 0], [1, 0]], [[0.5, 0.25], [1, 1]]], np.float32)
    picture = condition_picture(rendered, EDGES)
    dark = BACKGROUND
    assert picture.dtype == np.uint8
    assert picture.tolist() == [[[dark] * 3, [255, dark, 100]], [[128, 50, 50], [255, 200, 200]]]


def test_tensors_are_copies_in_the_right_order():
    photo = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    photo.flags.writeable = False  # as Pillow gives them; torch would warn about sharing such an array
    tensor = photo_tensor(photo)
    assert tensor.is_contiguous()
    assert [tensor[c, y, x].item() for c, y, x in np.ndindex(3, 2, 4)] == [
        photo[y, x, c] for c, y, x in np.ndindex(3, 2, 4)
    ]
    planes = np.random.default_rng(0).random((2, 4, 2), np.float32)
    channels = condition_tensor(Rendering(EDGES, planes), Condition((2, 4)))
    assert channels.shape == (2, 2, 4)
    assert channels[1, 0, 3] == planes[0, 3, 1]
    labels = np.array([[0, 1, 2, 0]], np.uint8)
    tensor = condition_tensor(Rendering(LABELS, labels), Condition((1, 4)))
    tensor[0, 0] = 1
    assert labels[0, 0] == 0


@pytest.mark.parametrize(
    ("spec", "planes", "words"),
    [
        (LABELS, np.full((2, 4), 3, np.uint8), "label 3 is outside the classes 0..2"),
        (LABELS, np.zeros((4, 2), np.uint8), r"render\(\) gave \(4, 2\) uint8, expected \(2, 4\) uint8"),
        (LABELS, np.zeros((2, 4), np.int64), "int64, expected"),
        (EDGES, np.zeros((2, 4, 3), np.float32), r"expected \(2, 4, 2\) float32"),
        (EDGES, np.zeros((2, 4, 2), np.uint8), "uint8, expected"),
    ],
)
def test_wrong_planes_are_a_data_error(spec, planes, words):
    with pytest.raises(DataError, match=f"^rendering: .*{words}"):
        condition_tensor(Rendering(spec, planes), Condition((2, 4)))
