"""A scripted engine that says one thing after the other, and pages that lie in memory."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field, replace

from fakes import Said, ScriptedEngine
from PIL import Image

from vlm.errors import UsageError
from vlm.generate import Token
from vlm.reading.sources import OpenedPage
from vlm.reading.textlayer import TextLayer
from vlm.sampling import Sampling


@dataclass
class TurnByTurn(ScriptedEngine):
    """Says one thing after the other, the last again and again."""

    turns: tuple[str, ...] = ()
    temperatures: list[float] = field(default_factory=list)
    sure: float = -0.1

    def start(self, plan, hidden_TD, cache, sampling: Sampling, *rest):  # type: ignore[no-untyped-def]
        self.temperatures.append(sampling.temperature)
        self.says = self.turns[min(len(self.temperatures), len(self.turns)) - 1]
        return super().start(plan, hidden_TD, cache, sampling, *rest)

    def _say(self, said: Said, max_tokens: int) -> Generator[Token]:
        for token in super()._say(said, max_tokens):
            yield replace(token, logprob=self.sure)


@dataclass(frozen=True)
class FakePage:
    image: Image.Image | None
    layer: TextLayer | None = None
    file: str = "letter.png"
    number: int = 3
    count: int = 5
    sha256: str = "ab" * 32

    def open(self) -> OpenedPage:
        if self.image is None:
            raise UsageError("letter.png: page 3 is damaged")
        return OpenedPage(self.image, self.layer, None)
