"""Loggers: a run's rows and sample grids, handed on to where people watch runs (train.loggers).

Each logger follows the run folder in a thread of its own: it hands on what metrics.jsonl and samples/ have beyond the
last step that it handed on, which RUN/loggers/NAME.json keeps. So an outage delays a logger and never the training,
nothing waits in memory, and a resumed run goes on as the same run with every step once.
"""

from __future__ import annotations

import json
import logging
import os
import struct
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from mcltool.core.config import Config
from mcltool.core.errors import UsageError
from mcltool.core.files import parse_json, read_json, write_text
from mcltool.core.pictures import Picture
from mcltool.train.run_folder import RunFolder, step_of

RETRY, PATIENCE = 60.0, 30.0
"""Seconds after which a logger that failed is tried again, and that the end of a run waits for a logger to go on."""

log = logging.getLogger(__name__)


class Logger(Protocol):
    """Where a run is shown. Anything may be raised: it is said once, and the logger is started again later.

    last: the last step that is there for sure, after ``start``; None: the last that ``log`` was called for.
    """

    last: int | None = None

    def start(self, folder: Path, run: str | None, config: Mapping[str, Any]) -> str:
        """Begin a run, or go on with ``run``, of an earlier start; returns its id. folder: the run folder. config:
        every setting by its address."""

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        """Show numbers by name, like "loss/mcl", and the sample grid of a step; steps come in order."""

    def finish(self) -> None:
        """All has been logged, for now."""


class TensorBoard(Logger):
    """Event files in RUN/tensorboard."""

    def start(self, folder: Path, run: str | None, config: Mapping[str, Any]) -> str:
        from torch.utils.tensorboard.writer import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"))
        return folder.name

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        if picture:
            self._writer.add_image("samples", _pixels(picture), step, dataformats="HWC")
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


class WandB(Logger):
    """Weights & Biases; files of an offline run (WANDB_MODE=offline) are in RUN/wandb."""

    def start(self, folder: Path, run: str | None, config: Mapping[str, Any]) -> str:
        import wandb

        settings = wandb.Settings(silent=True, console="off")
        is_online = os.environ.get("WANDB_MODE", "online") == "online"
        if is_online and not wandb.login(prompt=False, verify=False):  # else it would ask for one
            raise UsageError("not logged in; run 'wandb login', or set WANDB_MODE=offline")
        self._run = wandb.init(
            project=os.environ.get("WANDB_PROJECT", "mcltool"),
            name=folder.resolve().name,
            id=run,
            resume="allow" if is_online else None,
            dir=folder,
            config=dict(config),
            settings=settings,
        )
        self.last = _last_step_in(folder, run) if run and not is_online else None
        return str(self._run.id)

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        import wandb

        pictures = {"samples": wandb.Image(str(picture))} if picture else {}
        self._run.log({**values, **pictures}, step=step, commit=True)  # else it waits for the next step

    def finish(self) -> None:
        self._run.finish()


class MLflow(Logger):
    """MLflow, at MLFLOW_TRACKING_URI; the experiment is MLFLOW_EXPERIMENT_NAME, or mcltool."""

    def start(self, folder: Path, run: str | None, config: Mapping[str, Any]) -> str:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = MlflowClient()
        if run is None:
            name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mcltool")
            known = self._client.get_experiment_by_name(name)
            experiment = known.experiment_id if known else self._client.create_experiment(name)
            run = self._client.create_run(experiment, run_name=folder.resolve().name).info.run_id
            params = [Param(address, str(value)) for address, value in config.items()]
            self._client.log_batch(run, params=params)
        self._client.update_run(run, "RUNNING")
        self._id = run
        return str(run)

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        from mlflow.entities import Metric

        now = int(1000 * time.time())
        self._client.log_batch(self._id, [Metric(name, value, now, step) for name, value in values.items()])
        if picture:
            self._client.log_image(self._id, _pixels(picture), key="samples", step=step)

    def finish(self) -> None:
        self._client.set_terminated(self._id)


