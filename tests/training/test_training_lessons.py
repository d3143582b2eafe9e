"""What training tells attention directly, against plain loops over the tokens."""

from __future__ import annotations

import csv
import math
import subprocess
from pathlib import Path

import pytest
import torch
from training_cases import environment, process, write_config

from moc.backbones.pocket.config import PocketConfig
from moc.training.checkpoint import refuse_other_settings
from moc.training.config import parse
from moc.training.data import RoutedAttention, make_piece
from moc.training.lessons import COVERED, ELSEWHERE, SHARPNESS, UNSEEN, Lessons, Readers, Shown, shown
from moc.training.loop import Trainer
from moc.world.render import render
from moc.world.sampler import sample_stories
from moc.world.schema import CHARACTER_ATTRIBUTES, HAT, MAX_CAST, MAX_CHARACTERS, PLACE_ATTRIBUTES

CPU = torch.device("cpu")
LOGGED = ("loss", "loss_x", "recognition", "reading", "grad_norm")
MODEL = PocketConfig(width=32, layers=2, heads=2, mlp=48, head=48)
TINY = {
    "seed": 3,
    "model": {"width": 32, "layers": 2, "heads": 2, "mlp": 48, "head": 48},
    "micro_stories": 2,
    "warmup": 1,
    "recognition": 0.1,
    "reading": 0.1,
    "stages": [{"steps": 4, "stories": 2, "latent_frames": 1, "shots": 3, "top_k": 2}],
}


def test_tokens_show_who_covers_a_quarter_of_them() -> None:
    stories = sample_stories(2, 3, generator=torch.Generator().manual_seed(1), device=CPU, split="train")
    rendered = render(stories, frames=8, masks=True)
    masks, boxes = rendered.masks, rendered.boxes
    assert masks is not None
    assert boxes is not None
    what = shown(stories, masks, boxes, MODEL)
    rows, columns = MODEL.grid
    figures, bands = 0, set()
    for b in range(2):
        for s in range(3):
            for token in range(what.owner.shape[2]):
                f, column, row = token // (rows * columns), token // rows % columns, token % rows
                patch = masks[b, s, 4 * f : 4 * f + 4, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8]
                shares = [float((patch == 1 + role).float().mean()) for role in range(MAX_CAST)]
                role = shares.index(max(shares))
                expected, band = MAX_CHARACTERS + int(stories.scene[b, s]), 0
                if max(shares) >= COVERED:
                    expected = int(stories.cast[b, s, role])
                    figures += 1
                    top, bottom = (float(boxes[b, s, 4 * f : 4 * f + 4, role, i].max()) for i in (1, 3))
                    band = min(2, max(0, int((8 * row + 4 - top) / (bottom - top) * 3)))
                    bands.add(band)
                assert what.owner[b, s, token] == expected
                assert what.band[b, s, token] == band
    assert figures > 50
    assert bands == {0, 1, 2}
    people = len(CHARACTER_ATTRIBUTES)
    for b in range(2):
        for slot in range(MAX_CHARACTERS):
            looks, truth = what.looks[b, slot], stories.characters[b, slot]
            hatless = truth[4] == HAT.index("none")
            expected_looks = [UNSEEN if v < 0 or (i == 5 and hatless) else int(v) for i, v in enumerate(truth)]
            assert looks.tolist() == expected_looks + [UNSEEN] * len(PLACE_ATTRIBUTES)
        assert (what.looks[b, MAX_CHARACTERS:, :people] == UNSEEN).all()


def _random_lessons(frames: int = 2, bands: int = 3) -> tuple[Shown, Lessons]:
    """Two stories of four shots; two people, two places."""
    generator = torch.Generator().manual_seed(0)
    owner = torch.tensor([0, 1, 6, 7])[torch.randint(0, 4, (2, 4, 3 * frames), generator=generator)]
    looks = torch.full((2, 12, 12), UNSEEN)
    looks[:, :6, :8] = torch.randint(0, 3, (2, 6, 8), generator=generator)
    looks[:, 6:, 8:] = torch.randint(0, 6, (2, 6, 4), generator=generator)
    band = torch.randint(0, bands, owner.shape, generator=generator).where(owner < 6, 0)
    what = Shown(owner, band, looks, torch.ones(2, dtype=torch.bool))
    return what, Lessons(what, (3, 2), frames, 2, True, True, torch.Generator().manual_seed(5))


