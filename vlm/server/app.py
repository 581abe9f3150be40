"""The routes, and what happens when the server starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.middleware import Middleware
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse, Response
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException

from vlm import __version__
from vlm.server.chat import chat
from vlm.server.errors import ApiError, on_api_error, on_defect, on_http, on_validation
from vlm.server.guard import Guard
from vlm.server.responses import ResponsesRequest, respond
from vlm.server.service import Service
from vlm.server.shapes import ChatCompletion
from vlm.server.wire import ChatRequest, ErrorBody, Health, Model, Models, Sizes, TokenizeRequest, Tokens

_ERRORS: dict[int | str, dict[str, Any]] = {
    "4XX": {"model": ErrorBody, "description": "What is wrong with the request."},
    "5XX": {"model": ErrorBody, "description": "What is wrong with the server."},
}
_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}, "description": "The answer."}
}


def create_app(service: Service) -> FastAPI:
    """The application over a service; it loads the model when it starts."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(service.load())
        yield
        loading.cancel()
        service.close()

    settings = service.settings
    guarded = Middleware(
        Guard,
        limits=settings.limits,
        key=settings.api_key,
        on_end=service.metrics.request_ended,
        local_only=settings.local_only,
    )
    # Outermost, so that pages may read what the guard refuses.
    shared = Middleware(
        CORSMiddleware,
        allow_origins=settings.origins,
        allow_methods=("GET", "POST"),
        allow_headers=("*",),
        expose_headers=("x-request-id", "retry-after"),
    )
    app = FastAPI(
        title="vlm",
        version=__version__,
        description="Questions about images, over OpenAI's interface.",
        lifespan=lifespan,
        middleware=[shared, guarded] if settings.origins else [guarded],
        redirect_slashes=False,  # they would lead to whatever host the request named
        responses=_ERRORS,
        # Their pages fetch scripts from elsewhere.
        docs_url=None,
        redoc_url=None,
        exception_handlers={
            RequestValidationError: on_validation,
            HTTPException: on_http,
            ApiError: on_api_error,
            Exception: on_defect,
        },
    )
    _add_state(app, service)
    _add_models(app, service)
    _add_answers(app, service)
    _describe_key(app, settings.api_key is not None)
    return app


def _add_state(app: FastAPI, service: Service) -> None:
    @app.get("/health", response_model=Health, responses={503: {"model": Health}})
    async def health() -> Response:
        """How the server is: 200 when it can answer, else 503."""
        state = service.state
        told = Health(status=state, model=service.settings.name)
        return JSONResponse(told.model_dump(), 200 if state == "ok" else 503)

    @app.get("/metrics", response_class=Response, responses={200: {"content": {CONTENT_TYPE_LATEST: {}}}})
    async def metrics() -> Response:
        """Figures for Prometheus."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE_LATEST)


def _add_models(app: FastAPI, service: Service) -> None:
    def shown(name: str | None = None) -> Model:
        engine = service.ready(name).engine
        vision = engine.config.vision
        return Model(
            id=service.settings.name,
            created=service.created,
            max_model_len=engine.config.text.max_position_embeddings,
            vlm=None
            if vision is None
            else Sizes(window_size=vision.image_size, tokens_per_image=engine.config.mm_tokens_per_image),
        )

    @app.get("/v1/models")
    async def models() -> Models:
        """The model that can be asked."""
        return Models(data=[shown()])

    @app.get("/v1/models/{name:path}")
    async def model(name: str) -> Model:
        """One model."""
        return shown(name)

    @app.post("/tokenize")
    async def tokenize(body: TokenizeRequest) -> Tokens:
        """The tokens of a text, as a question would hold it: control tokens in it stay text."""
        engine = service.ready(body.model).engine
        if len(body.prompt) > service.limits.text:
            raise ApiError(
                400, f"prompt: at most {service.limits.text} characters", "text_too_long", "prompt"
            )
        ids = await run_in_threadpool(engine.tokenizer.encode_text, body.prompt)
        context = engine.config.text.max_position_embeddings
        return Tokens(count=len(ids), max_model_len=context, tokens=ids)


def _add_answers(app: FastAPI, service: Service) -> None:
    @app.post("/v1/chat/completions", response_model=ChatCompletion, responses=_STREAM)
    async def completions(body: ChatRequest, request: Request) -> Response:
        """Answer the last message of a conversation; its images as data URLs."""
        return await chat(service, body, request)

    @app.post("/v1/responses", response_model=dict[str, Any], responses=_STREAM)
    async def responses(body: ResponsesRequest, request: Request) -> Response:
        """The same in OpenAI's newer form."""
        return await respond(service, body, request)


def _describe_key(app: FastAPI, needed: bool) -> None:
    """Say in the description of the routes that a key is needed."""
    if not needed:
        return
    described = app.openapi()
    described["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
    described["security"] = [{"key": []}]
    described["paths"]["/health"]["get"]["security"] = []
