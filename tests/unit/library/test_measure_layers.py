"""Layers as arrays: the table is the pipeline's for the same arrays, and says what it is of."""

import re

import numpy as np
import pandas as pd
import pytest

from manifold_capacity import measure_layers
from manifold_capacity.activations.external import ExternalActivations
from manifold_capacity.errors import CaveatWarning
from manifold_capacity.geometry.draws import combine_columns, draw_seed
from manifold_capacity.geometry.glue import glue_from_gram
from manifold_capacity.geometry.glue_table import combine_glue, separability_curve
from manifold_capacity.geometry.gram import gram_from_arrays
from manifold_capacity.geometry.measure import geometry_from_moments, measure
from manifold_capacity.geometry.moments import moments_from_arrays
from manifold_capacity.geometry.variance import variance_of_gram
from manifold_capacity.library.layer_table import LayerTable
from manifold_capacity.summary import columns, rows
from manifold_capacity.summary.tables import read_table, write_table
from manifold_capacity.summary.text import format_table

RNG = np.random.default_rng(0)
WORDS = np.array(["cat", "dog", "eel", "fox", "gnu"])
CODES = RNG.permutation(np.repeat(np.arange(5), [12, 14, 12, 13, 16]))
LABELS = WORDS[CODES]


def area(shape, spread):
    return RNG.standard_normal((5, *shape))[CODES] + spread * RNG.standard_normal((67, *shape))


LAYERS = {"conv.10": area((3, 4, 5), 0.6), "conv.2": area((30,), 0.4).astype(np.float32)}
FEW = {"n_gaussians": 40}


def of_pipeline(path, *, points, repeats, seed, glue):
    """The tables of layers and of manifolds, by the functions that the scripts call."""
    np.savez(path, **LAYERS, labels=LABELS)
    external = ExternalActivations(path)
    disjoint = points != "equal"
    found, tables = [], []
    for layer in external.layers:
        row = {
            "dataset": "a",
            "model": "a",
            "weights": "external",
            "seed": seed,
            "checkpoint": "external",
        }
        row |= {"epoch": None, "split": "all", "labels": "original", **rows.layer_columns(layer)}
        geometries, exact = [], []
        for draw in range(repeats):
            manifolds = external.open(layer.label, None, points, seed, draw)
            own = {"seed": draw_seed(seed, draw)}
            geometries.append(geometry_from_moments(moments_from_arrays(manifolds), **own, **FEW))
            if glue:
                gram = gram_from_arrays(manifolds)
                exact.append((variance_of_gram(gram), glue_from_gram(gram, **own)))
        numbers, table = combine_columns(geometries, disjoint=disjoint)
        row |= {"status": "ok"} | numbers
        if glue:
            draws = [each for _, each in exact]
            numbers, of_classes = combine_glue(draws, disjoint=disjoint)
            joined = {"row": exact[0][0] | numbers, "manifolds": of_classes}
            row, table = rows.joined(row, table, joined)
        curve = separability_curve(draws) if glue else {}
        found.append(row)
        names = dict(enumerate(external.class_names))
        of_layer = rows.layer_tables(row, names, table, geometries, curve)
        tables.append(map(pd.DataFrame, of_layer))
    return pd.DataFrame(found), [
        pd.concat(each, ignore_index=True) for each in zip(*tables, strict=True)
    ]


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize(
    ("points", "repeats", "glue"), [("all", 1, False), (4, 3, True), ("equal", 2, False)]
)
def test_numbers_are_those_of_the_pipeline(tmp_path, monkeypatch, points, repeats, glue, in_parts):
    if in_parts:
        monkeypatch.setattr("manifold_capacity.activations.external_reader._BLOCK_BYTES", 4000)
        monkeypatch.setattr("manifold_capacity.geometry.moments._MAX_BLOCK_FEATURES", 5)
    expected, others = of_pipeline(
        tmp_path / "a.npz", points=points, repeats=repeats, seed=3, glue=glue
    )
    found = measure_layers(
        LAYERS,
        LABELS,
        points_per_class=points,
        repeats=repeats,
        seed=3,
        name="a",
        measures=("mean_field", "glue") if glue else ("mean_field",),
        **FEW,
    )
    expected = expected.mask(expected == "")
    assert {*columns.REQUIRED["layers"]} <= {*found.columns} == {*expected.columns}
    assert found["caveats"].fillna("").tolist() == expected["caveats"].fillna("").tolist()
    numbers = [name for name in expected if "caveats" not in name and expected[name].notna().all()]
    assert {*columns.LAYER_NUMBERS} - {"caveats", "caveats_text"} <= {*numbers}
    for name in numbers:
        assert found[name].tolist() == expected[name].tolist(), name
    for kind, table in zip(("manifolds", "centers", "separability"), others, strict=True):
        mine = getattr(found, kind)[table.columns]
        pd.testing.assert_frame_equal(
            mine,
            table.mask(table == ""),
            check_dtype=False,
            check_exact=True,
            check_index_type=False,
            check_column_type=False,
        )


