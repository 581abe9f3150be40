"""Asking a server: what is sent, what is made of what comes, what is tried again and what is told.

The server is a little one in a thread with real sockets. The one in ``vlm.server`` comes last: what it
answers must be what the model answers in this process.
"""

from __future__ import annotations

import base64
import io
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from fakes import picture, tiny_checkpoint
from PIL import Image, ImageDraw
from servers import USAGE, Fake, Made, Talk, chunk, events, saying, whole

from pan_and_scan import Window, load_image
from vlm.answer import UsedWindow
from vlm.asking import Model
from vlm.constrain import Constraint
from vlm.errors import PromptError, RemoteError, UsageError
from vlm.reading.sources import SourceOptions, list_pages
from vlm.reading.transcribe import PageReader, ReadOptions
from vlm.remote import Patience, RemoteVLM
from vlm.sampling import Sampling
from vlm.session import VLM, Message

QUESTION = "What does it say?"
SCHEMA = {"type": "object", "properties": {"total": {"type": "string"}}}


def sent_image(part: dict[str, Any]) -> Image.Image:
    kind, _, data = part["image_url"]["url"].partition(",")
    assert part["type"] == "image_url" and kind == "data:image/png;base64"
    return Image.open(io.BytesIO(base64.b64decode(data, validate=True)))


# -- what is sent ------------------------------------------------------------------------------------


def test_images_go_upright_and_as_a_person_sees_them(fake: Fake, remote: Made) -> None:
    sideways = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(1, 60, 40).save(sideways, "PNG", exif=exif)
    glass = Image.new("RGBA", (30, 20), (0, 0, 0, 0))
    remote().ask([sideways.getvalue(), glass], QUESTION, policy="off")
    (message,) = fake.asked[0]["messages"]
    first, second = (sent_image(part) for part in message["content"][:2])
    assert (first.mode, first.size) == ("RGB", (40, 60)) and not first.getexif()
    assert first.tobytes() == load_image(sideways.getvalue()).tobytes()
    assert second.getpixel((3, 3)) == (255, 255, 255)
    assert message["content"][2] == {"type": "text", "text": QUESTION} and message["role"] == "user"


def test_a_caption_stands_before_its_image(fake: Fake, remote: Made) -> None:
    remote().stream([picture(1), picture(2)], QUESTION, None, ("0:01", "0:02"), system="Be brief.").read()
    system, user = fake.asked[0]["messages"]
    assert system == {"role": "system", "content": "Be brief."}
    assert [part.get("text") for part in user["content"]] == ["0:01", None, "0:02", None, QUESTION]
    with pytest.raises(PromptError, match="1 captions for 2 images"):
        remote().stream([picture(1), picture(2)], QUESTION, None, ("0:01",))


def test_vllm_is_told_how_to_cut(fake: Fake, remote: Made) -> None:
    answer = remote().ask(picture(1, 900, 300), QUESTION, policy="gemma3")
    assert fake.asked[0]["mm_processor_kwargs"] == {
        "do_pan_and_scan": True,
        "pan_and_scan_min_crop_size": 256,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    }
    assert [used.window.box for used in answer.windows] == [
        (0, 0, 900, 300),
        (0, 0, 300, 300),
        (300, 0, 600, 300),
        (600, 0, 900, 300),
    ]
    assert answer.usage.image_tokens == 4 * 256
    remote().ask(picture(1, 900, 300), QUESTION, policy="gemma3", max_windows=3)
    assert fake.asked[1]["mm_processor_kwargs"]["pan_and_scan_max_num_crops"] == 2
    remote().ask(picture(1, 900, 300), QUESTION, policy="off")
    assert fake.asked[2]["mm_processor_kwargs"] == {"do_pan_and_scan": False}


def test_adaptive_means_the_whole_image_elsewhere_and_that_is_said_once(fake: Fake, remote: Made) -> None:
    model, notes = remote(), []
    model.on_note = notes.append
    for _ in range(2):
        answer = model.ask(picture(1, 2000, 2000), QUESTION)
    assert fake.asked[0]["mm_processor_kwargs"] == {"do_pan_and_scan": False}
    assert answer.windows == (UsedWindow(0, Window(0, 0, 2000, 2000, "whole")),)
    assert notes == ["this server knows no adaptive windows: images are read whole"]


