"""Which device and number format are picked. Machines with other devices are pretended."""

from __future__ import annotations

import pytest
import torch

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
    monkeypatch.setattr("torch.cpu._is_avx512_bf16_supported", lambda: has_it)
    monkeypatch.setattr(device, "_bf16_is_faster", lambda _: is_faster)
    assert pick_precision("auto", CPU) == expected


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
