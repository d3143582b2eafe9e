"""The operators on the fused backend: what the eager path gives, bit for bit, with the plan made anew for gradients."""

from __future__ import annotations

import pytest
import torch
from engine_cases import qkv
from test_kernels_attention import _own_backward, _own_forward
from torch.utils.flop_counter import FlopCounterMode

from moc import MoCConfig, Shot, TokenLayout, attend, route
from moc.attention import fused
from moc.attention.triton import tiles

CONFIG = MoCConfig(chunk_tokens=16, top_k=2, drop_off_max=0.5, drop_in_rate=1.0, drop_in_max=1)
LAYOUT = TokenLayout.from_shots(global_text=1, shots=[Shot(1, 3, 7), Shot(0, 1, 9)], chunk_tokens=16)


@pytest.fixture(autouse=True)
def fused_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fused.flash, "mandatory_forward", _own_forward)
    monkeypatch.setattr(fused.flash, "mandatory_backward", _own_backward)
    monkeypatch.setattr(fused, "refusal", lambda *args: None)


@pytest.mark.parametrize(("with_lse", "workspace"), [(True, 1), (False, 1 << 30)])  # the former takes heads one by one
def test_bits_of_the_eager_path(with_lse: bool, workspace: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiles, "WORKSPACE", workspace)
    q, k, v = qkv(LAYOUT, batch=1, width=16, grad=True)
    routing = route(q, k, LAYOUT, CONFIG, seed=5)

    def run() -> list[torch.Tensor]:
        out, lse = attend(q, k, v, LAYOUT, routing, CONFIG, backend="triton", return_lse=True)
        loss = out.square().sum() + (lse.sum() if with_lse else 0)
        return [out, lse, *torch.autograd.grad(loss, (q, k, v))]

    want = run()
    with FlopCounterMode(display=False) as counter:  # under a mode, calls are operators
        got = run()
    assert counter.get_total_flops() > 0
    for a, b in zip(got, want, strict=True):
        assert a.isfinite().all()
        assert a.equal(b)


def test_compiled() -> None:
    q, k, v = qkv(LAYOUT, batch=1, heads=1, width=16, grad=True)
    routing = route(q, k, LAYOUT, CONFIG)
    results = []
    for compiler in (lambda f: f, lambda f: torch.compile(f, fullgraph=True, backend="aot_eager")):
        run = compiler(lambda q, k, v: attend(q, k, v, LAYOUT, routing, CONFIG, backend="triton") * 2)
        out = run(q, k, v)
        results.append([out, *torch.autograd.grad(out.square().sum(), (q, k, v))])
    for a, b in zip(*results, strict=True):
        assert a.equal(b)


@pytest.mark.slow
def test_opcheck() -> None:
    q, k, v = qkv(LAYOUT, batch=1, heads=1, width=16, grad=True)
    indices = route(q, k, LAYOUT, CONFIG).indices
    args = (q, k, v, indices, LAYOUT.handle, CONFIG.encoded, None, None, None, "triton", True, True)
    torch.library.opcheck(torch.ops.moc.attend, args)
