"""A run's folder: its files, what ``--resume`` may change, and what ``mcltool runs`` says of it. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcltool.core.config import MOST_BYTES, Config
from mcltool.core.errors import UsageError
from mcltool.core.files import MIB, parse_json, read_limited, write_text
from mcltool.core.locks import is_locked

Row = dict[str, Any]
"""A line of metrics.jsonl."""
MOST_STATE_BYTES, MOST_ROW_BYTES = 16 * MIB, 512 * MIB
"""Of a checkpoint's state.json, and of metrics.jsonl."""

_PLAIN = {int, float, bool, type(None)}


@dataclass(frozen=True)
class RunFolder:
    """The files of one run below ``path``."""

    path: Path

    @property
    def config_file(self) -> Path:
        return self.path / "config.json"

    @property
    def metrics_file(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def samples(self) -> Path:
        return self.path / "samples"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def weights(self) -> Path:
        return self.path / "weights.safetensors"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def lock(self) -> Path:
        return self.path / ".lock"

    def holds_a_run(self) -> bool:
        """Whether a run was started here that has something to show."""
        return self.config_file.exists() and (self.metrics_file.exists() or self.checkpoints.exists())

    def is_running(self) -> bool:
        return is_locked(self.lock)

    def config(self) -> Config:
        """Raises UsageError where there is none, or none that this version reads."""
        try:
            return Config.from_json(read_limited(self.config_file, MOST_BYTES).decode())
        except FileNotFoundError:
            raise UsageError(f"{self.path}: no run in it (no {self.config_file.name})") from None
        except (OSError, ValueError, UsageError) as error:
            raise UsageError(f"{self.config_file}: {error}") from None

    def rows(self) -> list[Row]:
        """The logged steps, in order; a line that is cut off is left out."""
        rows: list[Row] = []
        if not self.metrics_file.exists():
            return rows
        for line in self._metrics().splitlines():
            try:
                row = parse_json(line)
            except ValueError:
                continue
            if (
                isinstance(row, dict)
                and isinstance(row.get("step"), int)
                and {*map(type, row.values())} <= _PLAIN
            ):
                rows.append(row)
        return rows

    def _metrics(self) -> str:
        try:
            return read_limited(self.metrics_file, MOST_ROW_BYTES).decode(errors="replace")
        except OSError as error:
            raise UsageError(f"{self.metrics_file}: cannot be read ({error.strerror})") from None

    def append(self, row: Row) -> None:
        with self.metrics_file.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")

    def forget_after(self, step: int) -> None:
        """Drop the rows and samples of later steps, which a resumed run makes again."""
        if self.metrics_file.exists():
            kept = [json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step]
            write_text(self.metrics_file, "".join(kept))
        for sample in self.sample_files():
            if step_of(sample) > step:
                sample.unlink()

    def sample_files(self) -> list[Path]:
        """The sample grids, the oldest first."""
        return sorted(self.samples.glob("step-*.png"), key=step_of)

    def sample_file(self, step: int) -> Path:
        return self.samples / f"step-{step:06d}.png"


def step_of(path: Path) -> int:
    number = path.stem.removeprefix("step-")
    return int(number) if number.isdecimal() else -1


MAY_CHANGE = (
    "data.workers",
    "train.max_steps",
    "train.epochs",
    "train.accumulate",
    "train.recompute",
    "train.compile",
    "train.log_every",
    "train.sample_every",
    "train.checkpoint_every",
    "train.keep_checkpoints",
    "train.patience",
    "train.loggers",
)
"""Settings that do not make it another run. The number of steps moves the learning rate's decay."""


def resumed(
    folder: Path, saved: Config, plugin: str | None, preset: str | None, given: Mapping[str, Any]
) -> Config:
    """The configuration of the run in ``folder``, with the settings ``given`` now.

    Raises UsageError for what may not change, naming every key that differs and those that may.
    """
    # A run resolves "auto" once; asking for it again is no change.
    settings = {address: value for address, value in given.items() if value != "auto"}
    config = saved.changed(settings)
    before, after = saved.settings(), config.settings()
    differing = [
        f"{address} is {before[address]}, not {after[address]}"
        for address in before
        if before[address] != after[address] and address not in MAY_CHANGE
    ]
    for name, was, now in (("plugin", saved.plugin, plugin), ("preset", saved.preset, preset)):
        if now not in (None, was):
            differing.insert(0, f"{name} is {was}, not {now}")
    if differing:
        raise UsageError(
            f"--resume: in the run {folder} {'; '.join(differing)}. These may change: {', '.join(MAY_CHANGE)}. "
            "For all else start a new run"
        )
    return config
