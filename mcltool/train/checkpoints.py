"""Checkpoints: all that a run needs to go on exactly, in folders that are whole or not there.

RUN/checkpoints/step-000500/weights.safetensors     the averaged weights, as translate-dir takes them
                            training.safetensors    networks in training and moments of their optimisers
                            state.json              step, scores, scalers, and the digests of both files
"""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from mcltool.core import files
from mcltool.core.errors import McltoolError
from mcltool.core.weights import WeightsHeader, save_weights
from mcltool.train.run_folder import MOST_STATE_BYTES

if TYPE_CHECKING:
    from mcltool.train.trainer import Trainer

FORMAT_VERSION = 1
BEST, BEST_WARP = "val_score", "val_l1_warp"
"""What tells the best checkpoint: the highest score of the picture; while there is none, the lowest of the warp."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Checkpoint:
    """A whole checkpoint. state: what state.json holds."""

    path: Path
    state: Mapping[str, Any]

    @property
    def step(self) -> int:
        return int(self.state["step"])

    @property
    def score(self) -> tuple[float, float] | None:
        """What tells the best one, the higher the better, where there was a validation."""
        scores = self.state["scores"]
        if BEST not in scores and BEST_WARP not in scores:
            return None
        return float(scores.get(BEST, -1)), -float(scores.get(BEST_WARP, 0))

    def restore(self, trainer: Trainer) -> None:
        """Bring ``trainer`` to this checkpoint's state."""
        average = load_file(self.path / "weights.safetensors")
        trainer.load_state(average, load_file(self.path / "training.safetensors"), self.state["trainer"])


def write_checkpoint(
    folder: Path,
    trainer: Trainer,
    header: WeightsHeader,
    scores: Mapping[str, float],
    extra: Mapping[str, Any],
) -> Path:
    """Write the trainer's state to ``folder``/step-N, through a temporary folder.

    scores: of the validation. extra: plain values to find again in ``Checkpoint.state``. Raises McltoolError
    where it cannot be written; then nothing is left of it, and older checkpoints are as they were.
    """
    final = folder / f"step-{header.step:06d}"
    temporary = folder / f".{final.name}.tmp"
    try:
        temporary.mkdir(parents=True)
        save_weights(temporary / "weights.safetensors", trainer.average.state_dict(), header)
        tensors, values = trainer.state()
        stored = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_file(stored, temporary / "training.safetensors")
        digests = {file.name: files.digest(file) for file in temporary.iterdir()}
        state = {
            "format_version": FORMAT_VERSION,
            "step": header.step,
            "scores": dict(scores),
            "trainer": values,
            "digests": digests,
            **extra,
        }
        with files.create(temporary / "state.json") as file:
            file.write(json.dumps(state, indent=2).encode())
        (temporary / "training.safetensors").chmod((temporary / "state.json").stat().st_mode)
        for path in (*temporary.iterdir(), temporary):
            files.to_disk(path)
        if final.exists():  # a damaged one that the run did not resume from
            shutil.rmtree(final)
        files.replace(temporary, final)
        files.to_disk(folder)
    except (OSError, SafetensorError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise McltoolError(
            f"{final}: the checkpoint cannot be written ({reason}); older ones are whole: make room, "
            "then go on with --resume"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def newest_whole(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files are what they were when written; damaged ones are named in the log."""
    for path in reversed(_folders(folder)):
        found = _read(path)
        if isinstance(found, Checkpoint):
            return found
        log.warning("%s: damaged (%s); using the one before", path, found)
    return None


def best(folder: Path) -> Checkpoint | None:
    """The checkpoint with the best score."""
    scored = [found for path in _folders(folder) if (found := _glance(path)) and found.score is not None]
    return max(scored, key=lambda found: (found.score, -found.step), default=None)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest checkpoints and the best, and what killed processes left."""
    chosen = best(folder)
    kept = set(_folders(folder)[-keep:]) | ({chosen.path} if chosen else set())
    for path in _folders(folder):
        if path not in kept:
            doomed = path.rename(
                path.with_name(f".{path.name}.old")
            )  # a half removed one must not look whole
            shutil.rmtree(doomed, ignore_errors=True)
    sweep(folder)


def sweep(folder: Path) -> None:
    """Remove what killed processes left half-written or half-removed."""
    for pattern in (".step-*.tmp", ".step-*.old"):
        for path in folder.glob(pattern):
            shutil.rmtree(path, ignore_errors=True)


def _folders(folder: Path) -> list[Path]:
    """The checkpoints' folders, the oldest first."""
    found = [path for path in folder.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step-")))


def _glance(path: Path) -> Checkpoint | None:
    """A checkpoint by its state.json alone."""
    try:
        state = files.read_json(path / "state.json", MOST_STATE_BYTES)
        checkpoint = Checkpoint(path, state)
        _ = checkpoint.step, checkpoint.score
        return checkpoint
    except (OSError, ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None


def _read(path: Path) -> Checkpoint | str:
    """The checkpoint, or what is wrong with it."""
    found = _glance(path)
    if found is None:
        return "state.json is missing or not readable"
    if found.state.get("format_version") != FORMAT_VERSION:
        return f"format version {found.state.get('format_version')} is unknown"
    for name in ("weights.safetensors", "training.safetensors"):
        try:
            if files.digest(path / name) != found.state["digests"][name]:
                return f"{name} is not what was written"
        except (OSError, KeyError, TypeError):
            return f"{name} is missing or not readable"
    return found
