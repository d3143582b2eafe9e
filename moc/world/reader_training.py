"""Trains the reader on renders, and measures it on held-out ones: `python -m moc.world.reader_training --out FILE`."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from moc.world.reader import CHARACTER_LABELS, SHOT_LABELS, VIEWS, Reader, Reading, load_reader
from moc.world.schema import CHARACTER_ATTRIBUTES, HAT, KINDS, PLACE_ATTRIBUTES
from moc.world.story import StoryBatch

# shot labels [N], presence [N, K], character labels [N, K] (see `labels`), and maps [N, VIEWS, K, H/4, W/4]
Truth = tuple[dict[str, Tensor], Tensor, dict[str, Tensor], Tensor]

_COLUMN = {name: i for i, name in enumerate(CHARACTER_ATTRIBUTES)}


def labels(stories: StoryBatch) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Ground truth in the reader's terms, for all `N = B * S` shots; -1 where there is nothing to read.

    Returns:
        Shot labels `[N]` each, presence `[N, K]` (0, 1, or -1 where a kind is there twice), character labels `[N, K]`.
    """
    shots = stories.shots
    place = stories.scenes.gather(1, stories.scene[..., None].expand(-1, -1, stories.scenes.shape[2]))
    shot = {name: place[..., i].flatten() for i, name in enumerate(PLACE_ATTRIBUTES)}
    shot |= {name: getattr(stories, name).flatten() for name in SHOT_LABELS if name not in PLACE_ATTRIBUTES}

    slot = stories.cast.clamp_min(0)
    who = (
        stories.characters[:, None]
        .expand(-1, shots, -1, -1)
        .gather(2, slot[..., None].expand(-1, -1, -1, stories.characters.shape[2]))
    )  # [B, S, MAX_CAST, attributes]
    cast = stories.cast >= 0
    kind = torch.where(cast, who[..., _COLUMN["kind"]], -1)
    is_kind = kind[..., None] == torch.arange(len(KINDS), device=kind.device)  # [B, S, MAX_CAST, K]
    count = is_kind.sum(dim=2)
    present = torch.where(count > 1, -1, count).flatten(0, 1)
    role = is_kind.int().argmax(dim=2)  # [B, S, K]
    alone = count == 1
    character = {}
    for name in CHARACTER_LABELS:
        value = stories.action if name == "action" else who[..., _COLUMN[name]]
        chosen = value.gather(2, role)
        character[name] = torch.where(alone, chosen, -1).flatten(0, 1)
    bare = character["hat"] == HAT.index("none")
    character["hat_color"] = torch.where(bare, -1, character["hat_color"])
    return shot, present, character


def roughen(seen: Tensor, generator: torch.Generator) -> Tensor:
    """Make clean renders look like generated ones: noise, blur, colour drift, per shot at random. `[N, V, 3, H, W]`."""
    shots = seen.shape[0]

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, device=seen.device)

    soft = F.avg_pool2d(F.pad(seen.flatten(0, 1), (1, 1, 1, 1), mode="replicate"), 3, stride=1).view_as(seen)
    blur = uniform(shots, 1, 1, 1, 1).square() * 0.9
    seen = seen + blur * (soft - seen)
    strength = uniform(shots, 1, 1, 1, 1).square() * 0.25
    seen = seen + strength * torch.randn(seen.shape, generator=generator, device=seen.device)
    tint = 1 + 0.12 * (uniform(shots, 1, 3, 1, 1) - 0.5)
    return seen * tint + 0.08 * (uniform(shots, 1, 3, 1, 1) - 0.5)


def loss_of(reading: Reading, truth: Truth) -> Tensor:
    """Sum of cross-entropies of everything there is to read, and of where each kind stands."""
    shot, present, character, maps = truth
    total = sum(
        (F.cross_entropy(reading.shot[n].float(), shot[n]) for n in SHOT_LABELS), torch.zeros((), device=present.device)
    )
    known = present >= 0
    total = total + 3 * F.binary_cross_entropy_with_logits(reading.present.float()[known], present[known].float())
    total = total + 30 * F.binary_cross_entropy_with_logits(reading.maps.float(), maps)
    for name in CHARACTER_LABELS:
        total = total + F.cross_entropy(
            reading.character[name].float().flatten(0, 1), character[name].flatten(), ignore_index=-1
        )
    return total


def errors_of(reading: Reading, truth: Truth) -> dict[str, tuple[int, int]]:
    """Per attribute: (wrong, read)."""
    shot, present, character, _ = truth
    result = {}
    for name in SHOT_LABELS:
        wrong = reading.shot[name].argmax(-1) != shot[name]
        result[name] = (int(wrong.sum()), wrong.numel())
    known = present >= 0
    wrong = ((reading.present > 0) != (present > 0)) & known
    result["kind"] = (int(wrong.any(dim=1).sum()), wrong.shape[0])
    for name in CHARACTER_LABELS:
        seen = character[name] >= 0
        wrong = (reading.character[name].argmax(-1) != character[name]) & seen
        result[name] = (int(wrong.sum()), int(seen.sum()))
    return result


