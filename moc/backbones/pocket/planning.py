"""From a storyboard to what the pocket model renders: pieces of shots, text tokens, sizes. Torch-free.

A shot becomes one or more *pieces* of at most eight seconds, the longest shot of training. Every piece is a shot of
the token stream; a piece after the first, and the first piece of a shot with `cut: false`, says "continue" in its
caption and goes on where the piece before it stopped.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Literal

from moc.backbones.base import BUILT_IN, Plan, ShotPlan, ShotUnderstanding
from moc.backbones.pocket.config import LONGEST_SHOT, PocketConfig
from moc.backbones.pocket.cost import Amount, amount_of, memory_bytes, pass_flops
from moc.config import MoCConfig
from moc.errors import InputError
from moc.world.language import StoryText, Understanding, encode, understand_story
from moc.world.schema import COLUMNS, FACT_ID

if TYPE_CHECKING:
    from moc.storyboard import Shot, Storyboard

STEPS = 7
WEIGHT_BYTES = 16 * 2**20

Tokens = list[tuple[int, ...]]


@dataclass(frozen=True)
class Piece:
    """A stretch of one shot that is denoised in one go.

    Attributes:
        index: 1-based place among all pieces of the story, the shot number of the token stream.
        shot: number of the shot it belongs to; frames: latent frames; continues: goes on without a cut.
    """

    index: int
    shot: int
    frames: int
    continues: bool


def latent_frames(shot: Shot, size: PocketConfig) -> int:
    """Latent frames of a shot: its duration snapped to whole ones, at least one."""
    return max(1, math.floor(shot.duration * size.fps / size.patch_frames + 0.5))


def cut_into_pieces(story: Storyboard, size: PocketConfig) -> list[Piece]:
    """All pieces of the story, as even as can be within a shot."""
    pieces: list[Piece] = []
    for shot in story.shots:
        total = latent_frames(shot, size)
        count = -(-total // LONGEST_SHOT)
        for i in range(count):
            frames = (i + 1) * total // count - i * total // count
            pieces.append(Piece(len(pieces) + 1, shot.number, frames, i > 0 or not shot.cut))
    return pieces


def pieces_by_shot(pieces: list[Piece]) -> dict[int, list[Piece]]:
    """The pieces of each shot, by its number."""
    by_shot: dict[int, list[Piece]] = {}
    for piece in pieces:
        by_shot.setdefault(piece.shot, []).append(piece)
    return by_shot


def attention_of(story: Storyboard) -> MoCConfig:
    """The story's attention settings on top of the pocket preset.

    Raises:
        InputError: streaming is asked for with settings under which finished shots would have to change.
    """
    config = story.attention.config("pocket")
    if story.sampling.mode == "stream":
        if config.text_links != "own":
            raise InputError(
                "sampling.mode 'stream' needs attention.text_links 'own': under 'all' later captions reach finished "
                "shots; set text_links: own or mode: joint."
            )
        if not config.causal:
            raise InputError(
                "sampling.mode 'stream' needs attention.causal true: a finished shot can't look ahead; "
                "set causal: true or mode: joint."
            )
    return config


def guidance_of(story: Storyboard, size: PocketConfig) -> float:
    """Guidance scale of a story: what it asks for, else the model's own."""
    return size.guidance if story.sampling.guidance is None else story.sampling.guidance


def alone(config: MoCConfig) -> MoCConfig:
    """Attention of the pass that guidance leads away from: a shot, or a piece of a long one, by itself, whatever the
    pattern. What it sees of itself is what training shows to stories without routes."""
    return config.replace(pattern="local", text_links="own", outer_top_m=None)


def counted_by(config: MoCConfig, tokens_per_frame: int) -> Literal["chunk", "frame"]:
    """What routes are counted by: chunks, or latent frames where chunks are no longer than one."""
    return "frame" if config.chunk_tokens == "frame" or config.chunk_tokens <= tokens_per_frame else "chunk"


def guided_steps(story: Storyboard, size: PocketConfig) -> int:
    """How many of a story's denoising steps are guided, and so take two passes."""
    if guidance_of(story, size) == 1.0:
        return 0
    return sum(size.guides(t) for t in size.timesteps(story.sampling.steps or STEPS)[:-1])


def read_words(story: Storyboard) -> Understanding:
    """What the model's text encoder understands of the story.

    Raises:
        InputError: more people, scenes or facts than the model has room for.
    """
    text = StoryText(
        global_prompt=story.global_prompt,
        characters=dict(story.characters),
        scenes=dict(story.scenes),
        shots=[(shot.prompt, shot.scene, shot.camera) for shot in story.shots],
    )
    understood = understand_story(text)
    if understood.problems:
        raise InputError("the built-in model can't draw this story: " + "; ".join(understood.problems) + ".")
    return understood


def story_tokens(story: Storyboard, pieces: list[Piece]) -> tuple[Tokens, list[Tokens]]:
    """Text tokens (slot, fact id, ...) of the global text and of each piece.

    A shot that goes on without a cut keeps the camera of the one before it unless it names another.
    """
    understood = read_words(story)
    global_tokens, captions = encode(understood)
    names_camera = {
        words.number: any(meaning.startswith("camera = ") for _, meaning in words.understood)
        for words in understood.words
    }
    result: list[Tokens] = []
    for piece in pieces:
        tokens = list(captions[piece.shot - 1])
        if piece.continues:
            shot = list(tokens[0])
            if result and not names_camera[piece.shot]:
                shot[COLUMNS["camera"]] = result[-1][0][COLUMNS["camera"]]
            shot[COLUMNS["cut"]] = FACT_ID["cut", "continue"]
            tokens[0] = tuple(shot)
        result.append(tokens)
    return global_tokens, result