def test_a_note_is_a_warning_of_the_log_by_default(remote: Made, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "vlm.remote"):
        remote().ask(picture(1), QUESTION)
    assert "images are read whole" in caplog.text


@pytest.mark.parametrize(
    ("owner", "options", "why"),
    [
        ("vllm", {"policy": "guided"}, "guided windows need a server of `vlm serve`"),
        ("someone", {"policy": "gemma3"}, "this server can't cut images"),
        ("someone", {"policy": "off", "constraint": Constraint.regex("a+")}, "hold an answer to a regex"),
        ("vllm", {"policy": "off", "constraint": Constraint.grammar('start: "a"')}, "to a grammar"),
    ],
)
def test_what_a_server_cannot_do_is_refused_before_it_is_asked(
    fake: Fake, remote: Made, owner: str, options: dict[str, Any], why: str
) -> None:
    fake.owner = owner
    with pytest.raises(UsageError, match=why):
        remote().ask(picture(1), QUESTION, **options)
    assert fake.asked == []


def test_a_plain_server_is_asked_nothing_but_openai_s_fields(fake: Fake, remote: Made) -> None:
    fake.owner = "someone"
    answer = remote().ask(picture(1), QUESTION, policy="off", max_tokens=7, stop=("x",), top_logprobs=2)
    body = fake.asked[0]
    assert set(body) == {
        "model", "messages", "stream", "stream_options", "logprobs", "top_logprobs", "max_tokens", "stop",
        "temperature", "top_p",
    }  # fmt: skip
    assert (body["max_tokens"], body["stop"], body["temperature"]) == (7, ["x"], 0.0)
    assert answer.usage.image_tokens == 0  # of what model, nobody knows
    for field, value in (("top_k", 5), ("min_p", 0.1), ("repetition_penalty", 1.1)):
        with pytest.raises(UsageError, match=f"knows no {field}"):
            remote().ask(picture(1), QUESTION, policy="off", sampling=Sampling(**{field: value}))


def test_vllm_s_own_defaults_never_count(fake: Fake, remote: Made) -> None:
    remote().ask((), QUESTION)
    assert (fake.asked[0]["top_k"], fake.asked[0]["repetition_penalty"]) == (-1, 1.0)
    assert "seed" not in fake.asked[0]
    remote().ask((), QUESTION, sampling=Sampling(temperature=0.7, top_k=9, seed=0))
    assert (fake.asked[1]["top_k"], fake.asked[1]["temperature"], fake.asked[1]["seed"]) == (9, 0.7, 0)


def test_our_own_server_is_asked_for_everything(fake: Fake, remote: Made) -> None:
    fake.owner, fake.facts = "vlm", {"vlm": {"window_size": 224, "tokens_per_image": 64}}
    model = remote()
    assert (model.window_size, model.tokens_per_image) == (224, 64)
    held_to = Constraint.choice(["Hello there."])
    model.ask(picture(1), QUESTION, policy="guided", max_windows=5, constraint=held_to)
    body = fake.asked[0]
    assert body["vlm"] == {"policy": "guided", "max_windows": 5, "evidence": True, "attention": True}
    assert body["structured_outputs"] == {"choice": ["Hello there."]} and "mm_processor_kwargs" not in body


def test_a_mistake_is_told_before_the_server_is_asked(fake: Fake, remote: Made) -> None:
    with pytest.raises(PromptError, match="no question"):
        remote().ask(picture(1), "  ")
    with pytest.raises(UsageError, match="unknown option polcy"):
        remote().ask(picture(1), QUESTION, polcy="off")
    assert fake.asked == []


# -- what is answered --------------------------------------------------------------------------------


def test_pieces_come_as_they_are_sent(fake: Fake, remote: Made) -> None:
    seen = threading.Event()

    def slow(talk: Talk) -> None:
        talk.begin()
        talk.event(chunk("one"))
        assert seen.wait(10)  # the second piece is sent only when the first was read
        talk.event(chunk(" two", finish="length"))
        talk.event({"choices": [], "usage": USAGE})
        talk.event(b"[DONE]")

    fake.ways = [slow]
    stream = remote().stream(picture(1), QUESTION, policy="off")
    pieces = iter(stream)
    assert next(pieces) == "one" and [token.piece for token in stream.tokens] == [b"one"]
    assert stream.answer is None
    seen.set()
    assert list(pieces) == [" two"]
    answer = stream.answer
    assert answer is not None
    assert (answer.text, answer.finish_reason, answer.model) == ("one two", "length", "google/gemma-3-4b-it")
    assert answer.confidence == pytest.approx(0.5) and answer.pieces == (b"one", b" two")
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (300, 2)
    assert answer.evidence == () and answer.timings.prefill > 0


