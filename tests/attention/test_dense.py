"""Dense kernels: which are found, which one runs, and that each gives what its signature promises."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from engine_cases import qkv
from torch import Tensor

from moc import MoCConfig, Shot, TokenLayout, route
from moc.attention import dense, fa4, flash, gathered, probes, runs, tiles, varlen
from moc.attention.mandatory import mandatory
from moc.attention.portable import attend_portable
from moc.attention.reference import attend_reference
from moc.attention.routed import group_links
from moc.attention.varlen import Packing


@pytest.fixture(autouse=True)
def forgotten(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Probes of stand-ins must not be remembered, and MOC_DENSE is the test's own."""
    monkeypatch.delenv("MOC_DENSE", raising=False)
    yield
    probes._probe.cache_clear()
    probes._remembered.clear()
    fa4._interface.cache_clear()


class StandIn:
    """The package's functions, in plain products and with its shapes; `off` spoils a result."""

    def __init__(self, off: str = "") -> None:
        self.off, self.calls = off, 0

    def _sequences(self, q: Tensor, k: Tensor, edges: dict[str, Any]) -> list[tuple[slice, slice]]:
        cum_q, cum_k = edges["cu_seqlens_q"], edges["cu_seqlens_k"]
        assert cum_q.dtype == cum_k.dtype == torch.int32
        assert int(cum_q[-1]) <= len(q)  # rows behind the last sequence belong to nobody
        assert int(cum_k[-1]) == len(k)
        assert int(cum_q.diff().max()) <= edges["max_seqlen_q"]
        assert int(cum_k.diff().max()) <= edges["max_seqlen_k"]
        ends = zip(cum_q[:-1], cum_q[1:], cum_k[:-1], cum_k[1:], strict=True)
        return [(slice(int(a), int(b)), slice(int(c), int(d))) for a, b, c, d in ends]

    def flash_attn_func(self, q: Tensor, k: Tensor, v: Tensor, *, softmax_scale: float, return_lse: bool) -> Any:
        self.calls += 1
        assert return_lse
        out, lse = dense._plain_forward(*(x.transpose(1, 2) for x in (q, k, v)), softmax_scale)  # type: ignore[call-arg]
        return out.transpose(1, 2) + (self.off == "output"), lse.float() + (self.off == "lse")

    def flash_attn_varlen_func(
        self, q: Tensor, k: Tensor, v: Tensor, *, softmax_scale: float, return_lse: bool, **edges: Any
    ) -> Any:
        out, lse = torch.empty_like(q), torch.empty(q.shape[1], len(q))
        for rows, keys in self._sequences(q, k, edges):
            if rows.start == rows.stop:
                continue
            o, part = self.flash_attn_func(
                q[None, rows], k[None, keys], v[None, keys], softmax_scale=softmax_scale, return_lse=return_lse
            )
            out[rows], lse[:, rows] = o[0], part[0]
        return out, lse

    def _flash_attn_bwd(
        self, q: Tensor, k: Tensor, v: Tensor, out: Tensor, dout: Tensor, lse: Tensor, *, softmax_scale: float,
        deterministic: bool, dlse: Tensor | None, **edges: Any,
    ) -> Any:  # fmt: skip
        assert lse.is_contiguous()
        if not edges:
            swapped = [x.transpose(1, 2) for x in (dout, q, k, v, out)]
            grads = dense._plain_backward(*swapped, lse, dlse, softmax_scale, deterministic)  # type: ignore[call-arg]
            return [x.transpose(1, 2) + (self.off == "grads") for x in grads]
        grads = [torch.empty_like(x) for x in (q, k, v)]
        for rows, keys in self._sequences(q, k, edges):
            if rows.start == rows.stop:
                continue  # gradients of keys without queries stay unwritten
            parts = self._flash_attn_bwd(
                q[None, rows], k[None, keys], v[None, keys], out[None, rows], dout[None, rows],
                lse[None, :, rows].contiguous(), softmax_scale=softmax_scale, deterministic=deterministic,
                dlse=None if dlse is None else dlse[None, :, rows],
            )  # fmt: skip
            for grad, span, part in zip(grads, (rows, keys, keys), parts, strict=True):
                grad[span] = part[0]
        return grads


@pytest.fixture
def package(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """FlashAttention-4 as if it ran on this machine."""
    return install(monkeypatch, StandIn())


def install(monkeypatch: pytest.MonkeyPatch, stand_in: StandIn) -> StandIn:
    fa4._interface.cache_clear()
    probes._probe.cache_clear()
    monkeypatch.setitem(sys.modules, "flash_attn", SimpleNamespace(cute=None))
    monkeypatch.setitem(sys.modules, "flash_attn.cute", SimpleNamespace(interface=stand_in))
    monkeypatch.setitem(sys.modules, "flash_attn.cute.interface", stand_in)
    monkeypatch.setattr(dense, "_only_cuda_halves", lambda q: None)
    return stand_in


LIKE = torch.empty(1, 1, 1, 16)


@pytest.mark.parametrize("ragged", [False, True])
@pytest.mark.parametrize("deterministic", [False, True])
def test_a_right_kernel_is_found_once(package: StandIn, ragged: bool, deterministic: bool) -> None:
    ask = {"ragged": ragged, "backward": True, "deterministic": deterministic}
    assert probes.probe("fa4", LIKE, **ask) == probes.Probe("fa4", True)
    calls = package.calls
    assert probes.probe("fa4", LIKE, **ask).ok
    assert package.calls == calls > 0


@pytest.mark.parametrize("off", ["output", "lse", "grads"])
@pytest.mark.parametrize("ragged", [False, True])
def test_a_wrong_kernel_is_not_taken(monkeypatch: pytest.MonkeyPatch, off: str, ragged: bool) -> None:
    install(monkeypatch, StandIn(off))
    found = probes.probe("fa4", LIKE, ragged=ragged, backward=True)
    assert not found.ok
    assert "is off by" in found.why


def test_a_missing_package_is_named() -> None:
    if "flash_attn_interface" in sys.modules:
        pytest.skip("it is installed")
    found = probes.probe("fa3", torch.empty(1, 1, 1, 64))
    assert not found.ok
    assert "CUDA" in found.why
    with pytest.raises(NotImplementedError, match="FlashAttention-3 can't run here: "):
        dense.attend(*[torch.randn(1, 1, 4, 8)] * 3, kernel="fa3")
    with pytest.raises(ValueError, match="auto, fa4, fa3, cudnn, fa2, sdpa, got 'fa5'"):
        dense.attend(*[torch.randn(1, 1, 4, 8)] * 3, kernel="fa5")


def test_a_kernel_is_forced(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probes.wanted() == "auto"
    monkeypatch.setenv("MOC_DENSE", "fa2")
    assert probes.wanted() == "fa2"
    with probes.use("sdpa"):
        assert probes.own_kernel(LIKE, equal=True) == "sdpa"
        assert probes.own_kernel(LIKE, equal=False) == "fa2"
    assert probes.wanted() == "fa2"
    monkeypatch.setenv("MOC_DENSE", "fastest")
    with pytest.raises(ValueError, match=r"MOC_DENSE must be one of .*, got 'fastest'"):
        probes.wanted()
    with pytest.raises(ValueError, match="'fastest'"), probes.use("fastest"):
        pass


@pytest.mark.parametrize(
    ("works", "ask", "expected"),
    [
        ({"fa4", "cudnn"}, {"equal": True}, "fa4"),
        ({"cudnn"}, {"equal": True}, "cudnn"),
        ({"cudnn"}, {"equal": False}, "fa2"),
        ({"fa4", "cudnn"}, {"equal": False}, "fa4"),
        ({"cudnn"}, {"equal": True, "backward": True, "deterministic": True}, "fa2"),
        ({"cudnn"}, {"equal": True, "backward": True, "lse": True}, "fa2"),
        (set(), {"equal": True}, "fa2"),
        ({"fa4", "cudnn"}, {"equal": True, "run": 1023}, "cudnn"),
        ({"fa4", "cudnn"}, {"equal": False, "run": 1023}, "fa2"),
        ({"fa4", "cudnn"}, {"equal": False, "run": 1024}, "fa4"),
    ],
)
def test_the_rule(monkeypatch: pytest.MonkeyPatch, works: set[str], ask: dict[str, Any], expected: str) -> None:
    monkeypatch.setattr(probes, "probe", lambda name, like, **_: probes.Probe(name, name in works, "missing"))
    queries: Any = SimpleNamespace(is_cuda=True)
    assert probes.own_kernel(queries, **ask) == expected
    if not works:
        with probes.use("fa4"), pytest.raises(NotImplementedError, match=r"FlashAttention-4 is asked for .* missing"):
            probes.own_kernel(queries, **ask)


def test_gradients_of_output_and_lse() -> None:
    generator = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(2, 2, n, 8, dtype=torch.float64, generator=generator, requires_grad=True) for n in (5, 7, 7))
    assert torch.autograd.gradcheck(lambda *x: dense.attend(*x, return_lse=True), (q, k, v))


def test_nothing_to_attend() -> None:
    q, k = torch.randn(1, 2, 3, 8, requires_grad=True), torch.randn(1, 2, 0, 8, requires_grad=True)
    out, lse = dense.attend(q, k, k, kernel="sdpa", return_lse=True)
    assert (out == 0).all()
    assert (lse == -torch.inf).all()
    assert dense.attend(k, q, q, kernel="sdpa").shape == k.shape
    assert all((x == 0).all() for x in torch.autograd.grad(out.sum(), (q, k)))


def equal_layout(text: int = 0) -> TokenLayout:
    return TokenLayout.from_shots(shots=[Shot(text=text, frames=4, tokens_per_frame=12)] * 3, chunk_tokens=16)


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("inside", [False, True], ids=["heads-outside", "heads-inside"])
@pytest.mark.parametrize("intra", ["shot", "chunk"])
@pytest.mark.parametrize("q_range", [None, (48, 144)])
def test_equal_shots_go_as_one_batch(batch: int, inside: bool, intra: Any, q_range: tuple[int, int] | None) -> None:
    layout, config = equal_layout(), MoCConfig(chunk_tokens=16, top_k=2, intra=intra)
    start, stop = q_range or (0, layout.length)
    links = mandatory(layout, config, (start, stop), torch.device("cpu"))
    assert links.equal
    q, k, v = (x.detach() for x in qkv(layout, batch=batch, dtype=torch.float64))
    if inside:
        q, k, v = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k, v))
    q = q[:, :, start:stop]
    if (batch == 1 or inside) and q_range is None:
        assert flash._runs(q, links).data_ptr() == q.data_ptr()
    scale = q.shape[-1] ** -0.5
    expected = runs.forward(q, k, v, links, start, scale)
    with probes.use("sdpa"):
        got = flash.mandatory_forward(q, k, v, links, scale)
        for a, b in zip(got, expected, strict=True):
            torch.testing.assert_close(a, b.to(a.dtype))
        dout = torch.randn(q.shape, dtype=q.dtype, generator=torch.Generator().manual_seed(1))
        dlse, out, lse = dout[..., 0], expected[0], expected[1] + 0.5
        sums = [[torch.ones_like(x) for x in (k, v)] for _ in range(2)]
        dq = flash.mandatory_backward(q, k, v, dout, out, lse, dlse, links, scale, *sums[0])
    delta = (dout * out).sum(-1) - dlse
    expected_dq = runs.backward(q, k, v, dout, lse, delta, links, start, scale, *sums[1])
    for a, b in zip((dq, *sums[0]), (expected_dq, *sums[1]), strict=True):
        torch.testing.assert_close(a, b)


