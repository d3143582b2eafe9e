"""The mandatory part by dense products, group after group: any device, any dtype, forward and backward.

A group's queries and keys are contiguous runs, so nothing is gathered beyond joining a few key ranges. Shapes are
[B, H, rows, D]; work is in float32, or float64 for float64 inputs. On CPU the forward pass is torch's own
flash kernel, the one under scaled_dot_product_attention, with its float32 error of about 1e-6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from moc.attention.call import last_in_line
from moc.attention.mandatory import Group, Mandatory

_SCORES_AT_ONCE = {"cpu": 1 << 19}
_SCORES_AT_ONCE_ELSEWHERE = 1 << 26


def forward(
    q_BHQD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, links: Mandatory, start: int, scale: float
) -> tuple[Tensor, Tensor]:
    """Attention of query rows, the first of which is row `start` of the stream, to their mandatory keys.

    Returns:
        [B, H, Lq, D] outputs and [B, H, Lq] natural-log LSE, both in the working dtype or, for outputs of the flash
        kernel, the inputs' dtype.
    """
    wide = torch.promote_types(q_BHQD.dtype, torch.float32)
    fused = q_BHQD.device.type == "cpu"
    if fused:
        q_BHQD, k_BHLD, v_BHLD = last_in_line(q_BHQD, k_BHLD, v_BHLD)
    out = torch.empty_like(q_BHQD, dtype=q_BHQD.dtype if fused else wide, memory_format=torch.contiguous_format)
    lse = torch.empty(q_BHQD.shape[:3], dtype=wide, device=q_BHQD.device)
    for group in links.groups:
        k, v = _keys(k_BHLD, group), _keys(v_BHLD, group)
        rows = slice(group.q_start - start, group.q_stop - start)
        if fused:
            out[:, :, rows], lse[:, :, rows] = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(
                q_BHQD[:, :, rows], k, v, scale=scale
            )
            continue
        k, v = k.to(wide), v.to(wide)
        for block in _blocks(q_BHQD, rows, k.shape[2]):
            scores = (q_BHQD[:, :, block].to(wide) * scale) @ k.mT
            lse[:, :, block] = torch.logsumexp(scores, -1)
            out[:, :, block] = scores.sub_(lse[:, :, block, None]).exp_() @ v
    return out, lse


def backward(
    q_BHQD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    dout_BHQD: Tensor,
    lse_BHQ: Tensor,
    delta_BHQ: Tensor,
    links: Mandatory,
    start: int,
    scale: float,
    dk_BHLD: Tensor,
    dv_BHLD: Tensor,
) -> Tensor:
    """Adds the mandatory part's gradients of keys and values in place, and returns those of the queries.

    Args:
        lse_BHQ: [B, H, Lq] log-sum-exp over everything a query attends.
        delta_BHQ: [B, H, Lq] rowsum(dO O) - dLSE.
        dk_BHLD, dv_BHLD: [B, H, L, D] in the working dtype.

    Returns:
        [B, H, Lq, D] in the working dtype.
    """
    wide = dk_BHLD.dtype
    dq = torch.empty(q_BHQD.shape, dtype=wide, device=q_BHQD.device)
    for group in links.groups:
        k, v = _keys(k_BHLD, group).to(wide), _keys(v_BHLD, group).to(wide)
        dk, dv = torch.zeros_like(k), torch.zeros_like(v)
        rows = slice(group.q_start - start, group.q_stop - start)
        for block in _blocks(q_BHQD, rows, k.shape[2]):
            q, dout = q_BHQD[:, :, block].to(wide) * scale, dout_BHQD[:, :, block].to(wide)
            weights = (q @ k.mT).sub_(lse_BHQ[:, :, block, None]).exp_()
            dv += weights.mT @ dout
            dscores = (dout @ v.mT).sub_(delta_BHQ[:, :, block, None]).mul_(weights)
            dq[:, :, block] = (dscores @ k).mul_(scale)
            dk += dscores.mT @ q
        at = 0
        for a, b in group.keys:
            dk_BHLD[:, :, a:b] += dk[:, :, at : at + b - a]
            dv_BHLD[:, :, a:b] += dv[:, :, at : at + b - a]
            at += b - a
    return dq


def _keys(x_BHLD: Tensor, group: Group) -> Tensor:
    if len(group.keys) == 1:
        return x_BHLD[:, :, slice(*group.keys[0])]
    return torch.cat([x_BHLD[:, :, a:b] for a, b in group.keys], dim=2)


def _blocks(q_BHQD: Tensor, rows: slice, keys: int) -> list[slice]:
    """Rows cut so that the scores of one block stay small."""
    budget = _SCORES_AT_ONCE.get(q_BHQD.device.type, _SCORES_AT_ONCE_ELSEWHERE)
    step = max(1, budget // (q_BHQD.shape[0] * q_BHQD.shape[1] * keys))
    return [slice(a, min(a + step, rows.stop)) for a in range(rows.start, rows.stop, step)]
