"""Words and strings for rendered images: endless, seeded, and split by word.

A word belongs to the split its own hash gives it, so held-out pages are set from words that never
stood on a training page. Digits, codes and dates are drawn at random and need no split.
"""

from __future__ import annotations

import functools
import random
import string
import zlib

import wordfreq

from vlm.training.fonts import Split

ASCII = string.digits + string.ascii_letters + string.punctuation
# Beyond ASCII: what European receipts, letters and signs carry. Index 0 of CHARSET is the space.
LATIN = "£€°éèêëàâäáåãçñòóôöõøùúûüíîïßÉÈÄÖÜÅÇÑ–—•’“”§½×"
CHARSET = " " + ASCII + LATIN
_KNOWN = frozenset(CHARSET)

_MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
_STREETS = ("Street", "Road", "Avenue", "Lane", "Drive", "Court", "Place", "Square", "Way", "Hill", "Row")
_CODES = ("@@-####", "#### @@", "@#@ #@#", "No. ######", "#/####", "ID:@@@@##", "########")
_PUNCTUATED = ("{},", "{}.", "{}!", "{}?", "({})", '"{}"', "{};", "{}:")
_DOMAINS = ("com", "net", "org", "co.uk", "de", "fr", "io", "shop", "info")


@functools.cache
def words(split: Split) -> tuple[str, ...]:
    """Words of one split, most frequent first: English, with some German, French and Spanish."""
    wanted = {"heldout": (0,), "validation": (1,), "train": tuple(range(2, 10))}[split]
    chosen: list[str] = []
    for language, count in (("en", 40000), ("de", 4000), ("fr", 4000), ("es", 4000)):
        for word in wordfreq.top_n_list(language, count):
            fits = 1 <= len(word) <= 14 and all(c in CHARSET for c in word)
            if fits and zlib.crc32(word.encode()) % 10 in wanted:
                chosen.append(word)
    return tuple(chosen)


class TextSampler:
    """Draws short strings of the kinds documents are made of.

    Args:
        split: whose words to use.
        rng: the only source of chance.
    """

    def __init__(self, split: Split, rng: random.Random) -> None:
        self.words = words(split)
        self.rng = rng
        self._kinds = (
            (30, self._phrase),
            (10, self._title),
            (7, self._capitals),
            (8, self._price),
            (8, self._date),
            (7, self._item),
            (6, self._name),
            (5, self._address),
            (4, self._phone),
            (3, self._email),
            (6, self._code),
            (6, self._scramble),
        )
        self._weights = [weight for weight, _ in self._kinds]

    def string(self) -> str:
        """One string of a kind drawn by weight, one to six words long."""
        while True:
            ((_, kind),) = self.rng.choices(self._kinds, self._weights)
            text = kind()
            if _KNOWN.issuperset(text):  # a capital may fall outside, as Á does
                return text

    def word(self) -> str:
        """A word: half the time a frequent one, else any of the list."""
        if self.rng.random() < 0.5:
            return self.words[min(int(self.rng.expovariate(1 / 400)), len(self.words) - 1)]
        return self.rng.choice(self.words)

    def _phrase(self) -> str:
        text = [self.word() for _ in range(self.rng.randint(1, 5))]
        if self.rng.random() < 0.3:
            text[0] = text[0].capitalize()
        if self.rng.random() < 0.25:
            at = self.rng.randrange(len(text))
            text[at] = self.rng.choice(_PUNCTUATED).format(text[at])
        return " ".join(text)

    def _title(self) -> str:
        return " ".join(self.word().capitalize() for _ in range(self.rng.randint(1, 4)))

    def _capitals(self) -> str:
        return " ".join(self.word().upper().replace("ß", "SS") for _ in range(self.rng.randint(1, 3)))

    def _amount(self) -> str:
        value = self.rng.choice((9.99, 99.99, 999.99, 9999.99)) * self.rng.random()
        return self.rng.choice(("{:.2f}", "{:,.2f}", "{:.0f}")).format(value)

    def _price(self) -> str:
        form = self.rng.choice(("${}", "£{}", "€{}", "{} €", "{} EUR", "USD {}", "{}", "-{}", "{}%", "{} kg"))
        return form.format(self._amount())

    def _date(self) -> str:
        day, month, year = self.rng.randint(1, 28), self.rng.randint(1, 12), self.rng.randint(1950, 2035)
        name = _MONTHS[month - 1]
        return self.rng.choice(
            (
                f"{day:02}/{month:02}/{year}",
                f"{year}-{month:02}-{day:02}",
                f"{day}.{month}.{year}",
                f"{day} {name} {year}",
                f"{name} {day}, {year}",
                f"{name[:3]} {day}",
                f"{day:02}:{month * 4:02}",
                f"{day}-{name[:3]}-{year % 100:02}",
            )
        )

    def _item(self) -> str:
        quantity = self.rng.choice(("", f"{self.rng.randint(1, 12)} x ", f"{self.rng.randint(1, 9)} "))
        return f"{quantity}{self._title()} {self._amount()}"

    def _name(self) -> str:
        prefix = self.rng.choice(("", "", "", "Mr. ", "Mrs. ", "Dr. ", "Ms "))
        initial = self.rng.choice(("", f"{self.rng.choice(string.ascii_uppercase)}. "))
        return f"{prefix}{self.word().capitalize()} {initial}{self.word().capitalize()}"

    def _address(self) -> str:
        return f"{self.rng.randint(1, 999)} {self.word().capitalize()} {self.rng.choice(_STREETS)}"

    def _phone(self) -> str:
        return self._fill(self.rng.choice(("+## ## ### ####", "(###) ###-####", "###-####", "0## ########")))

    def _email(self) -> str:
        host = f"{self.word().lower()}.{self.rng.choice(_DOMAINS)}"
        return self.rng.choice(
            (f"{self.word().lower()}@{host}", f"www.{host}", f"https://{host}/{self.word()}")
        )

    def _code(self) -> str:
        return self._fill(self.rng.choice(_CODES))

    def _scramble(self) -> str:
        """Any characters at all: what no language model could guess must be read."""
        pool = self.rng.choice((ASCII, CHARSET[1:], string.ascii_letters, LATIN + string.ascii_lowercase))
        return "".join(self.rng.choice(pool) for _ in range(self.rng.randint(2, 10)))

    def _fill(self, form: str) -> str:
        pools = {"#": string.digits, "@": string.ascii_uppercase}
        return "".join(self.rng.choice(pools[c]) if c in pools else c for c in form)
