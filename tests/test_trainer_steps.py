"""Single steps of the trainer: parts, precision, recomputation, and what happens where something is not finite."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from training import batches, same, small_job, small_trainer

from mcltool.core.errors import McltoolError
from mcltool.data.batch import Batch
from mcltool.model.vgg import random_vgg
from mcltool.train import checkpoints
from mcltool.train.loop import MOST_SKIPPED, fit
from mcltool.train.objective import AdversarialObjective, FeatureObjective, GeneratorObjective
from mcltool.train.run_folder import RunFolder
from mcltool.train.trainer import Trainer


def gradients(trainer: Trainer, *parts: Batch) -> list[Tensor]:
    """All gradients of one step on ``parts``."""
    trainer.step(*parts)
    modules = (trainer.net, trainer.discriminator)
    return [p.grad.clone() for module in modules for p in module.parameters() if p.grad is not None]


def assert_alike(ours: list[Tensor], theirs: list[Tensor]) -> None:
    """Relative to the largest gradient: sums in another order differ by float32's last digits."""
    assert len(ours) == len(theirs) > 0
    largest = max(float(gradient.abs().max()) for gradient in theirs)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-5 * largest)


def without_power_iterations(trainer: Trainer) -> Trainer:
    """Each pass through the discriminator sharpens its estimate of its norms; parts make more passes."""
    trainer.discriminator.eval()
    return trainer


def test_a_batch_in_parts_has_the_gradients_of_the_whole() -> None:
    whole = without_power_iterations(small_trainer(train__batch_size=4))
    (batch,) = batches(whole.config)
    parts = without_power_iterations(small_trainer(train__batch_size=4, train__accumulate=2))
    halves = batches(parts.config)
    assert [len(half.target) for half in halves] == [2, 2]
    assert torch.equal(torch.cat([half.target for half in halves]), batch.target)
    assert_alike(gradients(parts, *halves), gradients(whole, batch))


def test_losses_of_a_step_in_parts_are_their_mean() -> None:
    whole = without_power_iterations(small_trainer(train__batch_size=4))
    parts = without_power_iterations(small_trainer(train__batch_size=4, train__accumulate=4))
    ours, theirs = parts.step(*batches(parts.config)), whole.step(*batches(whole.config))
    assert ours.losses.keys() == theirs.losses.keys()
    for name, value in theirs.losses.items():
        assert ours.losses[name] == pytest.approx(value, rel=1e-3, abs=1e-4), name
    assert ours.gradient_norm == pytest.approx(theirs.gradient_norm, rel=1e-3)


def test_the_networks_have_the_gradients_of_their_losses_as_one_graph() -> None:
    """The step goes back through each judge of the image on its own; here all that is one sum, and D's loss another."""
    trainer = without_power_iterations(
        small_trainer(loss__perc=1.0, loss__feat=1.0, loss__ctx=1.0, loss__pse=1.0)
    )
    config, net, discriminator = trainer.config, trainer.net, trainer.discriminator
    trainer.objective_phi = FeatureObjective(random_vgg(), config.loss)
    (x,) = batches(config)
    terms, image = GeneratorObjective(net, config.loss, trainer.spec)(x, 0)
    terms |= FeatureObjective(random_vgg(), config.loss)(x, image)
    terms |= AdversarialObjective(discriminator, config.loss)(x, image)[0]
    total = sum(getattr(config.loss, name) * term for name, term in terms.items())
    loss = AdversarialObjective(discriminator, config.loss)(x, image.detach())[1]
    wanted = [
        *torch.autograd.grad(total, list(net.parameters())),
        *torch.autograd.grad(loss, list(discriminator.parameters())),
    ]
    assert_alike(gradients(trainer, x), wanted)


def test_recomputed_blocks_have_the_same_gradients_and_names() -> None:
    plain, recomputing = small_trainer(), small_trainer(train__recompute=True)
    (batch,) = batches(plain.config)
    assert plain.net.state_dict().keys() == recomputing.net.state_dict().keys()
    assert_alike(gradients(recomputing, batch), gradients(plain, batch))


def test_the_gradient_norm_is_that_of_all_gradients() -> None:
    trainer = small_trainer()
    result = trainer.step(*batches(trainer.config))
    squares = sum(
        float(p.grad.double().square().sum()) for p in trainer.net.parameters() if p.grad is not None
    )
    assert result.gradient_norm == pytest.approx(math.sqrt(squares), rel=1e-4)


def test_larger_gradients_are_scaled_down_to_the_configured_norm_network_by_network() -> None:
    free, held = small_trainer(), small_trainer(train__clip_gradient=0.01)
    (batch,) = batches(free.config)
    step, clipped = free.step(batch), held.step(batch)
    assert clipped.gradient_norm == step.gradient_norm > 0.01, "what is logged is the norm before"
    for ours, theirs in ((held.net, free.net), (held.discriminator, free.discriminator)):
        pairs = [(p.grad, q.grad) for p, q in zip(ours.parameters(), theirs.parameters(), strict=True)]
        a, b = (torch.cat([g.flatten() for g in each if g is not None]) for each in zip(*pairs, strict=True))
        torch.testing.assert_close(a, b * min(1, 0.01 / float(b.norm())), rtol=1e-4, atol=1e-9)


