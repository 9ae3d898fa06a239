from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ranking.lexicons import LEXICON, add_lexicon
from twofold.indexing.errors import InputError, MissingDependencyError
from twofold.ranking.rewording import (
    FieldDropout,
    Rewording,
    SynonymReplacement,
    WordDropout,
    composed,
    rewording_of,
)
from twofold.ranking.synonyms import WordNet
from twofold.ranking.training_settings import AugmentationSettings

# Letters, marks, punctuation, emoji, spaces of all kinds, Chinese and Japanese.
TEXT = st.text(
    st.one_of(st.characters(), st.sampled_from(" \t\n.!?。！？aZé映画🎬👩‍💻")), max_size=40
)
TEXTS = st.lists(TEXT, max_size=6)
CHANCE = st.sampled_from([0.1, 0.5, 0.9, 1.0])
SEED = st.integers(0, 99)
NONE = AugmentationSettings(drop_fields=0, drop_words=0, synonyms=0)


def wordings(reword: Rewording, text: str, n: int = 400) -> set[str]:
    rng = np.random.default_rng(0)
    return {one for _ in range(n) for one in reword([text], rng)}


def within(some: Sequence[str], whole: Sequence[str]) -> bool:
    """Whether `some` are among `whole` in this order."""
    rest = iter(whole)
    return all(one in rest for one in some)


def cars(word: str) -> tuple[str, ...]:
    return ("auto",) if word.lower() == "car" else ()


def test_each_choice_of_fields_is_a_wording() -> None:
    assert wordings(FieldDropout(0.5), "Heat (1995). Crime, Drama. A heist.") == {
        "Heat (1995). Crime, Drama. A heist.",
        "Heat (1995). Crime, Drama",
        "Heat (1995). A heist.",
        "Crime, Drama. A heist.",
        "Heat (1995)",
        "Crime, Drama",
        "A heist.",
    }


@pytest.mark.parametrize(
    ("text", "fields"),
    [
        ("Who? Me! Yes", {"Who?", "Me!", "Yes"}),
        ("映画。これは！本当？はい。", {"映画。", "これは！", "本当？", "はい。"}),
        ("「はい。」と言う。終", {"「はい。」と言う。", "終"}),
        ("v1.5 of U.S. films", {"v1.5 of U.S", "films"}),
        ("One.\n\nTwo", {"One", "Two"}),
        (". . Wait... what", {". . Wait..", "what"}),
        ("alone.", {"alone."}),
    ],
)
def test_one_field_stays_where_all_would_go(text: str, fields: set[str]) -> None:
    assert wordings(FieldDropout(1.0), text) == fields


def test_each_choice_of_words_is_a_wording() -> None:
    assert wordings(WordDropout(0.5), "the  war\tfilm") == {
        "the  war\tfilm",
        "the  war",
        "the  film",
        "war\tfilm",
        "the",
        "war",
        "film",
    }


def test_a_text_without_spaces_is_one_word() -> None:
    assert wordings(WordDropout(0.9), "千と千尋の神隠し。映画🎬") == {"千と千尋の神隠し。映画🎬"}


@pytest.mark.parametrize("chance", [0.1, 0.4])
def test_as_much_is_left_out_as_was_asked(chance: float) -> None:
    words = [" ".join(["love"] * 50)] * 400
    left = sum(len(one.split()) for one in WordDropout(chance)(words, np.random.default_rng(0)))
    assert left / 20_000 == pytest.approx(1 - chance, abs=0.015)
    fields = [". ".join(["love"] * 50)] * 400
    left = sum(
        len(one.split(". ")) for one in FieldDropout(chance)(fields, np.random.default_rng(0))
    )
    assert left / 20_000 == pytest.approx(1 - chance, abs=0.015)
    said = SynonymReplacement(chance, cars)(["car " * 50] * 400, np.random.default_rng(0))
    assert sum(one.count("auto") for one in said) / 20_000 == pytest.approx(chance, abs=0.015)


@given(TEXTS, CHANCE, SEED)
def test_what_is_left_stands_in_order_and_is_never_nothing(
    texts: list[str], chance: float, seed: int
) -> None:
    for reword in (FieldDropout(chance), WordDropout(chance)):
        said = reword(texts, np.random.default_rng(seed))
        assert len(said) == len(texts)
        for before, after in zip(texts, said, strict=True):
            assert bool(after.strip()) == bool(before.strip())
            assert within(list(after), list(before))
        assert said == reword(texts, np.random.default_rng(seed))
    for before, after in zip(texts, said, strict=True):
        assert within(after.split(), before.split())
        assert chance < 1 or len(after.split()) == min(1, len(before.split()))


