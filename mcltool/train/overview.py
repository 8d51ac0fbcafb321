"""What a run folder says of its run, in words. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from mcltool.files import read_json
from mcltool.train.folder import MOST_STATE_BYTES, Row, RunFolder, last_worked_on


@dataclass(frozen=True)
class Overview:
    """A line of ``runs list``. state: "training", "finished" or "stopped"."""

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
    config, rows = run.config(), run.rows()
    height, width = config.data.size
    return Overview(
        name=run.path.name,
        plugin=config.plugin,
        preset=config.preset,
        size=f"{height}x{width}",
        step=rows[-1]["step"] if rows else 0,
        total=config.train.max_steps,
        state=state(run),
        scores=", ".join(f"{name} {value:.3f}" for name, value in latest_scores(rows).items()),
        changed=datetime.fromtimestamp(last_worked_on(run)).strftime("%Y-%m-%d %H:%M"),
    )


def state(run: RunFolder) -> str:
    """A run is finished when its last step is saved; what it was resumed for is not."""
    if run.is_running():
        return "training"
    newest = _checkpoints(run)[-1:]
    return "finished" if newest and newest[0]["step"] == newest[0].get("total") else "stopped"


def latest_scores(rows: list[Row]) -> dict[str, float]:
    """The newest validation's scores, without the prefix."""
    scored = [row for row in rows if any(name.startswith("val_") for name in row)]
    last = scored[-1] if scored else {}
    found = {name.removeprefix("val_"): value for name, value in last.items() if name.startswith("val_")}
    return {name: value for name, value in found.items() if value is not None}


def facts(run: RunFolder) -> dict[str, str]:
    """All that ``runs show`` prints, by name."""
    line, rows = overview(run), run.rows()
    last = rows[-1] if rows else {}
    losses = {n.removeprefix("loss_"): v for n, v in last.items() if n.startswith("loss_") and v is not None}
    found = {
        "run": str(run.path),
        "state": line.state,
        "data set": line.plugin,
        "preset": f"{line.preset}, {line.size} pixels",
        "step": f"{line.step} of {line.total or 'as many as the epochs make'}",
        "held out": line.scores,
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
