"""Attention whose N x M weights exist some rows at a time: memory linear in N, forward and backward."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor


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
