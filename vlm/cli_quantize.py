"""``vlm quantize``: write a checkpoint in int8 or int4 once: it is mapped, not rounded at every start."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from vlm.cli_options import OfflineOption


class Form(StrEnum):
    """What weights become."""

    int8 = "int8"
    int4 = "int4"


def quantize(
    model: Annotated[str, typer.Argument(help="A Hub id, a folder in the Hub's format, or mini.")],
    out: Annotated[Path, typer.Argument(help="The folder to write; must not be there.")],
    to: Annotated[Form, typer.Option(help="int8, or int4 for half the memory, at a cost.")] = Form.int8,
    offline: OfflineOption = False,
) -> None:
    """Write a checkpoint with int8 or int4 weights; load it as any other folder."""
    from vlm.cli_common import progress
    from vlm.config import ModelConfig
    from vlm.engine import empty_modules, named_parts
    from vlm.errors import UsageError, printable
    from vlm.weights import resolve, write_rounded

    source = resolve(model, offline=offline)
    if source.suffix == ".gguf":
        raise UsageError(f"{printable(source)}: a .gguf is rounded while it loads: vlm ask --dtype {to}")
    modules = named_parts(*empty_modules(ModelConfig.from_folder(source)))
    total = sum(len(module.state_dict()) for module in modules.values())
    with progress(f"to {to}", total) as advance:
        write_rounded(source, out, modules, lambda done, of: advance(), to.value)
    before, after = (sum(f.stat().st_size for f in at.glob("*.safetensors")) / 1e6 for at in (source, out))
    print(f"{printable(out)}: {after:,.1f} MB of weights, from {before:,.1f} MB")
