"""How an answer, a transcription, a set of fields and a place are scored, each by its published definition.

Nothing here knows a model or an image. A score of one case lies in 0 to 1 and is averaged by whoever
has the cases; error rates and the fields' F1 are computed over all cases at once (micro), as their
sources do, so a long page counts more than a short one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import jiwer
from rapidfuzz.distance import Levenshtein

from vlm.evaluation.vqa_text import normalised

Box = tuple[int, int, int, int]  # left, top, right, bottom in pixels; right and bottom not included
ANLS_THRESHOLD = 0.5  # arXiv 1907.00490, section 5: beyond, an answer is wrong and not misread
RELAXED = 0.05  # arXiv 2203.10244, section 5.1
_ENOUGH = 3  # of the other annotators, for the whole point: arXiv 1505.00468, section 3


def same(truth: str, said: str) -> bool:
    """Equal after trimming."""
    return truth.strip() == said.strip()


def exact(answers: Sequence[str], said: str) -> float:
    """1 where one of the answers was given, after trimming; capitals count."""
    return float(any(same(answer, said) for answer in answers))


def anls(answers: Sequence[str], said: str) -> float:
    """Average Normalised Levenshtein Similarity, of one question.

    The best over the answers of 1 - NL, and 0 where NL (edits over the longer one's length) is 0.5 or
    more; capitals and runs of white space don't count.

    Source: Biten et al., "Scene Text Visual Question Answering" (arXiv 1907.00490), section 5,
    equation 1; lower case and white space as in the DocVQA challenge's own script.
    """
    return max((_similarity(_folded(answer), _folded(said)) for answer in answers), default=0.0)


def _similarity(truth: str, said: str) -> float:
    distance = Levenshtein.normalized_distance(truth, said)
    return 1 - distance if distance < ANLS_THRESHOLD else 0.0


def _folded(text: str) -> str:
    return " ".join(text.lower().split())


def textvqa(answers: Sequence[str], said: str) -> float:
    """Agreement with the people who answered, usually ten.

    Each is left out once; of the others, three who said the same are enough for a whole point.

    Source: VQA (arXiv 1505.00468), section 3, as TextVQA's evaluator (arXiv 1904.08920; ``mmf``,
    ``TextVQAAccuracyEvaluator``) averages it, on texts normalised by ``vqa_text``.
    """
    people, given = [normalised(answer) for answer in answers], normalised(said)
    if not people:
        return 0.0
    agreeing = people.count(given)
    if not agreeing:
        return 0.0
    without = min(1.0, agreeing / _ENOUGH)  # somebody who said something else is left out
    within = min(1.0, (agreeing - 1) / _ENOUGH)
    return (agreeing * within + (len(people) - agreeing) * without) / len(people)


def relaxed(answers: Sequence[str], said: str) -> float:
    """ChartQA's relaxed correctness: numbers within 5 % of the answer's, other texts equal but for capitals.

    A percentage is a number (12% is 0.12); an answer of 0 has no 5 % and must be met as a text.

    Source: Masry et al., "ChartQA" (arXiv 2203.10244), section 5.1; how texts become numbers as in
    google-research/pix2struct ``metrics.py:relaxed_correctness``.
    """
    return float(any(_relaxed(answer.strip(), said.strip()) for answer in answers))


def _relaxed(truth: str, said: str) -> bool:
    wanted, got = _number(truth), _number(said)
    if got is not None and wanted:
        return abs(got - wanted) / abs(wanted) <= RELAXED
    return truth.lower() == said.lower()


def _number(text: str) -> float | None:
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        return None
    return value if math.isfinite(value) else None  # "inf" and "nan" are words


def cer(truths: Sequence[str], said: Sequence[str]) -> float:
    """Character errors over characters of truth; any run of white space is one space.

    Line breaks don't count, because readers differ in where they end a line and leave one empty.

    Args:
        truths: at least one that isn't empty.
        said: as many.
    """
    pairs = _inked(truths, said)
    return float(jiwer.cer([truth for truth, _ in pairs], [text for _, text in pairs]))


def wer(truths: Sequence[str], said: Sequence[str]) -> float:
    """Word errors over words of truth, as ``cer``."""
    pairs = _inked(truths, said)
    return float(jiwer.wer([truth for truth, _ in pairs], [text for _, text in pairs]))


def _inked(truths: Sequence[str], said: Sequence[str]) -> list[tuple[str, str]]:
    """The pairs whose truth holds something: nothing can be divided by the characters of the others."""
    pairs = zip(truths, said, strict=True)
    spaced = ((" ".join(truth.split()), " ".join(text.split())) for truth, text in pairs)
    return [(truth, text) for truth, text in spaced if truth]


Fields = Mapping[str, str | None]


def field_f1(truths: Sequence[Fields], said: Sequence[Fields]) -> float:
    """F1 over pairs of key and value, all documents together; a null value is no pair.

    So a value that was invented for a key without one counts as wrong, and a null says nothing.
    Values are equal after trimming.

    Source: field-level F1 as in Donut (arXiv 2111.15664, section 4.2), from CORD and SROIE.

    Returns:
        2 TP / (2 TP + FP + FN); 1 where there is nothing to find and nothing was found.
    """
    right = wanted = given = 0
    for truth, answer in zip(truths, said, strict=True):
        want, got = _pairs(truth), _pairs(answer)
        right, wanted, given = right + len(want & got), wanted + len(want), given + len(got)
    return 2 * right / (wanted + given) if wanted + given else 1.0


def _pairs(fields: Fields) -> set[tuple[str, str]]:
    return {(key, value.strip()) for key, value in fields.items() if value is not None}


def evidence_hit(truths: Sequence[Box], top: Box) -> float:
    """1 where the top box holds the centre of a true box.

    An answer over two lines has two true boxes; one of them is enough. A box around the whole page
    holds every centre, so the share of the page it covers belongs beside this rate.
    """
    left, upper, right, lower = top
    centres = (((box[0] + box[2]) / 2, (box[1] + box[3]) / 2) for box in truths)
    return float(any(left <= x < right and upper <= y < lower for x, y in centres))
