"""The model card: what a checkpoint is, how it was made and what it scores, from files and figures only."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from vlm.config import ModelConfig
from vlm.evaluation.scores import READING, Outcome, Score, auroc, fairly_asked
from vlm.training.sheet import Grid, captioned

CARD, MISTAKES = "README.md", "mistakes.png"
_GRID = Grid(columns=4, cell=260, caption=98, letters=11, wrap=40, most=7)


def write_card(folder: Path, scores: Sequence[Score], head: dict[str, Any]) -> None:
    """Write the card and the picture of its mistakes into a checkpoint's folder.

    Args:
        folder: of the checkpoint; its ``training.json`` (from ``vlm train export``) tells the stages.
        scores: of all tasks.
        head: ``split``, ``seed`` and ``limit`` of the evaluation.
    """
    wrong = _mistakes(scores)
    if wrong:
        mistakes_sheet(wrong).save(folder / MISTAKES)
    parts = [
        "# mini",
        "A small Gemma 3 with vision in the Hub's own format, trained for this package on generated pages. "
        "Apache 2.0.\nThis card is written by `vlm eval card`.",
        _shape(ModelConfig.from_folder(folder), folder),
        _recipe(folder / "training.json"),
        "## What it scores",
        f"{head['limit']} images a task, {head['split']} split (fonts, templates and sampled words that "
        f"training never saw), seed {head['seed']}, greedy.",
        _table(scores),
        f"Confidence (mean token probability) tells right from wrong answers with an AUROC of "
        f"{auroc(fairly_asked(scores)):.2f}, the probability of the whole answer with "
        f"{auroc(fairly_asked(scores), lambda outcome: outcome.probability):.2f}.",
        "## Mistakes",
        f"![Wrong answers]({MISTAKES})" if wrong else "None were made.",
        "## What it can't do",
        "Handwriting, photographs, scripts other than Latin, letters under about 13 pixels in a window, "
        "knowledge of the world, reasoning, long conversations. It answers in the words on the page.",
    ]
    (folder / CARD).write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _shape(config: ModelConfig, folder: Path) -> str:
    vision, text = config.vision, config.text
    assert vision is not None
    size = (folder / "model.safetensors").stat().st_size
    return "\n".join(
        (
            "| | |",
            "|---|---|",
            f"| vision | SigLIP, {vision.image_size} px, patch {vision.patch_size}, "
            f"{vision.num_hidden_layers} layers, {vision.hidden_size} wide, "
            f"{config.mm_tokens_per_image} soft tokens a window |",
            f"| text | Gemma 3 decoder, {text.num_hidden_layers} layers, {text.hidden_size} wide, "
            f"{text.num_attention_heads} heads over {text.num_key_value_heads}, {text.vocab_size} tokens |",
            f"| weights | {size / 2 / 1e6:.1f}M parameters, {size / 1e6:.1f} MB in bfloat16 |",
        )
    )


def _recipe(record: Path) -> str:
    """The stages as their logs tell them."""
    rows = [
        "## How it was made",
        "In many sittings, each of which raised the rates again; `make mini` runs the recipe without that.",
    ]
    stages = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else []
    if stages:
        table = ["| stage | hours | steps |", "|---|---|---|"]
        table += [f"| {s['stage']} | {s['hours']:.2f} | {s['steps']} |" for s in stages]
        table.append(
            f"| in all | {sum(s['hours'] for s in stages):.2f} | {sum(s['steps'] for s in stages)} |"
        )
        rows.append("\n".join(table))
    rows.append(
        "Pages are generated without end (`vlm train data --preview sheet.png` shows them): lines of text, "
        "documents typeset by Typst, shapes and charts, half of them degraded. Fonts, templates and sampled "
        "words of the held-out split never appear in training; labels and common goods are shared."
    )
    return "\n\n".join(rows)


def _table(scores: Sequence[Score]) -> str:
    rows = ["| task | measured | wanted | says it is not in the image |", "|---|---|---|---|"]
    for score in scores:
        if score.task in READING:
            measured, bar = f"CER {score.cer:.1%}, exact {score.right:.1%}", f"CER ≤ {score.task.bar:.0%}"
        else:
            measured = f"{score.right:.1%}"
            over = f"{score.task.over} + " if score.task.over else ""
            bar = f"≥ {over}{100 * score.task.bar:.0f} %" if score.task.bar else ""
        rows.append(f"| {score.task.title} | {measured} | {bar} | {score.refused:.1%} |")
    return "\n".join(rows)


def _mistakes(scores: Sequence[Score], each: int = 2) -> list[Outcome]:
    """The first wrong answers of every task."""
    return [
        outcome
        for score in scores
        for outcome in [outcome for outcome in score.outcomes if not outcome.right][:each]
    ]


def mistakes_sheet(outcomes: Sequence[Outcome]) -> Image.Image:
    """Pictures of cases with question, truth and what was said."""
    pictures = [
        (
            outcome.case.images[0],
            (outcome.case.question, f"truth: {outcome.case.answer!r}", f"said: {outcome.said!r}"),
        )
        for outcome in outcomes
    ]
    return captioned(pictures, _GRID)