def _stream(heads: int = 2, width: int = 8, video: int = 6) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    length = 3 + 7 * (2 + video)
    return [torch.randn(2, heads, length, width, generator=generator) for _ in range(3)]


def test_recognition_against_loops() -> None:
    what, lessons = _random_lessons()
    q, k, v = _stream()
    lessons.see(0, q, k, v)
    video, frames, past = 6, 2, 3
    total, count = 0.0, 0
    for b in range(2):
        for n in range(lessons.rows[1].shape[1]):
            row = int(lessons.rows[1][b, n])
            shot, token = (row - 3) // (2 + video) - past, (row - 3) % (2 + video) - 2
            who = what.owner[b, shot, token]
            if not (what.owner[b, :shot] == who).any():
                continue
            heads = []
            for h in range(2):
                scores, right, chunk_scores, covered = [], [], [], []
                for s in range(shot):
                    first = 3 + s * (2 + video) + 2
                    for t in range(video):
                        scores.append(float(q[b, h, row] @ k[b, h, first + t]) / math.sqrt(8))
                        same_band = what.band[b, s, t] == what.band[b, shot, token]
                        right.append((1.0 if same_band else ELSEWHERE) * float(what.owner[b, s, t] == who))
                    for f in range(frames):
                        mean = k[b, h, first + 3 * f : first + 3 * f + 3].mean(0)
                        chunk_scores.append(SHARPNESS * float(q[b, h, row] @ mean) / math.sqrt(8))
                        covered.append(float((what.owner[b, s, 3 * f : 3 * f + 3] == who).float().mean()))
                own = 3 + (past + shot) * (2 + video)
                for other in (*range(3), *range(own, own + 2 + video)):  # global text, own caption and shot
                    scores.append(float(q[b, h, row] @ k[b, h, other]) / math.sqrt(8))
                    right.append(0.0)
                softmax = torch.tensor(scores).softmax(0)
                mass = float((softmax * torch.tensor(right)).sum())
                share = torch.tensor(covered) / max(covered)
                heads.append(mass * float((torch.tensor(chunk_scores).softmax(0) * share).sum()))
            total -= math.log(sum(heads) / 2)
            count += 1
    assert count > 20
    assert float(lessons.recognition()) == pytest.approx(total / count, rel=1e-3)


def test_a_head_that_finds_its_owner_learns_nothing_more() -> None:
    what, lessons = _random_lessons(bands=1)
    q, k, v = _stream(width=12)
    video = 6
    for b in range(2):
        for at in range(7):
            rows = slice(3 + at * (2 + video) + 2, 3 + (at + 1) * (2 + video))
            shot = at if at < 3 else at - 3
            one_hot = torch.nn.functional.one_hot(what.owner[b, shot], 12).float()
            q[b, 0, rows], k[b, 0, rows] = 20 * one_hot, 20 * one_hot * (at < 3)
    lessons.see(0, q, k, v)
    assert float(lessons.recognition()) == pytest.approx(math.log(2), abs=0.2)  # the other head looks anywhere


def test_reading_against_loops() -> None:
    what, lessons = _random_lessons()
    q, k, v = _stream(width=16)
    readers = Readers(MODEL)
    torch.nn.init.normal_(readers.weight, generator=torch.Generator().manual_seed(4))
    for layer in range(2):
        lessons.see(layer, q, k, v)
    sizes = [len(x) for x in (*CHARACTER_ATTRIBUTES.values(), *PLACE_ATTRIBUTES.values())]
    losses = []
    for kind, layer in ((0, 0), (0, 1), (1, 1)):  # what noisy tokens remember is read in the upper half
        for b in range(2):
            for row in lessons.rows[kind][b].tolist():
                at, token = (row - 3) // 8, (row - 3) % 8 - 2
                shot = at if kind == 0 else at - 3
                assert at < 3 or kind == 1
                who = what.owner[b, shot, token]
                if kind == 1 and not (what.owner[b, :shot] == who).any():
                    continue
                told = v[b, :, row].flatten() @ readers.weight[kind, layer]
                for value, one in zip(what.looks[b, who].tolist(), told.split(sizes), strict=True):
                    if value != UNSEEN:
                        losses.append(-one.log_softmax(0)[value].item())
    assert lessons.reading(readers).item() == pytest.approx(sum(losses) / len(losses), rel=1e-3)