def test_layers_keep_their_order_and_the_table_survives_a_file(tmp_path):
    found = measure_layers(LAYERS, LABELS, **FEW)
    assert found["layer"].tolist() == ["1_conv_10", "2_conv_2"]
    assert found["output_shape"].tolist() == ["3x4x5", "30"]
    write_table(found, tmp_path / "layers.csv")
    read = read_table(tmp_path / "layers.csv")
    pd.testing.assert_frame_equal(pd.DataFrame(found), read, check_dtype=False)


def test_tensors_and_tables_are_layers():
    torch = pytest.importorskip("torch")
    given = {"conv.10": torch.tensor(LAYERS["conv.10"]), "conv.2": pd.DataFrame(LAYERS["conv.2"])}
    found = measure_layers(given, pd.Series(LABELS), **FEW)
    pd.testing.assert_frame_equal(found, measure_layers(LAYERS, LABELS, **FEW))


def test_groups_are_measured_by_themselves():
    days = np.where(np.arange(67) < 40, "day 10", "day 2")
    found = measure_layers(LAYERS, LABELS, days, **FEW)
    assert found["group"].tolist() == ["day 10", "day 10", "day 2", "day 2"]
    for day, part in found.groupby("group"):
        mine = days == day
        alone = measure_layers({k: x[mine] for k, x in LAYERS.items()}, LABELS[mine], **FEW)
        assert part["capacity"].tolist() == alone["capacity"].tolist()
    assert found.manifolds.groupby("group").size().tolist() == [10, 10]
    compared = found.compare()
    capacity = compared[compared["quantity"] == "capacity"]
    assert capacity["model"].tolist() == ["day 2"] * 2
    assert capacity["reference"].tolist() == ["day 10"] * 2
    first, second = found["capacity"].to_numpy()[:2], found["capacity"].to_numpy()[2:]
    np.testing.assert_allclose(capacity["difference"], second - first)
    assert not compared["caveats"].str.contains("few_seeds").any()
    pytest.importorskip("matplotlib")
    legend = [text.get_text() for text in found.plot().legends[0].get_texts()]
    assert legend[:2] == ["day 10", "day 2"]


def test_groups_with_other_classes_are_not_compared():
    days = np.where((np.arange(67) < 40) | (CODES == 4), 1, 2)
    found = measure_layers(LAYERS, LABELS, days, **FEW)
    assert found["n_manifolds"].tolist() == [5, 5, 4, 4]
    last = found.manifolds[found.manifolds["group"] == "2"]
    assert last["class_name"].tolist() == [*WORDS[:4]] * 2
    with pytest.raises(ValueError, match="there is nothing to compare"):
        found.compare()


