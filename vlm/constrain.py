"""Answers that keep to a JSON Schema, a regular expression, a list of choices or a grammar.

Before each token every token is forbidden that the grammar cannot go on from; llguidance says which.
A ``Constraint`` is the value a person gives, compiled once to be told its errors before a model is
loaded; a ``Matcher`` follows one answer.

**An answer is whole, whatever it is cut off by.** A matcher knows at every step a way to the end, the
closing, and lets a token pass only if it knows one for the time after that fits what is left of the
budget. Where the model would overrun, the closing is written in its place: the open string is shut,
what is left becomes null or the shortest that is allowed, and the answer's ``finish_reason`` says that
it was cut. So JSON always validates; a string whose pattern can't be brought to an end is not begun. A
regular expression or a grammar whose end is not found has no closing and may be cut in the middle.

Almost always the closing known before still holds after a token, which is one call to see;
``vlm.closing`` finds the others.

**Strings have no limit of ours.** Where a schema gives no ``maxLength``, a string ends when the model
ends it, when a repetition is noticed by whoever reads the answer, or by the budget as above.

**Probabilities are the model's own.** A token's ``logprob`` stays what it was without the constraint:
among the allowed tokens alone nearly everything is certain, and a field the model had no answer for
would seem sure. Nothing about a control token is left to chance: none can be written, and those that end
an answer are allowed where the grammar may end.
"""

from __future__ import annotations

import json
import threading
import weakref
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch import Tensor

from vlm.closing import Closer, Kind, byte_tokenizer
from vlm.errors import UsageError
from vlm.schema import Missing, check_pattern, patterns_of, prepared, read_schema
from vlm.tokenizer import SPACE, GemmaTokenizer

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

MAX_CHOICES = 10_000
MAX_TEXT = 1 << 20  # characters of an expression, a grammar or all choices
_SECONDS = 20.0  # a grammar is compiled in milliseconds; one that takes this long never ends


