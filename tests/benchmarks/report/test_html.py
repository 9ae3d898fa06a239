from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from benchmarks.__main__ import main
from benchmarks.harness.stale import Standing
from benchmarks.report.html import page
from benchmarks.report.markup import VOID
from benchmarks.report.recorded import Recorded
from tests.benchmarks.report.rows import around, behind, quality, told, write
from twofold.indexing.errors import InputError

OTHERS = {"Faster": "row bad", "Alike": "row", "popularity": "row good"}


SERVED = [
    *("8 clients, new histories · p50", "41.5 [40.0, 43.0]", "63.5", "7.50 ms (75%)"),
    *("learned order (text)", "812.0", "5.5 [5.0, 6.0]"),
]
BUILT = ["1,000,000", "123.0", "2,001", "factors, s", "61.5", "1.17 times", "1.06 times"]


class Read(HTMLParser):
    """Reads a page, and complains of tags that are not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.figures: list[dict[str, str]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag in VOID:
            return
        self.open.append(tag)
        if tag == "figure":
            self.figures.append({"caption": "", "alt": ""})
        if tag == "svg" and "figure" in self.open:
            self.figures[-1]["alt"] = dict(attrs)["aria-label"] or ""

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "figcaption" in self.open:
            self.figures[-1]["caption"] += data


def endtoend() -> list[dict[str, Any]]:
    ends = {f"p50_ms_{end}": 40.0 + 3 * n for n, end in enumerate(("low", "high"))}
    times = {"p50_ms": 41.5, "p95_ms": 52.5, "p99_ms": 63.5, "requests_a_second": 170.0}
    parts = [("stage one", "learned order", 2.5), ("stage two", "stage two", 7.5)]
    return [
        told("endtoend", "8 clients", clients=8, histories="new", **times, **ends),
        told("endtoend", "twice", clients=8, **{**times, "p50_ms": 99.9}),
        *(
            told(
                "endtoend",
                "stages",
                stage=stage,
                part=part,
                of=["text"] if part == "learned order" else [],
                mean_ms=mean,
                median_ms=mean,
                p95_ms=3 * mean,
            )
            for stage, part, mean in [*parts, ("whole", "whole", 10.0)]
        ),
        told("endtoend", "memory", artefact_mb=812.0, rss={"median": 5.5, "low": 5.0, "high": 6.0}),
    ]


def build() -> list[dict[str, Any]]:
    rows = []
    for name, n, spent, peak in (("10k", 10_000, 3.5, 500.0), ("1M", 1_000_000, 123.0, 2001.0)):
        about = {"dataset": "grown", "made": "copies", "n_interactions": n}
        step = {"kind": "step", "step": "factors", "seconds": spent / 2, "peak_mb": None}
        rows += [
            told("build", name, **about, **step),
            told("build", name, **about, kind="whole", seconds=spent, peak_mb=peak),
        ]
    return [*rows, told("build", "1M", dataset="grown", kind="library", made="copies")]


def whole_build() -> dict[str, Any]:
    about = {"kind": "whole", "made": "all", "n_interactions": 99, "peak_mb": 9.0}
    return told("build", "libraries", **about, seconds=8.0, ratio=1.17, ratio_inside=1.06)


def retrieval() -> list[dict[str, Any]]:
    known = {"grown": True, "n_items": 9000, "threads": 1, "p50_ms": 1.0, "p99_ms": 2.0}
    ours = {"index": "twofold IVF", "peer": False, "recall": 0.981, "qps": 1000.0}
    other = {"index": "Other", "peer": True, "recall": 0.985, "qps": 2000.0}
    tried = {"index": "IVF", "effort": 9, "recall": 0.97, "bytes_per_item": 400.0, "chosen": True}
    return [
        told("retrieval", "index", **known, **tried, tried_on=9000),
        told("retrieval", "faiss", **known, **ours, ours_over_this=1.0),
        told("retrieval", "faiss", **known, **other, ours_over_this=0.5),
    ]


def layers() -> list[dict[str, Any]]:
    times = [{"runtime": "int8", "milliseconds": 4.75, "same_top": 1.0}]
    number = {"ndcg10": 0.1987, "ndcg10_low": 0.18, "ndcg10_high": 0.21}
    shape = {"ranker": "taught", "layers": 6, "joint_layers": 2, "runtimes": times}
    rate = {"ranker": "tried", "ndcg10": 0.1777}
    return [
        told("layers", "2 joint, rate 5e-05", **{**shape, **number, **rate}),
        told("layers", "2 joint", **shape, **number),
    ]


def training() -> list[dict[str, Any]]:
    gap = {"mean": 0.043, "low": 0.011, "high": 0.075}
    return [
        told("training", cell, settings={}, relative_to_default=one, ndcg10=around(0.2))
        for cell, one in (("default", around(0.0)), ("listwise", gap))
    ]


def rerank() -> list[dict[str, Any]]:
    about = {"max_item_tokens": 20, "candidates": 100, "history": "vectors"}
    return [told("rerank", "", runtime="int8", p50_ms=4.25, p99_ms=6.75, **about)]


@pytest.fixture
def recorded(tmp_path: Path) -> Recorded:
    rows = {
        "quality": behind(),
        "endtoend": endtoend(),
        "build": [*build(), whole_build()],
        "retrieval": retrieval(),
        "layers": layers(),
        "training": training(),
        "rerank": rerank(),
    }
    for suite, some in rows.items():
        write(tmp_path / f"{suite}.jsonl", some)
    return Recorded(tmp_path)


def section(text: str, name: str) -> str:
    return text.split(f'id="{name}"')[1].split("</section>")[0]


@pytest.mark.parametrize(
    ("name", "numbers"),
    [
        ("quality", ["0.3333 [0.3233, 0.3433]", "-0.0123 [-0.0173, -0.0073]", "p 0.002"]),
        ("quality-latency", ["12.5", "3.2", "0.3456 [0.3356, 0.3556]"]),
        ("buckets", ["history 1-2 · reranked", "0.2000 [0.1900, 0.2100]"]),
        ("indexes", ["0.9850", "2,000", "0.50"]),
        ("serving", SERVED),
        ("reranking", ["4.2", "p99 6.8"]),
        ("layers", ["6 layers, 2 joint", "0.1987 [0.1800, 0.2100]", "4.8"]),
        ("build", BUILT),
        ("training", ["listwise", "+4.3% [+1.1%, +7.5%]"]),
    ],
)
def test_sections_hold_their_numbers(recorded: Recorded, name: str, numbers: list[str]) -> None:
    found = section(page(recorded), name)
    for number in numbers:
        assert number in found
    assert "commit 0123456789, 2 cores of Made-up 9, no GPU, 2026-05-04" in found


def test_a_measurement_made_twice_is_no_row_of_the_section(recorded: Recorded) -> None:
    assert "99.9" not in section(page(recorded), "serving")


def test_what_was_tried_and_not_taken_is_no_row_of_the_section(recorded: Recorded) -> None:
    assert "0.1777" not in section(page(recorded), "layers")


def test_differences_look_as_they_are(recorded: Recorded) -> None:
    rows = section(page(recorded), "quality").split("<g class=")
    looks = {other: row for row in rows for other in OTHERS if f">ours − {other}<" in row}
    assert {other: looks[other].split('"')[1] for other in OTHERS} == OTHERS


def test_the_page_is_whole_and_loads_nothing(recorded: Recorded) -> None:
    text = page(recorded)
    read = Read(text)
    assert read.open == []
    assert not {"script", "link", "iframe", "img", "object", "base"} & {tag for tag, _ in read.tags}
    for _, attributes in read.tags:
        assert "src" not in attributes
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"@import|url\(|https?:", text)
    names = {attributes["id"] for _, attributes in read.tags if "id" in attributes}
    links = {(attributes["href"] or "")[1:] for tag, attributes in read.tags if tag == "a"}
    assert links == names


def test_every_figure_says_what_it_shows_and_what_made_it(recorded: Recorded) -> None:
    figures = Read(page(recorded)).figures
    assert len(figures) == 13
    for one in figures:
        assert len(one["alt"]) > 20
        assert "python -m benchmarks" in one["caption"]
        assert len(one["caption"].split("Measured by")[0]) > 20


def test_the_first_lines_say_where_twofold_is_not_first(recorded: Recorded) -> None:
    first = page(recorded).split("<nav")[0].split("</h1>")[1]
    assert "Where twofold is not first" in first
    assert (
        "movielens-100k, leave-last-5: not first by NDCG@10, behind Faster (ours − theirs "
        "-0.0123 [-0.0173, -0.0073], p 0.002 after Holm)." in first
    )
    assert "by NDCG@10 not told apart from Alike" in first
    assert "1 of 1 other indexes find as much" in first
    assert "Other, answers 2.00 times as many on 1 thread" in first
    assert first.index("behind Faster") < first.index("not told apart")
    assert "popularity" not in first


def test_the_first_lines_say_so_where_twofold_is_first(tmp_path: Path) -> None:
    rows = [row for row in behind() if "Faster" not in row.values()]
    rows = [row for row in rows if "Alike" not in row.values()]
    write(tmp_path / "quality.jsonl", rows)
    first = page(Recorded(tmp_path)).split("<nav")[0]
    assert "first by NDCG@10, ahead of all 2 others that were measured" in first
    assert "not first" not in first


def test_a_published_number_above_ours_is_among_the_first_lines(tmp_path: Path) -> None:
    about = {"dataset": "amazon-beauty-2014-5core", "split": "leave-one-out"}
    write(tmp_path / "quality.jsonl", [quality("twofold", "reranked", 0.02, **about)])
    text = page(Recorded(tmp_path))
    first = text.split("<nav")[0]
    assert (
        "published numbers above ours by NDCG@10, 0.0200 [0.0100, 0.0300]: SASRec 0.0318" in first
    )
    assert "GRU4Rec 0.0137" not in first
    table = section(text, "published")
    assert "0.0414" in table
    assert re.search(r"reranked</td><td><span[^>]*>run here<.*?0\.0200 \[0\.0100, 0\.0300\]", table)
    assert re.search(r"S3-Rec</td><td><span[^>]*>published<", table)


def test_without_rows_every_section_says_what_would_make_them(tmp_path: Path) -> None:
    text = page(Recorded(tmp_path))
    Read(text)
    suites = {
        "quality": "quality",
        "quality-latency": "quality",
        "buckets": "quality",
        "indexes": "retrieval",
        "serving": "endtoend",
        "reranking": "rerank",
        "layers": "layers",
        "build": "build",
        "training": "training",
    }
    for name, suite in suites.items():
        assert f"python -m benchmarks {suite} DATASET --record" in section(text, name)
    assert "python -m benchmarks profiles ifdb --record" in section(text, "published")


def test_rows_that_no_longer_hold_are_marked(recorded: Recorded) -> None:
    assert "was not looked at" in page(recorded)
    assert "†" not in page(recorded)
    why = Standing("quality", "movielens-100k", "Faster", "", ("code of ranking/ranker.py",))
    holds = Standing("quality", "movielens-100k", "twofold", "", ())
    text = page(Recorded(recorded.folder, (why, holds)))
    assert "1 of 2 recorded cells" in text
    assert "movielens-100k, Faster: code of ranking/ranker.py" in text
    assert "Faster †" in text
    assert "reranked †" not in text


def test_names_are_escaped(tmp_path: Path) -> None:
    rows = [*behind(), quality("Odd", "<b>&odd", 0.1)]
    write(tmp_path / "quality.jsonl", rows)
    text = page(Recorded(tmp_path))
    assert "<b>&odd" not in text
    assert "&lt;b&gt;&amp;odd" in text
    Read(text)


def test_a_row_that_lacks_something_is_refused(tmp_path: Path) -> None:
    row = endtoend()[0]
    del row["p99_ms"]
    write(tmp_path / "endtoend.jsonl", [row])
    with pytest.raises(InputError, match="p99_ms"):
        page(Recorded(tmp_path))


def test_the_command_writes_the_page(recorded: Recorded, tmp_path: Path) -> None:
    out = tmp_path / "made.html"
    assert main(["report", "--results", str(recorded.folder), "--out", str(out)]) == 0
    assert out.read_text(encoding="utf-8") == page(recorded)
    assert main(["report", "--results", str(tmp_path / "none"), "--out", str(out)]) == 2
    no_folder = str(tmp_path / "none" / "x.html")
    assert main(["report", "--results", str(tmp_path), "--out", no_folder]) == 2
