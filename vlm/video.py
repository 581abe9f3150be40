"""A video -> a few frames, each with its time, for a model that reads images.

Gemma 3 has no video input of its own: it was evaluated on 16 frames given as ordinary images (Gemma 3
technical report, section 5). Which frames is the question here, and at which second each was shown.

- *By time*: the middles of equal parts. The file is only decoded around them: seek to the key frame
  before, decode up to the moment.
- *By scene*: the first frame, and those that differ most from what was shown a quarter of a second
  before. Every frame has to be decoded for that. A video in which nothing happens gives one frame.

A container may lie about its length or not know it; then the packets are read, which costs no
decoding. Files are hostile until decoded: only the containers named here are opened, never a playlist
that leads to other files, and sizes are judged before a picture is made.
"""

from __future__ import annotations

import heapq
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from PIL import Image

from pan_and_scan import MAX_PIXELS
from vlm.errors import UsageError, printable

if TYPE_CHECKING:
    import numpy as np
    from av.container import InputContainer
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SUFFIXES = frozenset((".mp4", ".mov", ".mkv", ".webm", ".avi"))
MAX_FRAMES = 64
HELD_PIXELS = 4 * MAX_PIXELS  # of all frames together: about 1 GB; larger frames are scaled down

_CONTAINERS = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi"  # FFmpeg's names
_SEEK = 5.0  # seconds ahead: nearer moments are reached by decoding on, as key frames are about so far apart
_STEP = 0.25  # seconds between frames compared, so that a quick fade counts as one change
_THUMB = (32, 18)  # pixels a frame is compared by
_CHANGE = 6.0  # mean difference of 255 levels; compression noise stays below 2


@dataclass(frozen=True)
class SamplingOptions:
    """Which frames to take."""

    frames: int = 16  # at most
    by: Literal["time", "scene"] = "time"

    def __post_init__(self) -> None:
        if not 1 <= self.frames <= MAX_FRAMES:
            raise UsageError(f"frames must be between 1 and {MAX_FRAMES}, not {self.frames}")
        if self.by not in ("time", "scene"):
            raise UsageError(f"frames are chosen by time or by scene, not by {self.by}")


@dataclass(frozen=True)
class Frame:
    """A picture of a video.

    Attributes:
        image: upright, RGB, square pixels.
        seconds: when it is shown, from the start of the video.
    """

    image: Image.Image
    seconds: float