@dataclass(frozen=True)
class Constraint:
    """What an answer must be. Made by ``schema``, ``regex``, ``choice`` or ``grammar``.

    Attributes:
        kind: which of the four.
        source: JSON of the schema the answer is held to, the expression, JSON of the choices, the grammar.
        compiled: the same as llguidance reads it.
        shortest: an answer as short as was found; None where none was (expressions and grammars only).
    """

    kind: Kind
    source: str
    compiled: str
    shortest: bytes | None

    @classmethod
    def schema(cls, schema: Mapping[str, Any] | type | str, missing: Missing = "null") -> Self:
        """Compact JSON that validates against a JSON Schema.

        Args:
            schema: a dict, a pydantic model class or JSON text.
            missing: ``"null"`` lets every property be null where the image doesn't show it and requires
                all of them, see ``vlm.schema.prepared``: answers validate against ``json_schema``, which
                is the schema given, with nulls. ``"as written"``: answers validate against the schema
                given, and what it requires is answered, read or not.

        Raises:
            UsageError: no valid JSON Schema, one that nothing satisfies, a keyword that can't be enforced
                (``not``, ``if``, ``uniqueItems`` ...), or one that is too large, deep or hard.
        """
        try:
            given = read_schema(schema)
            # First as it was written: what nothing satisfies is a mistake that nulls would only hide.
            written = cls._compile("schema", json.dumps(prepared(given, "as written")))
            if missing == "as written":
                return written
            return cls._compile("schema", json.dumps(prepared(given)))
        except RecursionError:
            raise UsageError("the schema's references follow one another too far") from None

    @classmethod
    def regex(cls, pattern: str) -> Self:
        """Text that a regular expression matches from its beginning to its end.

        The syntax is that of Rust's ``regex``: no lookaround, no backreferences.

        Raises:
            UsageError: not such an expression, or its counted repeats are too many.
        """
        check_pattern(pattern)
        return cls._compile("regex", pattern)

    @classmethod
    def choice(cls, choices: Sequence[str]) -> Self:
        """One of these texts, letter by letter.

        Raises:
            UsageError: none, an empty one, or more than 10,000.
        """
        if isinstance(choices, str) or not choices or not all(isinstance(c, str) and c for c in choices):
            raise UsageError("choices: give one or more texts, none of them empty")
        if len(choices) > MAX_CHOICES:
            raise UsageError(f"{len(choices)} choices; at most {MAX_CHOICES} can be told apart")
        return cls._compile("choice", json.dumps(list(dict.fromkeys(choices))))

    @classmethod
    def grammar(cls, lark: str) -> Self:
        """Text of a context-free grammar in llguidance's Lark syntax, with a rule ``start``.

        Raises:
            UsageError: not such a grammar, or it names control tokens.
        """
        if "<[" in lark:
            raise UsageError("the grammar names tokens by number (<[...]>): write the text they stand for")
        return cls._compile("grammar", lark)

    @classmethod
    def _compile(cls, kind: Kind, source: str) -> Self:
        if kind != "schema" and len(source) > MAX_TEXT:
            raise UsageError(f"the {kind} is {len(source)} characters long; at most {MAX_TEXT} are read")
        if "\x00" in source or any("\ud800" <= c <= "\udfff" for c in source):
            raise UsageError(f"the {kind} holds characters that are no text (NUL or half a surrogate pair)")
        compiled = _as_grammar(kind, source)
        matcher = _in_time(lambda: _matcher(byte_tokenizer(), compiled), kind)
        shortest = Closer(matcher, kind, _hints(kind, source)).find_any()
        if shortest is None and kind == "schema":
            raise UsageError(
                "no JSON satisfies the schema within reach: something required never ends "
                "(a reference to itself, a huge minItems or minLength) or contradicts itself"
            )
        return cls(kind, source, compiled, shortest)

    @property
    def json_schema(self) -> dict[str, Any] | None:
        """The schema that answers validate against; None for the other kinds."""
        return json.loads(self.source) if self.kind == "schema" else None

    def accepts(self, text: str) -> bool:
        """Whether a text made elsewhere is a whole answer; JSON must be compact."""
        matcher = _matcher(byte_tokenizer(), self.compiled)
        written = list(text.encode())
        return matcher.try_consume_tokens(written) == len(written) and matcher.is_accepting()

    def check_fits(self, tokenizer: GemmaTokenizer, budget: int) -> None:
        """Refuse a budget in which no answer can be finished.

        Raises:
            UsageError: names the tokens it takes.
        """
        if self.shortest is None:
            return
        needed = len(_vocabulary(tokenizer).tokenize_bytes(self.shortest))
        if needed > budget:
            raise UsageError(
                f"the shortest answer the {self.kind} allows takes {needed} tokens and there is room for "
                f"{budget}: raise --max-tokens or ask for less"
            )

    def matcher(self, tokenizer: GemmaTokenizer, stop_ids: Iterable[int]) -> Matcher:
        """A matcher for one answer.

        Args:
            tokenizer: of the model that answers.
            stop_ids: tokens that end an answer.
        """
        return Matcher(self, tokenizer, frozenset(stop_ids))

    def data_of(self, text: str) -> Any:
        """The value a finished answer's JSON stands for; None for the other kinds.

        A number too large for a double becomes the largest one.

        Raises:
            UsageError: the text is no JSON, because it was not made under this constraint.
        """
        if self.kind != "schema":
            return None
        try:
            return json.loads(text, parse_float=_finite, parse_int=_integer)
        except ValueError:
            raise UsageError("the answer is no whole JSON: it was not made under its schema") from None


