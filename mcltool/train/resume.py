"""What may change when a run goes on, and what may not."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mcltool.config import Config
from mcltool.errors import UsageError

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
    "train.tensorboard",
)
"""Settings that do not make it another run. The number of steps moves the learning rate's decay."""


def resumed(
    folder: Path, saved: Config, plugin: str | None, preset: str | None, given: Mapping[str, Any]
) -> Config:
    """The configuration of the run in ``folder``, with what was ``given`` anew.

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
