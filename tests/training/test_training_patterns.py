"""Training under every pattern: what a row may look at is what sampling gives it, for stories laid twice and once."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from training_cases import OneThread, log_of, write_config

sys.path.insert(0, str(Path(__file__).parents[1] / "backbones"))

from pocket_cases import tiny_model

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.positions import rotation_table, rotations, stream_positions
from moc.backbones.pocket.stream import Memory
from moc.config import MoCConfig
from moc.patterns import PATTERNS
from moc.training import checkpoint, data, samples
from moc.training.config import Stage, TrainConfig, looks_back_alone, parse
from moc.training.data import RoutedAttention, make_piece, stream_layout
from moc.training.loop import Trainer
from moc.training.run import train

CPU = torch.device("cpu")
SIZE = PocketConfig(width=32, layers=2, heads=2, mlp=48, head=48)
CAUSAL = [name for name in PATTERNS if name != "moc-no-causal"]
SHOTS = 4


def assert_close(a: torch.Tensor, b: torch.Tensor) -> None:
    """Equal up to the rounding of sums in another order."""
    torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-3)


def _exact(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> tuple[TrainConfig, Stage]:
    """Training without chance that sampling does not have: no drops, positions from the start."""
    monkeypatch.setattr(data, "MAX_TRAINED_SHOT", SHOTS)
    monkeypatch.setattr(data, "LONGEST_SHOT", 2)
    stage = Stage(steps=1, stories=2, latent_frames=2, shots=SHOTS, top_k=changes.pop("top_k", 2))
    none = {"drop_off_max": 0.0, "drop_in_rate": 0.0, "drop_text": 0.0, "drop_routes": 0.0, "clean_history": 1.0}
    rest = {"near_clean_history": 0.0, "micro_stories": 2}
    return TrainConfig(stages=(stage,), **{**none, **rest, **changes}), stage


def _predict(model: PocketDiT, config: TrainConfig, stage: Stage, piece: data.Piece, step: int = 3) -> torch.Tensor:
    made = model(
        piece.global_tokens, piece.captions, piece.patches, piece.t, piece.cos, piece.sin,
        RoutedAttention(config, stage, model.config, step, piece), predict_from=piece.t.shape[1] - stage.shots,
    )  # fmt: skip
    return cast(torch.Tensor, made)


@pytest.mark.parametrize("dropped", [False, True], ids=["seen", "dropped"])
@pytest.mark.parametrize("name", [n for n in CAUSAL if n != "random"])
def test_laid_twice_is_what_streaming_gives(monkeypatch: pytest.MonkeyPatch, name: str, dropped: bool) -> None:
    config, stage = _exact(monkeypatch, pattern=name)
    model = tiny_model(SIZE)
    piece = make_piece(config, SIZE, stage, 3, 0, CPU)
    assert piece.t.shape[1] == 2 * SHOTS - 1
    if dropped:  # one of the two stories
        piece.drop_routes = torch.tensor([False, True])
    made = _predict(model, config, stage, piece)
    streamed = {}
    for pattern in {name, "local"}:
        moc = MoCConfig.preset("pocket").replace(pattern=pattern, chunk_tokens=stage.chunk_tokens, top_k=2)
        memory = Memory(model, moc, [2] * SHOTS, piece.global_tokens)
        for i in range(SHOTS):
            shot = memory.shot(i + 1, piece.captions[:, SHOTS - 1 + i])
            t = piece.t[:, SHOTS - 1 + i]
            rows = [shot.predict(piece.patches[:, SHOTS - 1 + i], float(t[story]))[story] for story in range(2)]
            streamed[pattern, i] = torch.stack(rows)
            shot.finish(piece.target[:, i])
    for i in range(SHOTS):
        assert_close(made[0, i], streamed[name, i][0])
        assert_close(made[1, i], streamed["local" if dropped else name, i][1])


def test_random_routes_are_drawn_anew_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    config, stage = _exact(monkeypatch, pattern="random")
    model = tiny_model(SIZE)
    piece = make_piece(config, SIZE, stage, 0, 0, CPU)
    one, again, other = (_predict(model, config, stage, piece, step) for step in (0, 0, 1))
    assert torch.equal(one, again)
    assert not torch.equal(one, other)
    assert torch.equal(one[:, 0], other[:, 0]), "the first shot has nothing to look at"
    local = _predict(model, *_exact(monkeypatch, pattern="local"), piece)
    assert_close(local[:, 0], one[:, 0])
    assert not torch.allclose(local[:, 1:], one[:, 1:], atol=1e-3)


@pytest.mark.parametrize(
    "changes", [{"causal": False}, {"pattern": "moc-no-causal"}, {"pattern": "dense", "causal": False},
                {"pattern": "radial", "causal": False, "intra": "chunk"}, {"text_links": "all"},
                {"pattern": "moc-uniform", "causal": False}, {"intra": "window"}],
    ids=str,
)  # fmt: skip
def test_laid_once_is_what_joint_sampling_gives(monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]) -> None:
    config, stage = _exact(monkeypatch, clean_history=0.0, **changes)
    piece = make_piece(config, SIZE, stage, 3, 0, CPU)
    assert piece.patches.shape[1] == piece.captions.shape[1] == piece.t.shape[1] == SHOTS
    assert len(piece.t.unique()) == 2, "one timestep a story"
    model = tiny_model(SIZE)
    moc = config.attention(stage)
    layout = Memory.layout_of(model, moc, [2] * SHOTS)
    cos, sin = rotations(stream_positions(SIZE, [(n, 2, 0) for n in range(1, SHOTS + 1)]), rotation_table(SIZE))
    expected = model(
        piece.global_tokens, piece.captions, piece.patches, piece.t, cos, sin,
        lambda layer, q, k, v: samples.moc_attention(q, k, v, layout, moc, layer=layer),
    )  # fmt: skip
    assert_close(_predict(model, config, stage, piece), expected)


def test_a_cut_parts_clean_from_noisy_shots(monkeypatch: pytest.MonkeyPatch) -> None:
    config, _ = _exact(monkeypatch, causal=False)
    stage = Stage(steps=1, stories=64, latent_frames=1, shots=SHOTS, micro_stories=64)
    piece = make_piece(config, SIZE, stage, 0, 0, CPU)
    clean = piece.t == 0
    cuts = clean.sum(1)
    assert (clean == (torch.arange(SHOTS) < cuts[:, None])).all(), "clean shots come first"
    assert cuts.unique().tolist() == list(range(SHOTS)), "at least one shot is noisy"
    assert torch.equal(piece.patches[clean], piece.target[clean])
    assert ((piece.weight > 0) == ~clean).all()
    scale = (SHOTS / (SHOTS - cuts))[:, None]
    expected = ~clean * scale / piece.t.clamp_min(config.t_floor).square()
    torch.testing.assert_close(piece.weight, expected)


def test_the_own_shot_in_chunks_streams_as_it_trains(monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid once and causal, the first noisy shot sees a clean past, as in streaming."""
    config, stage = _exact(monkeypatch, intra="chunk", top_k=1)
    model = tiny_model(SIZE)
    for step in range(20):
        piece = make_piece(config, SIZE, stage, step, 0, CPU)
        first = int((piece.t[0] > 0).float().argmax())
        if first > 1:
            break
    assert first > 1
    made = _predict(model, config, stage, piece, step)[0, first]
    memory = Memory(model, config.attention(stage), [2] * SHOTS, piece.global_tokens[:1])
    for i in range(first):
        memory.shot(i + 1, piece.captions[:1, i]).finish(piece.target[:1, i])
    shot = memory.shot(first + 1, piece.captions[:1, first])
    assert_close(made, shot.predict(piece.patches[:1, first], float(piece.t[0, first]))[0])


