"""Loggers follow a run folder: every step once and in order, across outages, hangs, kills and resumed runs."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from training import small_config, small_job

from mcltool.cli.main import cli
from mcltool.core.config import Config
from mcltool.core.pictures import save_png
from mcltool.train import followers, loggers
from mcltool.train.followers import Follower
from mcltool.train.loop import fit
from mcltool.train.run_folder import RunFolder


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


class Recorded:
    """A logger that keeps what it is given. fails: how often ``log`` raises first. hangs: until this is set. killed:
    at this step, after it was taken. there: the last step that is there when it starts; None: what it is told."""

    def __init__(
        self, fails: int = 0, hangs: threading.Event | None = None, killed: int = 0, there: int | None = None
    ) -> None:
        self.fails, self.hangs, self.killed, self.there = fails, hangs, killed, there
        self.seconds_to_start = 0.0
        self.runs: list[str] = []
        self.events: list[tuple[int, Mapping[str, float], str]] = []
        self.finished = 0

    def start(self, folder: Path, run: str, step: int, config: Mapping[str, Any]) -> int:
        self.runs.append(run)
        time.sleep(self.seconds_to_start)
        return step if self.there is None else self.there

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        if self.hangs:
            self.hangs.wait()
        if self.fails:
            self.fails -= 1
            raise ConnectionError("no route\nto host")
        self.events.append((step, dict(values), picture.name if picture else ""))
        if step == self.killed:
            raise Killed

    def finish(self) -> None:
        self.finished += 1

    @property
    def steps(self) -> list[int]:
        return [step for step, _, _ in self.events]


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    return RunFolder(tmp_path / "run")


def write(folder: RunFolder, *steps: int, grid: int | None = None) -> None:
    folder.path.mkdir(exist_ok=True)
    if grid is not None:
        save_png(folder.sample_file(grid), np.zeros((4, 4, 3), np.uint8))
    for step in steps:
        folder.append({"step": step, "loss_mcl": step / 2, "loss_cyc": None, "lr": 0.1})


def follow(folder: RunFolder, logger: Recorded, *steps: int) -> None:
    """Hand on ``steps`` one by one, then end."""
    follower = Follower("recorded", logger, folder, {})
    for step in steps:
        follower.hand_on(step)
    follower.ending.set()
    follower.hand_on(steps[-1])
    follower.wait()


def test_rows_and_grids_are_handed_on_in_order_by_grouped_names(folder: RunFolder) -> None:
    logger = Recorded()
    write(folder, 1, 2, grid=2)
    write(folder, 4, grid=3)
    follow(folder, logger, 4)
    numbers = {step: {"loss/mcl": step / 2, "lr": 0.1} for step in (1, 2, 4)}  # null is no number
    assert logger.events == [
        (1, numbers[1], ""),
        (2, numbers[2], "step-000002.png"),
        (3, {}, "step-000003.png"),
        (4, numbers[4], ""),
    ]
    assert (len(logger.runs), logger.finished) == (1, 1)


def test_a_resumed_run_goes_on_as_the_same_run_with_every_step_once(folder: RunFolder) -> None:
    """Killed at 5, of which 4 was handed on; going on from the checkpoint at 3, steps 4 and 5 are made again."""
    first, second = Recorded(), Recorded()
    write(folder, 1, 2, 3, 4, 5)
    follow(folder, first, 4)
    folder.forget_after(3)
    write(folder, 4, 5, 6)
    follow(folder, second, 4, 5, 6)
    assert first.steps + second.steps == [1, 2, 3, 4, 5, 6]
    assert first.runs == second.runs


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_killed_between_logging_a_step_and_noting_it_the_logger_says_what_is_there(folder: RunFolder) -> None:
    """RUN/loggers says 2 and the logger has 3; or the logger lost what it took, and has 1."""
    write(folder, 1, 2, 3, 4)
    first = Recorded(killed=3)
    follow(folder, first, 4)
    noted = json.loads((folder.path / "loggers" / "recorded.json").read_text())
    assert (first.steps, noted) == ([1, 2, 3], {"run": first.runs[0], "step": 2})
    for there, missing in ((3, [4]), (1, [2, 3, 4])):
        (folder.path / "loggers" / "recorded.json").write_text(json.dumps(noted))
        again = Recorded(there=there)
        follow(folder, again, 4)
        assert (again.runs, again.steps) == (first.runs, missing)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_killed_while_it_starts_a_logger_goes_on_with_the_run_that_it_may_have_begun(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 1)
    first, second = Recorded(), Recorded()
    start = first.start

    def killed(*args: Any) -> int:
        start(*args)
        raise Killed

    monkeypatch.setattr(first, "start", killed)
    follow(folder, first, 1)
    follow(folder, second, 1)
    assert (first.runs, second.steps) == (second.runs, [1])


@pytest.mark.slow
def test_a_run_that_was_killed_at_its_end_hands_on_the_rest_when_resumed(
    tmp_path: Path, monkeypatch: Any
) -> None:
    first, second = Recorded(fails=99), Recorded()
    monkeypatch.setattr("mcltool.train.job.check_loggers", lambda _: None)
    for logger in (first, second):
        monkeypatch.setitem(loggers.LOGGERS, "tensorboard", lambda logger=logger: logger)
        fit(small_job(tmp_path, resume=logger is second, train__loggers=["tensorboard"]))
    assert (first.steps, second.steps) == ([], [1, 2, 3, 4, 5, 6])


def test_a_logger_that_is_added_later_gets_all_that_was_logged(folder: RunFolder) -> None:
    logger = Recorded()
    write(folder, 1, 2, 3)
    follow(folder, logger, 3)
    assert logger.steps == [1, 2, 3]


def test_an_outage_is_one_line_and_what_was_missed_follows(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(followers, "RETRY", 0.02)
    logger = Recorded(fails=3)
    write(folder, 1, 2)
    follower = Follower("recorded", logger, folder, {})
    with caplog.at_level(logging.WARNING, "mcltool"):
        follower.hand_on(2)
        deadline = time.monotonic() + 20
        while logger.steps != [1, 2] and time.monotonic() < deadline:
            time.sleep(0.01)
    assert logger.steps == [1, 2]
    assert [record.message for record in caplog.records] == [
        "recorded: no route to host (training goes on; what is missing follows when it works again, or with "
        "fit --resume)"
    ]


def test_a_logger_that_hangs_holds_nothing_up(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(followers, "PATIENCE", 0.05)
    monkeypatch.setattr(followers, "STARTING", 0.05)
    over = threading.Event()
    write(folder, 1, 2)
    with caplog.at_level(logging.WARNING, "mcltool"):
        follow(folder, Recorded(hangs=over), 1, 2)
    assert "recorded: does not answer" in caplog.text
    over.set()


def test_a_logger_that_takes_long_to_start_is_waited_for(
    folder: RunFolder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """mlflow imports its library and makes a database first: on a busy machine longer than PATIENCE."""
    monkeypatch.setattr(followers, "PATIENCE", 0.05)
    logger = Recorded()
    logger.seconds_to_start = 0.3
    write(folder, 1, 2)
    follow(folder, logger, 1, 2)
    assert (logger.steps, logger.finished, caplog.text) == ([1, 2], 1, "")


def test_a_run_hands_its_rows_and_grids_to_the_loggers_it_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also under the name that the setting had first."""
    logger = Recorded()
    monkeypatch.setitem(loggers.LOGGERS, "tensorboard", lambda: logger)  # type: ignore[index]
    monkeypatch.setattr("mcltool.train.job.check_loggers", lambda _: None)
    fit(small_job(tmp_path, train__tensorboard=True))
    assert logger.steps == [1, 2, 3, 4, 5, 6]
    row = RunFolder(tmp_path).rows()[-1]
    assert logger.events[-1][1]["loss/mcl"] == row["loss_mcl"]
    assert logger.events[-1][2] == "step-000006.png"
    assert logger.finished == 1


