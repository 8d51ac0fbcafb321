"""What tests of losses and networks share: random tensors, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


def random(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64)


def unit(*shape: int) -> Tensor:
    return F.normalize(random(*shape), dim=-1)


Loss = Callable[..., Tensor]


def agrees(ours: Loss, literal: Loss, *inputs: Tensor) -> None:
    """``ours`` in float32 has the value and the gradients that ``literal`` has in float64."""
    exact = [tensor.detach().double().requires_grad_() for tensor in inputs]
    single = [tensor.detach().float().requires_grad_() for tensor in inputs]
    wanted, found = literal(*exact), ours(*single)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found.double(), wanted, rtol=2e-5, atol=1e-6)
    gradients = torch.autograd.grad(wanted, exact, allow_unused=True), torch.autograd.grad(found, single)
    for want, got in zip(*gradients, strict=True):
        assert want is not None
        torch.testing.assert_close(got.double(), want, rtol=1e-3, atol=2e-6)


class LargestTensor(TorchDispatchMode):
    """How many numbers the largest tensor has that is made inside."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple | list) else [made]:
            if isinstance(tensor, Tensor):
                self.numbers = max(self.numbers, tensor.numel())
        return made


def literal_l1(a: Tensor, b: Tensor, counted: list[float]) -> Tensor:
    each = [torch.stack([(p - q).abs() for p, q in zip(x.flatten(), y.flatten(), strict=True)]).mean()
            for x, y in zip(a, b, strict=True)]  # fmt: skip
    total = sum((c * term for c, term in zip(counted, each, strict=True)), torch.zeros(()))
    return total / len(counted)
