"""Loggers: where people watch runs (train.loggers). ``followers`` hands a run's rows and sample grids on to them."""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image

from mcltool.core.errors import UsageError
from mcltool.core.pictures import Picture


class Logger(Protocol):
    """Where a run is shown. Anything may be raised: it is said once, and the logger is started again later."""

    def start(self, folder: Path, run: str, step: int, config: Mapping[str, Any]) -> int:
        """Begin the run with the id ``run``, or go on with it; returns the last step that is there.

        A kill may come between any two lines: ``step`` is the last that is known to have been logged (0: none), and
        the logger may hold more, or less. folder: the run folder. config: every setting by its address.
        """

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        """Show numbers by name, like "loss/mcl", and the sample grid of a step; steps come in order."""

    def finish(self) -> None:
        """All has been logged, for now."""


class TensorBoard(Logger):
    """Event files in RUN/tensorboard."""

    def start(self, folder: Path, run: str, step: int, config: Mapping[str, Any]) -> int:
        from torch.utils.tensorboard.writer import SummaryWriter

        # Readers leave out what earlier files have from purge_step on.
        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=step + 1)
        return step

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

    def start(self, folder: Path, run: str, step: int, config: Mapping[str, Any]) -> int:
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
        return step if is_online else _last_step_in(folder, run)

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        import wandb

        pictures = {"samples": wandb.Image(str(picture))} if picture else {}
        self._run.log({**values, **pictures}, step=step, commit=True)  # else it waits for the next step

    def finish(self) -> None:
        self._run.finish()


MLFLOW_TAG = "mcltool_run"


class MLflow(Logger):
    """MLflow, at MLFLOW_TRACKING_URI; the experiment is MLFLOW_EXPERIMENT_NAME, or mcltool."""

    def start(self, folder: Path, run: str, step: int, config: Mapping[str, Any]) -> int:
        from mlflow import MlflowClient
        from mlflow.entities import Param

        self._client = client = MlflowClient()
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", "mcltool")
        known = client.get_experiment_by_name(name)
        experiment = known.experiment_id if known else client.create_experiment(name)
        found = client.search_runs([experiment], f"tags.{MLFLOW_TAG} = '{run}'") or [
            client.create_run(experiment, run_name=folder.resolve().name, tags={MLFLOW_TAG: run})
        ]
        self._id, data = found[0].info.run_id, found[0].data
        if not data.params:
            client.log_batch(
                self._id, params=[Param(address, str(value)) for address, value in config.items()]
            )
        client.update_run(self._id, "RUNNING")
        names = " ".join(file.path for file in client.list_artifacts(self._id, "images"))
        self._pictured = {int(number) for number in re.findall(r"step\W(\d+)\S*compressed", names)}
        return max((client.get_metric_history(self._id, key)[-1].step for key in data.metrics), default=0)

    def log(self, step: int, values: Mapping[str, float], picture: Path | None) -> None:
        from mlflow.entities import Metric

        if picture and step not in self._pictured:  # first: the numbers say that a step is there
            self._client.log_image(self._id, _pixels(picture), key="samples", step=step)
        now = int(1000 * time.time())
        self._client.log_batch(self._id, [Metric(name, value, now, step) for name, value in values.items()])

    def finish(self) -> None:
        self._client.set_terminated(self._id)


LOGGERS: Mapping[str, type[Logger]] = {"tensorboard": TensorBoard, "wandb": WandB, "mlflow": MLflow}
"""By the name that train.loggers, the extra and the library have."""


def check_loggers(names: Sequence[str]) -> None:
    """Raises UsageError where the library of a logger is not installed."""
    for name in names:
        if find_spec(name) is None:
            raise UsageError(f"train.loggers: {name} is not installed; pip install 'mcltool[{name}]'")


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


def _pixels(picture: Path) -> Picture:
    with Image.open(picture) as image:
        return np.asarray(image.convert("RGB"))
