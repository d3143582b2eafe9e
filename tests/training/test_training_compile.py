"""Compiling while training: the same steps, one compilation for all layers, and nothing left behind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from training_cases import TINY, OneThread

from moc import drops, routing
from moc.backbones.pocket.model import Block
from moc.training import loop
from moc.training.config import parse
from moc.training.loop import Trainer
from moc.world import painting
from moc.world.painting import paint

TICKETS, MASKED = drops.tickets, drops.masked


@pytest.fixture
def compiler(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[torch.fx.GraphModule]]:
    """Compilation for the CPU without a C++ compiler; gives the graphs that were compiled."""
    graphs: list[torch.fx.GraphModule] = []

    def count(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count))
    loop.compiled_halves.cache_clear()
    yield graphs
    loop.compiled_halves.cache_clear()
    torch._dynamo.reset()


def _trainer(folder: Path, *, compiled: bool) -> Trainer:
    config = parse({**TINY, "log_every": 100, "checkpoint_minutes": 100})
    trainer = Trainer(config, folder, torch.device("cpu"))
    if compiled:
        trainer.compiled = True
        trainer.model.before, trainer.model.after = loop.compiled_halves()
    return trainer


def test_compiled_steps(tmp_path: Path, compiler: list[torch.fx.GraphModule]) -> None:
    limit = torch._dynamo.config.recompile_limit
    rows: list[list[dict[str, float]]] = [[], []]
    with OneThread():
        for kind in (0, 1):
            trainer = _trainer(tmp_path / str(kind), compiled=bool(kind))
            trainer.train_to(8, rows[kind].append)
    assert rows[0][-1]["loss"] == pytest.approx(rows[1][-1]["loss"], rel=1e-5)
    # halves of a block in two stages, drop-off in two parts, drop-in, pictures in few sizes: no more for a second layer
    painted = [graph for graph in compiler if any("index_select" in str(node.target) for node in graph.graph.nodes)]
    assert 1 <= len(painted) <= 4
    assert 8 <= len(compiler) - len(painted) <= 12
    assert (drops.tickets, drops.masked, routing.drop_in, painting.paint) == (TICKETS, MASKED, drops.drop_in, paint)
    assert torch._dynamo.config.recompile_limit == limit
    assert _trainer(tmp_path, compiled=False).model.before is Block.before


def test_everything_is_put_back_after_a_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = _trainer(tmp_path, compiled=False)
    trainer.compiled = True
    seen = []

    def broken() -> None:
        seen.extend([drops.tickets, drops.masked, painting.paint])
        raise RuntimeError("on the way")

    monkeypatch.setattr(trainer, "optimise", broken)
    with pytest.raises(RuntimeError, match="on the way"):
        trainer.train_to(1, lambda row: None)
    assert [seen[0] is TICKETS, seen[1] is MASKED, seen[2] is paint] == [False] * 3
    assert (drops.tickets, drops.masked, routing.drop_in, painting.paint) == (TICKETS, MASKED, drops.drop_in, paint)
