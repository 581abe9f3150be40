"""Asking, streaming, conversing and continuing, on a checkpoint of random weights."""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from fakes import IMAGE_SIZE, TOKENS, ScriptedEngine, picture, tiny_checkpoint
from PIL import Image

from vlm import Options, Sampling
from vlm.answer import Answer
from vlm.errors import ImageError, PromptError, UsageError
from vlm.session import VLM, Message

torch.set_num_threads(1)
QUESTION = "What does it say?"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return VLM.load(tiny_checkpoint(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> VLM:
    return VLM.load(tiny_checkpoint(tmp_path_factory.mktemp("text"), vision=False))


@contextmanager
def counted(model: VLM) -> Iterator[list[int]]:
    """Tokens of each step the decoder computes meanwhile."""
    steps: list[int] = []
    handle = model.engine.decoder.register_forward_hook(lambda _, given, __: steps.append(len(given[1])))
    try:
        yield steps
    finally:
        handle.remove()


# -- one question ------------------------------------------------------------------------------------


def test_answer_tells_how_it_came_about(model: VLM) -> None:
    answer = model.ask(picture(1), QUESTION, max_tokens=12)
    assert len(answer.text) == 12 and answer.finish_reason == "length"
    assert answer.model == model.engine.name
    assert [(used.image, used.window.kind, used.window.box) for used in answer.windows] == [
        (0, "whole", (0, 0, 80, 80))
    ]
    usage = answer.usage
    turns = f"user\n{QUESTION}model\n"  # a token a character, and the newlines around an image
    controls = len(["bos", "start", "end", "start", "soi", "eoi"])
    newlines = 2 + 1  # "user\n" + "\n\n" are one token, "\n\n" after the image, "\n" after the turn
    assert usage.prompt_tokens == len(turns) - 1 + controls + newlines + TOKENS
    assert (usage.image_tokens, usage.completion_tokens) == (TOKENS, 12)
    timings = answer.timings
    assert timings.load > 0 and timings.encode > 0 and timings.prefill > 0 and timings.decode > 0


def test_json_of_an_answer_is_the_published_object(model: VLM) -> None:
    shown = model.ask(picture(1), QUESTION, max_tokens=3).to_json()
    assert list(shown) == [
        *(
            "answer",
            "confidence",
            "probability",
            "model",
            "finish_reason",
            "windows",
            "evidence",
            "usage",
            "timings",
        ),
    ]
    assert 0 < shown["confidence"] <= 1
    assert shown["windows"] == [{"image": 0, "box": [0, 0, 80, 80], "kind": "whole"}]
    assert list(shown["usage"]) == ["prompt_tokens", "image_tokens", "completion_tokens"]
    assert list(shown["timings"]) == ["load", "encode", "prefill", "decode"]


def test_probability_is_that_of_all_tokens_together(model: VLM) -> None:
    answer = model.ask(picture(1), QUESTION, max_tokens=3)
    assert answer.probability == pytest.approx(math.prod(map(math.exp, answer.logprobs)))
    assert 0 < answer.probability < answer.confidence
    assert answer.to_json()["probability"] == pytest.approx(answer.probability, rel=1e-3)


def test_confidence_is_the_mean_probability_of_the_tokens(model: VLM) -> None:
    answer = model.ask(picture(1), QUESTION, max_tokens=3)
    assert len(answer.logprobs) == len(answer.ids) == 3
    assert answer.confidence == pytest.approx(sum(math.exp(x) for x in answer.logprobs) / 3)
    assert replace(answer, logprobs=()).confidence == 0.0


def test_a_prompt_too_long_is_refused_before_anything_is_encoded(model: VLM) -> None:
    encoded: list[tuple[int, int]] = []
    watched = VLM(model.engine, on_window=lambda done, count: encoded.append((done, count)))
    with pytest.raises(PromptError, match="--max-windows"):
        watched.ask(picture(1), "why " * model.engine.context)
    assert not encoded


def test_windows_list_blank_ones_and_image_tokens_count_the_others(model: VLM) -> None:
    page = Image.new("RGB", (4 * IMAGE_SIZE, IMAGE_SIZE), "white")
    page.paste(picture(3, IMAGE_SIZE, IMAGE_SIZE), (IMAGE_SIZE, 0))
    answer = model.ask([page, picture(1, 40, 40)], QUESTION, max_tokens=2)
    kinds = [(used.image, used.window.kind) for used in answer.windows]
    assert kinds == [(0, "whole"), (0, "blank"), (0, "crop"), (0, "blank"), (0, "blank"), (1, "whole")]
    read = sum(kind != "blank" for _, kind in kinds)
    assert answer.usage.image_tokens == read * TOKENS == 3 * TOKENS


@pytest.mark.parametrize(("policy", "windows"), [("off", 1), ("gemma3", 3), ("adaptive", 9)])
def test_policies_reach_the_encoder(model: VLM, policy: str, windows: int) -> None:
    # Adaptive knows the encoder's size; the published one cuts by 256 pixels along the longer side.
    answer = model.ask(picture(1, 600, 300), QUESTION, policy=policy, max_windows=9, max_tokens=1)
    assert answer.usage.image_tokens == windows * TOKENS


def test_max_windows_counts_the_whole_image(model: VLM) -> None:
    answer = model.ask(picture(1, 600, 300), QUESTION, max_windows=3, max_tokens=1)
    assert len(answer.windows) == 3
    assert len(model.ask(picture(1, 600, 300), QUESTION, max_windows=1, max_tokens=1).windows) == 1


def test_image_and_question_both_change_the_answer(model: VLM) -> None:
    ask = lambda seed, question: model.ask(picture(seed), question, max_tokens=24).text  # noqa: E731
    assert ask(1, QUESTION) == ask(1, QUESTION)
    assert ask(1, QUESTION) != ask(2, QUESTION)
    assert ask(1, QUESTION) != ask(1, "Where is it?")


def test_images_come_as_paths_bytes_files_and_lists(model: VLM, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    picture(1).save(path)
    held = path.read_bytes()
    sources = [picture(1), path, str(path), held, io.BytesIO(held), [path], (held,)]
    texts = {model.ask(source, QUESTION, max_tokens=8).text for source in sources}
    assert len(texts) == 1


def test_stream_gives_the_answer_in_pieces(model: VLM) -> None:
    stream = model.stream(picture(1), QUESTION, max_tokens=10)
    assert stream.answer is None
    pieces = list(stream)
    assert len(pieces) > 5
    assert stream.answer is not None
    assert "".join(pieces).strip() == stream.answer.text
    assert model.ask(picture(1), QUESTION, max_tokens=10).text == stream.answer.text


def test_progress_is_told_window_by_window(model: VLM) -> None:
    told: list[tuple[int, int]] = []
    model.on_window = lambda done, total: told.append((done, total))
    try:
        model.ask(picture(1, 112, 112), QUESTION, max_tokens=1)
    finally:
        model.on_window = None
    assert told == [(0, 5), (1, 5), (2, 5), (3, 5), (4, 5)]


def test_the_same_seed_gives_the_same_text(model: VLM) -> None:
    def ask(seed: int) -> str:
        return model.ask(
            picture(1), QUESTION, max_tokens=30, sampling=Sampling(temperature=2.0, seed=seed)
        ).text

    assert ask(5) == ask(5)
    assert ask(5) != ask(6)


def test_a_stop_string_ends_the_answer_before_itself(tmp_path: Path) -> None:
    vlm = ScriptedEngine(tmp_path, says="one, two, three").vlm()
    answer = vlm.ask((), "Count.", stop=(", th", "never"))
    assert (answer.text, answer.finish_reason) == ("one, two", "stop")
    assert answer.usage.completion_tokens == len("one, two, th")


def test_the_answer_is_trimmed_but_not_its_pieces(tmp_path: Path) -> None:
    stream = ScriptedEngine(tmp_path, says=" well\n").vlm().stream((), "How are you?")
    assert "".join(stream) == " well\n"
    assert stream.answer is not None and stream.answer.text == "well"


def test_context_end_is_a_reason_of_its_own(tmp_path: Path) -> None:
    model = VLM.load(tiny_checkpoint(tmp_path, context=64))
    answer = model.ask(picture(1), "What?", max_tokens=500)
    assert answer.finish_reason == "context"
    assert answer.usage.prompt_tokens + answer.usage.completion_tokens == 64 + 1


# -- what is refused ---------------------------------------------------------------------------------


def test_a_prompt_longer_than_the_context_is_refused(tmp_path: Path) -> None:
    model = VLM.load(tiny_checkpoint(tmp_path, context=64))
    with pytest.raises(PromptError, match=r"10\d tokens long .* holds 64"):
        model.ask(picture(1), "why " * 20)


@pytest.mark.parametrize("question", ["", "  \n"])
def test_an_empty_question_is_refused(model: VLM, question: str) -> None:
    with pytest.raises(PromptError, match="no question"):
        model.ask(picture(1), question)


def test_a_text_checkpoint_refuses_images_and_answers_text(text_model: VLM) -> None:
    with pytest.raises(PromptError, match="reads text only"):
        text_model.ask(picture(1), QUESTION)
    assert len(text_model.ask((), QUESTION, max_tokens=4).text) == 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"temprature": 1}, "unknown option temprature: options are policy"),
        ({"policy": "never"}, "unknown policy 'never'"),
        ({"max_windows": 0}, "max_windows must be"),
        ({"max_tokens": 0}, "max_tokens must be 1 or more"),
    ],
)
def test_a_wrong_option_is_named_before_any_work(model: VLM, changes: dict[str, object], named: str) -> None:
    with counted(model) as steps, pytest.raises(UsageError, match=named):
        model.ask("no such file.png", QUESTION, **changes)
    assert steps == []


