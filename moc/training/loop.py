"""The training loop: rectified flow on rendered stories, on a CPU, one GPU, or several under torchrun."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from moc import drops, routing
from moc.backbones.pocket.config import OF_SAMPLING, PocketConfig
from moc.backbones.pocket.model import Block, PocketDiT
from moc.backbones.pocket.weights import SHIPPED, load_model
from moc.training import checkpoint
from moc.training.ahead import Ahead
from moc.training.config import Stage, TrainConfig
from moc.training.data import Piece, RoutedAttention, make_piece
from moc.training.foresight import Foresight, weigh
from moc.training.lessons import Readers
from moc.training.optimizer import make_optimizers
from moc.world import painting

LOG_COLUMNS = (
    "step", "stage", "loss", "loss_x", "recognition", "reading", "foresight", "grad_norm", "lr", "stories_per_s",
    "seconds", "memory_gib",
)  # fmt: skip
SPARE = 0.98  # share of the time left that steps are fitted into; the rest is for saving


def sizes_apart(old: PocketConfig, new: PocketConfig) -> str:
    """Settings of two networks that differ, as `name: 1 instead of 2`, those of the first one first."""
    pairs = ((name, value, new.to_dict()[name]) for name, value in old.to_dict().items())
    return ", ".join(f"{name}: {a} instead of {b}" for name, a, b in pairs if a != b)


class Network(nn.Module):
    """The losses as a module, so that DistributedDataParallel sees one forward pass."""

    def __init__(self, model: PocketDiT, readers: Readers | None, foresight: Foresight | None = None) -> None:
        super().__init__()
        self.model = model
        self.readers = readers
        self.foresight = foresight
        self._features: Tensor | None = None  # of the tokens to predict, before the head
        if foresight is not None:
            model.head_up.register_forward_pre_hook(self._keep)

    def _keep(self, _: nn.Module, inputs: tuple[Tensor]) -> None:
        self._features = inputs[0]

    def forward(self, piece: Piece, attention: RoutedAttention) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Velocity-weighted loss of the piece, the unweighted x-prediction error of its noisy shots (both means), and
        the losses of recognition, reading and foresight, zero where they aren't asked for."""
        shots = piece.weight.shape[1]
        predicted = self.model(
            piece.global_tokens, piece.captions, piece.patches, piece.t, piece.cos, piece.sin, attention,
            predict_from=piece.t.shape[1] - shots,
        )  # fmt: skip
        square = (predicted.float() - piece.target).square()
        if self.foresight is None:
            weighted, guess = (square * piece.importance).mean(dim=(2, 3)), square.new_zeros(())
        else:
            assert self._features is not None
            weighted, guess = weigh(square, piece.importance, self.foresight(self._features))
            self._features = None
        weighted = weighted * piece.weight
        noisy = piece.weight > 0
        error = (square.detach().mean(dim=(2, 3)) * noisy).sum() / noisy.sum()
        found = read = torch.zeros_like(error)
        if attention.lessons is not None:
            found = attention.lessons.recognition()
            read = read if self.readers is None else attention.lessons.reading(self.readers)
        return weighted.mean(), error, found, read, guess


