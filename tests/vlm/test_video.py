"""Frames of videos: the right ones, at the right time, the right way up; and files that are none."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import RATE, write
from PIL import Image

from vlm import video
from vlm.errors import PromptError, UsageError
from vlm.prompt import ImagePart, interleaved
from vlm.video import (
    SamplingOptions,
    frame_captions,
    frame_label,
    is_video,
    sample_frames,
)


def grey(level: int, width: int = 64, height: int = 48) -> Image.Image:
    return Image.new("RGB", (width, height), (level, level, level))


def ramp(seconds: float) -> list[Image.Image]:
    """Each picture's brightness is its index."""
    return [grey(20 + index) for index in range(int(seconds * RATE))]


def index_of(image: Image.Image) -> float:
    return float(np.asarray(image.convert("L")).mean()) - 20


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi", ".mov"])
def test_frames_by_time_are_the_middles_of_equal_parts_and_say_when_they_are_shown(
    tmp_path: Path, suffix: str
) -> None:
    clip = write(tmp_path / f"clip{suffix}", ramp(8))
    frames = sample_frames(clip, SamplingOptions(frames=4))
    assert [frame.seconds for frame in frames] == pytest.approx([1, 3, 5, 7], abs=0.11)
    for frame in frames:
        assert frame.image.mode == "RGB"
        assert index_of(frame.image) == pytest.approx(frame.seconds * RATE, abs=1.6)


def test_sixteen_frames_are_the_default(tmp_path: Path) -> None:
    assert len(sample_frames(write(tmp_path / "clip.mp4", ramp(4)))) == 16


def test_a_short_video_gives_each_frame_once(tmp_path: Path) -> None:
    frames = sample_frames(write(tmp_path / "clip.mp4", ramp(0.3)))
    assert [frame.seconds for frame in frames] == pytest.approx([0, 0.1, 0.2])


def test_one_frame_is_a_video(tmp_path: Path) -> None:
    (frame,) = sample_frames(write(tmp_path / "clip.mp4", [grey(90)]))
    assert frame.seconds == 0
    (frame,) = sample_frames(tmp_path / "clip.mp4", SamplingOptions(by="scene"))
    assert frame.seconds == 0


