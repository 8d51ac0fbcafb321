"""Batches on their way to the device. What they hold, and that workers change nothing: tests/test_dataset.py."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from mcltool_shapes import ShapesPlugin

from mcltool import Sample
from mcltool.core.config import DataConfig
from mcltool.core.errors import DataError
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
            assert {tensor.device.type for tensor in batch} == {"cpu"}
            assert not any(tensor.is_pinned() for tensor in batch)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("workers", [0, 2])
def test_on_a_gpu_the_batches_are_those_of_the_cpu(workers: int) -> None:
    stream = SampleStream(0, 12, 0, 1, 4)
    expected = list(training_loader(shapes(), stream, 0, "cpu"))
    for batch, right in zip(training_loader(shapes(), stream, workers, "cuda"), expected, strict=True):
        assert batch.target.device.type == "cuda"
        busy = torch.randn(2000, 2000, device="cuda")
        for _ in range(20):  # work that lasts while the next batch is copied
            busy = busy @ busy / 2000
        assert all(torch.equal(ours.cpu(), theirs) for ours, theirs in zip(batch, right, strict=True))


FAILING = """
import os, signal, sys
from multiprocessing import active_children
import torch
from mcltool.core.errors import DataError
from mcltool.data.loader import SampleStream, load

class Data:
    def __init__(self, kind):
        self.kind = kind

    def item(self, number):
        if number >= 2:
            if self.kind == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            raise {"bad": DataError("bad sample"), "bug": KeyError("bug"), "full": FULL}[self.kind]
        return {"target": torch.zeros(4, 4, 3, dtype=torch.uint8)}

FULL = RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")
kept = []  # an error's traceback keeps the loader's iterator alive, as that of a program's last error does
for kind in ("bad", "bug", "full", "killed"):
    try:
        list(load(Data(kind), SampleStream(0, 9, 0, 1, 2), workers=2, pinned=False))
    except Exception as error:
        kept.append(error)
        print(kind, len(active_children()), type(error).__name__, str(error).splitlines()[0], flush=True)
"""


@pytest.mark.slow
def test_whatever_ends_the_loading_ends_its_processes_and_the_program() -> None:
    """Loader processes ignore SIGTERM, and Python waits for its children for ever when it ends."""
    done = subprocess.run([sys.executable, "-c", FAILING], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    lines = dict(line.split(maxsplit=1) for line in done.stdout.splitlines())
    assert lines["bad"] == "0 DataError bad sample"
    assert lines["bug"].startswith("0 KeyError")
    assert lines["full"].startswith("0 McltoolError /dev/shm, through which")
    assert "--workers 0" in lines["full"]
    assert lines["killed"].startswith("0 RuntimeError DataLoader worker")
