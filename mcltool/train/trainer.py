"""One training step: two networks, their optimisers, mixed precision and the averaged weights."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, nn

from mcltool.config import Config
from mcltool.data.batches import Batch
from mcltool.data.contract import ConditionSpec
from mcltool.device import Precision, autocast
from mcltool.model.discriminator import Discriminator
from mcltool.model.network import MCLNet
from mcltool.model.vgg import VGGFeatures
from mcltool.train.objective import GeneratorObjective, Inputs, discriminator_loss

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class StepResult:
    """What a step did. losses: unweighted terms as loss_NAME. lr: the generator's learning rate."""

    step: int
    losses: dict[str, float]
    lr: float


class Trainer:
    """Holds everything that changes while training; ``step`` advances it by one batch.

    precision: "bf16", "fp16" (with a gradient scaler) or "fp32". total: number of steps of the whole run.
    """

    def __init__(
        self,
        config: Config,
        spec: ConditionSpec,
        device: torch.device,
        precision: Precision,
        total: int,
        phi: VGGFeatures | None = None,
    ) -> None:
        torch.manual_seed(config.train.seed)
        self.config, self.spec, self.total = config, spec, total
        self.device, self.precision = device, precision
        model = config.model
        self.net = _placed(MCLNet(model, spec.channels, config.data.size), device)
        discriminator = Discriminator(spec.channels, model.discriminator_widths, model.discriminator_scales)
        self.discriminator = _placed(discriminator, device)
        self.average = copy.deepcopy(self.net).requires_grad_(False).eval()
        self.objective = GeneratorObjective(self.net, config.loss, spec, phi.to(device) if phi else None)
        self.weights = {name: float(getattr(config.loss, name)) for name in TERMS}
        train = config.train
        self.optimiser = self._adam(self.net, train.lr)
        self.optimiser_d = self._adam(self.discriminator, train.lr_discriminator)
        self.scaler = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.scaler_d = torch.amp.GradScaler(device.type, enabled=precision == "fp16")
        self.steps_done = 0

    def step(self, batch: Batch) -> StepResult:
        """Train on one batch; the discriminator after the generator, on the same generated images."""
        rate = self._set_learning_rate()
        generate = self._has_reached(self.config.train.generator_start)
        wanted = bool(self.weights["gan"] or self.weights["fm"])
        adversarial = generate and wanted and self._has_reached(self.config.train.gan_start)
        x = Inputs.of(batch.to(self.device), self.spec)

        self.discriminator.requires_grad_(False)
        with autocast(self.device, self.precision):
            terms, image = self.objective(
                x, self.steps_done, generate, self.discriminator if adversarial else None
            )
        loss = torch.stack([self.weights[name] * term.float() for name, term in terms.items()]).sum()
        _descend(loss, self.optimiser, self.scaler)

        if adversarial:
            self.discriminator.requires_grad_(True)
            with autocast(self.device, self.precision):
                terms["discriminator"] = discriminator_loss(self.discriminator, x, image)
            _descend(terms["discriminator"], self.optimiser_d, self.scaler_d)

        self._update_average()
        self.steps_done += 1
        values = torch.stack([loss.detach(), *(t.detach().float() for t in terms.values())]).tolist()
        named = dict(zip(["total", *terms], values, strict=True))
        return StepResult(self.steps_done, {f"loss_{name}": value for name, value in named.items()}, rate)

    def _has_reached(self, share: float) -> bool:
        return self.steps_done >= share * self.total

    def _set_learning_rate(self) -> float:
        """A short warm-up, constant over the first half, then linearly to 0 (METHOD section 6)."""
        done = self.steps_done / self.total
        warm = (self.steps_done + 1) / max(1, min(100, self.total // 20))
        factor = min(1.0, warm, 2 * (1 - done))
        train = self.config.train
        for optimiser, rate in ((self.optimiser, train.lr), (self.optimiser_d, train.lr_discriminator)):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
        return train.lr * factor

    def _update_average(self) -> None:
        """EMA of the weights; its memory grows with the run so that early steps do not linger."""
        decay = min(self.config.train.ema, (1 + self.steps_done) / (10 + self.steps_done))
        with torch.no_grad():
            mine: list[Tensor] = list(self.average.parameters())
            live: list[Tensor] = list(self.net.parameters())
            torch._foreach_lerp_(mine, live, 1 - decay)

    def _adam(self, module: nn.Module, rate: float) -> torch.optim.Adam:
        betas = (self.config.train.beta1, self.config.train.beta2)
        return torch.optim.Adam(module.parameters(), lr=rate, betas=betas, fused=self.device.type != "mps")


TERMS: Sequence[str] = (
    "mcl", "cons", "cyc", "pse", "warp", "mask", "rec", "gan", "fm", "perc", "feat", "ctx",
)  # fmt: skip
"""Names of the generator's terms, which are those of their weights in LossConfig."""


def _placed(module: Network, device: torch.device) -> Network:
    module.to(device)
    module.to(memory_format=torch.channels_last)
    return module


def _descend(loss: Tensor, optimiser: torch.optim.Optimizer, scaler: torch.amp.GradScaler) -> None:
    optimiser.zero_grad(set_to_none=True)
    torch.autograd.backward(scaler.scale(loss))
    scaler.step(optimiser)
    scaler.update()
