"""Every error a client can meet, in the one shape that OpenAI's clients read.

``{"error": {"message", "type", "param", "code"}}``, as a response or as an event within a stream. A
message says what to do and never holds internals: no path, no address, no traceback, no text of a
library. What the rooms below raise for a person (``VlmError``, ``ImageError``) is such a message already,
only that it names the command line's options; anything else is a defect of ours, is logged with its
traceback and told as "internal error".
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from vlm.errors import ImageError, PromptError, TooLongError, UsageError, printable

log = logging.getLogger("vlm.server")
REQUEST: ContextVar[str] = ContextVar("REQUEST", default="-")  # name of the request that is answered

_TYPES = {401: "authentication_error", 404: "not_found_error", 429: "rate_limit_error"}
# The rooms below speak to the command line.
_NAMES = (("--max-windows", "vlm.max_windows"), ("--max-tokens", "max_tokens"), ("--policy", "vlm.policy"))
_LONGEST = 500  # characters of a message


class ApiError(Exception):
    """An error as a client sees it.

    Args:
        status: of the HTTP response.
        message: what is wrong and what to do.
        code: a word for programs.
        param: the field of the request.
        retry_after: seconds after which it's worth trying again.
    """

    def __init__(
        self,
        status: int,
        message: str,
        code: str | None = None,
        param: str | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.param = param
        self.retry_after = retry_after

    def body(self) -> dict[str, Any]:
        """The JSON object."""
        kind = _TYPES.get(self.status, "invalid_request_error" if self.status < 500 else "server_error")
        told = {"message": bounded(str(self)), "type": kind}
        return {"error": told | {"param": self.param and bounded(self.param), "code": self.code}}

    def response(self) -> JSONResponse:
        """The HTTP response."""
        headers = {"retry-after": str(self.retry_after)} if self.retry_after is not None else {}
        if self.status == 401:
            headers["www-authenticate"] = "Bearer"
        return JSONResponse(self.body(), self.status, headers)


def bounded(text: str) -> str:
    """Text that every encoding and terminal takes (a field's name is the client's own), of bounded length."""
    shown = printable(text[:_LONGEST])
    return shown + "..." if len(text) > _LONGEST else shown


def told(error: BaseException, hidden: Mapping[str, str]) -> ApiError:
    """Any error as a client may see it.

    Args:
        error: what was raised.
        hidden: words that stay inside (a checkpoint's path) and what stands for them.
    """
    if isinstance(error, ApiError):
        return error
    if isinstance(error, ImageError | PromptError | UsageError):
        message = str(error)
        for inside, outside in (*hidden.items(), *_NAMES):
            message = message.replace(inside, outside)
        if isinstance(error, TooLongError):  # the code that clients know to shorten a conversation by
            return ApiError(400, message, "context_length_exceeded", "messages")
        kind = "invalid_image" if isinstance(error, ImageError) else "invalid_prompt"
        return ApiError(400, message, "invalid_value" if isinstance(error, UsageError) else kind)
    if isinstance(error, RecursionError):
        return ApiError(400, "nested too deeply", "invalid_value")
    log.error("request %s ended in an error of ours", REQUEST.get(), exc_info=error)
    return ApiError(500, "internal error; the server's log has the details", "internal_error")


def of_validation(errors: Sequence[Mapping[str, Any]], body: Any) -> ApiError:
    """The first thing that pydantic found wrong with a body."""
    first = errors[0]
    param = _param(first["loc"], body) or None
    message = str(first["msg"]).removeprefix("Value error, ")
    if first["type"] == "extra_forbidden":
        message = "unknown field; what would not be heeded is refused"
    elif first["type"] == "json_invalid":
        return ApiError(400, "the body is no valid JSON", "invalid_json")
    message = message.partition(" or instance of ")[0].replace("valid dictionary", "JSON object")
    return ApiError(400, f"{param}: {message}" if param else message, "invalid_value", param)


def _param(place: Sequence[Any], body: Any) -> str:
    """``("body", "messages", 0, "user", "content")`` as ``messages[0].content``.

    pydantic names the branches of unions too; what is not in the body is one, but for the last: that may
    be missing.
    """
    name, value = "", body
    for at, part in enumerate(place[1:], start=2):
        if isinstance(part, int):
            name += f"[{part}]"
            value = value[part] if isinstance(value, list) and part < len(value) else None
        elif isinstance(value, dict) and part in value:
            name += f".{part}" if name else part
            value = value[part]
        elif at == len(place) and not part.startswith("#"):
            name += f".{part}" if name else part
    return name


async def on_validation(request: Request, error: Exception) -> JSONResponse:
    """A body that is not what the route takes."""
    assert isinstance(error, RequestValidationError)
    return of_validation(error.errors(), error.body).response()


async def on_http(request: Request, error: Exception) -> JSONResponse:
    """What the framework refuses: no such route, no such method, a body that can't be parsed."""
    assert isinstance(error, HTTPException)
    messages = {
        400: ("the body can't be parsed: send JSON", "invalid_json"),
        404: ("no such route; this server has those of GET /openapi.json", "not_found"),
        405: ("this route doesn't take that method", "method_not_allowed"),
    }
    message, code = messages.get(error.status_code, ("the request was refused", None))
    response = ApiError(error.status_code, message, code).response()
    if error.headers:
        response.headers.update({n: v for n, v in error.headers.items() if n.lower() == "allow"})
    return response


async def on_api_error(request: Request, error: Exception) -> JSONResponse:
    """An error in its final shape."""
    assert isinstance(error, ApiError)
    return error.response()


async def on_defect(request: Request, error: Exception) -> JSONResponse:
    """Anything else; the framework logs it."""
    return ApiError(500, "internal error; the server's log has the details", "internal_error").response()
