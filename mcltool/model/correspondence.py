"""Self-correlation map, correspondence features and the attention warp (docs/method.md, sections 1 and 3).

Positions are the cells of the feature grid (h, w) in reading order; N = h w.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.model.attention import attention
from mcltool.model.blocks import normal_parameter, planes, positions

STRIDE = 4
"""Pixels a side of one position of the features."""

LEFT_OUT = -1e6
"""Logit of what has weight 0: its share is exactly 0, and stays finite in products."""


class SelfCorrelationMap(nn.Module):
    """S = M W + b with M = x^ x^^T, as x^ (x^^T W): the N x N map M is never built (section 1).

    W is ``outputs`` planes on the grid of the training size. Another input's grid gets W resampled and
    rescaled by N0 / N, so that one set of weights serves every size.
    """

    def __init__(self, outputs: int, grid: tuple[int, int]) -> None:
        super().__init__()
        positions = grid[0] * grid[1]
        self.weight = normal_parameter(outputs, *grid, deviation=positions**-0.5)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, xhat_BNC: Tensor, grid: tuple[int, int]) -> Tensor:
        """(B, N, C) centred unit vectors on ``grid`` -> (B, N, outputs)."""
        W_NK = self.resampled(grid).flatten(1).T
        return xhat_BNC @ (xhat_BNC.transpose(1, 2) @ W_NK) + self.bias

    def resampled(self, grid: tuple[int, int]) -> Tensor:
        """W as (outputs, h, w) on ``grid``."""
        return resampled_map(self.weight, grid)


def resampled_map(W_Khw: Tensor, grid: tuple[int, int]) -> Tensor:
    """W of a self-correlation map for another ``grid``, rescaled by N0 / N."""
    h0, w0 = W_Khw.shape[1:]
    if (h0, w0) == tuple(grid):
        return W_Khw
    W = F.interpolate(W_Khw[None], grid, mode="bilinear", antialias=True, align_corners=False)
    return W[0] * (h0 * w0 / (grid[0] * grid[1]))


class CorrespondenceFeatures(nn.Module):
    """Features of the encoders to unit vectors u = normalise([x^, S^_x]) (section 1). float32 throughout.

    window: x^ in u is of the features of window x window positions side by side (section 7); the map's is of one.
    place: w, the share of u . v that says how near the two positions lie, from 0 to 1 (section 8).
    """

    def __init__(self, scm_channels: int, grid: tuple[int, int], window: int = 1, place: float = 0.0) -> None:
        super().__init__()
        self.scm = SelfCorrelationMap(scm_channels, grid) if scm_channels else None
        self.window, self.place = window, place

    def forward(self, x_BChw: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, N, window**2 C + scm_channels, and 4 with ``place``), each position of length 1."""
        grid = (x_BChw.shape[2], x_BChw.shape[3])
        with torch.autocast(x_BChw.device.type, enabled=False):
            x_BChw = x_BChw.float()
            xhat_BNC = u_BND = centred_unit(positions(x_BChw))
            if self.window > 1:
                near_BDN = F.unfold(x_BChw, self.window, padding=self.window // 2)
                u_BND = centred_unit(near_BDN.transpose(1, 2))
            if self.scm is not None:
                shat_BNK = centred_unit(self.scm(xhat_BNC, grid))
                u_BND = torch.cat([u_BND, shat_BNK], 2) * 0.5**0.5  # both parts have length 1
            if self.place:
                place_BN4 = place_features(grid, u_BND.device).expand(u_BND.shape[0], -1, -1)
                u_BND = torch.cat([u_BND * (1 - self.place) ** 0.5, place_BN4 * self.place**0.5], 2)
            return u_BND


def place_features(grid: tuple[int, int], device: torch.device) -> Tensor:
    """(N, 4) unit vectors whose products say how near two positions lie: (cos pi dy + cos pi dx) / 2.

    dy, dx: how far apart they lie, as shares of the sides, so that grids of other sizes can be compared.
    """
    y, x = (torch.pi * (torch.arange(side, device=device) + 0.5) / side for side in grid)
    Y, X = (angle.flatten() for angle in torch.meshgrid(y, x, indexing="ij"))
    return torch.stack([Y.cos(), Y.sin(), X.cos(), X.sin()], 1) / math.sqrt(2)


def centred_unit(x_BNC: Tensor) -> Tensor:
    """The hat: centred over channels, then L2-normalised, position by position."""
    unit: Tensor = F.normalize(x_BNC - x_BNC.mean(2, keepdim=True), dim=2, eps=1e-6)
    return unit


def attention_warp(
    u_BND: Tensor, v_BMD: Tensor, values_BMV: Tensor, temperature: float, rows: int = 1024
) -> Tensor:
    """T V with T = softmax_j(u_i . v_j / tau) (section 3): (B, N, V).

    float32 inside: at scale 1 / tau = 100 bfloat16 logits flip best matches. rows: positions of u handled at a
    time; memory is linear in N.
    """
    return attention(u_BND.float(), v_BMD.float(), values_BMV.float(), 1 / temperature, rows)


def mixture_features(
    u_ND: Tensor, v: Sequence[Tensor], weights_EN: Tensor, temperature: float
) -> tuple[Tensor, Tensor]:
    """u and the v of several exemplars, (M_e, D) each, as (N, D + E) and (M, D + E) features with one dot product:
    tau times the logit u_i . v_ej / tau + log w_e(i) - log(M_e / M), in float32.

    weights_EN: w >= 0; 0 leaves an exemplar out, and at each i one is above 0. M_e of all M positions are those of e,
    that a larger exemplar does not count for more. The last two terms are one more feature of u_i for each
    exemplar, which only that exemplar's positions answer to: attention and confidence take them as they are.
    All may have batch dimensions in front.
    """
    counts = torch.tensor([keys.shape[-2] for keys in v], dtype=torch.float, device=u_ND.device)
    bias_EN = (weights_EN.float().log() - (counts / counts.sum()).log()[:, None]).clamp_min(LEFT_OUT)
    marks = torch.eye(len(v), device=u_ND.device)
    keys = [
        torch.cat([k.float(), mark.expand(*k.shape[:-1], -1)], -1) for k, mark in zip(v, marks, strict=True)
    ]
    return torch.cat([u_ND.float(), temperature * bias_EN.mT], -1), torch.cat(keys, -2)


def mixture_warp(
    u_ND: Tensor,
    v: Sequence[Tensor],
    values: Sequence[Tensor],
    weights_EN: Tensor,
    temperature: float,
    rows: int = 1024,
) -> Tensor:
    """T V with T the softmax over the positions of all exemplars together, see ``mixture_features``: (N, V).

    values: (M_e, V) each. Memory is linear in N; one exemplar alone gives the bits of ``attention_warp``.
    """
    u_1NF, v_1MF = u_ND[None], v[0][None]
    if len(v) > 1:
        u_1NF, v_1MF = (f[None] for f in mixture_features(u_ND, v, weights_EN, temperature))
    return attention_warp(u_1NF, v_1MF, torch.cat(list(values))[None], temperature, rows)[0]


def best_match(u_BND: Tensor, v_BMD: Tensor, rows: int = 1024) -> tuple[Tensor, Tensor]:
    """(B, N) best position of v for each position of u, and its cosine; ``rows`` positions of u at a time."""
    with torch.autocast(u_BND.device.type, enabled=False):
        parts = [(part @ v_BMD.transpose(1, 2)).max(2) for part in torch.split(u_BND, rows, 1)]
    return torch.cat([p.indices for p in parts], 1), torch.cat([p.values for p in parts], 1)


def confidence(u_ND: Tensor, v_MD: Tensor, temperature: float, rows: int = 1024) -> Tensor:
    """(N,) in [0, 1]: the largest of each position's attention; ``rows`` positions of u at a time."""
    parts = []
    with torch.autocast(u_ND.device.type, enabled=False):
        for part in torch.split(u_ND, rows):
            logits = part @ v_MD.T / temperature
            parts.append((logits.amax(1) - logits.logsumexp(1)).exp())
    return torch.cat(parts)


def patches(image_BCHW: Tensor) -> Tensor:
    """V: the image cut into 4 x 4 patches, (B, N, 16 C)."""
    return positions(F.pixel_unshuffle(image_BCHW, STRIDE))


def from_patches(values_BNV: Tensor, grid: tuple[int, int]) -> Tensor:
    """The inverse of ``patches``: (B, N, 16 C) on ``grid`` -> (B, C, 4 h, 4 w)."""
    return F.pixel_shuffle(planes(values_BNV, grid), STRIDE)


def averages(image_BCHW: Tensor) -> Tensor:
    """V: the mean of each 4 x 4 patch, (B, N, C) (section 7)."""
    return positions(F.avg_pool2d(image_BCHW, STRIDE))


def from_averages(values_BNC: Tensor, grid: tuple[int, int]) -> Tensor:
    """An image of even 4 x 4 patches: (B, N, C) on ``grid`` -> (B, C, 4 h, 4 w)."""
    return F.interpolate(planes(values_BNC, grid), scale_factor=float(STRIDE), mode="nearest")


VALUES = {"patches": (patches, from_patches), "averages": (averages, from_averages)}
"""What an image is warped as, by ``ModelConfig.values``: to values (B, N, V), and from values to an image."""
