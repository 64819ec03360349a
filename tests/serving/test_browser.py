"""The pages in a real browser: nothing overflows, nothing comes from elsewhere, those who cannot see can use them, and a few stories."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, expect, Page, sync_playwright

from tests.serving.conftest import clone, Server, serving
from warehouse.layout import Warehouse
from warehouse.promotion import promote
from warehouse.release import current_id

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")

SIZES = [("light", 360), ("dark", 360), ("light", 1280), ("dark", 1280)]
# Datasette's pages carry styles in attributes, which the content security policy has the browser refuse and report.
REFUSED_STYLE = "Applying inline style violates the following Content Security Policy directive"


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    yield context.new_page()
    context.close()


def paths(server: Server, user: str) -> list[str]:
    item, release = quote(str(server.rows("/popular?n=1")[0]["item_id"]), safe=""), server.rows("/releases")[0]["release"]
    who = quote(user, safe="")
    listed = quote(str(server.rows(f"/recommend/{who}?n=1")[0]["item_id"]), safe="")
    return [
        "/", f"/recommend/{who}", f"/recommend/{who}?n=200", f"/why/{who}/{listed}", f"/why/{who}/{listed}?without=1", f"/predict/{who}/{listed}", f"/ratings/{who}",
        "/popular", "/genres", f"/items/{item}", f"/similar/{item}", f"/similar?items={item},{listed}", "/search?q=a", "/playground", f"/playground?rated={item}&q=e", "/explore", f"/explore?user_id={who}", "/quality", "/analytics", "/data", "/api", "/runs", "/releases",
        f"/releases/{release}", f"/releases/compare?a={release}&b={release}", "/cinematch", "/cinematch/items?_facet=year",
        f"/cinematch/who_gets_item?item_id={item}", "/recommend/x/y", f"/?release={release}", f"/recommend/{who}?release={release}", f"/why/{who}/{listed}?release={release}",
    ]  # fmt: skip


@pytest.mark.parametrize(("scheme", "width"), SIZES)
@pytest.mark.parametrize(("server", "user"), [("movies", "1"), ("purchases", "Zürich #0")])
def test_each_page_fits_and_can_be_used_by_all(
    browser: Browser, server: str, user: str, scheme: str, width: int, request: pytest.FixtureRequest
) -> None:
    asked: Server = request.getfixturevalue(server)
    context = browser.new_context(color_scheme=scheme, viewport={"width": width, "height": 900})
    page, said, loaded, found = context.new_page(), [], [], []
    page.on("console", lambda message: said.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda sent: loaded.append(sent.url))
    home = urlsplit(asked.url).netloc
    for path in paths(asked, user):
        said.clear(), loaded.clear()
        page.goto(asked.url.rstrip("/") + path)
        too_wide = page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        faults = [
            (fault["id"], fault["nodes"][0]["html"][:200])
            for fault in Axe().run(page).response["violations"]
            if fault["impact"] in ("serious", "critical")
        ]
        elsewhere = [url for url in loaded if not url.startswith("data:") and urlsplit(url).netloc != home]
        errors = [text for text in said if not (path.startswith("/cinematch") and text.startswith(REFUSED_STYLE)) and "404" not in text]
        if too_wide > 0 or faults or elsewhere or errors:
            found.append((path, too_wide, faults, elsewhere, errors))
    context.close()
    assert not found, "\n".join(map(str, found))


@pytest.mark.parametrize(("server", "user"), [("movies", "1"), ("purchases", "Zürich #0")])
def test_each_page_can_be_printed(browser: Browser, server: str, user: str, request: pytest.FixtureRequest) -> None:
    """On a sheet of A4 less its margins, in a browser that is dark otherwise."""
    asked: Server = request.getfixturevalue(server)
    context = browser.new_context(color_scheme="dark", viewport={"width": 718, "height": 1000})
    page, found = context.new_page(), []
    page.emulate_media(media="print")
    for path in paths(asked, user):
        page.goto(asked.url.rstrip("/") + path)
        shown = page.evaluate("""() => ({
            colours: [getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor],
            seen: [...document.querySelectorAll("header nav, form")].filter(one => one.offsetParent !== null).length,
            addresses: [...document.links].filter(one => !["none", "normal"].includes(getComputedStyle(one, "::after").content)).length,
            cut: [...document.querySelectorAll("table, svg, main")].filter(one => one.getBoundingClientRect().right > innerWidth + 1).length,
        })""")
        if shown != {"colours": ["rgb(0, 0, 0)", "rgb(255, 255, 255)"], "seen": 0, "addresses": 0, "cut": 0}:
            found.append((path, shown))
    context.close()
    assert not found, "\n".join(map(str, found))


def test_somebody_finds_a_film_sees_who_gets_it_and_why(page: Page, movies: Server) -> None:
    row = movies.rows("/recommend/1?n=1")[0]
    page.goto(movies.url)
    page.get_by_label("Search titles").fill(row["title"])
    page.get_by_label("Search titles").press("Enter")
    page.locator(f'a[href="/items/{row["item_id"]}"]').first.click()
    expect(page.locator("main")).to_contain_text("among the first ten")
    page.get_by_role("link", name="who gets it").click()
    expect(page.locator("table.rows-and-columns")).to_contain_text("1")
    page.goto(f"{movies.url}recommend/1")
    page.get_by_role("link", name=re.compile("^score")).first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("Why ")
    expect(page.locator("tr.total")).to_contain_text(f"{row['score']:+.4f}")


def test_somebody_types_a_title_and_takes_what_is_suggested(page: Page, movies: Server) -> None:
    row = movies.rows("/recommend/1?n=1")[0]
    page.goto(f"{movies.url}popular")
    box = page.get_by_label("Search titles")
    box.press_sequentially(row["title"][:4])
    found = page.locator("datalist option")
    expect(found.first).to_be_attached()
    assert 0 < found.count() <= 8
    box.fill(row["title"][:-1])
    expect(page.locator(f"datalist option[data-address='/items/{row['item_id']}']")).to_be_attached()
    title = page.locator(f"datalist option[data-address='/items/{row['item_id']}']").get_attribute("value")
    box.evaluate(
        """(box, title) => {
        box.value = title;
        box.dispatchEvent(new InputEvent("input", { inputType: "insertReplacementText", bubbles: true }));
    }""",
        title,
    )  # as a browser does when one is taken from its list
    expect(page).to_have_url(re.compile(f"/items/{row['item_id']}$"))


def test_somebody_looks_at_the_release_before_and_comes_back(page: Page, own_movies: Callable[..., tuple[Path, str]]) -> None:
    folder, _ = own_movies()
    warehouse = Warehouse(folder)
    before = current_id(warehouse)
    promote(warehouse, clone(warehouse, before, "20990101T000000Z"), reason="test")
    with serving(folder) as server:
        page.goto(f"{server.url}releases")
        page.get_by_role("link", name=before).first.click()
        page.get_by_role("link", name="What it recommends").click()
        crumb = page.get_by_role("navigation", name="Release")
        expect(crumb).to_contain_text(f"This is release {before} as it was sealed")
        page.get_by_label("User id").fill("1")
        page.get_by_role("button", name="Recommend").click()
        page.get_by_role("link", name=re.compile("^score")).first.click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Why ")
        expect(crumb).to_contain_text(before)
        page.get_by_label("Search titles").fill("the")
        page.get_by_label("Search titles").press("Enter")
        expect(crumb).to_contain_text(before)
        crumb.get_by_role("link", name="Back to what is served now").click()
        expect(page.get_by_role("heading", level=1)).to_contain_text("Titles with")
        expect(crumb).to_have_count(0)
        assert page.url.endswith("/search?q=the")


def test_somebody_rates_films_by_keyboard_and_the_list_changes(page: Page, movies: Server) -> None:
    page.goto(movies.url)
    page.get_by_role("link", name="Rate a few items").click()
    listed = page.locator("ol.list .title")
    before = listed.all_inner_texts()
    for _ in range(5):
        star = page.get_by_role("link", name=re.compile("^5 for ")).first
        star.focus()
        page.keyboard.press("Enter")
        page.wait_for_load_state()
    expect(page.get_by_role("heading", name="For you")).to_be_visible()
    assert listed.all_inner_texts() != before and page.url.count(":5") == 5
    page.get_by_role("link", name=re.compile("^Remove ")).first.click()
    assert page.url.count(":5") == 4


def test_somebody_looks_how_good_it_is_without_a_mouse(page: Page, movies: Server) -> None:
    page.goto(movies.url)
    for _ in range(12):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.textContent") == "Quality":
            break
    page.keyboard.press("Enter")
    expect(page.locator("svg.chart").first).to_be_visible()
    page.get_by_label("Metric").select_option("coverage@10")
    page.get_by_role("button", name="Show").click()
    expect(page.get_by_role("heading", level=2).first).to_contain_text("coverage@10")
    page.locator("summary").click()
    expect(page.locator("details table")).to_contain_text(movies.rows("/quality")[0]["release"])
