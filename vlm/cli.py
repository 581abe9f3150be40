"""The command line: reads arguments, calls the rooms below, prints.

Imports inside the commands keep ``vlm --help`` under half a second. Every error a user can cause
is one line on stderr and exit code 2.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import typer

from vlm import __version__
from vlm.cli_batch import batch
from vlm.cli_bench import bench_app
from vlm.cli_chat import chat
from vlm.cli_common import INTERRUPTED
from vlm.cli_constraint import ChoiceOption, GrammarOption, RegexOption, SchemaOption, constraint_of
from vlm.cli_documents import answer_to_json, are_documents, ask_documents, check_documents, print_found
from vlm.cli_eval import eval_app
from vlm.cli_model import (
    Status,
    Wanted,
    load_here_with_status,
    load_with_status,
    say_why_ended,
    shown,
    to_stay,
    window_of,
)
from vlm.cli_options import (
    ApiKeyOption,
    DeviceOption,
    DtypeOption,
    MaxTokensOption,
    MaxWindowsOption,
    NamedModelOption,
    OfflineOption,
    PolicyOption,
    SeedOption,
    TemperatureOption,
    TopKOption,
    TopPOption,
    UrlOption,
)
from vlm.cli_quantize import quantize
from vlm.cli_read import read
from vlm.cli_serve import serve
from vlm.cli_train import train_app
from vlm.cli_verify import verify

if TYPE_CHECKING:
    from PIL import Image

    from vlm.answer import Answer, AnswerStream
    from vlm.session import VLM
    from vlm.video import Frame

# click's UsageError, the base of all its complaints; newer typers carry their own copy of click.
_BadArguments: Any = typer.BadParameter.__mro__[1]

app = typer.Typer(
    name="vlm",
    help="Ask questions about images and read documents with Gemma 3's vision-language design.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.add_typer(train_app, name="train")
app.add_typer(eval_app, name="eval")
app.add_typer(bench_app, name="bench")

# What writing fails with where there is no room, or no disk any more.
_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO}

# Formats that a picture of windows can be saved in.
_SAVED = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}

ModelOption = Annotated[str, typer.Option("--model", "-m", help="mini, a Hub id, a folder or a .gguf file.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def _version(wanted: bool) -> None:
    if wanted:
        print(f"vlm {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Options before the command."""


@app.command()
def ask(
    arguments: Annotated[list[str], typer.Argument(metavar="IMAGE... QUESTION", show_default=False)],
    model: NamedModelOption = None,
    url: UrlOption = None,
    api_key: ApiKeyOption = None,
    policy: Annotated[
        str | None,
        typer.Option(help="off, gemma3, adaptive or guided; adaptive if left out, for a video off."),
    ] = None,
    max_windows: MaxWindowsOption = None,
    max_tokens: MaxTokensOption = 512,
    temperature: TemperatureOption = 0.0,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    seed: SeedOption = None,
    schema: SchemaOption = None,
    regex: RegexOption = None,
    choice: ChoiceOption = None,
    grammar: GrammarOption = None,
    save_evidence: Annotated[
        Path | None, typer.Option(help="Draw on the image where the answer was read, write it here.")
    ] = None,
    pages: Annotated[str, typer.Option(help="Pages of each document, as in 1-3,7.")] = "",
    password: Annotated[str, typer.Option(help="Of encrypted PDFs.")] = "",
    frames: Annotated[int, typer.Option(min=1, help="Frames of a video to look at.")] = 16,
    frames_by: Annotated[str, typer.Option(help="How they are chosen: time or scene.")] = "time",
    system: Annotated[str, typer.Option(help="Instructions put before the question.")] = "",
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    offline: OfflineOption = False,
) -> None:
    """Ask a question about images, documents (PDF, TIFF, folders) or a video.

    Of a document of many pages, those that matter are found first. An image named - is read from standard
    input.
    """
    sources, question = _images_and_question(arguments)
    constraint = constraint_of(schema, regex, choice, grammar)
    wanted = Wanted(model, url, api_key, dtype, device, offline)

    with to_stay():  # these import torch
        from vlm.options import Options
        from vlm.sampling import Sampling
    from vlm.video import frame_captions, is_video

    if policy is None:  # frames are many and small
        policy = "off" if any(map(is_video, sources)) else "adaptive"
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    options = Options(
        policy=policy, max_windows=max_windows, max_tokens=max_tokens, sampling=sampling,
        constraint=constraint, system=system,
    )  # fmt: skip
    if save_evidence is not None:
        _check_saving(save_evidence)
    documents = are_documents(sources)
    _check_meant(documents, any(map(is_video, sources)), pages or password)
    if documents:
        from vlm.reading.sources import SourceOptions

        reading = SourceOptions(pages=pages, password=password)
        check_documents(sources, reading)
        vlm, status = load_with_status(wanted)
        try:
            found = ask_documents(
                vlm, sources, question, options, reading, lambda done: status.show(f"page {done}")
            )
        finally:
            status.clear()
        print_found(found, as_json)
        _save_evidence(
            save_evidence, [found.shown(found.page.open().image)] if save_evidence else [], found.answer
        )
        return
    images, taken = _pictures(sources, frames, frames_by)
    captions = frame_captions(taken)
    seconds = [frame.seconds for frame in taken]
    vlm, status = load_with_status(wanted)
    if constraint is not None and constraint.kind == "schema":
        from vlm.reading.loops import ask_for_json

        answer = _print_whole(
            lambda: ask_for_json(vlm, images, question, options, captions), status, as_json, seconds
        )
    else:
        answer = _print_answer(
            lambda: vlm.stream(images, question, options, captions), status, as_json, seconds
        )
    _save_evidence(save_evidence, images, answer)


