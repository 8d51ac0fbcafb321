"""Several exemplars at once: against the literal softmax over the positions of all, in float64."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from mcltool.model.correspondence import attention_warp, mixture_warp

TEMPERATURE = 0.05
COUNTS = (12, 5, 20)


def unit(*shape: int, seed: int) -> Tensor:
    draw = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.nn.functional.normalize(draw, dim=-1)


def literal(u_ND: Tensor, v: Sequence[Tensor], values: Sequence[Tensor], weights_EN: Tensor) -> Tensor:
    """softmax_(e,j)(u_i . v_ej / tau + log w_e(i) - log(M_e / M)) V, everything at once."""
    total = sum(len(keys) for keys in v)
    logits = [
        u_ND @ keys.T / TEMPERATURE + (w.log() - torch.tensor(len(keys) / total).log())[:, None]
        for keys, w in zip(v, weights_EN, strict=True)
    ]
    return torch.cat(logits, 1).softmax(1) @ torch.cat(list(values))


def case(kind: str) -> tuple[Tensor, list[Tensor], list[Tensor], Tensor]:
    u = unit(30, 8, seed=0)
    v = [unit(count, 8, seed=1 + e) for e, count in enumerate(COUNTS)]
    values = [unit(count, 6, seed=10 + e) for e, count in enumerate(COUNTS)]
    weights = torch.ones(3, 30, dtype=torch.float64)
    if kind == "weights":
        weights = torch.tensor([1.0, 0.5, 3.0], dtype=torch.float64)[:, None].repeat(1, 30)
    if kind == "zero":
        weights[1] = 0
    if kind == "regions":
        weights = torch.rand(3, 30, generator=torch.Generator().manual_seed(7), dtype=torch.float64)
        weights[0, :10], weights[1, 10:20], weights[2, 20:] = 0, 0, 0
    return u, v, values, weights


@pytest.mark.parametrize("kind", ["even", "weights", "zero", "regions"])
def test_a_mixture_is_the_literal_softmax_forward_and_backward(kind: str) -> None:
    u, v, values, weights = case(kind)
    leaves = [u, *v, *values]
    for leaf in leaves:
        leaf.requires_grad_()
    expected = literal(u, v, values, weights)
    direction = unit(*expected.shape, seed=99)
    wanted = torch.autograd.grad((expected * direction).sum(), leaves)

    single = [leaf.detach().float().requires_grad_() for leaf in leaves]
    found = mixture_warp(single[0], single[1:4], single[4:], weights.float(), TEMPERATURE, rows=7)
    gradients = torch.autograd.grad((found * direction.float()).sum(), single)
    torch.testing.assert_close(found.double(), expected, atol=2e-6, rtol=1e-5)
    for gradient, truth in zip(gradients, wanted, strict=True):
        torch.testing.assert_close(gradient.double(), truth, atol=2e-5, rtol=1e-4)


def test_one_exemplar_of_weight_1_gives_the_bits_of_the_plain_warp() -> None:
    u, v, values, _ = case("even")
    plain = attention_warp(u[None], v[0][None], values[0][None], TEMPERATURE)[0]
    mixed = mixture_warp(u, v[:1], values[:1], torch.ones(1, 30), TEMPERATURE)
    assert torch.equal(plain, mixed)


def test_an_exemplar_of_weight_0_leaves_no_trace() -> None:
    u, v, values, weights = case("zero")
    without = mixture_warp(u, v[::2], values[::2], weights[::2].float(), TEMPERATURE)
    values[1].fill_(1e6)
    torch.testing.assert_close(mixture_warp(u, v, values, weights.float(), TEMPERATURE), without)


def test_twice_the_positions_do_not_count_twice() -> None:
    """An exemplar and the same one with every position doubled share each place evenly."""
    u, v, *_ = case("even")
    twice = [v[0], torch.cat([v[0], v[0]])]
    first, second = torch.zeros(12, 1, dtype=torch.float64), torch.ones(24, 1, dtype=torch.float64)
    share = mixture_warp(u, twice, [first, second], torch.ones(2, 30), TEMPERATURE)
    torch.testing.assert_close(share, torch.full((30, 1), 0.5))
