"""How a question is answered: what a person can set beside the images and the question."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from pan_and_scan import Policy, named_policy
from vlm.constrain import Constraint
from vlm.errors import UsageError
from vlm.sampling import Sampling

GUIDED = "guided"  # look at the whole, then zoom in on the crops the answer depends on


@dataclass(frozen=True)
class Options:
    """How a question is answered."""

    policy: str = "adaptive"  # off | gemma3 | adaptive | guided
    max_windows: int | None = None  # windows an image, the whole one included; None: the policy's own
    max_tokens: int = 512
    sampling: Sampling = field(default_factory=Sampling)
    stop: tuple[str, ...] = ()  # strings that end the answer
    top_logprobs: int = 0  # likeliest tokens to tell at each place of the answer
    constraint: Constraint | None = None  # what the answer must be: a schema's JSON, a pattern, a choice ...
    system: str = ""  # system text of a chat

    def __post_init__(self) -> None:
        if self.max_tokens < 1:
            raise UsageError(f"max_tokens must be 1 or more, not {self.max_tokens}")
        if isinstance(self.stop, str):  # which is a sequence of strings, too: its letters
            raise UsageError(f"stop takes a tuple of strings: give ({self.stop!r},)")
        if self.stop and self.constraint is not None:
            raise UsageError("stop strings would cut an answer under a constraint: give one of the two")
        self.asked_sampling()
        self.windowing(window_size=1)  # so that a wrong name is told before a model is loaded

    def asked_sampling(self) -> Sampling:
        """How tokens are chosen and how many alternatives are told."""
        return replace(self.sampling, top_logprobs=self.top_logprobs)

    def windowing(self, window_size: int) -> Policy:
        """The policy by its name, for an encoder of this input size in pixels.

        Raises:
            UsageError: unknown name, or a number of windows out of range.
        """
        # "guided" chooses among the crops of "adaptive", after a first look.
        name = "adaptive" if self.policy == GUIDED else self.policy
        try:
            return named_policy(name, max_windows=self.max_windows, window_size=window_size)
        except ValueError as error:
            raise UsageError(str(error).replace("adaptive", f"adaptive, {GUIDED}", 1)) from None


def changed(options: Options | None, changes: dict[str, Any]) -> Options:
    """The options, or the usual ones, with single fields of other values.

    Raises:
        UsageError: no such field, or a value out of range.
    """
    known = Options.__dataclass_fields__
    unknown = [name for name in changes if name not in known]
    if unknown:
        raise UsageError(f"unknown option {', '.join(unknown)}: options are {', '.join(known)}")
    return replace(options or Options(), **changes)
