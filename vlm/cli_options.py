"""Options that several commands share: which model answers, and how."""

from __future__ import annotations

from typing import Annotated

import typer

MINI = "mini"

NamedModelOption = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", show_default=False,
        help=f"{MINI} (if left out), a Hub id, a folder or a .gguf file; with --url the model's name there.",
    ),
]  # fmt: skip
UrlOption = Annotated[
    str | None,
    typer.Option(
        metavar="URL", envvar="VLM_URL", help="Ask a server: vlm serve, vLLM or any OpenAI-style one."
    ),
]
ApiKeyOption = Annotated[str | None, typer.Option(metavar="KEY", envvar="VLM_API_KEY", help="Of the server.")]
PolicyOption = Annotated[str, typer.Option(help="How images are cut: off, gemma3, adaptive or guided.")]
MaxWindowsOption = Annotated[
    int | None, typer.Option(min=1, help="Windows an image at most, the whole image included.")
]
MaxTokensOption = Annotated[int, typer.Option(min=1, help="Length of the answer at most.")]
TemperatureOption = Annotated[float, typer.Option(min=0.0, help="0 chooses the likeliest token.")]
TopKOption = Annotated[int, typer.Option(min=0, help="Keep the k likeliest tokens; 0 is off.")]
TopPOption = Annotated[float, typer.Option(help="Keep the likeliest tokens of this probability.")]
SeedOption = Annotated[int | None, typer.Option(min=0, max=2**63 - 1, help="Same seed, same text.")]
OfflineOption = Annotated[bool, typer.Option("--offline", help="Use only what was downloaded before.")]
DeviceOption = Annotated[
    str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, mps, or auto: a CUDA card if there is one.")
]
DtypeOption = Annotated[str, typer.Option(help="fp32, bf16, int8, int4, or auto: the fastest here.")]
