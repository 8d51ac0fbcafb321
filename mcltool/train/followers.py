"""Threads that pass a run's rows and sample grids to its loggers.

Each follows the run folder by itself: it hands on what metrics.jsonl and samples/ have beyond the last step that it
handed on, which RUN/loggers/NAME.json keeps. So an outage delays a logger and never the training, nothing waits in
memory, and a resumed run goes on as the same run with every step once.
"""

from __future__ import annotations

import json
import logging
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mcltool.core.config import Config
from mcltool.core.files import parse_json, read_json, write_text
from mcltool.train.loggers import LOGGERS, Logger
from mcltool.train.run_folder import RunFolder, step_of

RETRY, STARTING, PATIENCE = 60.0, 180.0, 30.0
"""Seconds after which a logger that failed is tried again; that its first start may take (it imports its library
and makes a database); and that the end of a run waits for it to go on."""

log = logging.getLogger(__name__)


def followers_of(folder: RunFolder, config: Config) -> list[Follower]:
    """One for each logger of a run."""
    settings: dict[str, Any] = {"plugin": config.plugin, "preset": config.preset}
    for name, value in config.settings().items():
        settings[name] = list(value) if isinstance(value, tuple) else value
    return [Follower(name, LOGGERS[name](), folder, settings) for name in config.train.loggers]


class Follower:
    """A logger and the thread that follows the run folder for it."""

    def __init__(self, name: str, logger: Logger, folder: RunFolder, config: Mapping[str, Any]) -> None:
        self.name, self.logger, self.folder, self.config = name, logger, folder, config
        self.wake, self.ending = threading.Event(), threading.Event()
        self._state_file = folder.path / "loggers" / f"{name}.json"
        self._limit, self._due, self._warned = -1, 0.0, False
        self._thread: threading.Thread | None = None

    def hand_on(self, step: int) -> None:
        """Pass on what the run folder has up to ``step``, which is complete."""
        self._limit = step
        self.wake.set()
        if self._thread is None:  # not before the first step: by then loader processes have been forked
            self._due = time.monotonic() + STARTING
            self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)
            self._thread.start()

    def wait(self) -> None:
        """Until all is handed on, or the logger does not answer in time."""
        self._due = max(self._due, time.monotonic() + PATIENCE)
        while self._thread and self._thread.is_alive():
            left = self._due - time.monotonic()
            if left <= 0:
                return self._warn(f"does not answer for {PATIENCE:g} s")
            self._thread.join(left)

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
        state: dict[str, Any] = read_json(kept) if kept.exists() else {"run": uuid.uuid4().hex, "step": 0}
        self._keep(state)  # before the start: killed in it, the next one goes on with the same run
        state["step"] = self.logger.start(self.folder.path, state["run"], state["step"], self.config)
        self._keep(state)
        offset = 0
        while True:
            is_last = self.ending.is_set()
            rows, offset = self._rows(offset, limit := self._limit)
            for step, values, picture in self._events(rows, state["step"], limit):
                self.logger.log(step, values, picture)
                state["step"], self._due = step, time.monotonic() + PATIENCE
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


def _title(name: str) -> str:
    """loss_mcl -> loss/mcl: loggers put what has the same beginning side by side."""
    kind, _, rest = name.partition("_")
    return f"{kind}/{rest}" if kind in ("loss", "val") else name
