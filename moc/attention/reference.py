"""The oracle: attention under a dense boolean mask, written from the definitions, token by token.

It shares no table with the fast paths. Memory is [B, H, Lq, L]: for tests and small examples.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from moc.attention import patterns
from moc.config import MoCConfig
from moc.layout import TokenLayout


def mandatory_mask(layout: TokenLayout, config: MoCConfig, start: int, stop: int) -> Tensor:
    """[stop - start, L] bool: which keys each query row attends whatever is routed (sec. 3.2), patterns included."""
    q = slice(start, stop)
    text, shot, chunk = layout.is_text, layout.shot_ids, layout.chunk_ids
    q_text, k_text = text[q, None], text[None, :]
    same_shot = shot[q, None] == shot[None, :]
    if config.text_links == "all":
        to_text = k_text.expand(stop - start, -1)
    else:
        to_text = k_text & (same_shot | (shot[None, :] == 0))
    # A caption sees the video of its whole shot; the global text, shot 0, has no video.
    own = same_shot
    if config.intra != "shot":
        reach = config.window_chunks if config.intra == "window" else 0
        near = (chunk[q, None] - chunk[None, :]).abs() <= reach
        own = same_shot & (q_text | near)
    seen = to_text | (own & ~k_text)
    fixed = patterns.fixed_mask(layout, config, (start, stop))
    return seen if fixed is None else seen | fixed


def routed_mask(layout: TokenLayout, indices: Tensor) -> Tensor:
    """[B, H, Lq, L] bool: which keys each query row attends by its routes."""
    batch, heads, rows, _ = indices.shape
    chosen = torch.zeros(batch, heads, rows, layout.num_chunks + 1, dtype=torch.bool, device=indices.device)
    chosen.scatter_(3, torch.where(indices < 0, layout.num_chunks, indices).long(), True)
    return chosen[..., layout.chunk_ids]


def allowed(layout: TokenLayout, indices: Tensor | None, config: MoCConfig, q_range: tuple[int, int]) -> Tensor:
    """[B, H, Lq, L] bool, [Lq, L] where nothing is routed: which keys each query row attends."""
    mask = mandatory_mask(layout, config, *q_range)
    return mask if indices is None else mask | routed_mask(layout, indices)


def attend_reference(
    q_BHLD: Tensor,
    k_BHLD: Tensor,
    v_BHLD: Tensor,
    layout: TokenLayout,
    indices: Tensor | None,
    config: MoCConfig,
    q_range: tuple[int, int],
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    """One softmax over everything that a query attends, in float32 (float64 for float64 inputs).

    Returns:
        [B, H, Lq, D] outputs in the queries' dtype, and their [B, H, Lq] natural-log log-sum-exp.
    """
    return attend_allowed(q_BHLD, k_BHLD, v_BHLD, allowed(layout.to(q_BHLD.device), indices, config, q_range), scale)


def attend_allowed(
    q_BHLD: Tensor, k_BHLD: Tensor, v_BHLD: Tensor, mask: Tensor, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """`attend_reference` under a mask that is made already."""
    wide = torch.promote_types(q_BHLD.dtype, torch.float32)
    scale = 1 / math.sqrt(q_BHLD.shape[-1]) if scale is None else scale
    scores = (q_BHLD.to(wide) @ k_BHLD.to(wide).mT * scale).masked_fill(~mask, -torch.inf)
    lse = torch.logsumexp(scores, dim=-1)
    out = torch.exp(scores - lse[..., None]) @ v_BHLD.to(wide)
    return out.to(q_BHLD.dtype), lse
