"""Attention in memory linear in the positions, and the self-attention of the networks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mcltool.model.blocks import planes, positions


class SelfAttention(nn.Module):
    """Self-attention over positions (SAGAN, arXiv 1805.08318), its output scaled by a learned gain from 0.

    width: channels of queries and keys. layer: makes the 1 x 1 convolutions. pooled: keys and values are the largest
    of 2 x 2 positions, and the products are not scaled, as in SAGAN; else all, scaled by width**-0.5.
    """

    def __init__(
        self,
        channels: int,
        width: int | None = None,
        layer: type[nn.Conv2d] = nn.Conv2d,
        pooled: bool = False,
    ) -> None:
        super().__init__()
        width = width or max(channels // 8, 8)
        self.query, self.key = layer(channels, width, 1), layer(channels, width, 1)
        self.value, self.out = layer(channels, channels // 2, 1), layer(channels // 2, channels, 1)
        self.gain = nn.Parameter(torch.zeros(()))
        self.pooled, self.scale = pooled, 1.0 if pooled else width**-0.5

    def forward(self, x_BCHW: Tensor) -> Tensor:
        q_BDHW, k_BDhw, v_BVhw = self.query(x_BCHW), self.key(x_BCHW), self.value(x_BCHW)
        if self.pooled:
            k_BDhw, v_BVhw = F.max_pool2d(k_BDhw, 2), F.max_pool2d(v_BVhw, 2)
        q, k, v = positions(q_BDHW), positions(k_BDhw), positions(v_BVhw)
        if x_BCHW.device.type == "cpu":
            h = attention(q, k, v, self.scale)
        else:  # with kernels that store no weights
            h = F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None], scale=self.scale)[:, 0]
        out: Tensor = self.out(planes(h, x_BCHW.shape[-2:]))
        return x_BCHW + self.gain * out


def attention(q_BND: Tensor, k_BMD: Tensor, values_BMV: Tensor, scale: float, rows: int = 1024) -> Tensor:
    """softmax_j(scale q_i . k_j) values: (B, N, V), all of one number format; the softmax sums in float32.

    rows: positions of q handled at a time; the backward pass computes their weights again. On a CPU torch's
    scaled_dot_product_attention stores all weights unless values and features are padded to one width, and is
    then slower, in the backward pass twice and more.
    """
    with torch.autocast(q_BND.device.type, enabled=False):
        found: Tensor = _Attention.apply(q_BND, k_BMD, values_BMV, scale, rows)
    return found


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, values: Tensor, scale: float, rows: int) -> Tensor:
        out = values.new_empty(q.shape[0], q.shape[1], values.shape[2])
        for part in _slices(q.shape[1], rows):
            torch.bmm(_weights(q[:, part], k, scale), values, out=out[:, part])
        ctx.save_for_backward(q, k, values, out)
        ctx.scale, ctx.rows = scale, rows
        return out

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        q, k, values, out = ctx.saved_tensors
        (gradient,) = gradients
        total = torch.promote_types(q.dtype, torch.float)  # bfloat16 sums would lose what single rows add
        # What is summed lies transposed, because a product with the transposed weights would first copy them.
        dq, dk_BDM = torch.empty_like(q), torch.zeros_like(k.transpose(1, 2), dtype=total)
        dvalues_BVM = (
            torch.zeros_like(values.transpose(1, 2), dtype=total) if ctx.needs_input_grad[2] else None
        )
        mean_BN1 = (gradient * out).sum(2, keepdim=True)  # sum_j T_ij dT_ij
        with torch.autocast(q.device.type, enabled=False):
            for part in _slices(q.shape[1], ctx.rows):
                T = _weights(q[:, part], k, ctx.scale)
                if dvalues_BVM is not None:
                    dvalues_BVM += gradient[:, part].transpose(1, 2) @ T
                dT = gradient[:, part] @ values.transpose(1, 2)
                dlogits = dT.sub_(mean_BN1[:, part]).mul_(T)
                dq[:, part] = ctx.scale * (dlogits @ k)
                dk_BDM += (ctx.scale * q[:, part]).transpose(1, 2) @ dlogits
        dvalues = None if dvalues_BVM is None else dvalues_BVM.transpose(1, 2).to(values.dtype)
        return dq, dk_BDM.transpose(1, 2).to(k.dtype), dvalues, None, None


def _weights(q_BnD: Tensor, k_BMD: Tensor, scale: float) -> Tensor:
    """Rows of T: (B, n, M)."""
    return ((scale * q_BnD) @ k_BMD.transpose(1, 2)).softmax(2)


def _slices(count: int, size: int) -> Iterator[slice]:
    return (slice(start, min(start + size, count)) for start in range(0, count, size))
