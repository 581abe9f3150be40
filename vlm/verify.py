"""Proof, on any checkpoint a person has, that our answers are transformers' answers.

Each stage is compared on its own: ours gets transformers' output of the stage before, so a
difference is counted where it arises. The greedy text at the end goes through all of ours. Both run
in fp32 and one after the other, because two copies of a 4B model need 32 GB: transformers' results
are taken first, at sampled positions where a whole would be large, and its model is freed.

The rule for numbers: a stage passes where its largest difference is at most 1e-4, or at most 1e-4 of
the largest value transformers has there. fp32 keeps seven digits of a value, so rounding grows with
the values, and those of the released models reach hundreds where random weights stay below ten. A
wrong mask, position, norm or resize is off by far more than either. Ids and text must be equal.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import zip_longest
from math import isfinite
from pathlib import Path
from typing import Any

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from pan_and_scan import Gemma3, Off, crop, load_image, windows_of
from vlm.config import ModelConfig
from vlm.engine import Engine
from vlm.errors import CheckpointError, UsageError
from vlm.generate import Generation, Limits, check_fits, chunks
from vlm.masks import Queries
from vlm.pixels import to_pixels
from vlm.prompt import ImagePart, Part, PromptPlan, Turn, plan_chat, plan_raw
from vlm.sampling import Sampler, Sampling
from vlm.tokenizer import GemmaTokenizer
from vlm.weights import gguf_config, resolve

TOLERANCE = 1e-4  # of numbers, absolute or of the largest value; see above
LEVELS = 127.5  # uint8 levels in one unit of the encoder's input
POSITIONS = 32  # of a prompt whose logits are compared, evenly spread, the last among them
BEYOND = 64  # tokens the long text goes beyond the sliding window
QUESTION = "What does it say?"
FILLER = "The quick brown fox jumps over the lazy dog; 12 + 30 = 42. "
TEXT_ONLY = "the checkpoint reads text only"
PAN_AND_SCAN = {
    "do_pan_and_scan": True,
    "pan_and_scan_min_crop_size": 256,
    "pan_and_scan_max_num_crops": 4,
    "pan_and_scan_min_ratio_to_activate": 1.2,
}


@dataclass(frozen=True)
class Row:
    """One stage, ours beside transformers'.

    Attributes:
        difference: the largest one; for ids and text the number of ids that differ.
        relative: ``difference`` over the largest value of transformers; None where it has no meaning.
        tolerance: what ``difference`` or ``relative`` may reach.
        unit: of ``difference``: "levels" (uint8), "ids", or "" for plain numbers.
        passed: None where the stage was skipped.
        skipped: why the stage was not run; empty where it was.
    """

    stage: str
    difference: float | None = None
    relative: float | None = None
    tolerance: float = 0.0
    unit: str = ""
    detail: str = ""
    passed: bool | None = None
    skipped: str = ""


@dataclass(frozen=True)
class Report:
    """All stages of one checkpoint."""

    model: str
    transformers: str  # version compared with
    rows: tuple[Row, ...]

    @property
    def verdict(self) -> bool:
        """Whether every stage that was run passed."""
        return all(row.passed is not False for row in self.rows)

    def to_json(self) -> dict[str, Any]:
        """The object ``vlm verify --json`` prints; what is no finite number is null."""
        rows = [
            {k: None if isinstance(v, float) and not isfinite(v) else v for k, v in asdict(row).items()}
            for row in self.rows
        ]
        identical = {"identical": self.verdict}
        return {"model": self.model, "transformers": self.transformers, **identical, "rows": rows}


@dataclass(frozen=True)
class _Case:
    """A prompt both sides are given: at most one image, then a text."""

    name: str
    text: str
    image: Image.Image | None = None
    crops: bool = False


@dataclass(frozen=True)
class _Sight:
    """What transformers' encoder path gave for the image with its crops."""

    pixels_NCHW: Tensor
    patches_NPD: Tensor
    soft_NTD: Tensor


