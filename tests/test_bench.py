"""mcltool bench: what is counted is right, it keeps to its seconds, and what a device cannot do is one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcltool.cli.main import cli
from mcltool.core import device as device_module
from mcltool.model.build import make_network
from mcltool.tools.bench import machine as machine_module
from mcltool.tools.bench import run as run_module
from mcltool.tools.bench.machine import Budget, Machine, measure_machine
from mcltool.tools.bench.run import CPU_ATTENTION, image_operations, the_subject

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")
MACHINE = Machine("made up", "AVX2", 1, {"fp32": 1e9, "bf16": 2e9}, {"fp32": 1e9, "bf16": 4e9})


def counted(run: Any) -> int:
    with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
        run()
    return int(counter.get_total_flops())


def test_attention_on_a_cpu_counts_both_products_forward_and_five_in_all_backward() -> None:
    q, k, v = (torch.randn(1, 1, n, 16, requires_grad=True) for n in (64, 32, 32))
    made = []
    forward = counted(lambda: made.append(nn.functional.scaled_dot_product_attention(q, k, v)))
    assert forward == 2 * 2 * 64 * 32 * 16
    assert counted(lambda: made[0].sum().backward()) == 5 * 2 * 64 * 32 * 16


def test_operations_are_known_before_anything_is_computed() -> None:
    subject = the_subject("tiny", (32, 32), "cpu", "fp32", 2, "shapes")
    channels = subject.plugin.spec.channels
    net = make_network(subject.config.model, channels, (32, 32)).eval()
    with torch.no_grad():
        computed = counted(lambda: net(torch.zeros(2, channels, 32, 32), torch.zeros(2, 3, 32, 32)))
    assert image_operations(subject) == computed > 0


@pytest.mark.parametrize(("lacking", "formats"), [(True, ["fp32"]), (False, ["bf16", "fp32"])])
def test_a_format_that_the_hardware_lacks_is_not_tried(
    lacking: bool, formats: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(device_module.torch.cpu, "_is_avx512_bf16_supported", lambda: not lacking)
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: not lacking)
    for name in ("_matrix_rate", "_convolution_rate"):
        monkeypatch.setattr(machine_module, name, lambda *_: 1e9)
    assert list(measure_machine(CPU, Budget(1)).matrix) == formats


def bench(*options: str) -> Result:
    return CliRunner().invoke(cli, ["bench", "--device", "cpu", *options])


@pytest.fixture
def _made_up_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "measure_machine", lambda *_: MACHINE)


SHORT = ("--preset", "tiny", "--size", "32", "--plugin", "shapes", "--precision", "fp32")


@pytest.fixture
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each figure is measured once, whatever else the machine does."""
    monkeypatch.setattr(Budget, "left", property(lambda _: 0.0))
    monkeypatch.setattr(Budget, "fits", lambda *_: True)


@pytest.mark.usefixtures("_made_up_machine", "_no_waiting")
def test_the_json_has_every_figure() -> None:
    result = bench(*SHORT, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["preset"], report["size"], report["plugin"]) == ("tiny", [32, 32], "shapes")
    assert report["machine"]["matrix"]["fp32"] == 1e9
    assert report["skipped"] == {}
    for name in ("different", "repeating", "step"):
        figure = report["figures"][name]
        assert figure["times"]["runs"] == 1
        assert figure["times"]["median"] > 0
        assert figure["memory"] >= figure["before"] > 0
        assert f"{'a training step' if name == 'step' else 'translating'}" in result.stderr
    operations = [report["figures"][name]["operations"] for name in ("repeating", "different", "step")]
    assert operations == sorted(operations)
    assert operations[1] == image_operations(the_subject("tiny", (32, 32), "cpu", "fp32", 1, "shapes"))


@pytest.mark.usefixtures("_made_up_machine", "_no_waiting")
def test_the_table_shows_the_machine_and_leaves_training_out_where_asked() -> None:
    result = bench(*SHORT, "--no-training")
    assert result.exit_code == 0, result.output
    for word in ("made up, 1 threads, AVX2", "tiny at 32x32", "images a second", "of the limit", "GiB"):
        assert word in result.stdout
    assert "training step" not in result.output


@pytest.mark.usefixtures("_made_up_machine")
def test_what_does_not_fit_the_seconds_is_skipped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "measured", lambda *_: pytest.fail("measured"))
    result = bench(*SHORT, "--seconds", "0")
    assert result.exit_code == 0, result.output
    assert result.stdout.count("skipped: some") == 3
    assert result.stderr.count("skipped") == 3


@pytest.mark.usefixtures("_made_up_machine", "_no_waiting")
def test_too_large_a_step_is_skipped_and_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "free_memory", lambda _: 1 << 20)
    result = bench(*SHORT)
    assert result.exit_code == 0, result.output
    assert "0.0 are free; take a smaller --batch-size or --size" in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "bass"], ["no preset 'bass'", "hd"]),
        (["--size", "102"], ["102 is not a multiple of 4"]),
        (["--precision", "fp16"], ["bf16 or fp32"]),
        (["--device", "cuda:99"], ["cuda:99", "cpu"]),
        (["--batch-size", "0"], ["train.batch_size", "at least 1"]),
        (["--plugin", "shape"], ["did you mean shapes"]),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_what_can(options: list[str], words: list[str]) -> None:
    result = bench(*options)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr
