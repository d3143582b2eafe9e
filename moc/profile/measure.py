"""Measures the rows of a profile on one device: MoC, its parts, dense attention, and a whole model where asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from moc.attention import moc_attention
from moc.errors import InputError, MocError
from moc.flops import count, routed_pairs_of, traffic
from moc.layout import TokenLayout
from moc.profile import timing
from moc.profile.kernels import Attention, DenseKernel, dense_kernel
from moc.profile.parts import clocked, part_times
from moc.profile.settings import Settings
from moc.profile.timing import Peaks, Timing
from moc.profile.whole import amdahl, whole_model
from moc.routing import route

_FIRST_GUESS = 0.5  # share of a matrix product's rate that attention is taken to reach before any was measured
_MEMORY_SHARE = 0.8  # of free memory that a row may take

Say = Callable[[str], None]


@dataclass(frozen=True)
class _Skipped(Exception):
    """Why something was not measured."""

    why: str


def _span(seconds: float) -> str:
    """A length of time as a person says it."""
    for size, unit in ((3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:,.0f} {unit}"
    return f"{seconds:.3g} s"


class Bench:
    """Measures rows; make one a profile.

    Raises:
        InputError: the backend, a dense kernel or the dtype can't run on the device.
    """

    def __init__(self, settings: Settings, device: str) -> None:
        self.device = torch.device(device)
        name = settings.dtype if settings.dtype != "auto" else ("bfloat16" if self.device.type == "cuda" else "float32")
        self.settings = replace(settings, dtype=name, device=str(self.device))
        self.dtype: torch.dtype = getattr(torch, name)
        self.kernels = self._kernels()
        self._refuse()
        self.machine = timing.machine(self.device)
        self.peaks: Peaks = timing.measure_peaks(self.device, self.dtype)
        self.machine |= {
            "peak_tflops_measured": self.peaks.flops / 1e12,
            "peak_gbs_measured": self.peaks.bandwidth / 1e9,
            "dense_kernels": {name: kernel.label for name, kernel in self.kernels.items()},
        }
        self._rates: dict[str, float] = {}
        self.longest_s = 0.0  # the longest pass that was left out for the limit

    def _kernels(self) -> dict[str, DenseKernel]:
        like = torch.randn(1, 1, 16, self.settings.geometry.head_dim, device=self.device, dtype=self.dtype)
        return {name: dense_kernel(name, like, backward=self.settings.backward) for name in self.settings.against}

    def _refuse(self) -> None:
        """Says what a backend can't do before anything is measured."""
        if self.settings.backend != "triton":
            return
        from moc.attention.fused import refusal

        layout = self.settings.layout(1)
        like = torch.empty(1, 1, 16, self.settings.geometry.head_dim, device=self.device, dtype=self.dtype)
        like.requires_grad_(self.settings.backward)
        said = refusal(like, layout, self.settings.config, (0, layout.length))
        if said:
            raise InputError(f"--backend triton: {said}.")

    # One row.

    def plan(self, row: Mapping[str, Any]) -> dict[str, float]:
        """What `row` will say it measures, in order, and about how many seconds each takes."""
        moc, dense = row["flops_moc"], row["flops_dense"]
        if self.settings.model is not None:
            return {
                f"{self.settings.label} in the model": self._seconds(moc),
                "dense attention in the model": self._seconds(dense),
            }
        return {self.settings.label: self._seconds(moc), "its parts": self._seconds(moc) / 2} | {
            name: self._seconds(dense) for name in self.kernels
        }

    def _seconds(self, work: float) -> float:
        once = work / (_FIRST_GUESS * self.peaks.flops)
        return max(timing.BUDGET_S, (timing.LEAST + 2) * once) if once < self.settings.limit_s else 0.1

    def row(self, row: dict[str, Any], say: Say) -> None:
        """Fills the measured columns of a row; what can't be measured becomes a note."""
        layout = self.settings.layout(row["shots"])
        self._roofline(row, layout)
        if self.settings.model is not None:
            self._model(row, layout, say)
            return
        with self._noted(row, f"{self.settings.label} was"):
            self._moc(row, layout, say)
        with self._noted(row, "dense attention was"):
            self._dense(row, layout, say)
        self._compare(row)

    def _compare(self, row: dict[str, Any]) -> None:
        moc, dense = row["latency_moc_ms"], row["latency_dense_ms"]
        if moc:
            row["tflops_moc"] = sum(row["flops_parts"][name] for name in ("text", "own", "routed")) / moc / 1e9
        if dense:
            row["tflops_dense"] = row["flops_dense"] / dense / 1e9
        if moc and dense:
            row["speedup"] = dense / moc
            row["share_reached"] = row["speedup"] / row["flops_ratio"]

    def _roofline(self, row: dict[str, Any], layout: TokenLayout) -> None:
        """The least time that the measured peaks allow, part by part; only of the forward pass."""
        if self.settings.backward:
            return
        size, parts = self.settings.geometry, row["flops_parts"]
        moved = traffic(
            count(layout, self.settings.config), size.head_dim,
            itemsize=self.dtype.itemsize, heads=size.heads, layers=size.layers,
            chip=timing.chip(self.device),
        )  # fmt: skip
        work = {**parts, "own": parts["text"] + parts["own"]}
        row["roofline_moc_ms"] = 1e3 * sum(self._least(work.get(name, 0.0), b) for name, b in moved.parts().items())
        row["roofline_dense_ms"] = 1e3 * self._least(row["flops_dense"], moved.dense)

    def _least(self, work: float, moved: float) -> float:
        return max(work / self.peaks.flops, moved / self.peaks.bandwidth)

    def _moc(self, row: dict[str, Any], layout: TokenLayout, say: Say) -> None:
        settings = self.settings

        def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            return moc_attention(q, k, v, layout, settings.config, backend=settings.backend)

        inputs = self._inputs(layout, self._workspace(layout))
        time, memory = self._timed("moc", settings.label, row["flops_moc"], attention, inputs, say)
        row["latency_moc_ms"], row["peak_memory_mib"] = time.median_ms, memory
        row["latency_spread_ms"] = {"moc": [time.low_ms, time.high_ms]}
        say("its parts")
        with self._noted(row, "its parts were"), torch.no_grad():
            q, k = inputs[0].detach(), inputs[1].detach()
            routing = route(q, k, layout, settings.config)
            counts = count(layout, settings.config)
            attended = counts.text_pairs + counts.own_pairs + routed_pairs_of(routing, layout)
            row["sparsity_measured"] = 1 - attended / counts.dense_pairs
            if not settings.backward:
                row["latency_parts_ms"] = part_times(self._run(attention, inputs), self.device, warm=True)

    def _dense(self, row: dict[str, Any], layout: TokenLayout, say: Say) -> None:
        size = self.settings.geometry
        inputs = self._inputs(layout, 2 * layout.length * size.head_dim * self.dtype.itemsize)
        row["against_ms"] = {}
        first = next(iter(self.kernels))
        for name, kernel in self.kernels.items():
            row["against_ms"][name] = None
            with self._noted(row, f"{name} was"):
                time, memory = self._timed(name, name, row["flops_dense"], kernel.attend, inputs, say)
                row["against_ms"][name] = time.median_ms
                row["latency_spread_ms"] = {**(row["latency_spread_ms"] or {}), name: [time.low_ms, time.high_ms]}
                if name == first:
                    row["latency_dense_ms"], row["peak_memory_dense_mib"] = time.median_ms, memory

    # What they share.

    def _workspace(self, layout: TokenLayout) -> float:
        """Bytes a head that a call takes at most beside its inputs, about.

        On CUDA none but the output: the engine bounds its partial results, and what is too much is told, not killed.
        """
        size, itemsize = self.settings.geometry, self.dtype.itemsize
        if self.settings.backend == "reference":
            return 12.0 * layout.length**2
        result = layout.length * size.head_dim * itemsize
        if self.device.type == "cuda":
            return result
        return 3 * result + self.settings.config.top_k * layout.length * (4 * size.head_dim + 40)

    def _inputs(self, layout: TokenLayout, extra: float) -> list[Tensor]:
        """Random q, k, v of all heads [1, H, L, D], if they and `extra` bytes a head fit into memory."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()  # what a failed row held is free only now that its error is forgotten
        size = self.settings.geometry
        shape = (1, size.heads, layout.length, size.head_dim)
        need = size.heads * (3 * layout.length * size.head_dim * self.dtype.itemsize + extra)
        self._fits(need * (2 if self.settings.backward else 1))
        generator = torch.Generator(self.device).manual_seed(0)
        return [
            torch.randn(shape, generator=generator, device=self.device, dtype=self.dtype).requires_grad_(
                self.settings.backward
            )
            for _ in range(3)
        ]

    def _fits(self, need: float) -> None:
        """Refuses what would not fit; on CPU a process that asks for too much is killed, not told."""
        free = timing.free_memory(self.device)
        if free is not None and need > _MEMORY_SHARE * free:
            raise _Skipped(f"it needs about {need / 1e9:.3g} GB, {free / 1e9:.3g} GB are free.")

    def _run(self, attention: Attention, inputs: list[Tensor]) -> Callable[[], object]:
        """All layers, one after another, on the same inputs; the backward pass too where asked."""
        layers = self.settings.geometry.layers
        if not self.settings.backward:

            def forward() -> None:
                with torch.no_grad():
                    for _ in range(layers):
                        attention(*inputs)

            return forward
        dout = torch.randn_like(inputs[0])

        def both() -> None:
            for _ in range(layers):
                torch.autograd.grad(attention(*inputs), inputs, dout)

        return both

    def _timed(
        self, key: str, name: str, work: float, attention: Attention, inputs: list[Tensor], say: Say
    ) -> tuple[Timing, float | None]:
        self._quick_enough(key, work)
        say(name)
        run = self._run(attention, inputs)
        memory = timing.peak_memory(run, self.device, inputs)
        time = timing.measure(run, self.device, warm=True)
        self._rates[key] = work / time.median_ms * 1e3
        return time, memory

    def _quick_enough(self, key: str, work: float) -> None:
        """Refuses a pass that would take longer than the limit, by the rate of the last row.

        What was not measured yet is taken to reach the best rate that anything was seen to reach.
        """
        rate = self._rates.get(key) or max(_FIRST_GUESS * self.peaks.flops, *self._rates.values(), 0.0)
        if work / rate > self.settings.limit_s:
            self.longest_s = max(self.longest_s, work / rate)
            about, limit = _span(work / rate), self.settings.limit_s
            raise _Skipped(f"a pass would take about {about} here, the limit is {limit:g} s (--limit).")

    def _explained(self, error: Exception, row: dict[str, Any]) -> str:
        if timing.is_out_of_memory(error):
            size = self.settings.geometry
            heads = f"{size.heads} {'head' if size.heads == 1 else 'heads'} of {size.head_dim}"
            return f"out of memory at {row['tokens']:,} tokens, {heads}, {self.settings.dtype}."
        return f"it failed: {type(error).__name__}: {' '.join(str(error).split())[:160]}"

    @contextmanager
    def _noted(self, row: dict[str, Any], what: str) -> Iterator[None]:
        """Turns what keeps `what` from being measured into a note of the row.

        Compilers of kernels raise errors of their own kinds, so that no kind is left out but ours.
        """
        try:
            yield
        except _Skipped as skipped:
            row["notes"].append(f"{what} not measured: {skipped.why}")
        except MocError:
            raise
        except Exception as error:
            row["notes"].append(f"{what} not measured: {self._explained(error, row)}")

    # A whole model.

    def _model(self, row: dict[str, Any], layout: TokenLayout, say: Say) -> None:
        assert self.settings.model is not None
        whole = whole_model(self.settings.model, layout)
        told = row["model"]
        built = None
        for kind in ("moc", "dense"):
            name = self.settings.label if kind == "moc" else "dense attention"
            with self._noted(row, f"the step with {name} was"):
                work = row[f"flops_{kind}"] + whole.flops
                self._quick_enough(f"step {kind}", work)
                self._fits(whole.bytes)
                say(f"{name} in the model")
                built = built or whole.build(self.device, self.dtype)
                self._step(row, kind, *built, layout)
                self._rates[f"step {kind}"] = work / told[f"step_{kind}_ms"] * 1e3
        self._compare(row)
        if told["step_moc_ms"] and told["step_dense_ms"]:
            told["speedup"] = told["step_dense_ms"] / told["step_moc_ms"]
            told |= amdahl(told["step_dense_ms"], row["latency_dense_ms"], row["flops_ratio"])

    def _step(
        self, row: dict[str, Any], kind: str, step: Callable[..., Tensor], held: list[Tensor], layout: TokenLayout
    ) -> None:
        """Time of a step, and of the attention in it."""
        config, backend = self.settings.config, self.settings.backend
        dense = next(iter(self.kernels.values())).attend

        def attention(layer: int, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
            if kind == "dense":
                return dense(q, k, v)
            return moc_attention(q, k, v, layout, config, backend=backend)

        with torch.inference_mode():
            memory = timing.peak_memory(lambda: step(attention), self.device, held)
            time = timing.measure(lambda: step(attention), self.device, warm=True)
            inside = clocked(lambda timed: step(timed), attention, self.device, 1 if time.median_ms > 2000 else 3)
        row["model"][f"step_{kind}_ms"] = time.median_ms
        row[f"latency_{kind}_ms"] = inside
        row["peak_memory_mib" if kind == "moc" else "peak_memory_dense_mib"] = memory
