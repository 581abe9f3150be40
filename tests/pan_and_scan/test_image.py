"""Real and hostile files: read as a person sees them, or refused by name."""

import io
import os
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from pan_and_scan import MAX_PIXELS, ImageError, load_image
from pan_and_scan.image import FORMATS

WHITE, RED, BLUE = (255, 255, 255), (255, 0, 0), (0, 0, 255)


def png(size: tuple[int, int], depth: int, colour: int, rows: bytes, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand: Pillow can't write every kind that others do."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", *size, depth, colour, 0, 0, 0)
    body = b"".join(chunk(kind, data) for kind, data in chunks)
    pixels = chunk(b"IDAT", zlib.compress(rows)) if rows else b""
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + body + pixels + chunk(b"IEND", b"")


def saved(image: Image.Image, kind: str, **options: object) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixels(image: Image.Image) -> list[tuple[int, int, int]]:
    assert image.mode == "RGB"
    flat = image.tobytes()
    return [(flat[i], flat[i + 1], flat[i + 2]) for i in range(0, len(flat), 3)]


def picture() -> Image.Image:
    """Red left, blue right, a white dot at the top left: no symmetry."""
    image = Image.new("RGB", (96, 64), RED)
    ImageDraw.Draw(image).rectangle((48, 0, 95, 63), fill=BLUE)
    ImageDraw.Draw(image).rectangle((0, 0, 15, 15), fill=WHITE)
    return image


# --- sources ---------------------------------------------------------------------------------------


def test_path_bytes_stream_and_image_are_the_same(tmp_path: Path) -> None:
    image = picture()
    path = tmp_path / "a picture.png"
    image.save(path)
    stream = io.BytesIO(path.read_bytes())
    stream.seek(0, io.SEEK_END)  # read from the start all the same
    for source in (path, str(path), path.read_bytes(), stream, image):
        loaded = load_image(source)
        assert loaded.tobytes() == image.tobytes()
        assert type(loaded) is Image.Image
    assert not stream.closed


def test_a_pipe_can_be_read() -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as end:
        end.write(saved(Image.new("RGB", (4, 4), RED), "PNG"))
    with os.fdopen(read, "rb") as stream:
        assert load_image(stream).size == (4, 4)


def test_an_endless_pipe_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pan_and_scan.image.MAX_STREAM_BYTES", 100)
    read, write = os.pipe()
    with os.fdopen(write, "wb") as end:
        end.write(bytes(200))
    with os.fdopen(read, "rb") as stream, pytest.raises(ImageError, match="holds more than"):
        load_image(stream)


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_callers_image_is_left_as_it_is(mode: str) -> None:
    image = picture().convert(mode)
    image.info["transparency"] = 0 if mode in ("P", "L") else None
    image.getexif()[0x0112] = 6
    before, info = image.tobytes(), dict(image.info)
    loaded = load_image(image)
    assert loaded is not image and loaded.size == (64, 96)
    loaded.paste(WHITE, (0, 0, 64, 96))
    assert (image.tobytes(), image.info, image.mode, image.size) == (before, info, mode, (96, 64))
    assert image.getexif()[0x0112] == 6


def test_something_else_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="not int"):
        load_image(7)  # type: ignore[arg-type]


# --- upright ---------------------------------------------------------------------------------------

# How a camera stores the upright picture under each orientation (EXIF 2.32, 4.6.4): the inverse turn.
STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP", "JPEG"])
def test_orientation_is_applied_once(orientation: int, kind: str) -> None:
    turn = STORED[orientation]
    stored = picture() if turn is None else picture().transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = (
        {"quality": 95, "subsampling": 0} if kind == "JPEG" else {"lossless": True} if kind == "WEBP" else {}
    )
    loaded = load_image(saved(stored, kind, exif=exif, **options))
    assert loaded.size == (96, 64)
    for place, colour in (((8, 8), WHITE), ((8, 56), RED), ((88, 8), BLUE), ((88, 56), BLUE)):
        seen = loaded.getpixel(place)
        assert isinstance(seen, tuple)
        assert all(abs(a - b) < 12 for a, b in zip(seen, colour, strict=True)), (place, seen)
    assert load_image(loaded).tobytes() == loaded.tobytes()
    assert not loaded.info and loaded.getexif().get(0x0112) is None


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\xff\xff\xff\xff", b""])
def test_broken_exif_leaves_the_picture_as_stored(exif: bytes) -> None:
    assert load_image(saved(picture(), "JPEG", exif=exif)).size == (96, 64)


