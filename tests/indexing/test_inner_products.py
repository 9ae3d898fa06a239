"""Inner products do not depend on what they are computed beside."""

from __future__ import annotations

import numpy as np
import pytest

from twofold.indexing.inner_products import products, products_at


@pytest.mark.parametrize("dimension", [1, 7, 16, 33, 64, 384])
def test_a_product_does_not_depend_on_its_company(dimension: int) -> None:
    rng = np.random.default_rng(5)
    items = rng.standard_normal((501, dimension)).astype(np.float32)
    queries = rng.standard_normal((9, dimension)).astype(np.float32)
    items[400] = items[3]
    together = products(queries, items)
    np.testing.assert_allclose(together, queries @ items.T, rtol=1e-4, atol=1e-4)
    np.testing.assert_array_equal(together[:, 400], together[:, 3])
    for row in range(len(queries)):
        for end in (row + 1, row + 3):
            np.testing.assert_array_equal(
                products(queries[row:end], items)[0], together[row], err_msg=f"{row}:{end}"
            )
        np.testing.assert_array_equal(products(queries, items[row:])[:, 0], together[:, row])


@pytest.mark.parametrize("m", [0, 1, 3, 4, 18])
def test_products_with_items_of_ones_own_are_the_same(m: int) -> None:
    rng = np.random.default_rng(m)
    items = rng.standard_normal((90, 37)).astype(np.float32)
    queries = rng.standard_normal((6, 37)).astype(np.float32)
    asked = rng.integers(-1, 90, (6, m))
    everything = products(queries, items)
    wanted = np.where(asked < 0, 0, np.take_along_axis(everything, np.maximum(asked, 0), axis=1))
    np.testing.assert_array_equal(products_at(queries, items, asked), wanted)


def test_products_read_what_may_not_be_written_and_what_is_no_block() -> None:
    rng = np.random.default_rng(1)
    wide = rng.standard_normal((50, 80)).astype(np.float32)
    items, queries = wide[:, ::2], wide[:5, 1::2]
    mapped = np.ascontiguousarray(items)
    mapped.flags.writeable = False
    np.testing.assert_array_equal(products(queries, items), products(queries, mapped))
    # As in a FAISS file, behind a head of 45 bytes.
    odd = np.frombuffer(bytes(45) + mapped.tobytes(), np.uint8)[45:].view(np.float32)
    np.testing.assert_array_equal(products(queries, items), products(queries, odd.reshape(50, 40)))
    assert products(queries[:0], mapped).shape == (0, 50)
    assert products(queries, mapped[:0]).shape == (5, 0)
