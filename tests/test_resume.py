"""Checkpoints: a run that was cut off goes on exactly, from a whole checkpoint or not at all."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file
from training import SMALL, batches, fit_until, same, small_job, small_trainer

from mcltool.cli.main import cli
from mcltool.core.errors import McltoolError
from mcltool.train import checkpoints
from mcltool.train.loop import fit
from mcltool.train.recorder import Progress
from mcltool.train.run_folder import RunFolder

pytestmark = pytest.mark.slow


def cut_off_after(run: Path, steps: int, **changes: Any) -> None:
    """Train ``steps`` steps and leave as a kill would: nothing more is written."""
    fit_until(small_job(run, **changes), lambda progress: progress.result.step == steps)


def made(run: Path, step: int = 6) -> dict[str, torch.Tensor]:
    """Everything that the checkpoint of ``step`` holds."""
    folder = RunFolder(run).checkpoints / f"step-{step:06d}"
    return load_file(folder / "training.safetensors") | load_file(folder / "weights.safetensors")


def losses(run: Path) -> list[dict[str, float]]:
    return [
        {n: v for n, v in row.items() if n.startswith(("step", "loss", "val"))}
        for row in RunFolder(run).rows()
    ]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of 6 steps in one go."""
    run = tmp_path_factory.mktemp("resume") / "whole"
    fit(small_job(run))
    return run


# --- It goes on exactly ---


@pytest.mark.parametrize("workers", [0, 1])
def test_a_resumed_run_ends_with_the_bits_of_one_in_one_go(whole: Path, tmp_path: Path, workers: int) -> None:
    """Cut off at step 3, of which the checkpoint at 2 is kept; networks, moments and averages at the end agree."""
    cut_off_after(tmp_path / "run", 3, data__workers=workers)
    weights = fit(small_job(tmp_path / "run", resume=True, data__workers=workers))
    assert weights is not None
    assert same(made(tmp_path / "run"), made(whole))
    assert same(load_file(weights), load_file(whole / "weights.safetensors"))
    assert losses(tmp_path / "run") == losses(whole)


def test_accumulated_parts_resume_exactly_too(tmp_path: Path) -> None:
    fit(small_job(tmp_path / "whole", train__accumulate=2))
    cut_off_after(tmp_path / "run", 5, train__accumulate=2)
    fit(small_job(tmp_path / "run", resume=True, train__accumulate=2))
    assert same(made(tmp_path / "run"), made(tmp_path / "whole"))


def test_rows_and_samples_after_the_checkpoint_are_made_again_and_not_twice(tmp_path: Path) -> None:
    cut_off_after(tmp_path, 5, train__sample_every=1)
    assert [row["step"] for row in RunFolder(tmp_path).rows()] == [1, 2, 3, 4, 5]
    resumed = fit_until(small_job(tmp_path, resume=True, train__sample_every=1), lambda progress: True)
    assert [progress.result.step for progress in resumed] == [5]
    assert [row["step"] for row in RunFolder(tmp_path).rows()] == [1, 2, 3, 4, 5]
    assert [path.stem[-1] for path in RunFolder(tmp_path).sample_files()] == ["1", "2", "3", "4", "5"]


def test_resuming_a_finished_run_changes_nothing(whole: Path) -> None:
    before = made(whole)
    assert fit(small_job(whole, resume=True)) == whole / "weights.safetensors"
    assert same(made(whole), before)


def test_a_run_with_nothing_saved_yet_starts_from_the_beginning(whole: Path, tmp_path: Path) -> None:
    cut_off_after(tmp_path, 1)
    fit(small_job(tmp_path, resume=True))
    assert same(made(tmp_path), made(whole))
    assert losses(tmp_path) == losses(whole)


def test_a_resumed_run_may_be_made_longer(tmp_path: Path) -> None:
    fit(small_job(tmp_path, train__max_steps=2))
    assert fit(small_job(tmp_path, resume=True, train__max_steps=4)) is not None
    assert [row["step"] for row in RunFolder(tmp_path).rows()] == [1, 2, 3, 4]


def test_time_that_is_up_saves_the_step_and_has_no_weights_yet(whole: Path, tmp_path: Path) -> None:
    assert fit(small_job(tmp_path, max_minutes=0.0)) is None
    assert not RunFolder(tmp_path).weights.exists()
    assert checkpoints.newest_whole(RunFolder(tmp_path).checkpoints).step == 1  # type: ignore[union-attr]
    fit(small_job(tmp_path, resume=True))
    assert same(made(tmp_path), made(whole))