@pytest.mark.parametrize("orientation", [0, 9, 60000])
def test_an_orientation_out_of_range_is_ignored(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    assert load_image(saved(picture(), "PNG", exif=exif)).tobytes() == picture().tobytes()


# --- transparency ----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA", "RGBa", "La"])
def test_alpha_lies_on_white(mode: str) -> None:
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (0, 0, 0, alpha))
    via = {"PA": "P", "RGBa": "RGBA", "La": "LA"}.get(mode, mode)
    if mode == "PA":
        converted = Image.new("PA", (3, 1))
        converted.putpalette([0, 0, 0] * 256)
        converted.putalpha(image.getchannel("A"))
    else:
        converted = image.convert("LA").convert(mode) if via == "LA" else image.convert(mode)
    assert pixels(load_image(converted)) == [(255,) * 3, (127,) * 3, (0,) * 3]


def test_palette_with_one_transparent_colour() -> None:
    data = png((3, 1), 8, 3, b"\0\0\1\2", (b"PLTE", bytes([*RED, *BLUE, 0, 0, 0])), (b"tRNS", b"\0"))
    assert pixels(load_image(data)) == [WHITE, BLUE, (0, 0, 0)]


def test_palette_with_an_alpha_for_each_colour() -> None:
    data = png((2, 1), 8, 3, b"\0\0\1", (b"PLTE", bytes([*RED, 0, 0, 0])), (b"tRNS", b"\x80\x40"))
    assert pixels(load_image(data)) == [(255, 127, 127), (191, 191, 191)]


@pytest.mark.parametrize(
    ("depth", "row", "key", "seen"),
    [
        (1, b"\x40", 0, [255, 255]),  # samples 0, 1
        (1, b"\x40", 1, [0, 255]),
        (2, b"\x90", 1, [170, 255]),  # samples 2, 1
        (4, b"\x5a", 5, [255, 170]),  # samples 5, 10
        (8, b"\x05\x0a", 5, [255, 10]),
        (16, b"\x40\x00\x40\x01", 0x4001, [64, 255]),  # told apart by the low byte alone
    ],
)
def test_grey_with_a_transparent_level(depth: int, row: bytes, key: int, seen: list[int]) -> None:
    data = png((2, 1), depth, 0, b"\0" + row, (b"tRNS", struct.pack(">H", key)))
    assert pixels(load_image(data)) == [(level,) * 3 for level in seen]


def test_one_bit_with_transparent_black_is_white_where_a_viewer_shows_nothing() -> None:
    data = png((8, 1), 1, 0, b"\0\x00", (b"tRNS", b"\0\0"))
    assert set(pixels(load_image(data))) == {WHITE}


def test_colour_with_a_transparent_colour() -> None:
    data = png((2, 1), 8, 2, bytes([0, 9, 8, 7, 9, 8, 6]), (b"tRNS", struct.pack(">HHH", 9, 8, 7)))
    assert pixels(load_image(data)) == [WHITE, (9, 8, 6)]


def test_16_bit_colour_with_a_transparent_colour() -> None:
    row = b"\0" + struct.pack(">6H", 0x0901, 0x0802, 0x0703, 0x0901, 0x0802, 0x0603)
    data = png((2, 1), 16, 2, row, (b"tRNS", struct.pack(">HHH", 0x0901, 0x0802, 0x0703)))
    assert pixels(load_image(data)) == [WHITE, (9, 8, 6)]


# --- kinds of colour -------------------------------------------------------------------------------


def test_16_bit_png_is_scaled_not_clipped() -> None:
    levels = [0, 128, 129, 255, 256, 32768, 65535]
    row = b"\0" + struct.pack(">7H", *levels)
    assert [r for r, _, _ in pixels(load_image(png((7, 1), 16, 0, row)))] == [round(v / 257) for v in levels]


