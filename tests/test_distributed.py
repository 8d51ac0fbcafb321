"""Several processes that train together, on the CPU with gloo: against one process, and with one of them lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from click.testing import CliRunner
from safetensors.torch import load_file, save_file
from training import batches, small_trainer

from mcltool.cli.main import cli
from mcltool.train.checkpoints import newest_whole
from mcltool.train.distributed import ALONE, Ranks, connected
from mcltool.train.run_folder import RunFolder
from mcltool.train.trainer import Trainer

pytestmark = pytest.mark.slow

TOLERANCE = 5e-5
"""Of a gradient, relative to the network's largest: float32 sums in another order."""
JOINING = {
    "train__batch_size": 4, "train__generator_start": 0.2, "train__gan_start": 0.3, "train__lr": 1e-7,
    "train__lr_discriminator": 1e-7,
}  # fmt: skip
"""The networks join one after the other. Steps are minute: Adam makes a whole step of the smallest gradient,
so that after a few of its usual ones two runs differ by more than the order of their sums."""


def gradients(trainer: Trainer) -> dict[str, torch.Tensor]:
    both = {"net": trainer.net, "discriminator": trainer.discriminator}
    return {
        f"{part}.{name}": p.grad.contiguous()
        for part, module in both.items()
        for name, p in module.named_parameters()
        if p.grad is not None
    }


def one_of_two(rank: int, folder: str) -> None:
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": Path(folder, "port").read_text()}
    torch.set_num_threads(1)
    with connected(torch.device("cpu")) as ranks:
        assert (ranks.rank, ranks.world, ranks.main) == (rank, 2, rank == 0)
        trainer = small_trainer(ranks, **JOINING)
        (batch,) = batches(trainer.config, ranks)
        results = [trainer.step(batch) for _ in range(3)]  # the networks join one after the other
        save_file(gradients(trainer), Path(folder, f"{rank}.safetensors"))
        assert ranks.any(rank == 1, trainer.device)
        assert not ranks.any(False, trainer.device)
        total = torch.tensor([result.losses["loss_total"] for result in results])
        assert torch.equal(ranks.mean(total.clone()), total)  # what is logged is the mean over both already
    assert not dist.is_initialized()


def free_port() -> str:
    import socket

    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return str(found.getsockname()[1])


def test_two_processes_have_the_gradients_of_one_with_the_doubled_batch(tmp_path: Path) -> None:
    (tmp_path / "port").write_text(free_port())
    mp.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    alone = small_trainer(**JOINING)
    (batch,) = batches(alone.config)
    for _ in range(3):
        alone.step(batch)
    expected = gradients(alone)
    assert any(name.startswith("net.generator") for name in expected)
    assert any(name.startswith("discriminator") for name in expected)
    first, second = (load_file(tmp_path / f"{rank}.safetensors") for rank in (0, 1))
    assert first.keys() == second.keys() == expected.keys()
    for name, gradient in expected.items():
        assert torch.equal(first[name], second[name]), name
        error = float((first[name] - gradient).abs().max())
        largest = max(
            float(g.abs().max()) for n, g in expected.items() if n.split(".")[0] == name.split(".")[0]
        )
        assert error < TOLERANCE * largest, (name, error, largest)


def test_one_process_is_not_connected_to_anything() -> None:
    with connected(torch.device("cpu")) as ranks:
        assert ranks is ALONE
        assert not dist.is_initialized()
    module = torch.nn.Linear(2, 2)
    assert ALONE.wrap(module) is module
    assert (Ranks(1, 2, 1).main, ALONE.main) == (False, True)


def test_torchrun_without_a_run_folder_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    result = CliRunner().invoke(cli, ["fit", "--plugin", "shapes"])
    assert result.exit_code == 2
    assert "--run-dir: name the run folder" in result.output


def children(parent: int) -> list[int]:
    """Processes started by ``parent`` that run mcltool, the first rank first."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(fields[1]) == parent and b"mcltool" in command:
                found.append(int(entry.name))
    return sorted(found)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="finds the ranks through /proc")
def test_a_lost_rank_is_restarted_and_the_run_finishes(tmp_path: Path) -> None:
    """kill -9 of the second rank: torchrun starts both again, and they go on from the last checkpoint."""
    run = tmp_path / "run"
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--max-restarts", "1",
        "-m", "mcltool", "fit", "--plugin", "shapes", "--run-dir", str(run), "--device", "cpu", "--precision", "fp32",
        "--size", "32", "--batch-size", "2", "--workers", "0", "--max-steps", "24",
        "--set", "train.checkpoint_every=4", "--set", "train.log_every=1", "--set", "train.validation_samples=2",
        "--set", "model.encoder_widths=[8,8,16,16]",
    ]  # fmt: skip
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    deadline = time.monotonic() + 200
    while len(RunFolder(run).rows()) < 6:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(children(process.pid)[-1], signal.SIGKILL)
    output, _ = process.communicate(timeout=200)
    assert process.returncode == 0, output
    assert [row["step"] for row in RunFolder(run).rows()] == list(range(1, 25))
    assert output.count("going on from step") == 1
    assert output.count(f"weights: {run / 'weights.safetensors'}") == 1  # one of the two speaks
    newest = newest_whole(RunFolder(run).checkpoints)
    assert newest is not None
    assert newest.step == 24
