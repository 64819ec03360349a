"""Pages for people, and Datasette itself, before and behind the plugin."""

from __future__ import annotations

import asyncio
import csv
import html
import io
import json
import re
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, UTC
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from datasette.app import Datasette

from schemas.tables import TABLES
from serving.charts import stacked, waterfall
from serving.pages import named, natural, number
from tests.conftest import Built, cut
from tests.serving.conftest import clone, Server, serving
from warehouse.layout import Warehouse
from warehouse.release import current_id, read_manifest

HTML = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def page(server: Server, path: str, status: int = 200) -> str:
    answer = server.get(path, headers=HTML)
    assert answer.status_code == status, answer.text[:500]
    assert answer.headers["content-type"].startswith("text/html")
    assert not re.search(r"(src|href)=\"https?://", answer.text), "a page may load nothing from elsewhere"
    return answer.text


def test_every_page_shows_what_its_json_says(movies: Server) -> None:
    first = movies.rows("/recommend/1?n=1")[0]
    release = movies.rows("/releases")[0]["release"]
    word = re.findall(r"\w+", first["title"])[0]
    for path, shows in {
        "/": "/recommend/1",
        "/recommend/1": first["title"],
        f"/why/1/{first['item_id']}": first["title"],
        "/popular": "Popular",
        "/recommend?user_id=1": first["title"],
        f"/items/{first['item_id']}": first["title"],
        f"/similar/{first['item_id']}": first["title"],
        f"/search?q={quote(word)}": "Titles with",
        "/releases": release,
        f"/releases/{release}": "The best of each line",
        f"/releases/compare?a={release}&b={release}": "Side by side",
        f"/predict/1/{first['item_id']}": "predicted_rating",
        "/ratings/1": "Items, the newest first",
    }.items():
        assert html.escape(shows, quote=False).replace("'", "&#39;") in page(movies, path) or shows in page(movies, path), path


def test_the_page_of_an_item_shows_how_it_was_rated_who_gets_it_and_what_is_like_it(movies: Server, purchases: Server) -> None:
    found = movies.get(f"/items/{movies.rows('/popular?n=1')[0]['item_id']}").json()
    (item,), shown = found["rows"], page(movies, f"/items/{found['rows'][0]['item_id']}")
    most = max(row["n_ratings"] for row in item["ratings"])
    for row in item["ratings"]:
        assert f'<td>{row["rating"]:g}</td><td class="num">{row["n_ratings"]}</td>' in shown
        assert f'<rect width="{row["n_ratings"] / most * 100:.1f}%"' in shown
    for source in ("collaborative", "content"):
        assert found["similar"][source] and all(f'href="/items/{row["item_id"]}"' in shown for row in found["similar"][source])
    assert shown.count('<span class="mark">both</span>') == sum(row["is_in_both"] for row in found["similar"]["content"]) * 2
    cold = page(purchases, "/items/never%20bought")
    assert "Nobody has it yet" in cold and "How it was rated" not in cold and "No neighbours." in cold