def test_layers_and_tables_are_compared():
    found = measure_layers(LAYERS, LABELS, **FEW)
    by_layer = found.compare(by="layer").set_index("quantity")
    assert (by_layer["model"] == "conv.2").all()
    assert (by_layer["reference"] == "conv.10").all()
    difference = found["capacity"][1] - found["capacity"][0]
    assert by_layer.loc["capacity", "difference"] == pytest.approx(difference)
    assert by_layer.loc["capacity", "difference_low"] < difference
    noisy = {key: values + 0.5 * area(values.shape[1:], 1) for key, values in LAYERS.items()}
    other = measure_layers(noisy, LABELS, name="noisy", **FEW)
    both = found.compare(other)
    assert ({*both["model"]}, {*both["reference"]}) == ({"noisy"}, {"activations"})
    with pytest.raises(ValueError, match="nothing to compare"):
        found.compare()
    with pytest.raises(ValueError, match="by is 'area'; choose 'model' or 'layer'"):
        found.compare(by="area")


def test_features_are_drawn_anew():
    found = measure_layers(LAYERS, LABELS, points_per_class=4, repeats=3, n_features=20, **FEW)
    assert found["n_features"].tolist() == [20, 20]
    assert found["interval_over"].tolist() == ["draws", "draws"]
    assert found.manifolds["n_features"].unique().tolist() == [20]
    # With all points, draws differ by their features alone; their intervals are over classes.
    found = measure_layers(LAYERS, LABELS, repeats=3, n_features=20, **FEW)
    assert found["interval_over"].tolist() == ["classes", "classes"]
    once = measure_layers(LAYERS, LABELS, n_features=20, **FEW)
    assert (found["capacity"] != once["capacity"]).all()
    whole = measure_layers({"a": LAYERS["conv.2"]}, LABELS, n_features=30, **FEW)
    assert whole["capacity"][0] == measure_layers(LAYERS, LABELS, **FEW)["capacity"][1]


@pytest.mark.parametrize("figure", ["layers", "manifolds", "radius_dimension", "centers"])
def test_figures(figure):
    plt = pytest.importorskip("matplotlib.pyplot")
    found = measure_layers(LAYERS, LABELS, **FEW)
    drawn = found.plot(figure)
    assert drawn.get_suptitle().startswith("activations")
    assert "activations · activations" not in drawn.get_suptitle()
    plt.close(drawn)


def test_other_figures_are_refused():
    pytest.importorskip("matplotlib")
    from manifold_capacity.figures.layers import plot_layers

    found = measure_layers(LAYERS, LABELS, **FEW)
    with pytest.raises(ValueError, match="figure is 'training'; choose one of layers, manifolds"):
        found.plot("training")
    with pytest.raises(ValueError, match="the table has no rows"):
        found.plot("separability")
    summaries = pd.DataFrame([measure(X, LABELS, **FEW).summary() for X in LAYERS.values()])
    with pytest.raises(ValueError, match="the table lacks the columns model, epoch; it must be"):
        plot_layers(summaries)


def test_chosen_rows_are_a_table():
    found = measure_layers(LAYERS, LABELS, **FEW)
    chosen = found[found["layer_name"] == "conv.2"]
    assert isinstance(chosen, LayerTable)
    assert chosen.manifolds is found.manifolds
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.close(chosen.plot())


def test_a_table_is_printed_as_by_the_command_line():
    found = measure_layers(LAYERS, LABELS, **FEW)
    assert str(found) == format_table(found)
    one = str(found[found["layer_name"] == "conv.2"])
    assert "2 conv_2" in one
    assert "conv_10" not in one
    assert "5 classes of" in str(found)
    chosen = found[["layer_name", "capacity"]]
    assert str(chosen) == repr(chosen) == str(pd.DataFrame(chosen))
    assert repr(found) == repr(pd.DataFrame(found))
    assert str(found.iloc[:0]) == "No layers were measured."


