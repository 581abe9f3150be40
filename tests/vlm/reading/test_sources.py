"""From what a person names to pages: every kind of file, order, ranges, and files that can't be read."""

from __future__ import annotations

import gc
import hashlib
import io
import math
import os
import random
import re
import struct
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from fpdf import FPDF
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from vlm.errors import ImageError, UsageError
from vlm.reading import pdf, sources
from vlm.reading.sources import SourceOptions, SourcePage, list_pages
from vlm.reading.textlayer import PlacedImage, Survey

RED, BLUE = (255, 0, 0), (0, 0, 255)


def picture(colour: tuple[int, int, int] = RED, size: tuple[int, int] = (40, 30)) -> Image.Image:
    return Image.new("RGB", size, colour)


def write_pdf(
    path: Path, pages: int = 3, size: tuple[float, float] = (300, 200), font: float = 12, password: str = ""
) -> Path:
    document = FPDF(unit="pt", format=size)
    document.set_auto_page_break(False)
    for number in range(1, pages + 1):
        document.add_page()
        if font:
            document.set_font("Helvetica", size=font)
            document.text(20, 100, f"This is page {number}")
    if password:
        document.set_encryption(owner_password="owner", user_password=password)
    document.output(str(path))
    return path


def scan_pdf(path: Path, image: Image.Image, size: tuple[float, float] = (595, 842)) -> Path:
    document = FPDF(unit="pt", format=size)
    document.add_page()
    document.image(image, 0, 0, *size)
    document.output(str(path))
    return path


def listed(*inputs: str | Path, **options: object) -> list[SourcePage]:
    return list(list_pages(inputs, SourceOptions(**options)))


def names(pages: Sequence[SourcePage], base: Path) -> list[str]:
    return [os.path.relpath(page.file, base) for page in pages]


