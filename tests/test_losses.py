"""Every loss against its equation, written literally in float64: values and gradients."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from tensors import LargestTensor, agrees, literal_l1, random, unit
from torch import Tensor

from mcltool.model import losses


@pytest.fixture(autouse=True)
def _same_numbers_every_time() -> None:
    torch.manual_seed(0)


# --- Marginal contrastive loss (section 2) ---


def literal_contrast(u: Tensor, y: Tensor, m: float, s: float) -> Tensor:
    """-mean_i log e^{s cos(t_ii + m)} / (e^{s cos(t_ii + m)} + sum_{j != i} e^{s cos t_ij}), over B too."""
    B, N, _ = u.shape
    terms = []
    for b in range(B):
        for i in range(N):
            cosines = [u[b, i] @ y[b, j] for j in range(N)]
            theta = torch.acos(cosines[i])
            past_pi = theta.item() + m > math.pi
            shifted = torch.cos(theta) - m * math.sin(m) if past_pi else torch.cos(theta + m)
            positive = torch.exp(s * shifted)
            negatives = sum((torch.exp(s * cosines[j]) for j in range(N) if j != i), torch.zeros(()))
            terms.append(-torch.log(positive / (positive + negatives)))
    return torch.stack(terms).mean()


def literal_mcl(u: Tensor, y: Tensor, m: float, s: float, symmetric: bool) -> Tensor:
    one_sided = literal_contrast(u, y, m, s)
    return 0.5 * (one_sided + literal_contrast(y, u, m, s)) if symmetric else one_sided


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(("margin", "scale"), [(0.25, 20.0), (0.0, 10.0), (1.2, 3.0)])
def test_mcl_is_its_equation(margin: float, scale: float, symmetric: bool) -> None:
    ours = partial(losses.marginal_contrastive, margin=margin, scale=scale, symmetric=symmetric)
    literal = partial(literal_mcl, m=margin, s=scale, symmetric=symmetric)
    agrees(ours, literal, unit(2, 7, 5), unit(2, 7, 5))


def test_mcl_is_its_equation_where_positives_are_almost_opposite() -> None:
    """theta + m > pi at every position: the monotone continuation."""
    u = unit(1, 6, 4)
    y = F.normalize(-u + 0.05 * random(1, 6, 4), dim=2)
    assert (torch.acos((u * y).sum(2)) + 0.4 > math.pi).all()
    ours = partial(losses.marginal_contrastive, margin=0.4, scale=5.0)
    agrees(ours, partial(literal_mcl, m=0.4, s=5.0, symmetric=True), u, y)


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("rows", [1, 3, 7, 8])
def test_mcl_does_not_depend_on_how_many_rows_are_handled_at_a_time(rows: int, symmetric: bool) -> None:
    """7 positions: alone, in parts with and without a rest, and all at once."""
    u, y = unit(2, 7, 5).requires_grad_(), unit(2, 7, 5).requires_grad_()
    whole = losses.marginal_contrastive(u, y, 0.25, 20.0, symmetric)
    parts = losses.marginal_contrastive(u, y, 0.25, 20.0, symmetric, rows)
    torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-12)
    for got, want in zip(torch.autograd.grad(parts, (u, y)), torch.autograd.grad(whole, (u, y)), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("symmetric", [True, False])
def test_mcls_gradient_is_its_own_derivative(symmetric: bool) -> None:
    def loss(u: Tensor, y: Tensor) -> Tensor:
        return losses.marginal_contrastive(u, y, 0.25, 4.0, symmetric, rows=2)

    u, y = (0.8 * unit(2, 5, 3)).requires_grad_(), unit(2, 5, 3).requires_grad_()
    assert torch.autograd.gradcheck(loss, (u, y))


def test_mcl_without_margin_is_cross_entropy() -> None:
    """InfoNCE: position i is the class that row i of the logits should have, and column i."""
    u, y, s = unit(2, 9, 6), unit(2, 9, 6), 14.0
    logits, target = s * u @ y.transpose(1, 2), torch.arange(9).repeat(2)
    by_row = F.cross_entropy(logits.flatten(0, 1), target)
    by_column = F.cross_entropy(logits.transpose(1, 2).flatten(0, 1), target)
    torch.testing.assert_close(losses.marginal_contrastive(u, y, 0.0, s, symmetric=False), by_row)
    torch.testing.assert_close(losses.marginal_contrastive(u, y, 0.0, s), (by_row + by_column) / 2)


def test_one_sided_mcl_contrasts_each_condition_position_with_all_photo_positions() -> None:
    u = torch.eye(3, dtype=torch.float64)[None]
    y = torch.eye(3, dtype=torch.float64)[None, [0, 0, 2]]  # position 1 of the photo looks like position 0
    rows = losses.marginal_contrastive(u, y, 0.0, 1.0, symmetric=False)
    e = math.e
    each = [-math.log(e / (2 * e + 1)), -math.log(1 / 3), -math.log(e / (e + 2))]
    assert rows.item() == pytest.approx(sum(each) / 3)


def test_mcl_keeps_no_matrix_of_all_pairs() -> None:
    N, D, rows = 512, 16, 32
    u, y = unit(1, N, D).float().requires_grad_(), unit(1, N, D).float().requires_grad_()
    with LargestTensor() as seen:
        losses.marginal_contrastive(u, y, 0.25, 20.0, rows=rows).backward()
    assert seen.numbers == max(rows * N, N * D)


@pytest.mark.parametrize("margin", [0.0, 0.1, 0.25, 0.4, 1.4])
def test_the_margin_lowers_the_cosine_and_keeps_the_order(margin: float) -> None:
    cosine = torch.linspace(-1, 1, 100_001, dtype=torch.float64)
    shifted = losses.cosine_with_margin(cosine, margin)
    assert (shifted.diff() > 0).all()
    assert (shifted <= cosine + 1e-6).all()  # at -1 the clamp lifts it by as much


@pytest.mark.parametrize("margin", [0.0, 0.25, 1.4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("cosine", [1, -1, 0])
def test_extreme_cosines_are_finite_forward_and_backward(
    cosine: int, dtype: torch.dtype, margin: float
) -> None:
    """Positives that are equal, opposite or at right angles, under every autocast, and negatives likewise."""
    basis = torch.eye(8)[None, [0, 1, 2, 3, 0, 1]]
    u = basis.clone().to(dtype).requires_grad_()
    y = (cosine * basis if cosine else basis.roll(1, 2)).to(dtype).requires_grad_()
    with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
        loss = losses.marginal_contrastive(u, y, margin, 20.0, rows=4)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    for leaf in (u, y):
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_mcl_survives_any_scale(scale: float) -> None:
    u, y = unit(1, 6, 4).float().requires_grad_(), unit(1, 6, 4).float()
    loss = losses.marginal_contrastive(u, y, 0.25, scale)
    loss.backward()
    assert loss.isfinite()
    assert u.grad is not None
    assert u.grad.isfinite().all()


def test_sampled_positions_are_different_ones_that_the_seed_chooses() -> None:
    def draw(seed: int) -> list[int]:
        generator = torch.Generator().manual_seed(seed)
        return losses.sampled_positions(100, 20, generator, torch.device("cpu")).tolist()

    assert len(set(draw(1))) == 20
    assert set(draw(1)) <= set(range(100))
    assert draw(1) == draw(1) != draw(2)


# --- Consistency, L1, warped mask (section 4) ---


def test_feature_consistency_is_the_mean_difference() -> None:
    agrees(
        losses.feature_consistency,
        lambda x, y: literal_l1(x, y, [1.0, 1.0]),
        random(2, 3, 2, 2),
        random(2, 3, 2, 2),
    )


@pytest.mark.parametrize("counted", [None, [True, False, True], [False, False, True]])
def test_l1_is_the_mean_over_all_samples_those_that_do_not_count_being_zero(
    counted: list[bool] | None,
) -> None:
    a, b = random(3, 2, 2, 3), random(3, 2, 2, 3)
    mask = None if counted is None else torch.tensor(counted)
    weights = [1.0] * 3 if counted is None else [float(c) for c in counted]
    agrees(partial(losses.l1, counted_B=mask), partial(literal_l1, counted=weights), a, b)


def test_l1_where_no_sample_counts_is_zero_with_gradient_zero() -> None:
    a = torch.randn(2, 3, 4, 4, requires_grad=True)
    loss = losses.l1(a, torch.randn(2, 3, 4, 4), torch.tensor([False, False]))
    loss.backward()
    assert loss.item() == 0
    assert a.grad is not None
    assert not a.grad.any()


def literal_warped_mask(shares: Tensor, labels: Tensor) -> Tensor:
    """Of each sample -sum_k label_k log share_k over all positions, divided by the labels' sum (at least 1)."""
    B, N, K = shares.shape
    each = []
    for b in range(B):
        total, weight = torch.zeros(()), 0.0
        for i in range(N):
            for k in range(K):
                total = total - labels[b, i, k] * torch.log(shares[b, i, k].clamp(1e-4, 1))
                weight += labels[b, i, k].item()
        each.append(total / max(1.0, weight))
    return torch.stack(each).mean()