def test_the_first_page_shows_how_the_figures_went_over_the_releases(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    now = current_id(warehouse)
    counts = read_manifest(warehouse.sealed(now)).counts
    clone(warehouse, now, "20200101T000000Z", counts=counts | {"users": 1_000 + counts["users"]})
    clone(warehouse, now, "20200108T000000Z", counts=counts | {"users": counts["users"] - 5})
    clone(warehouse, now, "20990101T000000Z", counts=counts | {"users": 1})  # sealed, and not promoted
    cut(warehouse.sealed(clone(warehouse, now, "20200103T000000Z")).manifest, 10)
    with serving(folder) as server:
        trend, shown = server.get("/").json()["trend"], page(server, "/")
    assert [row["release"] for row in trend] == ["20200101T000000Z", "20200108T000000Z", now]
    assert [row["users"] - counts["users"] for row in trend] == [1_000, -5, 0]
    assert f"<b>{counts['users']:,}</b> users" in shown and "+5 since the last" in shown
    assert 'aria-label="users of the last 3 releases; +5 since the last"' in shown
    assert 'aria-label="items of the last 3 releases; no change"' in shown
    assert re.search(r'<polyline class="c0" points="0.0,2.0 50.0,22.0 100.0,21.9"', shown)


def test_the_first_page_has_users_and_popular_items_to_begin_with(movies: Server) -> None:
    answer, shown = movies.get("/").json(), page(movies, "/")
    assert answer["popular"] == movies.rows("/popular?n=10") and all(
        f'href="/items/{row["item_id"]}"' in shown for row in answer["popular"]
    )
    assert all(f"{user['n_ratings']} items</span>" in shown for user in answer["users"])


def test_the_page_of_a_history_shows_its_ratings_and_genres(movies: Server, purchases: Server) -> None:
    profile, shown = movies.get("/ratings/1?n=1000").json()["profile"], page(movies, "/ratings/1")
    assert f"rated <b>{profile['mean_rating']:.2f}</b> on average" in shown
    for row in profile["ratings"]:
        assert f'<td>{row["rating"]:g}</td><td class="num">{row["n_ratings"]}</td>' in shown
    for row in profile["genres"][:10]:
        assert f'<td>{row["genre"]}</td><td class="num">{row["n_items"]}</td>' in shown
    assert "<h2>Ratings</h2>" not in page(purchases, "/ratings/" + quote("Zürich #0", safe=""))


def test_the_form_of_a_user_needs_no_script(movies: Server, purchases: Server) -> None:
    assert '<form class="inline" action="/recommend"><input name="user_id"' in page(movies, "/")
    for server, user in ((movies, "2"), (purchases, "Zürich #0")):
        asked, named = server.get("/recommend", params={"user_id": user}).json(), server.get(f"/recommend/{quote(user, safe='')}").json()
        assert (asked["user_id"], asked["rows"]) == (named["user_id"], named["rows"])
        assert server.get(asked["next_url"]).json()["rows"] == server.get(named["next_url"]).json()["rows"]
    refused = movies.get("/recommend", headers=HTML)
    assert refused.status_code == 400 and "user_id" in refused.text
    assert movies.get("/recommend?user_id=x").status_code == 400


def test_the_page_of_a_release_has_its_metrics_as_a_table_with_the_best_in_bold_and_says_why_its_model_is_served(
    movies: Server, movie_release: Built
) -> None:
    manifest = movie_release.manifest
    shown = page(movies, f"/releases/{movie_release.release_id}")
    for protocol, metric in {(row["protocol"], row["metric"]) for row in manifest.metrics if row["metric"] in ("ndcg", "ndcg_liked")}:
        values = [row["value"] for row in manifest.metrics if (row["protocol"], row["metric"]) == (protocol, metric)]
        line = next(line for line in shown.splitlines() if f"<td>{protocol}</td>" in line and f">{metric}@10<" in line)
        assert set(re.findall(r"<b>([\d.]+)</b>", line)) == {f"{max(values):.4f}"} and all(f"{value:.4f}" in line for value in values)
    key = ("validation", manifest.served_model, "ndcg_liked")
    chosen = next(row for row in manifest.metrics if (row["protocol"], row["model"], row["metric"]) == key)
    assert f"{manifest.served_model} was chosen on {chosen['n_users']} validation users: ndcg_liked@10 " in shown
    assert movies.rows(f"/releases/{movie_release.release_id}")[0]["choice"] in html.unescape(shown)

    blend = json.loads(next(row["parameters"] for row in manifest.models if row["model"] == "hybrid"))
    for part, share in blend["shares"].items():
        assert re.search(rf"<td>{part}</td><td class=\"num\">{share / sum(blend['shares'].values()) * 100:.0f} %</td>", shown)


def test_the_page_of_a_release_says_which_settings_are_not_those_of_the_one_before(own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    before = current_id(warehouse)
    second = clone(warehouse, before, "20990101T000000Z")
    manifest, path = read_manifest(warehouse.sealed(second)), warehouse.sealed(second).manifest
    path.chmod(0o644)
    path.write_text(replace(manifest, settings=manifest.settings | {"n": 21}).to_json(), encoding="utf-8")
    with serving(folder) as server:
        changed = [{"setting": "n", "a": manifest.settings["n"], "b": 21}]
        row, first = (server.rows(f"/releases/{name}")[0] for name in (second, before))
        assert (row["before"], row["other_settings"]) == (before, changed) and (first["before"], first["other_settings"]) == (None, [])
        assert f'href="/releases/compare?a={before}&amp;b={second}"' in page(server, f"/releases/{second}").replace("&b=", "&amp;b=")
        compared = server.get(f"/releases/compare?a={before}&b={second}").json()
        assert compared["other_settings"] == changed and sum(compared["users_by_shared"]) == compared["n_users"]
        shown = page(server, f"/releases/compare?a={before}&b={second}")
        assert f"{compared['n_users']:,} keep all ten, 0 keep none" in shown and "In more top tens" in shown


def test_on_a_phone_each_figure_of_a_wide_table_says_what_it_is(movies: Server) -> None:
    release = movies.rows("/releases")[0]["release"]
    for path, labels in {
        "/releases": {"users", "items", "interactions", "MiB"},
        f"/releases/{release}": {"hybrid", "popular", "users"} | {"als", "ease", "ials"},
        f"/releases/compare?a={release}&b={release}": {release, "difference"},
    }.items():
        table = re.search(r'<table class="stacked">(.*?)</table>', page(movies, path), re.DOTALL)[1]
        assert set(re.findall(r'data-label="([^"]+)"', table)) >= labels, path
        assert not re.search(r'<td class="num">[^<]', table), path


def test_numbers_are_written_to_be_read() -> None:
    assert [number(value) for value in (1_000_210, 1_000_210.0, 0.05, -2.5, None, "promote", True)] == [
        "1,000,210",
        "1,000,210",
        "0.0500",
        "-2.5000",
        "",
        "promote",
        "True",
    ]


def test_the_shares_on_a_why_page_add_up_as_they_are_shown(movies: Server) -> None:
    for found in movies.rows("/recommend/2?n=10"):
        shown = page(movies, f"/why/2/{found['item_id']}")
        *shares, score = [float(text) for text in re.findall(r'<td class="num">([+-][\d.]+)</td>', shown)]
        assert sum(shares) == pytest.approx(score, abs=1e-9) and score == pytest.approx(found["score"], abs=5e-5)


def test_the_rest_of_a_score_has_its_bar_and_its_share(movies: Server) -> None:
    """Otherwise three films look like the cause of what is mostly the sum of many."""
    item = movies.rows("/recommend/2?n=1")[0]["item_id"]
    answer = movies.get(f"/why/2/{item}?n=1").json()
    residual = next(row for row in answer["rows"] if row["kind"] == "residual")
    shown = page(movies, f"/why/2/{item}?n=1")
    line = next(line for line in shown.splitlines() if "other items of the history together" in line)
    assert (
        f"{residual['n']} other items of the history together, {residual['contribution'] / answer['score']:.0%} of the score".replace(
            "%", " %"
        )
        in line
    )
    assert re.search(r'<rect x="[0-9.]+%" width="[0-9.]+%"', line)


def test_the_bars_of_a_why_page_begin_where_the_one_before_ended() -> None:
    def bars(*shares: float) -> list[tuple[float, float, bool]]:
        drawn = [re.search(r'class="bar( minus)?".*?x="([0-9.]+)%" width="([0-9.]+)%"', bar) for bar in waterfall(shares)]
        return [(float(bar[2]), float(bar[3]), bool(bar[1])) for bar in drawn]

    assert bars(1.0, 3.0) == [(0.0, 25.0, False), (25.0, 75.0, False), (0.0, 100.0, False)]
    assert bars(-1.0, 4.0) == [(0.0, 25.0, True), (0.0, 100.0, False), (25.0, 75.0, False)]
    assert bars(4.0, -1.0) == [(0.0, 100.0, False), (75.0, 25.0, True), (0.0, 75.0, False)]
    assert bars() == [(0.0, 0.0, False)]


def test_a_listed_row_has_one_bar_of_what_its_score_is_the_sum_of(movies: Server) -> None:
    shown, rows = page(movies, "/recommend/2?n=5"), movies.rows("/recommend/2?n=5")
    bars = re.findall(r'<svg class="stack".*?</svg>', shown)
    assert len(bars) == len(rows) == 5
    for bar, row in zip(bars, rows):
        shares = [reason["contribution"] for reason in row["reasons"] if reason["contribution"] is not None] + [row["residual"]]
        widths = {int(at): float(width) for at, width in re.findall(r'class="c(\d)" .*?width="([0-9.]+)%"', bar)}
        whole = sum(share for share in shares if share > 0)
        assert widths == pytest.approx({at: abs(share) / whole * 100 for at, share in enumerate(shares)}, abs=0.06)
        assert shown.count("the other items of the history together") == 5


def test_shares_that_take_away_lie_over_the_end_of_the_bar() -> None:
    places = re.findall(r'class="c(\d)" x="([0-9.]+)%" y="(\d+)%" width="([0-9.]+)%"', stacked([3.0, -1.0, 1.0]))
    assert places == [("0", "0.0", "0", "75.0"), ("2", "75.0", "0", "25.0"), ("1", "75.0", "60", "25.0")]


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        ("English Patient, The (1996)", "The English Patient (1996)"),
        ("Postman, The (Postino, Il) (1994)", "The Postman (Il Postino) (1994)"),
        ("Good, the Bad and the Ugly, The (1966)", "The Good, the Bad and the Ugly (1966)"),
        ("Avventura, L' (1960)", "L'Avventura (1960)"),
        ("Sex, Lies, and Videotape (1989)", "Sex, Lies, and Videotape (1989)"),
        ("Lamp, A", "A Lamp"),
        ("", ""),
    ],
)
def test_titles_are_shown_as_they_are_said(stored: str, said: str) -> None:
    assert natural(stored) == said and natural(said) == said


