"""Names that are programs, markup or formulas are shown as they are, on every page, in every figure and in the report."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import yaml
from playwright.sync_api import Browser, Page, Request
from workspaces import Workspace, new_workspace

from manifold_capacity.figures.panels import LONGEST_LABEL
from manifold_capacity.summary.tables import read_table
from manifold_capacity.summary.text import shorten

SCRIPT = "</script><script>document.title='owned'</script>"
IMAGE = "\"><img src=x onerror=document.title='owned'>"
FORMULA = '=HYPERLINK("http://x")'
MATH = r"$\frac$ $x^$"
LAYERS = [SCRIPT, FORMULA + IMAGE]
CLASSES = [
    "<script>document.title='owned'</script>",
    *(SCRIPT, IMAGE, FORMULA, "=1+1", "@SUM(1)", "{{ 7*7 }}", "{% raise %}", ":file:`..`", ".."),
    "`link <javascript:document.title='owned'>`_",
    *("|x| *y* **z [1]_ z_ \\", "<!--data--><!--<script>", "Ünï 'ß' & <b>猫</b>", "`", "*"),
    MATH,
]
RESULTS = 're\'sults & $(touch owned) "=1+1" `touch owned`; touch owned #'


@dataclass
class Watched:
    """A page of the browser, and what must not happen there."""

    page: Page
    happened: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.set_default_timeout(20_000)
        self.page.on("dialog", lambda dialog: self.happened.append(dialog.message))
        self.page.on("request", lambda request: self.happened.extend(_from_elsewhere(request)))
        self.page.on("pageerror", lambda error: self.happened.append(str(error)))

    def open(self, path: Path) -> None:
        self.page.goto(path.as_uri())
        self.assert_nothing_ran()

    def click(self, name: str) -> None:
        """A link of the report's menu."""
        self.page.locator("nav nav a").first.click()  # home
        self.page.locator("nav li a").get_by_text(name, exact=True).click()

    def assert_nothing_ran(self) -> None:
        """Neither in the page nor in a frame of it."""
        assert "owned" not in [frame.title() for frame in self.page.frames]
        assert self.happened == []


