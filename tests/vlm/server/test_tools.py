"""Functions in Gemma 3's way: what the prompt says, what is a call, what is forced."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fakes import ScriptedEngine
from serving import Served, scripted

from vlm.server.errors import ApiError
from vlm.server.tools import HeldText, Toolbox, told_result
from vlm.server.wire import NamedTool, Tool

HELLO: Any = [{"role": "user", "content": "Is it raining in Rome?"}]
WEATHER: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": ["Rome", "Oslo"]}, "days": {"type": "integer", "maximum": 9}},
            "required": ["city", "days"],
            "additionalProperties": False,
        },
    },
}
TIME: Any = {"type": "function", "function": {"name": "time"}}
CALL = '{"name": "weather", "parameters": {"city": "Rome", "days": 1}}'

Scripted = Callable[[str], tuple[Served, ScriptedEngine]]


def toolbox(choice: Any = None, several: bool = True) -> Toolbox:
    return Toolbox.of([Tool.model_validate(WEATHER), Tool.model_validate(TIME)], choice, several)


# -- the convention ----------------------------------------------------------------------------------


def test_the_prompt_is_the_published_one() -> None:
    setup, functions = toolbox().setup.split("\n\n[", 1)
    assert setup == (
        "You have access to functions. If you decide to invoke any of the function(s), you MUST put it in the"
        ' format of\n{"name": function name, "parameters": dictionary of argument name and its value}\n\n'
        "You SHOULD NOT include any other text in the response if you call a function"
    )
    listed = json.loads("[" + functions)
    assert listed[0] == WEATHER["function"]
    assert listed[1] == {
        "name": "time",
        "description": "",
        "parameters": {"type": "object", "properties": {}},
    }


@pytest.mark.parametrize(
    "text", [CALL, f"  {CALL}\n", f"```json\n{CALL}\n```", f"```\n{CALL}\n```", f"```tool_code\n{CALL}```"]
)
def test_a_call_is_read_from_what_models_write(text: str) -> None:
    (call,) = toolbox().calls_in(text)
    assert call["type"] == "function" and call["id"].startswith("call_")
    assert call["function"]["name"] == "weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Rome", "days": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "It rains.",
        "[]",
        "{}",
        "5",
        '{"name": "launch", "parameters": {}}',
        '{"name": "weather", "parameters": [1]}',
        '{"name": "weather", "parameters": {}, "more": 1}',
        f"Sure: {CALL}",
        CALL[:-1],
        "[" * 5000,
    ],
)
def test_everything_else_is_text(text: str) -> None:
    assert toolbox().calls_in(text) == ()


def test_several_calls_are_a_list_unless_only_one_is_wanted() -> None:
    text = f'[{CALL}, {{"name": "time"}}]'
    assert [call["function"]["name"] for call in toolbox().calls_in(text)] == ["weather", "time"]
    assert [call["function"]["name"] for call in toolbox(several=False).calls_in(text)] == ["weather"]


def test_text_is_held_back_only_while_it_may_be_a_call() -> None:
    held = HeldText(toolbox())
    assert [held.push(piece) for piece in (" ", "`", "`", "x", "y")] == ["", "", "", " ``x", "y"]
    held = HeldText(toolbox())
    assert [held.push(piece) for piece in ('{"', "na", "me")] == ["", "", ""] and held.rest() == '{"name'
    assert HeldText(Toolbox()).push("{") == "{"
    assert HeldText(toolbox("required")).push("It") == ""


def test_definitions_of_functions_move_to_the_top() -> None:
    def tool(name: str, kind: str, home: str) -> Tool:
        parameters = {
            "type": "object",
            "properties": {"x": {"$ref": f"#/{home}/T"}},
            home: {"T": {"type": kind}},
        }
        return Tool.model_validate({"type": "function", "function": {"name": name, "parameters": parameters}})

    tools = [tool("a", "integer", "definitions"), tool("b", "integer", "$defs")]
    schema = Toolbox.of(tools, "required", several=True).schema(None)
    assert schema is not None and schema["$defs"] == {"T": {"type": "integer"}}
    for call in schema["anyOf"]:
        assert call["properties"]["parameters"]["properties"] == {"x": {"$ref": "#/$defs/T"}}
    with pytest.raises(ApiError, match="T is defined differently"):
        Toolbox.of([tools[0], tool("b", "string", "$defs")], "required", several=True).schema(None)


def test_who_may_call_may_also_answer_by_a_schema() -> None:
    wanted = {"$ref": "#/definitions/R", "definitions": {"R": {"type": "object"}}}
    free = toolbox().schema(wanted)
    assert free is not None and free["anyOf"][-1] == {"$ref": "#/$defs/R"}
    assert [form["properties"]["name"]["const"] for form in free["anyOf"][:-1]] == ["weather", "time"]
    assert free["$defs"] == {"R": {"type": "object"}}
    assert toolbox().schema(None) is None
    assert toolbox("none").schema(wanted) is wanted
    assert toolbox("required").schema(wanted) == toolbox("required").schema(None)
    with pytest.raises(ApiError, match="name it in"):
        toolbox().schema({"type": "object", "properties": {"next": {"$ref": "#"}}})


@pytest.mark.parametrize(
    ("tools", "choice", "match"),
    [
        ([], "required", "no tools"),
        ([WEATHER, WEATHER], "auto", "one name"),
        ([WEATHER], NamedTool.model_validate({"function": {"name": "time"}}), "no tool of that name"),
    ],
)
def test_a_choice_that_makes_no_sense_is_refused(tools: Any, choice: Any, match: str) -> None:
    with pytest.raises(ApiError, match=match):
        Toolbox.of([Tool.model_validate(tool) for tool in tools], choice, several=True)


@pytest.mark.parametrize("name", ['{"first": "Ada"}', '["weather"]', "7", "null"])
def test_what_has_no_name_is_no_call(name: str) -> None:
    text = f'{{"name": {name}, "parameters": {{}}}}'
    assert toolbox().calls_in(text) == ()


def test_half_a_character_in_an_argument_can_be_sent() -> None:
    (call,) = toolbox().calls_in('{"name": "weather", "parameters": {"city": "\\ud83d"}}')
    assert json.loads(call["function"]["arguments"].encode("utf-8"))["city"]


@pytest.mark.parametrize("held", [[1], "x", 7])
def test_definitions_that_are_none_are_refused(held: Any) -> None:
    odd = {"type": "function", "function": {"name": "odd", "parameters": {"$defs": held}}}
    with pytest.raises(ApiError, match="must be an object"):
        Toolbox.of([Tool.model_validate(odd)], "required", several=True).schema(None)


def test_parameters_nested_without_end_are_the_client_s_fault(tmp_path: Path) -> None:
    deep: Any = {"type": "string"}
    for _ in range(900):
        deep = {"items": deep}
    tool = {"type": "function", "function": {"name": "deep", "parameters": {"properties": {"a": deep}}}}
    with scripted(tmp_path) as (served, _):
        response = served.ask(tools=[tool], tool_choice="required")
        assert response.status_code == 400, response.text


def test_a_result_is_told_in_the_form_of_a_call() -> None:
    assert told_result("weather", "rain") == '{"name": "weather", "response": "rain"}'
    assert told_result("weather", '{"mm": 3}') == '{"name": "weather", "response": {"mm": 3}}'


# -- over the wire -----------------------------------------------------------------------------------


def test_a_model_that_decides_to_call_calls(tmp_path: Path) -> None:
    with scripted(tmp_path, says=CALL) as (served, engine):
        answer = served.openai.chat.completions.create(model="test", messages=HELLO, tools=[WEATHER])
        (choice,) = answer.choices
        assert choice.finish_reason == "tool_calls" and choice.message.content is None
        (call,) = choice.message.tool_calls or ()
        assert call.type == "function" and call.function.name == "weather"
        assert json.loads(call.function.arguments) == {"city": "Rome", "days": 1}
        said = engine.tokenizer.decode(engine.heard[-1].ids)
        assert said.startswith("user\nYou have access to functions.")
        assert "]\n\nIs it raining in Rome?" in said

        with served.openai.chat.completions.create(
            model="test", messages=HELLO, tools=[WEATHER], stream=True
        ) as stream:
            chunks = list(stream)
        assert not any(chunk.choices[0].delta.content for chunk in chunks)
        (told,) = chunks[-1].choices[0].delta.tool_calls or ()
        assert told.index == 0 and told.function is not None and told.function.name == "weather"
        assert chunks[-1].choices[0].finish_reason == "tool_calls"


def test_what_begins_like_a_call_and_is_none_is_told_in_the_end(tmp_path: Path) -> None:
    with (
        scripted(tmp_path, says='{"rain": true}') as (served, _),
        served.openai.chat.completions.create(
            model="test", messages=HELLO, tools=[WEATHER], stream=True
        ) as stream,
    ):
        chunks = list(stream)
    assert "".join(c.choices[0].delta.content or "" for c in chunks) == '{"rain": true}'
    assert chunks[-1].choices[0].finish_reason == "stop"


def test_none_leaves_the_functions_out(cat: tuple[Served, ScriptedEngine]) -> None:
    served, engine = cat
    served.openai.chat.completions.create(model="test", messages=HELLO, tools=[WEATHER], tool_choice="none")
    assert "functions" not in engine.tokenizer.decode(engine.heard[-1].ids)


@pytest.mark.parametrize(
    "choice", ["required", {"type": "function", "function": {"name": "weather"}}], ids=["required", "named"]
)
def test_a_forced_call_keeps_to_the_functions_schema(tiny_server: Served, choice: Any) -> None:
    answer = tiny_server.openai.chat.completions.create(
        model="test", messages=HELLO, tools=[WEATHER], tool_choice=choice, max_tokens=90
    )
    (call,) = answer.choices[0].message.tool_calls or ()
    assert call.type == "function" and call.function.name == "weather"
    arguments = json.loads(call.function.arguments)
    assert arguments["city"] in ("Rome", "Oslo") and arguments["days"] <= 9 and len(arguments) == 2


def test_results_go_back_to_the_model(cat: tuple[Served, ScriptedEngine]) -> None:
    served, engine = cat
    call = {"id": "c1", "type": "function", "function": {"name": "weather", "arguments": '{"city": "Rome"}'}}
    messages: Any = [
        *HELLO,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "rain"},
    ]
    served.openai.chat.completions.create(model="test", messages=messages, tools=[WEATHER])
    said = engine.tokenizer.decode(engine.heard[-1].ids)
    assert 'model\n{"name": "weather", "parameters": {"city": "Rome"}}\n' in said
    assert said.endswith('user\n{"name": "weather", "response": "rain"}\nmodel\n')

    stray = [*HELLO, {"role": "tool", "tool_call_id": "c2", "content": "rain"}]
    assert "tool_call_id" in served.error(400, messages=stray)["message"]
    call["function"]["arguments"] = "{"  # type: ignore[index]
    assert "JSON" in served.error(400, messages=messages)["message"]


@pytest.mark.parametrize("seed", range(6))
def test_an_answer_is_a_call_or_keeps_to_the_format(tiny_server: Served, seed: int) -> None:
    schema = {"type": "object", "properties": {"rain": {"type": "boolean"}}, "required": ["rain"]}
    schema["additionalProperties"] = False
    answer = tiny_server.openai.chat.completions.create(
        model="test",
        messages=HELLO,
        tools=[WEATHER],
        response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": schema}},
        max_tokens=90,
        temperature=1.5,
        seed=seed,
    )
    (choice,) = answer.choices
    if choice.finish_reason == "tool_calls":
        (call,) = choice.message.tool_calls or ()
        assert json.loads(call.function.arguments).keys() == {"city", "days"}  # type: ignore[union-attr]
    else:
        assert isinstance(json.loads(choice.message.content or "")["rain"], bool)


def test_one_of_vllms_forms_stands_alone(cat: tuple[Served, ScriptedEngine]) -> None:
    served, _ = cat
    error = served.error(400, tools=[WEATHER], structured_outputs={"regex": "a+"})
    assert error["param"] == "structured_outputs"
