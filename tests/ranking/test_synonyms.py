from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from tests.ranking.lexicons import LEXICON, add_lexicon
from twofold.indexing.errors import MissingDependencyError
from twofold.ranking.synonyms import WordNet


@pytest.fixture(scope="module", autouse=True)
def _lexicon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with add_lexicon(tmp_path_factory.mktemp("wn")):
        yield


@pytest.mark.parametrize(
    ("word", "synonyms"),
    [
        # Of both its senses; "motor vehicle" and "motor_car" are several words.
        ("car", ("auto", "gondola", "machine")),
        # Only of the sense that they share.
        ("auto", ("car", "machine")),
        ("Car", ("auto", "gondola", "machine")),
        ("CAR", ("auto", "gondola", "machine")),
        # A plural is no lemma, though the lexicon has it as another form of one.
        ("cars", ()),
        ("us", ()),
        ("US", ("America",)),
        ("America", ("US",)),
        ("alone", ()),
        ("unheard", ()),
        ("映画", ("シネマ",)),
        ("🎬", ()),
        ("", ()),
    ],
)
def test_synonyms_are_the_other_single_words_of_all_senses(
    word: str, synonyms: tuple[str, ...]
) -> None:
    assert WordNet(LEXICON)(word) == synonyms


def test_a_word_is_looked_up_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import wn

    asked: list[str] = []
    real = wn.Wordnet.synsets

    def counted(self: wn.Wordnet, form: str) -> list[wn.Synset]:
        asked.append(form)
        return real(self, form)

    monkeypatch.setattr(wn.Wordnet, "synsets", counted)
    words = WordNet(LEXICON)
    found = [words(word) for word in ("car", "auto", "car", "auto", "car")]
    assert asked == ["car", "auto"]
    assert found[0] == found[2] == found[4]
    WordNet(LEXICON)("car")
    assert asked == ["car", "auto", "car"], "nothing is kept beyond the object"


@pytest.mark.parametrize("name", ["absent:1.0", "tiny:2.0"])
def test_a_missing_lexicon_is_named_with_the_command(name: str) -> None:
    with pytest.raises(MissingDependencyError, match=rf"'{name}'.*: python -m wn download {name}$"):
        WordNet(name)


def test_a_missing_package_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wn", None)
    with pytest.raises(
        MissingDependencyError,
        match=r"pip install 'wn>=1\.1' && python -m wn download oewn:2024$",
    ):
        WordNet("oewn:2024")
