"""Video files: write, join and read mp4 through the ffmpeg that imageio-ffmpeg ships.

Every file is H.264 in yuv420p with the index in front, so that browsers, phones and editors play it. A fixed number of
threads and ffmpeg's bit-exact flags make the same frames give the same bytes. Joining copies the encoded clips, so a
story's video costs no second encoding and holds exactly the pictures of its clips. Torch-free.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np

from moc.errors import MocError

_BITEXACT = ("-threads", "2", "-fflags", "+bitexact", "-flags:v", "+bitexact")
_FASTSTART = ("-movflags", "+faststart", "-f", "mp4")
_BT709 = ("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709")
_SCALER = "lanczos+accurate_rnd+full_chroma_int+bitexact"
_CRF = "17"  # flat colours and outlines show ringing early; a minute of small art takes some 12 MB
# no B-frames: clips then join without timestamp edits
_ENCODER = ("-c:v", "libx264", "-preset", "superfast", "-tune", "animation", "-bf", "0", "-crf", _CRF)
_WATCHABLE_HEIGHT = 540
ENCODING = " ".join(_ENCODER)
"""How clips are encoded. One story's clips must all be encoded alike: a joined file has one header for all."""
_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS, errno.EIO)


def watchable_scale(width: int, height: int) -> int:
    """The whole factor that brings frames of `width` x `height` pixels to a size that is pleasant to watch.

    The largest factor that keeps the height at most 540 pixels, at least 1, and even where a side is odd (yuv420p
    stores colour for 2x2 pixels): 96x64 gives 8 (768x512), 128x80 gives 6 (768x480), 832x480 gives 1.
    """
    scale = max(1, _WATCHABLE_HEIGHT // height)
    if (width % 2 or height % 2) and scale % 2:
        scale += 1 if scale == 1 else -1
    return scale


def write_mp4(frames: Iterable[np.ndarray], path: Path, *, fps: float, scale: int = 1) -> int:
    """Encode frames to `path` and return their number. Atomic only if the caller gives a temporary path.

    Args:
        frames: uint8 `[H, W, 3]`, RGB, all of one size; taken one by one, so a generator holds one at a time.
        path: the file to write.
        fps: frames a second, above 0.
        scale: whole upscaling factor; a smooth filter, because rendered edges are soft and squares would show.

    Raises:
        ValueError: no frames, another dtype or shape, or an odd size after scaling.
        OSError: the disk is full or the file can't be written.
        MocError: ffmpeg failed otherwise.
    """
    stream = iter(frames)
    first = next(stream, None)
    if first is None:
        raise ValueError("write_mp4 needs at least one frame, got none")
    if first.ndim != 3 or first.shape[2] != 3 or first.dtype != np.uint8:
        raise ValueError(f"frames must be uint8 [H, W, 3], got {first.dtype} {list(first.shape)}")
    height, width = first.shape[0] * scale, first.shape[1] * scale
    if height % 2 or width % 2:
        raise ValueError(f"video sides must be even, got {width}x{height}")
    command = [
        *("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{first.shape[1]}x{first.shape[0]}", "-r", _rate(fps)),
        *("-i", "pipe:0", "-an", "-vf", f"scale={width}:{height}:flags={_SCALER}:out_color_matrix=bt709:out_range=tv"),
        # a key frame every two seconds keeps seeking quick
        *(*_ENCODER, "-g", str(max(1, round(2 * fps)))),
        *("-pix_fmt", "yuv420p", *_BT709, *_BITEXACT, *_FASTSTART, str(path)),
    ]
    count = 0
    with _Ffmpeg(command) as ffmpeg:
        frame: np.ndarray | None = first
        while frame is not None:
            if frame.shape != first.shape or frame.dtype != np.uint8:
                raise ValueError(
                    f"frame {count + 1} is {frame.dtype} {list(frame.shape)}, the first one uint8 {list(first.shape)}"
                )
            if not ffmpeg.feed(np.ascontiguousarray(frame).tobytes()):
                break
            count += 1
            frame = next(stream, None)
        ffmpeg.finish(path)
    return count


def concat_mp4(clips: Sequence[Path], path: Path) -> None:
    """Join clips that `write_mp4` made with one size and rate into `path`, without encoding them again.

    Raises:
        ValueError: no clips.
        OSError: the disk is full or a file can't be read or written.
        MocError: ffmpeg failed otherwise.
    """
    if not clips:
        raise ValueError("concat_mp4 needs at least one clip, got none")
    quoted = [str(clip.absolute()).replace("'", "'\\''") for clip in clips]
    listing = "ffconcat version 1.0\n" + "".join(f"file 'file:{name}'\n" for name in quoted)
    command = [
        *("-f", "concat", "-safe", "0", "-protocol_whitelist", "file,pipe", "-i", "pipe:0", "-c", "copy"),
        *(*_BITEXACT, *_FASTSTART, str(path)),
    ]
    with _Ffmpeg(command) as ffmpeg:
        ffmpeg.feed(listing.encode())
        ffmpeg.finish(path)


def read_frames(path: Path) -> Iterator[np.ndarray]:
    """Decode a video frame by frame: uint8 `[H, W, 3]`, RGB.

    Raises:
        MocError: the file is missing or is no video.
    """
    import imageio_ffmpeg

    if not path.is_file():
        raise MocError(f"{path} does not exist.")
    reader = imageio_ffmpeg.read_frames(str(path))
    try:
        width, height = next(reader)["size"]
    except (OSError, StopIteration, RuntimeError) as error:
        raise MocError(f"{path} can't be read as a video.") from error
    for data in reader:
        yield np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)


