"""Draws the demo images, the same pixels every time.

The font is the one Pillow carries, laid out by Pillow's own simple engine, so that no system font
and no text-shaping library has a say. Run ``python -m demos.draw_images`` after a change here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parent / "images"

Colour = tuple[int, int, int]
PAPER: Colour = (252, 251, 247)
INK: Colour = (28, 28, 32)
FADED: Colour = (110, 110, 116)
RULE: Colour = (176, 176, 180)

_GOODS = (
    ("2 Rye bread", "6.40"),
    ("1 Goat cheese", "4.85"),
    ("3 Lemons", "1.95"),
    ("1 Olive oil", "8.90"),
    ("6 Eggs", "2.75"),
)
_STOPS = ("Harbour", "Old Mill", "Market", "Museum", "Station", "Park", "Airport")
_ENTRIES = (
    ("Family name", "Okafor"),
    ("First name", "Amina"),
    ("Date of birth", "3 May 1988"),
    ("Town", "Ashford"),
    ("Telephone", "01632 960 318"),
)
_VISITORS = (("Jan", 42), ("Feb", 55), ("Mar", 71), ("Apr", 64), ("May", 88), ("Jun", 97))  # thousands
_PARAGRAPHS = (
    (
        "The tide gauge at Northpoint was read twice a day from the spring of",
        "1931 until the new pier was opened. Each reading was written down in",
        "feet and inches, and copied into the ledger at the end of the month.",
    ),
    (
        "Three of the ledgers are lost. What they held was found again in the",
        "letters of the harbour master, who sent a copy of every page to the",
        "survey office, together with the weather of the day.",
    ),
    (
        "The table gives the highest water of each year. Years with fewer",
        "than three hundred readings are left out.",
    ),
)
_READINGS = (
    ("Year", "Days", "Highest"),
    ("1931", "341", "14 ft 2 in"),
    ("1932", "366", "13 ft 11 in"),
    ("1933", "359", "15 ft 0 in"),
    ("1936", "364", "14 ft 7 in"),
    ("1937", "352", "14 ft 9 in"),
    ("1938", "365", "16 ft 1 in"),
)


def font(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font at a height of ``size`` pixels.

    Raises:
        RuntimeError: this Pillow was built without FreeType.
    """
    found = ImageFont.load_default(size)
    if not isinstance(found, ImageFont.FreeTypeFont):
        raise RuntimeError("drawing the demo images needs a Pillow with FreeType")
    return found.font_variant(layout_engine=ImageFont.Layout.BASIC)