def test_others_may_read_what_a_run_writes_as_far_as_the_umask_lets_them(whole: Path, tmp_path: Path) -> None:
    (tmp_path / "plain").write_text("")
    usual = (tmp_path / "plain").stat().st_mode
    files = [path for path in whole.rglob("*") if path.is_file() and path.name != ".lock"]
    assert len(files) > 5
    assert {path: path.stat().st_mode for path in files} == dict.fromkeys(files, usual)


# --- Which checkpoint ---


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    class Scored:
        """Scores of the validation at steps 2, 4, ...: the best early on."""

        values = iter([0.5, 0.1, 0.4, 0.3, 0.2])

        def __call__(self, *_: object) -> dict[str, float]:
            return {"val_l1_warp": next(self.values)}

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mcltool.train.validation.Validation.scores", Scored())
        fit(small_job(tmp_path, train__max_steps=10, train__keep_checkpoints=2))
    kept = sorted(path.name for path in RunFolder(tmp_path).checkpoints.iterdir())
    assert kept == ["step-000004", "step-000008", "step-000010"]
    assert checkpoints.best(RunFolder(tmp_path).checkpoints).step == 4  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("file", "change", "what"),
    [
        ("training.safetensors", lambda data: data[:-1] + bytes([data[-1] ^ 1]), "not what was written"),
        ("weights.safetensors", lambda data: data[:100], "not what was written"),
        ("weights.safetensors", None, "missing or not readable"),
        ("state.json", lambda data: data[:20], "state.json is missing or not readable"),
        (
            "state.json",
            lambda data: data.replace(b'"format_version": 1', b'"format_version": 9'),
            "version 9",
        ),
    ],
)
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(
    whole: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, change: Any, what: str
) -> None:
    cut_off_after(tmp_path, 5)
    damaged = RunFolder(tmp_path).checkpoints / "step-000004" / file
    if change:
        damaged.write_bytes(change(damaged.read_bytes()))
    else:
        damaged.unlink()
    fit(small_job(tmp_path, resume=True))
    assert f"{damaged.parent}: damaged" in caplog.text
    assert what in caplog.text
    assert "going on from step 2" in caplog.text or caplog.records[0].levelname == "WARNING"
    assert same(made(tmp_path), made(whole))
    assert checkpoints.newest_whole(RunFolder(tmp_path).checkpoints).step == 6  # type: ignore[union-attr]


def test_what_a_killed_process_left_is_swept(whole: Path, tmp_path: Path) -> None:
    cut_off_after(tmp_path, 3)
    folder = RunFolder(tmp_path).checkpoints
    for rest in (".step-000004.tmp", ".step-000001.old"):
        (folder / rest).mkdir()
        (folder / rest / "training.safetensors").write_bytes(b"half")
    fit(small_job(tmp_path, resume=True))
    assert [path.name for path in folder.iterdir() if path.name.startswith(".")] == []
    assert same(made(tmp_path), made(whole))


