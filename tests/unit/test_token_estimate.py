"""Estimates beside what real tokenizers count in real text.

The texts are Article 1 of the Universal Declaration of Human Rights in nine languages, and beginnings of this project's
own files. Counts were taken by the tokenizers of mistral-common 1.9.1 (the first, of 32,000 entries, and Tekken) and of
SmolLM2-135M-Instruct; where mistral-common is installed, Tekken counts again here.
"""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import pytest

from spcs_llm.token_estimate import estimate_tokens

ROOT = Path(__file__).parents[2]
ARTICLE = {
    "English": "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood.",
    "German": "Alle Menschen sind frei und gleich an Würde und Rechten geboren. Sie sind mit Vernunft und Gewissen "
    "begabt und sollen einander im Geist der Brüderlichkeit begegnen.",
    "French": "Tous les êtres humains naissent libres et égaux en dignité et en droits. Ils sont doués de raison et "
    "de conscience et doivent agir les uns envers les autres dans un esprit de fraternité.",
    "Spanish": "Todos los seres humanos nacen libres e iguales en dignidad y derechos y, dotados como están de razón "
    "y conciencia, deben comportarse fraternalmente los unos con los otros.",
    "Polish": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw. Są oni obdarzeni "
    "rozumem i sumieniem i powinni postępować wobec innych w duchu braterstwa.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью "  # noqa: RUF001
    "и должны поступать в отношении друг друга в духе братства.",
    "Chinese": "人人生而自由，在尊严和权利上一律平等。他们赋有理性和良心，并应以兄弟关系的精神相对待。",  # noqa: RUF001
    "Japanese": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。"
    "人間は、理性と良心とを授けられており、互いに同胞の精神をもって行動しなければならない。",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। "
    "उन्हें बुद्धि और अन्तरात्मा की देन प्राप्त है "
    "और "
    "परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
}
# Mistral's first tokenizer, Tekken, SmolLM2's
COUNTED = {
    "English": (34, 33, 32),
    "German": (49, 36, 60),
    "French": (54, 42, 60),
    "Spanish": (51, 39, 58),
    "Polish": (71, 54, 81),
    "Russian": (61, 46, 116),
    "Chinese": (44, 39, 74),
    "Japanese": (92, 62, 151),
    "Hindi": (198, 60, 199),
}
FILES = [
    "python-lib/spcs_llm/http/retry.py",
    "resource/sql/cost.sql",
    "SECURITY.md",
    "resource/instance_families.json",
]


@pytest.mark.parametrize("language", ARTICLE)
def test_the_estimate_is_among_what_three_tokenizers_count(language: str) -> None:
    """They differ from each other by up to three times; no estimate can be near all of them."""
    counts = COUNTED[language]
    assert 0.9 * min(counts) <= estimate_tokens(ARTICLE[language]) <= 1.1 * max(counts)


def test_english_is_estimated_within_an_eighth() -> None:
    estimate = estimate_tokens(ARTICLE["English"])
    assert all(abs(estimate / count - 1) <= 1 / 8 for count in COUNTED["English"])


@pytest.mark.exhaustive
@pytest.mark.parametrize("name", FILES)
def test_prose_code_and_data_are_estimated_within_a_fifth(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")[:1500]
    assert abs(estimate_tokens(text) / tekken(text) - 1) <= 1 / 5


def test_the_recorded_counts_are_tekkens() -> None:
    assert {language: tekken(text) for language, text in ARTICLE.items()} == {
        language: counts[1] for language, counts in COUNTED.items()
    }


def tekken(text: str) -> int:
    return len(_tekkenizer().encode(text, False, False))


@functools.cache
def _tekkenizer() -> Any:
    """Loading it takes half a second."""
    tokenizers = pytest.importorskip("mistral_common.tokens.tokenizers.tekken")
    data = Path(pytest.importorskip("mistral_common").__file__).parent / "data"
    return tokenizers.Tekkenizer.from_file(data / "tekken_240911.json")


def test_a_longer_text_never_has_fewer_tokens() -> None:
    text = "".join(ARTICLE.values())
    estimates = [estimate_tokens(text[:end]) for end in range(0, len(text), 7)]
    assert estimates[0] == 0
    assert estimates == sorted(estimates)


@pytest.mark.parametrize("text", ["a", " ", "\n", "é", "😀", "\ud800", "\x00"])
def test_any_text_has_at_least_one_token(text: str) -> None:
    assert estimate_tokens(text) >= 1