@dataclass(frozen=True)
class _Theirs:
    """Everything kept of transformers' run."""

    ids: dict[str, list[int]]  # by case
    sight: _Sight | None
    logits: dict[str, Tensor]  # by case: [positions, vocab_size]
    answer: list[int]  # greedy, without the stop id
    gaps: list[float]  # between the two likeliest tokens at each step of the answer


def verify(
    model: str | Path,
    image: Image.Image | None = None,
    *,
    question: str = QUESTION,
    tokens: int = 64,
    offline: bool = False,
    on_stage: Callable[[str], None] | None = None,
) -> Report:
    """Compare a checkpoint's run here with its run in transformers.

    Args:
        model: Hub id, folder, ``.gguf`` text model or ``mini``.
        image: what to look at; None draws a picture with text on which pan and scan makes crops.
        question: what both are asked.
        tokens: greedy tokens compared.
        offline: use only what was downloaded before.
        on_stage: told what is done now; a real model takes minutes.

    Raises:
        UsageError: transformers is not installed, or a number out of range.
        CheckpointError: no complete Gemma 3 checkpoint, or one that transformers can't load.
        HubError: the repository can't be had.
        PromptError: the prompt doesn't fit the model's context.
    """
    if tokens < 1:
        raise UsageError(f"tokens must be 1 or more, not {tokens}")
    if not question.strip():
        raise UsageError("the question is empty")
    tell = on_stage or (lambda stage: None)
    version = _import_transformers().__version__
    path = resolve(str(model), offline=offline)
    gguf = path.suffix == ".gguf"
    config = gguf_config(path) if gguf else ModelConfig.from_folder(path)
    tokenizer = GemmaTokenizer.from_gguf(path) if gguf else GemmaTokenizer.from_folder(path)
    picture = load_image(image) if image is not None else sample_picture()
    cases = _cases(config, tokenizer, picture, question)
    with quiet_transformers(), torch.inference_mode():
        tell("loading into transformers")
        peer = _Peer(path, config)
        theirs = peer.run(cases, tokens, tell)
        chat = peer.chat
        del peer
        gc.collect()
        tell("loading here")
        ours = _Ours(Engine.load(path, dtype="fp32"), chat)
        rows = (*_prompt_rows(ours, cases, theirs), *_vision_rows(ours, cases[-1], theirs, tell))
        if all(row.passed is not False for row in rows if row.unit == "ids"):
            rows += tuple(_decoder_rows(ours, cases, theirs, tokens, tell))
        else:  # logits of two different prompts say nothing
            names = ("logits, long text", f"logits, {cases[-1].name}", "greedy text")
            rows += tuple(Row(name, skipped="the prompts differ") for name in names)
    return Report(str(model), version, rows)


def sample_picture() -> Image.Image:
    """A page-like drawing, always the same, wide enough that pan and scan cuts it in two."""
    page = Image.new("RGB", (700, 400), "white")
    draw = ImageDraw.Draw(page)
    for row, text in enumerate(("Invoice No. 4711", "3 apples  1.20", "Total 3.60 EUR")):
        draw.text((30, 30 + 60 * row), text, fill="black", font=ImageFont.load_default(size=36))
    for step in range(64):  # a ramp of colours: every level counts in the pixel stage
        draw.rectangle((30 + 10 * step, 230, 39 + 10 * step, 290), fill=(4 * step, 255 - 4 * step, 128))
    draw.ellipse((40, 310, 110, 380), fill="red", outline="black", width=3)
    draw.polygon([(200, 380), (240, 310), (280, 380)], fill="blue")
    draw.line((330, 380, 660, 310), fill="green", width=5)
    return page


