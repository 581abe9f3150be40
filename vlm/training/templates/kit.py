"""What templates share: the habits of one business, text that fits its room, lettering that fills it.

Typst reports no overflow, so room is estimated before (``ems``) and, where that is not enough, the
page is set a little smaller until it fits (``Desk.sheet``): a row that fell off the page would make a
false count of rows.
"""

from __future__ import annotations

import dataclasses
import textwrap
from collections.abc import Callable, Sequence
from typing import TypeVar

from vlm.training.draft import Draft, quoted, rgb
from vlm.training.page import Color
from vlm.training.text import CHARSET, MONTHS

T = TypeVar("T")


_KNOWN = frozenset(CHARSET)
_DATES = (
    *("{d:02}/{m:02}/{y}", "{y}-{m:02}-{d:02}", "{d}.{m}.{y}", "{d:02}.{m:02}.{y}", "{d} {month} {y}"),
    *("{month} {d}, {y}", "{d} {mon} {y}", "{mon} {d}, {y}", "{d:02}-{m:02}-{yy:02}", "{y}/{m:02}/{d:02}"),
)
_MONEY = ("${}", "£{}", "€{}", "{} €", "{} EUR", "USD {}", "CHF {}", "{} kr")
_DOMAINS = ("com", "net", "org", "co.uk", "de", "fr", "io", "eu", "info")
_FORMS = ("{} Ltd", "{} GmbH", "{} Inc.", "{} & Co.", "{} Group", "{} Services", "{} & Sons", "{}", "{} AG")

# Ground and ink. Mid greys would make either ink hard to read, so there are none.
NAMED: dict[str, tuple[tuple[Color, Color], ...]] = {
    "red": (((200, 30, 36), (255, 255, 255)), ((225, 45, 45), (255, 255, 255))),
    "blue": (((24, 60, 150), (255, 255, 255)), ((30, 100, 200), (255, 255, 255))),
    "green": (((20, 110, 60), (255, 255, 255)), ((120, 205, 120), (10, 30, 10))),
    "yellow": (((250, 215, 40), (20, 20, 20)), ((255, 235, 90), (40, 30, 0))),
    "orange": (((245, 140, 30), (20, 15, 10)), ((255, 165, 60), (30, 20, 0))),
    "purple": (((95, 40, 130), (255, 255, 255)), ((120, 60, 165), (255, 255, 255))),
    "black": (((15, 15, 15), (255, 255, 255)), ((30, 30, 30), (255, 240, 180))),
    "white": (((255, 255, 255), (20, 20, 20)), ((252, 252, 252), (140, 20, 20))),
    "pink": (((250, 170, 200), (60, 10, 30)), ((240, 130, 175), (30, 0, 15))),
    "brown": (((95, 58, 30), (255, 245, 230)), ((115, 70, 40), (255, 255, 255))),
}
_LIGHT: tuple[tuple[Color, Color], ...] = (
    *(((255, 255, 255), (20, 20, 20)), ((250, 246, 232), (50, 35, 20)), ((232, 240, 250), (15, 30, 70))),
    *(((236, 246, 234), (20, 55, 25)), ((252, 234, 236), (90, 15, 30)), ((242, 242, 242), (0, 0, 0))),
)

# The number tried first is the size wanted; the last is set even where it does not fit.
_PRELUDE = """
#let whole(body) = layout(room => {
  for share in (1, 0.96, 0.92, 0.88, 0.84, 0.8, 0.76, 0.72) {
    let trial = text(size: share * 1em, body)
    if share == 0.72 or measure(width: room.width, trial).height <= room.height { return trial }
  }
})
#let lettering(most, height, body) = layout(room => {
  let (need, unit) = (measure(body), 1em.to-absolute())
  let scale = calc.min(most, 0.97 * room.width / need.width, height * unit / need.height)
  text(size: scale * unit, body)
})
"""