def full_disk(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("writer", ["save_weights", "save_file"])
def test_a_full_disk_ends_the_run_with_the_older_checkpoints_intact(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, writer: str
) -> None:
    with monkeypatch.context() as patch:

        def fill(progress: Progress) -> None:
            if progress.result.step == 3:
                patch.setattr(checkpoints, writer, full_disk)

        with pytest.raises(
            McltoolError, match=r"step-000004: the checkpoint cannot be written \(No space left"
        ):
            fit(small_job(tmp_path), fill)
    folder = RunFolder(tmp_path).checkpoints
    assert [path.name for path in folder.iterdir()] == ["step-000002"]
    fit(small_job(tmp_path, resume=True))
    assert same(made(tmp_path), made(whole))


def test_a_trainer_restored_in_another_memory_layout_takes_the_same_step(tmp_path: Path) -> None:
    """Files hold tensors contiguously, training has channels last: moments must lie as their weights do."""
    ours, theirs = small_trainer(), small_trainer(train__seed=5)
    (batch,) = batches(ours.config)
    ours.step(batch)
    tensors, values = checkpoints.state_of(ours)
    contiguous = {name: tensor.contiguous() for name, tensor in tensors.items()}
    checkpoints.load_state(theirs, ours.average.state_dict(), contiguous, values)
    ours.step(batch)
    theirs.step(batch)
    assert same(checkpoints.state_of(ours)[0], checkpoints.state_of(theirs)[0])


# --- From the command line ---


def run(*args: str) -> Result:
    quick = [
        "--set",
        "model.encoder_widths=[8,8,16,16]",
        "--set",
        "train.validation_samples=2",
        "--size",
        "32",
    ]
    return CliRunner().invoke(cli, ["fit", "--workers", "0", "--device", "cpu", *quick, *args])


SHAPES = ("--plugin", "shapes", "--batch-size", "2", "--max-steps", "2", "--precision", "fp32")


def test_the_same_command_with_resume_goes_on_or_starts(tmp_path: Path) -> None:
    command = [*SHAPES, "--run", str(tmp_path / "run"), "--resume"]
    first = run(*command, "--max-minutes", "0")
    assert first.exit_code == 0, first.output
    assert f"saved at step 1 of 2; go on with: mcltool fit --resume --run {tmp_path / 'run'}" in first.output
    assert "weights:" not in first.output
    second = run(*command)
    assert second.exit_code == 0, second.output
    assert "going on from step 1" in second.output
    assert f"weights: {tmp_path / 'run' / 'weights.safetensors'}" in second.output


def test_without_a_run_the_newest_is_resumed_and_says_which_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(*SHAPES, "--max-minutes", "0").exit_code == 0
    assert "runs/shapes-1: going on from step 1" in run("--resume").output
    refused = run("--resume", "--plugin", "ade20k")
    assert (refused.exit_code, refused.output) == (
        2,
        "mcltool: runs: no run of ade20k to resume; name its folder with --run\n",
    )


def test_what_may_not_change_is_named_with_what_may(tmp_path: Path) -> None:
    command = [*SHAPES, "--run", str(tmp_path / "run"), "--resume"]
    assert run(*command, "--max-minutes", "0").exit_code == 0
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    result = run(*command, "--seed", "7", "--set", "loss.mcl=0.5", "--preset", "paper")
    assert result.exit_code == 2
    for words in (
        "preset is tiny, not paper",
        "train.seed is 0, not 7",
        "loss.mcl is 0.1, not 0.5",
        "data.workers",
    ):
        assert words in result.output
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
    assert run(*command, "--set", "train.log_every=3", "--precision", "auto").exit_code == 0


# --- Signals and kills ---


def small_network() -> list[str]:
    """Options for networks of some ten thousand parameters."""
    settings = {name: value for name, value in SMALL.items() if name.startswith("model.")}
    return [word for name, value in settings.items() for word in ("--set", f"{name}={toml(value)}")]


def toml(value: Any) -> str:
    return str(list(value)) if isinstance(value, tuple) else str(value)


def start(folder: Path, *args: str) -> subprocess.Popen[str]:
    """``mcltool fit`` in a process of its own, which has trained at least two steps when this returns."""
    command = [
        sys.executable, "-m", "mcltool", "fit", *SHAPES, "--device", "cpu", "--workers", "1", "--size", "32",
        "--max-steps", "400", "--run", str(folder), "--set", "train.validation_samples=2",
        "--set", "train.checkpoint_every=2", "--set", "train.log_every=1", *small_network(), *args,
    ]  # fmt: skip
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 240
    while len(RunFolder(folder).rows()) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_the_step_saves_and_says_how_to_go_on(tmp_path: Path, number: int, code: int) -> None:
    process = start(tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == code, errors
    assert "saving; Ctrl-C again quits at once" in errors.splitlines()[:-1]
    assert f"go on with: mcltool fit --resume --run {tmp_path}" in errors.splitlines()[-1]
    last = RunFolder(tmp_path).rows()[-1]["step"]
    assert checkpoints.newest_whole(RunFolder(tmp_path).checkpoints).step == last  # type: ignore[union-attr]


def test_two_runs_in_one_folder_are_refused_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    go_on = ["fit", "--resume", "--run", str(tmp_path), "--device", "cpu", "--max-minutes", "0"]
    process = start(tmp_path)
    second = CliRunner().invoke(cli, go_on)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert second.exit_code == 2, second.output
    assert f"{tmp_path}: another process trains in it (process {process.pid})" in second.output
    third = CliRunner().invoke(cli, go_on)
    assert third.exit_code == 0, third.output
