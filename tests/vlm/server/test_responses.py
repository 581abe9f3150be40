"""/v1/responses, asked by OpenAI's own client."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedEngine, picture
from serving import Served, data_url, error_of, scripted

Cat = tuple[Served, ScriptedEngine]
WEATHER: Any = {
    "type": "function",
    "name": "weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 8}},
        "required": ["city"],
    },
}


def test_text_and_image_are_answered(cat: Cat) -> None:
    served, engine = cat
    engine.crops.clear()
    content = [
        {"type": "input_image", "image_url": data_url(picture(1)), "detail": "auto"},
        {"type": "input_text", "text": "What?"},
    ]
    messages: Any = [{"role": "user", "content": content}]
    answer = served.openai.responses.create(model="test", instructions="Be brief.", input=messages)
    assert answer.output_text == "It is a cat." and answer.status == "completed"
    assert engine.crops == [(80, 80)]
    assert "Be brief." in engine.tokenizer.decode(engine.heard[-1].ids)
    assert answer.usage is not None and answer.usage.output_tokens == 12
    assert served.openai.responses.create(model="test", input="Hello?").output_text == "It is a cat."


def test_a_conversation_goes_on_from_earlier_output(cat: Cat) -> None:
    served, engine = cat
    first = served.openai.responses.create(model="test", input="One?")
    messages: Any = [
        {"role": "user", "content": "One?"},
        *(item.model_dump() for item in first.output),
        {"role": "user", "content": "Two?"},
    ]
    served.openai.responses.create(model="test", input=messages)
    assert engine.tokenizer.decode(engine.heard[-1].ids).startswith(
        "user\nOne?\nmodel\nIt is a cat.\nuser\nTwo?"
    )


def test_a_stream_tells_each_step(cat: Cat) -> None:
    served, _ = cat
    with served.openai.responses.create(model="test", input="Hello?", stream=True) as stream:
        events: list[Any] = list(stream)
    kinds = [event.type for event in events]
    deltas = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(deltas) == "It is a cat." and len(deltas) > 5
    assert [kind for kind in kinds if kind != "response.output_text.delta"] == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.completed",
    ]
    assert events[-1].response.output_text == "It is a cat."
    assert [event.sequence_number for event in events] == list(range(len(events)))


def test_an_answer_that_is_cut_says_so(cat: Cat) -> None:
    served, _ = cat
    answer = served.openai.responses.create(model="test", input="Hello?", max_output_tokens=4)
    assert answer.status == "incomplete" and answer.incomplete_details is not None
    assert answer.incomplete_details.reason == "max_output_tokens"
    (item,) = answer.output
    assert item.status == "incomplete"  # type: ignore[union-attr]
    with served.openai.responses.create(
        model="test", input="Hello?", max_output_tokens=4, stream=True
    ) as stream:
        events: list[Any] = list(stream)
    assert events[-1].type == "response.incomplete" and events[-2].item.status == "incomplete"


def test_a_response_repeats_what_it_was_asked_with(cat: Cat) -> None:
    served, _ = cat
    asked: Any = {
        "instructions": "Be brief.",
        "temperature": 0.5,
        "max_output_tokens": 50,
        "metadata": {"page": "7"},
        "tools": [WEATHER],
        "tool_choice": "none",
        "parallel_tool_calls": False,
    }
    answer = served.openai.responses.create(model="test", input="Hello?", **asked)
    told = answer.model_dump()
    assert {name: told[name] for name in asked if name != "tools"} == {
        name: value for name, value in asked.items() if name != "tools"
    }
    assert told["tools"][0]["name"] == "weather" and told["top_p"] == 1
    assert told["text"]["format"]["type"] == "text"
    plain = served.openai.responses.create(model="test", input="Hello?")
    assert (plain.instructions, plain.temperature, plain.tools) == (None, 0, [])
    assert (plain.tool_choice, plain.parallel_tool_calls, plain.metadata) == ("auto", True, {})


def test_what_a_function_returned_may_come_in_parts(tmp_path: Path) -> None:
    with scripted(tmp_path) as (served, engine):
        parts = [{"type": "input_text", "text": "ra"}, {"type": "input_text", "text": "in"}]
        call = {"type": "function_call", "call_id": "c", "name": "weather", "arguments": "{}"}
        said: Any = [
            {"role": "user", "content": "Rain?"},
            call,
            {"type": "function_call_output", "call_id": "c", "output": parts},
        ]
        assert served.openai.responses.create(model="test", input=said, tools=[WEATHER]).output_text
        assert '"response": "rain"' in engine.tokenizer.decode(engine.heard[-1].ids)


def test_a_call_and_its_result(tmp_path: Path) -> None:
    with scripted(tmp_path, says='{"name": "weather", "parameters": {"city": "Rome"}}') as (served, engine):
        client = served.openai
        answer: Any = client.responses.create(model="test", input="Rain?", tools=[WEATHER])
        (call,) = answer.output
        assert (call.type, call.name, json.loads(call.arguments)) == (
            "function_call",
            "weather",
            {"city": "Rome"},
        )
        result = {"type": "function_call_output", "call_id": call.call_id, "output": "rain"}
        messages: Any = [{"role": "user", "content": "Rain?"}, call.model_dump(), result]
        with client.responses.create(model="test", input=messages, tools=[WEATHER], stream=True) as stream:
            kinds = [event.type for event in stream]
        assert '{"name": "weather", "response": "rain"}' in engine.tokenizer.decode(engine.heard[-1].ids)
    assert "response.function_call_arguments.done" in kinds and kinds[-1] == "response.completed"


def test_a_schema_holds_the_answer(tiny_server: Served) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    answer = tiny_server.openai.responses.create(
        model="test",
        input="Hello?",
        max_output_tokens=40,
        text={"format": {"type": "json_schema", "name": "x", "schema": schema}},
    )
    assert type(json.loads(answer.output_text)["n"]) is int


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"input": []}, "input"),
        ({"input": [{"role": "user", "content": [{"type": "input_file"}]}]}, "input[0].content[0]"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.schema"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"tools": [{"type": "function", "name": "a b"}]}, None),
        ({"max_output_tokens": 10**6}, "max_output_tokens"),
        ({"input": [{"role": "assistant", "content": "Hello!"}]}, "input"),
        ({"input": [{"type": "function_call_output", "call_id": "x", "output": "y"}]}, "input"),
    ],
)
def test_what_cannot_be_done_is_refused(cat: Cat, changes: dict[str, Any], param: str | None) -> None:
    served, _ = cat
    error = error_of(served.http.post("/v1/responses", json={"input": "Hello?"} | changes), 400)
    assert param in (None, error["param"]), error
    assert not re.search(r"messages|max_tokens|response_format:", error["message"]), error