@app.command()
def generate(
    prompt: Annotated[str, typer.Argument(help="Text to continue.")],
    image: Annotated[list[Path] | None, typer.Option(help="An image before the text; repeatable.")] = None,
    model: ModelOption = "mini",
    policy: PolicyOption = "adaptive",
    max_windows: MaxWindowsOption = None,
    max_tokens: MaxTokensOption = 128,
    temperature: TemperatureOption = 0.0,
    top_k: TopKOption = 0,
    top_p: TopPOption = 1.0,
    seed: SeedOption = None,
    schema: SchemaOption = None,
    regex: RegexOption = None,
    choice: ChoiceOption = None,
    grammar: GrammarOption = None,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    as_json: JsonOption = False,
    offline: OfflineOption = False,
) -> None:
    """Continue a text without the chat template, for pretrained checkpoints."""
    images = _opened([str(path) for path in image or ()])
    constraint = constraint_of(schema, regex, choice, grammar)

    from vlm.sampling import Sampling
    from vlm.session import Options

    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
    options = Options(
        policy=policy, max_windows=max_windows, max_tokens=max_tokens, sampling=sampling,
        constraint=constraint,
    )  # fmt: skip
    vlm, status = _load(model, dtype, device, offline)
    _print_answer(lambda: vlm.generate(prompt, images, options), status, as_json)