def make_plan(story: Storyboard, size: PocketConfig, name: str) -> Plan:
    """The size of the work (see `Backbone.plan`).

    Raises:
        InputError: the story does not fit the model.
    """
    config = attention_of(story)
    understood = read_words(story)
    pieces = cut_into_pieces(story, size)
    starts = [size.global_tokens, *(size.caption_tokens + piece.frames * size.tokens_per_frame for piece in pieces)]
    amounts = [
        amount_of(size, config, piece.frames, start + size.caption_tokens)
        for piece, start in zip(pieces, accumulate(starts), strict=False)
    ]
    everything = sum(amounts, Amount())
    by_shot = pieces_by_shot(pieces)
    steps, guided = story.sampling.steps or STEPS, guided_steps(story, size)
    streamed = story.sampling.mode == "stream"
    captions = len(pieces) if config.text_links == "all" else 1
    by = counted_by(config, size.tokens_per_frame)
    before, plans = Amount(), []
    for shot in story.shots:
        mine = by_shot[shot.number]
        flops, own = 0.0, Amount()
        for piece in mine:
            amount = amounts[piece.index - 1]
            others = before if config.causal else everything - amount
            # a streamed piece goes through once more, clean, to be remembered, unless nothing follows
            passes = steps + (streamed and piece.index < len(pieces))
            flops += passes * pass_flops(size, config, amount, others, captions)
            flops += guided * pass_flops(size, alone(config), amount, Amount(), 1)
            before, own = before + amount, own + amount
        frames = latent_frames(shot, size) * size.patch_frames
        plans.append(
            ShotPlan(
                number=shot.number,
                id=shot.id,
                frames=frames,
                latent_frames=latent_frames(shot, size),
                tokens=own.tokens,
                text_tokens=size.caption_tokens * len(mine),
                chunks=own.chunks,
                parts=latent_frames(shot, size) if by == "frame" else own.chunks,
                seconds=frames / size.fps,
                requested_seconds=shot.duration,
                flops=flops,
            )
        )
    total = size.global_tokens + sum(p.tokens + p.text_tokens for p in plans)
    longest = max(amount.tokens for amount in amounts) + size.caption_tokens
    kept, working = (total, longest) if streamed else (0, total)
    if guided and streamed:  # the pass without words and past has keys and values of its own, without a copy
        kept += (size.global_tokens + longest) // 2
    return Plan(
        model=name,
        width=size.picture_width,
        height=size.picture_height,
        fps=float(size.fps),
        shots=tuple(plans),
        memory_bytes=memory_bytes(size, kept, working, WEIGHT_BYTES),
        notes=(*_notes(story, size, plans), *_named(story, understood.notes)),
        understanding=_understanding(understood),
    )


def _notes(story: Storyboard, size: PocketConfig, plans: list[ShotPlan]) -> list[str]:
    notes = _untrained(story) if story.model == BUILT_IN else []
    video = story.video
    if (video.width or size.picture_width, video.height or size.picture_height) != (
        size.picture_width, size.picture_height,
    ):  # fmt: skip
        notes.append(
            f"the built-in model draws {size.picture_width}x{size.picture_height} and the video is that, enlarged; "
            f"video.width and video.height ({video.width}x{video.height}) are for larger models."
        )
    if video.fps is not None and video.fps != size.fps:
        notes.append(f"the built-in model draws {size.fps} frames a second, not {video.fps:g}.")
    if story.negative_prompt:
        notes.append("the built-in model does not read negative_prompt.")
    for shot, plan in zip(story.shots, plans, strict=True):
        if abs(plan.seconds - shot.duration) > 1e-6:
            notes.append(
                f"shot {shot.number} ({shot.id}): {shot.duration:g} s becomes {plan.seconds:g} s "
                f"({plan.latent_frames} latent frame{'s' * (plan.latent_frames > 1)} of "
                f"{size.patch_frames / size.fps:g} s)."
            )
        if plan.latent_frames > LONGEST_SHOT:
            notes.append(
                f"shot {shot.number} ({shot.id}) is longer than the {LONGEST_SHOT * size.patch_frames / size.fps:g} s "
                "the built-in model was trained on and is drawn in pieces that continue each other."
            )
    return notes


def _untrained(story: Storyboard) -> list[str]:
    """What the story asks of the built-in model that its training never showed."""
    config = attention_of(story)
    if not config.causal or config.pattern == "moc-no-causal":
        return ["the built-in model never saw a later shot in training, and hardly draws anything that looks ahead."]
    notes = []
    if config.pattern != "moc":
        notes.append(f"the built-in model was trained under the pattern moc, not {config.pattern}, and may draw worse.")
    if story.sampling.mode == "joint":
        notes.append(
            "all shots at once (mode: joint), the built-in model keeps looks less well than shot after shot (stream)."
        )
    return notes


def _named(story: Storyboard, notes: list[str]) -> list[str]:
    """Notes that begin with a shot's number, with its id behind that: "shot 3 (river): ..."."""
    ids = {str(shot.number): shot.id for shot in story.shots}
    return [re.sub(r"^shot (\d+)\b", lambda found: f"{found[0]} ({ids[found[1]]})", note) for note in notes]


def _understanding(understood: Understanding) -> tuple[ShotUnderstanding, ...]:
    return tuple(
        ShotUnderstanding(
            number=words.number,
            understood=tuple(words.understood),
            silent=tuple(words.silent),
            unknown=tuple((word, tuple(near)) for word, near in words.unknown),
        )
        for words in understood.words
    )
