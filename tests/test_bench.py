"""mcltool bench: what is counted is right, every part is found, and what a device cannot do is one line."""

from __future__ import annotations

import json
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from mcltool.cli.main import cli
from mcltool.model.build import make_network
from mcltool.tools.bench import parts as parts_module
from mcltool.tools.bench import run as run_module
from mcltool.tools.bench.figures import Part, Subject, training, translation
from mcltool.tools.bench.machine import Machine
from mcltool.tools.bench.parts import OTHER, Count, Counter, Parts, watching
from mcltool.tools.bench.run import the_subject
from mcltool.tools.bench.view import whole
from mcltool.train.estimate import estimate
from mcltool.train.loop import perceptual_choice

CPU = torch.device("cpu")
MACHINE = Machine(
    "made up", 1, {"fp32": 1e9, "bf16": 2e9}, {"fp32": 1e9, "bf16": 4e9},
    {form: {1000: 4e6, 10**9: 1e6} for form in ("fp32", "bf16")},
)  # fmt: skip
"""1 GFLOP/s and 1 MB/s, or four times that for what fits its cache."""


def counted(run: Any) -> Count:
    with Counter(Parts(CPU), MACHINE) as counter:
        run()
    return counter.found[OTHER]


@pytest.mark.parametrize("context", [torch.inference_mode, torch.no_grad])
def test_a_convolution_counts_two_operations_a_weight_and_position(context: Any) -> None:
    layer, x = nn.Conv2d(3, 5, 3, padding=1), torch.zeros(2, 3, 8, 8)
    with context():
        count = counted(lambda: layer(x))
    assert count.operations == 2 * 2 * (3 * 9) * 5 * 64
    assert count.bytes == 4 * (x.numel() + 5 * 3 * 9 + 5 + 2 * 5 * 64)


def test_attention_on_a_cpu_counts_both_products_forward_and_five_in_all_backward() -> None:
    q, k, v = (torch.randn(1, 1, n, 16, requires_grad=True) for n in (64, 32, 32))
    made = []
    forward = counted(lambda: made.append(nn.functional.scaled_dot_product_attention(q, k, v)))
    assert forward.operations == 2 * 2 * 64 * 32 * 16
    backward = counted(lambda: made[0].sum().backward())
    assert backward.operations == 5 * 2 * 64 * 32 * 16


def test_bytes_are_what_an_operation_reads_and_writes() -> None:
    a, b = torch.zeros(10, 10), torch.zeros(10, 10)
    assert counted(lambda: a + b).bytes == 3 * 400
    assert counted(lambda: a.add_(b)).bytes == 3 * 400
    assert counted(lambda: a.copy_(b)).bytes == 2 * 400
    assert counted(lambda: a.t().reshape(100, 1).t()).bytes == 2 * 400, "only the reshape copies"
    assert counted(lambda: a[:1].expand(10, 10).relu()).bytes == 400 + 400, (
        "all of a's memory, and the result"
    )
    assert counted(lambda: a.view(100)[3:].unsqueeze(0)).bytes == 0


def test_the_floor_is_the_longer_of_computing_and_moving() -> None:
    assert MACHINE.rate("bf16") == 4e9
    assert MACHINE.floor(10**9, 2000, "fp32") == 1
    assert MACHINE.floor(10, 4000, "fp32") == 4000 / 1e6
    assert MACHINE.floor(10, 1000, "fp32") == 1000 / 4e6
    a = torch.zeros(10, 10)
    assert counted(lambda: a.relu().relu()).floor == pytest.approx(2 * 800 / 4e6)


