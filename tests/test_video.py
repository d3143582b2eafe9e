"""Video files: frames survive encoding and joining, the same frames give the same bytes, failures are clear."""

from __future__ import annotations

import errno
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from moc.errors import MocError
from moc.video import concat_mp4, read_frames, watchable_scale, write_mp4


def moving_square(frames: int, colour: tuple[int, int, int]) -> np.ndarray:
    """uint8 [F, 32, 48, 3]: a coloured square that moves one pixel a frame over grey."""
    video = np.full((frames, 32, 48, 3), 128, np.uint8)
    for i in range(frames):
        video[i, 8:24, 4 + i : 20 + i] = colour
    return video


def test_frames_survive(tmp_path: Path) -> None:
    video = moving_square(9, (214, 45, 50))
    assert write_mp4(iter(video), tmp_path / "a.mp4", fps=8, scale=4) == 9
    back = np.stack(list(read_frames(tmp_path / "a.mp4")))
    assert back.shape == (9, 128, 192, 3)
    small = back.reshape(9, 32, 4, 48, 4, 3).mean(axis=(2, 4))
    assert np.abs(small - video).mean() < 2.0
    assert np.abs(small - video)[:, 10:22, 26:].mean() < 2.0, "flat areas keep their colour"


def test_same_frames_same_bytes(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        write_mp4(moving_square(5, (45, 105, 220)), tmp_path / name, fps=8, scale=2)
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_plays_everywhere(tmp_path: Path) -> None:
    write_mp4(moving_square(5, (45, 105, 220)), tmp_path / "a.mp4", fps=8, scale=2)
    data = (tmp_path / "a.mp4").read_bytes()
    assert data[4:8] == b"ftyp"
    assert data.index(b"moov") < data.index(b"mdat"), "the index must come first, for streaming"
    assert b"avc1" in data


def test_concat_holds_every_frame_in_order(tmp_path: Path) -> None:
    folder = tmp_path / "it's a folder"  # quotes and spaces must survive ffmpeg's list format
    folder.mkdir()
    clips = [moving_square(n, colour) for n, colour in ((7, (214, 45, 50)), (1, (52, 160, 76)), (9, (45, 105, 220)))]
    paths = [folder / f"{i}.mp4" for i in range(3)]
    for clip, path in zip(clips, paths, strict=True):
        write_mp4(clip, path, fps=8)
    concat_mp4(paths, folder / "all.mp4")
    whole = np.stack(list(read_frames(folder / "all.mp4")))
    parts = np.concatenate([np.stack(list(read_frames(path))) for path in paths])
    np.testing.assert_array_equal(whole, parts)
    concat_mp4(paths, folder / "again.mp4")
    assert (folder / "again.mp4").read_bytes() == (folder / "all.mp4").read_bytes()


def test_fractional_rate(tmp_path: Path) -> None:
    import imageio_ffmpeg

    write_mp4(moving_square(12, (214, 45, 50)), tmp_path / "a.mp4", fps=24000 / 1001)
    meta = next(imageio_ffmpeg.read_frames(str(tmp_path / "a.mp4")))
    assert meta["fps"] == pytest.approx(23.98, abs=0.01)


@pytest.mark.parametrize(
    ("size", "scale"),
    [((96, 64), 8), ((128, 80), 6), ((832, 480), 1), ((1280, 720), 1), ((97, 65), 8), ((833, 479), 2), ((95, 180), 2)],
)
def test_watchable_scale(size: tuple[int, int], scale: int) -> None:
    assert watchable_scale(*size) == scale
    assert size[0] * scale % 2 == size[1] * scale % 2 == 0


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((4, 4), np.uint8)], r"\[H, W, 3\]"),
        ([np.zeros((4, 4, 3), np.float32)], "uint8"),
        ([np.zeros((3, 4, 3), np.uint8)], "even"),
        ([np.zeros((4, 4, 3), np.uint8), np.zeros((6, 4, 3), np.uint8)], "frame 2"),
    ],
)
def test_wrong_frames(tmp_path: Path, frames: list[np.ndarray], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_mp4(frames, tmp_path / "a.mp4", fps=8)


def test_unwritable(tmp_path: Path) -> None:
    with pytest.raises((OSError, MocError), match=str(tmp_path)):
        write_mp4(moving_square(3, (1, 2, 3)), tmp_path / "missing" / "a.mp4", fps=8)


def test_full_disk_is_an_os_error() -> None:
    with pytest.raises(OSError, match="No space left") as caught:
        write_mp4(np.random.default_rng(0).integers(0, 255, (40, 64, 96, 3), np.uint8), Path("/dev/full"), fps=8)
    assert caught.value.errno == errno.ENOSPC


def test_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text("not a video")
    with pytest.raises(MocError, match=r"a\.mp4"):
        next(read_frames(tmp_path / "a.mp4"))
    with pytest.raises(MocError, match="does not exist"):
        next(read_frames(tmp_path / "b.mp4"))


@pytest.mark.parametrize("during_start", [True, False])
def test_interrupt_ends_ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during_start: bool) -> None:
    """Ctrl-C while ffmpeg starts or runs leaves no process behind that would go on writing."""
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def popen(*arguments: Any, **options: Any) -> Any:
        started.append(real(*arguments, **options))
        if during_start:
            signal.raise_signal(signal.SIGINT)
        return started[-1]

    def frames() -> Iterator[np.ndarray]:
        yield from moving_square(3, (1, 2, 3))
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", popen)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        write_mp4(frames(), tmp_path / "a.mp4", fps=8)
    assert len(started) == 1
    assert started[0].returncode == -signal.SIGKILL
    assert signal.getsignal(signal.SIGINT) is handler