@given(TEXTS)
def test_without_a_chance_nothing_changes(texts: list[str]) -> None:
    rng = np.random.default_rng(0)
    steps = (FieldDropout(0.0), WordDropout(0.0), SynonymReplacement(0.0, cars), rewording_of(NONE))
    assert [step(texts, rng) for step in steps] == [texts] * len(steps)


@given(TEXTS, CHANCE, SEED)
def test_synonyms_keep_the_number_of_words_and_the_space_between(
    texts: list[str], chance: float, seed: int
) -> None:
    reword = SynonymReplacement(chance, lambda word: ("x", "yz"))
    said = reword(texts, np.random.default_rng(seed))
    assert said == reword(texts, np.random.default_rng(seed))
    for before, after in zip(texts, said, strict=True):
        assert len(after.split()) == len(before.split())
        assert [one for one in after if one.isspace()] == [one for one in before if one.isspace()]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("(Car, CAR!) a car…", "(Auto, AUTO!) a auto…"),
        ("car-pool scar cars", "car-pool scar cars"),
        ("🎬car🎬 👩‍💻 映画 ❤️", "🎬auto🎬 👩‍💻 映画 ❤️"),
        # The accent belongs to the last letter, so this word is another one.
        ("car\u0301", "car\u0301"),
        ("", ""),
    ],
)
def test_punctuation_and_capitals_stay(text: str, said: str) -> None:
    assert SynonymReplacement(1.0, cars)([text], np.random.default_rng(0)) == [said]


def test_words_of_two_latin_letters_are_not_looked_up() -> None:
    reword = SynonymReplacement(1.0, lambda word: ("other",))
    said = reword(["he is in US 16 사랑 war"], np.random.default_rng(0))
    assert said == ["he is in US 16 other other"]


def test_all_synonyms_are_drawn() -> None:
    reword = SynonymReplacement(0.5, lambda word: ("auto", "machine", "gondola"))
    assert wordings(reword, "car") == {"car", "auto", "machine", "gondola"}


def test_several_are_done_in_order_and_never_see_blank_texts() -> None:
    seen = []

    def shouted(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
        seen.append(list(texts))
        return [text.upper() for text in texts]

    def marked(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
        seen.append(list(texts))
        return [f"{text} or so" for text in texts]

    both = composed([shouted, marked])
    said = both(["", "heat", " \n", "alien"], np.random.default_rng(0))
    assert said == ["", "HEAT or so", " \n", "ALIEN or so"]
    assert seen == [["heat", "alien"], ["HEAT", "ALIEN"]]
    assert both([], np.random.default_rng(0)) == []


def test_a_rewording_that_loses_texts_is_refused() -> None:
    def short(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
        return list(texts[1:])

    def blank(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
        return [texts[0], " "]

    rng = np.random.default_rng(0)
    shortening, blanking = composed([short]), composed([blank])
    with pytest.raises(InputError, match="gave 1 texts for 2"):
        shortening(["heat", "alien"], rng)
    with pytest.raises(InputError, match="blank text for 'alien'"):
        blanking(["heat", "alien"], rng)


def test_settings_leave_out_fields_then_words_then_put_in_synonyms(tmp_path: Path) -> None:
    texts = ["Car race. The film of a car. A movie!"] * 50
    with add_lexicon(tmp_path):
        settings = AugmentationSettings(
            drop_fields=0.3, drop_words=0.2, synonyms=0.6, lexicon=LEXICON
        )
        words_of = WordNet(LEXICON)
        steps: list[Rewording] = [
            FieldDropout(0.3),
            WordDropout(0.2),
            SynonymReplacement(0.6, words_of),
        ]
        said = rewording_of(settings)(texts, np.random.default_rng(0))
        assert said == composed(steps)(texts, np.random.default_rng(0))
        assert said != composed(steps[::-1])(texts, np.random.default_rng(0))
        words = {word.strip(".!") for text in said for word in text.split()}
        assert {"Gondola", "Auto", "car", "movie", "film"} <= words
        with pytest.raises(MissingDependencyError, match="download absent"):
            rewording_of(AugmentationSettings(synonyms=0.1, lexicon="absent"))
        # Without a chance of synonyms no lexicon is needed.
        rewording_of(AugmentationSettings(synonyms=0.0, lexicon="absent"))
