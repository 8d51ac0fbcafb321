"""Conversions between stored bytes and what networks see, against loops over pixels."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mcltool.core.errors import DataError
from mcltool.core.pixels import to_bytes, to_unit
from mcltool.data.batch import BACKGROUND, HostBatch, condition_picture, condition_planes
from mcltool.data.reading import device_input, planes_of
from mcltool.plugin.contract import Condition, ConditionSpec, DatasetPlugin

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


def test_a_batch_moves_as_a_whole_and_keeps_its_types():
    batch = host_batch(torch.zeros(2, 4, 6, dtype=torch.uint8)).arrive(None)
    for before, after in zip(batch, batch.to("meta"), strict=True):
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


def test_rendered_planes_are_in_the_order_that_networks_have():
    planes = np.random.default_rng(0).random((2, 4, 2), np.float32)
    channels = planes_of(Rendering(EDGES, planes), Condition((2, 4)))
    assert channels.shape == (2, 2, 4)
    assert channels[1, 0, 3] == planes[0, 3, 1]
    labels = np.array([[0, 1, 2, 0]], np.uint8)
    assert planes_of(Rendering(LABELS, labels), Condition((1, 4))).tolist() == labels.tolist()


def host_batch(condition, size=(4, 6)):
    count, photos = len(condition), torch.arange(len(condition) * size[0] * size[1] * 3, dtype=torch.uint8)
    matrix = torch.tensor([[1.0, 0, 0], [0, 1, 0]]).repeat(count, 1, 1)
    matrix[0] = torch.tensor([[-1.0, 0, size[1] - 1], [0, 1, 0]])  # mirrored
    photos = photos.view(count, *size, 3)
    whole = {
        "condition": condition, "target": photos, "exemplar": photos.flip(0),
        "exemplar_condition": condition.flip(0), "augmented": matrix, "paired": torch.ones(count).bool(),
    }  # fmt: skip
    items = [{name: tensor[number] for name, tensor in whole.items()} for number in range(count)]
    return HostBatch.of(items, count)


@pytest.mark.parametrize("shared", [False, True])
def test_samples_travel_in_one_piece_of_memory(shared):
    items = [
        {
            "target": torch.randint(256, (3, 5, 3), dtype=torch.uint8),
            "points": torch.randn(7, 2),
            "paired": right,
        }
        for right in torch.tensor([True, False, True])
    ]
    batch = HostBatch.of(iter(items), 3, shared)
    assert batch.memory.is_shared() is shared
    for name in items[0]:
        assert torch.equal(batch[name], torch.stack([item[name] for item in items]))
        assert batch[name].dtype == items[0][name].dtype
        assert batch[name].untyped_storage().data_ptr() == batch.memory.data_ptr()
    moved = batch.to(torch.device("cpu"))
    assert torch.equal(moved["points"], batch["points"])


def test_samples_of_other_sizes_do_not_become_a_batch():
    for other in (torch.zeros(1, 2), torch.zeros(3, 2), torch.zeros(1)):
        with pytest.raises(RuntimeError, match="shape"):
            HostBatch.of([{"points": torch.zeros(2, 2)}, {"points": other}], 2)


def test_photos_arrive_with_their_channels_first_in_minus_1_to_1():
    sent = host_batch(torch.zeros(2, 4, 6, dtype=torch.uint8))
    batch = sent.arrive(None)
    for b, c, y, x in np.ndindex(2, 3, 4, 6):
        for name in ("target", "exemplar"):
            byte = int(sent[name][b, y, x, c])
            assert float(getattr(batch, name)[b, c, y, x]) == pytest.approx(2 * byte / 255 - 1, abs=1e-6)
    assert batch.target.is_contiguous()
    assert torch.equal(batch.condition, sent["condition"])
    assert torch.equal(batch.paired, sent["paired"])
    assert len(sent) == 2
    assert torch.equal(batch.augmented[0], batch.target[0].flip(-1))
    assert torch.equal(batch.augmented[1], batch.target[1])


def test_points_are_drawn_on_arrival_sample_by_sample():
    def draw_points(
        xp, points, x, y
    ):  # one point each, 1 at its pixel; the second channel is the row's number / 10
        assert xp is torch
        hit = (x == points[:, :, None, :1]) & (y[:, None] == points[:, :, None, 1:])
        return torch.cat([hit.float(), (y[:, None] / 10).expand(hit.shape)], 1)

    points = torch.tensor([[[1.0, 2.0]], [[5.0, 0.0]], [[np.nan, np.nan]]])
    batch = host_batch(points).arrive(draw_points)
    assert batch.condition.shape == batch.exemplar_condition.shape == (3, 2, 4, 6)
    assert batch.condition[:, 0].nonzero().tolist() == [[0, 2, 1], [1, 0, 5]]
    assert batch.exemplar_condition[:, 0].nonzero().tolist() == [[1, 0, 5], [2, 2, 1]]
    assert batch.condition[2, 1, :, 3].tolist() == pytest.approx([0, 0.1, 0.2, 0.3])


class Dots(Rendering):
    """Points alone: each channel is 1 in the pixels nearest to its point."""

    @staticmethod
    def draw_points(xp, points, x, y):
        apart = xp.abs(x - points[..., :1, None]) + xp.abs(y[:, None] - points[..., 1:, None])
        return xp.where(apart < 1, xp.ones_like(apart), xp.zeros_like(apart))


def test_one_drawing_serves_render_and_the_device():
    points = np.array([[2, 1], [np.nan, np.nan]], np.float32)
    plugin, condition = Dots(EDGES, None), Condition((3, 4), points=points)
    planes = DatasetPlugin.render(plugin, condition)
    assert planes.shape == (3, 4, 2)
    assert np.argwhere(planes).tolist() == [[1, 2, 0]]
    assert device_input(plugin, condition) is points
    batch = host_batch(torch.from_numpy(points)[None], (3, 4)).arrive(plugin.draw_points)
    np.testing.assert_array_equal(batch.condition[0].permute(1, 2, 0), planes)


@pytest.mark.parametrize(
    "condition",
    [
        Condition((3, 4), np.zeros((3, 4), np.uint8)),
        Condition((3, 4), np.zeros((3, 4), np.uint8), np.zeros((2, 2), np.float32)),
        Condition((3, 4), points=np.zeros((2, 3), np.float32)),
    ],
)
def test_only_points_alone_are_drawn_on_the_device(condition):
    with pytest.raises(DataError, match=r"^rendering: draw_points\(\) needs conditions of points alone"):
        device_input(Dots(EDGES, None), condition)


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
        planes_of(Rendering(spec, planes), Condition((2, 4)))
