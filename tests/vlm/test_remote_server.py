"""A server that is busy, wrong, slow or hostile: what is tried again, and the line that says it."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest
from fakes import picture
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from servers import QUICK, Fake, Made, Talk, Way, chunk, events, raw, saying, whole

from vlm.errors import RemoteError, UsageError
from vlm.remote import Patience, RemoteVLM, transport

QUESTION = "What does it say?"


# -- trying again ------------------------------------------------------------------------------------


@pytest.fixture
def naps(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Seconds that were slept, without sleeping."""
    slept: list[float] = []
    monkeypatch.setattr(transport.time, "sleep", slept.append)
    return slept


def busy(status: int, **headers: str) -> Callable[[Talk], None]:
    return whole({"error": {"message": "not now", "type": "x"}}, status, **headers)


def test_a_busy_server_is_asked_again(fake: Fake, remote: Made, naps: list[float]) -> None:
    fake.ways = [busy(429, Retry_After="7"), busy(503), busy(502), saying("Done.")]
    assert remote(Patience(pause=1.0)).ask((), QUESTION).text == "Done."
    assert len(fake.asked) == 4 and fake.asked[0] == fake.asked[3]
    assert naps[0] == 7.0 and 1.5 <= naps[1] <= 2.5 and 3.0 <= naps[2] <= 5.0  # doubled each time


def test_retry_after_may_be_a_date(fake: Fake, remote: Made, naps: list[float]) -> None:
    later = format_datetime(datetime.now(UTC) + timedelta(seconds=20), usegmt=True)
    fake.ways = [busy(503, Retry_After=later), busy(503, Retry_After="soon"), saying("Done.")]
    remote().ask((), QUESTION)
    assert 15 <= naps[0] <= 20 and naps[1] < 1


def test_a_server_that_stays_busy_is_given_up(fake: Fake, remote: Made, naps: list[float]) -> None:
    fake.ways = [busy(429)]
    with pytest.raises(RemoteError, match=r"is busy or not ready \(429: not now\); try again later"):
        remote().ask((), QUESTION)
    assert len(fake.asked) == 4 and len(naps) == 3


def test_one_that_asks_for_too_long_is_not_waited_for(fake: Fake, remote: Made, naps: list[float]) -> None:
    fake.ways = [busy(429, Retry_After="3600")]
    with pytest.raises(RemoteError, match="429"):
        remote().ask((), QUESTION)
    assert len(fake.asked) == 1 and naps == []


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 500, 504])
def test_other_errors_are_told_at_once(fake: Fake, remote: Made, naps: list[float], status: int) -> None:
    fake.ways = [busy(status)]
    with pytest.raises(RemoteError, match=str(status)):
        remote().ask((), QUESTION)
    assert len(fake.asked) == 1 and naps == []


def test_a_connection_lost_before_the_answer_is_made_again(fake: Fake, remote: Made) -> None:
    def drop(talk: Talk) -> None:
        talk.handler.connection.close()

    fake.ways = [drop, saying("Done.")]
    assert remote().ask((), QUESTION).text == "Done."


def test_an_answer_that_has_begun_is_never_asked_for_again(fake: Fake, remote: Made) -> None:
    fake.ways = [events(chunk("one"), done=False), saying("two")]
    with pytest.raises(RemoteError, match="broke off"):
        remote().ask((), QUESTION)
    assert len(fake.asked) == 1


def test_no_server(naps: list[float]) -> None:
    said = r"http://127.0.0.1:9/v1: can't be reached \(.*refused.*\)"
    with RemoteVLM("http://127.0.0.1:9", patience=QUICK) as model, pytest.raises(RemoteError, match=said):
        model.ask((), QUESTION)
    assert len(naps) == 3


# -- which server and which model --------------------------------------------------------------------


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_a_url_with_or_without_its_path(fake: Fake, ending: str) -> None:
    with RemoteVLM(fake.url + ending) as model:
        assert model.name == "google/gemma-3-4b-it"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "", "http://host:port"])
def test_what_is_no_url(url: str) -> None:
    with pytest.raises(UsageError, match="no URL"):
        RemoteVLM(url)


