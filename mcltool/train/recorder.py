"""Writes what a run leaves behind: logged rows, sample grids, validated checkpoints and the report."""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from mcltool.core.device import memory_used
from mcltool.core.pictures import save_png
from mcltool.core.weights import WeightsHeader
from mcltool.data.dataset import EvaluationData, TrainingData
from mcltool.train.checkpoints import best, prune, write_checkpoint
from mcltool.train.followers import followers_of
from mcltool.train.report import write_report
from mcltool.train.run_folder import Checkpoint, RunFolder, step_of
from mcltool.train.trainer import StepResult, Trainer
from mcltool.train.validation import FixedPairs, Judged, Validation


@dataclass(frozen=True)
class Progress:
    """Where a run is after a step.

    images_per_second: over the last steps. memory: peak, in bytes. skipped: steps so far that changed nothing because
    something was not finite. What this step brought, if anything: sample, the grid that was written; scores,
    of the validation; checkpoint, its folder; warning, a line of what is going wrong.
    """

    result: StepResult
    total: int
    batch_size: int
    images_per_second: float
    memory: int
    skipped: int
    sample: Path | None
    scores: Mapping[str, float]
    checkpoint: Path | None
    warning: str = ""


log = logging.getLogger(__name__)

SAMPLE_ROWS = 6
"""Held-out pairs in a sample grid."""
SETTLED = 150
"""Steps of the generator after which its outputs should depend on condition and exemplar."""
WAY_OUT = (
    "the generator has collapsed or the losses do not tie them together; look at the samples, then try "
    "--preset small, --perceptual none, or a larger loss.rec"
)


class Recorder:
    """Writes what belongs to a run into its folder, after each step of ``trainer``.

    held_out: what is drawn and validated on. before: the checkpoint that the run goes on from.
    """

    def __init__(
        self,
        folder: RunFolder,
        trainer: Trainer,
        held_out: EvaluationData,
        before: Checkpoint | None,
    ) -> None:
        self.folder, self.trainer, plugin = folder, trainer, held_out.plugin
        self.header = WeightsHeader(trainer.config, plugin.spec, plugin.version, trainer.total)
        self.train = train = trainer.config.train
        # As training data every held-out sample has an exemplar that makes its photo the right answer.
        config = replace(trainer.config.data, flip=False)
        answers = TrainingData(plugin, held_out.samples, config, train.seed)
        self.validation = Validation(answers, train.validation_samples, train.batch_size // train.accumulate)
        self.pairs = FixedPairs(held_out, SAMPLE_ROWS)
        self.judged = Judged(trainer.average, trainer.device, trainer.precision, trainer.phi)
        self.warned = False
        self.skipped = int(before.state["skipped"]) if before else 0
        self.seconds_before = float(before.state["seconds"]) if before else 0.0
        self.started = time.monotonic()
        self.saved = before.path if before else None
        """The newest whole checkpoint."""
        self.step_began, self.seconds = time.monotonic(), deque[float](maxlen=50)
        """When the step that runs began, and what the last ones took, without what is recorded between them."""
        self.followers = followers_of(folder, trainer.config)

    def record(self, result: StepResult) -> Progress:
        """Log, draw, validate and save, as far as it is time for each."""
        step, total = result.step, self.trainer.total
        last = step == total
        self.seconds.append(time.monotonic() - self.step_began)
        rate = self.train.batch_size * len(self.seconds) / max(1e-9, sum(self.seconds))
        self.skipped += result.skipped
        saving = last or step % self.train.checkpoint_every == 0
        scores = self._validate() if saving else {}
        sample = None
        warning = ""
        if last or step % self.train.sample_every == 0:
            sample, warning = self.folder.sample_file(step), self._warning()
            save_png(sample, self.pairs.picture(self.judged))
        if saving or step == 1 or step % self.train.log_every == 0:
            self._log(result, rate, scores)
        for follower in self.followers:
            follower.hand_on(step)
        checkpoint = self.save(scores) if saving else None
        self.step_began = time.monotonic()
        memory = memory_used(self.trainer.device)
        size = self.train.batch_size
        return Progress(result, total, size, rate, memory, self.skipped, sample, scores, checkpoint, warning)

    def is_out_of_patience(self) -> bool:
        """Whether the last ``train.patience`` checkpoints brought no better picture."""
        if not self.train.patience or not self._is_saved():
            return False
        scores = [row["val_score"] for row in self.folder.rows() if row.get("val_score") is not None]
        return bool(scores) and len(scores) - 1 - scores.index(max(scores)) >= self.train.patience

    def save(self, scores: Mapping[str, float] | None = None) -> Path | None:
        """A checkpoint of this moment and the report, unless there is one. scores: None validates now."""
        if self._is_saved():
            return None
        seconds = round(self.seconds_before + time.monotonic() - self.started, 1)
        self.saved = write_checkpoint(
            self.folder.checkpoints,
            self.trainer,
            replace(self.header, step=self.trainer.steps_done),
            self._validate() if scores is None else scores,
            {"skipped": self.skipped, "seconds": seconds, "total": self.trainer.total},
        )
        prune(self.folder.checkpoints, self.train.keep_checkpoints)
        write_report(self.folder)
        return self.saved

    def chosen(self) -> Path:
        """The checkpoint whose weights are the run's at its end: the best where patience ended it, else the last."""
        found = best(self.folder.checkpoints) if self.is_out_of_patience() else None
        if found:
            ended = f"ended at step {self.trainer.steps_done} with the weights of step {found.step}"
            log.info(f"no better picture in {self.train.patience} checkpoints: {ended}")
        path = found.path if found else self.saved
        assert path is not None, "the last step is saved"
        return path

    def close(self) -> None:
        """Pass on what is left, as long as each logger takes something every PATIENCE seconds (see ``followers``)."""
        for follower in self.followers:
            follower.ending.set()
            follower.hand_on(self.trainer.steps_done)
        for follower in self.followers:
            follower.wait()

    def _is_saved(self) -> bool:
        """Whether there is a checkpoint of this moment."""
        return self.saved is not None and step_of(self.saved) == self.trainer.steps_done

    def _validate(self) -> dict[str, float]:
        return self.validation.scores(self.judged, self.trainer.generates)

    def _warning(self) -> str:
        """A warning, once, where outputs hardly depend on condition or exemplar although the generator had time."""
        trainer = self.trainer
        trained = trainer.steps_done - self.train.generator_start * trainer.total
        if self.warned or trained < SETTLED:
            return ""
        what = self.validation.independence(self.judged)
        self.warned = what is not None
        return f"outputs hardly depend on the {what}: {WAY_OUT}" if what else ""

    def _log(self, result: StepResult, rate: float, scores: Mapping[str, float]) -> None:
        row = {
            **result.losses,
            **scores,
            "lr": result.lr,
            "gradient_norm": result.gradient_norm,
            "skipped": self.skipped,
            "images_per_second": round(rate, 2),
            "memory_mib": memory_used(self.trainer.device) >> 20,
        }
        finite = {
            name: value if math.isfinite(value) else None for name, value in row.items()
        }  # JSON has no NaN
        self.folder.append({"step": result.step, **finite})
