import random

import pytest

from vlm.stream import TextStream


def streamed(pieces: list[bytes], stop: tuple[str, ...] = ()) -> tuple[list[str], TextStream]:
    """What each token gives out, then what the end gives; a stopped text gets no more tokens."""
    text = TextStream(lambda token: pieces[token], stop)
    out = []
    for token in range(len(pieces)):
        out.append(text.push(token))
        if text.stopped:
            break
    out.append(text.finish())
    assert "".join(out) == text.text
    return out, text


def test_plain_text_comes_at_once() -> None:
    assert streamed([b"Hel", b"lo"])[0] == ["Hel", "lo", ""]


@pytest.mark.parametrize("text", ["é", "你", "👍🏽", "a你b"])
def test_a_character_split_over_tokens(text: str) -> None:
    pieces = [bytes([byte]) for byte in text.encode()]
    out, stream = streamed(pieces)
    assert stream.text == text
    assert "\ufffd" not in "".join(out)
    assert out[-2] == text[-1]  # given out with its last byte


def test_half_a_character_at_the_end_is_replaced() -> None:
    assert streamed([b"ok", "你".encode()[:2]])[0] == ["ok", "", "\ufffd"]


def test_broken_bytes_do_not_swallow_what_follows() -> None:
    assert streamed([b"\xe4\xbd", b"A"])[1].text == "\ufffdA"


def test_stop_string_split_over_tokens() -> None:
    out, stream = streamed([b"Yes", b" E", b"N", b"D", b" more"], ("END",))
    assert stream.stopped
    assert out == ["Yes", " ", "", "", ""]
    assert stream.text == "Yes "


def test_stop_string_in_the_middle_of_a_token() -> None:
    assert streamed([b"one STOP two"], ("STOP",))[1].text == "one "


def test_the_earliest_of_several_stop_strings_counts() -> None:
    assert streamed([b"a\n\nb###c"], ("###", "\n\n"))[1].text == "a"


def test_a_beginning_that_was_no_stop_string_is_given_out() -> None:
    assert streamed([b"EN", b"E", b"MY"], ("END",))[0] == ["", "EN", "EMY", ""]


def test_a_held_beginning_is_flushed_at_the_end() -> None:
    out, stream = streamed([b"the EN"], ("END",))
    assert out == ["the ", "EN"]
    assert not stream.stopped


def test_stop_string_of_characters_split_into_bytes() -> None:
    pieces = [bytes([byte]) for byte in "停止终".encode()]
    assert streamed(pieces, ("止",))[1].text == "停"


def test_empty_stop_strings_stop_nothing() -> None:
    assert streamed([b"x"], ("",))[1].text == "x"


def test_nothing_comes_after_a_stop() -> None:
    text = TextStream(lambda token: b"ENDx", ("END",))
    assert (text.push(0), text.push(0), text.finish()) == ("", "", "")


def test_any_cut_of_the_bytes_gives_the_same_text() -> None:
    rng = random.Random(2)
    whole = "naïve 你好 <END> 👩‍👩‍👧 rest".encode()
    for _ in range(200):
        cuts = sorted(rng.sample(range(1, len(whole)), rng.randint(0, 12)))
        pieces = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
        assert streamed(pieces, ("<END>",))[1].text == "naïve 你好 "