def ems(text: str) -> float:
    """Width of a text in ems, rather too much than too little."""
    widths = (0.36 if c in "iljtfI.,:;!'| " else 0.74 if c.isupper() else 0.6 for c in text)
    return max(sum(widths), 0.61 * len(text))


def capitals(text: str) -> str:
    """A text in capitals; as it is where one of them is not in the character set."""
    return text.upper() if _KNOWN.issuperset(text.upper()) else text


def boxed(markup: str) -> str:
    """Markup that is never broken into lines: a code broken at its hyphen reads as another code."""
    return f"#box[{markup}]"


def also(draft: Draft, key: str, subject: str = "") -> None:
    """The text told last answers another question too."""
    draft.told.append(dataclasses.replace(draft.told[-1], key=key, subject=subject))


class Desk:
    """One business: it writes dates, times and money in one way, and prints in its own colours.

    Args:
        draft: where it writes.
        widest: ems the kind of document is wide at most, about; on a larger page its type is enlarged.
        highest: likewise its height.
    """

    def __init__(self, draft: Draft, widest: float = 60.0, highest: float = 90.0) -> None:
        rng = draft.rng
        self.draft, self.rng, self.text = draft, rng, draft.text
        spread = rng.uniform(0.85, 1.3)
        zoom = min(draft.columns / widest, draft.rows / highest) / spread
        self.zoom = min(max(1.0, zoom), 4.0) if draft.chance(0.85) else 1.0
        self.columns, self.rows = draft.columns / self.zoom, draft.rows / self.zoom
        self.leading = rng.uniform(0.4, 0.7)
        self.pitch = self.leading + 0.74  # from one line to the next, in ems
        self.lines = max(2, int(self.rows / self.pitch))
        self.year = rng.randint(1995, 2032)
        self.colon = rng.choice((":", ":", "", " :"))
        self.ground, self.ink = rng.choice(rng.choice(tuple(NAMED.values())))
        self.rule = rng.choice(((128, 128, 128), (110, 110, 110), (150, 120, 70), (60, 120, 180)))
        self._date = rng.choice([form for form in _DATES if len(form) < 14 or self.columns > 16])
        self._time = rng.choice(("{:02}:{:02}", "{}:{:02}", "{:02}.{:02}", "{:02}h{:02}", "am"))
        self._money = rng.choice([form for form in _MONEY if len(form) < 5 or self.columns > 12])
        self._comma = "€" in self._money and draft.chance(0.6)

    # --- what is written ---------------------------------------------------------------------

    def fitting(self, make: Callable[[], str], room: float) -> str:
        """A text drawn until it has known characters only and fits ``room`` ems; a short word at worst."""
        for _ in range(25):
            text = make()
            if _KNOWN.issuperset(text) and ems(text) <= room:
                return text
        return self.word(max(3, int(room / 0.66)))

    def word(self, most: int = 14) -> str:
        """A word in lower case of at most ``most`` letters (at least 3 are granted)."""
        while True:
            word = self.text.word()
            if len(word) <= max(most, 3) and word[0].isalpha():
                return word

    def capped(self, most: int = 14) -> str:
        """A capitalised word."""
        while True:
            word = self.word(most)
            word = word[0].upper() + word[1:]
            if _KNOWN.issuperset(word):
                return word

    def words(self, low: int, high: int) -> str:
        """A few words, the first capitalised."""
        return " ".join((self.capped(), *(self.word() for _ in range(self.rng.randint(low, high) - 1))))

    def title(self, low: int, high: int) -> str:
        """A few capitalised words."""
        return " ".join(self.capped() for _ in range(self.rng.randint(low, high)))

    def prose(self, lines: float, width: float | None = None) -> str:
        """Sentences filling about so many lines of ``width`` ems."""
        room = width or self.columns
        wanted, longest = max(8, int(lines * room * 1.5)), int(room / 0.75)
        sentences: list[str] = []
        while (length := len(" ".join(sentences))) < wanted - 6:
            words = [self.word(longest) for _ in range(self.rng.randint(3, 11))]
            while len(words) > 1 and len(" ".join(words)) > wanted - length:
                words.pop()
            words[0] = (
                words[0].capitalize() if _KNOWN.issuperset(words[0].capitalize()) else self.capped(longest)
            )
            sentences.append(" ".join(words) + self.rng.choice(("...!?"[self.rng.randrange(5)], ".")))
        return " ".join(sentences)

    def person(self) -> str:
        """A first and a last name, at times with a title or an initial."""
        form = self.rng.choice(
            ("{} {}",) * 5 + ("Dr. {} {}", "Mr. {} {}", "Mrs. {} {}", "{} K. {}", "{} M. {}")
        )
        return form.format(self.capped(9), self.capped(11))

    def company(self) -> str:
        """A company's name."""
        return self.rng.choice(_FORMS).format(self.title(1, 2))

    def job(self) -> str:
        """A job title: a real one or one nobody could guess."""
        known = ("Manager", "Engineer", "Sales", "Director", "Designer", "Consultant", "Accountant", "Nurse")
        rank = self.rng.choice(("Senior ", "Head of ", "Chief ", "Assistant ", "", ""))
        return rank + (self.rng.choice(known) if self.draft.chance(0.5) else self.title(1, 2))

    def city(self) -> str:
        """A town, perhaps with its postal code."""
        form = self.rng.choice(("{}", "{}", "#### {}", "##### {}", "{} @@#", "{}, @@ #####"))
        return self.text.fill(form).format(self.capped(11))

    def plain_word(self, most: int = 12) -> str:
        """A word as hosts and users have it: ASCII letters only."""
        while True:
            word = self.word(most)
            if word.isascii() and word.isalpha():
                return word

    def email(self) -> str:
        """An e-mail address."""
        user = self.plain_word(8) + self.rng.choice(
            ("", "", f".{self.plain_word(8)}", str(self.rng.randint(1, 99)))
        )
        return f"{user}@{self.plain_word(9)}.{self.rng.choice(_DOMAINS)}"

    def website(self) -> str:
        """A web address."""
        form = self.rng.choice(("www.{}.{}", "{}.{}", "https://{}.{}"))
        return form.format(self.plain_word(12), self.rng.choice(_DOMAINS))

    def phone(self) -> str:
        """A phone number."""
        forms = (
            "+## ### ######",
            "(###) ### ####",
            "0### ######",
            "## ## ## ## ##",
            "### ####",
            "+# ### ### ####",
        )
        return self.text.fill(self.rng.choice(forms))

    def code(self) -> str:
        """A number as forms carry."""
        forms = ("@@######", "####", "@-####", "########", "@@ ### ###", "#####/##", "@@@-####", "## ### ##@")
        return self.text.fill(self.rng.choice(forms))

    def date(self, year: int | None = None) -> str:
        """A date in this business's form, of this year or of ``year``."""
        day, month = self.rng.randint(1, 28), self.rng.randint(1, 12)
        name, written = MONTHS[month - 1], self.year if year is None else year
        return self._date.format(d=day, m=month, y=written, yy=written % 100, month=name, mon=name[:3])

    def time(self, minute: int | None = None) -> str:
        """A time of day in this business's form; drawn between 6 and 22 where not given."""
        hour, minute = divmod(self.rng.randrange(72, 264) * 5 if minute is None else minute % 1440, 60)
        if self._time != "am":
            return self._time.format(hour, minute)
        return f"{(hour + 11) % 12 + 1}:{minute:02} {'am' if hour < 12 else 'pm'}"

    def number(self, value: float, digits: int = 2) -> str:
        """A number with this business's decimal mark."""
        text = f"{value:.{digits}f}"
        return text.replace(".", ",") if self._comma else text

    def money(self, cents: int) -> str:
        """An amount with this business's currency."""
        return self._money.format(self.number(cents / 100))

    # --- how it looks ------------------------------------------------------------------------

    def pick(self, *choices: T) -> T:
        """One of the choices."""
        return self.rng.choice(choices)

    def paper(self, share: float = 0.35) -> str:
        """Perhaps a sheet and an ink of its own, instead of the ones the page was given."""
        if not self.draft.chance(share):
            return ""
        ground, ink = self.rng.choice(_LIGHT) if self.draft.chance(0.7) else self.rng.choice(self.colors())
        return f"#set page(fill: {rgb(ground)})\n#set text(fill: {rgb(ink)})\n"

    def colors(self) -> list[tuple[Color, Color]]:
        """Every pair of ground and ink."""
        return [pair for pairs in NAMED.values() for pair in pairs]

    def stroke(self, low: float = 0.05, high: float = 0.12) -> str:
        """A rule seen on light and on dark ground."""
        return f"{self.rng.uniform(low, high):.2f}em + {rgb(self.rule)}"

    def line(self) -> str:
        """A horizontal rule, solid, dashed or dotted."""
        dash = self.pick("solid", "solid", "dashed", "dotted")
        paint = f"paint: {rgb(self.rule)}, thickness: {self.rng.uniform(0.06, 0.12):.2f}em"
        return f'#line(length: 100%, stroke: ({paint}, dash: "{dash}"))'

    def band(self, markup: str) -> str:
        """A filled band as wide as the page."""
        shape = f"width: 100%, inset: {self.rng.uniform(0.4, 0.65):.2f}em, fill: {rgb(self.ground)}"
        return f"#block({shape})[#set text(fill: {rgb(self.ink)})\n{markup}]"

    def styled(self, markup: str, size: float = 1.0, bold: bool | None = None) -> str:
        """Markup in another size, bold or italic at times."""
        strong = self.draft.chance(0.5) if bold is None else bold
        weight = ', weight: "bold"' if strong else ""
        slant = ', style: "italic"' if not strong and self.draft.chance(0.15) else ""
        return f"#text(size: {size:.2f}em{weight}{slant})[{markup}]"

    def after(self, intro: str, markup: Callable[[], str]) -> str:
        """What ``markup`` puts, after a word or two that introduce it, if any."""
        return self.draft.put(intro.strip()) + " " + markup() if intro.strip() else markup()

    def label(self, text: str) -> str:
        """A printed label, with this business's colon."""
        return self.draft.put(text + self.colon)

    def broken(self, text: str, lines: Sequence[str], key: str = "", subject: str = "") -> str:
        """A text set in given lines; told where there is a key."""
        if key:
            self.draft.tell(key, text, subject)
        else:
            self.draft.put(text)
        return "#linebreak()".join(f"#{quoted(line)};" for line in lines)

    def shaped(self, text: str, width: float, height: float) -> list[str]:
        """The lines of a text that fill a room of this shape with the largest letters."""

        def size(lines: list[str]) -> float:
            return min(width / max(map(ems, lines)), height / len(lines) / 1.1)

        longest = max(map(len, text.split()))
        breaks = range(longest, max(longest, len(text)) + 1)
        wrapped = [textwrap.wrap(text, at, break_long_words=False, break_on_hyphens=False) for at in breaks]
        return max(wrapped, key=size)

    def sheet(self, body: str, paper: str = "") -> str:
        """The finished page: set a little smaller where it would not fit."""
        par = f"#set par(leading: {self.leading:.2f}em, spacing: {self.leading + 0.15:.2f}em)\n"
        blocks = f"#set block(spacing: {self.leading + 0.15:.2f}em)\n"
        middle = "#set align(horizon)\n" if self.draft.chance(0.35) else ""
        return f"{paper}{par}{blocks}{_PRELUDE}#set text(size: {self.zoom:.2f}em)\n{middle}#whole[\n{body}\n]"
