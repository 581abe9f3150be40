"""Short videos with known pictures."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
from PIL import Image

RATE = 10  # pictures a second


def write(path: Path, pictures: Sequence[Image.Image], **settings: object) -> Path:
    """A video of these pictures at 10 a second, a key frame a second."""
    options = {"gop_size": RATE} | settings
    rotation, aspect = options.pop("rotation", None), options.pop("aspect", None)
    container_options = options.pop("container_options", {})
    with av.open(str(path), "w", container_options=container_options) as container:
        stream = container.add_stream("mpeg4", rate=RATE)
        stream.width, stream.height = pictures[0].size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        stream.gop_size = options["gop_size"]
        if rotation is not None:
            stream.set_display_rotation(rotation)
        if aspect is not None:
            stream.sample_aspect_ratio = aspect
        for index, picture in enumerate(pictures):
            frame = av.VideoFrame.from_image(picture)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
