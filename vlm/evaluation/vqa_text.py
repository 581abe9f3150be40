"""What VQA's evaluators do to a text before two are compared (TextVQA's among them).

Source: the VQA evaluation tool (github.com/GT-Vision-Lab/VQA, ``vqaEval.py``) as facebookresearch/mmf
``EvalAIAnswerProcessor`` runs it on TextVQA. Two of its oddities never show and are left out: a
contraction it misspells ("somebody'd") and entries with capitals, which lower-cased text can't meet.
"""

from __future__ import annotations

import re

_DIGITS = {"none": "0", **{word: str(n) for n, word in enumerate(
    ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"))}}  # fmt: skip
_ARTICLES = frozenset({"a", "an", "the"})
_MARKS = ';/[]"{}()=+\\_-><@`!'  # commas and question marks are gone by then
_PERIOD = re.compile(r"\.(?!\d)")  # not the one of 3.50

_CONTRACTIONS = """
    ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't
    he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am might've mightn't mightn't've
    must've mustn't needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't
    shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've someone'll someone's
    something'd something'd've something'll that's there'd there'd've there're there's they'd they'd've
    they'll they're they've 'twas wasn't we'd've we've weren't what'll what're what's what've when's
    where'd where's where've who'd who'd've who'll who's who've why'll why're why's won't would've
    wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're you've
"""
# Each contraction by its spellings with one apostrophe left out: "dont", "couldnt've", "couldn'tve".
_SPELT = {
    word[:at] + word[at + 1 :]: word
    for word in _CONTRACTIONS.split()
    for at, char in enumerate(word)
    if char == "'"
}


def normalised(text: str) -> str:
    """Lower case, no marks, no articles, numbers up to ten as digits, apostrophes where they belong."""
    text = text.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    text = text.replace("\n", " ").replace("\t", " ").strip()
    apart = text
    for mark in _MARKS:
        beside_space = f"{mark} " in text or f" {mark}" in text
        apart = apart.replace(mark, "" if beside_space else " ")
    words = (_DIGITS.get(word, word) for word in _PERIOD.sub("", apart).split())
    return " ".join(_SPELT.get(word, word) for word in words if word not in _ARTICLES)