def _from_elsewhere(request: Request) -> list[str]:
    """The address, unless it is the file that was opened or a part of it."""
    known = request.url.startswith(("data:", "blob:")) or request.is_navigation_request()
    return [] if known and not request.url.startswith("http") else [request.url]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run, with its report, of activations in which every name is hostile."""
    workspace = new_workspace(tmp_path_factory.mktemp("hostile") / "run")
    rng = np.random.default_rng(0)
    n = len(CLASSES)
    arrays = {
        name: rng.standard_normal((n, 1, 40)) + rng.standard_normal((n, 6, 40)) / 2
        for name in LAYERS
    }
    file = workspace.folder / f"{SCRIPT}.npz"
    file.parent.mkdir(parents=True)
    np.savez(
        file,
        labels=np.repeat(CLASSES, 6),
        **{name: values.reshape(6 * n, 40) for name, values in arrays.items()},
    )
    config = {
        "results": RESULTS,
        "activations": {"path": f"{SCRIPT}.npz"},
        "layers": {"names": [SCRIPT, "*"]},
        "manifolds": {"classes": CLASSES, "shuffle_labels": True},
        "geometry": {"n_gaussians": 20},
    }
    (workspace.folder / "config.yaml").write_text(yaml.safe_dump(config, allow_unicode=True))
    workspace.snakemake()
    workspace.snakemake("--report", "report.html")
    return workspace


@pytest.fixture
def watched(browser: Browser) -> Iterator[Watched]:
    page = browser.new_page()
    yield Watched(page)
    page.close()


def test_no_name_is_run_by_a_job(hostile):
    assert [*hostile.folder.rglob("owned")] == []
    assert (hostile.folder / RESULTS / "summary/layers.csv").is_file()


def test_names_are_in_the_tables_as_they_are(hostile):
    summary = hostile.folder / RESULTS / "summary"
    assert list(read_table(summary / "layers.csv")["layer_name"].unique()) == LAYERS
    manifolds = read_table(summary / "manifolds.csv")
    original = manifolds[manifolds["labels"] == "original"]
    assert {*original["class_name"]} == {*CLASSES}


def test_pages_show_the_names_and_run_nothing(hostile, watched):
    pages, page = hostile.folder / RESULTS / "pages", watched.page
    watched.open(pages / "layers.html")
    rows = page.locator("#layers tbody tr")
    assert rows.count() == len(LAYERS)
    page.get_by_label("Labels").locator("visible=true").select_option(label="Labels: all")
    assert rows.count() == 2 * len(LAYERS)  # with the control
    assert {*LAYERS} <= {*page.locator("#layers td").all_inner_texts()}
    page.get_by_role("button", name="All classes").click()
    page.get_by_label("Labels").locator("visible=true").select_option(label="original")
    shown = page.locator("#classes tbody td:first-child").all_text_contents()
    assert {*shown} == {*CLASSES}
    page.get_by_label("Class").locator("visible=true").select_option(label=SCRIPT)
    assert page.locator("#classes .count").inner_text() == f"{len(LAYERS)} rows"
    page.locator("#classes tbody tr").first.click()
    assert SCRIPT in page.locator("#class h2").inner_text()
    assert {*page.locator("#class polyline.other title").all_text_contents()} == {*CLASSES} - {
        SCRIPT
    }
    page.locator("#class tbody tr").first.click()
    assert f"Module {SCRIPT}," in page.locator("#layer").inner_text()
    watched.assert_nothing_ran()

    watched.open(pages / "comparisons.html")
    assert page.locator("tbody tr").count() == 4 * len(LAYERS)
    watched.assert_nothing_ran()

    watched.open(pages / "result.html")
    assert "Where capacity rises most" in page.locator(".result").inner_text()
    watched.assert_nothing_ran()

    watched.open(pages / "origin.html")
    text = page.locator("main").inner_text()
    for name in [f"{SCRIPT}.npz", *CLASSES]:
        assert json.dumps(name, ensure_ascii=False) in text
    watched.assert_nothing_ran()


def test_figures_show_the_names_and_run_nothing(hostile, watched):
    figures = sorted((hostile.folder / RESULTS / "figures").glob("*.svg"))
    assert {"controls", "manifolds"} < {path.stem for path in figures}
    texts = {}
    for path in figures:
        watched.open(path)
        assert watched.page.locator("script, foreignObject, a, iframe").count() == 0
        texts[path.stem] = watched.page.locator("text").all_text_contents()
    values = read_table(hostile.folder / RESULTS / "figures/manifolds.csv")
    for name in (values["highest_class"][0], values["lowest_class"][0]):
        assert f"class {shorten(name, LONGEST_LABEL)}:" in texts["manifolds"]
    assert any("script>.npz" in text for text in texts["layers"])


def test_the_report_shows_the_names_and_runs_nothing(hostile, watched):
    page = watched.page
    watched.open(hostile.folder / "report.html")
    text = page.locator("#app").inner_text()
    for name in [f"Activations: {SCRIPT}.npz", *CLASSES]:
        assert name in text
    # docutils makes links of addresses, even of those in a name; none of them is a script.
    names = [name for name in page.locator("nav li a").all_inner_texts() if name]
    assert {"Workflow", "Statistics", "About", "Geometry", "Where it comes from"} == {*names}
    links = page.locator("a[href^='javascript:']").evaluate_all("all => all.map(a => a.href)")
    assert [link for link in links if "app.show" not in link and "show_panel" not in link] == []
    n_results = 0
    for section in names:
        watched.click(section)
        rows = page.locator("nav tbody tr")
        for place in range(rows.count()):
            n_results += 1
            for link in range(rows.nth(place).locator("a").count()):
                watched.click(section)
                rows.nth(place).locator("a").nth(link).click()
                if page.locator("iframe").count():
                    page.frame_locator("iframe").locator("h1").wait_for()
                watched.assert_nothing_ran()
            rule = page.locator("nav li a[type=button]").last  # of the result's information
            if rule.count():
                rule.click()
        watched.assert_nothing_ran()
    assert n_results >= 12
