from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.ranking.worlds import make_model, make_tables, make_texts, make_tokenizer
from twofold.indexing.errors import InputError
from twofold.ranking.augmenting import drawn_tables, reworded_tables, worded_as
from twofold.ranking.backbone import Backbone
from twofold.ranking.items import ItemTables, StatesOnDemand, compute_states
from twofold.ranking.training_settings import AugmentationSettings

SETTINGS = AugmentationSettings(variants=3, drop_fields=0.2, drop_words=0.3)
ALL = np.arange(14, dtype=np.int64)


@pytest.fixture
def backbone(tiny_bert: Path) -> Backbone:
    return make_model(tiny_bert, 1).backbone


@pytest.fixture
def tables(tiny_bert: Path, backbone: Backbone) -> ItemTables:
    tables = make_tables(tiny_bert)
    return replace(tables, states=compute_states(backbone, tables.tokens, form="single"))


def rows(tables: ItemTables) -> list[list[int]]:
    """Return the tokens of each item."""
    return [tables.tokens.tokens[tables.tokens.rows(ALL[[item]])].tolist() for item in ALL]


def within(some: Sequence[int], whole: Sequence[int]) -> bool:
    """Whether `some` are among `whole` in this order."""
    rest = iter(whole)
    return all(one in rest for one in some)


def test_variants_say_the_same_items_in_other_words(
    tiny_bert: Path, tables: ItemTables, backbone: Backbone
) -> None:
    made = reworded_tables(
        tables, make_texts(), make_tokenizer(tiny_bert), backbone, SETTINGS, form="single"
    )
    assert len(made) == 3
    own = rows(tables)
    said = [rows(one) for one in made]
    assert own not in said
    assert said[0] != said[1] != said[2] != said[0]
    # Some texts are left as they are, the empty one always.
    assert all(any(a == b for a, b in zip(own[1:], one[1:], strict=True)) for one in said)
    assert all(one[0] == own[0] for one in said)
    for one in made:
        assert all(within(a, b) and len(a) > 2 for a, b in zip(rows(one)[1:], own[1:], strict=True))
        assert one.texts is tables.texts
        assert one.factors is tables.factors
        assert one.relations is tables.relations


def test_states_are_those_of_the_new_words(
    tiny_bert: Path, tables: ItemTables, backbone: Backbone
) -> None:
    # The original keeps states under the items' own numbers, where the variants' must not be found.
    keeping = replace(tables, on_demand=StatesOnDemand(backbone, tables.tokens, 1 << 20))
    tokenizer = make_tokenizer(tiny_bert)
    stored = reworded_tables(keeping, make_texts(), tokenizer, backbone, SETTINGS, form="single")
    keeping = replace(keeping, states=None, editions=ALL)
    keeping.token_states(ALL, backbone)
    computed = reworded_tables(keeping, make_texts(), tokenizer, backbone, SETTINGS)
    for with_states, without in zip(stored, computed, strict=True):
        assert with_states.states is not None
        assert (without.states, without.on_demand, without.editions) == (None, None, None)
        assert rows(with_states) == rows(without)
        found, lengths = with_states.token_states(ALL, backbone)
        wanted, again = without.token_states(ALL, backbone)
        assert lengths.tolist() == again.tolist() == with_states.tokens.lengths().tolist()
        np.testing.assert_allclose(found.numpy(), wanted.numpy(), atol=1e-5)


def test_the_form_of_states_is_as_asked(
    tiny_bert: Path, tables: ItemTables, backbone: Backbone
) -> None:
    (made,) = reworded_tables(
        tables,
        make_texts(),
        make_tokenizer(tiny_bert),
        backbone,
        replace(SETTINGS, variants=1),
        form="int8",
    )
    assert made.states is not None
    assert made.states.row_bytes() < 2 * backbone.shape.hidden