def test_a_key_is_sent_and_never_shown(fake: Fake, remote: Made) -> None:
    model = remote(api_key=" s3cret \n")
    fake.ways = [whole({"error": {"message": "Incorrect API key provided: s3cret"}}, 401)]
    with pytest.raises(RemoteError, match="the API key was refused") as error:
        model.ask((), QUESTION)
    assert set(fake.keys) == {"Bearer s3cret"} and "s3cret" not in str(error.value)
    with pytest.raises(UsageError, match="characters that no key has"):
        remote(api_key="two words")
    with pytest.raises(UsageError, match="--api-key") as told:
        RemoteVLM("http://me:s3cret@host")
    assert "s3cret" not in str(told.value)


def test_a_server_that_wants_a_key(fake: Fake, remote: Made) -> None:
    fake.listing = whole({"error": {"message": "no key"}}, 401)
    said = r"asks for an API key \(401: no key\); give it with --api-key or VLM_API_KEY"
    with pytest.raises(RemoteError, match=said):
        remote().ask((), QUESTION)


def test_which_model(fake: Fake, remote: Made) -> None:
    with pytest.raises(RemoteError, match="has no model gemma; it has google/gemma-3-4b-it"):
        remote(model="gemma").ask((), QUESTION)
    fake.models = ("a", "b")
    with pytest.raises(RemoteError, match="name a model with --model; it has a, b"):
        remote().ask((), QUESTION)
    remote(model="b").ask((), QUESTION)
    assert fake.asked[-1]["model"] == "b"
    fake.owner = "someone"  # such servers answer to names they don't list
    remote(model="b:latest").ask((), QUESTION)
    assert fake.asked[-1]["model"] == "b:latest"
    fake.ways = [whole({"error": {"message": "no model b:latest"}}, 404)]
    with pytest.raises(RemoteError, match=r"no model b:latest \(404\); see the model's name"):
        remote(model="b:latest").ask((), QUESTION)


def test_a_redirect_is_not_followed(fake: Fake, remote: Made) -> None:
    fake.listing = whole({}, 307, Location="http://elsewhere/v1")
    with pytest.raises(RemoteError, match="points to http://elsewhere/v1, which is not followed"):
        remote(api_key="s3cret").ask((), QUESTION)


# -- hostile servers ---------------------------------------------------------------------------------


def refused(model: RemoteVLM, **options: Any) -> str:
    """The one line of an error, fit for a terminal; it comes in time."""
    began = time.monotonic()
    with pytest.raises(RemoteError) as error:
        model.ask(picture(1), QUESTION, policy="off", **options)
    said = str(error.value)
    assert said.isprintable() and len(said) < 600, said
    assert time.monotonic() - began < 10
    return said


def told(**changes: Any) -> dict[str, Any]:
    """A last chunk with something else in its choice."""
    last = chunk("word", finish="stop")
    last["choices"][0] |= changes
    return last


def token(**changes: Any) -> dict[str, Any]:
    return told(logprobs={"content": [{"token": "word", "logprob": -1.0, "bytes": None} | changes]})


def raw_json(event: dict[str, Any], value: bytes) -> bytes:
    """An event with something in it that ``json.dumps`` would not write."""
    return json.dumps(event).encode().replace(b'"HERE"', value)


def extras(**changes: Any) -> dict[str, Any]:
    return told(delta={"content": "word", "vlm": changes})


WHOLE = {"image": 0, "box": [0, 0, 80, 80], "kind": "whole"}
ROWS = "AAAAAA=="  # one float32 of zero