def test_a_wrong_image_among_good_ones_is_named(model: VLM, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"absent\.png: no such file"):
        model.ask([picture(1), tmp_path / "absent.png"], QUESTION)


# -- raw continuation --------------------------------------------------------------------------------


def test_generate_uses_no_template(model: VLM) -> None:
    plain = model.generate("Once", max_tokens=5).read()
    assert plain.usage.prompt_tokens == len("Once") + 1  # BOS
    with_image = model.generate("Once", picture(1), max_tokens=5).read()
    assert with_image.usage.prompt_tokens == len("Once") + 1 + TOKENS + 4  # and \n\n soi ... eoi \n\n
    assert plain.text != with_image.text


def test_generate_may_begin_with_nothing(model: VLM) -> None:
    assert model.generate("", max_tokens=3).read().usage.prompt_tokens == 1


# -- conversations -----------------------------------------------------------------------------------

Fresh = Callable[[list[tuple[str, int | None]]], list[Answer]]


@pytest.fixture
def fresh(model: VLM) -> Fresh:
    """The answers of a conversation in which nothing is kept: every prompt is computed whole."""

    def ask(turns: list[tuple[str, int | None]]) -> list[Answer]:
        chat = model.chat(max_tokens=20)
        answers = []
        for question, seed in turns:
            model.engine.prompts.clear()
            answers.append(chat.ask(question, () if seed is None else picture(seed)))
        return answers

    return ask


