"""What a run is: its folder, its data set and its configuration, as asked for or as in the run to resume."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mcltool.core.config import Config, parse_setting, resolve
from mcltool.core.errors import UsageError
from mcltool.core.lookup import find_weights
from mcltool.core.weights import read_header
from mcltool.plugin.contract import DatasetPlugin
from mcltool.plugin.registry import FOLDER, load_packed
from mcltool.train.run_folder import RunFolder
from mcltool.train.runs import newest_run, next_run

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