@pytest.mark.parametrize("mode", ["I;16", "I;16B", "I;16L", "I"])
def test_16_bit_images_of_every_layout(mode: str) -> None:
    image = Image.new(mode, (3, 1))
    for x, level in enumerate((0, 32768, 65535)):
        image.putpixel((x, 0), level)
    assert [r for r, _, _ in pixels(load_image(image))] == [0, 128, 255]


@pytest.mark.parametrize(
    ("mode", "levels", "seen"),
    [
        ("F", (0.0, 0.5, 1.0), [0, 128, 255]),
        ("F", (0.0, 100.4, 200.0), [0, 100, 200]),
        ("F", (0.0, 25700.0, 65535.0), [0, 100, 255]),
        ("F", (-10.0, 0.0, 10.0), [0, 128, 255]),
        ("I", (0, 100, 255), [0, 100, 255]),  # 8 bits in a wide image
        ("I", (-100, 0, 100_000), [0, 0, 255]),
        ("I", (70_000, 70_000, 70_000), [0, 0, 0]),
    ],
)
def test_samples_without_a_declared_range(mode: str, levels: tuple[float, ...], seen: list[int]) -> None:
    image = Image.new(mode, (3, 1))
    for x, level in enumerate(levels):
        image.putpixel((x, 0), level)
    assert [r for r, _, _ in pixels(load_image(image))] == seen


def test_samples_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(ImageError, match=r"its colours \(F\) can't be read"):
        load_image(Image.new("F", (2, 2), float("inf")))


@pytest.mark.parametrize("kind", ["JPEG", "TIFF"])  # Pillow marks its JPEG as Adobe's: stored inverted
def test_cmyk_keeps_its_colours(kind: str) -> None:
    ink = Image.new("CMYK", (16, 16), (0, 255, 255, 0))  # magenta and yellow: red
    ((red, green, blue),) = set(pixels(load_image(saved(ink, kind))))
    assert red > 250 and green < 5 and blue < 5


@pytest.mark.parametrize("kind", [*FORMATS, "MPO"])
def test_grey_of_every_format(kind: str) -> None:
    loaded = load_image(saved(Image.new("L", (16, 16), 77), kind))
    assert all(abs(level - 77) < 4 for level in pixels(loaded)[0])


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "TIFF"])
def test_first_frame_of_an_animation(kind: str) -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in (RED, BLUE)]
    data = saved(frames[0], kind, save_all=True, append_images=frames[1:])
    red, green, blue = load_image(data).getpixel((8, 8))  # type: ignore[misc]
    assert red > 240 and green < 15 and blue < 15


def test_transparent_animation_lies_on_white() -> None:
    frame = Image.new("P", (4, 4), 0)
    frame.putpalette([*RED, *BLUE])
    frame.putpixel((0, 0), 1)
    data = saved(
        frame,
        "GIF",
        save_all=True,
        append_images=[frame.transpose(Image.Transpose.ROTATE_180)],
        transparency=0,
    )
    loaded = pixels(load_image(data))
    assert loaded[0] == BLUE and set(loaded[1:]) == {WHITE}


@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_odd_shapes(size: tuple[int, int]) -> None:
    assert load_image(saved(Image.new("RGB", size, RED), "PNG")).size == size


# --- refused ---------------------------------------------------------------------------------------


def test_missing_file_is_named() -> None:
    with pytest.raises(ImageError, match=r"^nowhere/scan\.png: no such file; check the path$"):
        load_image("nowhere/scan.png")


def test_directory(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="is a directory; name the image files in it"):
        load_image(tmp_path)


def test_permission_denied(monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object, mode: str) -> None:
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr("pan_and_scan.image.open", denied, raising=False)  # root may read everything
    with pytest.raises(ImageError, match=r"^secret\.png: may not be read; check its permissions$"):
        load_image("secret.png")


@pytest.mark.parametrize("path", ["", "a\0b.png", "x" * 5000, "setup.cfg/nothing"])
def test_paths_that_are_none(path: str) -> None:
    with pytest.raises(ImageError, match="check the path"):
        load_image(path)


def test_a_file_name_cannot_drive_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[2Jb\udcff.png"
    with pytest.raises(ImageError) as caught:
        load_image(path)
    assert str(caught.value).isprintable()
    assert "a\\x1b[2Jb\\udcff.png" in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"just text\n" * 50, b"%PDF-1.7\n", b"\x89PNG\r\n\x1a\n"])
