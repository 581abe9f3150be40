"""The plan made visible: numbered outlines on a copy of the image; and places with labels.

A number is the window's place in the plan, as in the JSON of ``vlm windows``: 0 is the whole image,
1 the first crop. Sizes follow the image, so the picture reads the same at 300 and at 8000 pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from pan_and_scan.crop import require_inside
from pan_and_scan.plan import Box, Window

# Okabe and Ito's colours, told apart by colour-blind eyes too; neighbours in a row differ.
COLOURS = ((0, 114, 178), (213, 94, 0), (0, 158, 115), (204, 121, 167), (230, 159, 0), (86, 180, 233))
GREY = (96, 96, 96)  # blank windows
INK = (24, 24, 24)  # the whole image, and dark text
WHITE = (255, 255, 255)
_BRIGHT = 150_000  # BT.601 luma in thousandths of a level, from which on dark text reads better
_SMOOTH = 4  # badges are drawn this much larger and shrunk, as ImageDraw knows no antialiasing


@dataclass(frozen=True)
class _Pen:
    """Sizes in pixels."""

    line: int
    text: int
    room: int  # width of the narrowest window


def draw_windows(image: Image.Image, windows: Sequence[Window]) -> Image.Image:
    """Outline and number each window; blank ones are hatched and dashed.

    Returns:
        A new RGB image of the same size.

    Raises:
        ValueError: the image isn't RGB, or a window reaches outside it.
    """
    require_inside(image, windows)
    page = image.copy()
    pen = _pen(image, windows)
    wholes = [(number, window) for number, window in enumerate(windows) if window.kind == "whole"]
    for _, window in wholes:
        _outline(page, window.box, INK, pen.line)
    for number, window in enumerate(windows):
        if window.kind != "whole":
            _draw_crop(page, window, number, pen)
    for number, window in wholes:  # over the last crop, away from the crops' own badges
        label = _fitting(number, "whole", INK, pen)
        _place(page, label, window, (window.right - label.width, window.bottom - label.height))
    return page


def draw_boxes(image: Image.Image, boxes: Sequence[Box], labels: Sequence[str]) -> Image.Image:
    """Outline places on an image, each with its label at the upper left.

    Args:
        image: RGB.
        boxes: left, top, right, bottom in its pixels; the last is drawn on top.
        labels: one a box.

    Returns:
        A new RGB image of the same size.

    Raises:
        ValueError: the image isn't RGB, or a box reaches outside it.
    """
    places = [Window(*box) for box in boxes]
    require_inside(image, places)
    page = image.copy()
    text = max(13, round(max(image.size) * 0.025))
    pen = _Pen(line=max(2, round(max(image.size) / 250)), text=text, room=image.width)
    for number, (place, label) in enumerate(zip(places, labels, strict=True)):
        colour = COLOURS[(number + 1) % len(COLOURS)]  # the first is the most striking: vermilion
        _outline(page, place.box, colour, pen.line)
        badge = _badge(label, colour, pen)
        above = Window(0, 0, *image.size)
        _place(page, badge, above, (place.left, place.top - badge.height))
    return page


def _pen(image: Image.Image, windows: Sequence[Window]) -> _Pen:
    long_side = max(image.size)
    narrowest = min((min(window.size) for window in windows), default=min(image.size))
    text = min(max(13, round(long_side * 0.03)), max(8, round(narrowest * 0.3)))
    room = min((window.size[0] for window in windows), default=image.width)
    return _Pen(line=max(1, min(round(long_side / 300), narrowest // 24)), text=text, room=room)


def _draw_crop(page: Image.Image, window: Window, number: int, pen: _Pen) -> None:
    inset = pen.line  # the frame of the whole image keeps the edge to itself
    left, top, right, bottom = window.box
    if min(window.size) > 4 * pen.line:
        box = left + inset, top + inset, right - inset, bottom - inset
    else:
        box = window.box
    if window.kind == "blank":
        _hatch(page, box, pen)
        _dashed(page, box, GREY, pen.line)
        label = _fitting(number, "blank", GREY, pen)
    else:
        colour = COLOURS[(number - 1) % len(COLOURS)]
        _outline(page, box, colour, pen.line)
        label = _badge(str(number), colour, pen)
    _place(page, label, window, (box[0], box[1]))


def _outline(page: Image.Image, box: Box, colour: tuple[int, int, int], line: int) -> None:
    """A frame with a white hairline inside, to stand out from any picture."""
    left, top, right, bottom = box
    hair = line // 3
    draw = ImageDraw.Draw(page)
    if hair and min(right - left, bottom - top) > 4 * line:
        inner = left + line, top + line, right - 1 - line, bottom - 1 - line
        draw.rectangle(inner, outline=WHITE, width=hair)
    draw.rectangle((left, top, right - 1, bottom - 1), outline=colour, width=line)


def _dashed(page: Image.Image, box: Box, colour: tuple[int, int, int], line: int) -> None:
    draw = ImageDraw.Draw(page)
    left, top, right, bottom = box
    dash = 6 * line
    for x in range(left, right, 2 * dash):
        end = min(x + dash, right) - 1
        draw.rectangle((x, top, end, min(top + line, bottom) - 1), fill=colour)
        draw.rectangle((x, max(bottom - line, top), end, bottom - 1), fill=colour)
    for y in range(top, bottom, 2 * dash):
        end = min(y + dash, bottom) - 1
        draw.rectangle((left, y, min(left + line, right) - 1, end), fill=colour)
        draw.rectangle((max(right - line, left), y, right - 1, end), fill=colour)


def _hatch(page: Image.Image, box: Box, pen: _Pen) -> None:
    """Thin diagonals, half transparent: what lies below stays visible."""
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    mask = Image.new("L", (width, height), 0)
    draw = ImageDraw.Draw(mask)
    for x in range(-height, width, max(4, pen.text)):
        draw.line((x, height, x + height, 0), fill=110, width=max(1, pen.line // 2))
    page.paste(GREY, box, mask)


def _fitting(number: int, word: str, colour: tuple[int, int, int], pen: _Pen) -> Image.Image:
    """A badge with a word behind the number, or without it where windows are too narrow."""
    label = _badge(f"{number} {word}", colour, pen)
    return label if label.width <= pen.room else _badge(str(number), colour, pen)


def _badge(text: str, colour: tuple[int, int, int], pen: _Pen) -> Image.Image:
    """A rounded, filled label with its text in the middle; RGBA."""
    font = ImageFont.load_default(pen.text * _SMOOTH)
    height = round(pen.text * 1.35) * _SMOOTH
    width = max(height, round(font.getlength(text)) + round(pen.text * 0.7) * _SMOOTH)
    width += -width % _SMOOTH
    badge = Image.new("RGBA", (width, height), (*colour, 0))
    draw = ImageDraw.Draw(badge)
    draw.rounded_rectangle((0, 0, width - 1, height - 1), radius=height // 5, fill=(*colour, 255))
    red, green, blue = colour
    ink = INK if 299 * red + 587 * green + 114 * blue > _BRIGHT else WHITE
    draw.text((width / 2, height / 2), text, font=font, fill=ink, anchor="mm")
    return badge.resize((width // _SMOOTH, height // _SMOOTH), Image.Resampling.LANCZOS)


def _place(page: Image.Image, label: Image.Image, window: Window, corner: tuple[int, int]) -> None:
    """Paste the badge at its corner, shrunk to fit a window smaller than itself."""
    width, height = window.size
    if label.width > width or label.height > height:
        scale = min(width / label.width, height / label.height)
        size = max(1, int(label.width * scale)), max(1, int(label.height * scale))
        label = label.resize(size, Image.Resampling.LANCZOS)
    x = min(max(corner[0], window.left), window.right - label.width)
    y = min(max(corner[1], window.top), window.bottom - label.height)
    page.paste(label, (x, y), label)