@pytest.mark.parametrize("name", PATTERNS)
def test_patterns_train_and_resume(tmp_path: Path, name: str) -> None:
    with OneThread():
        config = write_config(tmp_path, pattern=name, drop_routes=0.5)
        train(config, tmp_path / "whole")
        train(config, tmp_path / "run", minutes=1e-9)
        train(config, tmp_path / "run", resume=True)
    assert log_of(tmp_path / "run") == log_of(tmp_path / "whole")
    weights = [(tmp_path / run / "weights.safetensors").read_bytes() for run in ("run", "whole")]
    assert weights[0] == weights[1]
    assert checkpoint.load_state(tmp_path / "run" / "checkpoint.pt")["config"]["pattern"] == name


def test_gradients_flow_through_what_a_pattern_attends(tmp_path: Path) -> None:
    """Another shot's pixels get gradients where the pattern reaches it, and none where it doesn't.

    One layer: in the next, a first frame tells what it has read of its own shot.
    """
    size, reached = replace(SIZE, layers=1), {}
    for name in ("local", "first-frame", "dense", "moc"):
        config = parse({"pattern": name, "drop_routes": 0.0, "drop_off_max": 0.0, "drop_in_rate": 0.0, "stages": [
            {"steps": 1, "stories": 2, "latent_frames": 2, "shots": 2, "top_k": 1, "micro_stories": 2}]})  # fmt: skip
        stage = config.stages[0]
        piece = make_piece(config, size, stage, 0, 0, CPU)
        piece.patches.requires_grad_()
        _predict(tiny_model(size), config, stage, piece)[:, 1].sum().backward()
        assert piece.patches.grad is not None
        past = piece.patches.grad[:, 0].abs().sum(-1).unflatten(1, (2, SIZE.tokens_per_frame)).sum((0, 2))
        reached[name] = (past > 0).tolist()
    assert reached == {"local": [False, False], "first-frame": [True, False], "dense": [True] * 2, "moc": [True] * 2}


def test_stories_lie_twice_where_nothing_looks_ahead() -> None:
    pocket = MoCConfig.preset("pocket")
    assert looks_back_alone(pocket)
    for changes in ({"causal": False}, {"pattern": "moc-no-causal"}, {"intra": "chunk"}, {"text_links": "all"}):
        assert not looks_back_alone(pocket.replace(**changes)), changes
        assert stream_layout(3, 1, pocket.replace(**changes), SIZE).num_shots == 3
    assert stream_layout(3, 1, pocket, SIZE).num_shots == 5
    uniform = pocket.replace(pattern="moc-uniform")
    twice, once = stream_layout(3, 2, uniform, SIZE), Memory.layout_of(tiny_model(SIZE), uniform, [2] * 3)
    assert twice.even is not None
    assert once.even is not None
    assert twice.even.starts == (*once.even.starts[:2], *once.even.starts)


@pytest.mark.parametrize("changes", [{"causal": False}, {"pattern": "first-frame"}, {"text_links": "all"}], ids=str)
def test_samples_of_other_attention(tmp_path: Path, changes: dict[str, Any]) -> None:
    stage = {"steps": 1, "stories": 2, "latent_frames": 1, "shots": 2}
    model = {"width": 32, "layers": 1, "heads": 1, "mlp": 32, "head": 32}
    config = parse({"stages": [stage], "micro_stories": 2, "model": model, **changes})
    trainer = Trainer(config, tmp_path, CPU)
    samples.write_samples(trainer, tmp_path / "x.png", stories=1, steps=1)
    assert {path.name for path in tmp_path.iterdir()} == {"x.png", "x.webp"}