def test_a_seed_gives_the_same_wordings_however_many(
    tiny_bert: Path, tables: ItemTables, backbone: Backbone
) -> None:
    def said(variants: int, seed: int) -> list[list[list[int]]]:
        settings = replace(SETTINGS, variants=variants)
        tokenizer = make_tokenizer(tiny_bert)
        made = reworded_tables(tables, make_texts(), tokenizer, backbone, settings, seed=seed)
        return [rows(one) for one in made]

    assert said(2, 5) == said(3, 5)[:2]
    assert said(2, 5) != said(2, 6)


def test_without_variants_nothing_is_made_or_needed(
    tiny_bert: Path, tables: ItemTables, backbone: Backbone
) -> None:
    settings = AugmentationSettings(synonyms=0.5, lexicon="absent")
    tokenizer = make_tokenizer(tiny_bert)
    assert reworded_tables(tables, make_texts(), tokenizer, backbone, settings) == ()


def test_a_callers_rewording_is_taken_and_cut_to_the_longest_block(
    tiny_bert: Path, tables: ItemTables, backbone: Backbone
) -> None:
    def talkative(texts: Sequence[str], rng: np.random.Generator) -> list[str]:
        assert "" not in texts
        return [f"{text} space" + " love" * 40 for text in texts]

    tokenizer = make_tokenizer(tiny_bert)
    longest = int(tables.tokens.lengths().max())
    for limit, wanted in ((None, longest), (60, longest), (5, 5)):
        for one in reworded_tables(
            tables,
            make_texts(),
            tokenizer,
            backbone,
            SETTINGS,
            max_tokens=limit,
            rewording=talkative,
        ):
            assert one.tokens.lengths().tolist() == [2] + [wanted] * 13
            assert int(one.tokens.tokens[-1]) == tokenizer.sep_token_id


def test_a_decoder_has_no_opening_mark(tiny_qwen3: Path) -> None:
    backbone = make_model(tiny_qwen3, 1).backbone
    tables = make_tables(tiny_qwen3)
    tokenizer = make_tokenizer(tiny_qwen3)
    for one in reworded_tables(tables, make_texts(), tokenizer, backbone, SETTINGS):
        assert not one.tokens.opened
        assert rows(one)[0] == [tokenizer.eos_token_id]


def test_texts_of_other_items_are_refused(
    tiny_bert: Path, tables: ItemTables, backbone: Backbone
) -> None:
    with pytest.raises(InputError, match="each of 14 items, not 13 texts"):
        reworded_tables(tables, make_texts(13), make_tokenizer(tiny_bert), backbone, SETTINGS)


def test_another_window_reads_the_same_wordings(
    tiny_bert: Path, tables: ItemTables, backbone: Backbone
) -> None:
    made = reworded_tables(tables, make_texts(), make_tokenizer(tiny_bert), backbone, SETTINGS)
    other = replace(
        make_tables(tiny_bert, seed=4),
        on_demand=StatesOnDemand(backbone, tables.tokens, 1 << 20),
        editions=ALL,
    )
    worded = worded_as(other, made)
    assert len(worded) == 3
    for one, variant in zip(worded, made, strict=True):
        assert one.tokens is variant.tokens
        assert one.states is variant.states
        assert one.factors is other.factors
        assert one.relations is other.relations
        assert (one.on_demand, one.editions) == (None, None)


def test_a_share_of_draws_has_other_words_each_as_often(tables: ItemTables) -> None:
    variants = tuple(replace(tables) for _ in range(3))
    rng = np.random.default_rng(0)
    for share in (0.0, 0.3, 1.0):
        drawn = [drawn_tables(tables, variants, share, rng) for _ in range(3000)]
        assert sum(one is tables for one in drawn) / 3000 == pytest.approx(1 - share, abs=0.03)
        for variant in variants:
            count = sum(one is variant for one in drawn)
            assert count / 3000 == pytest.approx(share / 3, abs=0.03)


def test_without_variants_nothing_is_drawn(tables: ItemTables) -> None:
    rng = np.random.default_rng(0)
    assert drawn_tables(tables, (), 1.0, rng) is tables
    assert rng.random() == np.random.default_rng(0).random()
