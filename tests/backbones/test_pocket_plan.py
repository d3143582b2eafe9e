"""The plan of a story, made without weights or torch, against what rendering it then does."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from pocket_cases import TINY, render, shot_data, story_of, tiny_weights

from moc.attention.reference import mandatory_mask, routed_mask
from moc.backbones.pocket import rendering, stream
from moc.backbones.pocket.backbone import PocketBackbone
from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.backbones.pocket.planning import (
    attention_of,
    cut_into_pieces,
    guidance_of,
    guided_steps,
    make_plan,
    story_tokens,
)
from moc.candidates import candidates_of
from moc.storyboard import Storyboard


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> PocketBackbone:
    return PocketBackbone(tiny_weights(tmp_path_factory.mktemp("weights")))


def test_durations_snap_to_latent_frames() -> None:
    """Half a second each; to the nearest, halves up, never none."""
    asked = {0.1: 1, 0.5: 1, 0.7: 1, 0.75: 2, 1.2: 2, 1.25: 3, 8.0: 16, 8.2: 16, 600.0: 1200}
    story = story_of([shot_data(n, d) for n, d in enumerate(asked, 1)])
    plan = make_plan(story, PocketConfig(), "pocket")
    assert [shot.latent_frames for shot in plan.shots] == list(asked.values())
    for shot, seconds in zip(plan.shots, asked, strict=True):
        assert shot.frames == 4 * shot.latent_frames
        assert shot.seconds == shot.latent_frames / 2
        assert shot.requested_seconds == seconds
        snapped = [note for note in plan.notes if note.startswith(f"shot {shot.number} (") and "becomes" in note]
        assert len(snapped) == (shot.seconds != seconds)
    assert any("0.7 s becomes 0.5 s (1 latent frame" in note for note in plan.notes)


def test_pictures_of_another_size_or_rate_are_said() -> None:
    story = story_of(1, video={"fps": 24, "width": 640, "height": 480})
    plan = make_plan(story, PocketConfig(), "pocket")
    assert (plan.width, plan.height, plan.fps) == (96, 64, 8.0)
    assert sum("640x480" in note for note in plan.notes) == 1
    assert sum("not 24" in note for note in plan.notes) == 1
    quiet = make_plan(story_of(1, video={"fps": 8, "width": 96, "height": 64}), PocketConfig(), "pocket")
    assert not quiet.notes


@pytest.mark.parametrize(
    ("mode", "attention", "told"),
    [
        ("stream", {}, ()),
        ("stream", {"top_k": 2, "chunk_tokens": 96}, ()),
        ("stream", {"pattern": "dense"}, ("trained under the pattern moc, not dense",)),
        ("joint", {}, ("all shots at once",)),
        ("joint", {"pattern": "local"}, ("not local", "all shots at once")),
        ("joint", {"pattern": "moc-no-causal"}, ("never saw a later shot",)),
        ("joint", {"causal": False}, ("never saw a later shot",)),
    ],
)
def test_what_training_never_showed_is_said(mode: str, attention: dict[str, Any], told: tuple[str, ...]) -> None:
    story = story_of(2, sampling={"seed": 7, "steps": 2, "mode": mode}, attention=attention)
    notes = make_plan(story, PocketConfig(), "pocket").notes
    assert len(notes) == len(told)
    assert all(words in note for words, note in zip(told, notes, strict=True))
    own = make_plan(story.overridden({"model": "mine.safetensors"}), PocketConfig(), "mine.safetensors")
    assert not own.notes, "nobody knows what weights of one's own have seen"


def test_notes_on_words_name_the_shot_and_its_id() -> None:
    story = Storyboard.from_dict(
        {
            "version": 1,
            "characters": {"zed": "a robot"},
            "shots": [
                {"id": "hall", "duration": "1s", "prompt": "{zed} explodes in the library", "camera": "drone"},
                {"id": "gate", "duration": "1s", "prompt": "{zed} waves"},
            ],
        }
    )
    plan = make_plan(story, PocketConfig(), "pocket")
    assert plan.notes == (
        "shot 1 (hall): camera 'drone' is not known; it knows wide, medium, close, pan and zoom",
        "shot 1 (hall): nothing zed does is understood; zed stands",
    )
    assert [words.unknown for words in plan.understanding] == [(), (("explodes", ("explores",)),), ()]


def test_words_of_every_shot_are_reported() -> None:
    plan = make_plan(story_of([shot_data(1, prompt="{mira} waves by a zorkmid")]), PocketConfig(), "pocket")
    assert [words.number for words in plan.understanding] == [0, 1]
    assert "zorkmid" in [word for word, _ in plan.understanding[1].unknown]
    assert any("wave" in meaning for _, meaning in plan.understanding[1].understood)


@pytest.mark.parametrize("chunk_tokens", ["frame", 5, 7, 64, 1000])
def test_tokens_and_chunks_are_those_of_the_layout(backbone: PocketBackbone, chunk_tokens: int | str) -> None:
    shots = [shot_data(1, 1.5), shot_data(2, 0.5), shot_data(3, 9.0), shot_data(4, 8.0)]
    story = story_of(shots, attention={"chunk_tokens": chunk_tokens})
    plan = backbone.plan(story)
    pieces = cut_into_pieces(story, TINY)
    layout = stream.Memory.layout_of(PocketDiT(TINY), attention_of(story), [p.frames for p in pieces])
    assert layout.length == TINY.global_tokens + sum(s.tokens + s.text_tokens for s in plan.shots)
    for shot in plan.shots:
        mine = [p.index for p in pieces if p.shot == shot.number]
        videos = [layout.video_range(i) for i in mine]
        assert shot.tokens == sum(b - a for a, b in videos)
        assert shot.chunks == sum(b - a for a, b in map(layout.video_chunks, mine))
        assert shot.text_tokens == sum(a - layout.token_range(i)[0] for i, (a, _) in zip(mine, videos, strict=True))


class Work:
    """FLOPs that a run really needs, counted while it runs: every linear layer, pair and score of each shot."""

    def __init__(self, story: Storyboard, patch: pytest.MonkeyPatch) -> None:
        self.flops = dict.fromkeys(range(len(story.shots) + 1), 0.0)  # 0 stands for the global text
        self.shot_of = {piece.index: piece.shot for piece in cut_into_pieces(story, TINY)} | {0: 0}
        self.piece = 0  # that is streamed now
        for module in (stream, rendering):
            patch.setattr(module, "attend", self._counting(module.attend))
            patch.setattr(module, "route", self._scoring(module.route))
        run_blocks, run_pass = PocketDiT.run_blocks, stream.ShotPass._run

        def blocks(model: PocketDiT, x: Any, mod: Any, segments: Any, *rest: Any) -> Any:
            self._linear(segments)
            return run_blocks(model, x, mod, segments, *rest)

        def shot_pass(one: Any, *args: Any) -> Any:
            self.piece = one.number
            return run_pass(one, *args)

        patch.setattr(PocketDiT, "run_blocks", blocks)
        patch.setattr(stream.ShotPass, "_run", shot_pass)

    def _linear(self, segments: Any) -> None:
        """Linear layers over the global text and all pieces (joint), or over one of them (stream)."""
        block = 2 * TINY.layers * (4 * TINY.width**2 + 2 * TINY.width * TINY.mlp)
        ends = 2 * (TINY.patch_values * TINY.width + TINY.width * TINY.head + TINY.head * TINY.patch_values)
        ends += 2 * (TINY.patch_values * TINY.head // TINY.patch_frames + TINY.width * TINY.patch_values)  # its skip
        for piece, tokens in enumerate(segments, 0 if len(segments) > 1 else self.piece):
            video = tokens - TINY.caption_tokens if piece else 0
            self.flops[self.shot_of[piece]] += tokens * block + video * ends

    def _rows(self, layout: Any, q_range: Any) -> tuple[int, torch.Tensor]:
        start, stop = q_range or (0, layout.length)
        return start, torch.tensor([self.shot_of[int(n)] for n in layout.shot_ids[start:stop]])

    def _counting(self, attend: Any) -> Any:
        def count(q: Any, k: Any, v: Any, layout: Any, routing: Any, config: Any, *, q_range: Any = None) -> Any:
            start, shots = self._rows(layout, q_range)
            mask = mandatory_mask(layout, config, start, start + len(shots)) | routed_mask(layout, routing.indices)
            per_row = mask.sum((0, 1, 3)) * 4 * q.shape[-1]
            for shot in shots.unique().tolist():
                self.flops[shot] += float(per_row[shots == shot].sum())
            return attend(q, k, v, layout, routing, config, q_range=q_range)

        return count

    def _scoring(self, route: Any) -> Any:
        def count(q: Any, k: Any, layout: Any, config: Any, *, q_range: Any = None, **rest: Any) -> Any:
            _, shots = self._rows(layout, q_range)
            limits = candidates_of(layout, config, q_range, torch.device("cpu")).limit
            if config.pattern == "random":
                limits = torch.zeros_like(limits)
            elif config.pattern == "moc-block":  # once for all queries of a chunk
                chunk = layout.chunk_ids[slice(*(q_range or (0, layout.length)))]
                limits = limits * torch.cat([chunk.new_ones(1), chunk.diff()])
            for shot in shots.unique().tolist():
                self.flops[shot] += 2 * q.shape[-1] * q.shape[1] * float(limits[shots == shot].sum())
            return route(q, k, layout, config, q_range=q_range, **rest)

        return count


@pytest.mark.parametrize(
    ("attention", "sampling"),
    [
        ({}, {}),
        ({}, {"guidance": 3.0}),
        ({"top_k": 0}, {}),
        ({"chunk_tokens": 4, "top_k": 9}, {}),
        ({"intra": "chunk", "top_k": 2}, {}),
        ({"intra": "window", "window_chunks": 2, "top_k": 3}, {}),
        ({"outer_top_m": 1}, {}),
        ({}, {"mode": "joint"}),
        ({"text_links": "all", "causal": False, "top_k": 3}, {"mode": "joint", "guidance": 2.0}),
        ({"causal": False, "intra": "chunk", "top_k": 30}, {"mode": "joint"}),
        ({"pattern": "dense"}, {}),
        ({"pattern": "dense", "causal": False, "intra": "chunk"}, {"mode": "joint"}),
        ({"pattern": "local"}, {}),
        ({"pattern": "first-frame"}, {}),
        ({"pattern": "first-frame", "outer_top_m": 1}, {}),
        ({"pattern": "first-frame", "causal": False}, {"mode": "joint"}),
        ({"pattern": "random"}, {}),
        ({"pattern": "moc-block", "top_k": 2}, {}),
        ({"pattern": "moc-no-causal", "top_k": 2}, {"mode": "joint"}),
    ],
    ids=str,
)
def test_flops_are_those_of_the_run(
    backbone: PocketBackbone, monkeypatch: pytest.MonkeyPatch, attention: dict[str, Any], sampling: dict[str, Any]
) -> None:
    frames = [2, 2, 2, 2] if "outer_top_m" in attention else [3, 1, 18, 2]  # which shot stays in play is not known
    story = story_of(
        [shot_data(n, f / 2) for n, f in enumerate(frames, 1)],
        sampling={"seed": 7, "steps": 2, **sampling}, attention=attention,
    )  # fmt: skip
    work = Work(story, monkeypatch)
    render(backbone, story)
    for shot in backbone.plan(story).shots:
        # chunks are equally long here, so that a mean chunk is any chunk
        assert shot.flops == pytest.approx(work.flops[shot.number], rel=1e-9), shot.number


@pytest.mark.parametrize("attention", [{"chunk_tokens": 7}, {"pattern": "moc-uniform"}, {"pattern": "radial"}], ids=str)
def test_ragged_chunks_cost_about_what_is_planned(
    backbone: PocketBackbone, monkeypatch: pytest.MonkeyPatch, attention: dict[str, Any]
) -> None:
    story = story_of([shot_data(n, 2.5) for n in range(1, 5)], attention={"top_k": 2, **attention})
    work = Work(story, monkeypatch)
    render(backbone, story)
    for shot in backbone.plan(story).shots:
        assert shot.flops == pytest.approx(work.flops[shot.number], rel=0.02)


def test_memory_grows_with_what_is_kept() -> None:
    """A stream keeps keys and values, guided or not; a joint run holds one pass over everything."""

    def bytes_of(count: int, **sampling: Any) -> int:
        story = story_of([shot_data(n, 8.0) for n in range(1, count + 1)], sampling={"seed": 1, **sampling})
        return make_plan(story, PocketConfig(), "pocket").memory_bytes

    per_shot = 2 * 8 * (1536 + 4) * 256 * 4  # layers x tokens x width x float32, keys and values
    assert bytes_of(5) - bytes_of(4) == 2 * per_shot  # with the copy that a pass works on
    assert bytes_of(5, guidance=2.0) - bytes_of(4, guidance=2.0) == 2 * per_shot
    assert bytes_of(8, mode="joint") > bytes_of(4, mode="joint") > bytes_of(1, mode="joint")


def test_the_longest_story_is_planned_at_once() -> None:
    """Work that grew with the square of the pieces would take minutes: 75,000 pieces."""
    shots = [shot_data(n, 600.0) for n in range(1, 1001)]
    story = story_of(shots)
    plan = make_plan(story, PocketConfig(), "pocket")
    assert len(plan.shots) == 1000
    assert sum(shot.latent_frames for shot in plan.shots) == 1_200_000


def test_planning_needs_no_torch(tmp_path: Path) -> None:
    tiny_weights(tmp_path)
    script = (
        "import sys; from moc.backbones.base import load_backbone; from moc.storyboard import Storyboard;"
        f"plan = load_backbone({str(tmp_path / 'tiny.safetensors')!r}).plan(Storyboard.from_dict("
        "{'version': 1, 'shots': [{'id': 'a', 'duration': 1, 'prompt': 'a cat sleeps'}]}));"
        "assert plan.shots[0].tokens == 16; assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[2])


def test_a_shot_that_goes_on_keeps_the_camera() -> None:
    from moc.world.schema import COLUMNS, FACT_ID

    def cameras(**second: str) -> list[str]:
        shots = [
            {"id": "a", "duration": "2s", "prompt": "a dog sleeps", "camera": "close"},
            {"id": "b", "duration": "2s", "prompt": "a dog sleeps", "cut": False, **second},
        ]
        story = Storyboard.from_dict({"version": 1, "shots": shots})
        _, captions = story_tokens(story, cut_into_pieces(story, PocketConfig()))
        names = {FACT_ID["camera", name]: name for name in ("wide", "medium", "close", "pan", "zoom")}
        return [names[tokens[0][COLUMNS["camera"]]] for tokens in captions]

    assert cameras() == ["close", "close"]
    assert cameras(camera="wide") == ["close", "wide"]
    assert cameras(prompt="a medium shot: a dog sleeps") == ["close", "medium"]


def test_guidance_is_the_models_own_unless_the_story_names_one() -> None:
    size = PocketConfig(guidance=1.7)
    shots = [shot_data(1, 8.0)]
    plain, off = (story_of(shots, sampling={"seed": 1, **more}) for more in ({}, {"guidance": 1.0}))
    assert (guidance_of(plain, size), guidance_of(off, size), guidance_of(plain, PocketConfig())) == (1.7, 1.0, 1.0)
    guided, alone = (make_plan(story, size, "pocket").shots[0].flops for story in (plain, off))
    assert guided == 2 * alone
    with pytest.raises(ValueError, match="guidance must be 0 to 50, got -1"):
        PocketConfig(guidance=-1)


def test_guidance_of_an_interval_costs_its_steps_alone() -> None:
    whole, part = PocketConfig(guidance=2.0, shift=6.0), PocketConfig(guidance=2.0, shift=6.0, guidance_from=0.8)
    story = story_of([shot_data(1, 8.0)], sampling={"seed": 1, "steps": 10})
    assert (guided_steps(story, whole), guided_steps(story, part), guided_steps(story, PocketConfig())) == (10, 7, 0)
    flops = [make_plan(story, size, "pocket").shots[0].flops for size in (whole, part)]
    assert flops[1] * 20 == pytest.approx(flops[0] * 17)
    both = PocketConfig(guidance=2.0, shift=6.0, guidance_from=0.8, guidance_to=0.97)
    assert guided_steps(story, both) == 5
    assert make_plan(story, both, "pocket").shots[0].flops * 20 == pytest.approx(flops[0] * 15)
    late = PocketConfig(guidance=2.0, shift=10.0, guidance_from=0.5, last_step=0.25)
    assert guided_steps(story, late) == 9, "all but the last"
    with pytest.raises(ValueError, match=r"guidance_from and guidance_to must be 0 to 1.* got 2 and 1\.0"):
        PocketConfig(guidance_from=2)
    with pytest.raises(ValueError, match=r"the former no higher, got 0\.5 and 0\.4"):
        PocketConfig(guidance_from=0.5, guidance_to=0.4)
