"""``vlm bench reuse``: the first token of a first question about an image, and of the next one.

Both go through the engine as a person's questions do: ``encode``, ``embed``, ``start``, first token,
``keep``. Every first question shows an image the engine has never seen; the next one shows it again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from PIL import Image
from torch import Tensor

from vlm.bench.prefill import AROUND, random_prompt
from vlm.bench.report import Report, rows_of
from vlm.bench.run import Run
from vlm.bench.shapes import (
    Copies,
    Subject,
    Weights,
    check_room,
    engine_of,
    fit,
    load,
    random_decoder,
    random_vision,
)
from vlm.bench.timing import Contender, Stack, alternate
from vlm.config import ModelConfig
from vlm.engine import Engine
from vlm.generate import Generation
from vlm.prompt import PromptPlan
from vlm.sampling import Sampling

QUESTION = 16  # tokens of a question, with the turn's end
BEFORE = AROUND + 2  # tokens before the question that are not the window's


def reuse(subject: Subject, run: Run) -> Report:
    """Measure both questions in turns.

    Raises:
        UsageError: nothing that sees, or too little memory.
    """
    run = run.checked(subject)
    subject.need_vision()
    stacks = ("encoder", "decoder")
    subject = fit(subject, Copies(run.dtype), run.layers, stacks)
    run.tell(f"making {subject.name}")
    if subject.path is None:
        weights = Weights(keep=False)
        vision = random_vision(subject.config, weights, run.dtype)
        decoder = random_decoder(subject.config.text, weights, run.dtype)
        engine = engine_of(subject, run.dtype, vision, decoder)
    else:
        check_room(subject, run.dtype, ())
        engine = load(subject, run.dtype)
    whole = subject.whole
    assert engine.vision is not None and whole.vision is not None
    held = (
        Stack(engine.vision.encoder.encoder.layers, whole.vision.num_hidden_layers),
        Stack(engine.decoder.layers, whole.text.num_hidden_layers),
    )
    asking = _Asking(engine)
    asking.anew()()  # so that there is an image to ask about again
    contenders = [
        Contender("next question", asking.again, held),
        Contender("first question", asking.anew, held),
    ]
    timings = alternate(contenders, run.rounds, run.tell)
    again = timings[0].output
    figures = {
        "prompt_tokens": again.tokens,
        "next_question_tokens_read": again.read,
        "next_question_windows_encoded": again.encoded,
    }
    note = "seconds to the first token; ratio: the first question's over the next one's"
    return run.report("reuse", subject, rows_of(timings), stacks, {**figures}, (note,))


@dataclass(frozen=True)
class _Asked:
    """What a question made the engine compute."""

    tokens: int  # of the prompt
    read: int  # of them computed
    encoded: int  # windows


class _Asking:
    """Questions about images of noise; what a question leaves behind is kept before the next one."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._image = self._noise()
        self._questions = 0
        self._left: tuple[PromptPlan, Tensor, Generation] | None = None

    def anew(self) -> Callable[[], _Asked]:
        """A question about an image not seen before."""
        self._keep()
        self._image = self._noise()
        return self._ask

    def again(self) -> Callable[[], _Asked]:
        """Another question about the last image."""
        self._keep()
        return self._ask

    def _noise(self) -> Image.Image:
        side = self._engine.window_size
        return Image.effect_noise((side, side), 64.0).convert("RGB")

    def _ask(self) -> _Asked:
        engine = self._engine
        self._questions += 1
        plan = question(engine.config, self._questions)
        read, encoded = engine.prompts.read, engine.windows.encoded
        hidden_TD = engine.embed(plan, engine.encode([self._image]))
        generation, tokens = engine.start(plan, hidden_TD, engine.new_cache(), Sampling(), 2)
        next(tokens, None)  # none: the first token ends the answer
        tokens.close()
        self._left = (plan, hidden_TD, generation)
        return _Asked(len(plan.ids), engine.prompts.read - read, engine.windows.encoded - encoded)

    def _keep(self) -> None:
        if self._left is not None:
            self._engine.keep(*self._left)
            self._left = None


def question(config: ModelConfig, number: int) -> PromptPlan:
    """A window with the same text around it every time, and a question of its own."""
    made = random_prompt(config, BEFORE + config.mm_tokens_per_image + QUESTION, windows=1)
    random = torch.Generator().manual_seed(1000 + number)
    low = config.text.vocab_size // 2
    asked = torch.randint(low, config.text.vocab_size, (QUESTION,), generator=random).tolist()
    return replace(made.plan, ids=(*made.plan.ids[:-QUESTION], *asked))
