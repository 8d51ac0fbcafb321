"""A run's folder: its files, what ``--resume`` may change, and what ``mcltool runs`` says of it. Needs no torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mcltool.core.config import MOST_BYTES, Config
from mcltool.core.errors import UsageError
from mcltool.core.files import MIB, parse_json, read_json, read_limited, write_text
from mcltool.core.locks import is_locked
from mcltool.evaluate.picture import marked

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


def next_run(folder: Path, name: str) -> Path:
    """A run folder ``folder``/NAME-N that is not there yet."""
    number = 1
    while (folder / f"{name}-{number}").exists():
        number += 1
    return folder / f"{name}-{number}"


def newest_run(folder: Path, plugin: str | None) -> Path:
    """The run below ``folder`` that was worked on last, of ``plugin`` where that is given.

    Raises UsageError where there is none.
    """
    runs = [run for run in runs_below(folder) if plugin in (None, run.config().plugin)]
    if not runs:
        what = f" of {plugin}" if plugin else ""
        raise UsageError(f"{folder}: no run{what} to resume; name its folder with --run")
    return max(runs, key=last_worked_on).path


def runs_below(folder: Path) -> list[RunFolder]:
    """The runs in ``folder``, by name."""
    return [RunFolder(path.parent) for path in sorted(folder.glob("*/config.json"))]


def last_worked_on(run: RunFolder) -> float:
    """When something was last written to the run's log (seconds since 1970)."""
    file = run.metrics_file if run.metrics_file.exists() else run.config_file
    return file.stat().st_mtime


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


@dataclass(frozen=True)
class Overview:
    """A line of ``runs list``. state: "training", "finished" or "stopped".

    step: of a run that trains the one logged last; of others the one saved last, from which it can go on."""

    name: str
    plugin: str
    preset: str
    size: str
    step: int
    total: int | None
    state: str
    scores: str
    changed: str


def overview(run: RunFolder) -> Overview:
    """Raises UsageError where there is no run that this version reads."""
    config, rows, running = run.config(), run.rows(), run.is_running()
    saved = (_checkpoints(run) or [{}])[-1]
    height, width = config.data.size
    return Overview(
        name=run.path.name,
        plugin=config.plugin,
        preset=config.preset,
        size=f"{height}x{width}",
        step=rows[-1]["step"] if rows and running else saved.get("step", 0),
        total=config.train.max_steps or saved.get("total"),
        state=state(run),
        scores=", ".join(f"{name} {value:.3f}" for name, value in shown_scores(rows, saved).items()),
        changed=datetime.fromtimestamp(last_worked_on(run)).strftime("%Y-%m-%d %H:%M"),
    )


def state(run: RunFolder) -> str:
    """A run is finished when its last step is saved; what it was resumed for is not."""
    if run.is_running():
        return "training"
    newest = _checkpoints(run)[-1:]
    return "finished" if newest and newest[0]["step"] == newest[0].get("total") else "stopped"


def latest_scores(rows: list[Row], saved: Row) -> dict[str, float]:
    """The newest validation's scores, without the prefix. saved: the newest checkpoint, which has its own."""
    scored = [row for row in rows if any(name.startswith("val_") for name in row)]
    last = scored[-1] if scored else {"step": -1}
    if saved.get("scores") and saved["step"] > last["step"]:
        last = saved["scores"]
    found = {name.removeprefix("val_"): value for name, value in last.items() if name.startswith("val_")}
    return {name: value for name, value in found.items() if value is not None}


def shown_scores(rows: list[Row], saved: Row) -> dict[str, float]:
    """The few of ``latest_scores`` that a list has room for."""
    found = latest_scores(rows, saved)
    return {name: found[name] for name in ("score", "l1", "l1_warp", "class_match") if name in found}


def facts(run: RunFolder) -> dict[str, str]:
    """All that ``runs show`` prints, by name."""
    line, rows, saved = overview(run), run.rows(), (_checkpoints(run) or [{}])[-1]
    last = rows[-1] if rows else {}
    losses = {n.removeprefix("loss_"): v for n, v in last.items() if n.startswith("loss_") and v is not None}
    found = {
        "run": str(run.path),
        "state": line.state,
        "data set": line.plugin,
        "preset": f"{line.preset}, {line.size} pixels",
        "step": f"{line.step} of {line.total or 'as many as the epochs make'}",
        "held out": marked(latest_scores(rows, saved)),
        "losses": "  ".join(f"{name} {value:.4g}" for name, value in losses.items()),
        "speed": f"{last.get('images_per_second', 0)} images/s, {last.get('memory_mib', 0)} MiB",
        "skipped": str(last.get("skipped") or ""),
        "checkpoints": ", ".join(_described(checkpoint) for checkpoint in _checkpoints(run)),
        "report": str(run.report) if run.report.exists() else "",
        "weights": str(run.weights) if run.weights.exists() else "",
        "changed": line.changed,
        "settings": str(run.config_file),
    }
    return {name: value for name, value in found.items() if value}


def _checkpoints(run: RunFolder) -> list[Row]:
    """The state of each checkpoint, the oldest first; unreadable ones are left out."""
    found: list[Row] = []
    for file in run.checkpoints.glob("step-*/state.json"):
        try:
            state = read_json(file, MOST_STATE_BYTES)
            scores = {str(name): float(value) for name, value in state["scores"].items()}
            found.append(state | {"step": int(state["step"]), "scores": scores})
        except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
            continue
    return sorted(found, key=lambda state: int(state["step"]))


def _described(state: Row) -> str:
    scores = ", ".join(
        f"{name.removeprefix('val_')} {value:.3f}" for name, value in state.get("scores", {}).items()
    )
    return f"step {state['step']}" + (f" ({scores})" if scores else "")
