"""The merge by itself: one softmax out of parts, with holes, empty own parts and any number of links."""

from __future__ import annotations

import pytest
import torch

from moc.attention.triton import routed


@pytest.mark.parametrize("width", [16, 24])
@pytest.mark.parametrize("links", [1, 2, 3, 4, 5, 7, 8, 9, 17, 66])
def test_parts_become_one_softmax(links: int, width: int) -> None:
    """Rows fill no block; what stands in empty slots is anything; some rows have no own part, some nothing at all."""
    chunks, shape = 6, (2, 1, 19)
    generator = torch.Generator().manual_seed(links)
    indices = torch.randint(-1, chunks + 1, (*shape, links), generator=generator, dtype=torch.int32)  # 6: no chunk
    indices[0, 0, :4] = -1
    there = (indices >= 0) & (indices < chunks)
    part = torch.randn(*shape, links, width, generator=generator)
    part_lse = torch.randn(*shape, links, generator=generator) * 20
    own = torch.randn(*shape, width, generator=generator)
    own_lse = torch.randn(shape, generator=generator) * 20
    own_lse[:, :, ::2] = -torch.inf
    own[:, :, ::2] = torch.nan
    part[~there], part_lse[~there] = torch.nan, torch.nan

    out, lse = torch.empty_like(own), torch.empty_like(own_lse)
    routed.merge(part.flatten(0, 3), part_lse.flatten(), indices, chunks, own, own_lse, out, lse)

    every = torch.cat([own_lse[..., None], part_lse.masked_fill(~there, -torch.inf)], -1).double()
    expected = every.logsumexp(-1)
    empty = expected == -torch.inf
    assert empty[0, 0, 0]
    assert not empty.all()
    weights = torch.exp(every - expected[..., None])
    values = torch.cat([own[..., None, :], part], -2).double()
    wanted = torch.where(weights[..., None] > 0, values, 0).mul(weights[..., None]).sum(-2)
    assert (lse[empty] == -torch.inf).all()
    assert (out[empty] == 0).all()
    torch.testing.assert_close(lse[~empty].double(), expected[~empty], rtol=1e-6, atol=1e-5)
    torch.testing.assert_close(out[~empty].double(), wanted[~empty], rtol=1e-5, atol=1e-5)
