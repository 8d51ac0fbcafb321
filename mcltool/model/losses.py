"""The losses of docs/method.md, sections 2, 4 and 5. Pure functions; |.|_1 and |.|^2 are means over all elements."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

COSINE_LIMIT = 1 - 1e-6
"""Cosines are clamped to this before sqrt(1 - cos^2), whose gradient has no bound at 1."""


def marginal_contrastive(
    u_BND: Tensor,
    y_BND: Tensor,
    margin: float,
    scale: float,
    symmetric: bool = True,
    rows: int = 1024,
) -> Tensor:
    """L_mcl (section 2): -mean_i log p_i / (p_i + sum_{j != i} e^{s cos t_ij}); p_i = e^{s cos(t_ii + m)}.

    u, y: (B, N, D) unit vectors of condition and photo; the positive of position i is i. margin: m in
    radians. scale: s. symmetric: the mean of contrasting u with all y and y with all u. rows: positions
    handled at a time; memory is linear in N. float32 (or float64) inside.
    """
    with torch.autocast(u_BND.device.type, enabled=False):
        u, y = _at_least_float32(u_BND), _at_least_float32(y_BND)
        positive_BN = scale * cosine_with_margin((u * y).sum(2), margin)
        by_row_BN, by_column_BN = _LogSumExpWithDiagonal.apply(u, y, positive_BN, scale, symmetric, rows)
        loss: Tensor = (by_row_BN - positive_BN).mean()
        if symmetric:
            loss = 0.5 * (loss + (by_column_BN - positive_BN).mean())
        return loss


def cosine_with_margin(cosine: Tensor, margin: float) -> Tensor:
    """cos(theta + m), and past theta + m = pi the monotone continuation cos(theta) - m sin(m).

    cosine: cos(theta), any shape. margin: m in radians. After ArcFace (arXiv 1801.07698).
    """
    cosine = cosine.clamp(-COSINE_LIMIT, COSINE_LIMIT)
    sine: Tensor = torch.sqrt(1 - cosine**2)
    shifted = cosine * math.cos(margin) - sine * math.sin(margin)
    continued: Tensor = cosine - margin * math.sin(margin)
    return torch.where(cosine > -math.cos(margin), shifted, continued)


class _LogSumExpWithDiagonal(torch.autograd.Function):
    """log sum_j exp l_ij over rows (and columns) of l = s u y^T with its diagonal replaced by ``positive``.

    The N x N logits exist ``rows`` at a time, and are computed again in the backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any, u: Tensor, y: Tensor, positive: Tensor, scale: float, columns: bool, rows: int
    ) -> tuple[Tensor, Tensor]:
        by_row = torch.empty_like(positive)
        by_column = torch.full_like(positive, -math.inf)
        for part, logits in _logit_rows(u, y, positive, scale, rows):
            by_row[:, part] = logits.logsumexp(2)
            if columns:
                by_column = torch.logaddexp(by_column, logits.logsumexp(1))
        ctx.save_for_backward(u, y, positive, by_row, by_column)
        ctx.scale, ctx.columns, ctx.rows = scale, columns, rows
        return by_row, by_column

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        u, y, positive, by_row, by_column = ctx.saved_tensors
        row_gradient, column_gradient = gradients
        du, dy, dpositive = torch.empty_like(u), torch.zeros_like(y), torch.empty_like(positive)
        with torch.autocast(u.device.type, enabled=False):
            for part, logits in _logit_rows(u, y, positive, ctx.scale, ctx.rows):
                weight = (logits - by_row[:, part, None]).exp_().mul_(row_gradient[:, part, None])
                if ctx.columns:
                    weight += logits.sub_(by_column[:, None]).exp_().mul_(column_gradient[:, None])
                diagonal = weight.diagonal(part.start, 1, 2)
                dpositive[:, part] = diagonal
                diagonal.zero_()
                du[:, part] = ctx.scale * (weight @ y)
                dy.baddbmm_(weight.transpose(1, 2), u[:, part], alpha=ctx.scale)
        return du, dy, dpositive, None, None, None


def _logit_rows(u: Tensor, y: Tensor, positive: Tensor, scale: float, rows: int) -> Any:
    """Yield (slice of rows, logits (B, rows, N)) with the diagonal replaced by ``positive``."""
    for start in range(0, u.shape[1], rows):
        part = slice(start, min(start + rows, u.shape[1]))
        logits = (scale * u[:, part]) @ y.transpose(1, 2)
        logits.diagonal(start, 1, 2).copy_(positive[:, part])
        yield part, logits