NO_ANSWERS: dict[str, Way] = {
    "html": raw(b"<html>It works!</html>", "text/html"),
    "no type": raw(b"hello", ""),
    "json that is a list": whole([1, 2, 3]),
    "no json": whole(b"{"),
    "deep json": whole(b"[" * 200_000),
    "nothing": raw(b""),
    "nothing but done": events(),
    "no choices": events({"choices": None}),
    "an event that is no json": events(b"hello"),
    "an event that is a number": events(5),
    "bytes that are no text": raw(b"data: \xff\xfe\x00\n\n"),
    "no line ends": raw(b"data: {"),
    "a whole answer without its end": events(chunk("word")),
    "choices as text": events({"choices": "word"}),
    "a choice as text": events({"choices": ["word"]}),
    "a delta as text": events(told(delta="word")),
    "content as a number": events(told(delta={"content": 5})),
    "content as parts": events(told(delta={"content": [{"type": "text", "text": "a"}]})),
    "logprobs as text": events(told(logprobs="word")),
    "a token as text": events(told(logprobs={"content": ["word"]})),
    "a token without text": events(token(token=None)),
    "a logprob that is no number": events(raw_json(token(logprob="HERE"), b"NaN")),
    "an infinite logprob": events(raw_json(token(logprob="HERE"), b"-Infinity")),
    "a logprob out of range": events(raw_json(token(logprob="HERE"), b"9" * 400)),
    "a logprob that is true": events(token(logprob=True)),
    "bytes out of range": events(token(bytes=[1, 999])),
    "bytes as text": events(token(bytes="word")),
    "usage as a list": events({"choices": [], "usage": [1]}),
    "withheld": events(told(finish_reason="content_filter")),
    "an error in the stream": events({"error": {"message": "the GPU caught fire"}}),
    "an error that is true": events({"error": True}),
    "extras as text": events(told(vlm="word")),
    "a window on no image": events(extras(windows=[WHOLE | {"image": 1}])),
    "a window off the image": events(extras(windows=[WHOLE | {"box": [0, 0, 81, 80]}])),
    "a window the wrong way round": events(extras(windows=[WHOLE | {"box": [80, 80, 0, 0]}])),
    "a window of fractions": events(extras(windows=[WHOLE | {"box": [0, 0, 0.5, 80]}])),
    "a window of no kind": events(extras(windows=[WHOLE | {"kind": ["whole"]}])),
    "attention as text": events(extras(attention="word")),
    "attention of nothing": events(extras(attention={"tokens": 4, "windows": [WHOLE], "rows": ROWS})),
    "attention that is no base64": events(extras(attention={"tokens": 1, "windows": [WHOLE], "rows": "?"})),
    "attention of no square": events(extras(attention={"tokens": 2, "windows": [WHOLE], "rows": ROWS * 2})),
    "attention that is infinite": events(
        extras(attention={"tokens": 1, "windows": [WHOLE], "rows": "AACAfw=="})
    ),
}


@pytest.mark.parametrize("way", NO_ANSWERS.values(), ids=NO_ANSWERS)
def test_what_is_no_answer_is_one_line(fake: Fake, remote: Made, way: Way) -> None:
    fake.ways = [way]
    assert fake.url in refused(remote())


LISTINGS: dict[str, Way] = {
    "html": raw(b"<html>", "text/html"),
    "a list": whole([]),
    "data as text": whole({"data": "word"}),
    "nothing": whole(b""),
    "deep": whole(b'{"a":' * 100_000),
    "another status": whole({}, 204),
    "not found": whole(b"no", 404),
}


@pytest.mark.parametrize("way", LISTINGS.values(), ids=LISTINGS)
def test_what_is_no_list_of_models(fake: Fake, remote: Made, way: Way) -> None:
    fake.listing = way
    refused(remote())
    assert fake.asked == []


def test_odd_models_are_passed_over(fake: Fake, remote: Made) -> None:
    odd: list[Any] = [None, 5, {"id": 5}, {"id": "b", "owned_by": ["vllm"], "vlm": {"window_size": -1}}]
    fake.listing = whole({"data": odd})
    model = remote()
    assert (model.name, model.served.kind, model.window_size) == ("b", "openai", 896)


def test_messages_cannot_drive_a_terminal(fake: Fake, remote: Made) -> None:
    fake.ways = [whole({"error": {"message": "\x1b]0;owned\x07\n\r\u202eevil " + "x" * 50_000}}, 400)]
    assert "owned" in refused(remote())
    fake.listing = whole({"data": [{"id": "a\x1b[2J"}, {"id": "b" * 100_000}]})
    refused(remote())