def test_caveats_are_said_once_with_their_layers():
    with pytest.warns(CaveatWarning) as said:
        measure_layers(LAYERS, LABELS, **FEW)
    (unequal,) = (str(w.message) for w in said if str(w.message).startswith("unequal"))
    assert "points_per_class='equal' draws equally many from each (conv.10, conv.2)" in unequal


def test_a_layer_without_geometry_is_a_row():
    layers = {**LAYERS, "dead": np.zeros((67, 9))}
    with pytest.warns(RuntimeWarning, match="dead has no geometry: the centers of all"):
        found = measure_layers(layers, LABELS, measures=["mean_field", "glue"], **FEW)
    assert found["n_manifolds"].tolist() == [5, 5, 5]
    assert found["capacity"].isna().tolist() == [False, False, True]
    assert {*found.manifolds["layer_name"]} == {*LAYERS}
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.close(found.plot())


def damaged():
    layers = {name: values.copy() for name, values in LAYERS.items()}
    layers["conv.10"][3, 1, 0, 0] = np.nan
    layers["conv.2"][[3, 9], 5] = np.inf
    return layers


def test_rows_that_are_not_finite_in_any_layer():
    message = (
        f"layer 'conv.10': 1 of 67 points have values that are NaN or infinite, in 1 of 60 features: row 3 "
        f"(class '{LABELS[3]}'), feature 20 is nan. layer 'conv.2': 2 of 67 points"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        measure_layers(damaged(), LABELS, **FEW)
    kept = np.delete(np.arange(67), [3, 9])
    with pytest.warns(RuntimeWarning, match="left out 2 of 67 points"):
        found = measure_layers(damaged(), LABELS, drop_nan=True, **FEW)
    emptied = {"conv.2": np.where((LABELS[0] == LABELS)[:, None], np.nan, LAYERS["conv.2"])}
    n = (LABELS[0] == LABELS).sum()
    with pytest.warns(RuntimeWarning, match=f"left out {n} of 67 points: all {n} of class"):
        assert len(measure_layers(emptied, LABELS, drop_nan=True, **FEW).manifolds) == 4
    alone = measure_layers({k: x[kept] for k, x in LAYERS.items()}, LABELS[kept], **FEW)
    pd.testing.assert_frame_equal(found, alone)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": {}}, "layers must be a dict of names and arrays"),
        ({"layers": LAYERS["conv.2"]}, "for one array call measure"),
        ({"layers": {1: LAYERS["conv.2"]}}, "layers: the name 1 is not text"),
        ({"layers": {"a": np.ones(67)}}, "the points of layer 'a' have the shape (67,)"),
        (
            {"layers": {"a": np.ones((6, 2))}},
            "labels: 67, but the points of layer 'a' have 6 samples",
        ),
        ({"groups": [1, 2]}, "groups: 2, but there are 67 labels; give one group for each sample"),
        ({"groups": [None] * 67}, "groups has no value for 67 rows (0, 1, "),
        (
            {"repeats": 2},
            "repeats is 2, but points_per_class 'all' leaves no points for a second draw; set points_per_class to 6",
        ),
        (
            {"repeats": 4, "points_per_class": 4},
            "which needs 16 points of each manifold, but class 'cat' has only 12",
        ),
        (
            {"points_per_class": 0},
            "points_per_class is 0; it must be a whole number, 1 or more or 'equal'",
        ),
        (
            {"n_features": 31},
            "n_features is 31, but layer 'conv.2' has only 30; draw at most so many",
        ),
        ({"measures": "glue"}, "measures is 'glue'; it must be ('mean_field',) or"),
        ({"glue": {"n_samples": 9}}, "glue has options, but measures lacks 'glue'"),
        ({"margin": -1}, "margin is -1"),
    ],
)
def test_bad_arguments(options, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        measure_layers(**{"layers": LAYERS, "labels": LABELS, **FEW, **options})