def test_a_server_that_does_not_stream(fake: Fake, remote: Made) -> None:
    message = {"role": "assistant", "content": " All at once. "}
    choice = {"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}
    fake.ways = [whole({"object": "chat.completion", "choices": [choice], "usage": USAGE})]
    answer = remote().ask(picture(1), QUESTION)
    assert (answer.text, answer.logprobs, answer.confidence) == ("All at once.", (), 0.0)


def test_half_a_character_is_kept_in_bytes(fake: Fake, remote: Made) -> None:
    halves = [{"token": "\ufffd", "logprob": -1.0, "bytes": [byte]} for byte in "é".encode()]
    last = {"index": 0, "delta": {"content": "é"}, "logprobs": {"content": halves}, "finish_reason": "stop"}
    fake.ways = [events({"choices": [last]})]
    answer = remote().ask((), QUESTION)
    assert answer.text == "é" and b"".join(answer.pieces) == "é".encode()


def test_alternatives_of_each_token(fake: Fake, remote: Made) -> None:
    rivals = [{"token": "a", "logprob": -0.1, "bytes": [97]}, {"token": "b", "logprob": -2.0, "bytes": None}]
    token = rivals[0] | {"top_logprobs": rivals}
    last = {"index": 0, "delta": {"content": "a"}, "logprobs": {"content": [token]}, "finish_reason": "stop"}
    fake.ways = [events({"choices": [last]})]
    stream = remote().stream((), QUESTION, top_logprobs=2)
    stream.read()
    assert fake.asked[0]["top_logprobs"] == 2
    assert stream.tokens[0].top == ((b"a", -0.1), (b"b", -2.0))


def test_a_schema_s_answer_is_data(fake: Fake, remote: Made) -> None:
    fake.ways = [saying('{"total": ', '"12.50"}')]
    answer = remote().ask((), QUESTION, constraint=Constraint.schema(SCHEMA))
    assert answer.data == {"total": "12.50"} and answer.text == '{"total": "12.50"}'
    told = fake.asked[0]["response_format"]
    assert told["type"] == "json_schema" and told["json_schema"]["strict"] is True
    assert told["json_schema"]["schema"]["required"] == ["total"]  # nulls and all, as it is asked locally


@pytest.mark.parametrize(
    ("constraint", "said", "why"),
    [
        (Constraint.schema(SCHEMA), "The total is 12.50.", "no whole JSON"),
        (Constraint.schema(SCHEMA), '{"sum": "12.50"}', "didn't keep to the schema"),
        (Constraint.choice(["yes", "no"]), "maybe", "didn't keep to the choice"),
        (Constraint.choice(["yes", "no"]), "ye", "didn't keep to the choice"),
        (Constraint.regex("[0-9]+"), "12 EUR", "didn't keep to the regex"),
    ],
)
def test_an_answer_that_does_not_keep_to_its_constraint(
    fake: Fake, remote: Made, constraint: Constraint, said: str, why: str
) -> None:
    fake.ways = [saying(said)]
    with pytest.raises(RemoteError, match=why):
        remote().ask((), QUESTION, constraint=constraint)


def test_one_that_keeps_to_it(fake: Fake, remote: Made) -> None:
    fake.ways = [saying("y", "es")]
    assert remote().ask((), QUESTION, constraint=Constraint.choice(["yes", "no"])).text == "yes"
    assert fake.asked[0]["structured_outputs"] == {"choice": ["yes", "no"]}


def test_a_server_without_probabilities_is_asked_without(fake: Fake, remote: Made) -> None:
    refusal = whole({"error": {"message": "logprobs is not supported by this model"}}, 400)
    plain = chunk("Hi.", finish="stop")
    plain["choices"][0]["logprobs"] = None
    fake.ways = [refusal, events(plain)]
    model, notes = remote(), []
    model.on_note = notes.append
    assert model.ask((), QUESTION, top_logprobs=1).text == "Hi." and len(notes) == 1
    assert "logprobs" in fake.asked[0] and not [name for name in fake.asked[1] if "logprobs" in name]
    model.ask((), QUESTION)
    assert len(fake.asked) == 3 and len(notes) == 1  # it is not tried again each time


def test_a_server_with_other_words_is_asked_in_them(fake: Fake, remote: Made) -> None:
    def refusal(message: str) -> Any:
        return whole({"error": {"message": message}}, 400)

    newer = refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
    warmer = refusal("'temperature' does not support 0.0 with this model. Only the default (1) is supported.")
    fake.ways = [newer, warmer, events(chunk("Hi.", finish="stop"))]
    model, notes = remote(), []
    model.on_note = notes.append
    assert model.ask((), QUESTION, max_tokens=9).text == "Hi."
    assert fake.asked[2]["max_completion_tokens"] == 9
    assert not {"max_tokens", "temperature"} & fake.asked[2].keys() and fake.asked[2]["top_p"] == 1.0
    assert len(notes) == 1 and "by chance" in notes[0]
    model.ask((), QUESTION)
    assert len(fake.asked) == 4  # in these words from the beginning
    fake.ways = [warmer]
    with pytest.raises(RemoteError, match="temperature"):
        model.ask((), QUESTION, sampling=Sampling(temperature=0.7))  # what was wanted is not left out


def test_closing_a_stream_leaves_the_server(fake: Fake, remote: Made) -> None:
    fake.ways = [saying(*["word "] * 10_000, pause=0.005)]
    stream = remote().stream((), QUESTION)
    next(iter(stream))
    stream.close()
    assert fake.left.wait(10) and stream.answer is None


def test_many_threads_get_their_own_answers(fake: Fake, remote: Made) -> None:
    def echo(talk: Talk) -> None:
        saying(talk.body["messages"][0]["content"], pause=0.002)(talk)

    fake.ways = [echo]
    model = remote()
    with ThreadPoolExecutor(8) as pool:
        said = list(pool.map(lambda n: model.ask((), f"number {n}").text, range(24)))
    assert said == [f"number {n}" for n in range(24)]


# -- conversations -----------------------------------------------------------------------------------


def test_a_conversation_is_sent_whole(fake: Fake, remote: Made) -> None:
    fake.ways = [saying("A cat."), saying("Black."), saying("A dog.")]
    chat = remote().chat(policy="off", system="Be brief.")
    chat.ask("What is this?", picture(1, 50, 40))
    answer = chat.ask("Which colour?")
    assert answer.windows == ()  # as in this process: those of the question's own images
    answer = chat.ask("And this?", picture(2, 30, 20))
    assert answer.windows == (UsedWindow(0, Window(0, 0, 30, 20, "whole")),)
    roles = [message["role"] for message in fake.asked[2]["messages"]]
    assert roles == ["system", "user", "assistant", "user", "assistant", "user"]
    assert fake.asked[2]["messages"][2]["content"] == "A cat."
    assert sent_image(fake.asked[2]["messages"][1]["content"][0]).size == (50, 40)


def test_a_question_left_early_does_not_count(fake: Fake, remote: Made) -> None:
    fake.ways = [saying("one", "two"), saying("three")]
    chat = remote().chat()
    stream = chat.stream("First?")
    next(iter(stream))
    chat.ask("Second?")
    assert [message["content"] for message in fake.asked[1]["messages"]] == ["Second?"]
    with pytest.raises(UsageError, match="another question was asked"):
        list(stream)


# -- what else asks ----------------------------------------------------------------------------------


def test_pages_are_read_by_a_server(fake: Fake, remote: Made, tmp_path: Path) -> None:
    page = Image.new("RGB", (600, 200), "white")
    ImageDraw.Draw(page).text((30, 60), "First line", fill="black", font_size=40)
    page.save(tmp_path / "page.png")
    fake.ways = [saying("First", " line")]
    model: Model = remote()
    (source,) = list_pages([tmp_path / "page.png"], SourceOptions())
    got = PageReader(model, ReadOptions(policy="off", temperatures=(0.0,))).read(source)
    assert (got.text, got.error, got.model) == ("First line", "", "google/gemma-3-4b-it")
    assert got.confidence == pytest.approx(0.5)


def test_a_page_whose_server_fails_is_a_failed_page(fake: Fake, remote: Made, tmp_path: Path) -> None:
    picture(1, 90, 90).save(tmp_path / "page.png")
    fake.ways = [whole({"error": {"message": "out of memory"}}, 500)]
    (source,) = list_pages([tmp_path / "page.png"], SourceOptions())
    got = PageReader(remote(), ReadOptions(policy="off")).read(source)
    assert got.source == "failed" and "out of memory" in got.error


# -- our own server ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_checkpoint(tmp_path_factory.mktemp("tiny"))


def same(local: VLM, url: str, images: list[Any], options: list[dict[str, Any]]) -> None:
    """Ask both the same and compare all that is known of the answers."""
    with RemoteVLM(url, patience=Patience(silence=60.0)) as model:
        assert (model.window_size, model.tokens_per_image) == (local.window_size, local.tokens_per_image)
        for changes in options:
            here = local.ask(images, QUESTION, **changes)
            there = model.ask(images, QUESTION, **changes)
            for name in ("text", "finish_reason", "windows", "usage", "logprobs", "pieces", "data"):
                assert getattr(there, name) == getattr(here, name), (name, changes)
            assert there.evidence == here.evidence and there.confidence == here.confidence
            assert here.attention is not None and there.attention is not None
            assert torch.equal(there.attention.rows_NS, here.attention.rows_NS)


EVERY_WAY: list[dict[str, Any]] = [
    {"policy": "off"},
    {"policy": "gemma3"},
    {"policy": "adaptive", "max_windows": 5},
    {"policy": "guided"},
    {"constraint": Constraint.schema(SCHEMA)},
    {"constraint": Constraint.choice(["a stop sign", "a cat"])},
    {"constraint": Constraint.regex("[a-z]{3,8}")},
    {"top_logprobs": 3, "system": "Be brief.", "stop": ("e",)},
]


def test_our_server_answers_as_the_model_does_here(folder: Path) -> None:
    pytest.importorskip("fastapi")
    from serving import serving as our_server

    from vlm.scheduler import SharedEngine

    options = [{"max_tokens": 40} | changes for changes in EVERY_WAY]
    shared = SharedEngine.over(VLM.load(folder).engine)
    with our_server(VLM(shared)) as served:
        same(VLM.load(folder), served.url, [picture(1, 300, 120), picture(2, 90, 90)], options)
        with RemoteVLM(served.url) as model:
            here, there = VLM.load(folder).chat(max_tokens=8), model.chat(max_tokens=8)
            for question, image in (("One?", picture(3, 200, 60)), ("Two?", ()), ("Three?", picture(4))):
                ours, theirs = here.ask(question, image), there.ask(question, image)
                assert (theirs.text, theirs.windows, theirs.usage) == (ours.text, ours.windows, ours.usage)
                # The server has read some of it before, which moves the last digits.
                assert [found.box for found in theirs.evidence] == [found.box for found in ours.evidence]
                assert theirs.confidence == pytest.approx(ours.confidence, abs=1e-5)
            with pytest.raises(RemoteError, match=r"refused the question \(400: .*context"):
                model.ask((), "word " * 3000)
            with pytest.raises(RemoteError, match="raise max_tokens"):
                model.ask((), QUESTION, constraint=Constraint.choice(["a" * 90]), max_tokens=3)
            messages = (Message("user", ("Hi.",)), Message("user", ("Again.",)))
            assert model.reply(messages, max_tokens=2).read().text
    shared.close()


@pytest.mark.slow
def test_mini_on_our_server_answers_as_mini_here() -> None:
    pytest.importorskip("fastapi")
    from serving import serving as our_server

    from vlm.scheduler import SharedEngine

    page = Image.new("RGB", (500, 300), "white")
    draw = ImageDraw.Draw(page)
    draw.text((20, 20), "TOTAL 12.50", fill="black", font_size=48)
    draw.text((20, 160), "Exit 7", fill="black", font_size=60)
    shared = SharedEngine.over(VLM.load("mini").engine)
    with our_server(VLM(shared), name="mini") as served:
        same(VLM.load("mini"), served.url, [page], EVERY_WAY)
    shared.close()