def test_warped_mask_is_cross_entropy_over_the_classes_that_count() -> None:
    shares = random(2, 5, 4).softmax(2)
    labels = random(2, 5, 4).softmax(2)
    labels[..., 1] = 0  # a class that the exemplar lacks
    labels[1, 2] = 0  # a position that does not count at all
    agrees(
        partial(losses.warped_mask, labels_BNK=labels),
        partial(literal_warped_mask, labels=labels),
        shares,
    )


@pytest.mark.parametrize("balance", [0.5, 1.0])
def test_a_balanced_warped_mask_counts_a_class_of_n_positions_as_n_to_the_power_of_1_less_balance(
    balance: float,
) -> None:
    shares, classes = random(1, 12, 3).softmax(2), torch.tensor([0] * 9 + [1] * 2 + [2])
    each = -shares[0, torch.arange(12), classes].log()
    means, weights = [], []
    for k, covered in enumerate((9, 2, 1)):
        means.append(each[classes == k].mean())
        weights.append(covered ** (1 - balance))
    expected = sum(w * m for w, m in zip(weights, means, strict=True)) / sum(weights)
    found = losses.warped_mask(shares, F.one_hot(classes, 3)[None].float(), balance)
    torch.testing.assert_close(found, expected.to(found.dtype))
    assert losses.warped_mask(shares, torch.zeros(1, 12, 3), balance) == 0


