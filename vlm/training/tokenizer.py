"""The embedded model's tokenizer and processor files, in the Hub's format.

Gemma 3's design in small: BPE with byte fallback, spaces as "▁", no prefix space, newline runs as
single tokens (vLLM looks "\\n\\n", "\\n\\n\\n" and "\\n\\n\\n\\n" up by name). There is not one merge:
reading is easier to learn character by character, and a decoder this small has no room for words.
The first five ids are those of Gemma; ``<mask>`` is among them because transformers' GemmaTokenizer
otherwise appends one beyond the embedding.

The ids live in the written ``tokenizer.json`` alone: read them back with ``GemmaTokenizer.from_folder``.
"""

from __future__ import annotations

import json
import string
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

CONTROL = (
    "<pad>", "<eos>", "<bos>", "<unk>", "<mask>",
    "<start_of_turn>", "<end_of_turn>", "<start_of_image>", "<end_of_image>", "<image_soft_token>",
)  # fmt: skip
NEWLINES = tuple("\n" * run for run in range(1, 5))
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))
_ASCII = string.digits + string.ascii_letters + string.punctuation
_LATIN_1 = "".join(chr(code) for code in range(0xA1, 0x100) if code != 0xAD)  # without the soft hyphen
_BEYOND = "€–—•…’‘‚“”„‹›†‡‰™œŒšŠžŽŸ−≤≥"
CHARACTERS = tuple("▁" + _ASCII + _LATIN_1 + _BEYOND)
MULTIPLE = 64  # the vocabulary, and with it the embedding, is a whole number of these

# As on the Hub in google/gemma-3-4b-it: writes BOS itself, folds the system text into the first user
# turn, enforces the order of roles, trims text.
CHAT_TEMPLATE = """\
{{ bos_token }}
{%- if messages[0]['role'] == 'system' -%}
    {%- if messages[0]['content'] is string -%}
        {%- set first_user_prefix = messages[0]['content'] + '

' -%}
    {%- else -%}
        {%- set first_user_prefix = messages[0]['content'][0]['text'] + '

' -%}
    {%- endif -%}
    {%- set loop_messages = messages[1:] -%}
{%- else -%}
    {%- set first_user_prefix = "" -%}
    {%- set loop_messages = messages -%}
{%- endif -%}
{%- for message in loop_messages -%}
    {%- if (message['role'] == 'user') != (loop.index0 % 2 == 0) -%}
        {{ raise_exception("Conversation roles must alternate user/assistant/user/assistant/...") }}
    {%- endif -%}
    {%- if (message['role'] == 'assistant') -%}
        {%- set role = "model" -%}
    {%- else -%}
        {%- set role = message['role'] -%}
    {%- endif -%}
    {{ '<start_of_turn>' + role + '
' + (first_user_prefix if loop.first else "") }}
    {%- if message['content'] is string -%}
        {{ message['content'] | trim }}
    {%- elif message['content'] is iterable -%}
        {%- for item in message['content'] -%}
            {%- if item['type'] == 'image' -%}
                {{ '<start_of_image>' }}
            {%- elif item['type'] == 'text' -%}
                {{ item['text'] | trim }}
            {%- endif -%}
        {%- endfor -%}
    {%- else -%}
        {{ raise_exception("Invalid content type") }}
    {%- endif -%}
    {{ '<end_of_turn>
' }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{'<start_of_turn>model
'}}
{%- endif -%}
"""


def build_mini_tokenizer(folder: Path, *, image_size: int = 224, image_seq_length: int = 64) -> None:
    """Write the files ``transformers.AutoProcessor.from_pretrained(folder)`` reads; the same every time.

    Args:
        folder: made if missing.
        image_size: pixels along each side of a window.
        image_seq_length: soft tokens a window.
    """
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = _tokenizer()
    (folder / "tokenizer.json").write_text(tokenizer.to_str(pretty=True), encoding="utf-8")
    (folder / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    _write(folder / "tokenizer_config.json", _tokenizer_config(tokenizer))
    _write(folder / "special_tokens_map.json", _NAMED)
    _write(folder / "preprocessor_config.json", _preprocessor_config(image_size, image_seq_length))
    processor = {"image_seq_length": image_seq_length, "processor_class": "Gemma3Processor"}
    _write(folder / "processor_config.json", processor)


_NAMED = {
    "pad_token": "<pad>",
    "eos_token": "<eos>",
    "bos_token": "<bos>",
    "unk_token": "<unk>",
    "mask_token": "<mask>",
    "boi_token": "<start_of_image>",
    "eoi_token": "<end_of_image>",
    "image_token": "<image_soft_token>",
}


def _tokenizer() -> Tokenizer:
    from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    tokens = [*CONTROL, *NEWLINES, *BYTES, *CHARACTERS]
    # In the vocabulary but not matched in text: a typed "<unused3>" is read letter by letter.
    tokens += [f"<unused{index}>" for index in range(-len(tokens) % MULTIPLE)]
    vocab = {token: index for index, token in enumerate(tokens)}
    if len(vocab) != len(tokens):
        raise ValueError("a character is listed twice")
    bpe = models.BPE(vocab=vocab, merges=[], unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    tokenizer = Tokenizer(bpe)
    tokenizer.normalizer = normalizers.Replace(" ", "▁")
    tokenizer.pre_tokenizer = pre_tokenizers.Split(" ", "merged_with_previous")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<bos> $A", pair="<bos> $A <bos>:1 $B:1", special_tokens=[("<bos>", vocab["<bos>"])]
    )
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()]
    )
    tokenizer.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in CONTROL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in NEWLINES])
    return tokenizer


def _tokenizer_config(tokenizer: Tokenizer) -> dict[str, Any]:
    added = {
        str(index): {
            "content": token.content,
            "lstrip": token.lstrip,
            "normalized": token.normalized,
            "rstrip": token.rstrip,
            "single_word": token.single_word,
            "special": token.special,
        }
        for index, token in sorted(tokenizer.get_added_tokens_decoder().items())
    }
    image_tokens = {name: _NAMED[name] for name in ("boi_token", "eoi_token", "image_token")}
    return {
        "add_bos_token": True,
        "add_eos_token": False,
        "added_tokens_decoder": added,
        **_NAMED,
        "clean_up_tokenization_spaces": False,
        "extra_special_tokens": image_tokens,
        "processor_class": "Gemma3Processor",
        "spaces_between_special_tokens": False,
        "tokenizer_class": "GemmaTokenizer",
    }


def _preprocessor_config(image_size: int, image_seq_length: int) -> dict[str, Any]:
    return {
        "do_convert_rgb": None,
        "do_normalize": True,
        "do_pan_and_scan": None,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": [0.5, 0.5, 0.5],
        "image_processor_type": "Gemma3ImageProcessor",
        "image_seq_length": image_seq_length,
        "image_std": [0.5, 0.5, 0.5],
        "pan_and_scan_max_num_crops": None,
        "pan_and_scan_min_crop_size": None,
        "pan_and_scan_min_ratio_to_activate": None,
        "processor_class": "Gemma3Processor",
        "resample": 2,  # bilinear
        "rescale_factor": 1 / 255,
        "size": {"height": image_size, "width": image_size},
    }


def _write(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
