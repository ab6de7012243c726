"""The documentation site that `make site` has built: links, and every page in a browser without a network."""

import shutil
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from playwright.sync_api import Browser, sync_playwright

SITE = Path(__file__).parents[2] / "site"
PAGES = sorted(
    path.relative_to(SITE).as_posix()
    for path in SITE.rglob("*.html")
    if "_static" not in path.parts  # the theme's templates
)
CHROMIUM = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None
)
NARROW = {"width": 400, "height": 800}  # a phone

pytestmark = pytest.mark.skipif(not PAGES, reason="no site here: make site")
in_a_browser = pytest.mark.skipif(
    CHROMIUM is None, reason="no chromium here: apt-get install chromium"
)


class Page(HTMLParser):
    """Links of a page, the addresses it loads, and its ids."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.ids: set[str] = set()
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids.add(given.get("id") or "")
        if tag == "a" and given.get("href"):
            self.links.append(given["href"] or "")
        elif given.get("src"):
            self.loads.append(given["src"] or "")
        elif tag == "link" and given.get("rel") in ("stylesheet", "preload", "icon"):
            self.loads.append(given["href"] or "")


@pytest.fixture(scope="module")
def pages() -> dict[str, Page]:
    return {name: Page(SITE / name) for name in PAGES}


def test_every_page_of_the_documentation_is_there():
    written = {
        path.relative_to(SITE.parent / "docs").with_suffix(".html").as_posix()
        for ending in ("md", "ipynb")
        for path in (SITE.parent / "docs").rglob(f"*.{ending}")
        if ".ipynb_checkpoints" not in path.parts
    }
    assert len(written) > 20
    assert written <= set(PAGES)


def test_no_link_within_the_site_is_broken(pages):
    broken = []
    for name, page in pages.items():
        for link in [*page.links, *page.loads]:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            target = (SITE / name).parent / unquote(parts.path) if parts.path else SITE / name
            other = pages.get(target.resolve().relative_to(SITE.resolve()).as_posix())
            if not target.is_file() or (
                parts.fragment and other and unquote(parts.fragment) not in other.ids
            ):
                broken.append(f"{name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_elsewhere(pages):
    loaded = {load for page in pages.values() for load in page.loads}
    assert len(loaded) > 5
    assert [load for load in loaded if urlsplit(load).scheme not in ("", "data")] == []
    assert [load for load in loaded if load.startswith("//")] == []


@pytest.fixture(scope="module")
def browser():
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@in_a_browser
@pytest.mark.parametrize("name", PAGES)
def test_a_browser_shows_the_page_on_a_phone(browser: Browser, name):
    page = browser.new_page(viewport=NARROW)
    complaints, requests = [], []
    page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto((SITE / name).as_uri())
    assert complaints == []
    assert [url for url in requests if urlsplit(url).scheme not in ("file", "data")] == []
    # Tables and code scroll inside themselves, not the page.
    assert page.evaluate("document.documentElement.scrollWidth") <= NARROW["width"]
    pictures = page.locator("img").evaluate_all(
        "all => all.filter(one => !(one.complete && one.naturalWidth)).map(one => one.src)"
    )
    assert pictures == []
    page.close()


@in_a_browser
def test_the_search_works_without_a_network(browser: Browser):
    page = browser.new_page()
    page.goto((SITE / "search.html").as_uri() + "?q=shuffle_labels")
    page.wait_for_selector("#search-results li")
    titles = page.locator("#search-results li a").all_inner_texts()
    assert any("Configuration" in title for title in titles)
    page.close()


@in_a_browser
def test_the_menu_opens_on_a_phone(browser: Browser):
    page = browser.new_page(viewport=NARROW)
    page.goto((SITE / "config.html").as_uri())
    menu = page.locator("#pst-primary-sidebar-modal")
    assert not menu.is_visible()
    page.locator("button.primary-toggle").click()
    menu.get_by_role("link", name="Outputs of a run").wait_for(state="visible")
    menu.get_by_role("link", name="FAQ").wait_for(state="visible")
    page.close()