def test_the_gradient_of_a_batch_is_the_mean_of_those_of_its_parts() -> None:
    """What gradient accumulation and several processes rest on, where not all samples count alike."""
    out, truth = torch.randn(4, 3, 2, 2, requires_grad=True), torch.randn(4, 3, 2, 2)
    counted = torch.tensor([True, False, False, False])
    shares = torch.rand(4, 5, 3).softmax(2).requires_grad_()
    labels = torch.rand(4, 5, 3) * torch.tensor([1.0, 0.2, 0.0, 1.0])[:, None, None]

    def loss(part: slice) -> Tensor:
        return losses.l1(out[part], truth[part], counted[part]) + losses.warped_mask(
            shares[part], labels[part]
        )

    whole = torch.autograd.grad(loss(slice(4)), (out, shares))
    halves = 0.5 * (loss(slice(2)) + loss(slice(2, 4)))
    for a, b in zip(whole, torch.autograd.grad(halves, (out, shares)), strict=True):
        torch.testing.assert_close(a, b)


def test_warped_mask_is_zero_for_the_right_classes_and_finite_for_wrong_ones() -> None:
    right = F.one_hot(torch.tensor([[0, 1, 2, 1]]), 3).float()
    assert losses.warped_mask(right, right).item() == pytest.approx(0, abs=1e-6)
    wrong = losses.warped_mask(right.roll(1, 2), right)
    assert wrong.item() == pytest.approx(-math.log(1e-4))
    assert losses.warped_mask(right, torch.zeros_like(right)).item() == 0


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_loss_is_computed_in_float32_whatever_the_autocast(dtype: torch.dtype) -> None:
    a, b = torch.randn(2, 4, 4, 4).to(dtype), torch.randn(2, 4, 4, 4).to(dtype)
    u, y = unit(2, 5, 8).to(dtype), unit(2, 5, 8).to(dtype)
    shares, labels = torch.rand(2, 5, 4).to(dtype), torch.rand(2, 5, 4).to(dtype)

    def all_losses() -> Tensor:
        return torch.stack([
            losses.marginal_contrastive(u, y, 0.25, 20.0),
            losses.feature_consistency(a, b),
            losses.l1(a, b),
            losses.warped_mask(shares, labels),
            losses.hinge_discriminator([a], [b]),
            losses.hinge_generator([a]),
            losses.feature_matching([[a, a]], [[b, b]]),
            losses.perceptual(a, b),
            losses.contextual(a, b),
        ])  # fmt: skip

    plain = all_losses()
    with torch.autocast("cpu", dtype=dtype):
        mixed = all_losses()
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, plain, rtol=0, atol=0)
