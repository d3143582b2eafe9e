"""The way to the `vbench` package, walked with a stand-in that has its interface (vbench 0.1.5)."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from moc.errors import InputError, MocError
from moc.metrics import vbench
from moc.video import write_mp4

# As the package: `evaluate` writes a file with the mean and every video's own value, in percent for imaging quality.
STAND_IN = """
import json, os
from pathlib import Path

CACHE = os.environ["VBENCH_CACHE_DIR"]  # read on import, as the package does

class VBench:
    def __init__(self, device, full_info_dir, output_path):
        self.out, self.device = output_path, device
        os.makedirs(output_path, exist_ok=True)

    def evaluate(self, videos_path, name, prompt_list=[], dimension_list=None, local=False, read_frame=False,
                 mode="vbench_standard", **kwargs):
        assert local and mode == "custom_input" and not prompt_list
        print("noise on stdout")
        found = {}
        for dimension in dimension_list:
            assert Path(CACHE, "clip_model").is_dir()
            if dimension == "aesthetic_quality":
                raise RuntimeError("no head")
            videos = sorted(Path(videos_path).iterdir())
            assert all(video.stat().st_size > 0 for video in videos)
            scale = 100 if dimension == "imaging_quality" else 1
            values = [len(videos) * scale / (10 + int(video.name[:4])) for video in videos]
            if dimension == "dynamic_degree":
                values = [video.name.endswith("-00.mp4") for video in videos]
            entries = [{"video_path": str(v), "video_results": x} for v, x in zip(videos, values)]
            found[dimension] = [sum(values) / len(values) / scale, entries]
        Path(self.out, name + "_eval_results.json").write_text(json.dumps(found))
"""


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    folder = tmp_path / "weights"
    for files in vbench.FILES.values():
        for name in files:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(b"weights")
    return folder


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that has the stand-in."""
    place = tmp_path / "site" / "vbench"
    place.mkdir(parents=True)
    (place / "__init__.py").write_text(STAND_IN)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path / "site"} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    monkeypatch.setenv(vbench.PYTHON_VARIABLE, str(python))


@pytest.fixture
def materials(tmp_path: Path) -> dict[str, vbench.Material]:
    video = tmp_path / "video.mp4"
    write_mp4(np.zeros((4, 32, 32, 3), np.uint8), video, fps=8)
    return {"dense\n0": vbench.Material(video, [video, video]), "moc\n0": vbench.Material(video, [video])}


@pytest.mark.usefixtures("installed")
def test_values_of_every_run(weights: Path, materials: dict[str, vbench.Material]) -> None:
    """Two whole videos, three clips in all: consistency on the former, the rest on the latter, averaged by run."""
    names = [name for name in vbench.NAMES if name != "aesthetic_quality"]
    found = vbench.measure(materials, weights, names)
    assert found["dense\n0"] == {
        "vbench_subject_consistency": pytest.approx(2 / 10),
        "vbench_background_consistency": pytest.approx(2 / 10),
        "vbench_motion_smoothness": pytest.approx(3 / 10),
        "vbench_dynamic_degree": pytest.approx(1 / 2),
        "vbench_imaging_quality": pytest.approx(3 / 10),
    }
    assert found["moc\n0"]["vbench_subject_consistency"] == pytest.approx(2 / 11)
    assert found["moc\n0"]["vbench_dynamic_degree"] == 1


@pytest.mark.usefixtures("installed")
def test_a_failure_is_said_in_its_last_words(weights: Path, materials: dict[str, vbench.Material]) -> None:
    with pytest.raises(MocError, match="VBench failed: RuntimeError: no head"):
        vbench.measure(materials, weights, ["aesthetic_quality"])


@pytest.mark.usefixtures("installed")
def test_missing_weights_are_named(weights: Path) -> None:
    (weights / "amt_model/amt-s.pth").unlink()
    with pytest.raises(InputError, match=r"lacks amt_model/amt-s.pth, which"):
        vbench.check(weights, vbench.NAMES)
    vbench.check(weights, ["subject_consistency"])
    with pytest.raises(InputError, match=r"and 5 more, which"):
        vbench.check(weights / "none", vbench.NAMES)
    with pytest.raises(InputError, match="name their folder"):
        vbench.check(None, vbench.NAMES)


def test_a_missing_package_is_one_sentence(weights: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(vbench.PYTHON_VARIABLE, raising=False)
    monkeypatch.setattr(vbench, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"need the package vbench, .* pip install vbench .* and set MOC_VBENCH"):
        vbench.check(weights, vbench.NAMES)
    monkeypatch.setenv(vbench.PYTHON_VARIABLE, str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="is no program"):
        vbench.check(weights, vbench.NAMES)
