"""`moc profile`: tables, JSON, gates and mistakes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from moc_testing import assert_fails, environment, moc, moc_here

from moc.profile import timing

MUST = ("--shots", "1,2,4,8,16,32", "--preset", "paper-multi-shot", "--no-measure")
TOY = ("--shots", "1,2", "--tokens-per-shot", "256", "--chunk", "64", "--top-k", "2", "--head-dim", "16")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "BUDGET_S", 0.0)


def test_counts_as_json() -> None:
    """Sparsity and FLOPs at 22,500 tokens a shot, from pairs counted shot by shot over the 18 chunks of each."""
    report = json.loads(moc_here("profile", *MUST, "--json").stdout)
    assert report["machine"] is None
    for row in report["rows"]:
        shots = row["shots"]
        length = 22_500 * shots
        pairs = sum(22_500 * (22_500 + (5 * 1250 if earlier else 0)) for earlier in range(shots))
        assert row["tokens"] == length
        assert row["chunks"] == 18 * shots
        assert row["sparsity"] == pytest.approx(1 - pairs / length**2)
        assert row["flops_dense"] == 4 * length**2 * 128
        assert row["flops_ratio"] == pytest.approx(length**2 / pairs)
    assert report["rows"][0]["flops_ratio"] == 1


def test_keys_of_the_json() -> None:
    report = json.loads(moc_here("profile", *TOY, "--json").stdout)
    assert {"machine", "settings", "rows"} <= set(report)
    promised = (
        "shots tokens chunks keys_per_query density sparsity flops_dense flops_moc flops_ratio flops_parts "
        "latency_dense_ms latency_moc_ms speedup peak_memory_mib"
    )
    assert set(promised.split()) <= set(report["rows"][0])


@pytest.mark.parametrize(
    "options", [TOY, MUST, ("--paper",), ("--model", "pocket", "--shots", "1", "--tokens-per-shot", "192")]
)
def test_tables_fit_100_columns(options: tuple[str, ...]) -> None:
    said = moc_here("profile", *options)
    assert said.returncode == 0, said.stderr
    table = [line for line in said.stdout.splitlines() if "  " in line or "──" in line]
    assert table
    assert max(map(len, table)) <= 100
    assert "…" not in said.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--shots", "0"], "--shots: '0' is not a number of shots"),
        (["--top-k", "-1"], "--top-k must be at least 0, got -1"),
        (["--chunk", "30000"], "a chunk of 30,000 tokens is larger than a shot of 22,500 tokens"),
        (["--preset", "fast"], "--preset 'fast' is unknown"),
        (["--model", "sora"], "--model 'sora' is unknown"),
        (["--budget", "speed>1"], "--budget: unknown column 'speed'"),
        (["--save", "a.txt"], "--save a.txt: the name must end in one of"),
        (["--plot", "a.pdf"], "--plot a.pdf: the name must end in one of"),
        (["--device", "tpu"], "--device 'tpu' is none of"),
        (["--against", "fa9"], "unknown dense kernel 'fa9'"),
        (["missing.yaml"], "missing.yaml"),
    ],
)
def test_mistakes_are_one_sentence(options: list[str], said: str) -> None:
    assert_fails(moc_here("profile", *options), 2, said)


def test_the_paper_takes_no_settings() -> None:
    said = "--paper counts the paper's own settings; leave out --shots, --budget"
    assert_fails(moc_here("profile", "--paper", "--shots", "3", "--budget", "sparsity>0"), 2, said)


def test_budgets() -> None:
    assert moc_here("profile", *MUST, "--budget", "sparsity>0.8@8,flops_ratio>=1").returncode == 0
    broken = moc_here("profile", *MUST, "--budget", "sparsity>0.9@8", "--json")
    assert broken.returncode == 3
    assert json.loads(broken.stdout)["budget"]["broken"] == ["sparsity>0.9@8 is broken at 8 shots: it is 0.844618."]
    assert "sparsity>0.9@8 is broken at 8 shots" in broken.stderr
    assert moc_here("profile", *MUST, "--budget", "speedup>1").returncode == 3
    said = "--budget 'sparsity>0.8@3': no row has 3 shots, there are 1, 2, 4, 8, 16, 32"
    assert_fails(moc_here("profile", *MUST, "--budget", "sparsity>0.8@3"), 2, said)


def test_a_story() -> None:
    story = Path(__file__).parents[2] / "storyboards" / "minute.yaml"
    report = json.loads(moc_here("profile", story, "--no-measure", "--json").stdout)
    assert len(report["rows"]) == 1
    assert report["rows"][0]["shots"] == 8
    assert_fails(moc_here("profile", story, "--shots", "2"), 2, "--shots can't be used with a story")


def test_files(tmp_path: Path) -> None:
    moc_here("profile", *MUST, "--quiet", "--save", tmp_path / "a.csv")
    assert len((tmp_path / "a.csv").read_text().splitlines()) == 7


def test_a_process_of_its_own() -> None:
    said = moc("profile", *TOY, "--quiet")
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")


def test_help_needs_no_torch() -> None:
    code = "import sys; sys.argv = ['moc', 'profile', '--help']\nfrom moc_cli.main import app\n"
    code += "try:\n    app()\nexcept SystemExit:\n    pass\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, env=environment(), capture_output=True)
