"""--batch-size auto: the batch stays, its parts follow the memory."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result
from tiny_weights import SPEC
from training import small_config

from mcltool.cli.main import cli
from mcltool.core.config import Config
from mcltool.core.errors import UsageError
from mcltool.data.batch import Batch
from mcltool.train import memory
from mcltool.train.memory import MARGIN, USABLE, estimate, fitted
from mcltool.train.trainer import Trainer

pytestmark = pytest.mark.slow

CPU = torch.device("cpu")


def run(*args: str) -> Result:
    return CliRunner().invoke(cli, args)


def enough_for(config: Config, monkeypatch: pytest.MonkeyPatch, more: float = 1.02) -> None:
    """As if as much memory were free as ``config`` takes, and a little more."""
    needed = MARGIN / USABLE * more * estimate(config, SPEC, "fp32", "none").total
    monkeypatch.setattr(memory, "free_memory", lambda device: int(needed))


@pytest.mark.parametrize(("parts", "recompute"), [(1, False), (2, False), (6, False), (6, True)])
def test_parts_are_as_few_as_fit(parts: int, recompute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against an estimate of just that setting; parts of 6 samples: 6, 3, 2, 1."""
    config = small_config(train__batch_size=6, data__size=(64, 64))
    wanted = small_config(
        train__batch_size=6, data__size=(64, 64), train__accumulate=parts, train__recompute=recompute
    )
    enough_for(wanted, monkeypatch)
    found, line = fitted(config, SPEC, CPU, "fp32", None)
    assert found == wanted
    assert line.startswith("batch 6 at once" if parts == 1 else f"batch 6 in {parts} parts of {6 // parts}")
    assert ("computed again" in line) == recompute


def test_too_little_memory_for_one_sample_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**20)
    with pytest.raises(
        UsageError, match=r"even one sample at a time takes about .* GiB, and 0.0 are free; lower --size"
    ):
        fitted(small_config(), SPEC, CPU, "fp32", None)


def test_on_a_gpu_steps_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in for a GPU on which no more than two samples fit, whatever the estimate says."""
    tried: list[int] = []

    class StandIn:
        def __init__(self, *_: object) -> None:
            pass

        def step(self, *parts: Batch) -> None:
            tried.append(len(parts[0].target))
            if tried[-1] > 2:
                raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(memory, "Trainer", StandIn)
    monkeypatch.setattr(memory, "free_memory", lambda device: 2**40)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    found, _ = fitted(small_config(train__batch_size=8), SPEC, torch.device("cuda"), "fp32", None)
    assert (tried, found.train.accumulate) == ([8, 4, 2], 4)


def test_a_trial_step_trains_every_network(monkeypatch: pytest.MonkeyPatch) -> None:
    config = small_config(train__generator_start=0.5, train__gan_start=0.9)
    losses: list[str] = []
    step = Trainer.step
    monkeypatch.setattr(Trainer, "step", lambda self, *parts: losses.extend(step(self, *parts).losses))
    assert memory._try_step(config, SPEC, CPU, "fp32", None, 1)
    assert {"loss_mcl", "loss_rec", "loss_gan", "loss_discriminator"} <= set(losses)


COMMAND = "fit --plugin shapes --preset tiny --size 32 --max-steps 1 --workers 0 --device cpu --run r"
FIT = COMMAND.split(" ")


@pytest.mark.slow
def test_fit_says_how_and_keeps_it_on_resume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    dry = run(*FIT, "--dry-run", "--json", "--set", "train.accumulate=2")
    needed = MARGIN / USABLE * sum(json.loads(dry.output)["memory"].values())
    monkeypatch.setattr(memory, "free_memory", lambda device: int(1.02 * needed))
    result = run(*FIT, "--batch-size", "auto", "--set", "train.validation_samples=0")
    assert result.exit_code == 0, result.output
    assert "batch 8 in 2 parts of 4: takes about" in result.output

    monkeypatch.setattr(memory, "free_memory", lambda device: 2**50)
    result = run(*FIT, "--batch-size", "auto", "--resume", "--max-steps", "2")
    assert result.exit_code == 0, result.output
    train = json.loads(Path("r/config.json").read_text())["train"]
    assert (train["batch_size"], train["accumulate"]) == (8, 2)


def test_a_batch_size_that_is_none() -> None:
    result = run(*FIT, "--batch-size", "many")
    assert (result.exit_code, "many: must be a number of samples, or auto" in result.output) == (2, True)
