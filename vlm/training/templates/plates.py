"""What signs are made of: plates, and a few words as large as a plate holds."""

from __future__ import annotations

from collections.abc import Callable

from vlm.training.draft import Draft, rgb
from vlm.training.page import Color
from vlm.training.templates.kit import Desk, capitals


class Sign(Desk):
    """A desk for signs: it draws plates and fills them with letters."""

    def __init__(self, draft: Draft) -> None:
        super().__init__(draft, 20, 13)
        self.largest = self.rng.uniform(1.5, 4.0) * (1.8 if draft.chance(0.2) else 1.0)
        self.heavy = ', weight: "bold"' if draft.chance(0.65) else ""
        self.case: Callable[[str], str] = capitals if draft.chance(0.4) else str

    def height(self, *shares: float) -> float:
        """Height of a plate in ems: the page's, or less, so that it is no wider or taller than a sign is."""
        return min(self.rows, self.columns * self.rng.choice(shares)) * 0.96

    def letters(self, text: str, width: float, height: float, key: str = "", subject: str = "") -> str:
        """A text in letters as large as this room and this sign's taste allow, told where there is a key."""
        unbroken = any(c.isdigit() for c in text)
        lines = [text] if unbroken else self.shaped(text, width, height * 0.9)
        markup = self.broken(text, lines, key, subject)
        tight = f"#set par(leading: {self.rng.uniform(0.25, 0.45):.2f}em)"
        fitted = f"#lettering({self.largest:.2f}, {height * 0.9:.2f})[{markup}]"
        return f"#text(size: 1em{self.heavy})[{tight}\n{fitted}]"

    def plate(
        self, body: str, height: float, colors: tuple[Color, Color] | None = None, width: str = "100%"
    ) -> str:
        """A filled box with a border of one kind or another, its content in the middle."""
        ground, ink = colors or (self.ground, self.ink)
        plain = "none" if max(ground) > 40 and min(ground) < 240 else f"0.1em + {rgb(self.rule)}"
        edge = self.pick(plain, f"0.12em + {rgb(ink)}", f"0.25em + {rgb(ink)}", f"0.3em + {rgb(self.rule)}")
        radius = self.pick("0em", "0.3em", "0.7em")
        shape = (
            f"width: {width}, height: {height:.2f}em, fill: {rgb(ground)}, stroke: {edge}, radius: {radius}"
        )
        paint = f"#set text(fill: {rgb(ink)})\n#set align(center + horizon)\n"
        return f"#rect({shape}, inset: 0.45em, outset: -0.08em)[{paint}{body}]"

    def short(self, low: int, high: int, room: float, case: Callable[[str], str] | None = None) -> str:
        """A few words, none longer than ``room`` ems allows at the size of body text."""
        most = max(3, int(room / 0.8))
        words = [self.capped(most), *(self.word(most) for _ in range(self.rng.randint(low, high) - 1))]
        return (case or self.case)(" ".join(words))

    def page(self, body: str, paper: str = "") -> str:
        """The finished sign, in the middle of its sheet."""
        return self.sheet(f"#set align(center + horizon)\n{body}", paper)


def many(room: float) -> int:
    """How many words a sign of so many square ems holds."""
    return max(1, min(7, int(room / 18)))
