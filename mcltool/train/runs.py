"""The runs in a folder, and what ``mcltool runs`` says of each. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from mcltool.core.errors import UsageError
from mcltool.evaluate.picture import marked
from mcltool.train.run_folder import Checkpoint, Row, RunFolder, checkpoints_in


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
    saved = _newest(run)
    height, width = config.data.size
    return Overview(
        name=run.path.name,
        plugin=config.plugin,
        preset=config.preset,
        size=f"{height}x{width}",
        step=rows[-1]["step"] if rows and running else saved.step if saved else 0,
        total=config.train.max_steps or (saved.state.get("total") if saved else None),
        state=state(run),
        scores=", ".join(f"{name} {value:.3f}" for name, value in shown_scores(rows, saved).items()),
        changed=datetime.fromtimestamp(last_worked_on(run)).strftime("%Y-%m-%d %H:%M"),
    )


def state(run: RunFolder) -> str:
    """A run is finished when its last step is saved; what it was resumed for is not."""
    if run.is_running():
        return "training"
    saved = _newest(run)
    return "finished" if saved and saved.step == saved.state.get("total") else "stopped"


def _newest(run: RunFolder) -> Checkpoint | None:
    return next(reversed(checkpoints_in(run.checkpoints)), None)


def latest_scores(rows: list[Row], saved: Checkpoint | None) -> dict[str, float]:
    """The newest validation's scores, without the prefix. saved: the newest checkpoint, which has its own."""
    scored = [row for row in rows if any(name.startswith("val_") for name in row)]
    last: Mapping[str, Any] = scored[-1] if scored else {"step": -1}
    if saved and saved.scores and saved.step > last["step"]:
        last = saved.scores
    found = {name.removeprefix("val_"): value for name, value in last.items() if name.startswith("val_")}
    return {name: value for name, value in found.items() if value is not None}


def shown_scores(rows: list[Row], saved: Checkpoint | None) -> dict[str, float]:
    """The few of ``latest_scores`` that a list has room for."""
    found = latest_scores(rows, saved)
    return {name: found[name] for name in ("score", "l1", "l1_warp", "class_match") if name in found}


def facts(run: RunFolder) -> dict[str, str]:
    """All that ``runs show`` prints, by name."""
    line, rows, saved = overview(run), run.rows(), _newest(run)
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
        "checkpoints": ", ".join(_described(checkpoint) for checkpoint in checkpoints_in(run.checkpoints)),
        "report": str(run.report) if run.report.exists() else "",
        "weights": str(run.weights) if run.weights.exists() else "",
        "changed": line.changed,
        "settings": str(run.config_file),
    }
    return {name: value for name, value in found.items() if value}


def _described(saved: Checkpoint) -> str:
    scores = ", ".join(f"{name.removeprefix('val_')} {value:.3f}" for name, value in saved.scores.items())
    return f"step {saved.step}" + (f" ({scores})" if scores else "")
