"""Adam for one network, with the gradient scaler that fp16 needs, and what of both a checkpoint keeps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from mcltool.core.config import TrainConfig
from mcltool.core.device import Precision


class Optimiser:
    """Adam over the parameters of ``module``, fused where the device has that.

    rate: the learning rate that ``set_rate`` scales. eps: Adam's epsilon. precision: "fp16" scales the loss, so that
    small gradients do not vanish; the scale falls after each step that overflowed.
    """

    def __init__(
        self, module: nn.Module, train: TrainConfig, rate: float, precision: Precision, eps: float = 1e-8
    ) -> None:
        self.parameters = dict(module.named_parameters())
        device = next(module.parameters()).device.type
        self.rate = rate
        betas = (train.beta1, train.beta2)
        self.adam = torch.optim.Adam(
            self.parameters.values(), lr=rate, betas=betas, eps=eps, fused=device != "mps"
        )
        self.scaler = torch.amp.GradScaler(device, enabled=precision == "fp16")

    def set_rate(self, factor: float) -> None:
        for group in self.adam.param_groups:
            group["lr"] = self.rate * factor

    def clear(self) -> None:
        self.adam.zero_grad(set_to_none=True)

    def scaled(self, loss: Tensor) -> Tensor:
        """``loss`` times the scaler's factor: all gradients until ``gradient_norm`` carry it."""
        return self.scaler.scale(loss)

    def backward(self, loss: Tensor, inputs: Sequence[Tensor] | None = None, keep: bool = False) -> None:
        """Add the gradients of ``loss``, scaled; only to ``inputs`` where given. keep: the graph is needed again."""
        torch.autograd.backward(self.scaler.scale(loss), inputs=inputs, retain_graph=keep)

    def gradient_norm(self) -> Tensor:
        """Norm of all gradients, which are unscaled from here on."""
        self.scaler.unscale_(self.adam)
        return get_total_norm([p.grad for p in self.parameters.values() if p.grad is not None])

    def descend(self, finite: bool) -> None:
        """Take the step, or where something is not ``finite`` leave everything as it is."""
        if finite:
            self.scaler.step(self.adam)
        self.scaler.update()

    def tensors(self) -> dict[str, Tensor]:
        """Adam's state as "PARAMETER/MOMENT"; parameters that never had a gradient have none."""
        return {
            f"{name}/{key}": value
            for name, parameter in self.parameters.items()
            for key, value in self.adam.state.get(parameter, {}).items()
        }

    def load(self, tensors: Mapping[str, Tensor], scaler: Mapping[str, Any]) -> None:
        """Go on from ``tensors`` and the scaler's ``state_dict``."""
        state: dict[int, dict[str, Tensor]] = {}
        for index, (name, parameter) in enumerate(self.parameters.items()):
            for key in ("step", "exp_avg", "exp_avg_sq"):
                if f"{name}/{key}" in tensors:
                    value = tensors[f"{name}/{key}"]
                    # Fused kernels walk through memory: a moment must lie there as its parameter does.
                    like = parameter if value.shape == parameter.shape else value
                    state.setdefault(index, {})[key] = torch.empty_like(like, requires_grad=False).copy_(
                        value
                    )
        self.adam.load_state_dict({"state": state, "param_groups": self.adam.state_dict()["param_groups"]})
        if self.scaler.is_enabled():
            self.scaler.load_state_dict(dict(scaler))
