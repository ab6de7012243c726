"""What programs make for the documentation: the pictures of concepts.md, the tables of outputs.md, the gallery's simulation."""

import importlib.util
from pathlib import Path
from xml.etree import ElementTree

import pandas as pd
import pytest

from manifold_capacity.figures import style

ROOT = Path(__file__).parents[2]


def program(path):
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / "docs" / path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


CONCEPTS, TABLES = program("figures/concepts.py"), program("figures/tables.py")
RECORDING = program("gallery/recording/simulate.py")


def texts(path):
    """All that is written in a picture: labels, and the numbers that were measured."""
    return ["".join(node.itertext()) for node in ElementTree.parse(path).iter() if node.text]


@pytest.mark.parametrize("name", CONCEPTS.PICTURES)
def test_the_pictures_are_those_that_the_program_draws(tmp_path, name):
    with style.in_style():
        figure = CONCEPTS.PICTURES[name]()
    drawn = tmp_path / "drawn.svg"
    style.write(figure, drawn)
    committed = ROOT / f"docs/images/concepts-{name}.svg"
    assert len(texts(drawn)) > 5
    assert texts(drawn) == texts(committed)


def test_the_page_shows_them_all():
    page = (ROOT / "docs/concepts.md").read_text()
    committed = {path.name for path in (ROOT / "docs/images").glob("concepts-*.svg")}
    assert committed == {f"concepts-{name}.svg" for name in CONCEPTS.PICTURES}
    assert all(f"(images/{name})" in page for name in committed)


def test_the_tables_of_outputs_are_those_of_the_package():
    page = (ROOT / "docs/outputs.md").read_text(encoding="utf-8")
    assert TABLES.fill(page) == page, "run make docs"
    marks = {mark[2] for mark in TABLES.MARKED.finditer(page)}
    assert marks == {*TABLES.TABLES, "figures", "caveats"}
    sections = {mark[3] for mark in TABLES.MARKED.finditer(page) if mark[2] == "layers"}
    assert sections == {column.section for column in TABLES.TABLES["layers"]}


def test_the_simulated_recording_is_that_of_the_gallery(tmp_path):
    page = pd.read_csv(ROOT / "docs/gallery/recording/capacity.csv")
    again = RECORDING.table({"trials": (5, 10)})
    shown = page[(page["varied"] == "trials") & page["trials"].isin([5, 10])]
    pd.testing.assert_frame_equal(again, shown.reset_index(drop=True), atol=1e-5)
    RECORDING.draw(page, tmp_path / "drawn.svg")
    assert texts(tmp_path / "drawn.svg") == texts(ROOT / "docs/gallery/recording/capacity.svg")