def test_long_videos_are_not_decoded_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write(tmp_path / "clip.mp4", [grey(20 + index // 10) for index in range(1200)])
    seen = []
    decoded = video._Video._decoded

    def counted(self: video._Video, moment: float | None = None):  # type: ignore[no-untyped-def]
        for entry in decoded(self, moment):
            seen.append(entry[0])
            yield entry

    monkeypatch.setattr(video._Video, "_decoded", counted)
    frames = sample_frames(clip, SamplingOptions(frames=4))
    assert [frame.seconds for frame in frames] == pytest.approx([15, 45, 75, 105], abs=0.11)
    assert [index_of(frame.image) for frame in frames] == pytest.approx([15, 45, 75, 105], abs=1.6)
    assert len(seen) < 120


def test_key_frames_far_apart_still_give_the_moment_asked_for(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", [grey(20 + index) for index in range(200)], gop_size=1000)
    frames = sample_frames(clip, SamplingOptions(frames=3))
    assert [index_of(frame.image) for frame in frames] == pytest.approx([33, 100, 166], abs=2)


def test_frames_by_scene_begin_the_scenes(tmp_path: Path) -> None:
    levels = [30] * 17 + [200] * 5 + [90] * 20 + [91] * 8
    clip = write(tmp_path / "clip.mp4", [grey(level) for level in levels])
    frames = sample_frames(clip, SamplingOptions(frames=8, by="scene"))
    assert [frame.image.getpixel((30, 20))[0] for frame in frames] == pytest.approx([30, 200, 90], abs=4)
    assert [frame.seconds for frame in frames] == pytest.approx([0, 1.7, 2.2], abs=0.3)


def test_the_biggest_changes_win_and_stay_in_order(tmp_path: Path) -> None:
    levels = [30] * 10 + [60] * 10 + [250] * 10 + [220] * 10 + [20] * 10
    clip = write(tmp_path / "clip.mp4", [grey(level) for level in levels])
    frames = sample_frames(clip, SamplingOptions(frames=3, by="scene"))
    assert [frame.image.getpixel((30, 20))[0] for frame in frames] == pytest.approx([30, 250, 20], abs=4)


def test_a_still_video_is_one_frame_by_scene(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", [grey(128)] * 30)
    assert len(sample_frames(clip, SamplingOptions(by="scene"))) == 1


def test_a_phone_held_sideways_is_turned_upright(tmp_path: Path) -> None:
    picture = grey(20)
    picture.paste((255, 255, 255), (0, 0, 16, 16))  # top left as stored
    clip = write(tmp_path / "clip.mp4", [picture] * 3, rotation=90)
    (frame, *_) = sample_frames(clip)
    assert frame.image.size == (48, 64)
    assert frame.image.convert("L").getpixel((4, 60)) > 200  # counter-clockwise: bottom left as shown


def test_wide_pixels_are_made_square(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", [grey(50)] * 3, aspect=Fraction(2, 1))
    assert sample_frames(clip)[0].image.size == (128, 48)


def test_a_stream_that_does_not_know_its_length_is_measured(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mkv", ramp(8), container_options={"live": "1"})
    with av.open(str(clip)) as container:
        assert not container.streams.video[0].duration
        assert not container.duration or container.duration < 0
    frames = sample_frames(clip, SamplingOptions(frames=4))
    assert [frame.seconds for frame in frames] == pytest.approx([1, 3, 5, 7], abs=0.11)


def test_a_video_cut_off_gives_what_is_there(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mkv", ramp(8))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 2])
    frames = sample_frames(clip, SamplingOptions(frames=4))
    assert len(frames) == 4
    assert frames[-1].seconds < 6
    for frame in frames:
        assert index_of(frame.image) == pytest.approx(frame.seconds * RATE, abs=1.6)


def test_large_frames_are_scaled_down_to_be_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write(tmp_path / "clip.mp4", ramp(1))
    monkeypatch.setattr(video, "HELD_PIXELS", 4 * 32 * 24)
    assert {frame.image.size for frame in sample_frames(clip, SamplingOptions(frames=4))} == {(32, 24)}


def test_pictures_too_large_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = write(tmp_path / "clip.mp4", ramp(1))
    monkeypatch.setattr(video, "MAX_PIXELS", 1000)
    for by in ("time", "scene"):
        with pytest.raises(UsageError, match=r"clip.mp4: its pictures have more than 1,000 pixels"):
            sample_frames(clip, SamplingOptions(by=by))


@pytest.mark.parametrize(
    "content",
    [b"", b"hello, this is a text" * 50, b"\0\0\0\x18ftypmp42" + b"\0" * 40, b"\x1aE\xdf\xa3" + b"\xff" * 99],
)
def test_what_is_no_video_is_one_clear_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=r"clip.mp4: is no video that can be read here, or a damaged one"):
        sample_frames(path)


def test_sound_alone_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "sound.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=8000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 8000), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(UsageError, match="has no pictures"):
        sample_frames(path)


@pytest.mark.parametrize("playlist", ["ffconcat version 1.0\nfile {0}\n", "#EXTM3U\n#EXTINF:8,\n{0}\n"])
def test_a_playlist_named_as_a_video_leads_nowhere(
    tmp_path: Path, playlist: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "secret.mp4", ramp(1))
    path = tmp_path / "clip.mp4"
    path.write_text(playlist.format("secret.mp4"))
    with pytest.raises(UsageError, match="is no video"):
        sample_frames(path)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"none.mp4: can't be opened \(No such file"):
        sample_frames(tmp_path / "none.mp4")
    with pytest.raises(UsageError, match="check the path"):
        sample_frames("a\0.mp4")


@pytest.mark.skipif(os.name == "nt", reason="file names are text there")
def test_a_name_that_is_no_text_is_read(tmp_path: Path) -> None:
    clip = write(tmp_path / "clip.mp4", ramp(1))
    odd = os.fsencode(tmp_path) + b"/clip\xff.mp4"
    clip.rename(os.fsdecode(odd))
    assert len(sample_frames(os.fsdecode(odd), SamplingOptions(frames=2))) == 2


def test_options_out_of_range_are_refused() -> None:
    for frames in (0, -1, 65):
        with pytest.raises(UsageError, match="frames must be between 1 and 64"):
            SamplingOptions(frames=frames)
    with pytest.raises(UsageError, match="by time or by scene, not by colour"):
        SamplingOptions(by="colour")  # type: ignore[arg-type]


def test_names_that_are_videos() -> None:
    assert all(is_video(f"a/clip{suffix}") for suffix in (".mp4", ".MOV", ".mkv", ".webm", ".avi"))
    assert not any(is_video(name) for name in ("clip.png", "mp4", "clip.mp4.txt", "-", ""))


def test_labels_and_parts() -> None:
    assert [frame_label(s) for s in (0, 5.99, 60, 3599.5, 3600, 360000)] == [
        "00:00", "00:05", "01:00", "59:59", "60:00", "6000:00",
    ]  # fmt: skip
    frames = [video.Frame(grey(0), 1.25), video.Frame(grey(0), 62.5)]
    assert frame_captions(frames) == ("Frame 00:01:", "Frame 01:02:")
    parts = interleaved(frame_captions(frames), [ImagePart(1), ImagePart(3)])
    assert parts == ("Frame 00:01:", ImagePart(1), "Frame 01:02:", ImagePart(3))
    assert interleaved((), [ImagePart(2)]) == (ImagePart(2),)
    with pytest.raises(PromptError, match="1 captions for 0 images"):
        interleaved(("Frame 00:01:",), [])
