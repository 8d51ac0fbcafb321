"""One training step: two networks, their optimisers, mixed precision and the averaged weights."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

import torch
import torch._functorch.config
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from mcltool.core.config import Config
from mcltool.core.device import Precision, autocast, frozen, spare_waiting
from mcltool.data.batch import Batch
from mcltool.model.blocks import divide_by_spectral_norms, divided_once
from mcltool.model.build import LARGE_BLOCKS, make_discriminator, make_network
from mcltool.model.network import MCLNet
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
from mcltool.train.optimiser import Optimiser

Network = TypeVar("Network", bound=nn.Module)


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
        self.net = _placed(make_network(model, spec.channels, config.data.size), device)
        self.discriminator = _placed(make_discriminator(model, spec.channels), device)
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
            for network in (self.net, self.discriminator):
                spare_waiting(network, device, precision)
        objective = GeneratorObjective(self.net, config.loss, spec)
        objective_d = AdversarialObjective(self.discriminator, config.loss)
        self.phi = frozen(phi, device, precision) if phi else None
        self.objective_phi = FeatureObjective(self.phi, config.loss) if self.phi else None
        if train.compile:
            torch._functorch.config.donated_buffer = (
                False  # the discriminator's graph serves two backward passes
            )
            for module in (objective, objective_d, self.objective_phi):
                if module:
                    module.compile()
        self.objective, self.objective_d = ranks.wrap(objective), ranks.wrap(objective_d)
        self.steps_done = 0

    @property
    def generates(self) -> bool:
        """Whether the generator has joined."""
        return self._has_reached(self.config.train.generator_start)

    def step(self, *parts: Batch) -> StepResult:
        """Train on one batch, given in ``train.accumulate`` parts of one size."""
        rate = self._set_learning_rate()
        generate = self.generates
        wanted = self.config.loss.gan or self.config.loss.fm
        adversarial = bool(generate and wanted and self._has_reached(self.config.train.gan_start))
        used = [self.optimiser, *([self.optimiser_d] if adversarial else [])]
        for optimiser in used:
            optimiser.clear()
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
        return StepResult(self.steps_done, losses, rate, numbers[len(names)], not finite)

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

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that a step changes: tensors by name, but for ``average``'s, and plain values."""
        tensors = _prefixed("net", self.net.state_dict())
        tensors |= _prefixed("discriminator", self.discriminator.state_dict())
        tensors |= _prefixed("optimiser", self.optimiser.tensors())
        tensors |= _prefixed("optimiser_d", self.optimiser_d.tensors())
        scalers = {
            "scaler": self.optimiser.scaler.state_dict(),
            "scaler_d": self.optimiser_d.scaler.state_dict(),
        }
        return tensors, {"step": self.steps_done, **scalers}

    def load_state(
        self, average: Mapping[str, Tensor], tensors: Mapping[str, Tensor], values: Mapping[str, Any]
    ) -> None:
        """Go on from what ``average.state_dict()`` and ``state`` gave, exactly."""
        self.average.load_state_dict(average)
        self.net.load_state_dict(_of(tensors, "net"))
        self.discriminator.load_state_dict(_of(tensors, "discriminator"))
        self.optimiser.load(_of(tensors, "optimiser"), values["scaler"])
        self.optimiser_d.load(_of(tensors, "optimiser_d"), values["scaler_d"])
        self.steps_done = int(values["step"])

    def _exchanging(self, last: bool) -> AbstractContextManager[object]:
        """Processes exchange gradients once a step, with the last part."""
        waiting = ExitStack()
        for module in (self.objective, self.objective_d):
            if isinstance(module, DistributedDataParallel) and not last:
                waiting.enter_context(module.no_sync())
        return waiting

    def _has_reached(self, share: float) -> bool:
        return self.steps_done >= share * self.total

    def _set_learning_rate(self) -> float:
        """A short warm-up, constant over the first half, then linearly to 0 (docs/method.md, section 6)."""
        done = self.steps_done / self.total
        warm = (self.steps_done + 1) / max(1, min(100, self.total // 20))
        factor = min(1.0, warm, 2 * (1 - done))
        for optimiser in (self.optimiser, self.optimiser_d):
            optimiser.set_rate(factor)
        return self.config.train.lr * factor

    def _update_average(self) -> None:
        """EMA of the weights; its memory grows with the run so that early steps do not linger."""
        decay = min(self.config.train.ema, (1 + self.steps_done) / (10 + self.steps_done))
        mine = dict(self.average.named_parameters())
        self.net.eval()  # which looks at spectral norms as they are estimated, without another iteration
        with torch.no_grad():
            live = [attrgetter(name)(self.net) for name in mine]
            torch._foreach_lerp_(list(mine.values()), live, 1 - decay)
        self.net.train()


def _placed(module: Network, device: torch.device) -> Network:
    module.to(device)
    module.to(memory_format=torch.channels_last)
    return module


def recompute_blocks(net: MCLNet) -> None:
    """Have the large blocks keep only their inputs, and compute the rest again in the backward pass."""
    for block in net.modules():
        if isinstance(block, LARGE_BLOCKS):
            block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]


def _prefixed(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {f"{prefix}/{name}": tensor for name, tensor in tensors.items()}


def _of(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {n.removeprefix(f"{prefix}/"): t for n, t in tensors.items() if n.startswith(f"{prefix}/")}
