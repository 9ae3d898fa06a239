"""What each preset exists for holds on a stand-in for data of its kind, and not by default."""

from __future__ import annotations

import itertools
import tomllib
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path

import pytest

from tests.twofold.stand_ins import (
    StandIn,
    generate_news,
    generate_shop,
    generate_social,
    generate_video,
    watched_shares,
)
from twofold import Engine, Recommendation, cli
from twofold.build import build
from twofold.compact import compact
from twofold.embedding import embedded
from twofold.evaluate import evaluate
from twofold.indexing.dataset import Dataset, load_dataset
from twofold.indexing.errors import DataError, SettingsError
from twofold.indexing.progress import Silent
from twofold.learning import learn
from twofold.presets import preset, preset_names
from twofold.settings import Settings, load_settings

DOMAINS: dict[str, Callable[[], StandIn]] = {
    "e-commerce": generate_shop,
    "news": generate_news,
    "social": generate_social,
    "video": generate_video,
}
Captured = pytest.CaptureFixture[str]
Build = Callable[..., Path]
Make = Callable[..., Engine]
TEN_DAYS = timedelta(days=10)


@pytest.fixture(scope="module")
def built(
    tmp_path_factory: pytest.TempPathFactory, tiny_sentence_model: Path, tiny_bert: Path
) -> Build:
    """Return what builds an artefact of a stand-in, under a preset or none, with tiny models."""

    def make(tables: StandIn, name: str | None, *, train: bool = False, rules: str = "") -> Path:
        tiny = [
            "threads=1",
            f"text.model={tiny_sentence_model}",
            f"ranker.model={tiny_bert}",
            f"ranker.train={str(train).lower()}",
            "ranker.rerank=60",
            "ranker.training.max_epochs=1",
            "ranker.training.negatives=7",
            "windows=1",
            *([f"data.events.rules={rules}"] if rules else []),
        ]
        out = tmp_path_factory.mktemp("presets") / "artefact"
        build(tables.interactions, tables.items, out, load_settings(None, tiny, preset=name))
        return out

    return make


@pytest.fixture(scope="module")
def made(built: Build) -> Make:
    """Return what opens such an artefact."""
    return lambda *of, **more: Engine.load(built(*of, **more), runtime="float32")


def best(engine: Engine, k: int = 5) -> list[str]:
    """Return what somebody without a history is recommended."""
    return [one.item_id for one in engine.recommend("nobody", k)]


def order(found: Sequence[str], *names: str) -> list[str]:
    return [one for one in found if one in names]


