"""Pages with known text in known places."""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFont

Box = tuple[int, int, int, int]


class Drawn:
    """A page that remembers where its text lies."""

    def __init__(self, width: int, height: int, paper: str = "white", ink: str = "black") -> None:
        self.image = Image.new("RGB", (width, height), paper)
        self.ink = ink
        self.boxes: list[Box] = []

    def text(self, x: int, y: int, text: str, size: int = 24) -> Drawn:
        draw = ImageDraw.Draw(self.image)
        font = ImageFont.load_default(size)
        draw.text((x, y), text, fill=self.ink, font=font)
        left, top, right, bottom = draw.textbbox((x, y), text, font=font)
        self.boxes.append((int(left), int(top), int(right), int(bottom)))
        return self


def letter() -> Drawn:
    """Nine lines, as a letter has them."""
    page = Drawn(900, 620)
    for number in range(9):
        page.text(60, 40 + 56 * number, f"Line {number} of a letter that is long enough to see", 28)
    return page
