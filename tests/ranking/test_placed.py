"""Tables in the memory of a device: the same scores, whatever came later, and no waiting.

Without a GPU the "device" is main memory, where copies are read just as they would be there; that
nothing waits for a device, and nothing was left behind, shows on one that only knows shapes.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.ranking.worlds import (
    N_ITEMS,
    make_features,
    make_model,
    make_queries,
    make_ranker,
    make_served,
    make_tables,
    randomise,
    trained_by,
)
from twofold.indexing.errors import MissingDependencyError
from twofold.ranking import placed as placed_module
from twofold.ranking import scoring
from twofold.ranking.batches import evidence_batch, history_batch, text_queries
from twofold.ranking.blocks import Blocks
from twofold.ranking.cross import Digest
from twofold.ranking.devices import CPU, device_of, moved
from twofold.ranking.digests import digest_items
from twofold.ranking.items import compute_states
from twofold.ranking.labelled import draw
from twofold.ranking.lists import Lists
from twofold.ranking.losses import loss_of
from twofold.ranking.placed import DeviceRows
from twofold.ranking.ranker import Ranker
from twofold.ranking.recorded import _fitting
from twofold.ranking.relations import Relations
from twofold.ranking.runtime import OnDevice, runnable, runtime_of
from twofold.ranking.scoring import _Source
from twofold.ranking.settings import RankerSettings
from twofold.ranking.stored import ByteRows, FloatRows, Form, empty_rows
from twofold.ranking.training_batch import Reading, batch_logits, read_batch
from twofold.retrieval.candidates import Candidates

META = torch.device("meta")
HISTORIES = [[0, 1, 2, 3, 4, 5], [6], [], [7, 8, 9]]
NEAR = OnDevice("near", "cpu", torch.float32)
on_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no CUDA GPU")
FAMILIES = [("bert", 1), ("bert", 2), ("modernbert", 2), ("qwen3", 3)]


@pytest.fixture(scope="module", params=FAMILIES, ids=lambda one: f"{one[0]}-{one[1]}")
def folder_and_joint(
    request: pytest.FixtureRequest, tiny_bert: Path, tiny_modernbert: Path, tiny_qwen3: Path
) -> tuple[Path, int]:
    folders = {"bert": tiny_bert, "modernbert": tiny_modernbert, "qwen3": tiny_qwen3}
    return folders[request.param[0]], request.param[1]


def _ranker(folder: Path, joint: int, states: str, history: str = "vectors") -> Ranker:
    whole = make_ranker(folder)
    model = randomise(make_model(folder, joint))
    own = replace(whole.settings, item_states=states, joint_layers=joint, history=history)  # type: ignore[arg-type]
    out = replace(whole, model=model, settings=own).with_tables(whole.tables)
    if joint > 1 and states != "off":
        form: Form = "int8" if states == "int8" else "half"
        kept = compute_states(model.backbone, out.tables.tokens, form=form)
        out = replace(out, tables=replace(out.tables, states=kept))
    return out


@pytest.mark.parametrize("history", ["vectors", "text"])
@pytest.mark.parametrize("states", ["auto", "int8", "off"])
def test_scores_are_those_of_tables_in_main_memory(
    folder_and_joint: tuple[Path, int], states: str, history: str
) -> None:
    folder, joint = folder_and_joint
    plain = _ranker(folder, joint, states, history)
    placed = replace(plain, runtime=NEAR)
    asked, served = make_queries([*HISTORIES, [2, 2, 3]]), make_served(5, short=(1, 3))
    wanted = plain.logits(asked, served)
    assert np.isfinite(wanted).any()
    # Twice, for histories are remembered.
    for _ in range(2):
        # States and low-rank relations are in half precision there too: seen 6e-4 at most.
        np.testing.assert_allclose(placed.logits(asked, served), wanted, atol=3e-3)
    spoken = replace(asked.last(0), texts=("war love", "space", "", "opera", "red"))
    np.testing.assert_allclose(
        placed.logits(spoken, served), plain.logits(spoken, served), atol=3e-3
    )


def test_half_precision_is_near(tiny_bert: Path) -> None:
    plain = _ranker(tiny_bert, 2, "auto")
    half = replace(plain, runtime=OnDevice("half", "cpu"))
    asked, served = make_queries(HISTORIES), make_served(4)
    apart = np.abs(half.logits(asked, served) - plain.logits(asked, served)).max()
    # Seen: 0.003, of scores that spread by 1.
    assert 0 < apart < 0.02


def test_many_queries_are_looked_up_in_threads_to_the_same_scores(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    plain = _ranker(tiny_bert, 1, "auto")
    placed, sizes, entries = replace(plain, runtime=NEAR), list[int](), Relations.entries
    asked, served = make_queries([*HISTORIES] * 11), make_served(44, short=(5,))

    def noted(self: Relations, history: np.ndarray, *others: np.ndarray) -> np.ndarray:
        sizes.append(len(history))
        return entries(self, history, *others)

    wanted = plain.logits(asked, served)
    monkeypatch.setattr(Relations, "entries", noted)
    for fewest, parts in ((served.items.size + 1, [44]), (served.items.size, [14, 15, 15])):
        monkeypatch.setattr(placed_module, "SHARED", fewest)
        sizes.clear()
        np.testing.assert_allclose(placed.logits(asked, served), wanted, atol=3e-3)
        assert sorted(sizes) == parts


@pytest.mark.parametrize("form", ["single", "half", "int8"])
def test_rows_that_came_or_changed_stand_behind_the_others(form: Form) -> None:
    rng = np.random.default_rng(0)

    def table(values: np.ndarray) -> FloatRows | ByteRows:
        out = empty_rows(len(values), values.shape[1], form)
        out.put(np.arange(len(values)), values.astype(np.float32))
        assert isinstance(out, FloatRows | ByteRows)
        return out

    values = rng.normal(size=(7, 40))
    rows = DeviceRows.of(table(values), CPU)
    states, where = [(rows, values.copy())], np.arange(7)
    for changed, n in (([2, 7, 8], 9), ([2, 0, 8, 9], 10), ([], 10)):
        values = np.concatenate([values, np.zeros((n - len(values), 40))])
        values[changed] = rng.normal(size=(len(changed), 40))
        where = np.resize(where, n)
        where[changed] = rows.n_held + np.arange(len(changed))
        rows = rows.followed_by(table(values).of(np.array(changed, dtype=np.int64)), where)
        assert rows.n_held == len(rows.built) + 3 + 4 * (n == 10)
        states.append((rows, values.copy()))
    # Each state says what it said.
    for state, wanted in states:
        places = rng.integers(0, len(wanted), size=(3, 5))
        np.testing.assert_allclose(state.read(places), wanted[places], atol=0.03)


def test_runs_of_rows_are_those_of_the_table() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(9, 8)).astype(np.float32)
    rows = DeviceRows.of(FloatRows(values[:6]), CPU)
    starts, lengths = np.array([4, 0, 4, 5]), np.array([2, 3, 1, 0])
    wanted = values[[4, 5, 0, 1, 2, 4]]
    np.testing.assert_array_equal(rows.runs(starts, lengths), wanted)
    # What came later stands behind.
    grown = rows.followed_by(torch.from_numpy(values[6:]), None)
    np.testing.assert_array_equal(grown.runs(starts, lengths), wanted)
    np.testing.assert_array_equal(
        grown.runs(np.array([5, 1]), np.array([4, 2])), values[[5, 6, 7, 8, 1, 2]]
    )


def test_as_many_tokens_are_read_at_once_as_a_device_has_room_for(
    tiny_bert: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = _ranker(tiny_bert, 2, "auto")
    served, chunks = make_served(12), list[int]()
    model, tables = plain.model.to(META), plain.tables
    source = _Source.of(model, tables, served.items, None)
    shape, tokens = model.shape.backbone, tables.tokens.lengths(np.maximum(served.items, 0))
    a_candidate = (16 * shape.hidden + 6 * shape.intermediate) * (tokens.mean() + 1)
    for n in (1, 2, 12):
        room = int(n * served.items.shape[1] * a_candidate) + 1
        monkeypatch.setattr(scoring, "BYTES_ON_DEVICE", room)
        chunks.append(source.chunk_pairs // served.items.shape[1])
    assert chunks == [1, 2, 12]
    monkeypatch.setattr(scoring, "BYTES_ON_DEVICE", 1)
    assert source.chunk_pairs == 1


def test_nothing_waits_for_a_device(folder_and_joint: tuple[Path, int]) -> None:
    """On `meta`, nothing can be asked for: a question would raise, and so would mixed places."""
    folder, joint = folder_and_joint
    tables, n, m = make_tables(folder), 4, N_ITEMS
    served = OnDevice("near", "cpu").prepare(randomise(make_model(folder, joint)))
    asked, items = make_queries(HISTORIES), np.tile(np.arange(m), (n, 1))
    states, lengths = tables.token_states(items.ravel(), served.backbone)
    soft, likeness = tables.soft(items.ravel()), np.full((n, m), np.nan, dtype=np.float32)
    past = history_batch(asked, tables, max_history=3)
    evidence = evidence_batch(asked, items, tables, max_history=3)
    served.to(META)
    blocks: Blocks | Digest
    blocks = served.blocks(moved(states, META), lengths, moved(soft, META))
    if joint == 1:
        blocks = served.digest(blocks)
    with torch.inference_mode():
        out = served.logits(
            blocks,
            served.remember(moved(past, META)),
            torch.empty((n, m, make_features((1, 1)).shape[2]), device=META),
            moved(evidence, META),
            moved(text_queries(likeness), META),
        )
    assert out.device == META
    assert out.shape == (n, m)


@pytest.mark.parametrize("layers", ["joint", "all"])
def test_training_reads_everything_where_the_model_is(tiny_bert: Path, layers: str) -> None:
    model, tables = randomise(make_model(tiny_bert, 2)), make_tables(tiny_bert)
    settings = trained_by(RankerSettings(max_history=3), text_query_share=0.0, layers=layers)
    served, rng = make_served(4), np.random.default_rng(0)
    labels = np.zeros(served.items.shape, dtype=bool)
    labels[:, 0] = True
    lists = Lists(make_queries(HISTORIES), served, labels, labels.sum(axis=1))
    batch = read_batch(model.shape, tables, lists, settings, rng)
    model.train().to(META)
    logits = batch_logits(model, Reading(tables, batch), whole=layers == "all")
    drawn = draw(lists, settings.training.negatives, rng)
    labels_, weights = moved((drawn.labels, drawn.weights), META)
    torch.autograd.backward(loss_of(logits, labels_, weights, settings.training))
    gradients = [one.grad for one in model.backbone.joint[0].parameters()]
    assert all(one is not None and one.device == META for one in gradients)


def test_a_gpu_that_is_not_there_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert "cuda" not in runnable()
    assert device_of("auto", "x") == CPU
    with pytest.raises(MissingDependencyError, match=r"^runtime is 'cuda'.*sees no CUDA GPU"):
        runtime_of("cuda")
    with pytest.raises(MissingDependencyError, match=r"x is 'cuda:1'.*`twofold doctor`"):
        device_of("cuda:1", "x")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert runnable()[-1] == "cuda"
    assert "cuda" not in runnable("cpu")
    assert runtime_of("cuda").name == "cuda"


def test_moving_keeps_what_is_there_and_reaches_into_everything(tiny_bert: Path) -> None:
    tables = make_tables(tiny_bert)
    past = history_batch(make_queries(HISTORIES), tables, max_history=3)
    assert moved(past, CPU) is past
    away = moved((past, None, 3), META)
    assert away[0].events.mask.device == META
    assert isinstance(away[0], type(past))
    assert away[1:] == (None, 3)
    digests = digest_items(randomise(make_model(tiny_bert, 1)), tables).of(np.arange(3))
    assert isinstance(moved(digests, META), Digest)
    assert moved(digests, META).mass.device == META


@pytest.mark.parametrize("runtime", [NEAR, pytest.param("cuda", marks=on_cuda)], ids=str)
def test_a_single_list_is_padded_to_the_same_scores(
    folder_and_joint: tuple[Path, int], runtime: OnDevice | str
) -> None:
    plain = _ranker(*folder_and_joint, "auto")
    own = runtime_of(runtime) if isinstance(runtime, str) else runtime
    placed = replace(plain, runtime=own)
    assert placed._single is not None
    close = 3e-3 if own is NEAR else 0.02
    # Lists and histories shorter and longer than what is recorded first, in any order.
    for history in ([1, 2, 3], [], [4], [7, 8, 9, 1, 2, 3, 5], [6, 6]):
        for m in (N_ITEMS, 3, 1):
            asked, whole = make_queries([history]), make_served(1, short=(0,) if m == 3 else ())
            served = Candidates(
                whole.items[:, :m], whole.scores[:, :m], whole.needed_features()[:, :m]
            )
            found = placed.logits(asked, served)
            np.testing.assert_allclose(found, plain.logits(asked, served), atol=close)


def test_single_lists_of_many_threads_do_not_mix(tiny_bert: Path) -> None:
    placed = replace(_ranker(tiny_bert, 1, "auto"), runtime=NEAR)
    served = make_served(1)
    asked = [make_queries([[one % N_ITEMS, (3 * one) % N_ITEMS]]) for one in range(40)]
    alone = [placed.logits(one, served) for one in asked]
    with ThreadPoolExecutor(8) as pool:
        for _ in range(5):
            together = list(pool.map(lambda one: placed.logits(one, served), asked))
            np.testing.assert_array_equal(np.concatenate(together), np.concatenate(alone))


def test_who_forgets_or_is_levelled_is_not_placed_anew(tiny_bert: Path) -> None:
    placed = replace(_ranker(tiny_bert, 1, "auto"), runtime=NEAR)
    asked, served = make_queries(HISTORIES), make_served(4)
    levelled = placed.levelled(asked, served, 0.2)
    assert levelled.calibration != placed.calibration
    assert placed.forgetting().settings.history_cache_mb == 0
    placed.logits(asked, served)
    for other in (placed.forgetting(), levelled):
        assert other._placed is placed._placed
        assert other._served is placed._served
        np.testing.assert_allclose(
            other.logits(asked, served), placed.logits(asked, served), atol=1e-5
        )
    assert placed._memories.size > 0
    assert placed.forgetting()._memories.size == 0


@pytest.mark.parametrize(
    ("n", "least", "wanted"),
    [(0, 8, 8), (8, 8, 8), (9, 8, 16), (17, 8, 32), (100, 64, 128), (5, 3, 6)],
)
def test_lengths_are_doublings(n: int, least: int, wanted: int) -> None:
    assert _fitting(n, least) == wanted


@on_cuda
@pytest.mark.parametrize("history", ["vectors", "text"])
@pytest.mark.parametrize("states", ["auto", "int8", "off"])
def test_a_gpu_scores_as_main_memory_does(
    folder_and_joint: tuple[Path, int], states: str, history: str
) -> None:
    folder, joint = folder_and_joint
    plain = _ranker(folder, joint, states, history)
    placed = plain.with_runtime("cuda")
    asked, served = make_queries([*HISTORIES, [2, 2, 3]]), make_served(5, short=(1, 3))
    spoken = replace(asked.last(0), texts=("war love", "space", "", "opera", "red"))
    for queries in (asked, asked, spoken):
        wanted, found = plain.logits(queries, served), placed.logits(queries, served)
        np.testing.assert_allclose(found, wanted, atol=0.02)