def maps_of(masks: Tensor, stories: StoryBatch) -> Tensor:
    """Share of each quarter-size cell that each kind covers: masks uint8 `[N, V, H, W]` to `[N, V, K, H/4, W/4]`."""
    slot = stories.cast.clamp_min(0)
    kinds = stories.characters[..., _COLUMN["kind"]].gather(1, slot.flatten(1)).view_as(slot).flatten(0, 1)
    total = torch.zeros(*masks.shape[:2], len(KINDS), masks.shape[2] // 4, masks.shape[3] // 4, device=masks.device)
    for role in range(kinds.shape[1]):
        share = F.avg_pool2d((masks == role + 1).float(), 4)
        here = F.one_hot(kinds[:, role].clamp_min(0), len(KINDS)).to(share.dtype)
        total += share[:, :, None] * here[:, None, :, None, None]
    return total.clamp(max=1)


def _batch(stories: int, frames: int, generator: torch.Generator, split: str) -> tuple[Tensor, Truth]:
    from moc.world.render import render
    from moc.world.sampler import sample_stories

    device = generator.device
    drawn = sample_stories(stories, 8, generator=generator, device=device, split=split)  # type: ignore[arg-type]
    # only the frames that are looked at: one story per view, each at its own time
    index = torch.linspace(0, frames - 1, VIEWS, device=device).round().long()
    many = drawn[torch.arange(stories, device=device).repeat_interleave(VIEWS)]
    made = render(many, frames=1, start=index.repeat(stories)[:, None], device=device, masks=True)
    assert made.masks is not None

    def by_shot(x: Tensor) -> Tensor:  # [stories * V, S, 1, ...] to [stories * S, V, ...]
        return x[:, :, 0].unflatten(0, (stories, VIEWS)).transpose(1, 2).flatten(0, 1)

    seen = by_shot(made.frames).float() / 127.5 - 1
    return seen, (*labels(drawn), maps_of(by_shot(made.masks), drawn))


def train(
    out: Path, *, minutes: float, device: torch.device, width: int = 160, stories: int = 12, start: Path | None = None
) -> dict[str, float]:
    """Train for about `minutes` (from the reader in `start` if given), save to `out`, return what `measure` says."""
    from safetensors.torch import save

    from moc.run.files import write_bytes

    generator = torch.Generator(device=device).manual_seed(5 if start is None else 6)  # other data, when it goes on
    torch.manual_seed(5)
    reader = Reader(width).to(device) if start is None else load_reader(str(device), start).train().requires_grad_(True)
    optimizer = torch.optim.AdamW(reader.parameters(), lr=1.5e-3, weight_decay=0.02)
    began, step = time.monotonic(), 0
    amp = device.type == "cuda"
    while (done := (time.monotonic() - began) / (60 * minutes)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = 1.5e-3 * min(1, (step + 1) / 100) * max(0.01, 1 - done)
        seen, truth = _batch(stories, 64 if step % 3 == 0 else 16, generator, "any")
        with torch.autocast(device.type, dtype=torch.bfloat16, enabled=amp):
            loss = loss_of(reader(roughen(seen, generator)), truth)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(reader.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 200 == 0:
            print(f"reader step {step} loss {loss.item():.3f} {time.monotonic() - began:.0f}s", flush=True)
        step += 1
    reader.eval()
    weights = {n: p.detach().to("cpu", torch.bfloat16).contiguous() for n, p in reader.state_dict().items()}
    write_bytes(out, save(weights, metadata={"reader": json.dumps({"width": width}), "steps": str(step)}))
    reader.load_state_dict({n: w.float() for n, w in weights.items()})
    return measure(reader, device)


@torch.no_grad()
def measure(
    reader: Reader, device: torch.device, *, stories: int = 256, frames: int = 64, seed: int = 99, split: str = "any"
) -> dict[str, float]:
    """Share of wrong readings per attribute on `stories` freshly drawn stories of 8 shots of that `split`."""
    generator = torch.Generator(device=device).manual_seed(seed)
    totals: dict[str, list[int]] = {}
    for _ in range(stories // 8):
        seen, truth = _batch(8, frames, generator, split)
        for name, (wrong, read) in errors_of(reader(seen), truth).items():
            entry = totals.setdefault(name, [0, 0])
            entry[0] += wrong
            entry[1] += read
    return {name: wrong / max(1, read) for name, (wrong, read) in totals.items()}


def main() -> None:
    """Train and report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=3.0)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--init", type=Path, help="reader to go on from")
    args = parser.parse_args()
    report = train(args.out, minutes=args.minutes, device=torch.device(args.device), start=args.init)
    print(json.dumps({name: round(error, 5) for name, error in report.items()}, indent=1))


if __name__ == "__main__":
    main()
