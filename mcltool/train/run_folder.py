"""A run's folder: its files, and the state that its checkpoints record. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcltool.core.config import MOST_BYTES, Config
from mcltool.core.errors import UsageError, naming
from mcltool.core.files import MIB, parse_json, read_json, read_limited, write_text
from mcltool.core.locks import is_locked
from mcltool.core.patience import RESUME, limited

Row = dict[str, Any]
"""A line of metrics.jsonl."""
MOST_STATE_BYTES, MOST_ROW_BYTES = 16 * MIB, 512 * MIB
"""Of a checkpoint's state.json, and of metrics.jsonl."""

BEST, BEST_WARP = "val_score", "val_l1_warp"
"""What tells the best checkpoint: the highest score of the picture; while there is none, the lowest of the warp."""

_PLAIN = {int, float, bool, type(None)}


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint by its state.json alone. scores: of the validation. state: all that the file holds."""

    path: Path
    step: int
    scores: Mapping[str, float]
    state: Mapping[str, Any]

    @classmethod
    def read(cls, path: Path) -> Checkpoint | None:
        """None where state.json is missing or not readable."""
        try:
            state = read_json(path / "state.json", MOST_STATE_BYTES)
            scores = {str(name): float(value) for name, value in state["scores"].items()}
            return cls(path, int(state["step"]), scores, state)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None

    @property
    def rank(self) -> tuple[float, float] | None:
        """What tells the best one, the higher the better, where there was a validation."""
        if BEST not in self.scores and BEST_WARP not in self.scores:
            return None
        return self.scores.get(BEST, -1), -self.scores.get(BEST_WARP, 0)


def checkpoint_folders(folder: Path) -> list[Path]:
    """The checkpoints below ``folder``, the oldest first, whole or not."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=step_of)


def checkpoints_in(folder: Path) -> list[Checkpoint]:
    """The same, without those whose state cannot be read."""
    found = (Checkpoint.read(path) for path in checkpoint_folders(folder))
    return [checkpoint for checkpoint in found if checkpoint]


class RunFolder:
    """The files of one run below ``path``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config_file = path / "config.json"
        self.metrics_file = path / "metrics.jsonl"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.weights = path / "weights.safetensors"
        self.report = path / "report.html"
        self.lock = path / ".lock"

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
        try:
            text = read_limited(self.metrics_file, MOST_ROW_BYTES).decode(errors="replace")
        except OSError as error:
            raise UsageError(f"{self.metrics_file}: cannot be read ({error.strerror})") from None
        for line in text.splitlines():
            try:
                row = parse_json(line)
            except ValueError:
                continue
            is_row = isinstance(row, dict) and isinstance(row.get("step"), int)
            if is_row and {*map(type, row.values())} <= _PLAIN:
                rows.append(row)
        return rows

    def append(self, row: Row) -> None:
        path = self.metrics_file
        with limited(f"{path}: writing it", then=RESUME), naming(path), path.open("a") as file:
            file.write(json.dumps(row) + "\n")  # ASCII

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
