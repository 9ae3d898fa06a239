"""Synonyms of words, from a WordNet that the user has downloaded."""

from __future__ import annotations

from twofold.indexing.errors import MissingDependencyError


class WordNet:
    """Knows the synonyms of words: the other members of all synsets that a word is in.

    Of all its senses, since a title does not tell which one is meant (Miller 1995 on synsets). What
    was looked up once is remembered, as catalogues say the same words over and over.

    Parameters
    ----------
    lexicon
        Name of a lexicon that the package ``wn`` has, such as ``"oewn:2024"``.

    Raises
    ------
    MissingDependencyError
        If ``wn`` is not installed, or has no such lexicon.
    """

    def __init__(self, lexicon: str) -> None:
        try:
            import wn
        except ImportError as error:
            raise MissingDependencyError(
                f"synonyms need wn: pip install 'wn>=1.1' && python -m wn download {lexicon}"
            ) from error
        try:
            # Its own normalizer would take "us" for "US"; other forms have no form of a synonym.
            self._lexicon = wn.Wordnet(lexicon, expand="", normalizer=None, search_all_forms=False)
        except wn.Error as error:
            raise MissingDependencyError(
                f"synonyms need the lexicon '{lexicon}', but wn cannot read it from "
                f"{wn.config.database_path} ({error}): python -m wn download {lexicon}"
            ) from error
        self._known: dict[str, tuple[str, ...]] = {}

    def __call__(self, word: str) -> tuple[str, ...]:
        """Return the synonyms of a word in alphabetical order, without those of several words.

        Words in other forms than that of a lexicon's entry, such as plurals, have none.

        Parameters
        ----------
        word
            A word; one with a capital that the lexicon does not know in small letters is looked up
            as it stands.
        """
        if word not in self._known:
            self._known[word] = self._found(word)
        return self._known[word]

    def _found(self, word: str) -> tuple[str, ...]:
        synsets = self._lexicon.synsets(word.lower()) or self._lexicon.synsets(word)
        lemmas = {str(lemma) for synset in synsets for lemma in synset.lemmas()}
        return tuple(
            sorted(
                lemma
                for lemma in lemmas
                if lemma.lower() != word.lower() and "_" not in lemma and len(lemma.split()) == 1
            )
        )