def test_a_second_question_computes_only_what_is_new(model: VLM) -> None:
    model.engine.prompts.clear()
    chat = model.chat(max_tokens=20)
    with counted(model) as first:
        one = chat.ask(QUESTION, picture(1))
    assert sum(first) == one.usage.prompt_tokens + one.usage.completion_tokens - 1
    with counted(model) as second:
        two = chat.ask("Where?")
    # The answer's last token was never read; then <end_of_turn>, and the turn with its controls.
    new = 1 + len(["end", "\n", "start"]) + len("user\nWhere?") + len(["end", "\n", "start"]) + len("model\n")
    assert second[0] == new
    assert two.usage.prompt_tokens == one.usage.prompt_tokens + one.usage.completion_tokens - 1 + new
    assert two.usage.image_tokens == TOKENS and two.windows == ()


def test_a_conversation_answers_as_if_nothing_were_kept(model: VLM, fresh: Fresh) -> None:
    turns: list[tuple[str, int | None]] = [
        (QUESTION, 1),
        ("Where?", None),
        ("And this one?", 2),
        ("Sure?", None),
    ]
    chat = model.chat(max_tokens=20)
    kept = [chat.ask(question, () if seed is None else picture(seed)) for question, seed in turns]
    assert [a.text for a in kept] == [a.text for a in fresh(turns)]
    assert [turn.role for turn in chat.turns] == ["user", "assistant"] * 4
    assert kept[-1].usage.image_tokens == 2 * TOKENS


def test_a_stream_left_early_leaves_no_trace(model: VLM, fresh: Fresh) -> None:
    chat = model.chat(max_tokens=20)
    chat.ask(QUESTION, picture(1))
    before = chat.turns
    for _ in chat.stream("Where is it?"):
        break
    assert chat.turns == before
    assert chat.ask("Where?").text == fresh([(QUESTION, 1), ("Where?", None)])[1].text