LOGGERS: Mapping[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
"""By the name that train.loggers, the extra and the library have."""


def check_loggers(names: Sequence[str]) -> None:
    """Raises UsageError where the library of a logger is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UsageError(f"train.loggers: {name} is not installed; pip install 'mcltool[{name}]'")


class Followers:
    """The loggers of a run."""

    def __init__(self, folder: RunFolder, config: Config) -> None:
        settings = {name: _plain(value) for name, value in config.settings().items()} | {
            "plugin": config.plugin, "preset": config.preset
        }  # fmt: skip
        self._all = [Follower(name, LOGGERS[name](), folder, settings) for name in config.train.loggers]

    def hand_on(self, step: int) -> None:
        """All rows and grids up to ``step`` are in the run folder."""
        for follower in self._all:
            follower.hand_on(step)

    def close(self, step: int) -> None:
        """Hand on what is left up to ``step``, as long as a logger takes something every PATIENCE seconds."""
        for follower in self._all:
            follower.ending.set()
            follower.hand_on(step)
        for follower in self._all:
            follower.wait()


class Follower:
    """A logger and the thread that follows the run folder for it."""

    def __init__(self, name: str, logger: Logger, folder: RunFolder, config: Mapping[str, Any]) -> None:
        self.name, self.logger, self.folder, self.config = name, logger, folder, config
        self.wake, self.ending = threading.Event(), threading.Event()
        self._state_file = folder.path / "loggers" / f"{name}.json"
        self._limit, self._handed_on, self._warned = -1, 0, False
        self._thread: threading.Thread | None = None

    def hand_on(self, step: int) -> None:
        self._limit = step
        self.wake.set()
        if self._thread is None:  # not before the first step: by then loader processes have been forked
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until all is handed on, or nothing was for PATIENCE seconds."""
        before = -1
        while self._thread and self._thread.is_alive() and self._handed_on > before:
            before = self._handed_on
            self._thread.join(PATIENCE)
        if self._thread and self._thread.is_alive():
            self._warn(f"does not answer for {PATIENCE:g} s")

    def _run(self) -> None:
        while True:
            try:
                return self._follow()
            except Exception as error:  # of someone else's library or network: training goes on
                self._warn(" ".join(str(error).split())[:300] or type(error).__name__)
            if self.ending.wait(RETRY):
                return

    def _warn(self, cause: str) -> None:
        if not self._warned:
            way = "training goes on; what is missing follows when it works again, or with fit --resume"
            log.warning("%s: %s (%s)", self.name, cause, way)
        self._warned = True

    def _follow(self) -> None:
        kept = self._state_file
        state: dict[str, Any] = read_json(kept) if kept.exists() else {"run": None, "step": 0}
        state["run"] = self.logger.start(self.folder.path, state["run"], self.config)
        state["step"] = state["step"] if self.logger.last is None else self.logger.last
        self._keep(state)
        offset = 0
        while True:
            is_last = self.ending.is_set()
            rows, offset = self._rows(offset, limit := self._limit)
            for step, values, picture in self._events(rows, state["step"], limit):
                self.logger.log(step, values, picture)
                state["step"] = self._handed_on = step
                self._keep(state)
            if is_last:
                return self.logger.finish()
            self.wake.wait()
            self.wake.clear()

    def _keep(self, state: Mapping[str, Any]) -> None:
        write_text(self._state_file, json.dumps(state) + "\n")

    def _rows(self, offset: int, limit: int) -> tuple[dict[int, dict[str, float]], int]:
        """Rows of metrics.jsonl from ``offset`` (bytes) up to the step ``limit``, and where they end."""
        rows: dict[int, dict[str, float]] = {}
        if not self.folder.metrics_file.exists():
            return rows, offset
        with self.folder.metrics_file.open("rb") as file:
            file.seek(offset)
            for line in file:
                row = parse_json(line) if line.endswith(b"\n") else {"step": limit + 1}
                step = row.pop("step")
                if step > limit:
                    break
                rows[step] = {_title(name): value for name, value in row.items() if value is not None}
                offset += len(line)
        return rows, offset

    def _events(
        self, rows: Mapping[int, dict[str, float]], after: int, limit: int
    ) -> Iterator[tuple[int, dict[str, float], Path | None]]:
        """What was logged at steps above ``after`` up to ``limit``, in order."""
        pictures = {step_of(path): path for path in self.folder.sample_files()}
        for step in sorted({*rows, *pictures}):
            if after < step <= limit:
                yield step, rows.get(step, {}), pictures.get(step)


def _last_step_in(folder: Path, run: str) -> int:
    """The last step in the .wandb files of an offline run: wandb writes them in a process of its own, which a kill -9
    ends before all is written. They are LevelDB's log format behind 7 bytes: blocks of 32 KiB with pieces of records,
    each after its checksum, length and kind."""
    from wandb.proto import wandb_internal_pb2

    last = 0
    for file in folder.glob(f"wandb/offline-run-*/run-{run}.wandb"):
        data, place, record = file.read_bytes(), 7, b""
        while place + 7 <= len(data):
            room = 32768 - place % 32768
            if room < 7:
                place += room
                continue
            _, length, kind = struct.unpack_from("<IHB", data, place)
            record += data[place + 7 : place + 7 + length]
            place += 7 + length
            if kind in (1, 4):  # a whole record, or the last piece of one
                parsed, record = wandb_internal_pb2.Record.FromString(record), b""
                last = max(
                    [
                        last,
                        *(int(item.value_json) for item in parsed.history.item if "_step" in item.nested_key),
                    ]
                )
    return last


def _title(name: str) -> str:
    """loss_mcl -> loss/mcl: loggers put what has the same beginning side by side."""
    kind, _, rest = name.partition("_")
    return f"{kind}/{rest}" if kind in ("loss", "val") else name


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _pixels(picture: Path) -> Picture:
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB"))
