"""A WordNet of a few words, in a folder of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LEXICON = "tiny:1.0"
# Members of each synset.
SYNSETS = (
    ("car", "auto", "machine", "motor vehicle", "motor_car"),
    ("car", "gondola"),
    ("film", "movie"),
    ("US", "America", "United States"),
    ("alone",),
    ("he", "helium"),
    ("映画", "シネマ"),
)
OTHER_FORMS = {"car": "cars"}


def _document() -> str:
    """Return the lexicon in WN-LMF."""
    words = list(dict.fromkeys(word for synset in SYNSETS for word in synset))
    entries = []
    for number, word in enumerate(words):
        form = f'<Form writtenForm="{OTHER_FORMS[word]}"/>' if word in OTHER_FORMS else ""
        senses = "".join(
            f'<Sense id="tiny-{number}-{place}" synset="tiny-s{place}"/>'
            for place, synset in enumerate(SYNSETS)
            if word in synset
        )
        entries.append(
            f'<LexicalEntry id="tiny-w{number}"><Lemma writtenForm="{word}" partOfSpeech="n"/>'
            f"{form}{senses}</LexicalEntry>"
        )
    synsets = (
        f'<Synset id="tiny-s{place}" ili="" partOfSpeech="n"/>' for place in range(len(SYNSETS))
    )
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        "<!DOCTYPE LexicalResource SYSTEM "
        '"http://globalwordnet.github.io/schemas/WN-LMF-1.0.dtd">\n'
        '<LexicalResource xmlns:dc="http://purl.org/dc/elements/1.1/">\n'
        '<Lexicon id="tiny" label="Tiny" language="en" email="a@example.org" license="CC0" '
        f'version="1.0">{"".join(entries)}{"".join(synsets)}</Lexicon>\n</LexicalResource>\n'
    )


@contextmanager
def add_lexicon(folder: Path) -> Iterator[None]:
    """Let wn keep its data in a folder, with the lexicon in it, for as long as this is open."""
    import wn

    # Not asked for its data directory, which would be made in the user's home.
    before = wn.config.database_path.parent
    wn.config.data_directory = folder / "data"
    try:
        file = folder / "tiny.xml"
        file.write_text(_document(), encoding="utf-8")
        wn.add(file, progress_handler=None)
        yield
    finally:
        wn.config.data_directory = before
