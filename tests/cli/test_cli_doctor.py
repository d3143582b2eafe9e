"""`moc doctor`: what it finds on any machine, and what it says where something is missing."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from moc_testing import ROOT, moc_here
from rich.cells import cell_len

from moc import doctor
from moc.attention import probes
from moc_cli.doctor import show


def test_everything_is_told_as_json() -> None:
    done = moc_here("doctor", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    by_name = {finding["name"]: finding for finding in told["findings"]}
    assert by_name["torch"]["found"].startswith(torch.__version__)
    assert {*probes.LABELS.values(), "Triton", "ffmpeg", "weights of the model"} <= set(by_name)
    assert by_name["plain products"]["state"] == "ok"
    assert by_name["ffmpeg"]["state"] == "ok"
    assert {finding["state"] for finding in told["findings"]} <= {"ok", "missing", "unused"}


def test_the_table_fits_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    done = moc_here("doctor")
    assert done.returncode == 0
    assert "FlashAttention-4" in done.stdout
    assert all(cell_len(line) <= 80 for line in done.stdout.splitlines())


def test_what_is_missing_comes_with_its_command(capsys: pytest.CaptureFixture[str]) -> None:
    show(
        [
            doctor.Finding("files", "ffmpeg", "missing", "not installed", "video files", "pip install imageio-ffmpeg"),
            doctor.Finding("files", "colour", "missing", "no", "joy"),
            doctor.Finding("files", "matplotlib", "unused", "not installed", "plots", "pip install matplotlib"),
        ],
        "9.9",
    )
    said = capsys.readouterr().out
    assert "ffmpeg would give video files:\n  pip install imageio-ffmpeg\n" in said
    assert "colour would give joy.\n" in said
    assert "pip install matplotlib" not in said
    show([doctor.Finding("machine", "CPU", "ok", "2 threads")], "9.9")
    assert "Nothing is missing here." in capsys.readouterr().out


@pytest.fixture
def hopper(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """A machine with a Hopper GPU, on which the kernels in the returned set work."""
    works: set[str] = set()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda *_: (9, 0))
    monkeypatch.setattr(torch, "empty", lambda *_, **__: None)
    monkeypatch.setattr(
        probes, "probe", lambda name, like, **_: probes.Probe(name, name in works, "" if name in works else "not there")
    )
    monkeypatch.setattr(doctor, "_version", lambda package: "")
    monkeypatch.setattr(doctor, "_routed_wrong", lambda: "")
    return works


def test_kernels_on_a_gpu(hopper: set[str]) -> None:
    hopper |= {"cudnn", "fa2", "sdpa"}
    found = {finding.name: finding for finding in doctor._attention()}
    assert found["FlashAttention-4"].state == "missing"
    wanted = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["flash"][0]
    assert found["FlashAttention-4"].command == f"pip install '{wanted.partition(';')[0]}'"
    assert found["FlashAttention-3"].state == "unused"
    assert found["Triton"].state == "missing"
    assert "first choice" in found["cuDNN"].found
    assert "first choice" not in found["FlashAttention-2"].found
    hopper.add("fa4")
    found = {finding.name: finding for finding in doctor._attention()}
    assert "first choice" in found["FlashAttention-4"].found
    assert "first choice" not in found["cuDNN"].found


def test_an_installed_kernel_that_does_not_work_says_why(hopper: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_version", lambda package: "4.0.1")
    found = {finding.name: finding for finding in doctor._attention()}
    assert found["FlashAttention-4"].found == "4.0.1: not there"
    assert not found["FlashAttention-4"].command


def test_triton_is_tried_and_not_only_looked_up(hopper: set[str], monkeypatch: pytest.MonkeyPatch) -> None:
    hopper |= {"fa2", "sdpa"}
    monkeypatch.setattr(doctor, "_version", lambda package: "3.6.0")
    assert doctor._triton(cuda=True).found == "3.6.0, tried on a small story"
    monkeypatch.setattr(doctor, "_routed_wrong", lambda: "its results are off by 3")
    for compiler, command in (("/usr/bin/cc", ""), (None, "sudo apt install gcc  # Triton needs a C compiler")):
        monkeypatch.setattr(doctor, "which", lambda name, compiler=compiler: compiler)
        found = doctor._triton(cuda=True)
        assert (found.state, found.command) == ("missing", command)
        assert found.found == "3.6.0 is installed, but its results are off by 3"


@pytest.mark.parametrize(
    ("needs", "wanted"),
    [
        (["filelock", "triton==3.6.0; platform_system == 'Linux'"], "triton==3.6.0"),
        (["triton-windows==3.5", "sympy"], "triton"),
        (None, "triton"),
    ],
)
def test_the_release_of_triton_that_torch_wants(
    monkeypatch: pytest.MonkeyPatch, needs: list[str] | None, wanted: str
) -> None:
    monkeypatch.setattr(doctor, "requires", lambda package: needs)
    assert doctor._triton_of_torch() == wanted
    monkeypatch.setattr(doctor, "_version", lambda package: "")
    assert doctor._triton(cuda=True).command == f"pip install '{wanted}'"


def test_kernels_that_do_not_run_say_why() -> None:
    if torch.cuda.is_available():
        pytest.skip("there is a GPU here")
    assert doctor._routed_wrong().startswith("its kernels don't run: ")


@pytest.mark.gpu
def test_the_kernels_of_this_machine() -> None:
    assert doctor._routed_wrong() == ""


def test_a_gpu_that_torch_can_not_use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text("NVRM version: NVIDIA UNIX x86_64 Kernel Module  570.86.15  Thu Jan 23\nGCC version: 12.2.0\n")
    monkeypatch.setattr(doctor, "_DRIVER", file)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    gpu = next(finding for finding in doctor._machine() if finding.name == "GPU")
    assert gpu.state == "missing"
    assert gpu.found == "driver 570.86.15 is there, but this torch is built for CPU"
    assert gpu.command.startswith("pip install")


def test_weights_that_are_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor, "__file__", str(tmp_path / "doctor.py"))
    weights = next(finding for finding in doctor._files() if finding.name == "weights of the model")
    assert weights.state == "missing"
    assert weights.command == "pip install --force-reinstall --no-deps .  # in a copy of the repository"


def test_no_command_asks_an_index_for_moc() -> None:
    """There another project has that name."""
    texts = [path for p in ("*.md", "docs/*.md", "moc/**/*.py", "moc_cli/**/*.py") for path in ROOT.glob(p)]
    said = [f"{path.name}: {line}" for path in texts for line in path.read_text().splitlines()
            if re.search(r"install\b.*[\s'\"]moc(\[|['\"`\s]|$)", line)]  # fmt: skip
    assert len(texts) > 100
    assert not [line for line in said if ".venv/bin/moc" not in line]


def test_ffmpeg_that_does_not_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program: Any = SimpleNamespace(get_ffmpeg_exe=lambda: str(tmp_path / "nothing"))
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", program)
    monkeypatch.setattr(doctor, "find_spec", lambda name: object())
    found = doctor._ffmpeg()
    assert found.state == "missing"
    assert "nothing" in found.found
    assert "imageio-ffmpeg" in found.command
