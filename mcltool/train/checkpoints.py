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

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from mcltool.core import files
from mcltool.core.errors import McltoolError, naming
from mcltool.core.patience import LONG_LOOKS, RESUME, limited
from mcltool.core.weights import WeightsHeader, save_weights
from mcltool.train.run_folder import Checkpoint, checkpoint_folders, checkpoints_in

if TYPE_CHECKING:
    from mcltool.train.trainer import Optimiser, Trainer

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
            tensors, values = state_of(trainer)
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
    load_state(trainer, average, tensors, checkpoint.state["trainer"])


def state_of(trainer: Trainer) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """All that a step changes: tensors by name, but for ``average``'s, and plain values."""
    parts = {
        "net": trainer.net.state_dict(),
        "discriminator": trainer.discriminator.state_dict(),
        "optimiser": _moments(trainer.optimiser),
        "optimiser_d": _moments(trainer.optimiser_d),
    }
    tensors = {f"{part}/{name}": tensor for part, found in parts.items() for name, tensor in found.items()}
    scalers = {
        "scaler": trainer.optimiser.scaler.state_dict(),
        "scaler_d": trainer.optimiser_d.scaler.state_dict(),
    }
    return tensors, {"step": trainer.steps_done, **scalers}


def load_state(
    trainer: Trainer, average: Mapping[str, Tensor], tensors: Mapping[str, Tensor], values: Mapping[str, Any]
) -> None:
    """Have ``trainer`` go on from what ``average.state_dict()`` and ``state_of`` gave, exactly."""

    def of(part: str) -> dict[str, Tensor]:
        return {n.removeprefix(f"{part}/"): t for n, t in tensors.items() if n.startswith(f"{part}/")}

    trainer.average.load_state_dict(average)
    trainer.net.load_state_dict(of("net"))
    trainer.discriminator.load_state_dict(of("discriminator"))
    _load_optimiser(trainer.optimiser, of("optimiser"), values["scaler"])
    _load_optimiser(trainer.optimiser_d, of("optimiser_d"), values["scaler_d"])
    trainer.steps_done = int(values["step"])


def _moments(optimiser: Optimiser) -> dict[str, Tensor]:
    """Adam's state as "PARAMETER/MOMENT"; parameters that never had a gradient have none."""
    return {
        f"{name}/{key}": value
        for name, parameter in optimiser.parameters.items()
        for key, value in optimiser.adam.state.get(parameter, {}).items()
    }


def _load_optimiser(optimiser: Optimiser, moments: Mapping[str, Tensor], scaler: Mapping[str, Any]) -> None:
    state: dict[int, dict[str, Tensor]] = {}
    for index, (name, parameter) in enumerate(optimiser.parameters.items()):
        for key in ("step", "exp_avg", "exp_avg_sq"):
            if (value := moments.get(f"{name}/{key}")) is not None:
                # Fused kernels walk through memory: a moment must lie there as its parameter does.
                like = parameter if value.shape == parameter.shape else value
                state.setdefault(index, {})[key] = torch.empty_like(like, requires_grad=False).copy_(value)
    adam = optimiser.adam
    adam.load_state_dict({"state": state, "param_groups": adam.state_dict()["param_groups"]})
    if optimiser.scaler.is_enabled():
        optimiser.scaler.load_state_dict(dict(scaler))


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