# --- Something is not finite ---


def everything(trainer: Trainer) -> dict[str, Tensor]:
    """Weights, moments and averages, but for the discriminator's estimates of its spectral norms."""
    tensors = checkpoints.state_of(trainer)[0] | {
        f"average/{n}": t for n, t in trainer.average.state_dict().items()
    }
    return {name: t.clone() for name, t in tensors.items() if not name.endswith(("_u", "_v"))}


@pytest.mark.parametrize("poisoned", ["generator", "discriminator"])
def test_a_gradient_that_is_not_finite_skips_the_whole_step(poisoned: str) -> None:
    trainer = small_trainer()
    (batch,) = batches(trainer.config)
    trainer.step(batch)
    before = everything(trainer)
    network = trainer.net.generator if poisoned == "generator" else trainer.discriminator
    weight = next(network.parameters())
    handle = weight.register_hook(lambda gradient: gradient * math.nan)
    result = trainer.step(batch)
    handle.remove()
    assert (result.skipped, result.step) == (True, 2)
    assert same(everything(trainer), before)
    assert trainer.step(batch).skipped is False
    assert not same(everything(trainer), before)


def test_a_loss_that_is_not_finite_skips_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = small_trainer()
    (batch,) = batches(trainer.config)
    trainer.step(batch)
    before = everything(trainer)
    with monkeypatch.context() as patch:
        patch.setattr("mcltool.model.losses.feature_consistency", lambda x, y: (x - y).abs().mean() / 0)
        result = trainer.step(batch)
    assert result.skipped
    assert math.isinf(result.losses["loss_cons"])
    assert same(everything(trainer), before)


def test_fp16_scales_the_loss_and_lowers_the_scale_where_it_overflows() -> None:
    trainer = small_trainer(precision="fp16")
    (batch,) = batches(trainer.config)
    scaler = trainer.optimiser.scaler
    scaler.load_state_dict({**scaler.state_dict(), "scale": 256.0})
    result = trainer.step(batch)
    assert not result.skipped
    reference = small_trainer().step(batch)
    assert result.gradient_norm == pytest.approx(
        reference.gradient_norm, rel=0.1
    )  # unscaled before it is measured

    before = everything(trainer)
    scaler.load_state_dict({**scaler.state_dict(), "scale": 2.0**120})
    result = trainer.step(batch)
    assert result.skipped
    assert scaler.get_scale() == 2.0**119
    assert same(everything(trainer), before)


def poison(steps: range, patch: pytest.MonkeyPatch) -> None:
    """Have L_cons not be finite in these steps of every trainer."""
    step = Trainer.step

    def poisoned(self: Trainer, *parts: Batch) -> Any:
        with pytest.MonkeyPatch.context() as inner:
            if self.steps_done + 1 in steps:
                inner.setattr(
                    "mcltool.model.losses.feature_consistency", lambda x, y: (x - y).abs().mean() * math.nan
                )
            return step(self, *parts)

    patch.setattr(Trainer, "step", poisoned)


def test_skipped_steps_are_counted_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    poison(range(2, 4), monkeypatch)
    assert fit(small_job(tmp_path)) is not None
    rows = RunFolder(tmp_path).rows()
    assert [row["skipped"] for row in rows] == [0, 1, 2, 2, 2, 2]
    assert [row["loss_cons"] is None for row in rows] == [False, True, True, False, False, False]
    state = checkpoints.newest_whole(RunFolder(tmp_path).checkpoints)
    assert state is not None
    assert state.state["skipped"] == 2


@pytest.mark.slow
def test_a_run_gives_up_after_20_in_a_row_and_keeps_the_last_good_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert MOST_SKIPPED == 20
    poison(range(3, 1000), monkeypatch)
    job = small_job(tmp_path, train__max_steps=40, train__checkpoint_every=2, train__keep_checkpoints=30)
    with pytest.raises(McltoolError) as caught:
        fit(job)
    assert str(caught.value).startswith(
        "step 22: total, cons not finite for 20 steps in a row; the last good"
    )
    named = str(caught.value).split(" is ")[1].split(";")[0]
    trainer = small_trainer(train__max_steps=40)
    found = checkpoints.newest_whole(RunFolder(tmp_path).checkpoints)
    assert found is not None
    assert str(found.path) == named
    checkpoints.restore(found, trainer)
    assert all(t.isfinite().all() for t in trainer.net.state_dict().values())


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 bytes"),
    ],
)
def test_out_of_memory_says_what_was_asked_for_and_what_to_lower(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def step(*_: object) -> None:
        raise error

    monkeypatch.setattr(Trainer, "step", step)
    with pytest.raises(McltoolError) as caught:
        fit(small_job(tmp_path))
    for words in (
        "batch 2, 32x32 pixels, fp32, on cpu",
        "--batch-size",
        "train.accumulate=2",
        "train.recompute",
        "--size",
    ):
        assert words in str(caught.value)