class Matcher:
    """Follows one answer token by token: ``choose``, then ``accept``, until it is ``finished``.

    Attributes:
        cut: whether the closing was written because the budget ran out.
    """

    def __init__(self, constraint: Constraint, tokenizer: GemmaTokenizer, stop_ids: frozenset[int]) -> None:
        kind, source, compiled = constraint.kind, constraint.source, constraint.compiled
        self._kind = kind
        self._tokenizer = tokenizer  # kept: the vocabulary knows it only by a weak reference
        self._vocabulary = _vocabulary(tokenizer)
        self._matcher = _matcher(self._vocabulary, compiled)
        self._closer = Closer(_matcher(byte_tokenizer(), compiled), kind, _hints(kind, source))
        self._stop_ids = stop_ids
        shortest = constraint.shortest
        self._closing = None if shortest is None else self._vocabulary.tokenize_bytes(shortest)
        self._known: tuple[int, list[int] | None] | None = None  # a token and the closing after it
        self.cut = False

    @property
    def finished(self) -> bool:
        """Whether the answer is whole and nothing can follow, or was closed for want of room."""
        return self._matcher.is_stopped() or (self.cut and not self._closing)

    def allowed(self, size: int) -> Tensor:
        """Which tokens may come next: [size] bool.

        Raises:
            UsageError: none may, or the grammar grew past the limits of the library.
        """
        from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask

        packed = allocate_token_bitmask(1, self._vocabulary.vocab_size)
        fill_next_token_bitmask(self._matcher, packed)
        if self._matcher.is_error():
            raise _refused(self._kind, self._matcher)
        bits = np.unpackbits(packed.view(np.uint8).ravel(), bitorder="little")[:size]
        allowed = torch.zeros(size, dtype=torch.bool)  # an embedding may have more rows than there are tokens
        allowed[: len(bits)] = torch.from_numpy(bits.astype(bool))
        allowed[self._tokenizer.special.eos] = False  # the library's sign for the end; the model's own follow
        if self._matcher.is_accepting():
            allowed[[id for id in self._stop_ids if id < size]] = True
        if not allowed.any():
            raise UsageError(f"the {self._kind} leads to a place where this model has no token to go on with")
        return allowed

    def mask(self, logits_V: Tensor) -> Tensor:
        """The logits with tokens that may not come next at -inf: [vocab_size]."""
        return logits_V.masked_fill(~self.allowed(logits_V.shape[0]), -torch.inf)

    def choose(self, logits_V: Tensor, pick: Callable[[Tensor], int], left: int) -> int:
        """The next token: the sampler's, or the closing's if that one would not leave room for an end.

        Args:
            logits_V: [vocab_size].
            pick: chooses from masked logits.
            left: tokens the answer may still have, this one included; a stop token needs no room.
        """
        token = pick(self.mask(logits_V))
        if self._closing is None or token in self._stop_ids:
            return token
        after = self._closing_after(token)
        if after is None and self._kind != "schema":
            return token  # better cut off in the end than led away from what the model means
        if after is not None and len(after) < left:
            return token
        self.cut = self.cut or after is not None
        return self._closing[0] if self._closing else min(self._stop_ids)

    def accept(self, token: int) -> None:
        """Go on by a token that was chosen; a stop token is none of the answer's."""
        if token in self._stop_ids:
            return
        if self._closing is not None:
            self._closing = self._closing_after(token)
            self._closer.go(self._tokenizer.token_bytes(token))
        if not self._matcher.consume_token(token):
            raise _refused(self._kind, self._matcher)
        self._known = None

    def _closing_after(self, token: int) -> list[int] | None:
        """A way to the end after a token; None if none is found."""
        if self._known is not None and self._known[0] == token:
            return self._known[1]
        closing = self._closing
        added = self._tokenizer.token_bytes(token)
        if closing and closing[0] == token:
            closing = closing[1:]
        elif not (closing and self._closer.ends(added + self._bytes_of(closing))):
            # Perhaps the token stands for the closing's next one, as in a pattern of fixed length.
            if closing and self._closer.ends(added + self._bytes_of(closing[1:])):
                closing = closing[1:]
            else:
                found = self._closer.find(added)
                closing = None if found is None else self._vocabulary.tokenize_bytes(found)
        self._known = token, closing
        return closing

    def _bytes_of(self, tokens: Iterable[int]) -> bytes:
        return b"".join(map(self._tokenizer.token_bytes, tokens))


