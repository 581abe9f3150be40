"""What ``/v1/chat/completions`` takes: OpenAI's request, and one field of ours (``vlm``).

Every field is strict: a number as text is a mistake, not a number. Fields fall into three kinds. Those
that are heeded; those that change nothing in an answer of this model and are ignored (``user``,
``metadata``, ``store`` ...); and those that would change it and can't be heeded, which are taken only with
the value that changes nothing (``logit_bias: {}``). Any other name is refused unless it says nothing (null,
empty, a neutral value other servers' clients send), so that no setting is ever dropped in silence.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Discriminator, Field, Tag, model_validator

_FUNCTION = r"^[a-zA-Z0-9_.-]{1,64}$"


class Strict(BaseModel):
    """A request: no conversion, no unknown names."""

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)


class Lenient(BaseModel):
    """A part of a conversation: clients send answers back as they got them, with fields of all kinds."""

    model_config = ConfigDict(strict=True, extra="ignore", allow_inf_nan=False)


def _none_of(value: Any) -> Any:
    if value not in (None, 0, {}, []):
        raise ValueError("can't be heeded by this server: leave it out")
    return value


# What other servers' clients send with the values that change nothing.
_NEUTRAL: dict[str, Any] = {
    "ignore_eos": False, "min_tokens": 0, "best_of": 1, "echo": False, "use_beam_search": False,
    "length_penalty": 1.0, "skip_special_tokens": True, "spaces_between_special_tokens": True,
    "add_generation_prompt": True, "continue_final_message": False, "include_stop_str_in_output": False,
    "reasoning_effort": "none", "reasoning": {"effort": "none"}, "verbosity": "medium", "top_k": -1,
}  # fmt: skip

Unheeded = Annotated[Any, AfterValidator(_none_of), Field(description="Refused unless null, 0 or empty.")]
Ignored = Annotated[Any, Field(description="Taken and ignored.")]


def _unheeded() -> Any:
    return Field(default=None)


# -- messages ----------------------------------------------------------------------------------------


class TextPart(Lenient):
    """Text."""

    type: Literal["text"]
    text: str


class RefusalPart(Lenient):
    """What an assistant refused."""

    type: Literal["refusal"]
    refusal: str


class ImageUrl(Lenient):
    """An image by its data URL, or by an address of a domain that the server allows."""

    url: str
    detail: Literal["auto", "low", "high"] | None = None  # low for all images: the policy "off"


def _word_form(value: Any) -> str:
    return "#word" if isinstance(value, str) else "#named"


class ImagePart(Lenient):
    """An image; both forms that are in use."""

    type: Literal["image_url"]
    image_url: Annotated[
        Annotated[str, Tag("#word")] | Annotated[ImageUrl, Tag("#named")], Discriminator(_word_form)
    ]

    @property
    def url(self) -> str:
        """Where it is."""
        return self.image_url if isinstance(self.image_url, str) else self.image_url.url

    @property
    def detail(self) -> str | None:
        """How closely to look."""
        return None if isinstance(self.image_url, str) else self.image_url.detail


def _content_form(value: Any) -> str:
    return "#parts" if isinstance(value, list) else "#text"


_Text = Annotated[str, Tag("#text")]
Texts = Annotated[_Text | Annotated[list[TextPart], Tag("#parts")], Discriminator(_content_form)]
_UserPart = Annotated[TextPart | ImagePart, Field(discriminator="type")]
_UserContent = Annotated[_Text | Annotated[list[_UserPart], Tag("#parts")], Discriminator(_content_form)]
_SaidPart = Annotated[TextPart | RefusalPart, Field(discriminator="type")]
_SaidContent = Annotated[_Text | Annotated[list[_SaidPart], Tag("#parts")], Discriminator(_content_form)]


class SystemMessage(Lenient):
    """Instructions."""

    role: Literal["system", "developer"]
    content: Texts


class UserMessage(Lenient):
    """A question."""

    role: Literal["user"]
    content: _UserContent


class Called(Lenient):
    """A function and its arguments, JSON in text."""

    name: str = Field(pattern=_FUNCTION)
    arguments: str


class ToolCall(Lenient):
    """A call the model made."""

    id: str
    type: Literal["function"] = "function"
    function: Called


class AssistantMessage(Lenient):
    """An earlier answer."""

    role: Literal["assistant"]
    content: _SaidContent | None = None
    refusal: str | None = None
    tool_calls: list[ToolCall] | None = None


class ToolMessage(Lenient):
    """What a called function returned."""

    role: Literal["tool"]
    tool_call_id: str
    content: Texts


Message = Annotated[SystemMessage | UserMessage | AssistantMessage | ToolMessage, Field(discriminator="role")]

# -- options -----------------------------------------------------------------------------------------


class Function(Lenient):
    """A function the model may call."""

    name: str = Field(pattern=_FUNCTION)
    description: str | None = None
    parameters: dict[str, Any] | None = None  # JSON Schema of an object
    strict: bool | None = None  # forced calls always keep to the schema, free ones as well as the model can


class Tool(Lenient):
    """A tool; functions are the only kind."""

    type: Literal["function"]
    function: Function


class NamedFunction(Lenient):
    """The name of a function."""

    name: str


class NamedTool(Lenient):
    """The function that must be called."""

    type: Literal["function"] = "function"
    function: NamedFunction


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("#word")] | Annotated[NamedTool, Tag("#named")],
    Discriminator(_word_form),
]


class PlainText(Lenient):
    """Text."""

    type: Literal["text"]


class AnyJson(Lenient):
    """A JSON object."""

    type: Literal["json_object"]
    json_schema: dict[str, Any] | None = Field(default=None, alias="schema")  # as llama.cpp's server takes it


class NamedSchema(Lenient):
    """A JSON Schema."""

    name: str
    description: str | None = None
    json_schema: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None  # kept to either way


class JsonBySchema(Lenient):
    """JSON that validates against a schema."""

    type: Literal["json_schema"]
    json_schema: NamedSchema


ResponseFormat = Annotated[PlainText | AnyJson | JsonBySchema, Field(discriminator="type")]


class Structured(Strict):
    """What else an answer may be held to, as vLLM names it; one of them."""

    regex: str | None = None
    choice: list[str] | None = None
    grammar: str | None = None  # Lark

    @model_validator(mode="after")
    def _one(self) -> Structured:
        if sum(value is not None for value in (self.regex, self.choice, self.grammar)) != 1:
            raise ValueError("name one of regex, choice and grammar")
        return self


class StreamOptions(Lenient):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None


class Extras(Strict):
    """How images are looked at."""

    policy: str | None = None  # off | gemma3 | adaptive | guided
    max_windows: int | None = Field(default=None, ge=1)  # an image, the whole included
    evidence: bool | None = None  # tell where on the images the answer was read
    attention: bool | None = None  # tell the attention that the evidence is computed from


_Stop = Annotated[_Text | Annotated[list[str], Tag("#parts")], Discriminator(_content_form)]


class Decoding(Strict):
    """Fields that ``/v1/chat/completions`` and ``/v1/responses`` share. Without any, answers are greedy."""

    model: str | None = None
    temperature: float | None = Field(default=None, ge=0, le=2, description="0 if left out: greedy.")
    top_p: float | None = Field(default=None, gt=0, le=1)
    top_k: int | None = Field(default=None, ge=0)
    min_p: float | None = Field(default=None, ge=0, le=1)
    repetition_penalty: float | None = Field(default=None, gt=0, le=100)
    frequency_penalty: float | None = Field(default=None, ge=-2, le=2)
    presence_penalty: float | None = Field(default=None, ge=-2, le=2)
    seed: int | None = Field(default=None, ge=-(2**63), lt=2**63)
    stream: bool | None = None
    parallel_tool_calls: bool | None = None
    vlm: Extras | None = None

    user: Ignored = None
    metadata: Ignored = None
    store: Ignored = None
    service_tier: Ignored = None
    safety_identifier: Ignored = None
    prompt_cache_key: Ignored = None
    prompt_cache_retention: Ignored = None

    @model_validator(mode="before")
    @classmethod
    def _without_effect(cls, given: Any) -> Any:
        """Leave out what says nothing: unknown fields that are null or empty, others at neutral values."""
        if not isinstance(given, dict):
            return given

        def says(name: str, value: Any) -> bool:
            neutral = name in _NEUTRAL and value == _NEUTRAL[name]
            return not neutral and (name in cls.model_fields or value not in (None, {}, []))

        return {name: value for name, value in given.items() if says(name, value)}


class ChatRequest(Decoding):
    """A conversation to go on with."""

    messages: list[Message] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    n: int | None = Field(default=None, ge=1)
    stop: _Stop | None = None
    stream_options: StreamOptions | None = None
    logprobs: bool | None = None
    top_logprobs: int | None = Field(default=None, ge=0, le=20)
    response_format: ResponseFormat | None = None
    structured_outputs: Structured | None = None
    tools: list[Tool] | None = None
    tool_choice: ToolChoice | None = None
    modalities: list[Literal["text"]] | None = None

    prediction: Ignored = None

    logit_bias: Unheeded = _unheeded()
    audio: Unheeded = _unheeded()
    functions: Unheeded = _unheeded()
    function_call: Unheeded = _unheeded()
    web_search_options: Unheeded = _unheeded()
    reasoning_effort: Unheeded = _unheeded()
    verbosity: Unheeded = _unheeded()

    @model_validator(mode="after")
    def _agree(self) -> ChatRequest:
        if self.stream_options is not None and not self.stream:
            raise ValueError("stream_options goes with stream: true")
        if self.top_logprobs and not self.logprobs:
            raise ValueError("top_logprobs goes with logprobs: true")
        if self.max_tokens and self.max_completion_tokens and self.max_tokens != self.max_completion_tokens:
            raise ValueError("max_tokens and max_completion_tokens differ: give one of them")
        return self


class TokenizeRequest(Strict):
    """Text to be counted."""

    model: str | None = None
    prompt: str


class Tokens(BaseModel):
    """The tokens of a text, without BOS and turns."""

    count: int
    max_model_len: int  # tokens of prompt and answer together
    tokens: list[int]


# -- what is answered --------------------------------------------------------------------------------


class ErrorDetail(BaseModel):
    """What is wrong and what to do."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorBody(BaseModel):
    """Every error."""

    error: ErrorDetail


class Sizes(BaseModel):
    """What one window of an image is to the model."""

    window_size: int  # pixels a side
    tokens_per_image: int


class Model(BaseModel):
    """A model that can be asked."""

    id: str
    object: Literal["model"] = "model"
    created: int
    owned_by: str = "vlm"
    max_model_len: int  # tokens of prompt and answer together
    vlm: Sizes | None  # null for a model that reads text only


class Models(BaseModel):
    """Those that can be asked: one."""

    object: Literal["list"] = "list"
    data: list[Model]


class Health(BaseModel):
    """How the server is."""

    status: Literal["ok", "loading", "failed", "stopping"]
    model: str