def test_a_body_without_end_is_cut(fake: Fake, remote: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BYTES", 100_000)
    fake.ways = [saying(*["word"] * 20_000)]
    assert "larger than" in refused(remote())
    assert fake.left.wait(10)


def test_an_event_without_end_is_cut(fake: Fake, remote: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_JSON", 100_000)
    fake.ways = [raw(b"data: " + b"x" * 1_000_000)]
    assert "100000 byte limit" in refused(remote())


def test_a_whole_answer_without_end_is_cut(fake: Fake, remote: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_JSON", 1 << 20)
    fake.ways = [raw(b"[" + b" " * 5_000_000, "application/json")]
    assert "more than 1 MB of JSON" in refused(remote())


def test_more_tokens_than_asked_for_are_cut(fake: Fake, remote: Made) -> None:
    fake.ways = [saying(*["word"] * 20)]
    assert "more tokens than it was asked for" in refused(remote(), max_tokens=8)


def test_an_error_without_end_is_cut(fake: Fake, remote: Made) -> None:
    def endless(talk: Talk) -> None:
        talk.begin(400, "application/json")
        while not talk.stopping.is_set():
            talk.write(b"x" * 65536)

    fake.ways = [endless]
    assert "refused the question (400)" in refused(remote())


def test_a_compressed_bomb_is_not_unpacked(fake: Fake, remote: Made, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "MAX_BYTES", 1_000_000)

    def bomb(talk: Talk) -> None:
        talk.begin(200, "application/json", Content_Encoding="gzip")
        talk.write(gzip.compress(b" " * 50_000_000))

    fake.ways = [bomb]
    assert "compressed" in refused(remote())


def test_silence_ends(fake: Fake, remote: Made) -> None:
    def silent(talk: Talk) -> None:
        talk.stopping.wait(20)

    def silent_in_the_middle(talk: Talk) -> None:
        talk.begin()
        talk.event(chunk("word"))
        talk.stopping.wait(20)

    fake.ways = [silent, silent_in_the_middle]
    hasty = Patience(silence=0.3, retries=0)
    for _ in range(2):
        assert "said nothing for 0.3 s" in refused(remote(hasty))


def test_pings_for_ever_are_no_answer(fake: Fake, remote: Made) -> None:
    def pinging(talk: Talk) -> None:
        talk.begin()
        while not talk.stopping.wait(0.02):
            talk.write(b": ping\n\n")

    fake.ways = [pinging]
    assert "no end of the answer after 0.5 s" in refused(remote(Patience(whole=0.5)))


def test_pings_within_an_answer_are_nothing(fake: Fake, remote: Made) -> None:
    body = b"".join(b"data: %s\r\n\r\n: ping\r\n\r\n" % json.dumps(one).encode() for one in
                    (chunk("a"), chunk("b", finish="stop")))  # fmt: skip
    fake.ways = [raw(b": hello\r\n\r\n" + body + b"data:[DONE]\n\n")]
    assert remote().ask((), QUESTION).text == "ab"


def test_a_probability_above_one_is_one(fake: Fake, remote: Made) -> None:
    fake.ways = [events(token(logprob=1e308))]
    assert remote().ask((), QUESTION).confidence == 1.0


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("stop"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def almost(draw: st.DrawFn) -> dict[str, Any]:
    """A last chunk with one value of it replaced."""
    attention = {"tokens": 1, "windows": [WHOLE], "rows": ROWS}
    usage = {"prompt_tokens": 3, "image_tokens": 1, "completion_tokens": 1}
    seconds = {"load": 0, "encode": 0.1, "prefill": 0.1, "decode": 0.1}
    made = extras(windows=[dict(WHOLE)], attention=attention, usage=usage, timings=seconds)
    made["usage"] = dict(usage)
    here: Any = made
    while True:
        key = draw(st.sampled_from(sorted(here) if isinstance(here, dict) else range(len(here))))
        if not (isinstance(here[key], dict | list) and here[key] and draw(st.integers(0, 3))):
            here[key] = draw(JSON)
            return made
        here = here[key]


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(last=almost())
def test_any_value_anywhere_gives_an_answer_or_one_line(
    fake: Fake, remote: Made, last: dict[str, Any]
) -> None:
    fake.ways = [events(last)]
    with remote() as model:
        try:
            answer = model.ask(picture(1), QUESTION, policy="off")
        except RemoteError as error:
            assert str(error).isprintable()
        else:
            assert 0.0 <= answer.confidence <= 1.0 and json.dumps(answer.to_json())
            assert answer.attention is None or answer.attention.point(0) is None
