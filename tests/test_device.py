"""Which device and number format are picked. Machines with other devices are pretended."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mcltool import UsageError
from mcltool.core import device
from mcltool.core.device import PRECISIONS, autocast, pick_device, pick_precision

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def pretend(monkeypatch: pytest.MonkeyPatch, cuda: int = 0, mps: bool = False) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: cuda > 0)
    monkeypatch.setattr("torch.cuda.device_count", lambda: cuda)
    monkeypatch.setattr("torch.backends.mps.is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(2, False, "cuda"), (0, True, "mps"), (0, False, "cpu"), (1, True, "cuda")]
)
def test_the_fastest_device_is_picked(
    cuda: int, mps: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cuda, mps)
    assert pick_device() == torch.device(expected)


def test_a_device_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    pretend(monkeypatch, cuda=2)
    assert pick_device("cpu") == CPU
    assert pick_device("cuda:1") == torch.device("cuda", 1)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("gpu", "--device gpu: no such device; there are cuda, cpu"),
        ("", "--device : no such device"),
        ("cuda:2", "--device cuda:2: not in this machine"),
        ("mps", "--device mps: not in this machine; there are cuda, cpu"),
        ("meta", "--device meta: not in this machine"),
    ],
)
def test_a_device_that_is_not_there_is_refused(
    name: str, cause: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pretend(monkeypatch, cuda=2)
    with pytest.raises(UsageError, match=cause):
        pick_device(name)


@pytest.mark.parametrize("name", PRECISIONS)
def test_a_precision_can_be_named(name: str) -> None:
    assert pick_precision(name, CUDA) == name


def test_a_precision_that_is_none_or_that_a_cpu_lacks_is_refused() -> None:
    with pytest.raises(UsageError, match="--precision fp16 needs a GPU; on a CPU take bf16 or fp32"):
        pick_precision("fp16", CPU)
    with pytest.raises(UsageError, match="--precision fp8: must be one of auto, bf16, fp16, fp32"):
        pick_precision("fp8", CPU)


@pytest.mark.parametrize(("native", "expected"), [(True, "bf16"), (False, "fp16")])
def test_a_gpu_takes_bf16_where_it_has_it(
    native: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("torch.cuda.is_bf16_supported", lambda including_emulation: native)
    assert pick_precision("auto", CUDA) == expected


@pytest.mark.parametrize(
    ("has_it", "is_faster", "expected"), [(True, True, "bf16"), (True, False, "fp32"), (False, True, "fp32")]
)
def test_a_cpu_takes_bf16_where_it_has_it_and_gains_by_it(
    has_it: bool, is_faster: bool, expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device, "native_formats", lambda _: ("bf16", "fp32") if has_it else ("fp32",))
    monkeypatch.setattr(device, "_bf16_is_faster", lambda _: is_faster)
    assert pick_precision("auto", CPU) == expected


def test_a_format_that_a_cpu_lacks_is_never_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(device, "_bf16_is_faster", lambda _: pytest.fail("timed"))
    assert device.native_formats(CPU) == ("fp32",)
    assert pick_precision("auto", CPU) == "fp32"


def test_an_emulated_format_is_taken_with_a_warning(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(device, "native_formats", lambda _: ("fp32",))
    assert pick_precision("bf16", CPU) == "bf16"
    assert "--precision bf16: emulated here" in caplog.text


class Watched(TorchDispatchMode):
    """The threads that each convolution's gradients are computed with."""

    def __init__(self) -> None:
        super().__init__()
        self.threads: list[int] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.convolution_backward.default:
            self.threads.append(torch.get_num_threads())
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("precision", "expected"), [("bf16", [1, 1, 2]), ("fp32", [2, 2, 2])])
def test_gradients_of_small_convolutions_are_computed_by_one_thread(
    precision: device.Precision, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    small, large = 2 * 8 * 8 * 4 * 4 * 9, 4 * 2 * 8 * 8 * 4 * 4 * 9
    monkeypatch.setattr(device, "SMALL", (small + large) / 2)
    net = torch.nn.Sequential(*(torch.nn.Conv2d(4, 4, 3, stride, padding=1) for stride in (1, 2, 1)))
    x = torch.randn(1, 4, 16, 16)
    exact = torch.autograd.grad(net(x).square().sum(), list(net.parameters()))
    device.spare_waiting(net, CPU, precision)
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with autocast(CPU, precision):
            loss = net(x).float().square().sum()
        with Watched() as watched:
            found = torch.autograd.grad(loss, list(net.parameters()))
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert watched.threads == expected
    for mine, theirs in zip(found, exact, strict=True):
        assert torch.allclose(mine, theirs, rtol=0.1, atol=0.02 * theirs.abs().max())


def test_mps_takes_fp32() -> None:
    assert pick_precision("auto", torch.device("mps")) == "fp32"


def test_timing_the_formats_disturbs_no_randomness() -> None:
    before = torch.get_rng_state()
    assert device._bf16_is_faster(CPU) in (True, False)
    assert torch.equal(torch.get_rng_state(), before)


def test_products_are_computed_in_the_picked_format() -> None:
    a = torch.randn(4, 4)
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        with autocast(CPU, precision):  # type: ignore[arg-type]
            assert (a @ a).dtype == dtype
