"""Figures are written as files."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib
import pytest
from PIL import Image

from manifold_capacity.figures.layers import plot_layers
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.figures.style import save, write

from .helpers import SIX, table, tables, with_control


def texts_of(path: Path) -> list[str]:
    return [
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(path).iter()
        if element.tag.endswith("}text")
    ]


def test_files_that_are_written(tmp_path: Path) -> None:
    figure = plot_layers(table({"a": SIX}))
    save(figure, tmp_path / "layers.v1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layers.v1.png", "layers.v1.svg"]
    with Image.open(tmp_path / "layers.v1.png") as image:
        assert image.size == tuple((figure.get_size_inches() * 200).round())
    texts = texts_of(tmp_path / "layers.v1.svg")
    assert {"10 Linear", "epoch 0 (untrained)", "test split", "digits · a"} <= set(texts)
    assert "<dc:date>" not in (tmp_path / "layers.v1.svg").read_text()
    with matplotlib.rc_context({"savefig.dpi": 30}):
        write(figure, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "layers.v1.png").read_bytes()
    write(figure, tmp_path / "layers.pdf")
    assert b"CreationDate" not in (tmp_path / "layers.pdf").read_bytes()


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_names_between_dollar_signs_are_no_formulas(tmp_path: Path, figure) -> None:
    names = {r"$\frac$": [r"0_$\x$ <b>", "1_a"], r"$<i>^$": ["0_Input", r"1_$^$"]}
    drawn = tables(with_control(table(names)))[figure.table].copy()
    if "class_name" in drawn:
        drawn["class_name"] = drawn["class_name"].map(lambda name: rf"$\{name}$")
    save(figure.plot(drawn), tmp_path / "figure")
    shown = "\n".join(texts_of(tmp_path / "figure.svg"))
    for name in [*names, *["class $\\"] * ("class_name" in drawn)]:
        assert name in shown