def test_one_shot_has_no_lesson() -> None:
    nobody = torch.zeros(2, 1, 6, dtype=torch.int64)
    what = Shown(nobody, nobody, torch.zeros(2, 12, 12, dtype=torch.int64), torch.ones(2, dtype=torch.bool))
    lessons = Lessons(what, (3, 2), 2, 2, True, True, torch.Generator())
    lessons.see(1, *_stream())
    readers = Readers(MODEL)
    assert lessons.recognition().item() == lessons.reading(readers).item() == 0
    lessons.reading(readers).backward()
    for name, parameter in readers.named_parameters():  # or processes that share gradients wait for it
        assert parameter.grad is not None, name
        assert not parameter.grad.any(), name


def test_lessons_change_no_draw_of_the_data() -> None:
    plain = parse({**TINY, "recognition": 0.0, "reading": 0.0})
    taught = parse(TINY)
    a, b = (make_piece(c, MODEL, c.stages[0], 0, 0, CPU) for c in (plain, taught))
    assert a.shown is None
    assert b.shown is not None
    assert torch.equal(a.patches, b.patches)
    assert torch.equal(a.t, b.t)
    attention = RoutedAttention(taught, taught.stages[0], MODEL, 0, b)
    assert attention.lessons is not None
    rows = attention.lessons.rows[1]
    assert int(rows.max()) < b.cos.shape[1]


def test_a_resumed_run_keeps_its_readers(tmp_path: Path) -> None:
    config = parse(TINY)
    whole, half, rest = (Trainer(config, tmp_path, CPU) for _ in range(3))
    for _ in range(4):
        whole.optimise()
    for _ in range(2):
        half.optimise()
    rest.restore(half.state())
    for _ in range(2):
        rest.optimise()
    assert whole.readers is not None
    assert rest.readers is not None
    assert whole.readers.weight.any()
    assert torch.equal(whole.readers.weight, rest.readers.weight)
    for a, b in zip(whole.model.parameters(), rest.model.parameters(), strict=True):
        assert torch.equal(a, b)


def _gradients(out: Path, lesson: str, weight: float, step: int = 0, decay: int = 1) -> tuple[torch.Tensor, bool]:
    """Of the network in one piece of a step, and whether the lesson had a loss."""
    settings = {"recognition": 0.0, "reading": 0.0, lesson: weight, "decay": decay}
    trainer = Trainer(parse({**TINY, **settings}), out, CPU)
    trainer.step = step
    if trainer.readers is not None:  # as they begin they ask nothing of values
        torch.nn.init.normal_(trainer.readers.weight, generator=torch.Generator().manual_seed(4))
    logged = trainer._piece_gradients(trainer.config.stages[0], 0, 1.0)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in trainer.model.parameters()]
    return torch.cat([g.flatten() for g in grads]), bool(logged[2 if lesson == "recognition" else 3] > 0)


@pytest.mark.parametrize("lesson", ["recognition", "reading"])
def test_lessons_are_weighted_by_the_config(tmp_path: Path, lesson: str) -> None:
    without, one, many = (_gradients(tmp_path, lesson, weight) for weight in (0.0, 1.0, 100.0))
    assert [told for _, told in (without, one, many)] == [False, True, True]
    taught = one[0] - without[0]
    assert taught.abs().max() > 1e-4
    torch.testing.assert_close(many[0] - without[0], 100 * taught, rtol=0.05, atol=2e-3)


