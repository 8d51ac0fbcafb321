"""Every loss of the generated image against its equation (docs/method.md, section 5), written literally in float64."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from tensors import LargestTensor, agrees, literal_l1, random
from torch import Tensor

from mcltool.model import losses


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


def literal_hinge(score: Tensor, sign: int) -> Tensor:
    return torch.stack([torch.clamp(1 + sign * value, min=0) for value in score.flatten()]).mean()


def test_the_discriminators_hinge_pushes_real_above_1_and_fake_below_minus_1() -> None:
    def ours(*scores: Tensor) -> Tensor:
        return losses.hinge_discriminator(scores[:2], scores[2:])

    def literal(r1: Tensor, r2: Tensor, f1: Tensor, f2: Tensor) -> Tensor:
        scales = [literal_hinge(r, -1) + literal_hinge(f, +1) for r, f in ((r1, f1), (r2, f2))]
        return (scales[0] + scales[1]) / 2

    sizes = ((2, 1, 4, 4), (2, 1, 2, 2)) * 2
    agrees(ours, literal, *(2 * random(*size) for size in sizes))
    sure = torch.full((1, 1, 2, 2), 1.5)
    assert losses.hinge_discriminator([sure], [-sure]).item() == 0


def test_the_generators_hinge_is_the_negative_mean_score() -> None:
    def literal(a: Tensor, b: Tensor) -> Tensor:
        return -(sum(a.flatten()) / a.numel() + sum(b.flatten()) / b.numel()) / 2

    agrees(lambda a, b: losses.hinge_generator([a, b]), literal, random(2, 1, 3, 3), random(2, 1, 2, 2))


@pytest.mark.parametrize("counted", [None, [True, False]])
def test_feature_matching_compares_all_layers_but_the_scores(counted: list[bool] | None) -> None:
    sizes = [(2, 3, 4, 4), (2, 5, 2, 2), (2, 1, 2, 2)]
    real = [[random(*size) for size in sizes] for _ in range(2)]
    mask = None if counted is None else torch.tensor(counted)
    weights = [1.0, 1.0] if counted is None else [float(c) for c in counted]

    def ours(*fake: Tensor) -> Tensor:
        return losses.feature_matching(
            [[x.float() for x in r] for r in real], [[*fake[:2], real[0][2]], [*fake[2:], real[1][2]]], mask
        )

    def literal(*fake: Tensor) -> Tensor:
        terms = [
            literal_l1(f, r, weights)
            for f, r in zip(fake, [*real[0][:2], *real[1][:2]], strict=True)
        ]  # fmt: skip
        return torch.stack(terms).mean()

    agrees(ours, literal, *(random(*size) for size in sizes[:2] * 2))


def test_feature_matching_teaches_the_generator_and_not_the_real_side() -> None:
    real = [torch.randn(1, 2, 2, 2, requires_grad=True), torch.randn(1, 1, 2, 2, requires_grad=True)]
    fake = [torch.randn(1, 2, 2, 2, requires_grad=True), torch.randn(1, 1, 2, 2, requires_grad=True)]
    losses.feature_matching([real], [fake]).backward()
    assert fake[0].grad is not None
    assert real[0].grad is fake[1].grad is None


def test_perceptual_is_the_mean_squared_difference() -> None:
    def literal(a: Tensor, b: Tensor) -> Tensor:
        squares = [(p - q) ** 2 for p, q in zip(a.flatten(), b.flatten(), strict=True)]
        return torch.stack(squares).mean()

    agrees(losses.perceptual, literal, random(2, 3, 2, 3), random(2, 3, 2, 3))


def literal_contextual(out: Tensor, exemplar: Tensor, h: float = 0.1) -> Tensor:
    """-log(mean_j max_i A_ij), A_ij = softmax_j((1 - d_ij / (min_k d_ik + 1e-5)) / h), d_ij = 1 - cos."""
    each = []
    for f_CHW, g_CHW in zip(out, exemplar, strict=True):
        f, g = f_CHW.flatten(1).T, g_CHW.flatten(1).T  # positions x channels
        centre = g.mean(0)
        rows = []
        for f_i in f:
            a = f_i - centre
            d = []
            for g_j in g:
                b = g_j - centre
                d.append(1 - a @ b / (a.norm() * b.norm()))
            nearest = torch.stack(d).min() + 1e-5
            powers = [torch.exp((1 - d_ij / nearest) / h) for d_ij in d]
            rows.append(torch.stack(powers) / torch.stack(powers).sum())
        best = torch.stack(rows).max(0).values  # over i, for every j
        each.append(-torch.log(best.mean()))
    return torch.stack(each).mean()


@pytest.mark.parametrize("rows", [4, 5, 1024])
def test_contextual_is_its_equation(rows: int) -> None:
    """Output and exemplar of different sizes: 12 and 6 positions; parts with and without a rest."""
    out, exemplar = random(2, 5, 3, 4), random(2, 5, 3, 2)
    agrees(partial(losses.contextual, rows=rows), literal_contextual, out, exemplar)


def test_contextuals_gradient_is_its_own_derivative() -> None:
    out, exemplar = random(1, 4, 3, 2).requires_grad_(), random(1, 4, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(partial(losses.contextual, rows=4, bandwidth=0.5), (out, exemplar))


def test_contextual_looks_for_features_wherever_they_are() -> None:
    exemplar = torch.randn(1, 8, 4, 4)
    moved = exemplar.flatten(2)[..., torch.randperm(16)].view(1, 8, 4, 4)
    same, other = losses.contextual(moved, exemplar), losses.contextual(torch.randn(1, 8, 4, 4), exemplar)
    assert same.item() < 0.01 < other.item()


def test_contextual_keeps_no_matrix_of_all_pairs() -> None:
    C, side, rows = 8, 24, 32
    N = side * side
    out = torch.randn(1, C, side, side, requires_grad=True)
    with LargestTensor() as seen:
        losses.contextual(out, torch.randn(1, C, side, side), rows=rows).backward()
    assert seen.numbers == max(rows * N, N * C)


def test_tone_compares_means_of_cells_and_nothing_finer() -> None:
    image = torch.rand(2, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    rolled = image.unflatten(2, (2, 8)).roll(3, 3).flatten(2, 3)  # within each row of cells: the same means
    assert losses.tone(image, rolled, torch.tensor([True, True])).item() == pytest.approx(0, abs=1e-6)
    lighter = image + torch.tensor([0.5, 0.25])[:, None, None, None]
    assert losses.tone(image, lighter, torch.tensor([True, False])).item() == pytest.approx(0.25)