def is_video(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name is a video's."""
    return Path(path).suffix.lower() in SUFFIXES


def frame_label(seconds: float) -> str:
    """The time of a frame as "mm:ss"; an hour is 60 minutes."""
    whole = int(seconds)
    return f"{whole // 60:02}:{whole % 60:02}"


def frame_captions(frames: Sequence[Frame]) -> tuple[str, ...]:
    """What the prompt says before each frame."""
    return tuple(f"Frame {frame_label(frame.seconds)}:" for frame in frames)


def sample_frames(path: str | os.PathLike[str], options: SamplingOptions | None = None) -> tuple[Frame, ...]:
    """Take frames from a video.

    Args:
        path: a file.
        options: how many and which.

    Returns:
        At least one, in order of time, no frame twice: fewer than asked for where the video has fewer,
        or, by scene, fewer changes.

    Raises:
        UsageError: PyAV is missing, the file is no video, damaged, or its pictures too large.
    """
    options = options or SamplingOptions()
    with _opened(path) as video:
        moments = video.middles(options.frames) if options.by == "time" else video.changes(options.frames)
        frames = tuple(video.at(moments, options.frames))
        if len(frames) < options.frames and options.by == "time" and not video.measured:
            video.measure()  # the container's length was wrong, or the video is short
            frames = tuple(video.at(video.middles(options.frames), options.frames))
    if not frames:
        raise UsageError(f"{printable(path)}: no picture in it can be decoded; {_AGAIN}")
    return frames


_AGAIN = "copy or download it again, or save it anew as MP4"


@contextmanager
def _opened(path: str | os.PathLike[str]) -> Iterator[_Video]:
    """A video to take frames from; what FFmpeg says against it, as one line."""
    name = printable(path)
    try:
        import av
    except ImportError:
        raise UsageError("reading a video needs PyAV: pip install 'vlm[video]'") from None
    try:
        file = open(path, "rb")  # noqa: SIM115 - closed below; only opening has these errors
    except (OSError, ValueError) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or "not a valid path"
        raise UsageError(f"{name}: can't be opened ({reason}); check the path") from None
    with file:
        try:
            # A file object, so that no name is taken for a protocol.
            whitelist = {"format_whitelist": _CONTAINERS}
            with av.open(file, "r", options=whitelist, metadata_errors="replace") as container:
                stream = container.streams.best("video")
                if stream is None:
                    raise UsageError(f"{name}: has no pictures; name a video")
                yield _Video(container, cast("VideoStream", stream), name)
        except (av.FFmpegError, OSError, OverflowError, MemoryError):
            raise UsageError(
                f"{name}: is no video that can be read here, or a damaged one; {_AGAIN}"
            ) from None


class _Video:
    """An open video. Times are seconds from its first picture."""

    def __init__(self, container: InputContainer, stream: VideoStream, name: str) -> None:
        self._container = container
        self._stream = stream
        self._name = name
        self._stream.thread_type = "AUTO"
        self._tick = float(self._stream.time_base or 0) or 1 / 1000
        self._start = (self._stream.start_time or 0) * self._tick
        self.measured = False
        length = (self._stream.duration or 0) * self._tick or (container.duration or 0) / 1_000_000
        self._length = length if math.isfinite(length) and length > 0 else 0.0
        if not self._length:
            self.measure()

    def measure(self) -> None:
        """Learn the length from the packets."""
        self.measured = True
        self._container.seek(0)
        ends = [self._start]
        for packet in self._container.demux(self._stream):
            stamp = packet.pts if packet.pts is not None else packet.dts
            if stamp is not None:
                ends[0] = max(ends[0], (stamp + (packet.duration or 0)) * self._tick)
        self._length = ends[0] - self._start

    def middles(self, count: int) -> list[float]:
        """The middles of equal parts."""
        return [self._length * (index + 0.5) / count for index in range(count)]

    def at(self, moments: Sequence[float], count: int) -> Iterator[Frame]:
        """The frames shown at these moments, in order, each once."""
        pictures = self._decoded()
        held: tuple[float, VideoFrame] | None = None  # what is shown at the moment looked for, so far
        ahead: tuple[float, VideoFrame] | None = None
        last = -1.0
        for moment in moments:
            here = ahead[0] if ahead else held[0] if held else 0.0
            if moment > here + _SEEK or (held is None and moment > _SEEK):
                pictures = self._decoded(moment)
                held = ahead = None
            while ahead is None or ahead[0] <= moment + self._tick / 2:
                held = ahead or held
                ahead = next(pictures, None)
                if ahead is None:
                    break
            shown = held or ahead
            if shown is not None and shown[0] > last:
                last = shown[0]
                yield Frame(self._picture(shown[1], count), shown[0])

    def changes(self, count: int) -> list[float]:
        """The first moment, and those at which the picture changes most."""
        before: np.ndarray[Any, Any] | None = None
        compared = -math.inf
        changes: list[tuple[float, float]] = []
        first = 0.0
        for seconds, frame in self._decoded():
            if seconds < compared + _STEP - self._tick:
                continue
            thumb = self._thumb(frame)
            if before is None:
                first = seconds
            else:
                difference = float(abs(thumb - before).mean())
                if difference >= _CHANGE:
                    changes.append((difference, seconds))
            before, compared = thumb, seconds
        return sorted([first, *(seconds for _, seconds in heapq.nlargest(count - 1, changes))])

    def _decoded(self, moment: float | None = None) -> Iterator[tuple[float, VideoFrame]]:
        """Pictures with their times, from the key frame before the moment or from the start on."""
        import av

        if moment is None:
            self._container.seek(0)
        else:
            try:
                self._container.seek(int((moment + self._start) / self._tick), stream=self._stream)
            except av.FFmpegError:  # beyond the end, or no index to seek by
                self._container.seek(0)
        rate = float(self._stream.average_rate or 0) or 25.0
        seconds = 0.0
        try:
            for frame in self._container.decode(self._stream):
                stamp = frame.pts if frame.pts is not None else frame.dts
                seconds = seconds + 1 / rate if stamp is None else stamp * self._tick - self._start
                yield max(0.0, seconds), frame
        except av.FFmpegError:  # damaged from here on: what came before still counts
            return

    def _thumb(self, frame: VideoFrame) -> np.ndarray[Any, Any]:
        self._judge(frame)
        small = frame.reformat(width=_THUMB[0], height=_THUMB[1], format="rgb24")
        return small.to_ndarray().astype("float32")

    def _judge(self, frame: VideoFrame) -> None:
        if frame.width * frame.height > MAX_PIXELS:
            raise UsageError(
                f"{self._name}: its pictures have more than {MAX_PIXELS:,} pixels; save it smaller"
            )

    def _picture(self, frame: VideoFrame, count: int) -> Image.Image:
        """Upright, with square pixels, and small enough for all of them to be held."""
        self._judge(frame)
        image = Image.fromarray(frame.to_ndarray(format="rgb24"))
        aspect = float(self._stream.sample_aspect_ratio or 1)
        aspect = aspect if 0.1 <= aspect <= 10 else 1.0
        scale = min(1.0, math.sqrt(HELD_PIXELS / (image.width * aspect * image.height * count)))
        size = max(1, round(image.width * aspect * scale)), max(1, round(image.height * scale))
        if size != image.size:
            image = image.resize(size, Image.Resampling.LANCZOS)
        return image.rotate(frame.rotation, expand=True) if frame.rotation else image
