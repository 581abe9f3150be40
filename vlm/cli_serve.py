"""``vlm serve``: the options of the server, and what is said when it starts."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from vlm.cli_common import with_extra
from vlm.cli_options import DeviceOption, DtypeOption

if TYPE_CHECKING:
    from vlm.session import VLM

_PANEL = "Limits"
_MEGABYTE = 1 << 20


def serve(
    model: Annotated[
        str, typer.Option("--model", "-m", help="mini, a Hub id, a folder or a .gguf file.")
    ] = "mini",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")] = 8000,
    name: Annotated[str, typer.Option(help="What clients call the model; by default as it is loaded.")] = "",
    api_key: Annotated[
        str | None,
        typer.Option(
            envvar="VLM_API_KEY", show_envvar=True, help="What clients must send as a bearer token."
        ),
    ] = None,
    allow_image_domain: Annotated[
        list[str] | None,
        typer.Option(metavar="DOMAIN", help="Fetch images of this domain by their URL; repeatable."),
    ] = None,
    allow_origin: Annotated[
        list[str] | None,
        typer.Option(metavar="ORIGIN", help="Let this site's pages ask from a browser (CORS); repeatable."),
    ] = None,
    max_body_mb: Annotated[int, typer.Option(min=1, help="Megabytes of a request.")] = 32,
    max_images: Annotated[int, typer.Option(min=0, help="Images of a request.")] = 16,
    max_pixels: Annotated[int, typer.Option(min=1, help="Pixels of an image.")] = 40_000_000,
    max_windows: Annotated[int, typer.Option(min=0, help="Windows of a request, over all its images.")] = 64,
    max_tokens: Annotated[int, typer.Option(min=1, help="Tokens of an answer.")] = 4096,
    max_choices: Annotated[int, typer.Option(min=1, help="Answers to one request (n).")] = 8,
    max_running: Annotated[int, typer.Option(min=1, help="Answers at once.")] = 16,
    max_waiting: Annotated[int, typer.Option(min=0, help="Requests in the queue; more get a 429.")] = 64,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="A request may take.")] = 600.0,
    grace: Annotated[
        float, typer.Option(min=0.0, help="Seconds that running requests get when the server is stopped.")
    ] = 20.0,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    compile: Annotated[
        bool,
        typer.Option("--compile", help="Fuse operations: quicker on a GPU after minutes of first answers."),
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Use only what was downloaded before.")] = False,
) -> None:
    """Serve a model over OpenAI's interface: http://127.0.0.1:8000/v1.

    Answers are greedy where a request names no temperature.
    """
    from vlm.addresses import is_loopback, listening
    from vlm.device import chosen_device
    from vlm.errors import UsageError
    from vlm.precision import checked_dtype

    if api_key is not None and not re.fullmatch(r"[!-~]+", api_key):
        raise UsageError(
            "--api-key: a key is letters, digits and signs of ASCII without blanks, one at least"
        )
    checked_dtype(dtype)
    chosen_device(device)
    with with_extra("server"):
        from vlm.server.limits import Limits
        from vlm.server.own import close_engine
        from vlm.server.serve import BACKLOG, Server, url_of
        from vlm.server.service import Service, Settings, public_name

    limits = Limits(
        body_bytes=max_body_mb * _MEGABYTE,
        held_bytes=max(Limits.held_bytes, 4 * max_body_mb * _MEGABYTE),
        images=max_images,
        pixels=max_pixels,
        all_pixels=max(Limits.all_pixels, max_pixels),
        held_pixels=max(Limits.held_pixels, max_pixels),
        windows=max_windows,
        tokens=max_tokens,
        choices=min(max_choices, max_running),
        running=max_running,
        waiting=max_waiting,
        seconds=max_seconds,
        grace=grace,
    )
    settings = Settings(
        name=name or public_name(model),
        limits=limits,
        api_key=api_key,
        local_only=api_key is None and is_loopback(host),
        image_domains=tuple(allow_image_domain or ()),
        origins=tuple(map(_origin, allow_origin or ())),
    )
    loading: dict[str, Any] = {"dtype": dtype, "device": device, "compiled": compile, "offline": offline}
    service = Service(lambda: _loaded(model, loading).shared(max_running), settings)
    server = Server(service)
    with listening(host, port, BACKLOG) as listener:
        print(f"vlm: serving {settings.name} at {url_of(listener)}/v1", flush=True)
        if settings.api_key is None and not is_loopback(listener.getsockname()[0]):
            print("vlm: warning: anybody who reaches this address can use it; set --api-key", file=sys.stderr)
        try:
            server.run(sockets=[listener])
        finally:
            close_engine(service.model)
    if service.error is not None:
        raise service.error


def _origin(given: str) -> str:
    """A site as browsers name it.

    Raises:
        UsageError: it is none.
    """
    from vlm.errors import UsageError

    if given != "*" and not re.fullmatch(r"https?://(\[[0-9a-f:]+\]|[a-z0-9.-]+)(:[0-9]{1,5})?", given):
        raise UsageError(
            f"--allow-origin: {given} is no origin; give it as browsers send it, like https://example.com or "
            'http://localhost:3000, or "*" for all'
        )
    return given


def _loaded(model: str, how: dict[str, Any]) -> VLM:
    from vlm.session import VLM

    return VLM.load(model, **how)