def test_runs_and_weights_of_the_last_release_are_read(tmp_path: Path) -> None:
    text = small_config().to_json().replace('"loggers": []', '"tensorboard": true')
    assert Config.from_json(text).train.loggers == ("tensorboard",)


def test_a_logger_that_is_not_installed_is_one_line_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loggers, "find_spec", lambda _: None)
    arguments = ["fit", "--plugin", "shapes", "--run", str(tmp_path / "r"), "--size", "32", "--device", "cpu"]
    result = CliRunner().invoke(cli, [*arguments, "--set", 'train.loggers=["wandb"]'])
    assert result.exit_code == 2
    assert result.output == "mcltool: train.loggers: wandb is not installed; pip install 'mcltool[wandb]'\n"
    assert not (tmp_path / "r").exists()


# --- the real ones, each where its extra is installed ---


def killed_and_resumed(run: Path, logger: str) -> None:
    """A fit of 50 steps that is killed after some, and goes on."""
    settings = {name: value for name, value in small_config().settings().items() if name.startswith("model.")}
    settings |= {"data.size": [32, 32], "data.workers": 0, "train.batch_size": 1, "train.log_every": 1}
    settings |= {"train.checkpoint_every": 20, "train.sample_every": 10, "train.validation_samples": 0}
    command = [
        sys.executable,
        "-m",
        "mcltool",
        "fit",
        "--plugin",
        "shapes",
        "--run",
        str(run),
        "--device",
        "cpu",
    ]
    command += ["--precision", "fp32", "--max-steps", "50", "--set", f'train.loggers=["{logger}"]']
    for name, value in settings.items():
        command += ["--set", f"{name}={json.dumps(list(value) if isinstance(value, tuple) else value)}"]
    state = run / "loggers" / f"{logger}.json"
    with subprocess.Popen(command, stderr=subprocess.DEVNULL, cwd=run.parent) as process:
        while not (state.exists() and json.loads(state.read_text())["step"] > 9):
            assert process.poll() is None, "the run ended before it could be killed"
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
    subprocess.run([*command, "--resume"], check=True, cwd=run.parent)