def _rate(fps: float) -> str:
    if not 0 < fps < float("inf"):
        raise ValueError(f"fps must be above 0 and finite, got {fps}")
    return str(Fraction(fps).limit_denominator(1001))


class _Ffmpeg:
    """A running ffmpeg that reads its standard input; killed when the `with` block fails.

    It runs apart from our process group, so that Ctrl-C reaches Python alone, which then ends it in order.
    """

    def __init__(self, arguments: Sequence[str]) -> None:
        self._arguments = arguments
        self._log = b""

    def __enter__(self) -> _Ffmpeg:
        import imageio_ffmpeg

        try:
            program = imageio_ffmpeg.get_ffmpeg_exe()
        except RuntimeError as error:
            raise MocError("no ffmpeg found; install imageio-ffmpeg or set IMAGEIO_FFMPEG_EXE.") from error
        with _interrupts_wait(self._stop):
            self._process = subprocess.Popen(
                [program, "-nostdin", "-v", "error", "-y", *self._arguments],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
            self._reader = threading.Thread(target=self._read_log, daemon=True)
            self._reader.start()
        return self

    def _read_log(self) -> None:
        assert self._process.stderr is not None
        self._log = self._process.stderr.read()

    def feed(self, data: bytes) -> bool:
        """Hand over input; False when ffmpeg has given up (`finish` then says why)."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(data)
        except BrokenPipeError:
            return False
        return True

    def finish(self, path: Path) -> None:
        """Close the input and wait. OSError for a full disk and the like, MocError for any other failure."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        code = self._process.wait()
        self._reader.join()
        if code == 0:
            return
        log = self._log.decode("utf-8", "replace").strip()
        for number in _DISK_ERRORS:
            if os.strerror(number) in log:
                raise OSError(number, os.strerror(number), str(path))
        last = log.splitlines()[-1] if log else f"exit code {code}"
        raise MocError(f"ffmpeg could not write {path}: {last}")

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()


@contextlib.contextmanager
def _interrupts_wait(undo: Callable[[], None]) -> Iterator[None]:
    """Let Ctrl-C and SIGTERM wait until the block is through, then run `undo` and the handler that was meant.

    Between the start of a process and the moment somebody holds its handle, an interrupt would leave it running.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in handlers:
            signal.signal(number, lambda received, _: waiting.append(received))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    if waiting:
        undo()
        signal.raise_signal(waiting[0])