class Trainer:
    """State of a run: weights, averaged weights, optimiser, step. `train_to` moves it forward.

    Args:
        config: the run; out: its folder; device: of this process.
        fresh: start from `config.init`, if there is one; a run about to be restored need not have it any more.

    Raises:
        ValueError: the batch does not divide over the processes, or `config.init` is a model of other sizes.
        InputError: `config.init` can't be read.
    """

    def __init__(self, config: TrainConfig, out: Path, device: torch.device, *, fresh: bool = True) -> None:
        self.config = config
        self.out = out
        self.device = device
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.world = dist.get_world_size() if dist.is_initialized() else 1
        self.model_config = config.network()
        for number, stage in enumerate(config.stages, 1):
            pieces = stage.stories // config.micro_of(stage)
            if pieces % self.world:
                raise ValueError(
                    f"stages[{number}]: {pieces} pieces of {config.micro_of(stage)} stories do not divide over "
                    f"{self.world} processes"
                )
        torch.manual_seed(config.seed)
        self.model = PocketDiT(self.model_config)
        if config.init and fresh:
            start = load_model(SHIPPED if config.init == "shipped" else Path(config.init), "cpu")
            new = self.model_config  # how it is sampled is no size and may change
            sampled = {name: getattr(new, name) for name in OF_SAMPLING}
            if (old := replace(start.config, **sampled, skip=start.config.skip or new.skip)) != new:
                raise ValueError(
                    f"init: the model in {config.init} has other sizes than the one to train: {sizes_apart(old, new)}"
                )
            # a skip that is new begins closed: the network does what it did
            self.model.load_state_dict(self.model.state_dict() | start.state_dict())
        self.model.to(device)
        self.ema = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimizers = make_optimizers(self.model, config, fused=device.type == "cuda")
        self.readers = Readers(self.model_config).to(device) if config.reading else None
        self.foresight = Foresight(self.model_config).to(device) if config.foreseen_weights else None
        for aside in (self.readers, self.foresight):
            if aside is not None:
                fused = device.type == "cuda"
                self.optimizers.append(torch.optim.AdamW(aside.parameters(), weight_decay=0.0, fused=fused))
        network = Network(self.model, self.readers, self.foresight)
        self.network: nn.Module = (
            DistributedDataParallel(network, device_ids=[device.index] if device.type == "cuda" else None)
            if self.world > 1
            else network
        )
        self.compiled = config.compile and device.type == "cuda"
        if self.compiled:
            self.model.before, self.model.after = compiled_halves()
        self.ahead = Ahead(self._make_piece, device)
        self.step = 0
        self._begun: set[int] = set()  # stages that this process took a step of

    def learning_rate(self, step: int) -> float:
        """Linear warm-up, a plateau, and a linear decay to nothing over the last `decay` steps."""
        config = self.config
        ramp = min(1.0, (step + 1) / max(1, config.warmup))
        fall = min(1.0, (config.steps - step) / max(1, config.decay))
        return config.lr * ramp * max(0.0, fall)

    def optimise(self) -> dict[str, float]:
        """One optimiser step over this process's share of the global batch; returns log values as tensors' floats."""
        config = self.config
        index, stage = config.stage_at(self.step)
        pieces = stage.stories // config.micro_of(stage)
        mine = range(self.rank, pieces, self.world)
        if self.world > 1 and index not in self._begun:
            self._begin_stage(stage)
        self._begun.add(index)
        # among several processes a new stage's first piece is made when that begins: see `_begin_stage`
        goes_on = self.world == 1 or config.stage_at(self.step + 1)[0] in self._begun
        after = (self.step + 1, self.rank) if goes_on and self.step + 1 < config.steps else None
        lr = self.learning_rate(self.step)
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
        totals = torch.zeros(5, device=self.device)
        for position, number in enumerate(mine):
            last = position == len(mine) - 1
            wait = isinstance(self.network, DistributedDataParallel) and not last
            with self.network.no_sync() if wait else nullcontext():  # type: ignore[operator]
                then = after if last else (self.step, mine[position + 1])
                totals += self._piece_gradients(stage, number, self.world / pieces, then)
        if self.world > 1:
            dist.all_reduce(totals)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), config.clip)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self._average()
        self.step += 1
        self._latest = torch.cat([totals / pieces, norm.to(totals.device)[None]])
        return {"stage": index, "lr": lr, "stories": stage.stories}

    def _begin_stage(self, stage: Stage) -> None:
        """Take a piece through forward and backward pass, and leave its gradients behind.

        Most of what a stage's shapes need is compiled in it, by every process for itself. Compiling waits for the
        device now and then, and a device that already exchanges gradients waits for all other processes. A run on four
        GPUs stood still where a stage began; this is our guess at why. The piece is made once more for the step itself.
        """
        with self.network.no_sync():  # type: ignore[operator]
            self._piece_gradients(stage, self.rank, 1.0)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        everybody = torch.ones((), device=self.device)
        dist.all_reduce(everybody)
        everybody.item()  # waits for the last of them

    def _make_piece(self, step: int, number: int) -> Piece:
        _, stage = self.config.stage_at(step)
        return make_piece(self.config, self.model_config, stage, step, number, self.device)

    def _piece_gradients(self, stage: Stage, number: int, scale: float, then: tuple[int, int] | None = None) -> Tensor:
        """Losses of a piece, whose gradients are added to what there is; `then` is the (step, piece) after it."""
        piece = self.ahead.take(self.step, number)
        if then is not None:
            self.ahead.prepare(*then)
        attention = RoutedAttention(self.config, stage, self.model_config, self.step, piece)
        amp = self.config.bf16 and self.device.type == "cuda"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=amp):
            loss, error, found, read, guess = self.network(piece, attention)
        lessons = self.config.recognition * found + self.config.reading * read
        fade = self.learning_rate(self.step) / self.config.lr
        ((loss + fade * lessons + guess) * scale).backward()
        return torch.stack([loss, error, found, read, guess]).detach()

    @torch.no_grad()
    def _average(self) -> None:
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step))
        names = list(self.ema)
        values = dict(self.model.named_parameters())
        torch._foreach_lerp_([self.ema[n] for n in names], [values[n].detach() for n in names], 1 - decay)

    def state(self) -> dict[str, Any]:
        """All that a resumed run needs to continue as if it had never stopped."""
        return {
            "step": self.step,
            "config": self.config.to_dict(),
            "model": self.model.state_dict(),
            "ema": self.ema,
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "readers": None if self.readers is None else self.readers.state_dict(),
            "foresight": None if self.foresight is None else self.foresight.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Take over `state`; without optimiser moments (a compact checkpoint) those start afresh.

        Raises:
            ValueError: it is the state of a model of other sizes.
        """
        try:
            self.model.load_state_dict(state["model"])
        except RuntimeError as error:
            raise ValueError("the checkpoint holds a model of other sizes than the config asks for") from error
        for name, value in state["ema"].items():
            self.ema[name].copy_(value)
        if self.readers is not None and state.get("readers"):
            self.readers.load_state_dict(state["readers"])
        if self.foresight is not None and state.get("foresight"):
            self.foresight.load_state_dict(state["foresight"])
        for optimizer, moments in zip(self.optimizers, state.get("optimizers", []), strict=False):
            optimizer.load_state_dict(moments)
        self.step = int(state["step"])

    def save(self) -> None:
        """Write `checkpoint.pt` and the averaged weights (`weights.safetensors`), from the first process only."""
        if self.rank:
            return
        checkpoint.save_state(self.out / "checkpoint.pt", self.state())
        card = {"steps": self.step, "config": self.config.to_dict()}
        checkpoint.save_weights(self.out / "weights.safetensors", self.ema, self.model_config.to_dict(), card)

    def train_to(
        self,
        last: int,
        on_log: Callable[[dict[str, float]], None],
        *,
        on_sample: Callable[[int], None] | None = None,
        deadline: float | None = None,
        fit: bool = False,
    ) -> bool:
        """Run optimiser steps up to `last`, logging and saving on the way.

        Args:
            last: step to stop at.
            on_log: receives a row of `LOG_COLUMNS` every `log_every` steps (first process only).
            on_sample: called every `sample_every` steps on the first process.
            deadline: `time.monotonic()` value after which the run saves and returns.
            fit: from the second log row of the last stage on, or its end, stop after as many steps as fit before
                `deadline` and not at `last`; with rounds, after as many of them, once some
                have been timed.

        Returns:
            True when `last` was reached, False when the deadline came first.
        """
        with compiling(self.compiled):
            return self._train_to(last, on_log, on_sample, deadline, fit)

    def _fit(self, seconds: float, left: float) -> int:
        """Give the last stage as many steps, or the training as many rounds, as fit into `left` seconds when a step
        takes `seconds`; the decay keeps its share of all steps. Returns the step to stop at, the same in all
        processes."""
        config = self.config
        steps = torch.tensor(self.step + max(1, int(SPARE * left / seconds)), device=self.device)
        if self.world > 1:
            dist.broadcast(steps, 0)
        total = int(steps)
        if config.rounds > 1:  # the round that has begun is gone through
            rounds = max(total // config.steps_of_a_round, -(-self.step // config.steps_of_a_round))
            fitted = replace(config, rounds=rounds)
        else:
            *before, stage = config.stages
            rest = total - sum(one.steps for one in before)
            fitted = replace(config, stages=(*before, replace(stage, steps=rest)))
        self.config = replace(fitted, decay=round(config.decay * fitted.steps / config.steps))
        return fitted.steps

    def _timed_rounds(self, since: tuple[int, float] | None) -> tuple[int, float] | None:
        """Step and time of the end of a round, `since` being that of an earlier one; None within a round, before every
        stage has been compiled, and where fewer than `log_every` steps lie between the two."""
        config = self.config
        if config.rounds == 1 or self.step % config.steps_of_a_round or len(self._begun) < len(config.stages):
            return None
        if since is not None and self.step - since[0] < config.log_every:
            return None
        self._latest.tolist()  # waits for the device
        return self.step, time.monotonic()

    def _train_to(
        self,
        last: int,
        on_log: Callable[[dict[str, float]], None],
        on_sample: Callable[[int], None] | None,
        deadline: float | None,
        fit: bool,
    ) -> bool:
        saved = time.monotonic()
        unfitted = 2 if fit and deadline is not None else 0  # log rows of the last stage; the first one also compiles
        round_ended: tuple[int, float] | None = None  # rows may hold steps of one length of shots alone
        window, stories = time.monotonic(), 0
        while self.step < last:
            info = self.optimise()
            stories += int(info["stories"])
            if unfitted and (ended := self._timed_rounds(round_ended)):
                if round_ended is not None and deadline is not None:
                    unfitted, seconds = 0, (ended[1] - round_ended[1]) / (ended[0] - round_ended[0])
                    last = self._fit(seconds, deadline - ended[1])
                round_ended = round_ended or ended
            due = self.step % self.config.log_every == 0 or self.step == last
            if due:
                loss, error, found, read, guess, norm = self._latest.tolist()  # waits for the device
                if not (math.isfinite(loss) and math.isfinite(norm)):
                    raise FloatingPointError(
                        f"at step {self.step} the loss is {loss} and the norm of the gradients {norm}; "
                        "the last checkpoint stands"
                    )
                now = time.monotonic()
                if self.rank == 0:
                    memory = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
                    on_log(
                        dict(
                            zip(
                                LOG_COLUMNS,
                                (self.step, info["stage"], loss, error, found, read, guess, norm,
                                 info["lr"], stories / (now - window), now - window, memory),
                                strict=True,
                            )
                        )
                    )  # fmt: skip
                single = self.config.rounds == 1 and info["stage"] == len(self.config.stages) - 1
                if unfitted and single and deadline is not None:
                    unfitted = 0 if self.step == last else unfitted - 1  # a short stage has no second row
                    if not unfitted:
                        last = self._fit(info["stories"] * (now - window) / stories, deadline - now)
                window, stories = now, 0
                late = deadline is not None and now > deadline
                if self.world > 1:
                    flag = torch.tensor([late, now - saved > 60 * self.config.checkpoint_minutes], device=self.device)
                    flag = flag.int()
                    dist.broadcast(flag, 0)
                    late, stale = (bool(x) for x in flag.tolist())
                else:
                    stale = now - saved > 60 * self.config.checkpoint_minutes
                if late:
                    self.save()
                    return False
                if stale:
                    self.save()
                    saved = time.monotonic()
            if on_sample and self.config.sample_every and self.step % self.config.sample_every == 0 and not self.rank:
                on_sample(self.step)
        self.save()
        return True


@cache
def compiled_halves() -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`Block.before` and `Block.after`, compiled: once for every layer and every trainer of the process, since the
    block is an argument and its parameters are inputs of the graph."""
    return torch.compile(Block.before, dynamic=False), torch.compile(Block.after, dynamic=False)


@contextmanager
def compiling(wanted: bool) -> Iterator[None]:
    """Drop-off, drop-in and the painting of pictures as a kernel or few while the block runs, if `wanted`; after it
    everything is as before."""
    if not wanted:
        yield
        return
    settings = {
        "recompile_limit": 64,  # every stage has shapes of its own
        "optimize_ddp": False,  # the halves of a block are small; cutting them at buckets gains nothing
    }
    plain = drops.tickets, drops.masked, routing.drop_in, painting.paint, painting.AT_ONCE["cuda"]
    with torch._dynamo.config.patch(settings):
        drops.tickets = torch.compile(drops.tickets, dynamic=False)
        drops.masked = torch.compile(drops.masked, dynamic=False)
        routing.drop_in = torch.compile(drops.drop_in, dynamic=False)
        painting.paint = torch.compile(painting.paint, dynamic=False)
        painting.AT_ONCE["cuda"] = 8192
        try:
            yield
        finally:
            drops.tickets, drops.masked, routing.drop_in, painting.paint, painting.AT_ONCE["cuda"] = plain


def start_processes(device: str = "auto") -> torch.device:
    """Join the torchrun group if there is one; returns this process's device, under torchrun the GPU of its rank.

    Args:
        device: one that exists, as `moc.run.device.resolve_device` gives it; "auto" is CUDA where there is a GPU.
    """
    local = int(os.environ.get("LOCAL_RANK", "0"))
    cuda = torch.cuda.is_available() if device == "auto" else device.startswith("cuda")
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and not dist.is_initialized():
        if cuda:
            torch.cuda.set_device(local)
        dist.init_process_group("nccl" if cuda else "gloo")
    if ":" in device and not dist.is_initialized():
        return torch.device(device)
    return torch.device("cuda", local) if cuda else torch.device("cpu")