@pytest.mark.parametrize("lesson", ["recognition", "reading"])
def test_lessons_fade_with_the_learning_rate(tmp_path: Path, lesson: str) -> None:
    """Step 2 of 4 is at half of a decay over all four, and before one over the last."""
    without = _gradients(tmp_path, lesson, 0.0, step=2)[0]
    whole, half = (_gradients(tmp_path, lesson, 100.0, step=2, decay=decay)[0] - without for decay in (1, 4))
    torch.testing.assert_close(half, whole / 2, rtol=1e-3, atol=1e-4)


@pytest.mark.slow
def test_two_processes_learn_lessons_like_one(tmp_path: Path) -> None:
    """Through a stage of one shot, which has none: what takes no part there must not stop the others."""
    stages = [dict(TINY["stages"][0], stories=4, steps=2, shots=shots) for shots in (1, 3)]  # type: ignore[index]
    rows = {}
    for processes in (0, 2):
        out = tmp_path / str(processes)
        out.mkdir()
        config = write_config(out, recognition=0.1, reading=0.1, decay=1, stages=stages)
        done = subprocess.run(
            process(config, out / "run", torchrun=processes),
            env=environment(), capture_output=True, text=True, timeout=300,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        with (out / "run" / "log.csv").open(newline="") as file:
            rows[processes] = [[float(row[name]) for name in LOGGED] for row in csv.DictReader(file)]
    torch.testing.assert_close(torch.tensor(rows[2]), torch.tensor(rows[0]), rtol=1e-4, atol=1e-6)
    taught = [row[2] > 0 and row[3] > 0 for row in rows[0]]
    assert taught == [False, False, True, True]


@pytest.mark.parametrize("changes", [{"causal": False}, {"intra": "chunk"}, {"text_links": "all"}])
@pytest.mark.parametrize("lesson", ["recognition", "reading"])
def test_lessons_need_shots_that_look_back_alone(changes: dict[str, object], lesson: str) -> None:
    others = {"recognition": 0.0, "reading": 0.0}
    with pytest.raises(ValueError, match=f"{lesson} = 0.1.* must be 0 unless shots look back alone"):
        parse({**TINY, **others, lesson: 0.1, **changes})


def test_no_lesson_in_a_story_whose_past_cannot_be_read() -> None:
    what, whole = _random_lessons()
    what.taught = torch.tensor([True, False])
    half = Lessons(what, (3, 2), 2, 2, True, True, torch.Generator().manual_seed(5))
    assert half.known[0].any()
    assert not half.known[1].any()
    for looks, all_looks in zip(half.looks, whole.looks, strict=True):
        assert looks.shape == all_looks.shape
        assert (looks[1] == UNSEEN).all()
    config = parse({**TINY, "drop_routes": 0.5, "clean_history": 0.4, "near_clean_history": 0.2, "micro_stories": 16,
                    "stages": [{"steps": 1, "stories": 16, "latent_frames": 1, "shots": 3, "top_k": 2}]})  # fmt: skip
    piece = make_piece(config, MODEL, config.stages[0], 0, 0, CPU)
    assert piece.shown is not None
    joint = (piece.t[:, :2] == piece.t[:, 2:4]).all(1)  # a past of the same noise
    assert 0 < int(joint.sum()) < 16
    assert torch.equal(piece.shown.taught, ~joint & ~piece.drop_routes)


def test_a_run_without_lessons_does_not_go_on_with_them() -> None:
    """Nor does one from before there were any, whose checkpoint says nothing of them."""
    now = parse(TINY)
    before = parse({**TINY, "recognition": 0.0, "reading": 0.0}).to_dict()
    for known in (before, {k: v for k, v in before.items() if k not in ("recognition", "reading", "noisiest")}):
        with pytest.raises(ValueError, match=r"the run began with recognition = 0.0, not 0.1"):
            refuse_other_settings(known, now, 1)
    refuse_other_settings(now.to_dict(), now, 1)


def test_recognition_costs_nothing_where_it_is_not_asked_for() -> None:
    what, _ = _random_lessons()
    lessons = Lessons(what, (3, 2), 2, 2, False, True, torch.Generator().manual_seed(5))
    lessons.see(1, *_stream())
    assert not lessons.found
    assert lessons.read
