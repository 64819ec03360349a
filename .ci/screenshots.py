#!/usr/bin/env python3
"""Take a picture of every page in a real browser, light and dark, of the release that a warehouse serves.

Usage: screenshots.py WAREHOUSE FOLDER. Needs chromium; writes FOLDER/<page>-<light or dark>.png.
"""

from __future__ import annotations

import json
import shutil
import subprocess  # nosec B404  # each call says by itself what it runs
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote
from urllib.request import urlopen

from playwright.sync_api import sync_playwright

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
WIDTH, HEIGHT = 1100, 800


def main(warehouse: Path, folder: Path) -> int:
    if CHROMIUM is None:
        print("chromium: expected on the path, found none. Get it with: apt-get install chromium", file=sys.stderr)
        return 1
    folder.mkdir(parents=True, exist_ok=True)
    with _served(warehouse) as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        named = pages(url)
        for scheme in ("light", "dark"):
            context = browser.new_context(color_scheme=scheme, viewport={"width": WIDTH, "height": HEIGHT})
            page = context.new_page()
            for name, path in named.items():
                page.goto(url + path)
                page.screenshot(path=folder / f"{name}-{scheme}.png")
            context.close()
        browser.close()
    print(f"{2 * len(named)} pictures in {folder}")
    return 0


def pages(url: str) -> dict[str, str]:
    """Each page by name, for the first user of the home page and the first item of their list."""

    def rows(path: str) -> list[dict]:
        with urlopen(url + path) as answer:  # nosec B310  # of the server that was just started
            return json.load(answer)["rows"]

    with urlopen(f"{url}/") as answer:  # nosec B310  # the same server
        user = quote(str(json.load(answer)["users"][0]["user_id"]), safe="")
    item, other, *_ = (quote(str(row["item_id"]), safe="") for row in rows(f"/recommend/{user}.json"))
    releases = [row["release"] for row in rows("/releases.json")]
    return {
        "home": "/",
        "recommend": f"/recommend/{user}",
        "why": f"/why/{user}/{item}?without=1",
        "ratings": f"/ratings/{user}",
        "explore": f"/explore?user_id={user}",
        "playground": f"/playground?rated={item}:5,{other}:4",
        "item": f"/items/{item}",
        "similar": f"/similar/{item}",
        "popular": "/popular",
        "search": "/search?q=the",
        "analytics": "/analytics",
        "quality": "/quality",
        "data": "/data",
        "runs": "/runs",
        "releases": "/releases",
        "release": f"/releases/{releases[0]}",
        "compare": f"/releases/compare?a={releases[-1]}&b={releases[0]}",
        "api": "/api",
        "tables": "/cinematch",
    }


@contextmanager
def _served(warehouse: Path) -> Iterator[str]:
    """Serve the warehouse on a free port until the pictures are taken."""
    command = [sys.executable, "-m", "serving", "--warehouse", str(warehouse), "--port", "0", "--read-only"]
    server = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)  # nosec B603  # our own server
    try:
        banner = server.stdout.readline() if server.stdout else ""
        if " at " not in banner:
            raise SystemExit(f"{warehouse}: the server did not start")
        yield banner.split(" at ")[1].strip().rstrip("/")
    finally:
        server.terminate()
        server.wait(15)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve(), Path(sys.argv[2])))