def test_what_is_not_equal() -> None:
    where = torch.device("cpu")
    whole = (0, equal_layout().length)
    config = MoCConfig(chunk_tokens=16, top_k=2, intra="window", causal=False)
    assert not mandatory(equal_layout(), config, whole, where).equal, "windows overlap"
    captions = equal_layout(5)
    own = mandatory(captions, MoCConfig(chunk_tokens=16, text_links="own"), (0, captions.length), where)
    assert own.equal, "a caption and its shot are one run, and nobody else sees them"
    every = mandatory(captions, MoCConfig(chunk_tokens=16, text_links="all"), (0, captions.length), where)
    assert every.key_run is None
    ragged = TokenLayout.from_shots(shots=[Shot(0, 4, 12), Shot(0, 3, 12)], chunk_tokens=16)
    links = mandatory(ragged, MoCConfig(chunk_tokens=16), (0, ragged.length), where)
    assert not links.equal
    assert links.key_run == (0, ragged.length)
    with torch.device("meta"):  # a caller's default device is not where tables are made
        tables = links.key_index, links.q_edges, links.k_edges
    assert tables[0].tolist() == list(range(ragged.length))
    assert tables[1].tolist() == tables[2].tolist() == [0, 48, 84]


def test_attention_on_fa4_with_its_ragged_calls(package: StandIn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of MoC attention over the stand-in: forward, and gradients of output and LSE."""
    layout = TokenLayout.from_shots(global_text=3, shots=[Shot(2, 4, 12), Shot(0, 3, 12)], chunk_tokens=16)
    config = MoCConfig(chunk_tokens=16, top_k=2)
    monkeypatch.setattr(varlen, "supported", lambda q: True)
    monkeypatch.setattr(varlen, "own_kernel", lambda *_, **__: "fa4")
    q, k, v = qkv(layout, dtype=torch.float64, grad=True)
    indices = route(q, k, layout, config).indices
    results = []
    for matmul in (False, True):
        out, lse = attend_portable(q, k, v, layout, indices, config, (0, layout.length), matmul=matmul)
        results.append((out, lse, *torch.autograd.grad(out.square().sum() + lse.sum(), (q, k, v))))
    assert package.calls
    for got, expected in zip(*results, strict=True):
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-5, check_dtype=False)


def test_the_sequences_of_routed_links_are_known_without_asking_the_device() -> None:
    layout = TokenLayout.from_shots(global_text=3, shots=[Shot(2, 4, 12), Shot(0, 2, 9)], chunk_tokens=16)
    edges, longest = gathered._key_edges(layout, 2, torch.device("meta"))  # what lies there has no values
    assert edges.shape == (2 * layout.num_chunks + 1,)
    assert longest == max(layout.chunk_bounds.diff().tolist()) == 16


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("with_lse", [False, True])
def test_routed_links_in_one_call(package: StandIn, batch: int, with_lse: bool) -> None:
    """Outputs at their slots, gradients summed over links, against the loop over groups; the plan's tail is garbage."""
    layout = TokenLayout.from_shots(
        global_text=3, shots=[Shot(2, 4, 12), Shot(0, 3, 12), Shot(0, 2, 9)], chunk_tokens=16
    )
    config = MoCConfig(chunk_tokens=16, top_k=2)
    q, k, v = (x.detach() for x in qkv(layout, batch=batch, dtype=torch.float64))
    indices = route(q, k, layout, config).indices
    links = group_links(indices, layout.num_chunks)
    slots = torch.full((links.num_slots,), 10**9)
    slots[: len(links.slots)] = links.slots
    scale, width = q.shape[-1] ** -0.5, indices.shape[-1]
    out, lse = gathered.links_forward(q, k, v, slots, links.edges, width, layout, scale)
    flat = [x.reshape(-1, x.shape[-1]) for x in (q, k, v)]
    sums, expected_lse, tops, place = tiles.forward(*flat, links, tiles.tile(links), layout, scale)
    expected = sums * (tops - expected_lse).exp()[:, None]
    torch.testing.assert_close(out[links.slots], expected[place[links.slots]])
    torch.testing.assert_close(
        lse[links.slots], expected_lse[place[links.slots]], rtol=1e-5, atol=1e-5, check_dtype=False
    )

    generator = torch.Generator().manual_seed(1)
    dout, whole = (torch.randn(q.shape, dtype=q.dtype, generator=generator) for _ in range(2))
    whole_lse = torch.randn(q.shape[:3], dtype=q.dtype, generator=generator) + 5
    dlse = dout[..., 0] if with_lse else None
    delta = (dout * whole).sum(-1) - (0 if dlse is None else dlse)
    dq, dk, dv = gathered.links_backward(
        q, k, v, dout, whole, whole_lse, dlse, slots, links.edges, width, layout, scale
    )
    sums = [torch.zeros_like(x) for x in flat[1:]]
    parts, place = tiles.backward(
        flat[0], flat[1], flat[2], dout.reshape(flat[0].shape), whole_lse.flatten(), delta.flatten(), links,
        tiles.tile(links), layout, scale, *sums,
    )  # fmt: skip
    torch.testing.assert_close(dq, parts[place])
    torch.testing.assert_close(dk.flatten(0, 2), sums[0])
    torch.testing.assert_close(dv.flatten(0, 2), sums[1])


def on_gpu(name: str, like: Tensor, **ask: bool) -> None:
    found = probes.probe(name, like, **ask)
    if not found.ok:
        pytest.skip(found.why)


@pytest.mark.gpu
@pytest.mark.parametrize("name", probes.NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=["bf16", "fp16"])
@pytest.mark.parametrize("width", [64, 96, 128, 256])
def test_dense_kernels_on_cuda(name: str, dtype: torch.dtype, width: int) -> None:
    """Output, LSE and gradients against float64."""
    q, k, v, weight = (
        torch.randn(2, 3, n, width, device="cuda", dtype=dtype, requires_grad=True) for n in (301, 517, 517, 301)
    )
    on_gpu(name, q, backward=True)
    out = dense.attend(q, k, v, kernel=name)
    assert isinstance(out, Tensor)
    grads = torch.autograd.grad((out * weight.detach()).sum(), (q, k, v))
    wide = [x.detach().double().requires_grad_() for x in (q, k, v)]
    exact = (wide[0] @ wide[1].mT * width**-0.5).softmax(-1) @ wide[2]
    expected = torch.autograd.grad((exact * weight.detach().double()).sum(), wide)
    for a, b in zip((out, *grads), (exact, *expected), strict=True):
        assert float((a.double() - b).abs().max()) <= 0.02 * max(1.0, float(b.abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fa4", "cudnn", "fa2"])
@pytest.mark.parametrize("text", [0, 5])
@pytest.mark.parametrize("intra", ["shot", "chunk", "window"])
@pytest.mark.parametrize("with_lse", [False, True])
def test_the_own_part_on_every_kernel(name: str, text: int, intra: Any, with_lse: bool) -> None:
    layout = TokenLayout.from_shots(global_text=3 * text, shots=[Shot(text, 4, 250)] * 3, chunk_tokens=250)
    config = MoCConfig(chunk_tokens=250, top_k=2, intra=intra, text_links="all")
    where = torch.device("cuda")
    links = mandatory(layout, config, (0, layout.length), where)
    q, k, v, dout = (torch.randn(2, 3, layout.length, 128, device=where, dtype=torch.bfloat16) for _ in range(4))
    on_gpu(name, q, backward=True)
    scale, dlse = 128**-0.5, dout[..., 0].float() if with_lse else None
    with probes.use(name):
        out, lse = flash.mandatory_forward(q, k, v, links, scale)
        again = flash.mandatory_forward(q, k, v, links, scale)
        assert out.equal(again[0])
        assert lse.equal(again[1])
        sums = [torch.zeros(x.shape, device=where) for x in (k, v)]
        dq = flash.mandatory_backward(q, k, v, dout, out, lse, dlse, links, scale, *sums)
    wide = [x.float() for x in (q, k, v)]
    exact, exact_lse = runs.forward(wide[0], wide[1], wide[2], links, 0, scale)
    delta = (dout.float() * exact).sum(-1) - (0 if dlse is None else dlse)
    expected = [torch.zeros(x.shape, device=where) for x in (k, v)]
    exact_dq = runs.backward(wide[0], wide[1], wide[2], dout.float(), exact_lse, delta, links, 0, scale, *expected)
    for a, b in zip((out, lse, dq, *sums), (exact, exact_lse, exact_dq, *expected), strict=True):
        assert float((a.float() - b).abs().max()) <= 0.02 * max(1.0, float(b.abs().max()))


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["fa4", "fa2"])
def test_bit_stable_backward_where_asked(name: str) -> None:
    like = torch.empty(1, 1, 1, 128, device="cuda", dtype=torch.bfloat16)
    on_gpu(name, like, ragged=True, backward=True, deterministic=True)
    q, k, v, dout = (torch.randn(3000, 4, 128, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    packing: Packing = varlen.packing_of((0, 1000, 1700, 3000), (0, 1000, 1700, 3000), q.device)
    with probes.use(name), varlen.deterministic_algorithms(True):
        out, lse = varlen.forward(q, k, v, packing, 128**-0.5)
        first, second = (varlen.backward(dout, q, k, v, out, lse, None, packing, 128**-0.5) for _ in range(2))
    assert all(a.equal(b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("size", [1.0, 30.0, 300.0])
def test_parts_in_plain_products_stay_exact_for_large_scores(size: float) -> None:
    """What a chunk gives is a sum until all parts are one; weights from far below the top must not spoil it."""
    layout = TokenLayout.from_shots(
        global_text=3, shots=[Shot(2, 4, 12), Shot(0, 3, 12), Shot(1, 2, 9)], chunk_tokens=10
    )
    config = MoCConfig(chunk_tokens=10, top_k=3)
    q, k, v = (x.detach() for x in qkv(layout, batch=2, dtype=torch.float32))
    q = q * size
    indices = route(q, k, layout, config).indices
    rows = (0, layout.length)
    out, lse = attend_portable(q, k, v, layout, indices, config, rows)
    exact = attend_portable(q.double(), k.double(), v.double(), layout, indices, config, rows)
    expected, expected_lse = attend_reference(q.double(), k.double(), v.double(), layout, indices, config, rows)
    torch.testing.assert_close(exact[0], expected)
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5 * size)
    torch.testing.assert_close(lse.double(), expected_lse, rtol=1e-5, atol=1e-5 * size)
