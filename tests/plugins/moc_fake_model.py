"""A model for tests, registered as `fake`: quick, torch-free, and as dependent on its inputs as a real one.

A shot's latents are drawn from a generator seeded by the shared prompt, the shot, its seed and the latents of every
earlier shot that it can read, each with what that one can read; frames and routing follow from the latents. So any
mistake in what is handed over changes bytes. Where
attention is not causal, later shots count by their prompts and seeds.
`MOC_FAKE_DELAY` slows each step down (seconds), for tests that kill the process; `MOC_FAKE_LOG` names a file that
collects the shots that were asked for.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from moc.backbones.base import OnStep, Plan, ShotPlan, ShotResult, ShotUnderstanding
from moc.errors import InputError, MocError
from moc.storyboard import Shot, Storyboard

STEPS, LAYERS, HEADS = 2, 2, 3
FPS, WIDTH, HEIGHT, FRAMES_PER_LATENT = 8, 32, 288, 4  # tall: shown as it is, so that encoding costs little


class FakeBackbone:
    """See the module."""

    name = "fake"

    def fingerprint(self) -> str:
        return hashlib.sha256(os.environ.get("MOC_FAKE_WEIGHTS", "fake").encode()).hexdigest()

    def plan(self, story: Storyboard) -> Plan:
        if "impossible" in story.global_prompt:
            raise InputError("the fake model can't draw the impossible.")
        shots, notes, understanding = [], [], []
        for shot in story.shots:
            latent = self._latent_frames(shot)
            frames = latent * FRAMES_PER_LATENT
            if abs(frames / FPS - shot.duration) > 1e-9:
                notes.append(f"shot {shot.number} ({shot.id}): {shot.duration:g} s became {frames / FPS:g} s.")
            shots.append(
                ShotPlan(shot.number, shot.id, frames, latent, 6 * latent, 4, latent, frames / FPS, shot.duration, 1e9)
            )
            words = shot.prompt.split()
            understanding.append(
                ShotUnderstanding(
                    shot.number,
                    understood=tuple((w, "action = wave") for w in words if w == "waves"),
                    silent=tuple(w for w in words if w == "softly"),
                    unknown=tuple((w, ("waves",)) for w in words if w == "wavez"),
                )
            )
        size = (story.video.width or WIDTH, story.video.height or HEIGHT)
        fps = story.video.fps or FPS
        return Plan("fake", *size, fps, tuple(shots), 1 << 20, tuple(notes), tuple(understanding))

    def generate(
        self,
        story: Storyboard,
        *,
        seed: int,
        device: str,
        mode: str,
        shots: Sequence[int],
        memory: Mapping[int, np.ndarray],
        on_step: OnStep,
        forget: Mapping[int, Collection[int]] | None = None,
    ) -> Iterator[ShotResult]:
        if "failing" in story.global_prompt:
            raise MocError("the fake model failed.")
        if "crashing" in story.global_prompt:
            raise ZeroDivisionError("a bug in the fake model")
        if log := os.environ.get("MOC_FAKE_LOG"):
            with Path(log).open("a") as file:
                file.write(json.dumps({"shots": list(shots), "memory": sorted(memory)}) + "\n")
        latents = {n: memory[n] for n in memory}
        results = []
        for shot in (s for s in story.shots if s.number in shots):
            for step in range(STEPS):
                time.sleep(float(os.environ.get("MOC_FAKE_DELAY", "0")))
                on_step(0 if mode == "joint" else shot.number, step + 1, STEPS)
            result = self._draw(story, shot, seed, latents, forget or {})
            latents[shot.number] = result.latents
            if mode == "joint":
                results.append(result)
            else:
                yield result
        yield from results

    def _read(
        self, story: Storyboard, number: int, latents: Mapping[int, np.ndarray], forget: Mapping[int, Collection[int]]
    ) -> bytes:
        """What shot `number` reads: earlier shots, each with what it read itself."""
        found = b""
        for earlier in range(1, number):
            if earlier not in forget.get(number, ()):
                own = latents[earlier].tobytes() + story.shots[earlier - 1].prompt.encode()
                found += hashlib.sha256(own + self._read(story, earlier, latents, forget)).digest()
        return found

    def _draw(
        self, story: Storyboard, shot: Shot, seed: int, latents: Mapping[int, np.ndarray],
        forget: Mapping[int, Collection[int]],
    ) -> ShotResult:  # fmt: skip
        own = story.shots[shot.number - 1]
        hasher = hashlib.sha256(f"{story.global_prompt} {own.prompt} {own.seed or seed}".encode())
        missing = [n for n in range(1, shot.number) if n not in latents]
        if missing:
            raise MocError(f"the fake model misses shots {missing}.")
        hasher.update(self._read(story, shot.number, latents, forget))
        if story.attention.causal is False:
            later = story.shots[shot.number :]
            hasher.update(repr([(s.prompt, seed if s.seed is None else s.seed) for s in later]).encode())
        rng = np.random.default_rng(int.from_bytes(hasher.digest()[:8], "little"))
        count = self._latent_frames(shot)
        values = rng.standard_normal((count, 2, 2)).astype(np.float16)
        picture = np.kron(np.abs(values), np.ones((1, HEIGHT // 2, WIDTH // 2), np.float16))[..., None] * np.array(
            [60, 40, 50]
        )
        frames = np.repeat(np.clip(picture, 0, 255).astype(np.uint8), FRAMES_PER_LATENT, axis=0)
        before = sum(self._latent_frames(s) for s in story.shots[: shot.number - 1])
        routing = rng.integers(0, 9, (STEPS, LAYERS, HEADS, count, before + count), dtype=np.uint32)
        choices = np.zeros((count, 2, 2, 2, 2), np.uint32)  # each token chose the chunk before its shot, thrice
        choices[..., 0, :] = [max(before - 1, 0), 3]
        return ShotResult(shot.number, frames, values, routing, 0.01, 0.5 + before / 1000, choices)

    def _latent_frames(self, shot: Shot) -> int:
        return max(1, round(shot.duration * FPS / FRAMES_PER_LATENT))