def test_no_image_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "scan.png"
    path.write_bytes(content)
    with pytest.raises(
        ImageError, match=r"scan\.png: is (empty|not an image that can be read here); "
    ) as caught:
        load_image(path)
    assert ("is empty" in str(caught.value)) == (content == b"")


def test_postscript_never_reaches_ghostscript() -> None:
    data = saved(picture(), "EPS")
    with pytest.raises(ImageError, match="is not an image that can be read here"):
        load_image(data)


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
def test_truncated_files_are_refused(tmp_path: Path, kind: str, part: float) -> None:
    noise = Image.frombytes("RGB", (64, 64), bytes((i * 2654435761 >> 7) & 255 for i in range(64 * 64 * 3)))
    data = saved(noise, kind)
    path = tmp_path / f"cut.{kind.lower()}"
    path.write_bytes(data[: int(len(data) * part)])
    with pytest.raises(ImageError, match=rf"cut\.{kind.lower()}: is (cut off or damaged|not an image)"):
        load_image(path)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "TIFF", "WEBP", "BMP"])
def test_flipped_bytes_never_end_in_another_error(kind: str) -> None:
    data = saved(picture(), kind)
    for i in range(0, min(len(data), 400), 3):
        broken = data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :]
        try:
            load_image(broken, max_pixels=1_000_000)
        except ImageError as error:
            assert "0x" not in str(error) and str(error).startswith("the given bytes: ")


def test_no_address_in_a_message_about_a_stream() -> None:
    for stream in (io.BytesIO(b"text"), io.BytesIO(b"")):
        with pytest.raises(ImageError) as caught:
            load_image(stream)
        assert str(caught.value).startswith("the given bytes: ") and "0x" not in str(caught.value)


def test_streams_that_cannot_be_read() -> None:
    closed = io.BytesIO(b"x")
    closed.close()
    with pytest.raises(ImageError, match="can't be read; open it again"):
        load_image(closed)
    with pytest.raises(ImageError, match="open it in binary mode"):
        load_image(io.StringIO("x"))  # type: ignore[arg-type]


def test_a_closed_callers_image(tmp_path: Path) -> None:
    path = tmp_path / "scan.png"
    picture().save(path)
    with Image.open(path) as image:
        pass
    with pytest.raises(ImageError, match=r"scan\.png: is cut off or damaged"):
        load_image(image)


@pytest.mark.parametrize("size", [(30000, 30000), (10000, 9500), (10000, 8001)])
def test_too_many_pixels_are_refused_by_the_header(size: tuple[int, int]) -> None:
    start = time.perf_counter()
    with pytest.raises(ImageError, match=r"has more pixels than the 80,000,000 allowed; scale it down"):
        load_image(png(size, 8, 2, b""))
    assert time.perf_counter() - start < 0.2


def test_our_limit_lies_below_pillows() -> None:
    assert Image.MAX_IMAGE_PIXELS is not None and MAX_PIXELS < Image.MAX_IMAGE_PIXELS


def test_pillows_limit_counts_where_it_is_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ImageError, match=r"10000x9500 has more pixels than the 89,478,485 allowed"):
        load_image(png((10000, 9500), 8, 2, b""), max_pixels=10**12)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with pytest.raises(ImageError, match=r"10x10 has more pixels than the 50 allowed"):
        load_image(saved(Image.new("RGB", (10, 10)), "PNG"))


def test_the_limit_is_inclusive_and_holds_for_images_too() -> None:
    image = Image.new("RGB", (10, 10))
    assert load_image(image, max_pixels=100).size == (10, 10)
    for source in (image, saved(image, "PNG")):
        with pytest.raises(ImageError, match="10x10 has more pixels than the 99 allowed"):
            load_image(source, max_pixels=99)


def test_a_limit_below_one_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="max_pixels must be at least 1"):
        load_image(Image.new("RGB", (1, 1)), max_pixels=0)


def test_the_package_needs_pillow_alone() -> None:
    code = "import sys, pan_and_scan; print([m for m in ('torch', 'numpy', 'vlm') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