def sampled_positions(count: int, sample: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """``sample`` different positions of ``count`` for a sampled L_mcl; (sample,) int64."""
    return torch.randperm(count, generator=generator)[:sample].to(device)


def feature_consistency(x: Tensor, y: Tensor) -> Tensor:
    """L_cons = |x - y|_1 of the encoders' features (section 4)."""
    return (x.float() - y.float()).abs().mean()


def l1(a_BCHW: Tensor, b_BCHW: Tensor, counted_B: Tensor | None = None) -> Tensor:
    """|a - b|_1, a sample that does not count being 0. counted: (B,) bool or weights.

    The mean is over all samples, so that the gradients of a batch are the mean of those of its parts.
    """
    each_B = (a_BCHW.float() - b_BCHW.float()).abs().flatten(1).mean(1)
    return each_B.mean() if counted_B is None else (each_B * counted_B.to(each_B.dtype)).mean()


def tone(image_BCHW: Tensor, warped_BCHW: Tensor, counted_B: Tensor, cell: int = 8) -> Tensor:
    """L1 of the means over ``cell`` x ``cell`` pixels: the colours of ``warped``, and no say in what is finer.

    counted: as in ``l1``. Where no answer is known this ties the image to the exemplar without blurring it.
    """
    means = [F.avg_pool2d(x.float(), cell) for x in (image_BCHW, warped_BCHW)]
    return l1(means[0], means[1], counted_B)


def warped_mask(shares_BNK: Tensor, labels_BNK: Tensor, balance: float = 0.0) -> Tensor:
    """Cross-entropy of the exemplar's warped labels against the condition's (section 4, after CoCosNet).

    shares: (B, N, K) warped class shares. labels: (B, N, K) class shares of the condition. Positions count as
    far as their classes are anywhere in the exemplar; the caller masks ``labels`` accordingly. Each sample
    is averaged over its positions that count, then the samples. balance: a class that covers n positions
    counts as n^(1 - balance) of them: 0 as published, 1 all classes alike.
    """
    with torch.autocast(shares_BNK.device.type, enabled=False):
        labels = labels_BNK.float()
        if balance:
            covered_B1K = labels.sum(1, keepdim=True)
            balanced = labels * covered_B1K.clamp(min=1) ** -balance
            total = balanced.sum((1, 2), keepdim=True).clamp(min=1e-6)
            labels = balanced * labels.sum((1, 2), keepdim=True) / total
        likelihood = shares_BNK.float().clamp(1e-4, 1).log() * labels
        return -(likelihood.sum((1, 2)) / labels.sum((1, 2)).clamp(min=1)).mean()


def hinge_discriminator(real: Sequence[Tensor], fake: Sequence[Tensor]) -> Tensor:
    """Hinge loss of the discriminator over its scales' scores."""
    pairs = zip(real, fake, strict=True)
    terms = [F.relu(1 - r.float()).mean() + F.relu(1 + f.float()).mean() for r, f in pairs]
    return torch.stack(terms).mean()


def hinge_generator(fake: Sequence[Tensor]) -> Tensor:
    """Hinge loss of the generator: -mean of the scores."""
    return -torch.stack([f.float().mean() for f in fake]).mean()


def feature_matching(
    real: Sequence[Sequence[Tensor]], fake: Sequence[Sequence[Tensor]], counted_B: Tensor | None = None
) -> Tensor:
    """L1 between the discriminator's layers on real and generated image (pix2pixHD, arXiv 1711.11585).

    real, fake: a list a scale, its last the scores, which are left out. counted: as in ``l1``.
    """
    terms = [
        l1(f, r.detach(), counted_B)
        for real_scale, fake_scale in zip(real, fake, strict=True)
        for r, f in zip(real_scale[:-1], fake_scale[:-1], strict=True)
    ]
    return torch.stack(terms).mean()


def perceptual(out_BCHW: Tensor, truth_BCHW: Tensor) -> Tensor:
    """L_perc = |phi(out) - phi(Y)|^2 on one layer's features (section 5)."""
    return (out_BCHW.float() - truth_BCHW.float()).square().mean()


def contextual(out_BCHW: Tensor, exemplar_BCHW: Tensor, bandwidth: float = 0.1, rows: int = 1024) -> Tensor:
    """L_ctx of one layer's features (section 5; Mechrez et al., 1803.02077).

    d_ij = 1 - cos(out_i, exemplar_j), both centred by the channel mean of the exemplar;
    d'_ij = d_ij / (min_k d_ik + 1e-5); A_ij = softmax_j((1 - d'_ij) / bandwidth); -log(mean_j max_i A_ij).
    ``rows`` positions i are handled at a time and computed again in the backward pass: no N x N is kept.
    """
    with torch.autocast(out_BCHW.device.type, enabled=False):
        f_BNC = _at_least_float32(out_BCHW).flatten(2).transpose(1, 2)
        g_BMC = _at_least_float32(exemplar_BCHW).flatten(2).transpose(1, 2)
        centre = g_BMC.mean(1, keepdim=True)
        f = F.normalize(f_BNC - centre, dim=2)
        g = F.normalize(g_BMC - centre, dim=2)
        best_BM: Tensor | None = None
        for part in torch.split(f, rows, 1):
            affinity = checkpoint(_contextual_rows, part, g, bandwidth, use_reentrant=False)
            best_BM = affinity if best_BM is None else torch.maximum(best_BM, affinity)
        assert best_BM is not None
        return -best_BM.mean(1).log().mean()


def _contextual_rows(f_BnC: Tensor, g_BMC: Tensor, bandwidth: float) -> Tensor:
    """max over the given rows i of A_ij: (B, M).

    (1 - d'_ij) / bandwidth is w_i cos_ij and something that is the same for all j, which a softmax over j ignores.
    """
    cosine = f_BnC @ g_BMC.transpose(1, 2)
    w = 1 / (bandwidth * (1 - cosine.max(2, keepdim=True).values + 1e-5))
    return (w * cosine).softmax(2).amax(1)


def _at_least_float32(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()
