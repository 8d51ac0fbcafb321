"""Runs: which one a command means and how it is configured, and what ``mcltool runs`` says of each. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import count
from pathlib import Path
from typing import Any

from mcltool.core.config import Config, parse_setting, resolve
from mcltool.core.errors import UsageError
from mcltool.core.lookup import find_weights
from mcltool.core.weights import read_header
from mcltool.evaluate.picture import marked
from mcltool.plugin.contract import DatasetPlugin
from mcltool.plugin.registry import FOLDER, load_packed
from mcltool.train.run_folder import Checkpoint, Row, RunFolder, checkpoints_in

NO_DATA = (
    "--plugin: name the data set ('mcltool plugins list' shows them), or give --root, a folder of your own, or --data, "
    "a pack"
)

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


def choose_run(
    run: Path | None, plugin: str | None, root: Path | None, pack: Path | None, resume: bool
) -> tuple[Path, str | None]:
    """The run folder, and the plugin's name: the given one, else that of the run to resume.

    Raises UsageError where nothing says what to train on, there is no run to resume, or torchrun's processes would
    each choose a folder.
    """
    if run is None and "TORCHELASTIC_RUN_ID" in os.environ:
        raise UsageError(
            "--run-dir: name the run folder where torchrun starts fit, so that all processes agree on it"
        )
    if pack is not None and plugin is None:
        plugin = load_packed(pack).name
    if resume:
        run = run or newest_run(Path("runs"), plugin)
        if plugin is None and RunFolder(run).holds_a_run():
            plugin = RunFolder(run).config().plugin
    if plugin is None and root is None:
        raise UsageError(f"{NO_DATA}; {run} holds no run to resume" if resume else NO_DATA)
    return run or next_run(Path("runs"), plugin or FOLDER), plugin


def configure(
    dataset: DatasetPlugin,
    preset: str | None,
    folder: Path,
    resume: bool,
    from_file: Mapping[str, Any],
    settings: Sequence[str],
    flags: Mapping[str, Any],
) -> Config:
    """The configuration: that of the run to resume, else of presets and what was given.

    from_file: what --config holds. settings: as --set has them. flags: values by address. The later of them take
    precedence.
    """
    preset = from_file.get("preset") if preset is None else preset
    in_sections = {name: value for name, value in from_file.items() if name not in ("plugin", "preset")}
    given = {**in_sections, **dict(map(parse_setting, settings)), **flags}
    if resume and RunFolder(folder).holds_a_run():
        return _resumed(folder, RunFolder(folder).config(), dataset.name, preset, given)
    start = given.get("train.start_from")
    if start and preset is None:
        theirs = read_header(find_weights(start)).config
        sizes = {name: value for name, value in theirs.settings().items() if name.startswith("model.")}
        return resolve(dataset.name, theirs.preset, dataset.defaults, sizes, given)
    return resolve(dataset.name, preset or dataset.preset, dataset.defaults, given)


def _resumed(
    folder: Path, saved: Config, plugin: str, preset: str | None, given: Mapping[str, Any]
) -> Config:
    """``saved``, the configuration of the run in ``folder``, with the settings ``given`` now.

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


def next_run(folder: Path, name: str) -> Path:
    """A run folder ``folder``/NAME-N that is not there yet."""
    return next(run for n in count(1) if not (run := folder / f"{name}-{n}").exists())


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


LISTED = ("score", "l1", "l1_warp", "class_match")
"""The scores that ``runs list`` has room for."""


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
    found = latest_scores(rows, saved)
    finished = saved is not None and saved.step == saved.state.get("total")  # what it was resumed for is not
    return Overview(
        name=run.path.name,
        plugin=config.plugin,
        preset=config.preset,
        size=f"{height}x{width}",
        step=rows[-1]["step"] if rows and running else saved.step if saved else 0,
        total=config.train.max_steps or (saved.state.get("total") if saved else None),
        state="training" if running else "finished" if finished else "stopped",
        scores=", ".join(f"{name} {found[name]:.3f}" for name in LISTED if name in found),
        changed=datetime.fromtimestamp(last_worked_on(run)).strftime("%Y-%m-%d %H:%M"),
    )


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
