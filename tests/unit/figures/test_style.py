"""Figures are written as files."""

from pathlib import Path
from xml.etree import ElementTree

import matplotlib
from PIL import Image

from manifold_capacity.figures.layers import plot_layers
from manifold_capacity.figures.style import save, write

from .helpers import SIX, table


def test_files_that_are_written(tmp_path: Path) -> None:
    figure = plot_layers(table({"a": SIX}))
    save(figure, tmp_path / "layers.v1")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["layers.v1.png", "layers.v1.svg"]
    with Image.open(tmp_path / "layers.v1.png") as image:
        assert image.size == tuple((figure.get_size_inches() * 200).round())
    texts = [
        "".join(element.itertext()).strip()
        for element in ElementTree.parse(tmp_path / "layers.v1.svg").iter()
        if element.tag.endswith("}text")
    ]
    assert {"10 Linear", "epoch 0 (untrained)", "test split", "digits · a"} <= set(texts)
    assert "<dc:date>" not in (tmp_path / "layers.v1.svg").read_text()
    with matplotlib.rc_context({"savefig.dpi": 30}):
        write(figure, tmp_path / "again.png")
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "layers.v1.png").read_bytes()
    write(figure, tmp_path / "layers.pdf")
    assert b"CreationDate" not in (tmp_path / "layers.pdf").read_bytes()