def test_seconds_go_to_the_innermost_part(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    monkeypatch.setattr(parts_module.time, "perf_counter", lambda: float(next(ticks)))
    parts = Parts(CPU, whole=("closed",))
    with parts.part("outer"), parts.part("inner"):
        pass
    with parts.part("closed"), parts.part("inner"):
        pass
    assert parts.seconds() == {OTHER: 3, "outer": 2, "inner": 1, "closed": 3}


def test_watching_ends_without_a_trace() -> None:
    layer = nn.ReLU()
    forward = layer.extra_repr
    parts = Parts(CPU)
    with watching(parts, [("layer", layer)], [("words", (layer, "extra_repr"))]):
        layer(torch.zeros(1))
        layer.extra_repr()
    assert set(parts.seconds()) == {OTHER, "layer", "words"}
    layer(torch.zeros(1))
    assert layer.extra_repr == forward
    assert set(parts.seconds()) == {OTHER}


SMALL = {
    "preset": "tiny",
    "size": (32, 32),
    "device": "cpu",
    "precision": "fp32",
    "batch": 2,
    "plugin": "shapes",
}


@pytest.fixture(scope="module")
def subject() -> Subject:
    return the_subject(**SMALL)  # type: ignore[arg-type]


def by_name(parts: list[Part]) -> dict[str, Part]:
    return {part.name: part for part in parts}


def test_operations_of_translating_are_those_of_torchs_own_counter(subject: Subject) -> None:
    found = translation(subject, 1, MACHINE, seconds=0)
    parts = by_name(found.parts)
    net = make_network(subject.config.model, subject.plugin.spec.channels, subject.size)
    with FlopCounterMode(display=False) as theirs, torch.no_grad():
        net(torch.zeros(1, subject.plugin.spec.channels, 32, 32), torch.zeros(1, 3, 32, 32))
    for name, module in (("photo encoder", "encode_photo"), ("condition encoder", "encode_condition")):
        assert parts[name].operations == sum(theirs.get_flop_counts()[f"LeanNet.{module}"].values()) > 0
    assert all(parts[name].operations for name in ("self-correlation map", "warp", "generator"))
    assert whole(found.parts).seconds == pytest.approx(found.different.median, rel=0.5)
    assert found.memory >= found.before > 0


def test_a_training_step_has_all_its_parts(subject: Subject) -> None:
    found = training(subject, MACHINE, seconds=0)
    parts = by_name(found.parts)
    computing = ("condition encoder", "photo encoder", "warp", "generator", "discriminator", "backward")
    assert all(parts[name].operations for name in computing)
    assert parts["backward"].operations > parts["generator"].operations
    assert {"losses", "optimiser", OTHER} < set(parts)
    assert parts["optimiser"].bytes > 7 * 4 * 10_000, "Adam reads four numbers a parameter and writes three"
    assert found.batch == 2
    assert found.step.runs == 2


def bench(*options: str) -> Result:
    return CliRunner().invoke(cli, ["bench", "--device", "cpu", *options])


@pytest.fixture
def _made_up_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_module, "measure_machine", lambda device: MACHINE)


SHORT = ("--preset", "tiny", "--size", "32", "--plugin", "shapes", "--precision", "fp32", "--seconds", "0")


@pytest.mark.usefixtures("_made_up_machine")
def test_the_json_has_every_figure() -> None:
    result = bench(*SHORT, "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert (report["preset"], report["size"], report["plugin"]) == ("tiny", [32, 32], "shapes")
    assert report["machine"]["matrix"]["fp32"] == 1e9
    assert report["translation"]["different"]["median"] > 0
    assert report["translation"]["repeating"]["median"] > 0
    assert report["training"]["step"]["median"] > 0
    assert report["training"]["memory"] > 0
    assert {"name", "operations", "bytes", "seconds", "floor"} == set(report["training"]["parts"][0])


@pytest.mark.usefixtures("_made_up_machine")
def test_the_table_shows_parts_and_the_machine_and_leaves_training_out_where_asked() -> None:
    result = bench(*SHORT, "--no-training")
    assert result.exit_code == 0, result.output
    for word in ("made up", "photo encoder", "generator", "images a second", "times the floor"):
        assert word in result.stdout
    assert "training step" not in result.stdout


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--preset", "bass"], ["no preset 'bass'", "hd"]),
        (["--size", "100"], ["--size 100x100", "96 or 128"]),
        (["--size", "10"], ["32 or 64"]),
        (["--precision", "fp16"], ["bf16 or fp32"]),
        (["--device", "cuda:99"], ["cuda:99", "cpu"]),
        (["--batch-size", "0"], ["--batch-size 0", "at least 1"]),
        (["--plugin", "shape"], ["did you mean shapes"]),
    ],
)
def test_what_cannot_be_done_is_one_line_that_says_what_can(options: list[str], words: list[str]) -> None:
    result = bench(*options)
    assert result.exit_code == 2
    assert len(result.stderr.strip().splitlines()) == 1
    assert all(word in result.stderr for word in words), result.stderr


def test_too_large_a_step_names_what_fits(monkeypatch: pytest.MonkeyPatch, subject: Subject) -> None:
    one = subject.config.changed({"train.batch_size": 1})
    fits = estimate(one, subject.plugin.spec, "fp32", perceptual_choice(one)).total
    monkeypatch.setattr(run_module, "free", lambda device: fits)
    result = bench(*SHORT, "--batch-size", "2")
    assert result.exit_code == 2
    assert "this device can do --batch-size 1, or --no-training" in result.stderr
