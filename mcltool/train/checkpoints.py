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
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors.torch import load_file, save_file

from mcltool.core import files
from mcltool.core.errors import McltoolError, naming
from mcltool.core.patience import LONG_LOOKS, RESUME, limited
from mcltool.core.weights import WeightsHeader, save_weights
from mcltool.train.run_folder import Checkpoint, checkpoint_folders, checkpoints_in

if TYPE_CHECKING:
    from mcltool.train.trainer import Trainer

FORMAT_VERSION = 1
log = logging.getLogger(__name__)


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
        with limited(f"{final}: writing it", LONG_LOOKS, RESUME), naming(final):
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
    except OSError as error:
        raise McltoolError(
            f"{final}: the checkpoint cannot be written ({error.strerror}); older ones are whole: make room, "
            "then go on with --resume"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return final


def restore(checkpoint: Checkpoint, trainer: Trainer) -> None:
    """Bring ``trainer`` to the state of ``checkpoint``."""
    average = load_file(checkpoint.path / "weights.safetensors")
    tensors = load_file(checkpoint.path / "training.safetensors")
    trainer.load_state(average, tensors, checkpoint.state["trainer"])


def newest_whole(folder: Path) -> Checkpoint | None:
    """The newest checkpoint whose files are what they were when written; damaged ones are named in the log."""
    for path in reversed(checkpoint_folders(folder)):
        found = _read(path)
        if isinstance(found, Checkpoint):
            return found
        log.warning("%s: damaged (%s); using the one before", path, found)
    return None


def best(folder: Path) -> Checkpoint | None:
    """The checkpoint with the best score."""
    scored = [found for found in checkpoints_in(folder) if found.rank is not None]
    return max(scored, key=lambda found: (found.rank, -found.step), default=None)


def prune(folder: Path, keep: int) -> None:
    """Remove all but the ``keep`` newest checkpoints and the best, and what killed processes left."""
    chosen = best(folder)
    kept = set(checkpoint_folders(folder)[-keep:]) | ({chosen.path} if chosen else set())
    for path in checkpoint_folders(folder):
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


def _read(path: Path) -> Checkpoint | str:
    """The checkpoint, or what is wrong with it."""
    found = Checkpoint.read(path)
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
