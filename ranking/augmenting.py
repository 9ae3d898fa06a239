"""Item tables in other wordings, for training to read in place of the items' own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from twofold.indexing.errors import InputError
from twofold.indexing.progress import Progress, Silent
from twofold.ranking.backbone import Backbone
from twofold.ranking.items import ItemTables, compute_states, tokenise_items
from twofold.ranking.rewording import Rewording, composed, rewording_of
from twofold.ranking.stored import Form
from twofold.ranking.training_settings import AugmentationSettings


def reworded_tables(
    tables: ItemTables,
    texts: Sequence[str],
    tokenizer: Any,
    backbone: Backbone,
    settings: AugmentationSettings,
    *,
    max_tokens: int | None = None,
    form: Form = "half",
    seed: int = 0,
    rewording: Rewording | None = None,
    progress: Progress | None = None,
) -> tuple[ItemTables, ...]:
    """Return item tables that say the items in other words, as many as the settings want.

    Tokens are other ones, and so are states where `tables` has them; text vectors, factors and
    relations are those of `tables`, so that histories read the same in all. States of each take as
    much memory as those of `tables`.

    Parameters
    ----------
    tables
        The items in their own words.
    texts
        Item texts in order of item numbers.
    tokenizer
        A fast tokenizer of transformers.
    backbone
        Its lower layers make the states.
    settings
        How many wordings of each text, and how far from it.
    max_tokens
        Longest block, specials included; never more than the longest of `tables`.
    form
        How states are kept.
    seed
        Draws the wordings; the first ones are the same, however many are wanted.
    rewording
        Makes the wordings; ``None`` takes :func:`~twofold.ranking.rewording.rewording_of` the
        settings.
    progress
        Told of every step.

    Raises
    ------
    InputError
        If there is not one text an item, or the rewording does not give one text for each.
    MissingDependencyError
        If synonyms are wanted, but ``wn`` or its lexicon is not installed.
    """
    if len(texts) != len(tables.tokens):
        raise InputError(
            f"reworded_tables needs the text of each of {len(tables.tokens)} items, not "
            f"{len(texts)} texts"
        )
    if not settings.variants:
        return ()
    progress = progress or Silent()
    # Blocks no longer than before: what fits into memory with the items' own texts fits with these.
    longest = tables.tokens.longest
    longest = longest if max_tokens is None else min(max_tokens, longest)
    reword = rewording_of(settings) if rewording is None else composed([rewording])
    shape, rng = backbone.shape, np.random.default_rng(seed)
    worded = []
    with progress.step("Rewording items", total=settings.variants) as task:
        for _ in range(settings.variants):
            said = reword(texts, rng)
            worded.append(
                tokenise_items(
                    tokenizer, said, longest, shape.max_tokens, causal=shape.traits.causal
                )
            )
            task.advance()
    return tuple(
        replace(
            tables,
            tokens=tokens,
            states=None
            if tables.states is None
            else compute_states(backbone, tokens, form=form, progress=progress),
            # What is kept of the items' own texts must not stand for these.
            on_demand=None,
            editions=None,
        )
        for tokens in worded
    )


def worded_as(tables: ItemTables, variants: Sequence[ItemTables]) -> tuple[ItemTables, ...]:
    """Return item tables with the tokens and states of others, nothing of which is made again.

    Parameters
    ----------
    tables
        The same items with other factors and relations, those of another label window.
    variants
        Tables whose wordings they shall have.
    """
    return tuple(
        replace(tables, tokens=one.tokens, states=one.states, on_demand=None, editions=None)
        for one in variants
    )


def drawn_tables(
    original: ItemTables,
    variants: Sequence[ItemTables],
    share: float,
    rng: np.random.Generator,
) -> ItemTables:
    """Return the item tables that a batch's candidates are read from.

    Parameters
    ----------
    original
        The items in their own words.
    variants
        The items in other words; where there are none, nothing is drawn from `rng`.
    share
        Chance of other words, in [0, 1]; each of `variants` is as likely.
    rng
        Draws.
    """
    if not variants or rng.random() >= share:
        return original
    return variants[int(rng.integers(len(variants)))]
