"""What a run says of itself: does the output depend on condition and exemplar, and which checkpoint is the best?"""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple, cast

import pytest
import torch
from torch import Tensor
from training import fit_until, small_config, small_job

from mcltool.core.config import TrainConfig
from mcltool.data.dataset import TrainingData
from mcltool.model.network import MCLNet
from mcltool.plugin import registry as plugins
from mcltool.train import checkpoints
from mcltool.train.loop import fit
from mcltool.train.recorder import Progress
from mcltool.train.run_folder import RunFolder
from mcltool.train.validation import Judged, Validation


class Made(NamedTuple):
    image: Tensor
    warped: Tensor


def judged(make: Callable[[Tensor, Tensor], Tensor]) -> Judged:
    """In the place of a network: ``make`` of the condition as grey planes and the exemplar."""

    def translate(condition: Tensor, exemplar: Tensor) -> Made:
        image = make((condition.float()[:, None] / 3 - 1).expand_as(exemplar), exemplar)
        return Made(image, image)

    return Judged(cast(MCLNet, translate), torch.device("cpu"), "fp32")


@pytest.fixture(scope="module")
def held_out() -> Validation:
    shapes = plugins.load("shapes")
    data = TrainingData(shapes, shapes.index(None, "val")[::6][:8], small_config().data, 0)
    return Validation(data, 8, 4)


@pytest.mark.parametrize(
    ("make", "missing"),
    [
        (lambda X, Z: torch.zeros_like(Z), "condition"),
        (lambda X, Z: Z.mean((2, 3), keepdim=True).expand_as(Z) + 0.01 * X, "condition"),
        (lambda X, Z: X + 0.01 * Z, "exemplar"),
        (lambda X, Z: X + Z.mean((2, 3), keepdim=True), None),
    ],
)
def test_outputs_that_do_not_depend_on_what_they_are_made_of_are_found(
    held_out: Validation, make: Callable[[Tensor, Tensor], Tensor], missing: str | None
) -> None:
    assert held_out.independence(judged(make)) == missing


def test_one_smear_for_everything_has_the_score_0(held_out: Validation) -> None:
    scores = held_out.picture_scores(judged(lambda X, Z: torch.zeros_like(Z)))
    assert (scores["val_vary"], scores["val_score"]) == (0, 0)


def test_a_collapsed_run_says_so_once_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcltool.train.recorder.SETTLED", 2)
    steps: list[Progress] = []
    fit(small_job(tmp_path, train__sample_every=2, train__lr=1e-9, train__validation_samples=4), steps.append)
    warnings = [step.warning for step in steps if step.warning]
    assert len(warnings) == 1
    assert warnings[0].startswith("outputs hardly depend on the ")
    assert "\n" not in warnings[0]


@pytest.mark.slow
def test_a_run_that_makes_one_picture_of_everything_says_so_within_300_steps(tmp_path: Path) -> None:
    """With the steps after which runs look by default, and networks that do not learn."""
    every = TrainConfig().sample_every
    job = small_job(
        tmp_path, train__max_steps=300, train__sample_every=every, train__checkpoint_every=300,
        train__lr=1e-9, train__validation_samples=4,
    )  # fmt: skip
    found = fit_until(job, lambda step: bool(step.warning))[-1]
    assert found.result.step <= 300
    assert "outputs hardly depend on the" in found.warning
    assert "--preset small" in found.warning


def test_the_best_checkpoint_is_that_of_the_best_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The warp is best at step 2, the picture at step 4."""
    found = iter(
        [{"val_score": 0.1, "val_l1_warp": 0.1}, {"val_score": 0.6, "val_l1_warp": 0.3}, {"val_score": 0.2}]
    )
    monkeypatch.setattr("mcltool.train.validation.Validation.scores", lambda *_: next(found))
    fit(small_job(tmp_path))
    best = checkpoints.best(RunFolder(tmp_path).checkpoints)
    assert best is not None
    assert best.step == 4


def test_samples_that_nothing_can_be_learned_from_are_named(held_out: Validation) -> None:
    assert held_out.doubts() == []
    blank = copy(held_out)
    blank.batches = [replace(batch, memory=batch.memory.clone()) for batch in held_out.batches]
    for batch in blank.batches:
        batch["condition"].fill_(2)
        batch["target"].zero_()
    assert [doubt.split(":")[0] for doubt in blank.doubts()] == [
        f"the held-out conditions have one class only ({held_out.data.plugin.spec.names[2]})",
        "the held-out photos are all alike",
    ]


def test_fewer_photos_than_a_batch_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    job = small_job(tmp_path, train__max_steps=1, train__batch_size=4)
    few = plugins.load("shapes")
    few.index = lambda root, split: type(few).index(few, root, split)[:3]  # type: ignore[method-assign]
    fit(replace(job, plugin=few))
    assert "3 training photos are fewer than a batch of 4" in caplog.text


def test_patience_ends_a_run_with_the_weights_of_the_best_picture(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = iter([0.1, 0.6, 0.2, 0.3, 0.9])
    monkeypatch.setattr(
        "mcltool.train.validation.Validation.scores",
        lambda *_: {"val_score": next(scores), "val_l1_warp": 0.1},
    )
    weights = fit(small_job(tmp_path, train__max_steps=10, train__patience=2))
    run = RunFolder(tmp_path)
    assert run.rows()[-1]["step"] == 8  # the checkpoints of steps 6 and 8 are no better than that of step 4
    assert weights == run.weights
    assert weights.read_bytes() == (run.checkpoints / "step-000004" / "weights.safetensors").read_bytes()
