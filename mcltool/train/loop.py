"""A training run, from the job to the weights.

``job.prepare`` opens the data and makes the Trainer. ``data.loader`` turns the numbers of a SampleStream into batches:
TrainingData reads, crops and flips each sample, a HostBatch takes them to the device and becomes a Batch there.
``Trainer.step`` computes the terms of ``objective`` and changes the weights. The Recorder logs, draws, validates and
saves.
"""

from __future__ import annotations

import logging
import math
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from mcltool.core.device import explaining_memory, pick_device
from mcltool.core.errors import McltoolError
from mcltool.core.files import replacing, write_text
from mcltool.core.locks import locked
from mcltool.core.patience import LONG_LOOKS, RESUME, limited
from mcltool.data.batch import Batch
from mcltool.data.dataset import TrainingData
from mcltool.data.loader import SampleStream, explaining_killed_workers, training_loader
from mcltool.data.reading import doubts_among
from mcltool.train.checkpoints import newest_whole, restore, sweep
from mcltool.train.distributed import (
    InterruptedRun,
    Stop,
    connected,
    launched_rank,
    own_device,
    restarted,
    stoppable,
)
from mcltool.train.job import TrainingJob, check_places, prepare
from mcltool.train.recorder import Progress, Recorder
from mcltool.train.run_folder import Checkpoint, RunFolder
from mcltool.train.trainer import StepResult, Trainer

MOST_SKIPPED = 20
"""Steps in a row with something not finite after which a run gives up."""

Show = Callable[[Progress], None]
"""Shows where a run is after a step."""

log = logging.getLogger(__name__)


def fit(job: TrainingJob, show: Show = lambda progress: None) -> Path | None:
    """Train, and return the path of the weights; None where the time given was up before the last step.

    show: called after each step; of several processes only the first one calls it. Raises UsageError for a run folder
    that is in use or holds another run, missing perceptual weights, or bad data; McltoolError where training fails;
    InterruptedRun after a signal.
    """
    folder, resume = RunFolder(job.run), job.resume or restarted()
    main = launched_rank() == 0
    if main:
        check_places(folder, job.weights, resume)
    device = pick_device(own_device(job.device))
    with connected(device) as ranks, stoppable(job.max_minutes, tell=main) as stop, ExitStack() as held:
        trainer, data, held_out = prepare(job, device, ranks, resume)
        if main:
            folder.path.mkdir(parents=True, exist_ok=True)
            held.enter_context(locked(folder.lock, f"{folder.path}: another process trains in it"))
            sweep(folder.checkpoints)
            write_text(folder.config_file, trainer.config.to_json())
        before = _restore(folder, trainer) if resume else None
        recorder = Recorder(folder, trainer, held_out, before) if main else None
        if recorder:
            held.callback(recorder.close)
            _say_what_starts(job, trainer, data, recorder)
        with explaining_killed_workers():
            ended = _steps(trainer, data, recorder, stop, folder, show)
        if ended and recorder:
            with (
                limited(f"{job.weights}: writing it", LONG_LOOKS, RESUME),
                replacing(job.weights) as temporary,
            ):
                shutil.copyfile(recorder.chosen() / "weights.safetensors", temporary)
        return job.weights if ended else None


def _say_what_starts(job: TrainingJob, trainer: Trainer, data: TrainingData, recorder: Recorder) -> None:
    train, (height, width) = trainer.config.train, trainer.config.data.size
    processes = f" in {trainer.ranks.world} processes" if trainer.ranks.world > 1 else ""
    log.info(
        f"{job.plugin.name}: {len(data)} samples, preset {trainer.config.preset}, {height}x{width} pixels, batch "
        f"{train.batch_size}{processes}, {trainer.precision} on {trainer.device}; run folder {job.run}"
    )
    if len(data) < train.batch_size:
        log.warning(
            f"{len(data)} training photos are fewer than a batch of {train.batch_size}: steps repeat them; lower "
            "--batch-size"
        )
    for line in recorder.validation.doubts():
        log.warning(line)
    for line in doubts_among(job.plugin, data.samples):
        log.warning(f"doubtful: {line}")


def _restore(folder: RunFolder, trainer: Trainer) -> Checkpoint | None:
    found = newest_whole(folder.checkpoints)
    if trainer.ranks.main:
        folder.forget_after(found.step if found else 0)
    what = f"going on from step {found.step}" if found else "nothing saved yet: starting"
    log.info(f"{folder.path}: {what}")
    if found:
        restore(found, trainer)
    return found


def _steps(
    trainer: Trainer,
    data: TrainingData,
    recorder: Recorder | None,
    stop: Stop,
    folder: RunFolder,
    show: Show,
) -> bool:
    """Train to the last step, or until ``train.patience`` ends the run: True. False where ``stop`` asked for an end
    before that; the state is then saved."""
    train, ranks = trainer.config.train, trainer.ranks
    stream = SampleStream(
        trainer.steps_done, trainer.total, ranks.rank, ranks.world, train.batch_size, train.accumulate
    )
    batches = training_loader(data, stream, trainer.config.data.workers, trainer.device)
    skipped_in_a_row = 0
    with closing(batches):
        while trainer.steps_done < trainer.total:
            with ranks.in_touch():
                result = _step(trainer, batches)
            skipped_in_a_row = skipped_in_a_row + 1 if result.skipped else 0
            if skipped_in_a_row == MOST_SKIPPED:
                raise _failure(result, folder)
            if recorder:
                show(recorder.record(result))
            impatient = recorder is not None and recorder.is_out_of_patience()
            with ranks.in_touch():
                stopping = ranks.any(stop.requested() or impatient, trainer.device)
            if impatient:
                return True
            if stopping and trainer.steps_done < trainer.total:
                if recorder:
                    recorder.save()
                go_on = f"go on with: mcltool fit --resume --run {folder.path}"
                where = f"step {trainer.steps_done} of {trainer.total}; {go_on}"
                if stop.signal is not None:
                    raise InterruptedRun(f"stopped and saved at {where}", stop.signal)
                log.info("the time is up: saved at %s", where)
                return False
    return True


def _step(trainer: Trainer, batches: Iterator[Batch]) -> StepResult:
    train, size = trainer.config.train, trainer.config.data.size
    what = (
        f"at batch {train.batch_size}, {size[0]}x{size[1]} pixels, {trainer.precision}, on {trainer.device}"
    )
    way_out = (
        f"keep the batch with --batch-size auto, --set train.accumulate={2 * train.accumulate} or "
        "--set train.recompute=true, or lower --batch-size or --size"
    )
    parts = [next(batches) for _ in range(train.accumulate)]
    with explaining_memory(what, way_out):
        return trainer.step(*parts)


def _failure(result: StepResult, folder: RunFolder) -> McltoolError:
    culprits = [
        name.removeprefix("loss_") for name, value in result.losses.items() if not math.isfinite(value)
    ]
    what = ", ".join(culprits) or "the gradients"
    kept = newest_whole(folder.checkpoints)
    good = f"the last good checkpoint is {kept.path}" if kept else "there is no checkpoint before that"
    return McltoolError(
        f"step {result.step}: {what} not finite for {MOST_SKIPPED} steps in a row; {good}; try a lower train.lr, or "
        "--precision fp32"
    )