def _cases(
    config: ModelConfig, tokenizer: GemmaTokenizer, picture: Image.Image, question: str
) -> list[_Case]:
    """The prompts; the last is the one whose answer is compared."""
    # As many tokens as leave every local layer blind to the beginning, if the context allows.
    room = min(config.text.sliding_window + BEYOND, config.text.max_position_embeddings // 2)
    repeats = 1 + room // max(1, len(tokenizer.encode_text(FILLER)))
    cases = [_Case("long text", FILLER * repeats + question), _Case("text", question)]
    if config.vision is not None:
        cases += [_Case("one image", question, picture), _Case("image with crops", question, picture, True)]
    return cases


# transformers' side


def _import_transformers() -> Any:
    try:
        import transformers
    except ImportError:
        raise UsageError("verify compares with transformers: pip install 'vlm[verify]'") from None
    return transformers


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """transformers without its own bars and advice, which would mix with ours."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _loaded_by_transformers(path: Path, *, vision: bool) -> tuple[Any, Any]:
    """Processor (a tokenizer for text-only checkpoints) and model in fp32."""
    import transformers

    source: dict[str, Any] = {"pretrained_model_name_or_path": path}
    if path.suffix == ".gguf":
        source = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    reader = transformers.AutoProcessor if vision else transformers.AutoTokenizer
    kind = transformers.Gemma3ForConditionalGeneration if vision else transformers.AutoModelForCausalLM
    try:
        return reader.from_pretrained(**source), kind.from_pretrained(**source, dtype=torch.float32).eval()
    except Exception as error:  # it raises anything, and whatever it is, there is nothing to compare with
        first = str(error).strip().partition("\n")[0]
        raise CheckpointError(
            f"{path}: transformers can't load it ({type(error).__name__}: {first})"
        ) from error


class _Peer:
    """transformers with one checkpoint loaded."""

    def __init__(self, path: Path, config: ModelConfig) -> None:
        self._config = config
        self._stops = sorted(config.stop_ids) if path.suffix == ".gguf" else None  # the file names one
        self._vision = config.vision is not None
        self._reader, self._model = _loaded_by_transformers(path, vision=self._vision)
        self.chat = bool(self._reader.chat_template)  # pretrained checkpoints have none

    def run(self, cases: Sequence[_Case], tokens: int, tell: Callable[[str], None]) -> _Theirs:
        """Ids of every case, logits of the first and the last, the answer to the last."""
        inputs = {case.name: self._inputs(case) for case in cases}
        ids = {name: found["input_ids"][0].tolist() for name, found in inputs.items()}
        long, asked = cases[0].name, cases[-1].name
        tell("transformers: long text")
        kept = torch.tensor(_positions(len(ids[long])))
        logits = {long: self._model(**inputs[long], use_cache=False, logits_to_keep=kept).logits[0]}
        tell("transformers: looking and answering")
        check_fits(len(ids[asked]), self._config.text.max_position_embeddings)
        watched = {"hidden": self._decoder.norm}
        if self._vision:
            inner = self._model.model
            watched |= {"patches": inner.vision_tower, "soft": inner.multi_modal_projector}
        with _first_outputs(watched) as seen:
            room = self._config.text.max_position_embeddings - len(ids[asked])
            answer, gaps = self._greedy(inputs[asked], min(tokens, room))
        sampled_PD = seen["hidden"][0, _positions(len(ids[asked]))]
        logits[asked] = self._model.lm_head(sampled_PD)
        sight = None
        if self._vision:
            pixels_NCHW = inputs[asked]["pixel_values"].float()
            sight = _Sight(pixels_NCHW, seen["patches"].last_hidden_state, seen["soft"])
        return _Theirs(ids, sight, logits, answer, gaps)

    @property
    def _decoder(self) -> Any:
        return self._model.model.language_model if self._vision else self._model.model

    def _inputs(self, case: _Case) -> Any:
        """Ids and pixels by transformers' own processor; raw text where there is no chat template."""
        images = [case.image] if case.image is not None else []
        more = {"images_kwargs": PAN_AND_SCAN} if case.crops else {}
        if not self.chat:
            text = "<start_of_image>" * len(images) + case.text
            if self._vision:
                return self._reader(text=text, images=images or None, return_tensors="pt", **more)
            return self._reader(text, return_tensors="pt")
        content: Any = case.text
        if self._vision:
            content = [*({"type": "image", "image": image} for image in images)]
            content.append({"type": "text", "text": case.text})
        options = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
        if more:
            options["processor_kwargs"] = more  # type: ignore[assignment]
        messages = [{"role": "user", "content": content}]
        return self._reader.apply_chat_template(messages, return_tensors="pt", **options)

    def _greedy(self, inputs: Any, tokens: int) -> tuple[list[int], list[float]]:
        stops = {} if self._stops is None else {"eos_token_id": self._stops}
        plain = {"do_sample": False, "temperature": None, "top_k": None, "top_p": None}
        out = self._model.generate(
            **inputs, **plain, **stops,
            max_new_tokens=tokens, output_logits=True, return_dict_in_generate=True,
        )  # fmt: skip
        answer = out.sequences[0, inputs["input_ids"].shape[1] :].tolist()
        gaps = [float(-step[0].topk(2).values.diff()) for step in out.logits]
        ends = self._model.generation_config.eos_token_id if self._stops is None else self._stops
        ends = ends if isinstance(ends, list) else [ends]
        return (answer[:-1] if answer[-1] in ends else answer), gaps


@contextmanager
def _first_outputs(modules: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """What each module returns the first time it runs: one pass shows every stage."""
    seen: dict[str, Any] = {}

    def keeper(name: str) -> Callable[[Any, Any, Any], None]:
        def keep(module: Any, given: Any, output: Any) -> None:
            seen.setdefault(name, output)

        return keep

    hooks = [module.register_forward_hook(keeper(name)) for name, module in modules.items()]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


# Our side


class _Ours:
    """The engine, asked the same."""

    def __init__(self, engine: Engine, chat: bool) -> None:
        self.engine = engine
        self._chat = chat

    def plan(self, case: _Case) -> PromptPlan:
        """The prompt of a case."""
        parts: list[Part] = [case.text]
        if case.image is not None:
            parts.insert(0, ImagePart(len(self.crops(case))))
        tokens = self.engine.config.mm_tokens_per_image
        if self._chat:
            return plan_chat(self.engine.tokenizer, [Turn("user", tuple(parts))], tokens)
        return plan_raw(self.engine.tokenizer, parts, tokens)

    def crops(self, case: _Case) -> list[Image.Image]:
        """The windows of a case's image."""
        assert case.image is not None
        return crop(case.image, windows_of(case.image, Gemma3() if case.crops else Off()))

    def read(self, plan: PromptPlan, soft_NTD: Tensor | None) -> tuple[Tensor, Any]:
        """Logits at the compared positions, read in chunks as ever, and the filled cache."""
        engine = self.engine
        hidden_TD = engine.embed(plan, soft_NTD)
        cache = engine.new_cache()
        done = [
            engine.decoder(hidden_TD[None, start:end], Queries(start, end, plan.spans), cache)[0]
            for start, end in chunks(0, len(plan.ids), plan.spans)
        ]
        return engine.decoder.logits(torch.cat(done)[_positions(len(plan.ids))]), cache

    def greedy(self, plan: PromptPlan, last_V: Tensor, cache: Any, tokens: int) -> list[int]:
        """Ids of the answer."""
        context = self.engine.config.text.max_position_embeddings
        limits = Limits(self.engine.config.stop_ids, min(tokens, context - len(plan.ids)), context)
        run = Generation(self.engine.decoder, cache, Sampler(Sampling()), limits, plan.ids)
        return [token.id for token in run.run(last_V)]


def _positions(length: int) -> list[int]:
    """Evenly spread positions of a prompt, the first and the last among them."""
    count = min(POSITIONS, length)
    return sorted({round(step * (length - 1) / max(1, count - 1)) for step in range(count)} | {length - 1})


# Comparing


def _prompt_rows(ours: _Ours, cases: Sequence[_Case], theirs: _Theirs) -> list[Row]:
    rows = []
    for case in cases:
        plan = ours.plan(case)
        detail = f"{len(plan.ids)} tokens"
        if plan.spans:
            detail += f", {len(plan.spans)} window" + "s" * (len(plan.spans) > 1)
        rows.append(_compare_ids(f"prompt ids, {case.name}", theirs.ids[case.name], plan.ids, detail))
    if ours.engine.vision is None:
        rows += [Row(f"prompt ids, {name}", skipped=TEXT_ONLY) for name in ("one image", "image with crops")]
    return rows


def _vision_rows(ours: _Ours, case: _Case, theirs: _Theirs, tell: Callable[[str], None]) -> list[Row]:
    if ours.engine.vision is None or theirs.sight is None:
        return [Row(name, skipped=TEXT_ONLY) for name in ("pixels", "encoder", "projector")]
    sight, vision = theirs.sight, ours.engine.vision
    tell("looking")
    pixels_NCHW = to_pixels(ours.crops(case), ours.engine.window_size)
    patches_NPD = torch.cat([vision.encoder(window[None]) for window in sight.pixels_NCHW])
    soft_NTD = vision.projector(sight.patches_NPD)
    return [
        _compare_pixels(sight.pixels_NCHW, pixels_NCHW),
        _compare_numbers("encoder", sight.patches_NPD, patches_NPD),
        _compare_numbers("projector", sight.soft_NTD, soft_NTD),
    ]


def _decoder_rows(
    ours: _Ours, cases: Sequence[_Case], theirs: _Theirs, tokens: int, tell: Callable[[str], None]
) -> Iterator[Row]:
    long, asked = cases[0], cases[-1]
    tell("long text")
    logits, _ = ours.read(ours.plan(long), None)
    yield _compare_numbers(f"logits, {long.name}", theirs.logits[long.name], logits)
    tell("answering")
    plan, soft_NTD = ours.plan(asked), None if theirs.sight is None else theirs.sight.soft_NTD
    logits, _ = ours.read(plan, soft_NTD)
    yield _compare_numbers(f"logits, {asked.name}", theirs.logits[asked.name], logits)
    # The text is ours from the image on.
    own_NTD = ours.engine.encode(ours.crops(asked)) if asked.image is not None else None
    logits, cache = ours.read(plan, own_NTD)
    answer = ours.greedy(plan, logits[-1], cache, tokens)
    text = ours.engine.tokenizer.decode(answer)
    detail = f"{len(answer)} tokens: {text[:60]!r}"
    pairs = zip_longest(answer, theirs.answer)  # one may end where the other goes on
    first = next((i for i, (a, b) in enumerate(pairs) if a != b), None)
    if first is not None:
        gap = theirs.gaps[first]
        detail = f"differs from token {first + 1} on; transformers' two likeliest are {gap:.1e} apart there"
    yield _compare_ids("greedy text", theirs.answer, answer, detail)


def _compare_ids(stage: str, theirs: Sequence[int], ours: Sequence[int], detail: str) -> Row:
    different = sum(a != b for a, b in zip(theirs, ours, strict=False)) + abs(len(theirs) - len(ours))
    return Row(stage, float(different), unit="ids", detail=detail, passed=different == 0)


def _compare_pixels(theirs: Tensor, ours: Tensor) -> Row:
    """At most one uint8 level: resizing rounds once, and two kernels may round a tie apart."""
    if theirs.shape != ours.shape:
        return _other_shape("pixels", theirs, ours)
    levels = (theirs - ours).abs() * LEVELS
    share = float((levels > 0.5).float().mean())
    largest = float(levels.max())
    detail = f"{list(ours.shape)}, {share:.4%} of the values differ by a level"
    return Row("pixels", largest, None, 1.0, "levels", detail, passed=largest <= 1.001)


def _compare_numbers(stage: str, theirs: Tensor, ours: Tensor) -> Row:
    if theirs.shape != ours.shape:
        return _other_shape(stage, theirs, ours)
    difference, scale = float((theirs - ours).abs().max()), float(theirs.abs().max())
    relative = difference / scale if scale > 0.0 else difference
    passed = difference <= TOLERANCE or relative <= TOLERANCE
    detail = f"{list(ours.shape)}, largest value {scale:.3g}"
    return Row(stage, difference, relative, TOLERANCE, detail=detail, passed=passed)


def _other_shape(stage: str, theirs: Tensor, ours: Tensor) -> Row:
    detail = f"shape {list(ours.shape)} here, {list(theirs.shape)} in transformers"
    return Row(stage, detail=detail, passed=False)