def test_there_is_a_preset_for_each_domain_and_a_page_that_tells_of_it() -> None:
    assert set(preset_names()) == set(DOMAINS)
    page = (Path(__file__).parents[2] / "docs" / "presets.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in page for name in preset_names())


@pytest.mark.parametrize("name", list(DOMAINS))
def test_every_setting_of_a_preset_is_known_and_differs_from_the_default(name: str) -> None:
    def differing(values: dict[str, object], usual: object, path: str) -> None:
        for key, value in values.items():
            default = getattr(usual, key)
            if isinstance(value, dict):
                differing(value, default, f"{path}{key}.")
            else:
                assert value != default, f"{path}{key} is the default"

    assert load_settings(preset=name) != Settings()
    differing(preset(name), Settings(), "")


@pytest.mark.parametrize("name", list(DOMAINS))
def test_every_line_of_a_preset_has_its_reason_above(name: str) -> None:
    file = Path(cli.__file__).parent / "presets" / f"{name}.toml"
    lines = file.read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 40
    for before, line in itertools.pairwise(lines):
        # Two that belong together share a reason, and rules have one each.
        if line and not line.startswith(("#", "[", "]", "rules")) and "#" not in line:
            assert before.strip().startswith(("#", '["', "like_at_least")), line


@pytest.mark.parametrize("name", list(DOMAINS))
def test_a_preset_builds_and_serves_with_both_stages(name: str, made: Make) -> None:
    tables = DOMAINS[name]()
    with made(tables, name, train=True) as engine:
        for user in ("u0", "u1", "u2"):
            found = engine.recommend(user, 5)
            assert len(found) == 5
            assert all(one.probability is not None for one in found)


def test_in_a_shop_a_purchase_outweighs_looks(made: Make) -> None:
    tables = generate_shop()
    with made(tables, "e-commerce") as engine:
        assert order(best(engine, 35), "bought", "gaped") == ["bought", "gaped"]
    # Four looks for a purchase, as some shops count, and the order turns.
    rules = '[["view", 0.25, 1, true, true], ["return", 0.0, -1, true, false]]'
    with made(tables, None, rules=rules) as engine:
        assert order(best(engine, 35), "bought", "gaped") == ["gaped", "bought"]


def test_in_a_shop_what_was_sent_back_is_a_dislike() -> None:
    tables = generate_shop()
    shop = read(tables, "e-commerce")
    lemon = shop.items.number("lemon")
    assert not shop.interactions.matrix()[:, [lemon]].nnz
    assert shop.interactions.disliked()[:, [lemon]].nnz == 24
    with pytest.raises(DataError, match="return"):
        read(tables, None)


def test_in_the_news_yesterday_is_not_preferred_to_today(made: Make) -> None:
    with made(generate_news(), "news") as engine:
        assert order(best(engine, 99), "8-12", "9-12") == ["9-12", "8-12"]
    with made(generate_news(), None) as engine:
        assert order(best(engine, 99), "8-12", "9-12") == ["8-12", "9-12"]


def test_in_the_news_what_nobody_has_read_yet_is_proposed_by_its_age(made: Make) -> None:
    def found(name: str | None) -> dict[str, Recommendation]:
        with made(generate_news(), name) as engine:
            return {one.item_id: one for one in engine.retrieve("u1", 140)}

    news, plain = found("news"), found(None)
    assert "fresh" in news["breaking-1"].sources
    assert news["breaking-1"].rank < news["dud-1"].rank
    # By default one is as good as the other, and which comes first is chance.
    assert plain["breaking-1"].score == pytest.approx(plain["dud-1"].score, abs=1e-4)


def test_in_the_news_an_article_is_fresh_the_moment_it_is_added(made: Make) -> None:
    tables = generate_news()
    with made(tables, "news") as engine:
        rows = tables.items.filter(tables.items["news_id"] == "dud-1").to_dicts()
        came = [{**rows[0], "news_id": f"new-{n}"} for n in range(2)]
        came[0]["available_from"] += TEN_DAYS
        engine.add_items(came)
        found = {one.item_id: one for one in engine.retrieve("u1", 140)}
    assert "fresh" in found["new-0"].sources
    assert found["new-0"].rank < found["breaking-1"].rank < found["new-1"].rank
    assert "fresh" not in found["new-1"].sources


def test_a_fresh_article_stays_so_when_what_came_is_compacted(built: Build) -> None:
    tables = generate_news()
    path = built(tables, "news")
    with Engine.load(path) as engine:
        (row,) = tables.items.filter(tables.items["news_id"] == "dud-1").to_dicts()
        came = {**row, "news_id": "new", "available_from": row["available_from"] + TEN_DAYS}
        engine.add_items([came])
        before = {one.item_id: one.rank for one in engine.retrieve("u1", 140)}
    compact(path)
    with Engine.load(path) as engine:
        after = {one.item_id: one for one in engine.retrieve("u1", 140)}
    assert "fresh" in after["new"].sources
    assert after["new"].rank < after["dud-1"].rank
    assert before["new"] < before["dud-1"]


def test_articles_are_as_fresh_to_learning_and_measuring_as_when_they_were_read(
    tiny_sentence_model: Path,
) -> None:
    tables = generate_news()
    tiny = ["threads=1", f"text.model={tiny_sentence_model}", "ranker.train=false"]
    settings = load_settings(None, tiny, preset="news")
    dataset = load_dataset(tables.interactions, tables.items, settings.data)
    index, _ = embedded(dataset, settings, None, Silent())
    log = dataset.interactions
    learned = learn(dataset, log, index, settings, Silent())
    queries = learned.lists[0].queries
    last = [int(log.times[(log.users == user) & log.labels].max()) for user in queries.users]
    assert queries.asked_at is not None
    assert queries.asked_at.tolist() == last
    arrivals = learned.stage_one.arrivals
    assert arrivals is not None
    born = tables.items.sort("news_id")["available_from"].dt.epoch("ms")
    assert arrivals.moments.tolist() == born.to_list()

    found = evaluate(
        tables.interactions, tables.items, settings, protocol="leave-one-out", quick=True
    )
    rows = [row for row in found.rows if "hit_rate@10" in row.metrics and row.group == "all"]
    hits = {row.name: row.metrics["hit_rate@10"].mean for row in rows}
    # By the build's end much of what is held out is old, and .7 would be found.
    assert hits["fresh"] > 0.9
    assert hits["text"] < 0.5


def test_in_a_feed_last_months_post_is_not_preferred_to_todays(made: Make) -> None:
    tables = generate_social()
    with made(tables, "social") as engine:
        found = best(engine, 36)
        assert order(found, "viral", "today") == ["today", "viral"]
        # What was shown and liked by nobody does not trend, and may still be recommended.
        assert found[0] != "shown"
        assert "shown" in [one.item_id for one in engine.retrieve("u0", 40)]
    kept = tables.interactions.filter(~tables.interactions["event"].is_in(["hide", "share"]))
    with made(StandIn(kept, tables.items), None) as engine:
        assert order(best(engine, 36), "viral", "today") == ["viral", "today"]


def test_in_a_feed_what_passes_the_screen_is_no_hit_and_what_is_hidden_is_disliked() -> None:
    feed = read(generate_social(), "social")
    log, number = feed.interactions, feed.kinds.index
    passed = log.kinds == number("view")
    assert passed.any()
    assert not log.labels[passed].any()
    assert log.labels[log.kinds == number("like")].all()
    spam = feed.items.number("spam")
    assert log.disliked()[:, [spam]].nnz == 6
    with pytest.raises(DataError, match="event"):
        read(generate_social(), None)


def test_few_stars_are_no_reason_to_recommend_a_film(made: Make) -> None:
    films = read(generate_video(), "video")
    assert films.interactions.disliked()[:, [films.items.number("flop")]].nnz == 12
    with made(generate_video(), "video") as engine:
        assert order(best(engine, 36), "flop", "gem") == ["gem", "flop"]
    with made(generate_video(), None) as engine:
        assert order(best(engine, 36), "flop", "gem") == ["flop", "gem"]


def test_two_films_of_an_evening_belong_together(made: Make) -> None:
    def together(name: str | None) -> bool:
        with made(generate_video(), name) as engine:
            covisits = engine.stages.retriever.sources[7]
            assert covisits.name == "covisits"
            first, second = (engine.items["item_id"].to_list().index(f"part-{n}") for n in (1, 2))
            return bool(getattr(covisits, "related")[first, second] > 0)  # noqa: B009

    assert together("video")
    assert not together(None)


def test_shares_watched_are_weights_and_no_stars() -> None:
    films = read(watched_shares(generate_video()), "video", "data.weight_column=watch_ratio")
    stars = generate_video().interactions["rating"].to_numpy()
    assert sorted(films.interactions.weights) == pytest.approx(sorted(stars / 5))
    refused = "data.rating_column=watch_ratio"
    with pytest.raises(DataError, match="nothing to learn"):
        read(watched_shares(generate_video()), "video", refused)


def test_a_file_wins_over_a_preset_and_what_is_set_over_both(
    tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "own.toml"
    own = "[stage_one.neighbours]\nhalf_life_days = 3\nsession_seconds = 60\n"
    file.write_text(f"{own}[data.events]\nrules = []\n", encoding="utf-8")
    more = ["--config", str(file), "--set", "stage_one.neighbours.session_seconds=70"]
    assert cli.run(["settings", "--preset", "news", *more]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    near = shown["stage_one"]["neighbours"]
    assert (near["half_life_days"], near["session_seconds"]) == (3.0, 70.0)
    assert shown["stage_one"]["fresh_half_life_days"] == 0.75
    assert shown["data"]["events"]["rules"] == []
    assert shown["ranker"]["max_history"] == preset("news")["ranker"]["max_history"]
    assert cli.run(["settings", "--preset", "news"]) == 0
    shown = tomllib.loads(capsys.readouterr().out)
    assert shown["stage_one"]["neighbours"]["half_life_days"] == 0.5
    assert shown["keep"] == Settings().keep


def test_a_file_is_named_where_its_settings_are_wrong_under_a_preset(tmp_path: Path) -> None:
    file = tmp_path / "own.toml"
    file.write_text("[stage_one]\nrepet = true\n", encoding="utf-8")
    with pytest.raises(SettingsError, match=r"own\.toml: \[stage_one\] repet.*repeat"):
        load_settings(file, preset="news")


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("e-comerce", "did you mean e-commerce?"),
        ("News", "did you mean news?"),
        ("zzz", "known are e-commerce, news, social, video"),
        ("../presets/news", "did you mean|known are"),
    ],
)
@pytest.mark.parametrize("command", ["settings", "build", "evaluate", "data validate"])
def test_a_wrong_name_is_a_mistake_of_the_caller(
    name: str, told: str, command: str, tmp_path: Path, capsys: Captured
) -> None:
    file = tmp_path / "log.csv"
    file.write_text("user,item\nu,i\n", encoding="utf-8")
    rest = {
        "settings": [],
        "build": ["-i", str(file), "-o", str(tmp_path / "out")],
        "evaluate": ["-i", str(file)],
        "data validate": [str(file)],
    }[command]
    assert cli.run([*command.split(), *rest, "--preset", name]) == 2
    told_there = capsys.readouterr().err
    assert f"there is no preset '{name}'" in told_there
    assert any(one in told_there for one in told.split("|"))
    assert told_there.count("\n") == 1


def read(tables: StandIn, name: str | None, *more: str) -> Dataset:
    settings = load_settings(None, more, preset=name)
    return load_dataset(tables.interactions, tables.items, settings.data)
