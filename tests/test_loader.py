"""Batches on their way to the device. What they hold, and that workers change nothing: tests/test_dataset.py."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields

import pytest
import torch
from mcltool_shapes import ShapesPlugin

from mcltool import Sample
from mcltool.core.config import DataConfig
from mcltool.core.errors import DataError
from mcltool.data.batch import Batch
from mcltool.data.dataset import TrainingData
from mcltool.data.loader import SampleStream, one_ahead, training_loader

CONFIG = DataConfig(size=(32, 32), load_scale=1.0)


def shapes() -> TrainingData:
    return TrainingData(ShapesPlugin(), [Sample(f"train/{n:06d}") for n in range(8)], CONFIG, 0)


def test_the_next_batch_is_started_before_one_is_given_out() -> None:
    events: list[str] = []

    def loaded() -> Iterator[int]:
        for number in range(3):
            events.append(f"load {number}")
            yield number

    def start(number: int) -> int:
        events.append(f"copy {number}")
        return number

    for number in one_ahead(loaded(), start, lambda number: events.append(f"wait {number}")):
        events.append(f"work {number}")
    assert events == [
        "load 0", "copy 0",
        "wait 0", "load 1", "copy 1", "work 0",  # what is waited for is never the copy begun last
        "wait 1", "load 2", "copy 2", "work 1",
        "wait 2", "work 2",
    ]  # fmt: skip


def test_an_error_ahead_comes_when_it_is_due() -> None:
    def loaded() -> Iterator[int]:
        yield 0
        yield 1
        raise DataError("broken.jpg: damaged")

    ahead = one_ahead(loaded(), lambda number: number, lambda number: None)
    assert [next(ahead), next(ahead)] == [0, 1]
    with pytest.raises(DataError, match=r"broken\.jpg: damaged"):
        next(ahead)


def test_without_a_gpu_batches_stay_in_ordinary_memory() -> None:
    for device in ("cpu", torch.device("cpu")):
        for batch in training_loader(shapes(), SampleStream(0, 2, 0, 1, 4), 0, device):
            tensors = [getattr(batch, field.name) for field in fields(Batch)]
            assert {tensor.device.type for tensor in tensors} == {"cpu"}
            assert not any(tensor.is_pinned() for tensor in tensors)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_on_a_gpu_the_batches_are_those_of_the_cpu(workers: int) -> None:
    stream = SampleStream(0, 12, 0, 1, 4)
    expected = list(training_loader(shapes(), stream, 0, "cpu"))
    for batch, right in zip(training_loader(shapes(), stream, workers, "cuda"), expected, strict=True):
        assert batch.photo.device.type == "cuda"
        busy = torch.randn(2000, 2000, device="cuda")
        for _ in range(20):  # work that lasts while the next batch is copied
            busy = busy @ busy / 2000
        assert all(torch.equal(getattr(batch, f.name).cpu(), getattr(right, f.name)) for f in fields(Batch))
