"""Text to token ids and back: the only home of token ids.

The tokenizer is Gemma's SentencePiece BPE with byte fallback, run by the ``tokenizers`` library. It
comes from a folder's ``tokenizer.json`` or is rebuilt from the token list of a GGUF file; both give
the ids that transformers gives.

Text a person typed is encoded with its control tokens as plain text: ``<end_of_turn>`` in a question
is eleven letters between brackets, never the end of the turn (google-deepmind/gemma#768). Only
``vlm.prompt`` puts control ids into a prompt. Tokens without a role (newline runs, ``<table>``) are
matched in text as everywhere else, whether or not a file marks them.

Heavy libraries are imported where they are used, so that ``vlm --help`` stays quick.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Self

from vlm.errors import CheckpointError
from vlm.gguf_header import read_header

if TYPE_CHECKING:
    from tokenizers import Tokenizer

ABSENT = -1  # id of a turn token in a vocabulary that has none; no generated id ever equals it

SPACE = "▁"  # how the vocabulary spells a space

_PAD, _EOS, _BOS, _UNKNOWN = _REQUIRED = ("<pad>", "<eos>", "<bos>", "<unk>")
_START_OF_TURN, _END_OF_TURN = _TURNS = ("<start_of_turn>", "<end_of_turn>")
_START_OF_IMAGE, _END_OF_IMAGE, _IMAGE_SOFT = _IMAGES = (
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
)
_ROLES = (*_REQUIRED, *_TURNS, *_IMAGES)
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


@dataclass(frozen=True)
class SpecialIds:
    """Ids of the tokens that have a role, as the vocabulary numbers them.

    A turn token is ``ABSENT`` where the vocabulary has none (raw continuation still works); an image
    token is None where the checkpoint reads text only.
    """

    pad: int
    eos: int
    bos: int
    start_of_turn: int
    end_of_turn: int
    start_of_image: int | None
    end_of_image: int | None
    image_soft: int | None


class GemmaTokenizer:
    """Gemma's tokenizer; safe to share between threads.

    Args:
        tokenizer: built or read by ``from_folder`` / ``from_gguf``; this object owns it from here on.
        source: file the vocabulary came from, for messages.

    Raises:
        CheckpointError: a control token the vocabulary must have is missing, or plain text spells one.
    """

    def __init__(self, tokenizer: Tokenizer, source: Path) -> None:
        from tokenizers import AddedToken

        tokenizer.no_truncation()
        tokenizer.no_padding()
        self.special = _special_ids(tokenizer, source)
        roles = [token for token in _ROLES if tokenizer.token_to_id(token) is not None]
        # Files disagree: GGUF lists <start_of_image> as an ordinary word. The flag below needs it marked.
        tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in roles])
        tokenizer.encode_special_tokens = True  # i.e. as text; matched as a unit when False
        self._tokenizer = tokenizer
        self.vocab_size: int = tokenizer.get_vocab_size(with_added_tokens=True)
        marked = {i for i, t in tokenizer.get_added_tokens_decoder().items() if t.special}
        self._silent = frozenset(marked | {tokenizer.token_to_id(t) for t in roles})
        for token in roles:
            if tokenizer.token_to_id(token) in self.encode_text(token):
                raise CheckpointError(
                    f"{source}: typing {token} as plain text gives the control token itself; "
                    "this vocabulary can't tell a person's words from control tokens"
                )

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """Read ``tokenizer.json``.

        Raises:
            CheckpointError: no such file, not a tokenizer, or a control token missing.
        """
        from tokenizers import Tokenizer

        path = folder / "tokenizer.json"
        if not path.is_file():
            raise CheckpointError(f"{path}: no such file; a checkpoint folder needs it")
        try:
            tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # the library raises nothing narrower
            raise CheckpointError(f"{path}: not readable as a tokenizer ({error})") from None
        return cls(tokenizer, path)

    @classmethod
    def from_gguf(cls, path: Path) -> Self:
        """Rebuild the tokenizer from the token list of a GGUF file (2 to 3 s for 262144 tokens).

        Raises:
            CheckpointError: not a GGUF file, cut off, or without a SentencePiece vocabulary of Gemma's kind.
        """
        return cls(_from_token_list(path), path)

    def encode_text(self, text: str) -> list[int]:
        """Ids of plain text: no BOS, and control tokens typed in it stay text."""
        return self._encode(self._tokenizer, text)

    def encode_with_special(self, text: str) -> list[int]:
        """Ids of trusted text in which ``<bos>``, ``<start_of_turn>`` ... are the control tokens.

        For raw prompts written by a developer and for comparison with transformers; never for text a
        person or a document supplied. Adds no BOS.
        """
        return self._encode(self._trusting, text)

    def decode(self, ids: Sequence[int], *, keep_special: bool = False) -> str:
        """Text of ids; control tokens are dropped unless ``keep_special``.

        Bytes that make no UTF-8 become U+FFFD, by Python's rule (one a broken sequence).
        """
        spelled = self._spelled if keep_special else self.token_bytes
        return b"".join(map(spelled, ids)).decode("utf-8", errors="replace")

    def token_bytes(self, id: int) -> bytes:
        """What one token adds to the output: joined and decoded, these are ``decode``.

        Empty for control tokens and for ids the vocabulary does not name (padding rows of the embedding).
        """
        return b"" if id in self._silent else self._spelled(id)

    def _spelled(self, id: int) -> bytes:
        token = self._tokenizer.id_to_token(id)
        if token is None:
            return b""
        byte = _BYTE.fullmatch(token)
        return bytes.fromhex(byte[1]) if byte else token.replace(SPACE, " ").encode()

    @cached_property
    def _trusting(self) -> Tokenizer:
        """A second tokenizer, because flipping the flag of the first would be seen by other threads."""
        from tokenizers import Tokenizer

        twin = Tokenizer.from_str(self._tokenizer.to_str())
        twin.encode_special_tokens = False
        return twin

    @staticmethod
    def _encode(tokenizer: Tokenizer, text: str) -> list[int]:
        try:
            text.encode()
        except UnicodeEncodeError:  # lone surrogates, as bytes in argv that are no UTF-8 arrive
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        ids: list[int] = tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _special_ids(tokenizer: Tokenizer, source: Path) -> SpecialIds:
    missing = [t for t in _REQUIRED if tokenizer.token_to_id(t) is None]
    if missing:
        raise CheckpointError(f"{source}: control token {', '.join(missing)} missing from the vocabulary")

    def known(token: str) -> int:
        id = tokenizer.token_to_id(token)
        return ABSENT if id is None else id

    return SpecialIds(
        pad=known(_PAD),
        eos=known(_EOS),
        bos=known(_BOS),
        start_of_turn=known(_START_OF_TURN),
        end_of_turn=known(_END_OF_TURN),
        start_of_image=tokenizer.token_to_id(_START_OF_IMAGE),
        end_of_image=tokenizer.token_to_id(_END_OF_IMAGE),
        image_soft=tokenizer.token_to_id(_IMAGE_SOFT),
    )


def _from_token_list(path: Path) -> Tokenizer:
    """Gemma's tokenizer from a GGUF's tokens, as ``transformers.integrations.gguf`` builds it.

    The file lists no merges. SentencePiece joins the pair whose product has the best rank, and Gemma's
    rank is the position in the list (the scores of the special pieces do not follow it), so the merges
    are all cuts of each token into two tokens, token by token.
    """
    from gguf import TokenType
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers

    keys = ("tokenizer.ggml.model", "tokenizer.ggml.tokens", "tokenizer.ggml.token_type")
    found = read_header(path).fields
    for key in keys:
        if key not in found:
            raise CheckpointError(f"{path}: no {key} in the GGUF metadata; the tokenizer can't be built")
    kind, listed, types = (found[key] for key in keys)
    if kind != "llama" or len(listed) != len(types):
        raise CheckpointError(f"{path}: tokenizer {kind!r}; Gemma 3 files hold a SentencePiece one ('llama')")

    # Runs of spaces are the only tokens that llama.cpp's converter respells with real spaces.
    tokens = [SPACE * len(t) if " " in t and not t.strip() else t for t in listed]
    vocab = {token: index for index, token in enumerate(tokens)}
    if len(vocab) != len(tokens) or _UNKNOWN not in vocab:
        raise CheckpointError(f"{path}: the token list has duplicates or no {_UNKNOWN}")
    bpe = models.BPE(
        vocab=vocab, merges=_merges(vocab), unk_token=_UNKNOWN, fuse_unk=True, byte_fallback=True
    )
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Replace(" ", SPACE)
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    pairs = list(zip(listed, types, strict=True))
    control = [t for t, kind in pairs if kind == TokenType.CONTROL]
    words = [t for t, kind in pairs if kind == TokenType.USER_DEFINED and t in vocab]
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in control])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in words])
    return tokenizer


def _merges(vocab: dict[str, int]) -> list[tuple[str, str]]:
    """Every cut of a token into two tokens; better-ranked product first, then the longer left part."""
    merges = []
    for token in vocab:
        for cut in range(len(token) - 1, 0, -1):
            left = token[:cut]
            if left in vocab and (right := token[cut:]) in vocab:
                merges.append((left, right))
    return merges