def test_tensorboard_has_every_step_once_and_the_grids(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    fit(small_job(tmp_path, train__loggers=["tensorboard"]))
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("loss/mcl")] == [1, 2, 3, 4, 5, 6]
    assert events.Scalars("loss/mcl")[-1].value == pytest.approx(RunFolder(tmp_path).rows()[-1]["loss_mcl"])
    assert events.Tags()["images"] == ["samples"]


@pytest.mark.slow
def test_mlflow_has_one_run_with_every_step_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    killed_and_resumed(tmp_path / "run", "mlflow")
    client = mlflow.MlflowClient(f"sqlite:///{tmp_path / 'mlflow.db'}")
    (run,) = client.search_runs([client.get_experiment_by_name("mcltool").experiment_id])
    assert run.info.status == "FINISHED"
    assert run.data.params["plugin"] == "shapes"
    history = client.get_metric_history(run.info.run_id, "loss/mcl")
    assert [metric.step for metric in history] == list(range(1, 51))
    rows = {row["step"]: row["loss_mcl"] for row in RunFolder(tmp_path / "run").rows()}
    assert {metric.step: metric.value for metric in history} == pytest.approx(rows)
    images = " ".join(file.path for file in client.list_artifacts(run.info.run_id, "images"))
    assert sorted(re.findall(r"step\W(\d+)\S*compressed", images)) == ["10", "20", "30", "40", "50"]


@pytest.mark.slow
def test_mlflow_says_which_steps_and_grids_it_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after step 2 and the grid of step 3, of whose numbers nothing was logged yet."""
    mlflow = pytest.importorskip("mlflow", reason="the extra mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.chdir(tmp_path)
    picture = tmp_path / "step-000003.png"
    save_png(picture, np.zeros((4, 4, 3), np.uint8))
    first, second = loggers.MLflow(), loggers.MLflow()
    assert first.start(tmp_path / "run", "id", 0, {"a": 1}) == 0
    first.log(1, {"lr": 0.1}, None)
    first.log(2, {"lr": 0.1, "val/psnr": 20.0}, None)
    first.log(3, {}, picture)
    assert second.start(tmp_path / "run", "id", 1, {"a": 2}) == 2
    second.log(3, {"lr": 0.1}, picture)
    second.finish()
    client = mlflow.MlflowClient()
    (run,) = client.search_runs([client.get_experiment_by_name("mcltool").experiment_id])
    assert (run.data.params, run.info.status) == ({"a": "1"}, "FINISHED")
    assert [metric.step for metric in client.get_metric_history(run.info.run_id, "lr")] == [1, 2, 3]
    assert len(client.list_artifacts(run.info.run_id, "images")) == 2  # one grid, and its thumbnail


def test_tensorboard_shows_a_step_once_that_was_logged_and_not_noted(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    first, second = loggers.TensorBoard(), loggers.TensorBoard()
    first.start(tmp_path, "id", 0, {})
    for step in (1, 2):
        first.log(step, {"lr": 0.1}, None)
    time.sleep(1.1)  # the files' names, by which they are ordered, count seconds
    assert second.start(tmp_path, "id", 1, {}) == 1
    for step in (2, 3):
        second.log(step, {"lr": 0.1}, None)
    second.finish()
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [event.step for event in events.Scalars("lr")] == [1, 2, 3]


@pytest.mark.slow
def test_wandb_offline_has_one_run_with_every_step_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("wandb", reason="the extra wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    killed_and_resumed(tmp_path / "run", "wandb")
    files = sorted((tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1  # one run id; wandb sync puts its parts together
    steps, pictures = [], []
    for file in files:
        for record in wandb_records(file):
            row = {
                item.nested_key[0] if item.nested_key else item.key: item.value_json
                for item in record.history.item
            }
            if "_step" in row:
                steps.append(int(row["_step"]))
                pictures += [int(row["_step"])] * any(key.startswith("samples") for key in row)
    assert steps == list(range(1, 51))
    assert pictures == [10, 20, 30, 40, 50]


def wandb_records(file: Path) -> Any:
    """The records of a .wandb file: LevelDB's log format (blocks of 32 KiB, pieces with a checksum, length and kind)
    behind a header of 7 bytes."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole = file.read_bytes(), 7, b""
    while place + 7 <= len(data):
        if (room := 32768 - place % 32768) < 7:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        whole += data[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # whole, or the last piece
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            whole = b""
            yield record
