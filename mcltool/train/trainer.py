"""One training step: two networks, their optimisers, mixed precision and the averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from operator import attrgetter

import torch
import torch._functorch.config
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import clip_grads_with_norm_, get_total_norm

from mcltool.core.config import Config, TrainConfig
from mcltool.core.device import Precision, autocast, frozen, spare_waiting
from mcltool.data.batch import Batch
from mcltool.model.blocks import divide_by_spectral_norms, divided_once
from mcltool.model.build import make_discriminator, make_network, recompute_blocks
from mcltool.model.vgg import VGGFeatures
from mcltool.plugin.contract import ConditionSpec
from mcltool.train.distributed import ALONE, Ranks
from mcltool.train.finetune import class_axes, freeze_encoders
from mcltool.train.objective import (
    AdversarialObjective,
    FeatureObjective,
    GeneratorObjective,
    Terms,
    weighted,
)


class Optimiser:
    """Adam over the parameters of ``module``, fused where the device has that.

    rate: the learning rate, which each step has a share of. eps: Adam's epsilon. precision: "fp16" scales the loss, so
    that small gradients do not vanish; the scale falls after each step that overflowed.
    """

    def __init__(
        self, module: nn.Module, train: TrainConfig, rate: float, precision: Precision, eps: float = 1e-8
    ) -> None:
        self.parameters = dict(module.named_parameters())
        device = next(module.parameters()).device.type
        self.rate, self.largest_norm = rate, train.clip_gradient
        betas = (train.beta1, train.beta2)
        self.adam = torch.optim.Adam(
            self.parameters.values(), lr=rate, betas=betas, eps=eps, fused=device != "mps"
        )
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")

    def begin(self, share: float) -> None:
        """Forget the gradients of the step before; this one has ``share`` of the learning rate."""
        self.adam.zero_grad(set_to_none=True)
        for group in self.adam.param_groups:
            group["lr"] = self.rate * share

    def scaled(self, loss: Tensor) -> Tensor:
        """``loss`` times the scaler's factor: all gradients until ``gradient_norm`` carry it."""
        return self.scaler.scale(loss)

    def backward(self, loss: Tensor, inputs: Sequence[Tensor] | None = None, keep: bool = False) -> None:
        """Add the gradients of ``loss``, scaled; only to ``inputs`` where given. keep: the graph is needed again."""
        torch.autograd.backward(self.scaler.scale(loss), inputs=inputs, retain_graph=keep)

    def gradient_norm(self) -> Tensor:
        """Norm of all gradients; from here on they are unscaled, and scaled down to ``train.clip_gradient``."""
        self.scaler.unscale_(self.adam)
        norm = get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None])
        if self.largest_norm:
            clip_grads_with_norm_(self.parameters.values(), self.largest_norm, norm)
        return norm

    def descend(self, finite: bool) -> None:
        """Take the step, or where something is not ``finite`` leave everything as it is."""
        if finite:
            self.scaler.step(self.adam)
        self.scaler.update()


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    losses: unweighted terms as loss_NAME. lr: the generator's learning rate. gradient_norm: of all the
    generator's gradients. skipped: a loss or gradient was not finite, so that nothing was changed.
    """

    step: int
    losses: dict[str, float]
    lr: float
    gradient_norm: float
    skipped: bool


class Trainer:
    """Holds everything that changes while training; ``step`` advances it by one batch.

    precision: "bf16", "fp16" (with a gradient scaler) or "fp32". total: number of steps of the whole run. start: what
    the network begins with (its state dict) where it is not made anew.
    """

    def __init__(
        self,
        config: Config,
        spec: ConditionSpec,
        device: torch.device,
        precision: Precision,
        total: int,
        phi: VGGFeatures | None = None,
        ranks: Ranks = ALONE,
        start: Mapping[str, Tensor] | None = None,
    ) -> None:
        torch.manual_seed(config.train.seed)
        self.config, self.spec, self.total = config, spec, total
        self.device, self.precision, self.ranks = device, precision, ranks
        model, train = config.model, config.train
        self.net = make_network(model, spec.channels, config.data.size)
        self.discriminator = make_discriminator(model, spec.channels)
        for module in (self.net, self.discriminator):
            module.to(device)
            module.to(memory_format=torch.channels_last)
        if start:
            self.net.load_state_dict(start)
        if train.freeze:
            freeze_encoders(self.net, class_axes(config, spec.channels))
        self.average = copy.deepcopy(self.net).requires_grad_(False).eval()
        divide_by_spectral_norms(self.net)  # the average, as it is saved, has the divided weights for its own
        self.optimiser = Optimiser(self.net, train, train.lr, precision, train.eps)
        self.optimiser_d = Optimiser(self.discriminator, train, train.lr_discriminator, precision)
        if train.recompute:
            recompute_blocks(self.net)
        if not train.compile:
            spare_waiting(self.net, device, precision)
            spare_waiting(self.discriminator, device, precision)
        objective = GeneratorObjective(self.net, config.loss, spec)
        objective_d = AdversarialObjective(self.discriminator, config.loss)
        self.phi = frozen(phi, device, precision) if phi else None
        self.objective_phi = FeatureObjective(self.phi, config.loss) if self.phi else None
        if train.compile:
            # The discriminator's graph serves two backward passes.
            torch._functorch.config.donated_buffer = False
            for each in (objective, objective_d, self.objective_phi):
                if each:
                    each.compile()
        self.objective, self.objective_d = ranks.wrap(objective), ranks.wrap(objective_d)
        self.steps_done = 0

    @property
    def generates(self) -> bool:
        """Whether the generator has joined."""
        return self._has_reached(self.config.train.generator_start)

    def step(self, *parts: Batch) -> StepResult:
        """Train on one batch, given in ``train.accumulate`` parts of one size."""
        generate = self.generates
        wanted = self.config.loss.gan or self.config.loss.fm
        adversarial = bool(generate and wanted and self._has_reached(self.config.train.gan_start))
        used = [self.optimiser, *([self.optimiser_d] if adversarial else [])]
        rate = self._rate()
        for optimiser in used:
            optimiser.begin(rate)
        found = []
        for number, part in enumerate(parts, 1):
            with self._exchanging(number == len(parts)), divided_once(self.net):
                found.append(self._add_gradients(part, generate, adversarial, 1 / len(parts)))
        names = list(found[0])
        values = self.ranks.mean(torch.stack([torch.stack([t[n] for n in names]) for t in found]).mean(0))
        norms = [optimiser.gradient_norm() for optimiser in used]
        numbers = torch.cat([values, torch.stack(norms)]).tolist()
        finite = all(map(math.isfinite, numbers))
        for optimiser in used:
            optimiser.descend(finite)
        if finite:
            self._update_average()
        self.steps_done += 1
        losses = {f"loss_{name}": value for name, value in zip(names, numbers, strict=False)}
        return StepResult(
            self.steps_done, losses, rate * self.config.train.lr, numbers[len(names)], not finite
        )

    def _add_gradients(self, batch: Batch, generate: bool, adversarial: bool, share: float) -> Terms:
        """Add ``share`` times the gradients of one part.

        Returns its unweighted terms, with the generator's weighted sum as "total" and the discriminator's own loss.
        """
        x, weights, judged = batch.to(self.device), self.config.loss, Terms()
        with autocast(self.device, self.precision):
            terms, image = self.objective(x, self.steps_done, generate)
        roots = [self.optimiser.scaled(share * weighted(terms, weights))] if terms else []
        gradients: list[Tensor | None] = [None] * len(roots)
        if generate:
            seen = image.detach().requires_grad_()
            seen.grad = torch.zeros_like(image)
            more, judged = self._judge(x, seen, adversarial, share)
            terms |= more
            roots, gradients = [*roots, image], [*gradients, seen.grad]
        torch.autograd.backward(roots, gradients)
        terms = {name: term.detach().float() for name, term in terms.items()}
        return {"total": weighted(terms, weights)} | terms | judged

    def _judge(self, x: Batch, image: Tensor, adversarial: bool, share: float) -> tuple[Terms, Terms]:
        """The generator's terms of its image, a leaf whose gradient is left in it, and the discriminator's loss."""
        terms, judged, weights = Terms(), Terms(), self.config.loss
        if self.objective_phi is not None:
            with autocast(self.device, self.precision):
                terms = self.objective_phi(x, image)
            if terms:
                self.optimiser.backward(share * weighted(terms, weights), [image])
        if adversarial:
            with autocast(self.device, self.precision):
                more, loss = self.objective_d(x, image, self.steps_done)
            self.optimiser.backward(share * weighted(more, weights), [image], keep=True)
            self.optimiser_d.backward(share * loss, list(self.discriminator.parameters()))
            terms, judged = terms | more, {"discriminator": loss.detach().float()}
        return {name: term.detach() for name, term in terms.items()}, judged

    def _exchanging(self, last: bool) -> AbstractContextManager[object]:
        """Processes exchange gradients once a step, with the last part."""
        waiting = ExitStack()
        for module in (self.objective, self.objective_d):
            if isinstance(module, DistributedDataParallel) and not last:
                waiting.enter_context(module.no_sync())
        return waiting

    def _has_reached(self, share: float) -> bool:
        return self.steps_done >= share * self.total

    def _rate(self) -> float:
        """Share of the learning rate: a short warm-up, 1 over the first half, then linearly to 0 (docs/method.md,
        section 6)."""
        done = self.steps_done / self.total
        warm = (self.steps_done + 1) / max(1, min(100, self.total // 20))
        return min(1.0, warm, 2 * (1 - done))

    def _update_average(self) -> None:
        """EMA of the weights; its memory grows with the run so that early steps do not linger."""
        decay = min(self.config.train.ema, (1 + self.steps_done) / (10 + self.steps_done))
        mine = dict(self.average.named_parameters())
        self.net.eval()  # which looks at spectral norms as they are estimated, without another iteration
        with torch.no_grad():
            live = [attrgetter(name)(self.net) for name in mine]
            torch._foreach_lerp_(list(mine.values()), live, 1 - decay)
        self.net.train()
