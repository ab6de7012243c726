"""What holds for all figures of a run."""

import sys
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
import pytest

from manifold_capacity.errors import MissingPackageError
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.figures.style import write
from manifold_capacity.summary.columns import NEEDED_COLUMNS

from .helpers import SIX, curves, table, tables, with_control


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_table_without_rows_is_an_error(figure) -> None:
    with pytest.raises(ValueError, match="the table has no rows; there is nothing to draw"):
        figure.plot(pd.DataFrame(columns=[*NEEDED_COLUMNS[figure.table]]))


def test_without_matplotlib_the_remedy_is_named(monkeypatch) -> None:
    for name in [*sys.modules]:
        if name.startswith("manifold_capacity.figures.") and "registry" not in name:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(MissingPackageError, match=r"needs matplotlib, .* pip install"):
        FIGURES["layers"].plot(table({"a": SIX}))


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_same_table_gives_the_same_bytes(figure, tmp_path: Path) -> None:
    layers = table({"a": SIX[:2]}, splits=("train",), dead=[(15, SIX[1])])
    drawn = tables(with_control(layers))[figure.table]
    files = [tmp_path / f"{name}.svg" for name in ("first", "second")]
    write(figure.plot(drawn), files[0])
    with matplotlib.rc_context({"font.size": 20, "svg.fonttype": "path", "lines.linewidth": 9}):
        write(figure.plot(drawn), files[1])
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.parametrize("name", ["layers", "radius_dimension", "controls", "glue", "training"])
def test_values_are_those_of_the_curves(name: str) -> None:
    layers = table({"a": SIX, "b": SIX}, seeds=(0, 1), epochs=(0, 15))
    frame = tables(with_control(layers))[FIGURES[name].table]
    values = FIGURES[name].values(frame)
    drawn = [
        np.asarray(line.get_ydata(), dtype=float)
        for axis in FIGURES[name].plot(frame).axes
        for line in curves(axis).values()
    ]
    if name == "radius_dimension":
        values = values[values["quantity"] == "dimension"]
    keys = [key for key in ("model", "checkpoint", "curve", "split") if key in values.columns]
    tabulated = [part["value"].to_numpy() for _, part in values.groupby([*keys, "quantity"])]
    assert len(tabulated) == len(drawn)
    for numbers in tabulated:
        assert any(np.array_equal(numbers, line, equal_nan=True) for line in drawn)
    places = "epoch" if name == "training" else "layer"
    assert set(values[places]) == (set(range(5)) if name == "training" else set(SIX))
    assert set(values["n_seeds"]) == {2}


@pytest.mark.parametrize(
    ("epochs", "weights", "shuffle", "measures", "absent"),
    [
        ([0, 5, 15], "trained", True, ["mean_field", "glue"], set()),
        ([0, 15], "trained", False, ["mean_field", "glue"], {"dynamics", "controls"}),
        ([0], "trained", True, ["mean_field"], {"dynamics", "training", "glue", "separability"}),
        ([0, 5], "pretrained", False, ["glue"], {"dynamics", "controls", "training"}),
        ([0, 5], "external", True, ["glue"], {"dynamics", "training"}),
        ([0, 5, 15], "external", True, ["glue"], {"training"}),
    ],
)
def test_a_run_draws_what_it_has(epochs, weights, shuffle, measures, absent) -> None:
    config = {"models": [{"weights": weights}], "checkpoints": epochs}
    config["geometry"] = {"measures": measures}
    config["manifolds"] = {"shuffle_labels": shuffle}
    listed = [{"path": f"{epoch}.npz", "epoch": epoch} for epoch in epochs]
    config["activations"] = {"path": listed if weights == "external" else None}
    config["layers"] = {"views": {}}
    absent = {*absent, "positions"}
    assert {name for name, figure in FIGURES.items() if not figure.drawn(config)} == absent
    config["layers"] = {"views": {"*": ["mean", {"positions": 2}]}}
    assert FIGURES["positions"].drawn(config)
