"""Choices of chunks against exact attention: scores by hand, twins, and what must be 0 or 1 whatever the weights."""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

from moc.backbones.pocket.config import PocketConfig
from moc.backbones.pocket.model import PocketDiT
from moc.training.checkpoint import save_weights
from moc.world.recurrence import recurring_stories
from moc.world.tokens import encode_batch

ROOT = Path(__file__).resolve().parents[2]
SMALL = PocketConfig(width=64, layers=2, heads=2, mlp=96, head=80)


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import route_quality

    return route_quality


def model_of(seed: int = 0) -> PocketDiT:
    """A network whose output depends on everything, which a fresh one, whose last layer is zero, does not."""
    torch.manual_seed(seed)
    model = PocketDiT(SMALL)
    for layer in (model.head_down, model.head_mod, model.time_mod):
        torch.nn.init.normal_(layer.weight, std=0.2)
    return model.eval()


def test_scores_by_hand(script: ModuleType) -> None:
    q = torch.tensor([[[2.0, 0.0, 0.0, 4.0]]])  # one head, one query
    keys = torch.zeros(1, 2, 4, 4)  # two chunks of a 2 x 2 frame
    keys[0, 0, :, 0] = torch.tensor([1.0, 1.0, 1.0, 1.0])
    keys[0, 1, :, 0] = torch.tensor([4.0, 2.0, 0.0, -4.0])  # down the columns
    keys[0, 1, :, 3] = 0.25
    logits = torch.einsum("hqd,hnpd->hqnp", q, keys)
    free = torch.tensor([True, True, True, False])

    def score(name: str) -> list[float]:
        found: list[float] = script.chunk_score(name, logits, q, keys, free, (2, 2))[0, 0].tolist()
        return found

    assert score("mean") == [2.0, 2.0]
    assert score("content") == [2.0, 1.0]
    assert score("parts") == [2.0, 5.0]  # two rows, undivided columns: (9 + 1) / 2
    assert score("best token") == [2.0, 9.0]
    assert score("spread") == [1.0, 1.0 + 4 * 8.75 / 4 / 2]  # scale 1/2, variance 8.75 of the one channel
    exact = torch.tensor([9.0, 5.0, 1.0, -7.0]).mul(0.5).exp().sum().log()
    assert score("mass")[1] == pytest.approx(float(exact))
    with pytest.raises(ValueError, match="no score 'best'; there are mean, content"):
        score("best")


def test_one_each_takes_every_shot_before_any_gets_a_second(script: ModuleType) -> None:
    scores = torch.tensor([[9.0, 8.0, 7.0, 1.0, 0.0, 2.0]])  # three shots of two chunks
    assert script.one_each(scores, 3, 2).tolist() == [[0, 2, 5]]
    assert script.one_each(scores, 4, 2).tolist() == [[0, 2, 5, 1]]


def test_twins_differ_where_nothing_is_told(script: ModuleType) -> None:
    stories, _ = recurring_stories(12, 5, generator=torch.Generator().manual_seed(3))
    changed = 0
    for number in range(12):
        story = stories[number : number + 1]
        people, places, both = script.redrawn(story, torch.Generator().manual_seed(number))
        assert all((a == b).all() for a, b in zip(encode_batch(story), encode_batch(both), strict=True))
        assert (people.scenes == story.scenes).all()
        assert (places.characters == story.characters).all()
        apart = both.characters != story.characters
        assert not (apart & story.characters_named).any()
        back = {w for w in story.cast[0, -1].tolist() if w >= 0} & {w for r in story.cast[0, :-1].tolist() for w in r}
        assert set(apart[0].any(-1).nonzero()[:, 0].tolist()) <= back
        changed += int(apart.any())
    assert changed > 6


def test_what_holds_for_any_weights(script: ModuleType) -> None:
    stories, _ = recurring_stories(4, 4, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        shot = script.LastShot(model_of(), stories[:1], 2, 0)
        chunks = len(shot.past)
        assert chunks == 6
        config = script.CONFIG
        none = shot.predict(1.0, shot.configured(config.replace(top_k=0)))
        dense = shot.predict(1.0, shot.configured(config.replace(pattern="dense")))
        assert (none[0] == none[1]).all(), "twins are told apart by memory alone"
        assert not torch.allclose(dense[0], dense[1])
        assert all(part == 0 for part, _ in shot.carried(none).values())
        assert all(part == pytest.approx(whole) for part, whole in shot.carried(shot.truth).values())
        for name in ("mean", "mass", "one each"):
            torch.testing.assert_close(shot.predict(1.0, shot.by_scores(name, chunks)), dense)
        usual = shot.predict(1.0, shot.configured(config))
        torch.testing.assert_close(shot.predict(1.0, shot.by_scores("mean")), usual)

        seen = {}

        def attention(layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            seen[layer] = shot.measure(layer, q, k)
            out: torch.Tensor = shot.configured(config.replace(pattern="dense"))(layer, q, k, v)
            if layer == 0:  # the mass on the past by its definition: what a value of 1 there and 0 elsewhere brings
                ones = torch.zeros_like(v)
                ones[:, :, shot.tokens] = 1
                there = shot.configured(config.replace(pattern="dense"))(layer, q, k, ones)
                torch.testing.assert_close(seen[0]["mass on the past"], there[0, :, shot.text :, 0].mean(-1))
            return out

        shot.predict(0.9, attention)
    for found in seen.values():
        for name in ("mean, k = 10", "mass, k = 20"):  # more than there are
            assert found[f"covered: {name}"].tolist() == pytest.approx([1, 1])
        assert (found["covered: mass, k = 5"] >= found["covered: mean, k = 5"]).all()
        for who in ("mass", "routes"):
            assert sum(found[f"{who}: {name}"] for name in script.RELATIONS).tolist() == pytest.approx([1, 1])
        assert sum(found[f"variance: {axis}"] for axis in script.AXES).tolist() == pytest.approx([1, 1], abs=1e-4)


def test_measure_join_and_tell(
    script: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    weights = tmp_path / "small.safetensors"
    save_weights(weights, dict(model_of().named_parameters()), SMALL.to_dict(), {"steps": 0})

    def call(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["script.py", *map(str, words)])
        script.main()
        return capsys.readouterr().out

    small = ["--weights", weights, "--shots", 3, "--latent-frames", 2, "--times", 1.0, "--carried-times", 1.0]
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    call(one, *small, "--stories", 2)
    call(two, *small, "--stories", 1, "--first", 2)
    packed = tmp_path / "two.json.gz"
    packed.write_bytes(gzip.compress(two.read_bytes()))
    text = call(one, packed, "--tables")
    assert text.startswith("3 stories\n")
    for word in ("| no routes | 0.0 (0.0 to 0.0) |", "| dense |", "| shot before | 50.0 |", "| variance: frame |"):
        assert word in text
    with pytest.raises(ValueError, match="or hold the same stories"):
        script.joined([one, one])
    told = json.loads(two.read_text())
    two.write_text(json.dumps(told | {"seed": 7}))
    with pytest.raises(ValueError, match="different settings"):
        script.joined([one, two])