def receipt() -> Image.Image:
    """A till receipt that is cut into two 224-pixel windows beside the whole."""
    page = Image.new("RGB", (416, 640), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((208, 30), "CORNER SHOP", INK, font(40), anchor="mm")
    draw.text((208, 72), "12 Mill Lane", FADED, font(24), anchor="mm")
    draw.text((208, 102), "14 March 2025  17:42", FADED, font(24), anchor="mm")
    _dashes(draw, 132, page.width)
    _columns(draw, _GOODS, top=166, step=42)
    _dashes(draw, 376, page.width)
    draw.text((26, 420), "TOTAL", INK, font(42), anchor="lm")
    draw.text((390, 420), "24.85", INK, font(42), anchor="rm")
    _columns(draw, (("Cash", "30.00"), ("Change", "5.15")), top=476, step=40)
    _dashes(draw, 548, page.width)
    draw.text((208, 600), "Thank you!", INK, font(32), anchor="mm")
    return page


def sign() -> Image.Image:
    """Two lines of large letters."""
    page = Image.new("RGB", (640, 320), (206, 214, 222))
    draw = ImageDraw.Draw(page)
    draw.rounded_rectangle((24, 24, 615, 295), radius=28, fill=(255, 255, 255))
    draw.rounded_rectangle((36, 36, 603, 283), radius=20, outline=(20, 84, 140), width=8)
    draw.text((320, 118), "NO PARKING", (20, 84, 140), font(84), anchor="mm")
    draw.text((320, 216), "8 am to 6 pm", INK, font(64), anchor="mm")
    return page


def notice() -> Image.Image:
    """Two short printed lines, which mini reads."""
    page = Image.new("RGB", (448, 320), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((27, 38), "Fresh bread", INK, font(44))
    draw.text((27, 104), "every morning", INK, font(44))
    return page


def strip() -> Image.Image:
    """One very wide line."""
    page = Image.new("RGB", (1600, 200), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    line = "The night train to Lisbon leaves from platform 7"
    draw.text((800, 100), line, INK, font(66), anchor="mm")
    return page


def scan() -> Image.Image:
    """A square page: paragraphs above, a table below, and one quarter of it empty."""
    page = Image.new("RGB", (1800, 1800), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((120, 130), "High water at Northpoint", INK, font(76), anchor="ls")
    draw.line((120, 162, 1680, 162), RULE, 4)
    y = 246
    for paragraph in _PARAGRAPHS:
        for line in paragraph:
            draw.text((120, y), line, INK, font(44), anchor="ls")
            y += 62
        y += 34
    _table(draw, left=120, top=960)
    return page.convert("L")  # as scanners give text pages, and a third of the bytes


def shapes() -> Image.Image:
    """Three coloured shapes in a row, each above its name."""
    page = Image.new("RGB", (720, 360), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    draw.ellipse((60, 60, 220, 220), fill=(200, 40, 40))
    draw.rectangle((285, 65, 435, 215), fill=(30, 90, 190))
    draw.polygon(((580, 60), (670, 216), (490, 216)), fill=(30, 140, 70))
    for x, name in ((140, "circle"), (360, "square"), (580, "triangle")):
        draw.text((x, 286), name, INK, font(44), anchor="mm")
    return page


def tall() -> Image.Image:
    """A narrow list of tram stops, five times as tall as wide."""
    page = Image.new("RGB", (260, 1300), (244, 247, 250))
    draw = ImageDraw.Draw(page)
    draw.text((130, 70), "Line 4", (20, 84, 140), font(60), anchor="mm")
    ys = range(180, 1300, 168)
    draw.line((44, ys[0], 44, ys[len(_STOPS) - 1]), (20, 84, 140), 8)
    for y, stop in zip(ys, _STOPS, strict=False):
        draw.ellipse((30, y - 14, 58, y + 14), fill=(255, 255, 255), outline=(20, 84, 140), width=6)
        draw.text((78, y), stop, INK, font(40), anchor="lm")
    return page


def form() -> Image.Image:
    """A filled-in form: printed labels over entries in boxes, and one box that is ticked."""
    page = Image.new("RGB", (700, 900), PAPER)
    draw = ImageDraw.Draw(page)
    draw.text((50, 66), "Library card", INK, font(52), anchor="lm")
    draw.text((50, 116), "Please use capital letters or print clearly.", FADED, font(22), anchor="lm")
    for row, (label, entry) in enumerate(_ENTRIES):
        y = 160 + row * 112
        draw.text((50, y + 14), label, FADED, font(24), anchor="lm")
        draw.rectangle((50, y + 34, 650, y + 92), fill=(255, 255, 255), outline=RULE, width=3)
        draw.text((68, y + 63), entry, (20, 60, 140), font(34), anchor="lm")
    for x, label in ((50, "adult"), (250, "student"), (490, "senior")):
        draw.rectangle((x, 746, x + 34, 780), fill=(255, 255, 255), outline=RULE, width=3)
        draw.text((x + 48, 763), label, INK, font(28), anchor="lm")
    draw.line(((257, 764), (266, 775), (284, 748)), (20, 60, 140), 6, joint="curve")
    draw.text((50, 838), "Valid until 31 December 2026", INK, font(28), anchor="lm")
    return page


def exodos() -> Image.Image:
    """A Greek sign, "exit" and an arrow, its letters drawn as strokes: Pillow's font has no Greek."""
    page = Image.new("RGB", (720, 300), (236, 240, 236))
    draw = ImageDraw.Draw(page)
    draw.rounded_rectangle((20, 20, 699, 279), radius=20, fill=(0, 104, 71))
    for place, letter in enumerate("ΕΞΟΔΟΣ"):
        left = 60 + place * 78
        for stroke in _STROKES[letter]:
            points = [(left + x * 56, 96 + y * 108) for x, y in stroke]
            draw.line(points, (255, 255, 255), 13, joint="curve")
    draw.line(((545, 150), (655, 150)), (255, 255, 255), 14)
    draw.polygon(((672, 150), (628, 118), (628, 182)), fill=(255, 255, 255))
    return page


def chart() -> Image.Image:
    """A bar chart with a title, values on its axis and a name below each bar."""
    page = Image.new("RGB", (800, 560), (255, 255, 255))
    draw = ImageDraw.Draw(page)
    draw.text((400, 46), "Museum visitors, 2025", INK, font(38), anchor="mm")
    draw.text((60, 92), "thousands", FADED, font(22), anchor="lm")
    for value in range(0, 101, 25):
        y = 480 - value * 36 // 10
        draw.line((90, y, 760, y), RULE if value else INK, 2)
        draw.text((78, y), str(value), FADED, font(24), anchor="rm")
    for place, (month, visitors) in enumerate(_VISITORS):
        x = 120 + place * 108
        top = 480 - visitors * 36 // 10
        draw.rectangle((x, top, x + 68, 479), fill=(0, 114, 178))
        draw.text((x + 34, top + 22), str(visitors), (255, 255, 255), font(26), anchor="mm")
        draw.text((x + 34, 512), month, INK, font(28), anchor="mm")
    return page


_STROKES: dict[str, tuple[tuple[tuple[float, float], ...], ...]] = {
    # Lines of each letter in a box of 1 x 1.
    "Ε": (((1, 0), (0.05, 0), (0.05, 1), (1, 1)), ((0.05, 0.5), (0.85, 0.5))),
    "Ξ": (((0, 0), (1, 0)), ((0.15, 0.5), (0.85, 0.5)), ((0, 1), (1, 1))),
    "Ο": (
        (
            (0.3, 0),
            (0.7, 0),
            (1, 0.25),
            (1, 0.75),
            (0.7, 1),
            (0.3, 1),
            (0, 0.75),
            (0, 0.25),
            (0.3, 0),
            (0.7, 0),
        ),
    ),
    "Δ": (((0.5, 0), (1.05, 1), (-0.05, 1), (0.5, 0), (1.05, 1)),),
    "Σ": (((1, 0), (0, 0), (0.55, 0.5), (0, 1), (1, 1)),),
}

IMAGES: dict[str, Callable[[], Image.Image]] = {
    "notice.png": notice,
    "receipt.png": receipt,
    "sign.png": sign,
    "form.png": form,
    "exodos.png": exodos,
    "chart.png": chart,
    "strip.png": strip,
    "scan.png": scan,
    "shapes.png": shapes,
    "tall.png": tall,
}


def draw_all(folder: Path = FOLDER) -> list[Path]:
    """Draw every image into a folder, which is made if missing; returns the files."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, drawn in IMAGES.items():
        drawn().save(folder / name, optimize=True)
    return [folder / name for name in IMAGES]


def _columns(draw: ImageDraw.ImageDraw, rows: Sequence[tuple[str, str]], *, top: int, step: int) -> None:
    """Names on the left edge of a receipt, prices on the right."""
    for row, (name, price) in enumerate(rows):
        draw.text((26, top + row * step), name, INK, font(28), anchor="lm")
        draw.text((390, top + row * step), price, INK, font(28), anchor="rm")


def _dashes(draw: ImageDraw.ImageDraw, y: int, width: int) -> None:
    for x in range(26, width - 26, 14):
        draw.line((x, y, x + 7, y), FADED, 2)


def _table(draw: ImageDraw.ImageDraw, *, left: int, top: int) -> None:
    """The readings, in the left half of the page: what is right of it stays empty."""
    edges = (left, left + 170, left + 340, left + 680)
    height = 88
    for row, cells in enumerate(_READINGS):
        y = top + row * height
        if row == 0:
            draw.rectangle((edges[0], y, edges[-1], y + height), fill=(228, 233, 238))
        for cell, x in zip(cells, edges, strict=False):
            draw.text((x + 24, y + height // 2), cell, INK, font(44), anchor="lm")
    bottom = top + len(_READINGS) * height
    for row in range(len(_READINGS) + 1):
        draw.line((edges[0], top + row * height, edges[-1], top + row * height), RULE, 3)
    for x in edges:
        draw.line((x, top, x, bottom), RULE, 3)


def main() -> None:
    """Draw them all and say how large they are."""
    for path in draw_all():
        print(f"{path.name:<12} {path.stat().st_size / 1000:6.1f} kB")


if __name__ == "__main__":
    main()