@app.command()
def windows(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", show_default=False)],
    policy: Annotated[str, typer.Option(help="How images are cut: off, gemma3 or adaptive.")] = "adaptive",
    max_windows: MaxWindowsOption = None,
    window_size: Annotated[
        int | None,
        typer.Option(min=1, help="Side of the encoder's square in pixels; 896 if no model is named."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="For whose square: mini, a downloaded Hub id or a folder."),
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Draw the windows on the image, write it here.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how images are cut into windows: for Gemma 3's encoder, or for that of --model."""
    from pan_and_scan import draw_windows, load_image, named_policy, windows_of
    from vlm.errors import UsageError, printable

    if window_size is not None and model is not None:
        raise UsageError("--model has a window size of its own: leave out --window-size")
    side = window_of(model, offline=True)[0] if model is not None else window_size or 896
    try:
        chosen = named_policy(policy, max_windows=max_windows, window_size=side)
    except ValueError as error:
        raise UsageError(str(error)) from None
    if save is not None and len(images) > 1:
        raise UsageError("--save takes one image at a time")
    for path in images:
        image = load_image(path)
        planned = windows_of(image, chosen)
        if save is not None:
            _save_image(draw_windows(image, planned), save)
        if as_json:
            shown = [{"box": list(window.box), "kind": window.kind} for window in planned]
            size = {"width": image.width, "height": image.height}
            print(json.dumps({"file": str(path)} | size | {"policy": chosen.name, "windows": shown}))
            continue
        name = printable(path)
        print(f"{name}: {image.width} x {image.height}, policy {chosen.name}, {_counted(len(planned))}")
        for number, window in enumerate(planned):
            span = " ".join(f"{edge:>6}" for edge in window.box)
            print(f"  {number:>2}  {window.kind:<5}  {span}   {window.size[0]} x {window.size[1]}")


@app.command()
def models(as_json: JsonOption = False) -> None:
    """List the models that are here and those that can be named."""
    from vlm.errors import printable
    from vlm.weights import KNOWN, cached_models

    here = cached_models()
    if as_json:
        shown = [vars(entry) | {"path": str(entry.path)} for entry in here]
        print(json.dumps({"here": shown, "known": [vars(entry) for entry in KNOWN]}))
        return
    print("On this machine:" if here else "On this machine: none")
    for model in here:
        print(f"  {model.name:<28} {_gigabytes(model.gigabytes)}  {printable(model.path)}")
    print("Downloaded when first named (Gemma terms apply):")
    for known in KNOWN:
        reads = "images and text" if known.vision else "text"
        print(f"  {known.id:<28} {_gigabytes(known.gigabytes)}  {reads}")


@app.command()
def ui(
    model: ModelOption = "mini",
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0: a free one.")] = 7860,
    dtype: DtypeOption = "auto",
    device: DeviceOption = "auto",
    offline: OfflineOption = False,
) -> None:
    """Open the demo in a browser."""
    from importlib import import_module
    from importlib.util import find_spec

    from vlm.errors import UsageError
    from vlm.weights import cached_models

    if find_spec("gradio") is None:
        raise UsageError("the app needs gradio: pip install 'vlm[ui]'")
    # The wheel carries demos/ inside the package; in the source tree it lies beside it.
    home = "vlm._demos" if find_spec("vlm._demos") else "demos"
    launch = import_module(f"{home}.app").launch
    vlm, status = _load(model, dtype, device, offline)
    status.clear()
    vlm.on_window = None  # the page shows what goes on, not the terminal
    others = [one.name for one in cached_models() if one.vision]
    launch(
        vlm, host=host, port=port, others=others,
        load=lambda name: Wanted(name, dtype=dtype, device=device, offline=True).load_here(),
    )  # fmt: skip


app.command()(batch)
app.command()(chat)
app.command()(quantize)
app.command()(read)
app.command()(serve)
app.command()(verify)


def _counted(windows: int) -> str:
    return "1 window" if windows == 1 else f"{windows} windows"


def _gigabytes(size: float) -> str:
    return f"{size:>6.1f} GB" if size >= 0.1 else f"{size * 1000:>6.1f} MB"


def _images_and_question(arguments: list[str]) -> tuple[list[str], str]:
    """Split ``IMAGE... QUESTION``; the last argument is the question."""
    from vlm.errors import UsageError

    *images, question = arguments
    if not question.strip() or os.path.isfile(question):
        raise UsageError("no question: put it last, in quotes, as in: vlm ask photo.jpg 'What does it say?'")
    if not images:
        raise UsageError(
            "no image: name one before the question, as in: vlm ask photo.jpg 'What does it say?' "
            "(text alone: vlm generate)"
        )
    return images, question


def _opened(sources: list[str]) -> list[Any]:
    """Read every image before the model is loaded, so that a wrong file fails at once."""
    from pan_and_scan import load_image

    return [load_image(_standard_input() if source == "-" else source) for source in sources]


def _standard_input() -> BinaryIO:
    from vlm.errors import UsageError

    if sys.stdin is None:  # closed by the caller
        raise UsageError("an image named - is read from standard input, and there is none")
    return sys.stdin.buffer


def _check_meant(documents: bool, video: bool, of_documents: str) -> None:
    """Refuse what would be left out without a word."""
    from vlm.errors import UsageError

    if documents and video:
        raise UsageError("a video is asked about alone: leave out the documents, or ask about them")
    if of_documents and not documents:
        raise UsageError("--pages and --password are of documents (PDF, TIFF, folders): leave them out")


def _pictures(sources: list[str], frames: int, frames_by: str) -> tuple[list[Any], tuple[Frame, ...]]:
    """The images to ask about; of a video its frames, and them once more with their times."""
    from vlm.errors import UsageError
    from vlm.video import SamplingOptions, is_video, sample_frames

    videos = [source for source in sources if is_video(source)]
    if not videos:
        return _opened(sources), ()
    if len(sources) > 1:
        raise UsageError("a video is asked about alone: name one video and no other image")
    taken = sample_frames(videos[0], SamplingOptions(frames=frames, by=frames_by))  # type: ignore[arg-type]
    return [frame.image for frame in taken], taken


def _save_evidence(path: Path | None, images: list[Any], answer: Answer) -> None:
    """Draw where the answer was read, on the image it was read from."""
    if path is None:
        return
    from vlm.errors import UsageError
    from vlm.evidence import draw_evidence

    if answer.attention is None:
        raise UsageError("no evidence to draw: this server doesn't tell where it looked (vlm serve does)")
    if not answer.evidence:
        raise UsageError("no evidence to draw: the answer was not read from an image")
    index = answer.evidence[0].image
    _save_image(draw_evidence(images[index], answer.attention, index), path)


def _check_saving(path: Path) -> str:
    """The format a picture's name stands for.

    Raises:
        UsageError: a name that says no format, or a folder that isn't there.
    """
    from vlm.errors import UsageError, printable

    name = printable(path)
    form = _SAVED.get(path.suffix.lower())
    if form is None:
        raise UsageError(f"{name}: can't tell the format to save; end the name in {', '.join(_SAVED)}")
    if not path.parent.is_dir():
        raise UsageError(f"{name}: no such folder to save in; make it first")
    if path.is_dir():
        raise UsageError(f"{name}: is a folder; name a file in it")
    return form


def _save_image(image: Image.Image, path: Path) -> None:
    """Write an image whole or not at all.

    Raises:
        UsageError: a name that says no format, a folder that isn't there, or no room.
    """
    from vlm.errors import UsageError, printable

    name, form = printable(path), _check_saving(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        image.save(beside, format=form)
        os.replace(beside, path)
    except OSError as error:
        raise UsageError(f"{name}: can't be saved ({error.strerror or error})") from None
    finally:
        beside.unlink(missing_ok=True)


def _load(model: str, dtype: str, device: str, offline: bool) -> tuple[VLM, Status]:
    return load_here_with_status(Wanted(model, dtype=dtype, device=device, offline=offline))


def _print_whole(
    ask: Callable[[], Answer], status: Status, as_json: bool, seconds: Sequence[float] = ()
) -> Answer:
    """Print an answer once it is whole; ``seconds`` are the times of a video's frames."""
    try:
        status.show("reading")
        answer = ask()
    finally:
        status.clear()
    if as_json:
        told = answer_to_json(answer)
        if seconds:
            told["frames"] = [{"image": at, "seconds": round(s, 3)} for at, s in enumerate(seconds)]
        print(json.dumps(told, ensure_ascii=False))
    else:
        print(shown(answer.text))
        say_why_ended(answer)
    return answer


def _print_answer(
    start: Callable[[], AnswerStream], status: Status, as_json: bool, seconds: Sequence[float] = ()
) -> Answer:
    """Stream to the terminal, or print one JSON object."""
    if as_json:
        return _print_whole(lambda: start().read(), status, as_json, seconds)
    try:
        stream = start()
        status.show("reading")
        for piece in stream:
            status.clear()
            print(shown(piece), end="", flush=True)
    finally:
        status.clear()
    print()
    assert stream.answer is not None
    say_why_ended(stream.answer)
    return stream.answer


def _command_of(error: _BadArguments) -> str:
    return error.ctx.command_path if error.ctx is not None else "vlm"


def main() -> None:
    """Entry point of the ``vlm`` script."""
    try:
        status = app(prog_name="vlm", standalone_mode=False)
        sys.stdout.flush()  # here, where a reader that went away is still expected
    except BrokenPipeError:
        # The reader (head, less) went away; a second complaint at exit would be noise.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        if error.errno not in _UNWRITABLE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left can't be written either
        print(f"vlm: standard output can't be written ({error.strerror}): make room", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:  # before or after a command; within one, typer turns it into a status
        status = INTERRUPTED
    except _BadArguments as error:
        said = error.format_message()
        # Without a command the message is the help itself.
        print(
            said if said.startswith("Usage:") else f"vlm: {said} (see {_command_of(error)} --help)",
            file=sys.stderr,
        )
        sys.exit(2)
    except Exception as error:
        # Imported only now: these bring Pillow along, which --help must not wait for.
        from vlm.errors import ImageError, VlmError

        if not isinstance(error, VlmError | ImageError):
            raise
        print(f"vlm: {error}", file=sys.stderr)
        sys.exit(2)
    if status == INTERRUPTED:
        print("\nvlm: stopped", file=sys.stderr)
    sys.exit(status or 0)
