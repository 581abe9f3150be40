"""What training pages are made of: lines, documents, shapes and charts, in proportion, then worn."""

from __future__ import annotations

import random
import sys
from collections.abc import Callable
from dataclasses import dataclass

from vlm.training.charts import chart
from vlm.training.degrade import degrade
from vlm.training.fonts import Split
from vlm.training.page import Color, Page
from vlm.training.render import PageSampler, PageStyle
from vlm.training.shapes import shapes
from vlm.training.templates import templates_of
from vlm.training.typeset import Sheet, Typesetter

SMALLEST, LARGEST = 13.0, 40.0  # em of the body text in pixels of a window's square
NARROWEST = 8.0  # ems a document's lines get at least
WORN = 0.5  # share of the pages that are degraded


@dataclass(frozen=True)
class Scene:
    """What a page has to fit."""

    width: int
    height: int
    scale: float  # pixels of the image that become one of a window's square
    exact: bool  # the height must be met; otherwise a page may be as long as its content


class Scenes:
    """Endless pages of one split.

    Args:
        split: whose fonts, words and templates.
        seed: same seed, same pages.
    """

    def __init__(self, split: Split, seed: int) -> None:
        self.split: Split = split
        self.rng = random.Random(seed)
        self.line_pages = PageSampler(split, seed + 1)
        self.typesetter = Typesetter(split, self.rng)
        self.text = self.typesetter.text
        self.templates = templates_of(split)
        self._kinds: tuple[tuple[float, Callable[[Scene], Page | None]], ...] = (
            (27, self.lines),
            (49, self.document),
            (15, self.shapes),
            (9, self.chart),
        )

    def page(self, scene: Scene) -> Page:
        """Draw one page of a kind drawn by weight."""
        while True:
            ((_, kind),) = self.rng.choices(self._kinds, [weight for weight, _ in self._kinds])
            try:
                page = kind(scene)
            except (IndexError, ValueError) as error:  # one odd page must not end a run of hours
                print(f"a page was left out: {error!r}", file=sys.stderr)
                continue
            if page is not None and (page.lines or page.facts):
                return self.worn(page) if self.rng.random() < WORN else page

    def worn(self, page: Page) -> Page:
        """A page degraded as the world does."""
        return degrade(page, self.rng, self.rng.uniform(0.3, 1.0))

    def _em(self, scene: Scene) -> float:
        """Size of the body text in pixels of the image: small sizes as often as large ones."""
        return float(SMALLEST * (LARGEST / SMALLEST) ** self.rng.random() * scene.scale)

    def lines(self, scene: Scene) -> Page:
        """Lines of text, each perhaps in another font."""
        low, high = SMALLEST * scene.scale, LARGEST * scene.scale
        most = max(2, min(9, round(scene.height / scene.scale / 40)))
        style = PageStyle(letter_px=(low, high), lines=(1, most), noise=0.1)
        return self.line_pages.page(style, scene.width, scene.height)

    def document(self, scene: Scene) -> Page | None:
        """A document by one of the templates; None where it did not turn out well."""
        border = self.rng.uniform(0.3, 1.2)  # ems
        em = min(self._em(scene), scene.width / (NARROWEST + 2 * border))
        whole = scene.exact or self.rng.random() < 0.5
        ground, ink = self._paper()
        height = scene.height if whole else None
        sheet = Sheet(scene.width, height, em, ground, ink, em * border)
        ((_, template),) = self.rng.choices(self.templates, [weight for weight, _ in self.templates])
        page = self.typesetter.page(template, sheet)
        if page is None or page.image.height > 1.25 * scene.height:
            return None
        return page

    def shapes(self, scene: Scene) -> Page:
        """Coloured shapes."""
        return shapes(self.rng, scene.width, scene.height, self.split)

    def chart(self, scene: Scene) -> Page:
        """A chart."""
        return chart(self.rng, scene.width, scene.height, self.split, self.text)

    def _paper(self) -> tuple[Color, Color]:
        """Paper and ink: mostly near white and near black, some coloured, some light on dark."""
        rng = self.rng
        chance = rng.random()
        if chance < 0.6:
            paper = rng.randint(238, 255)
            tint = (paper, paper - rng.randint(0, 6), paper - rng.randint(0, 18))
            return tint, (rng.randint(0, 60),) * 3
        light = (rng.randint(185, 255), rng.randint(185, 255), rng.randint(185, 255))
        dark = (rng.randint(0, 80), rng.randint(0, 80), rng.randint(0, 80))
        return (light, dark) if chance < 0.85 else (dark, light)