class _Vocabulary:
    """A tokenizer as llguidance wants to see it. Control tokens are empty: no text leads to them."""

    is_tokenizer_wrapper = True

    def __init__(self, tokenizer: GemmaTokenizer) -> None:
        self.eos_token_id, self.bos_token_id = tokenizer.special.eos, tokenizer.special.bos
        self.special_token_ids: list[int] = []
        tokens = [tokenizer.token_bytes(id) for id in range(tokenizer.vocab_size)]
        # The library takes this byte for the mark of a control token; UTF-8 never has it.
        self.tokens = [b"" if token.startswith(b"\xff") else token for token in tokens]
        self._bytes = {token[0]: id for id, token in enumerate(tokens) if len(token) == 1}
        self._tokenizer = weakref.ref(tokenizer)

    def __call__(self, text: str) -> list[int]:
        tokenizer = self._tokenizer()
        assert tokenizer is not None  # whoever asks holds it
        # Typed, this sign would be encoded as the space that the vocabulary spells with it.
        ids, *others = (tokenizer.encode_text(part) for part in text.split(SPACE))
        for part in others:
            ids += [self._bytes[byte] for byte in SPACE.encode()] + part
        return ids


_vocabularies: weakref.WeakKeyDictionary[GemmaTokenizer, LLTokenizer] = weakref.WeakKeyDictionary()


def _vocabulary(tokenizer: GemmaTokenizer) -> LLTokenizer:
    """The tokenizer for llguidance; about a second for 262144 tokens, and then kept."""
    if tokenizer not in _vocabularies:
        byte_tokenizer()  # says what to install if the library is missing
        from llguidance import LLTokenizer

        _vocabularies[tokenizer] = LLTokenizer(_Vocabulary(tokenizer))  # type: ignore[arg-type]
    return _vocabularies[tokenizer]


def _as_grammar(kind: Kind, source: str) -> str:
    byte_tokenizer()
    from llguidance import LLMatcher

    if kind == "schema":
        try:
            return LLMatcher.grammar_from_json_schema(source, overrides={"whitespace_flexible": False})
        except ValueError as error:  # half a surrogate pair, a number beyond every range
            raise UsageError(f"the schema can't be used: {error}") from None
    if kind == "regex":
        return LLMatcher.grammar_from_regex(source)
    if kind == "choice":
        listed = " | ".join(json.dumps(choice, ensure_ascii=False) for choice in json.loads(source))
        return LLMatcher.grammar_from_lark(f"start: {listed}")
    return LLMatcher.grammar_from_lark(source)


def _hints(kind: Kind, source: str) -> str:
    """Text of the patterns in a constraint."""
    return "\n".join(patterns_of(json.loads(source))) if kind == "schema" else source


def _matcher(tokenizer: LLTokenizer, compiled: str) -> LLMatcher:
    from llguidance import LLMatcher, LLParserLimits

    return LLMatcher(tokenizer, compiled, log_level=0, limits=LLParserLimits(verbose_errors=False))


def _in_time(build: Callable[[], LLMatcher], kind: Kind) -> LLMatcher:
    """The matcher, if it is built in time: the library has limits, and this is for what they miss.

    Raises:
        UsageError: it took too long, or the grammar is not valid.
    """
    built: list[LLMatcher] = []
    worker = threading.Thread(target=lambda: built.append(build()), daemon=True)
    worker.start()
    worker.join(_SECONDS)
    if not built:
        raise UsageError(f"the {kind} is too hard: it was not understood within {_SECONDS:.0f} s")
    if built[0].is_error():
        raise _refused(kind, built[0])
    return built[0]


def _refused(kind: Kind, matcher: LLMatcher) -> UsageError:
    """The library's reason in one line."""
    lines = [line.strip() for line in matcher.get_error().splitlines()]
    said = [line for line in lines if line and line.strip("^ ") and not line.startswith("<state>")]
    reason = next((line for line in said if line.startswith("error:")), (said or ["no reason given"])[0])
    printable = "".join(c if c.isprintable() else "?" for c in reason.removeprefix("error: "))[:300]
    return UsageError(f"the {kind} can't be used: {printable}")


def _finite(digits: str) -> float:
    largest = float(np.finfo(np.float64).max)
    return max(-largest, min(largest, float(digits)))


def _integer(digits: str) -> int | float:
    return int(digits) if len(digits) < 4000 else _finite(digits)  # Python's own limit is 4300 digits