def test_an_id_stands_as_it_is_for_what_has_no_title() -> None:
    assert (named(None, "Lamp, A"), named("", 7), named("Lamp, A", 7)) == ("Lamp, A", "7", "A Lamp")


def test_a_history_has_its_days(movies: Server) -> None:
    at = movies.rows("/ratings/1?n=1")[0]["rated_at"]
    when = datetime.fromtimestamp(at, UTC)
    assert f'<time title="{when:%Y-%m-%d %H:%M:%S} UTC">{when.day} {when:%B %Y}</time>' in page(movies, "/ratings/1")


def test_links_of_text_ids_lead_back_to_them(purchases: Server) -> None:
    user = "São Paulo/Centro #3"
    shown = page(purchases, f"/recommend/{quote(user, safe='')}")
    links = re.findall(r'href="(/why/[^"]+)"', shown)
    assert links
    for link in links:
        assert f"user {html.escape(user)}" in page(purchases, html.unescape(link))


def test_errors_have_a_page_too(movies: Server) -> None:
    assert "n: expected a whole number" in page(movies, "/recommend/1?n=0", 400)
    assert movies.get("/recommend/1.json?n=0", headers=HTML).json()["ok"] is False


def test_datasette_describes_every_table_and_column(movies: Server) -> None:
    metadata = movies.get("/-/metadata.json").json()
    described = metadata["databases"][movies.rows("/releases")[0]["release"]]
    for table in TABLES.values():
        shown = movies.get(f"/cinematch/{table.name}?_size=1").text
        assert html.escape(table.grain[1:], quote=False)[:40] in html.unescape(shown)
        assert described["tables"][table.name]["columns"] == {column.name: column.description for column in table.columns}
    for name in described["queries"]:
        assert movies.get(f"/cinematch/{name}").status_code == 200, name


