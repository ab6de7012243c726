"""The report of a finished run in a browser."""

import base64
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
import pytest
from playwright.sync_api import Browser, FrameLocator, Locator, Page
from workspaces import CONFIG, DRAWN, LAYERS, Workspace

from manifold_capacity.pages import page as page_module
from manifold_capacity.summary.tables import read_table

WIDTHS = (1280, 400)
N_CLASSES = CONFIG["manifolds"]["classes"]
# Rows of the finished run: four layers at two checkpoints, four quantities compared, epochs 0 and 1.
TABLES = {
    ("Geometry", "layers, classes and logs"): 2 * len(LAYERS),
    ("Geometry", "what differs"): 4 * len(LAYERS),
    ("Training", "epoch by epoch"): 2,
}


@dataclass
class Report:
    """The report in a window of the browser, and errors there."""

    page: Page
    width: int
    complaints: list[str] = field(default_factory=list)

    def section(self, name: str) -> None:
        """Open a section of the menu."""
        self.page.locator("nav nav a").first.click()  # home
        self.page.locator("nav li a", has_text=name).click()

    def item(self, name: str) -> Locator:
        """An item of the section that is open."""
        return self.page.locator("nav tbody tr").filter(has=self.page.get_by_text(name, exact=True))

    def show(self, name: str) -> FrameLocator:
        """Open an item; its frame, if it is a page."""
        self.item(name).locator("a").first.click()
        return self.page.frame_locator("iframe")

    def assert_fits(self) -> None:
        """Neither the report nor its page is wider than the window."""
        for frame in self.page.frames:
            wide, window = frame.evaluate(
                "[document.documentElement.scrollWidth, document.documentElement.clientWidth]"
            )
            assert wide <= window <= self.width, frame.url[:60]


