"""Other wordings of item texts: fields and words left out, synonyms, and what a caller brings."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from twofold.indexing.errors import InputError
from twofold.ranking.synonyms import WordNet
from twofold.ranking.training_settings import AugmentationSettings

# A separator follows something that can be left out, so no field is empty. Chinese and Japanese
# sentences stand side by side without a space.
_BETWEEN_FIELDS = re.compile(r"((?<=\S)\.\s+|(?<=[!?。！？])\s+|(?<=[。！？])(?=\w))")
_BETWEEN_WORDS = re.compile(r"(\s+)")
# Words of one or two Latin letters are function words and abbreviations, whose entries in a lexicon
# mean something else: "he" is helium there and "in" an inch. Other scripts take more bytes.
FEWEST_BYTES = 3


class Rewording(Protocol):
    """Says texts in other words.

    Any function from texts to as many texts is one, for instance back-translation (Sennrich et al.
    2016), for which the caller brings the two translators:

    >>> def back_translated(texts, rng):
    ...     return to_english(to_german(texts))
    >>> both = composed([back_translated, rewording_of(settings)])
    >>> reworded_tables(..., rewording=both)
    """

    def __call__(self, texts: Sequence[str], rng: np.random.Generator, /) -> list[str]:
        """Return one wording of each text, in order; the text itself where it has no other.

        Parameters
        ----------
        texts
            Texts, none of them blank.
        rng
            All chance comes from it, so that the same wordings can be made again.
        """
        ...


def rewording_of(settings: AugmentationSettings) -> Rewording:
    """Return what the settings ask for: fields left out, then words, then synonyms.

    Parameters
    ----------
    settings
        Chances; what has none is not done.

    Raises
    ------
    MissingDependencyError
        If synonyms are wanted, but ``wn`` or its lexicon is not installed.
    """
    steps: list[Rewording] = []
    if settings.drop_fields:
        steps.append(FieldDropout(settings.drop_fields))
    if settings.drop_words:
        steps.append(WordDropout(settings.drop_words))
    if settings.synonyms:
        steps.append(SynonymReplacement(settings.synonyms, WordNet(settings.lexicon)))
    return composed(steps)


def composed(rewordings: Sequence[Rewording]) -> Rewording:
    """Return the rewording that does several, one after the other.

    Blank texts are left as they are, and none of the rewordings sees them.

    Parameters
    ----------
    rewordings
        What is done, in this order. The result raises :class:`InputError` where one of them gives
        another number of texts than it was given, or a blank one.
    """
    return _Composed(tuple(rewordings))


@dataclass(frozen=True)
class FieldDropout:
    """Leaves out fields and sentences of a text, never all.

    They end with a full stop, an exclamation or a question mark before a space; Chinese and
    Japanese ones end without a space.

    Parameters
    ----------
    chance
        Chance of each to be left out; where all would be, one drawn at random stays.
    """

    chance: float

    def __call__(self, texts: Sequence[str], rng: np.random.Generator, /) -> list[str]:
        """Return the texts without some fields, what is left in order."""
        return _thinned(texts, _BETWEEN_FIELDS, self.chance, rng)


@dataclass(frozen=True)
class WordDropout:
    """Leaves out words of a text, never all (random deletion, Wei and Zou 2019).

    Words stand between spaces. A text that is written without spaces, as Chinese and Japanese are,
    is one word and is left as it is.

    Parameters
    ----------
    chance
        Chance of each word to be left out; where all would be, one drawn at random stays.
    """

    chance: float

    def __call__(self, texts: Sequence[str], rng: np.random.Generator, /) -> list[str]:
        """Return the texts without some words, what is left in order."""
        return _thinned(texts, _BETWEEN_WORDS, self.chance, rng)


@dataclass(frozen=True)
class SynonymReplacement:
    """Puts synonyms in place of words (after Wei and Zou 2019).

    Punctuation around a word stays, and so does its capitalisation: ``"(Cars,"`` becomes
    ``"(Autos,"``. Words of one or two Latin letters are not replaced.

    Parameters
    ----------
    chance
        Chance of each word to be replaced, where it has a synonym.
    synonyms
        Gives the synonyms of a word; each is a single word and as likely as the others.
    """

    chance: float
    synonyms: Callable[[str], Sequence[str]]

    def __call__(self, texts: Sequence[str], rng: np.random.Generator, /) -> list[str]:
        """Return the texts with some words replaced, as many words as before."""
        out = []
        for text in texts:
            words = _BETWEEN_WORDS.split(text)
            drawn = rng.random((len(words), 2))
            for place in np.flatnonzero(drawn[:, 0] < self.chance):
                words[place] = self._replaced(words[place], drawn[place, 1])
            out.append("".join(words))
        return out

    def _replaced(self, word: str, drawn: float) -> str:
        """Return a word, or space between words, with a synonym in it where it has one."""
        before, bare, after = _bare(word)
        if len(bare.encode("utf-8", "surrogatepass")) < FEWEST_BYTES:
            return word
        found = self.synonyms(bare)
        if not found:
            return word
        return before + _capitalised(found[int(drawn * len(found))], bare) + after


@dataclass(frozen=True)
class _Composed:
    """Several rewordings, checked after each."""

    rewordings: tuple[Rewording, ...]

    def __call__(self, texts: Sequence[str], rng: np.random.Generator, /) -> list[str]:
        out = list(texts)
        there = [place for place, text in enumerate(out) if text.strip()]
        worded = [out[place] for place in there]
        for reword in self.rewordings:
            before, worded = worded, list(reword(worded, rng))
            if len(worded) != len(before):
                raise InputError(
                    f"a rewording gave {len(worded)} texts for {len(before)}; return one text for "
                    "each, in order"
                )
            for old, new in zip(before, worded, strict=True):
                if not new.strip():
                    raise InputError(
                        f"a rewording gave a blank text for '{old}'; return the text itself where "
                        "it has no other wording"
                    )
        for place, text in zip(there, worded, strict=True):
            out[place] = text
        return out


def _thinned(
    texts: Sequence[str], between: re.Pattern[str], chance: float, rng: np.random.Generator
) -> list[str]:
    """Return texts without some of the pieces that a pattern cuts them into, never without all."""
    # Pieces at even places, at odd ones what stands between them.
    cut = [between.split(text.strip()) if text.strip() else [] for text in texts]
    counts = np.array([(len(parts) + 1) // 2 for parts in cut], dtype=np.int64)
    kept = _kept(counts, chance, rng).tolist()
    out = []
    start = 0
    for text, parts, count in zip(texts, cut, counts.tolist(), strict=True):
        here = kept[start : start + count]
        start += count
        if all(here):
            out.append(text)
            continue
        # A piece brings what follows it, the last one that is left nothing.
        left = [place for place, stays in enumerate(here) if stays]
        spaced = [parts[2 * place] + parts[2 * place + 1] for place in left[:-1]]
        out.append("".join([*spaced, parts[2 * left[-1]]]))
    return out


def _kept(
    counts: npt.NDArray[np.int64], chance: float, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Return which pieces stay, text after text, at least one of each text that has any."""
    kept = rng.random(int(counts.sum())) >= chance
    spared = np.cumsum(counts) - counts + rng.integers(np.maximum(counts, 1))
    owners = np.repeat(np.arange(len(counts)), counts)
    emptied = (np.bincount(owners[kept], minlength=len(counts)) == 0) & (counts > 0)
    kept[spared[emptied]] = True
    return np.asarray(kept)


def _bare(word: str) -> tuple[str, str, str]:
    """Return what stands before a word's first letter or digit, the word, what stands after it.

    Marks belong to the letters they stand at, so that accents and vowel signs are not cut off.
    """
    inside = [
        place
        for place, one in enumerate(word)
        if one.isalnum() or unicodedata.category(one).startswith("M")
    ]
    if not inside:
        return word, "", ""
    first, end = inside[0], inside[-1] + 1
    return word[:first], word[first:end], word[end:]


def _capitalised(synonym: str, word: str) -> str:
    """Return a synonym in capitals, or with a capital, where the word is written so."""
    if word.isupper():
        return synonym.upper()
    if word[0].isupper():
        return synonym[0].upper() + synonym[1:]
    return synonym
