"""Words and strings for rendered images: endless, seeded, and split by word.

A word belongs to the split its own hash gives it, so held-out pages are set from words that never
stood on a training page. Digits, codes and dates are drawn at random and need no split.
"""

from __future__ import annotations

import functools
import random
import string
import zlib
from importlib.resources import files

import wordfreq

from vlm.training.fonts import Split

ASCII = string.digits + string.ascii_letters + string.punctuation
# Beyond ASCII: what European receipts, letters and signs carry. Index 0 of CHARSET is the space.
LATIN = "£€°éèêëàâäáåãçñòóôöõøùúûüíîïßÉÈÄÖÜÅÇÑ–—•’“”§½×"
CHARSET = " " + ASCII + LATIN
_KNOWN = frozenset(CHARSET)

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)
DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_STREETS = ("Street", "Road", "Avenue", "Lane", "Drive", "Court", "Place", "Square", "Way", "Hill", "Row")
_CODES = ("@@-####", "#### @@", "@#@ #@#", "No. ######", "#/####", "ID:@@@@##", "########")
_PUNCTUATED = ("{},", "{}.", "{}!", "{}?", "({})", '"{}"', "{};", "{}:")
_DOMAINS = ("com", "net", "org", "co.uk", "de", "fr", "io", "shop", "info")


@functools.cache
def words(split: Split) -> tuple[str, ...]:
    """Words of one split, most frequent first: English, with some German, French and Spanish.

    What one would not like to find on a sample receipt is left out.
    """
    rude = frozenset(files("better_profanity").joinpath("profanity_wordlist.txt").read_text().split("\n"))
    wanted = {"heldout": (0,), "validation": (1,), "train": tuple(range(2, 10))}[split]
    chosen: list[str] = []
    for language, count in (("en", 40000), ("de", 4000), ("fr", 4000), ("es", 4000)):
        for word in wordfreq.top_n_list(language, count):
            fits = 1 <= len(word) <= 14 and all(c in CHARSET for c in word)
            if fits and word not in rude and zlib.crc32(word.encode()) % 10 in wanted:
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
            (30, self.phrase),
            (10, self.title),
            (7, self.capitals),
            (8, self.price),
            (8, self.date),
            (7, self.item),
            (6, self.name),
            (5, self.address),
            (4, self.phone),
            (3, self.email),
            (6, self.code),
            (6, self.scramble),
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

    def phrase(self) -> str:
        """One to five words, perhaps with a capital or a mark."""
        text = [self.word() for _ in range(self.rng.randint(1, 5))]
        if self.rng.random() < 0.3:
            text[0] = text[0].capitalize()
        if self.rng.random() < 0.25:
            at = self.rng.randrange(len(text))
            text[at] = self.rng.choice(_PUNCTUATED).format(text[at])
        return " ".join(text)

    def title(self) -> str:
        """Capitalised words."""
        return " ".join(self.word().capitalize() for _ in range(self.rng.randint(1, 4)))

    def capitals(self) -> str:
        """Words in capitals."""
        return " ".join(self.word().upper().replace("ß", "SS") for _ in range(self.rng.randint(1, 3)))

    def amount(self) -> str:
        """A number as amounts are written, without a currency."""
        value = self.rng.choice((9.99, 99.99, 999.99, 9999.99)) * self.rng.random()
        return self.rng.choice(("{:.2f}", "{:,.2f}", "{:.0f}")).format(value)

    def price(self) -> str:
        """An amount with a currency, a sign or a unit."""
        form = self.rng.choice(("${}", "£{}", "€{}", "{} €", "{} EUR", "USD {}", "{}", "-{}", "{}%", "{} kg"))
        return form.format(self.amount())

    def date(self) -> str:
        """A date or a time in one of many forms."""
        day, month, year = self.rng.randint(1, 28), self.rng.randint(1, 12), self.rng.randint(1950, 2035)
        name = MONTHS[month - 1]
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

    def item(self) -> str:
        """A line of a bill: quantity, goods, amount."""
        quantity = self.rng.choice(("", f"{self.rng.randint(1, 12)} x ", f"{self.rng.randint(1, 9)} "))
        return f"{quantity}{self.title()} {self.amount()}"

    def name(self) -> str:
        """A person's name."""
        prefix = self.rng.choice(("", "", "", "Mr. ", "Mrs. ", "Dr. ", "Ms "))
        initial = self.rng.choice(("", f"{self.rng.choice(string.ascii_uppercase)}. "))
        return f"{prefix}{self.word().capitalize()} {initial}{self.word().capitalize()}"

    def address(self) -> str:
        """House number and street."""
        return f"{self.rng.randint(1, 999)} {self.word().capitalize()} {self.rng.choice(_STREETS)}"

    def phone(self) -> str:
        """A phone number."""
        return self.fill(self.rng.choice(("+## ## ### ####", "(###) ###-####", "###-####", "0## ########")))

    def email(self) -> str:
        """An e-mail or web address."""
        host = f"{self.word().lower()}.{self.rng.choice(_DOMAINS)}"
        return self.rng.choice(
            (f"{self.word().lower()}@{host}", f"www.{host}", f"https://{host}/{self.word()}")
        )

    def code(self) -> str:
        """A number or code as tickets and invoices carry."""
        return self.fill(self.rng.choice(_CODES))

    def scramble(self) -> str:
        """Any characters at all: what no language model could guess must be read."""
        pool = self.rng.choice((ASCII, CHARSET[1:], string.ascii_letters, LATIN + string.ascii_lowercase))
        return "".join(self.rng.choice(pool) for _ in range(self.rng.randint(2, 10)))

    def fill(self, form: str) -> str:
        """A form with ``#`` replaced by digits and ``@`` by capitals."""
        pools = {"#": string.digits, "@": string.ascii_uppercase}
        return "".join(self.rng.choice(pools[c]) if c in pools else c for c in form)
