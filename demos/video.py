"""A question about a video: a few frames, each with the time it was shown at.

Run ``python -m demos.video CLIP.mp4 [QUESTION] [--frames 16] [--model NAME]``; needs the extra ``video``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from vlm import VLM
from vlm.video import SamplingOptions, frame_captions, frame_label, sample_frames


def main(arguments: Sequence[str] | None = None) -> None:
    """Answer from the frames, and name the one that was looked at most."""
    parser = argparse.ArgumentParser(description="Ask about a video.")
    parser.add_argument("clip")
    parser.add_argument("question", nargs="?", default="What happens?")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--model", default="mini")
    chosen = parser.parse_args(arguments)

    frames = sample_frames(chosen.clip, SamplingOptions(frames=chosen.frames, by="scene"))
    print("frames at", ", ".join(frame_label(frame.seconds) for frame in frames))
    model = VLM.load(chosen.model)
    images = [frame.image for frame in frames]
    stream = model.stream(
        images, chosen.question, captions=frame_captions(frames), policy="off", max_tokens=64
    )
    answer = stream.read()
    print(answer.text)
    if answer.evidence:
        best = answer.evidence[0]
        print(f"looked at most: frame {frame_label(frames[best.image].seconds)}, {best.box}")


if __name__ == "__main__":
    main()