def test_datasette_goes_on_as_ever(movies: Server, movie_release: Built) -> None:
    (row,) = movies.get("/cinematch.json?sql=select+count(*)+as+n+from+users&_shape=array").json()
    assert row["n"] == movie_release.manifest.counts["users"]
    assert movies.get("/cinematch/users.csv?_size=2").text.startswith("user_id,")
    assert movies.get("/cinematch.json?sql=delete+from+users").status_code == 400
    slow = "with recursive c(x) as (select 1 union all select x + 1 from c) select count(*) from c"
    assert movies.get(f"/cinematch.json?sql={quote(slow)}").status_code == 400
    assert movies.get("/nothing-here").status_code == 404


def test_csv_is_taken_for_nothing_else(movies: Server) -> None:
    for path in ("/cinematch/items.csv", "/cinematch/items.csv?_stream=1", "/cinematch.csv?sql=select+1"):
        headers = movies.get(path).headers
        assert headers["content-type"].startswith(("text/plain", "text/csv")) and headers["x-content-type-options"] == "nosniff", path


def test_csv_names_each_blob_by_an_address_that_has_it(movies: Server) -> None:
    shown = list(csv.DictReader(io.StringIO(movies.get("/cinematch/ready_lists.csv?_size=2").text)))
    assert [row["user_id"] for row in shown] == ["1", "2"]
    packed = movies.get(urlsplit(shown[1]["rows"]).path + "?" + urlsplit(shown[1]["rows"]).query).content
    assert json.loads(zlib.decompress(packed))[0]["rank"] == 1
    asked = movies.get("/cinematch.csv?sql=select+rows+from+ready_lists+limit+1").text
    assert "_blob_hash=" in asked


def test_the_plugin_is_silent_on_a_datasette_that_is_not_ours(movie_release: Built) -> None:
    async def asked() -> tuple[int, int, str]:
        release = movie_release.release
        metadata = json.loads((release.folder / "metadata.json").read_text(encoding="utf-8"))
        plain = Datasette([], immutables=[str(release.database)], metadata=metadata)
        shown = await plain.client.get("/cinematch/recommendations?_size=1")
        ours = await plain.client.get("/recommend/1")
        for database in plain.databases.values():
            database.close()
        return shown.status_code, ours.status_code, shown.text

    status, ours, text = asyncio.run(asked())
    assert (status, ours) == (200, 404) and "position in the list" in text