def test_the_same_question_about_another_image_is_not_answered_from_the_cache(
    model: VLM, fresh: Fresh
) -> None:
    # The ids of both prompts are equal; only the pixels differ.
    chat = model.chat(max_tokens=20)
    for _ in chat.stream(QUESTION, picture(1)):
        break
    assert chat.ask(QUESTION, picture(2)).text == fresh([(QUESTION, 2)])[0].text


def test_asking_again_ends_the_stream_before(model: VLM, fresh: Fresh) -> None:
    chat = model.chat(max_tokens=20)
    left = chat.stream("Where is it?", picture(2))
    next(iter(left))
    answer = chat.ask(QUESTION, picture(1))
    with pytest.raises(UsageError, match="another question"):
        left.read()
    assert answer.text == fresh([(QUESTION, 1)])[0].text
    assert chat.ask("Where?").text == fresh([(QUESTION, 1), ("Where?", None)])[1].text


def test_an_error_leaves_the_conversation_usable(model: VLM, fresh: Fresh) -> None:
    chat = model.chat(max_tokens=20)
    chat.ask(QUESTION, picture(1))
    with pytest.raises(PromptError, match="context"):
        chat.ask("why " * 1000)
    with pytest.raises(ImageError):
        chat.ask("And this?", b"no image")
    assert chat.ask("Where?").text == fresh([(QUESTION, 1), ("Where?", None)])[1].text


def test_the_local_layers_may_forget_and_the_answer_stays_right(tmp_path: Path) -> None:
    # Far past the window and the slack of the local layers, where a cut back means a fresh start.
    model = VLM.load(tiny_checkpoint(tmp_path / "c", context=4096))
    chat = model.chat(max_tokens=8)
    chat.ask("long " * 120, picture(1))
    for _ in chat.stream("longer " * 120):
        break
    kept = chat.ask("So?").text
    other = model.chat(max_tokens=8)
    other.ask("long " * 120, picture(1))
    other._cache = model.engine.new_cache()
    other._cached_ids = ()
    assert kept == other.ask("So?").text


def test_system_text_stands_before_the_first_question(tmp_path: Path) -> None:
    engine = ScriptedEngine(tmp_path)
    chat = engine.vlm().chat(Options(system="Be brief."))
    chat.ask("Why?")
    chat.ask("And?")
    said = engine.tokenizer.decode(engine.heard[-1].ids, keep_special=True)
    assert said == (
        "<bos><start_of_turn>user\nBe brief.\n\nWhy?<end_of_turn>\n"
        "<start_of_turn>model\nThe sign says NO PARKING.<end_of_turn>\n"
        "<start_of_turn>user\nAnd?<end_of_turn>\n<start_of_turn>model\n"
    )


def test_nothing_to_answer_is_refused(model: VLM) -> None:
    with pytest.raises(PromptError, match="no question"):
        model.reply(())


def test_instructions_of_both_kinds_are_one_turn(model: VLM) -> None:
    messages = (Message("system", ("Be brief.",)), Message("user", (QUESTION,)))
    both = model.reply(messages, system="Be kind.", max_tokens=1).read()
    joined = (Message("system", ("Be kind.\n\nBe brief.",)), messages[1])
    assert both.usage == model.reply(joined, max_tokens=1).read().usage


def test_a_stop_that_is_no_list_is_refused() -> None:
    with pytest.raises(UsageError, match=r"\('every',\)"):
        Options(stop="every")  # type: ignore[arg-type]


def test_a_closed_stream_has_no_answer(model: VLM) -> None:
    stream = model.stream(picture(1), QUESTION, max_tokens=12)
    next(iter(stream))
    stream.close()
    with pytest.raises(UsageError, match="ask again"):
        stream.read()


def test_what_was_forgotten_is_read_again(tmp_path: Path) -> None:
    model = VLM.load(tiny_checkpoint(tmp_path))
    for _ in range(2):
        model.ask(picture(1), "What?", max_tokens=2)
    assert model.engine.windows.reused and model.engine.prompts.reused
    encoded, reused = model.engine.windows.encoded, model.engine.prompts.reused
    model.forget()
    model.ask(picture(1), "What?", max_tokens=2)
    assert model.engine.windows.encoded == 2 * encoded and model.engine.prompts.reused == reused
