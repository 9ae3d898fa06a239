from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.ranking.worlds import make_model, make_tables, make_texts, make_tokenizer
from twofold.indexing.errors import InputError
from twofold.ranking.items import StatesOnDemand, compute_states, lower_states, tokenise_items
from twofold.ranking.stored import Form, empty_rows


def test_an_empty_text_is_cls_and_sep(tiny_bert: Path) -> None:
    tokenizer = make_tokenizer(tiny_bert)
    tokens = tokenise_items(tokenizer, ["", "space opera", ""], None, 64)
    first, last = tokenizer.cls_token_id, tokenizer.sep_token_id
    assert tokens.lengths().tolist() == [2, 4, 2]
    assert tokens.tokens.tolist() == [first, last, *tokenizer("space opera").input_ids]


def test_items_of_one_text_share_its_tokens_and_its_states(tiny_bert: Path) -> None:
    tokenizer, backbone = make_tokenizer(tiny_bert), make_model(tiny_bert, 1).backbone
    texts = ["love", "red robot", "love", "", "red robot", ""]
    shared = tokenise_items(tokenizer, texts, None, 64)
    assert len(shared.tokens) == 3 + 4 + 2
    states = compute_states(backbone, shared, form="single")
    for item, text in enumerate(texts):
        alone = tokenise_items(tokenizer, [text], None, 64)
        rows = shared.rows(np.array([item]))
        assert shared.tokens[rows].tolist() == alone.tokens.tolist()
        wanted = lower_states(backbone, alone, np.array([0])).numpy()
        np.testing.assert_allclose(states.of(rows).numpy(), wanted, atol=1e-5)


@given(
    st.lists(st.sampled_from(["", "love", "war", "space opera", "the red robot"]), min_size=1),
    st.data(),
)
def test_the_tokens_of_some_items_are_those_they_were(
    tiny_bert: Path, texts: list[str], data: st.DataObject
) -> None:
    whole = tokenise_items(make_tokenizer(tiny_bert), texts, None, 64)
    chosen = data.draw(st.lists(st.integers(0, len(texts) - 1), min_size=1))
    items = np.array(chosen, dtype=np.int64)
    taken, rows = whole.taken(items)
    assert taken.tokens.tolist() == whole.tokens[rows].tolist()
    assert len(taken) == len(items)
    for place, item in enumerate(chosen):
        before = whole.tokens[whole.rows(np.array([item]))]
        assert taken.tokens[taken.rows(np.array([place]))].tolist() == before.tolist()
    # Each text stands there once, however many items have it.
    assert len(taken.tokens) == sum(
        len(whole.rows(np.array([texts.index(one)]))) for one in {texts[item] for item in chosen}
    )


def test_the_default_length_counts_every_item_not_every_text(tiny_bert: Path) -> None:
    tokenizer, long = make_tokenizer(tiny_bert), " ".join(["love"] * 20)
    assert tokenise_items(tokenizer, ["war"] * 99 + [long], None, 64).longest == 4


def test_long_texts_are_cut_and_keep_their_sep(tiny_bert: Path) -> None:
    tokenizer = make_tokenizer(tiny_bert)
    text = "the space robot opera love war"
    tokens = tokenise_items(tokenizer, [text, "love"], 5, 64)
    assert tokens.tokens[:5].tolist() == [
        *tokenizer(text).input_ids[:4],
        tokenizer.sep_token_id,
    ]
    assert tokens.lengths().tolist() == [5, 3]


@pytest.mark.parametrize(
    ("words", "longest"),
    [([2] * 96 + [30] * 4, 4), ([2] * 90 + [30] * 10, 32), ([90] * 10, 64), ([0] * 9, 4), ([], 4)],
)
def test_the_default_length_fits_95_percent_up_to_64(
    tiny_bert: Path, words: list[int], longest: int
) -> None:
    texts = [" ".join(["love"] * count) for count in words]
    tokens = tokenise_items(make_tokenizer(tiny_bert), texts, None, 64)
    wanted = [min(count + 2, longest) for count in words]
    assert tokens.lengths().tolist() == wanted


def test_more_tokens_than_the_encoder_reads_are_refused(tiny_bert: Path) -> None:
    with pytest.raises(InputError, match=r"max_item_tokens is 80.*at most 64"):
        tokenise_items(make_tokenizer(tiny_bert), ["love"], 80, 64)


def test_stored_states_agree_with_those_computed_on_demand(tiny_bert: Path) -> None:
    backbone = make_model(tiny_bert, 1).backbone
    tables = make_tables(tiny_bert, make_texts(40))
    # Small batches, so that items of many lengths land in batches of their own.
    items = np.array([7, 0, 39, 7, 21], dtype=np.int64)
    full, lengths = tables.token_states(items, backbone)
    assert lengths.tolist() == tables.tokens.lengths()[items].tolist()
    assert lengths.tolist() == tables.tokens.lengths(items).tolist()
    assert float(full.std()) > 0.1
    forms: tuple[tuple[Form, float], ...] = (("single", 1e-5), ("half", 1e-2), ("int8", 4e-2))
    for form, close in forms:
        stored = compute_states(backbone, tables.tokens, form=form, batch_tokens=16)
        found, again = replace(tables, states=stored).token_states(items, backbone)
        assert again.tolist() == lengths.tolist()
        np.testing.assert_allclose(found.numpy(), full.numpy(), atol=close)
    for size in (0, 10 * 12 * 32 * 4):
        keeping = replace(tables, on_demand=StatesOnDemand(backbone, tables.tokens, size))
        for _ in range(3):
            found, again = keeping.token_states(items, backbone)
            assert again.tolist() == lengths.tolist()
            np.testing.assert_allclose(found.numpy(), full.numpy(), atol=1e-5)


def test_no_items_have_no_states(tiny_bert: Path) -> None:
    backbone = make_model(tiny_bert, 1).backbone
    tables = make_tables(tiny_bert)
    assert lower_states(backbone, tables.tokens, np.zeros(0, dtype=np.int64)).shape == (0, 32)
    empty = tokenise_items(make_tokenizer(tiny_bert), [], None, 64)
    assert len(compute_states(backbone, empty)) == 0


def test_tables_of_different_lengths_are_refused(tiny_bert: Path) -> None:
    tables = make_tables(tiny_bert)
    with pytest.raises(InputError, match="one length"):
        replace(tables, texts=tables.texts[1:])
    with pytest.raises(InputError, match="beside tokens"):
        replace(tables, states=empty_rows(3, 32, "half"))
