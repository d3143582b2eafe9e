"""TokenLayout: what every token of the stream is, and the chunk table cut from it.

The stream is the global text, then shot after shot its caption and its video:

    global text | caption 1 | video 1: frame 0, frame 1, ... | caption 2 | video 2: ... | ...

A chunk is a run of tokens of one shot and one modality. A layout is described by a few integers, so that it is
hashable and cheap to pass around; its tables are tensors built on first use and kept, per device.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch import Tensor

from moc.config import ChunkTokens
from moc.handles import handle_of
from moc.kept import Kept

_CPU = torch.device("cpu")

KEPT_TOKENS = 1 << 22
"""Tokens of all layouts that `from_shots` keeps for whoever asks again. With its tables a layout takes some 40 bytes a
token, so that is about 160 MiB; the layout asked for last stays however long it is."""


@dataclass(frozen=True)
class Shot:
    """One shot of a layout: `text` caption tokens, then `frames` latent frames of `tokens_per_frame` tokens.

    Raises:
        ValueError: a negative count, or a shot without video.
    """

    text: int = 0
    frames: int = 1
    tokens_per_frame: int = 1

    def __post_init__(self) -> None:
        for name, low in (("text", 0), ("frames", 1), ("tokens_per_frame", 1)):
            if _integer(f"{name} of a shot", getattr(self, name)) < low:
                raise ValueError(f"{name} of a shot must be at least {low}, got {getattr(self, name)}")

    @property
    def video(self) -> int:
        """Video tokens of the shot."""
        return self.frames * self.tokens_per_frame


def cut_run(frames: int, tokens_per_frame: int, chunk_tokens: ChunkTokens) -> list[int]:
    """Chunk lengths of a run of video tokens (sec. 3.2; the rounding is ours).

    R tokens become n = ceil(R / chunk_tokens) chunks cut at round(i R / n), halves up; each cut moves to the nearest
    latent-frame edge (the lower of two) when that is within an eighth of a chunk. "frame" cuts at every frame.
    """
    if chunk_tokens == "frame":
        return [tokens_per_frame] * frames
    run = frames * tokens_per_frame
    n = -(-run // chunk_tokens)
    cuts = [0]
    for i in range(1, n):
        cut = (2 * i * run + n) // (2 * n)
        edge = (2 * cut + tokens_per_frame - 1) // (2 * tokens_per_frame) * tokens_per_frame
        cuts.append(edge if 8 * abs(edge - cut) <= chunk_tokens else cut)
    cuts.append(run)
    return [b - a for a, b in pairwise(cuts)]


@dataclass(frozen=True)
class Even:
    """A grid that ignores what tokens are: cuts at every `tokens` tokens of the story, its text included.

    Attributes:
        tokens: grid spacing, the length of a block.
        starts: where each shot of the layout begins in the story that was cut.
    """

    tokens: int
    starts: tuple[int, ...]

    def cut(self, start: int, stop: int) -> list[int]:
        """Lengths of the pieces that the grid cuts tokens start:stop of the story into."""
        inside = range(-(-(start + 1) // self.tokens) * self.tokens, stop, self.tokens)
        return [b - a for a, b in pairwise([start, *inside, stop])]


@dataclass(frozen=True)
class TokenLayout:
    """Tables of one token stream; make it with `from_shots`.

    Equal layouts are equal objects in every sense that counts: same tables, same hash. Tensors live on `device`.

    Attributes:
        global_text: tokens of the global text.
        shots: the shots in stream order.
        chunk_tokens: nominal chunk length, or "frame".
        shot_numbers: 1-based number of each shot; has gaps after `select`.
        chunk_origin: [C] ids that the chunks have in the layout this one was selected from.
        device: where the tables live.
        even: the grid that cut the chunks, None for chunks aligned with content.
        history: how many of the first shots lie before each shot, None where all shots before it do. Training lays a
            story twice, and a noisy shot follows clean ones.
    """

    global_text: int
    shots: tuple[Shot, ...]
    chunk_tokens: ChunkTokens
    shot_numbers: tuple[int, ...]
    chunk_origin: tuple[int, ...] = field(repr=False)
    device: torch.device = _CPU
    even: Even | None = None
    history: tuple[int, ...] | None = None
    _cache: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        # There from the start, for a compiler that traces a caller can't make them.
        vars(self)["num_chunks"] = len(self._chunks)
        vars(self)["handle"] = handle_of(self)

    @staticmethod
    def from_shots(*, global_text: int = 0, shots: Iterable[Shot], chunk_tokens: ChunkTokens) -> TokenLayout:
        """Layout of `global_text` tokens followed by `shots`, numbered from 1.

        Args:
            global_text: tokens of the global text, 0 for none.
            shots: the shots in order; may be empty.
            chunk_tokens: nominal video chunk length in tokens, or "frame". A text run is one chunk.

        Raises:
            ValueError: a count is out of range.
            TypeError: a count is no integer, or a shot no `Shot`.
        """
        shots = tuple(shots)
        for shot in shots:
            if not isinstance(shot, Shot):
                raise TypeError(f"shots must hold moc.Shot objects, got {shot!r}")
        if _integer("global_text", global_text) < 0:
            raise ValueError(f"global_text must be at least 0, got {global_text}")
        if chunk_tokens != "frame" and _integer('chunk_tokens that is not "frame"', chunk_tokens) < 1:
            raise ValueError(f'chunk_tokens must be at least 1 or "frame", got {chunk_tokens}')
        return _kept((global_text, shots, chunk_tokens))

    # Sizes, plain integers.

    @cached_property
    def length(self) -> int:
        """Tokens of the stream, L."""
        return self._edges[-1]

    @cached_property
    def num_chunks(self) -> int:
        """Chunks of the stream, text chunks included, C."""
        return len(self._chunks)

    @cached_property
    def handle(self) -> Tensor:
        """[n] uint8 on the CPU: this layout as an argument of an operator, see `moc.handles`."""
        return handle_of(self)

    @property
    def num_shots(self) -> int:
        """Shots of the stream, S."""
        return len(self.shots)

    def token_range(self, shot: int) -> tuple[int, int]:
        """Tokens start:stop of the shot with this number, caption and video."""
        i = self._index(shot)
        return self._edges[i], self._edges[i + 1]

    def caption_range(self, shot: int) -> tuple[int, int]:
        """Tokens start:stop of a shot's caption."""
        i = self._index(shot)
        return self._edges[i], self._edges[i] + self.shots[i].text

    def video_range(self, shot: int) -> tuple[int, int]:
        """Tokens start:stop of a shot's video."""
        i = self._index(shot)
        return self._edges[i] + self.shots[i].text, self._edges[i + 1]

    def video_chunks(self, shot: int) -> tuple[int, int]:
        """Chunk ids start:stop of a shot's video."""
        return self._video_chunks[self._index(shot)]

    def video_ranks(self, shot: int) -> tuple[int, int]:
        """Places start:stop of a shot's chunks among the video chunks of the stream."""
        return self._video_ranks[self._index(shot)]

    @property
    def num_video_chunks(self) -> int:
        """Video chunks of the stream."""
        return self._video_ranks[-1][1] if self.shots else 0

    def chunk_edges(self) -> tuple[int, ...]:
        """`chunk_bounds` as plain integers."""
        return self._chunk_edges

    # Tables, per token and per chunk.

    @cached_property
    def shot_ids(self) -> Tensor:
        """[L] int64: number of each token's shot, 0 for the global text."""
        return self.per_token(self.chunk_shot)

    @cached_property
    def is_text(self) -> Tensor:
        """[L] bool: whether each token is text."""
        return self.per_token(self.chunk_is_text)

    @cached_property
    def chunk_ids(self) -> Tensor:
        """[L] int64: chunk of each token."""
        return self.per_token(torch.arange(self.num_chunks, device=self.device))

    @cached_property
    def frame_ids(self) -> Tensor:
        """[L] int64: latent frame of each video token, counted from 0 in its shot; -1 for text."""
        runs = [torch.full((self.global_text,), -1, device="cpu")]
        for shot in self.shots:
            runs.append(torch.full((shot.text,), -1, device="cpu"))
            runs.append(torch.arange(shot.frames, device="cpu").repeat_interleave(shot.tokens_per_frame))
        return torch.cat(runs).to(self.device)

    @cached_property
    def chunk_bounds(self) -> Tensor:
        """[C + 1] int64: chunk c holds tokens chunk_bounds[c]:chunk_bounds[c + 1]."""
        return torch.tensor(self._chunk_edges, device=self.device)

    @cached_property
    def chunk_shot(self) -> Tensor:
        """[C] int64: number of each chunk's shot, 0 for the global text."""
        return torch.tensor([shot for _, shot, _ in self._chunks], dtype=torch.int64, device=self.device)

    @cached_property
    def chunk_is_text(self) -> Tensor:
        """[C] bool: whether each chunk is text."""
        return torch.tensor([text for _, _, text in self._chunks], dtype=torch.bool, device=self.device)

    @cached_property
    def shot_bounds(self) -> Tensor:
        """[S + 1] int64: the i-th shot, caption and video, holds tokens shot_bounds[i]:shot_bounds[i + 1]."""
        return torch.tensor(self._edges, device=self.device)

    # Other layouts made from this one.

    def to(self, device: torch.device | str) -> TokenLayout:
        """The same layout with its tables on `device`; made once per device."""
        device = torch.device(device)
        if device.type == "cuda" and device.index is None:
            device = torch.device("cuda", torch.cuda.current_device())
        if device == self.device:
            return self
        return self.cached(("to", device), lambda: replace(self, device=device, _cache={}))

    def prefix(self, num_shots: int) -> TokenLayout:
        """The layout of the global text and the first `num_shots` shots: what a stream knows so far.

        Raises:
            ValueError: there are fewer shots than that.
        """
        if not 0 <= num_shots <= self.num_shots:
            raise ValueError(f"prefix takes 0 to {self.num_shots} shots, got {num_shots}")
        if num_shots == self.num_shots:
            return self
        return self.select(self.shot_numbers[:num_shots])[0]

    def select(self, shots: Sequence[int]) -> tuple[TokenLayout, Tensor]:
        """The layout of the global text and some shots, which keep their numbers.

        Args:
            shots: numbers of the shots to keep, ascending.

        Returns:
            The smaller layout, and the [L'] int64 positions that its tokens have in this stream.

        Raises:
            ValueError: a number is unknown, repeated or out of order.
        """
        numbers = tuple(operator.index(s) for s in shots)
        if any(a >= b for a, b in pairwise(numbers)):
            raise ValueError(f"shots to keep must be in ascending order without repeats, got {list(numbers)}")
        return self._select(numbers)

    def evenly(self) -> TokenLayout:
        """The same stream cut at every n-th token, whatever lies there, n being `chunk_tokens` or, where that is
        "frame", the tokens of the first shot's frames.

        Chunks of the new layout are what text, shots and those cuts leave whole: those of one block, between two
        neighbouring cuts, are chosen together (see `blocks`).
        """
        if self.even is not None or not self.shots:
            return self
        frame = self.shots[0].tokens_per_frame
        # with a history of its own, a shot lies in its story where the shots before it end
        starts = tuple(self._edges[self.shots_before(number)] for number in self.shot_numbers)
        even = Even(frame if self.chunk_tokens == "frame" else self.chunk_tokens, starts)
        layout = replace(self, even=even, chunk_origin=(), _cache={})
        return replace(layout, chunk_origin=tuple(range(layout.num_chunks)), _cache={})

    @cached_property
    def blocks(self) -> Tensor:
        """[N] int64: for each video chunk of an evenly cut layout the block it lies in, counted along the story."""
        assert self.even is not None
        found = []
        for i, shot in enumerate(self.shots):
            start = self.even.starts[i] + shot.text
            found += [a // self.even.tokens for a in accumulate(self._cut(i)[:-1], initial=start)]
        return torch.tensor(found, dtype=torch.int64, device=self.device)

    def with_history(self, history: Sequence[int]) -> TokenLayout:
        """The same stream whose i-th shot comes right after the first `history[i]` ones.

        Raises:
            ValueError: there is not one number a shot, or one is not 0 to the shot's own place, or the layout is cut
                evenly already, by places that a history changes.
        """
        if self.even is not None:
            raise ValueError("a layout takes its history before it is cut evenly: layout.with_history(...).evenly()")
        given = tuple(operator.index(n) for n in history)
        if len(given) != self.num_shots or any(not 0 <= n <= i for i, n in enumerate(given)):
            raise ValueError(f"history must hold 0 to i for each shot i of {self.num_shots}, got {list(given)}")
        return replace(self, history=given, _cache={})

    def shots_before(self, shot: int) -> int:
        """How many of the stream's first shots lie before the shot with this number."""
        i = self._index(shot)
        return i if self.history is None else self.history[i]

    def _select(self, numbers: tuple[int, ...]) -> tuple[TokenLayout, Tensor]:
        kept = [self._index(number) for number in numbers]
        if self.history is not None:
            raise ValueError("shots can't be selected from a layout with a history of its own")
        runs = [(0, self.global_text), *((self._edges[i], self._edges[i + 1]) for i in kept)]
        shots = {0, *numbers}
        origin = [o for o, (_, shot, _) in zip(self.chunk_origin, self._chunks, strict=True) if shot in shots]
        layout = replace(
            self,
            shots=tuple(self.shots[i] for i in kept),
            shot_numbers=numbers,
            chunk_origin=tuple(origin),
            even=None if self.even is None else Even(self.even.tokens, tuple(self.even.starts[i] for i in kept)),
            _cache={},
        )
        return layout, torch.cat([torch.arange(a, b, device=self.device) for a, b in runs])

    def cached(self, key: Any, make: Any) -> Any:
        """`make()`, called once per `key` and kept as long as this layout: for tables derived from it."""
        if key not in self._cache:
            with torch.device("cpu"):  # whatever device the caller has made the default
                self._cache[key] = make()
        return self._cache[key]

    # How it is built.

    @cached_property
    def _edges(self) -> tuple[int, ...]:
        """[S + 1] start of each shot, and the end of the stream."""
        return tuple(accumulate((shot.text + shot.video for shot in self.shots), initial=self.global_text))

    @cached_property
    def _chunks(self) -> tuple[tuple[int, int, bool], ...]:
        """[C] (tokens, shot number, is text)."""
        rows = [(self.global_text, 0, True)] if self.global_text else []
        for i, (shot, number) in enumerate(zip(self.shots, self.shot_numbers, strict=True)):
            if shot.text:
                rows.append((shot.text, number, True))
            rows += [(tokens, number, False) for tokens in self._cut(i)]
        return tuple(rows)

    def _cut(self, index: int) -> list[int]:
        """Lengths of the video chunks of a shot, by its place."""
        shot = self.shots[index]
        if self.even is None:
            return cut_run(shot.frames, shot.tokens_per_frame, self.chunk_tokens)
        start = self.even.starts[index] + shot.text
        return self.even.cut(start, start + shot.video)

    @cached_property
    def _chunk_edges(self) -> tuple[int, ...]:
        return tuple(accumulate((tokens for tokens, _, _ in self._chunks), initial=0))

    @cached_property
    def _video_chunks(self) -> tuple[tuple[int, int], ...]:
        ranges, chunk = [], int(self.global_text > 0)
        for i, shot in enumerate(self.shots):
            start = chunk + int(shot.text > 0)
            chunk = start + len(self._cut(i))
            ranges.append((start, chunk))
        return tuple(ranges)

    @cached_property
    def _video_ranks(self) -> tuple[tuple[int, int], ...]:
        edges = accumulate((last - first for first, last in self._video_chunks), initial=0)
        return tuple(pairwise(edges))

    def per_token(self, per_chunk: Tensor) -> Tensor:
        """[C] values of chunks, on the layout's device -> [L] values of their tokens."""
        return per_chunk.repeat_interleave(self.chunk_bounds.diff(), output_size=self.length)

    def _index(self, shot: int) -> int:
        if shot not in self._index_of:
            known = ", ".join(map(str, self.shot_numbers[:20])) + (", ..." if self.num_shots > 20 else "")
            raise ValueError(f"no shot {shot} in this layout, it holds {known or 'none'}")
        return self._index_of[shot]

    @cached_property
    def _index_of(self) -> dict[int, int]:
        return {number: i for i, number in enumerate(self.shot_numbers)}


_Description = tuple[int, tuple[Shot, ...], ChunkTokens]


def _made(description: _Description) -> TokenLayout:
    global_text, shots, chunk_tokens = description
    layout = TokenLayout(global_text, shots, chunk_tokens, tuple(range(1, len(shots) + 1)), ())
    return replace(layout, chunk_origin=tuple(range(layout.num_chunks)), _cache={})


# One object per description, so that tables are shared by everyone who asks for the same layout.
_kept = Kept[_Description, TokenLayout](_made, lambda layout: layout.length, most=KEPT_TOKENS, at_most=256)


def _integer(name: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    return value