@pytest.fixture(scope="module")
def reported(finished_once: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run with its report."""
    workspace = finished_once.twin(tmp_path_factory.mktemp("reported") / "run")
    workspace.snakemake("--report", "report.html")
    return workspace


@pytest.fixture(scope="module", params=WIDTHS)
def opened(
    request: pytest.FixtureRequest, browser: Browser, reported: Workspace
) -> Iterator[Report]:
    """The report in a window of one width; shared by all tests."""
    page = browser.new_page(viewport={"width": request.param, "height": 800})
    page.set_default_timeout(20_000)
    report = Report(page, request.param)
    page.on("console", lambda said: said.type == "error" and report.complaints.append(said.text))
    page.on("pageerror", lambda error: report.complaints.append(str(error)))
    page.on("requestfailed", lambda request: report.complaints.append(request.url[:80]))
    page.on("request", lambda request: report.complaints.extend(from_elsewhere(request.url)))
    page.goto((reported.folder / "report.html").as_uri())
    yield report
    page.close()


def from_elsewhere(address: str) -> list[str]:
    """The address, unless it is part of the report."""
    return [] if address.startswith(("file:", "data:", "blob:")) else [address]


@pytest.fixture
def report(opened: Report) -> Iterator[Report]:
    """The report; after each test, there must be no error of the browser and no access to the network."""
    yield opened
    assert opened.complaints == []


def test_the_first_page_starts_at_its_beginning(report: Report) -> None:
    report.page.reload()
    title = report.page.get_by_role("heading", name="What was found")
    box = title.bounding_box()
    assert box is not None
    assert box["x"] >= 0
    assert box["y"] >= 0
    assert box["x"] + box["width"] <= report.width
    assert report.page.locator("nav li a").all_inner_texts()[-3:] == [
        "Geometry",
        "Training",
        "Where it comes from",
    ]
    report.assert_fits()


def test_the_first_page_has_the_figure_and_the_findings(
    report: Report, reported: Workspace
) -> None:
    report.page.reload()
    image = report.page.locator(".result img")
    image.evaluate("image => image.decode()")
    figure = (reported.results / "figures/layers.svg").read_bytes()
    source = image.get_attribute("src") or ""
    assert base64.b64decode(source.partition("base64,")[2]) == figure
    natural, shown = image.evaluate("image => [image.naturalWidth, image.clientWidth]")
    assert 0.74 * natural <= shown <= natural + 1, "its text can be read"
    findings = (reported.results / "summary/findings.txt").read_text()
    said = " ".join(report.page.locator(".result dd").all_inner_texts())
    assert {*said.split()} <= {*findings.split()}
    assert "From " in said
    result, graph = (
        report.page.locator(f"#app {name}").bounding_box() for name in (".result", "#rulegraph")
    )
    assert result is not None
    assert graph is not None
    assert result["y"] < 350
    assert graph["y"] >= result["y"] + result["height"]


def test_every_figure_is_drawn(report: Report) -> None:
    for section in ("Geometry", "Training"):
        names = [figure.title for figure in DRAWN if figure.category == section]
        report.section(section)
        shown = report.page.locator("nav tbody tr", has_text="Figure: ")
        listed = sorted(f"Figure: {name}\t" for name in names)
        assert sorted(shown.all_inner_texts()) == listed
        for name in names:
            report.show(f"Figure: {name}")
            image = report.page.locator("#app > div > div img")
            source = image.get_attribute("src") or ""
            assert source.startswith("data:image/svg+xml")
            assert b"<text" in base64.b64decode(source.partition("base64,")[2])
            image.evaluate("image => image.decode()")
            width, height = image.evaluate("image => [image.naturalWidth, image.naturalHeight]")
            assert width > 200
            assert height > 100
            box = image.bounding_box()
            assert box is not None
            assert box["x"] >= 0
            if report.width < width:
                assert box["width"] == pytest.approx(width, abs=1), "scrolls, and is not shrunk"
            else:
                assert box["x"] + box["width"] <= report.width
            report.assert_fits()


def test_every_table_has_its_rows(report: Report) -> None:
    for (section, name), n in TABLES.items():
        report.section(section)
        page = report.show(f"Table: {name}")
        assert page.locator(".count:visible").inner_text() == f"{n} rows"
        assert page.locator("tbody:visible tr").count() == n
        report.assert_fits()


def test_a_click_on_a_column_sorts_by_its_numbers(report: Report, reported: Workspace) -> None:
    table = pd.read_csv(reported.results / "summary/layers.csv")
    report.section("Geometry")
    page = report.show("Table: layers, classes and logs")
    head = page.locator("#layers th", has_text="Features N")
    for descending in (False, True):
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == ("descending" if descending else "ascending")
        place = page.locator("#layers th").all_inner_texts().index("Features N")
        found = [*map(int, cells(page, place))]
        assert found == sorted(table["n_features"], reverse=descending)
        assert len({*found}) == len(LAYERS)
    head = page.locator("#layers th", has_text="Capacity α")
    head.locator("button").click()
    place = page.locator("#layers th").all_inner_texts().index("Capacity α")
    capacities = [float(text.split(" [")[0]) for text in cells(page, place)]
    assert capacities == pytest.approx(sorted(table["capacity"]), abs=0.006)
    assert capacities == sorted(capacities)


def cells(page: FrameLocator, place: int) -> list[str]:
    """Texts of a column of the table of layers."""
    return page.locator(f"#layers tbody tr td:nth-child({place + 1})").all_inner_texts()


def test_the_menu_can_be_hidden(report: Report) -> None:
    report.section("Geometry")
    page = report.show("Table: layers, classes and logs")
    menu = report.page.locator("#app > div > nav")
    menu.locator("h1 a").click()
    head = page.locator("#layers th button", has_text="Capacity α")
    head.click()  # nothing covers it
    assert page.locator("#layers th[aria-sort=ascending]").count() == 1
    report.assert_fits()
    back = report.page.locator("#app > div > div.fixed a")
    back.click()
    report.item("Figure: along the layers").locator("a").first.click()
    report.page.locator("#app > div > div img").wait_for()  # the only one


def test_rows_can_be_filtered_by_words_and_by_choice(report: Report, reported: Workspace) -> None:
    report.section("Geometry")
    page = report.show("Table: layers, classes and logs")
    page.get_by_role("button", name="All classes").click()
    n = 2 * len(LAYERS) * N_CLASSES
    assert page.locator("#classes .count").inner_text() == f"{n} rows"
    page.get_by_label("Checkpoint").locator("visible=true").select_option(label="epoch 1")
    page.locator("#classes input").fill("conv2d")
    assert page.locator("#classes .count").inner_text() == f"{N_CLASSES} rows"
    names = page.locator("#classes tbody td:first-child").all_inner_texts()
    manifolds = pd.read_csv(reported.results / "summary/manifolds.csv", dtype={"class_name": str})
    assert {*names} == {*manifolds["class_name"]}
    page.locator("#classes input").fill("no such layer")
    assert page.locator("#classes .count").inner_text() == "0 rows"
    report.assert_fits()


def test_a_layer_leads_to_its_classes_and_its_log(report: Report, reported: Workspace) -> None:
    report.section("Geometry")
    page = report.show("Table: layers, classes and logs")
    page.locator("#layers tbody tr", has_text="10 Linear").filter(has_text="epoch 1").click()
    assert page.locator("#layer h2").inner_text() == "10 Linear, epoch 1"
    manifolds = pd.read_csv(reported.results / "summary/manifolds.csv", dtype={"class_name": str})
    of_layer = manifolds[
        (manifolds["layer"] == "10_Linear") & (manifolds["checkpoint"] == "epoch-001")
    ].sort_values("capacity")
    rows = page.locator("#layer tbody tr")
    assert rows.locator("td:first-child").all_inner_texts() == [*of_layer["class_name"]]
    assert "All quadratic programs converged" in page.locator("#layer").inner_text()

    logs = page.locator("#layer details", has_text="train")
    said = (reported.results / "logs/train/small_cnn/seed-0.log").read_text()
    assert "epoch 1" in said
    assert logs.locator("pre").last.inner_text().strip() == said.strip()
    report.assert_fits()

    page.get_by_role("button", name="Previous layer").click()
    assert page.locator("#layer h2").inner_text() == "1 Conv2d, epoch 1"
    page.get_by_role("button", name=re.compile("^Layers")).click()
    assert page.locator("#layers tbody tr").count() == 2 * len(LAYERS)


def test_a_class_leads_to_its_line_in_the_figure_and_back(
    report: Report, reported: Workspace
) -> None:
    manifolds = read_table(reported.results / "summary/manifolds.csv")
    names = [*manifolds["class_name"].unique()]
    report.section("Geometry")
    page = report.show("Table: layers, classes and logs")
    page.locator("#layers tbody tr", has_text="10 Linear").filter(has_text="epoch 1").click()
    page.locator("#layer tbody tr").filter(has=page.get_by_text(names[1], exact=True)).click()
    assert page.locator("#class h2").inner_text() == f"Class {names[1]}, epoch 1"
    panel = page.locator("#class svg").first
    assert panel.locator("polyline.other").count() == N_CLASSES - 1
    points = panel.locator("circle title").all_text_contents()
    of_class = manifolds[
        (manifolds["class_name"] == names[1]) & (manifolds["checkpoint"] == "epoch-001")
    ]
    assert [float(said.split(": ")[1]) for said in points] == pytest.approx(
        [*of_class["capacity"]], rel=1e-3
    )
    assert [said.split(":")[0] for said in points] == [
        layer.replace("_", " ", 1) for layer in of_class["layer"]
    ]
    report.assert_fits()

    other = panel.locator("polyline.other").first
    said = other.locator("title").text_content()
    other.dispatch_event("click")
    assert page.locator("#class h2").inner_text() == f"Class {said}, epoch 1"
    page.locator("#class circle").nth(1).click()
    assert page.locator("#layer h2").inner_text() == "1 Conv2d, epoch 1"


def test_the_configuration_and_its_origin_are_shown(report: Report) -> None:
    report.section("Where it comes from")
    page = report.show("Configuration and provenance")
    text = page.locator("main").inner_text()
    for said in ("n_gaussians: 40", "torch", "Activations"):
        assert said in text
    assert "  margin: 0.0" in page.locator(".default").all_inner_texts()
    assert "  n_gaussians: 40" not in page.locator(".default").all_inner_texts()
    report.assert_fits()


def test_tables_can_be_saved_as_csv(report: Report, reported: Workspace, tmp_path: Path) -> None:
    report.section("Geometry")
    for name in ("layers", "manifolds", "comparisons"):
        with report.page.expect_download() as download:
            report.item(f"Values: {name}.csv").locator("a").first.click()
        download.value.save_as(tmp_path / name)
        table = reported.results / f"summary/{name}.csv"
        assert (tmp_path / name).read_bytes() == table.read_bytes()


def test_the_largest_page_can_be_shown(browser: Browser, tmp_path: Path) -> None:
    """In a frame with the page as its address, as in Snakemake's report."""
    text = f"<p id=end></p><!--{'x' * page_module.MOST_BYTES}"[: page_module.MOST_BYTES - 3] + "-->"
    address = f"data:text/html;charset=utf8;filename=layers.html;base64,{base64.b64encode(text.encode()).decode()}"
    file = tmp_path / "page.html"
    file.write_text(f'<!doctype html><iframe src="{address}"></iframe>')
    page = browser.new_page()
    page.goto(file.as_uri())
    assert page.frame_locator("iframe").locator("#end").count() == 1
    page.close()