# Kinds of files


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".webp", ".bmp", ".gif", ".tiff", ".ppm"])
def test_images_are_one_page(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"scan{suffix}"
    picture().save(path)
    (page,) = listed(path)
    assert (page.file, page.number, page.count) == (str(path), 1, 1)
    assert page.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    opened = page.open()
    assert (opened.image.size, opened.image.mode, opened.layer, opened.dpi) == ((40, 30), "RGB", None, None)
    assert opened.image.getpixel((5, 5)) == pytest.approx(RED, abs=3)


def test_a_gif_is_its_first_frame(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    picture(RED).save(path, save_all=True, append_images=[picture(BLUE)])
    (page,) = listed(path)
    assert page.open().image.getpixel((5, 5)) == RED


def test_a_photo_lies_upright(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture().save(tmp_path / "a.jpg", exif=exif)
    assert listed(tmp_path / "a.jpg")[0].open().image.size == (30, 40)


def test_heic_is_read_as_it_is_shown(tmp_path: Path) -> None:
    """Its turn is in the container; the EXIF's is not to be obeyed as well (ISO 23008-12, annex A)."""
    import pillow_heif

    exif = Image.Exif()
    exif[0x0112] = 1
    held = io.BytesIO()
    pillow_heif.from_pillow(picture(size=(64, 32))).save(held, quality=90, exif=exif.tobytes())
    entry = b"\x01\x12\x00\x03\x00\x00\x00\x01\x00"
    assert held.getvalue().count(entry + b"\x01") == 1
    (tmp_path / "a.heic").write_bytes(held.getvalue().replace(entry + b"\x01", entry + b"\x06"))
    image = listed(tmp_path / "a.heic")[0].open().image
    assert (image.size, image.mode) == ((64, 32), "RGB")
    assert image.getpixel((5, 5)) == pytest.approx(RED, abs=12)


def test_a_damaged_heic_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + b"\xff" * 50)
    with pytest.raises(ImageError, match=r"a.heic: is cut off or damaged"):
        listed(tmp_path / "a.heic")[0].open()


@pytest.mark.parametrize(
    ("package", "name", "extra"), [("pillow_heif", "a.heic", "vlm[heic]"), ("pypdfium2", "a.pdf", "vlm[pdf]")]
)
def test_a_missing_package_is_named_before_any_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, name: str, extra: str
) -> None:
    write_pdf(tmp_path / "a.pdf")
    (tmp_path / "a.heic").write_bytes(b"\0\0\0\x18ftypheic")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(UsageError, match=rf"pip install '{extra[:3]}\[{extra[4:-1]}\]'"):
        listed(tmp_path / name)


def test_all_pages_of_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    picture(RED).save(path, save_all=True, append_images=[picture(BLUE, (20, 60)), picture((0, 255, 0))])
    pages = listed(path)
    assert [(page.number, page.count) for page in pages] == [(1, 3), (2, 3), (3, 3)]
    assert [page.open().image.getpixel((5, 5)) for page in reversed(pages)] == [(0, 255, 0), BLUE, RED]
    assert pages[1].open().image.size == (20, 60)


def test_one_bad_page_of_a_tiff_fails_alone(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    images = [Image.frombytes("L", (64, 64), random.Random(seed).randbytes(4096)) for seed in range(3)]
    images[0].save(path, save_all=True, append_images=images[1:], compression="tiff_adobe_deflate")
    with Image.open(path) as image:
        image.seek(1)
        (offset,) = image.tag_v2[273]
    raw = bytearray(path.read_bytes())
    raw[offset : offset + 40] = b"\xff" * 40
    path.write_bytes(raw)
    pages = listed(path)
    assert len(pages) == 3
    assert pages[0].open().image.size == pages[2].open().image.size == (64, 64)
    with pytest.raises(ImageError, match=r"fax.tif, page 2: is cut off or damaged"):
        pages[1].open()


def test_a_tiff_cut_within_its_directories_keeps_the_pages_before(tmp_path: Path) -> None:
    path = tmp_path / "fax.tif"
    picture(RED).save(path, save_all=True, append_images=[picture(BLUE)])
    raw = bytearray(path.read_bytes())
    (first,) = struct.unpack_from("<I", raw, 4)
    (entries,) = struct.unpack_from("<H", raw, first)
    struct.pack_into("<I", raw, first + 2 + 12 * entries, len(raw) + 1000)
    path.write_bytes(raw)
    pages = listed(path)
    assert pages[0].open().image.getpixel((5, 5)) == RED
    for page in pages[1:]:
        with pytest.raises(ImageError):
            page.open()


def test_pages_of_a_pdf(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf")
    pages = listed(path)
    assert [(page.number, page.count) for page in pages] == [(1, 3), (2, 3), (3, 3)]
    opened = pages[1].open()
    assert opened.layer is not None
    assert [block.text for block in opened.layer.blocks] == ["This is page 2"]
    assert opened.image.mode == "RGB"
    assert opened.image.getpixel((2, 2)) == (255, 255, 255)


def test_what_a_file_is_its_bytes_say(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", pages=2).rename(tmp_path / "a.png")
    assert len(listed(tmp_path / "a.png")) == 2
    picture().save(tmp_path / "b.png")
    (tmp_path / "b.png").rename(tmp_path / "b.jpg")
    assert listed(tmp_path / "b.jpg")[0].open().image.size == (40, 30)


def test_one_pixel_is_a_page(tmp_path: Path) -> None:
    picture(size=(1, 1)).save(tmp_path / "a.png")
    assert listed(tmp_path / "a.png")[0].open().image.size == (1, 1)


# Standard input


def piped(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))


def test_standard_input_may_be_a_pdf_or_an_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = write_pdf(tmp_path / "a.pdf").read_bytes()
    piped(monkeypatch, content)
    pages = listed("-", pages="2-")
    assert [(page.file, page.number, page.count) for page in pages] == [("-", 2, 3), ("-", 3, 3)]
    assert pages[0].open().layer is not None
    assert pages[0].sha256 == hashlib.sha256(content).hexdigest()
    buffer = io.BytesIO()
    picture().save(buffer, "PNG")
    piped(monkeypatch, buffer.getvalue())
    assert listed("-")[0].open().image.size == (40, 30)


def test_what_is_wrong_with_standard_input_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    piped(monkeypatch, b"")
    with pytest.raises(UsageError, match="standard input: is empty"):
        list_pages(["-"])
    piped(monkeypatch, b"no image at all")
    with pytest.raises(ImageError, match="standard input: is not an image"):
        listed("-")[0].open()
    piped(monkeypatch, b"12345678")
    monkeypatch.setattr(sources, "MAX_STREAM_BYTES", 7)
    with pytest.raises(UsageError, match="standard input: holds more than"):
        list_pages(["-"])
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(UsageError, match="there is none"):
        list_pages(["-"])


@pytest.mark.skipif(os.name == "nt", reason="no named pipes there")
def test_a_pipe_by_its_name(tmp_path: Path) -> None:
    read, write = os.pipe()
    with os.fdopen(write, "wb") as end:
        picture().save(end, "PNG")
    assert listed(f"/dev/fd/{read}")[0].open().image.size == (40, 30)
    os.close(read)


# Folders and globs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    base = tmp_path / "scans"
    for name in ("page10.png", "page2.png", "Page1.PNG", "b/a.png", "b/.hidden.png", ".git/x.png", "c.png"):
        path = base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture().save(path, "PNG")
    (base / "notes.txt").write_text("not to be read")
    write_pdf(base / "a.pdf", pages=2)
    return base


def test_a_folder_is_read_through_in_natural_order(folder: Path) -> None:
    pages = listed(folder)
    wanted = ["a.pdf", "a.pdf", "b/a.png", "c.png", "Page1.PNG", "page2.png", "page10.png"]
    assert names(pages, folder) == wanted


def test_globs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert names(listed(f"{folder}/*.png"), folder) == ["c.png", "page2.png", "page10.png"]
    assert names(listed(f"{folder}/**/*.png"), folder) == ["b/a.png", "c.png", "page2.png", "page10.png"]
    assert names(listed(f"{folder}/page[0-9].*"), folder) == ["page2.png"]
    assert names(listed(f"{folder}/b/.*.png"), folder) == ["b/.hidden.png"]
    monkeypatch.chdir(folder)
    assert [page.file for page in listed("page*.png")] == ["page2.png", "page10.png"]


def test_a_file_whose_name_looks_like_a_glob_is_that_file(tmp_path: Path) -> None:
    picture().save(tmp_path / "a[1].png")
    assert names(listed(tmp_path / "a[1].png"), tmp_path) == ["a[1].png"]


def test_a_file_reached_twice_is_read_once(folder: Path) -> None:
    pages = listed(folder / "c.png", folder / "*.png", folder, folder / "c.png")
    assert len(pages) == len(set(names(pages, folder)) - {"a.pdf"}) + 2
    assert pages[0].file.endswith("c.png")


@pytest.mark.skipif(os.name == "nt", reason="links need rights there")
def test_links_in_circles_end(folder: Path) -> None:
    (folder / "b" / "up").symlink_to(folder)
    (folder / "b" / "again").symlink_to(folder / "b")
    (folder / "self.png").symlink_to(folder / "self.png")
    (folder / "gone.png").symlink_to(folder / "not there.png")
    pages = listed(folder)
    files = names(pages, folder)
    assert len(files) == len(set(files)) + 1  # the PDF's two pages
    assert files.count("b/a.png") == 1
    for page in pages:
        if page.file.endswith(("self.png", "gone.png")):
            with pytest.raises(ImageError):
                page.open()
            assert page.sha256 == ""
    assert {"self.png", "gone.png"} < set(files)  # a page should be there: it is not lost in silence
    assert len(names(listed(f"{folder}/**/a.png"), folder)) == 1


@pytest.mark.skipif(sys.platform != "linux", reason="file names are text elsewhere")
def test_names_that_are_no_text(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9.png"
    Path(os.fsdecode(raw)).write_bytes(b"")
    picture().save(io.BytesIO(), "PNG")
    with open(raw, "wb") as file:
        picture().save(file, "PNG")
    write_pdf(tmp_path / "b.pdf", pages=1).rename(os.fsdecode(os.fsencode(tmp_path) + b"/d\xff.pdf"))
    pages = listed(tmp_path)
    assert names(pages, tmp_path) == ["caf\\xe9.png", "d\\xff.pdf"]
    for page in pages:
        page.file.encode("utf-8")
        assert page.open().image.size[0] > 1
    assert listed(os.fsdecode(raw))[0].open().image.size == (40, 30)


def test_control_characters_in_a_name_reach_no_terminal(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        list_pages([tmp_path / "a\x1b[2J.png"])
    assert "\x1b" not in str(caught.value)


def test_listing_is_lazy(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[str] = []
    count = sources.SourceFile.count

    def noted(self: sources.SourceFile, *args: object) -> int:
        counted.append(self.name)
        return count(self, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(sources.SourceFile, "count", noted)
    pages = list_pages([folder])
    assert counted == []
    next(pages)
    assert len(counted) == 1


@given(st.lists(st.text(max_size=12), max_size=8))
def test_any_names_have_an_order(files: list[str]) -> None:
    assert sorted(files, key=sources._natural) == sorted(reversed(files), key=sources._natural)


# Named, but not there


def test_what_is_not_there_is_refused_at_once(tmp_path: Path) -> None:
    picture().save(tmp_path / "a.png")
    (tmp_path / "empty").mkdir()
    (tmp_path / "texts").mkdir()
    (tmp_path / "texts" / "a.txt").write_text("text")
    for name, why in (
        ("none.png", "none.png: no such file; check the path"),
        ("none/*.png", "no file that can be read here fits it"),
        ("*.txt", "no file that can be read here fits it"),
        ("empty", "empty: no file in it can be read here; it takes PDF, PNG"),
        ("texts", "no file in it can be read here"),
        ("a\0.png", "not a valid path"),
        ("x" * 5000, "File name too long"),
    ):
        with pytest.raises(UsageError, match=why) as caught:
            list_pages([tmp_path / "a.png", tmp_path / name])
        assert "\n" not in str(caught.value)
    with pytest.raises(UsageError, match="nothing to read"):
        list_pages([])


def test_odd_patterns_are_one_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for pattern in ("**", "a**b", "[", "[!", "*/../*", "/**x", "**/**/**/*.png", "?\0", "***"):
        with pytest.raises(UsageError):
            list_pages([pattern])


# Ranges of pages


@pytest.mark.parametrize(
    ("pages", "wanted"),
    [("", [1, 2, 3, 4, 5]), ("2", [2]), ("1-2,5", [1, 2, 5]), ("4-", [4, 5]), ("3-9", [3, 4, 5]),
     ("5,1-2, 2", [1, 2, 5]), ("1-,2", [1, 2, 3, 4, 5])],
)  # fmt: skip
def test_ranges(tmp_path: Path, pages: str, wanted: list[int]) -> None:
    path = write_pdf(tmp_path / "a.pdf", pages=5)
    assert [page.number for page in listed(path, pages=pages)] == wanted


@pytest.mark.parametrize(
    "pages", ["0", "3-1", "a", "1,,2", "-3", "1-2-3", "²", "1;2", "99999999999", "--", "1 2"]
)
def test_ranges_that_are_none(pages: str) -> None:
    with pytest.raises(UsageError, match="pages are given as in 1-3,7,9-"):
        SourceOptions(pages=pages)


def test_pages_a_named_file_does_not_have_fail_and_are_not_dropped(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", pages=3)
    (page,) = listed(path, pages="12-")
    assert page.number == 12
    with pytest.raises(UsageError, match=r"a.pdf: has 3 pages, so there is no page 12"):
        page.open()
    assert [page.number for page in listed(path, pages="1,7")] == [1, 7]


def test_pages_a_found_file_does_not_have_are_left_out(tmp_path: Path) -> None:
    write_pdf(tmp_path / "a.pdf", pages=3)
    write_pdf(tmp_path / "b.pdf", pages=1)
    assert [(page.file[-5:], page.number) for page in listed(tmp_path, pages="2-")] == [
        ("a.pdf", 2), ("a.pdf", 3),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="no file has any of the pages 8"):
        listed(tmp_path, pages="8")


def test_too_many_pages_have_to_be_chosen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "MAX_PAGES", 2)
    path = write_pdf(tmp_path / "a.pdf", pages=3)
    (page,) = listed(path)
    with pytest.raises(UsageError, match=r"a.pdf: has 3 pages, 2 are read at once; choose some"):
        page.open()
    assert len(listed(path, pages="2-3")) == 2


# Files that can't be read: recorded, not in the way of the others


def test_damaged_files_are_listed_and_fail_on_opening(tmp_path: Path) -> None:
    whole = write_pdf(tmp_path / "whole.pdf").read_bytes()
    for name, content, why in (
        ("empty.pdf", b"", "empty.pdf: is empty"),
        ("empty.png", b"", "empty.png: is empty"),
        ("header.pdf", whole[:20], "header.pdf: is no PDF, or a damaged one"),
        ("text.pdf", b"To whom it may concern\n" * 40, "text.pdf: is no PDF, or a damaged one"),
        ("text.png", b"To whom it may concern\n" * 40, "text.png: is not an image"),
        ("cut.tif", b"II*\0\xff\xff\xff\xff", "cut.tif, page 1: is cut off or damaged"),
        ("cut.png", b"\x89PNG\r\n\x1a\n", "cut.png: is cut off or damaged|cut.png: is not an image"),
    ):
        (tmp_path / name).write_bytes(content)
        (page,) = listed(tmp_path / name)
        assert (page.number, page.count) == (1, 1)
        with pytest.raises(ImageError, match=why) as caught:
            page.open()
        assert "\n" not in str(caught.value) and "0x" not in str(caught.value)
        assert page.sha256 == hashlib.sha256(content).hexdigest()
    pages = listed(tmp_path)
    assert len(pages) == 7 + 3


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 0.99])
def test_a_pdf_cut_off_gives_pages_or_clear_errors(tmp_path: Path, share: float) -> None:
    whole = write_pdf(tmp_path / "a.pdf", pages=5).read_bytes()
    (tmp_path / "a.pdf").write_bytes(whole[: int(len(whole) * share)])
    pages = listed(tmp_path / "a.pdf")
    assert pages
    for page in pages:
        try:
            assert page.open().image.size[0] > 0
        except ImageError as error:
            assert "damaged" in str(error)


def test_one_bad_page_of_a_pdf_fails_alone(tmp_path: Path) -> None:
    raw = write_pdf(tmp_path / "a.pdf").read_bytes()
    _, second, _ = re.finditer(rb"<<[^>]*?/Type /Page\n>>", raw)
    (tmp_path / "a.pdf").write_bytes(
        raw[: second.start()] + b"null".ljust(len(second[0])) + raw[second.end() :]
    )
    pages = listed(tmp_path / "a.pdf")
    assert len(pages) == 3
    assert pages[0].open().layer is not None and pages[2].open().layer is not None
    with pytest.raises(ImageError, match=r"a.pdf: page 2 is damaged"):
        pages[1].open()


def test_a_locked_pdf_asks_for_its_password(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", password="secret")
    (page,) = listed(path)
    with pytest.raises(UsageError, match=r"a.pdf: is encrypted; give its password"):
        page.open()
    (page,) = listed(path, password="guess")
    with pytest.raises(UsageError, match=r"a.pdf: the password is wrong"):
        page.open()
    pages = listed(path, password="secret")
    assert len(pages) == 3
    assert pages[2].open().layer is not None


def test_a_file_that_went_away_says_so(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf")
    pages = listed(path)
    path.unlink()
    with pytest.raises(ImageError, match=r"a.pdf: is not there any more"):
        pages[0].open()
    assert pages[0].sha256 == ""


# Resolution


@pytest.mark.parametrize(("font", "dpi"), [(8, 180), (12, 120), (3, 400), (40, 72)])
def test_body_text_becomes_twenty_pixels_high(tmp_path: Path, font: float, dpi: float) -> None:
    path = write_pdf(tmp_path / "a.pdf", pages=1, size=(600, 800), font=font)
    opened = listed(path, window_size=100)[0].open()
    assert opened.dpi == pytest.approx(dpi)
    assert opened.image.size == pytest.approx((600 * dpi / 72, 800 * dpi / 72), abs=1)


def test_small_pages_fill_the_encoders_input(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", pages=1, size=(200, 300))
    assert max(listed(path, window_size=896)[0].open().image.size) == pytest.approx(896, abs=1)
    path = write_pdf(tmp_path / "a.pdf", pages=1, size=(20, 30))
    assert listed(path)[0].open().dpi == 400


def test_a_scan_keeps_its_own_resolution(tmp_path: Path) -> None:
    path = scan_pdf(tmp_path / "a.pdf", Image.linear_gradient("L").resize((1653, 2339)))  # A4 at 200 dpi
    opened = listed(path)[0].open()
    assert opened.dpi == pytest.approx(200, abs=0.5)
    assert opened.image.size == pytest.approx((1653, 2339), abs=2)
    assert opened.layer is not None and not opened.layer.sound


def test_a_background_of_few_pixels_is_no_scan(tmp_path: Path) -> None:
    path = scan_pdf(tmp_path / "a.pdf", picture(size=(1, 1)))
    assert listed(path)[0].open().dpi == 150


def test_pages_without_text_or_image(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", pages=1, size=(595, 842), font=0)
    assert listed(path)[0].open().dpi == 150


def test_the_resolution_asked_for(tmp_path: Path) -> None:
    path = write_pdf(tmp_path / "a.pdf", pages=1)
    assert listed(path, dpi=36)[0].open().image.size == (150, 100)
    for dpi in (0, 5, -100, 1e9, float("nan")):
        with pytest.raises(UsageError, match="dpi must be between 10 and 2400"):
            SourceOptions(dpi=dpi)


def test_no_page_has_more_pixels_than_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pdf, "MAX_PIXELS", 50_000)
    path = write_pdf(tmp_path / "a.pdf", pages=1)
    width, height = listed(path)[0].open().image.size
    assert 40_000 < width * height <= 50_000
    (page,) = listed(path, dpi=300)
    with pytest.raises(UsageError, match=r"page 1: has more than 50,000 pixels at 300 dpi; ask for 65 dpi"):
        page.open()


@given(
    st.floats(1, 20000), st.floats(1, 20000), st.one_of(st.none(), st.floats(1, 5000)), st.integers(1, 2000)
)
def test_any_page_has_a_resolution_within_bounds(
    width: float, height: float, scan: float | None, window_size: int
) -> None:
    images = () if scan is None else (PlacedImage((0, 0, width, height), scan, on_top=False),)
    found = Survey(width, height, (), 0, 0, 0, 0, images, 0)
    dpi = pdf.choose_dpi(found, "a.pdf", pdf.Rendering(window_size=window_size))
    assert 0 < dpi <= 400
    assert math.ceil(width * dpi / 72) * math.ceil(height * dpi / 72) <= pdf.MAX_PIXELS


# Memory


@pytest.fixture
def only_new_objects() -> Iterator[None]:
    """gc looks at nothing that was there before, which is most of torch."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("only_new_objects")
def test_nothing_stays_open_over_many_pages(tmp_path: Path) -> None:
    """Counted in documents, pages and images alive, after every page of a long listing."""
    import pypdfium2

    for number in range(20):
        write_pdf(tmp_path / f"{number}.pdf", pages=5, font=0)
        picture().save(tmp_path / f"{number}.png")
    kinds = (pypdfium2.PdfDocument, pypdfium2.PdfPage, pypdfium2.PdfBitmap, Image.Image, SourcePage)

    def alive() -> int:
        gc.collect()
        return sum(issubclass(type(thing), kinds) for thing in gc.get_objects())

    before = alive()
    counts = []
    for page in list_pages([tmp_path], SourceOptions(dpi=10)):
        page.open()
        counts.append(alive() - before)
    assert len(counts) == 120
    assert max(counts) <= 2  # the page at hand


def test_a_file_is_hashed_once_and_only_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_pdf(tmp_path / "a.pdf", pages=4)
    hashed = []
    digest = hashlib.file_digest

    def noted(stream: object, name: str) -> object:
        hashed.append(name)
        return digest(stream, name)  # type: ignore[arg-type]

    monkeypatch.setattr(hashlib, "file_digest", noted)
    pages = listed(path)
    assert hashed == []
    assert len({page.sha256 for page in pages}) == 1
    assert len(hashed) == 1
