"""One whole run, from the dataset to the figures, and what a user finds after it."""

import json
import math
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from workspaces import CONFIG, LAYERS, ROOT

from manifold_capacity import measure
from manifold_capacity.activations.store import open_layer
from manifold_capacity.command_line import main
from manifold_capacity.geometry.draws import combine_draws, draw_seed
from manifold_capacity.geometry.glue import measure_glue
from manifold_capacity.geometry.glue_table import combine_glue
from manifold_capacity.geometry.moments import Moments, moments_from_arrays
from manifold_capacity.summary.tables import read_table

CHECKPOINTS = ["epoch-000", "epoch-001"]
RUN = "small_cnn/seed-0/epoch-000/train"


def test_every_layer_has_its_numbers(finished_once):
    layers = pd.read_csv(finished_once.results / "summary" / "layers.csv")
    assert list(layers["layer"]) == LAYERS * 2
    assert list(layers["checkpoint"]) == [c for c in CHECKPOINTS for _ in LAYERS]
    assert (layers["status"] == "ok").all()
    for quantity in ("capacity", "radius", "dimension"):
        assert (layers[quantity] > 0).all()
        assert (layers[f"{quantity}_gaussian_stderr"] > 0).all()
        assert layers[quantity].between(layers[f"{quantity}_low"], layers[f"{quantity}_high"]).all()
    assert (layers["interval_over"] == "classes").all()
    assert layers["center_correlation"].between(0, 1).all()
    assert (layers["n_unconverged"] == 0).all()


def test_the_input_does_not_depend_on_training(finished_once):
    layers = pd.read_csv(finished_once.results / "summary" / "layers.csv").set_index(
        ["checkpoint", "layer"]
    )
    before, after = (layers.loc[(checkpoint, "0_Input")] for checkpoint in CHECKPOINTS)
    assert before["capacity"] == after["capacity"]
    assert before["dimension"] == after["dimension"]
    assert (
        layers.loc[(CHECKPOINTS[0], "12_Linear"), "capacity"]
        < layers.loc[(CHECKPOINTS[1], "12_Linear"), "capacity"]
    )


def test_every_manifold_has_its_row(finished_once):
    manifolds = pd.read_csv(finished_once.results / "summary" / "manifolds.csv")
    assert len(manifolds) == 2 * len(LAYERS) * CONFIG["manifolds"]["classes"]
    layers = pd.read_csv(finished_once.results / "summary" / "layers.csv")
    keys = ["checkpoint", "layer_index"]
    harmonic = manifolds.groupby(keys)["capacity"].apply(
        lambda alpha: len(alpha) / (1 / alpha).sum()
    )
    assert harmonic.to_numpy() == pytest.approx(
        layers.sort_values(keys)["capacity"].to_numpy(), rel=1e-12
    )


def test_figures_tables_logs_and_benchmarks_are_there(finished_once):
    results = finished_once.results
    figures = {path.stem for path in (results / "figures").iterdir()}
    assert {"layers", "manifolds", "radius_dimension", "centers", "training"} <= figures
    for figure in figures:
        for suffix in (".svg", ".png"):
            assert (results / "figures" / f"{figure}{suffix}").stat().st_size > 1000
        assert len(pd.read_csv(results / "figures" / f"{figure}.csv")) > 1
    assert "capacity" in (results / "summary" / "layers.txt").read_text().lower()
    jobs = list((results / "geometry").rglob("*.json"))
    assert len(jobs) == 2 * len(LAYERS)
    for suffix, folder in ((".log", "logs"), (".tsv", "benchmarks")):
        for job in jobs:
            run = job.relative_to(results / "geometry")
            assert (results / folder / "measure_geometry" / run).with_suffix(suffix).is_file()
    training = pd.read_csv(results / "summary" / "training.csv")
    assert list(training["epoch"]) == [0, 1]
    assert training["test_accuracy"].iloc[1] > training["test_accuracy"].iloc[0]


def test_parquet_holds_what_csv_holds(finished_once):
    summary = finished_once.results / "summary"
    for name in ("layers", "manifolds"):
        csv, parquet = (read_table(summary / f"{name}.{ending}") for ending in ("csv", "parquet"))
        pd.testing.assert_frame_equal(csv, parquet, check_dtype=False)


def test_the_store_opens_in_zarr_and_xarray_as_documented(finished_once, monkeypatch):
    blocks = re.findall(
        r"^```python\n(.*?)^```", (ROOT / "docs/outputs.md").read_text(), re.M | re.S
    )
    code = "\n".join(blocks).replace("epoch-015", CHECKPOINTS[1])
    monkeypatch.chdir(finished_once.folder)
    names = {}
    exec(code, names)
    classes, points = (CONFIG["manifolds"][key] for key in ("classes", "points_per_class"))
    assert names["some"].shape == (classes, points, 100)
    assert names["centers"].dims == ("manifold", "feature")
    store = Path(names["store"]).parent
    activations = np.asarray(open_layer(store, "1_Conv2d"))
    np.testing.assert_array_equal(names["layer"], activations)
    np.testing.assert_array_equal(names["some"], activations[:, :, :100])


def test_the_command_line_measures_a_store_as_the_pipeline_does(finished_once, tmp_path):
    store = finished_once.results / f"activations/small_cnn/seed-0/{CHECKPOINTS[1]}/train"
    output, n_gaussians = tmp_path / "layers.parquet", CONFIG["geometry"]["n_gaussians"]
    arguments = ["measure", store / "activations.zarr", "-o", output, "--n-gaussians", n_gaussians]
    assert main([str(argument) for argument in arguments]) == 0
    found = read_table(output)
    assert list(found["layer_name"]) == LAYERS
    layers = read_table(finished_once.results / "summary" / "layers.csv")
    expected = layers[layers["checkpoint"] == CHECKPOINTS[1]].reset_index(drop=True)
    numbers = list(expected.loc[:, "n_manifolds":"centers_converged"].columns)
    pd.testing.assert_frame_equal(found[numbers], expected[numbers], rtol=1e-9, check_dtype=False)


def test_the_trained_network_is_compared_with_the_untrained(finished_once):
    summary = finished_once.results / "summary"
    layers = pd.read_csv(summary / "layers.csv").set_index(["checkpoint", "layer"])
    comparisons = pd.read_csv(summary / "comparisons.csv")
    assert set(comparisons["comparison"]) == {"checkpoint"}
    assert len(comparisons) == 4 * len(LAYERS)
    assert set(comparisons["config_digest"]) == set(layers["config_digest"])
    radius = comparisons[comparisons["quantity"] == "radius"].set_index("layer")
    for layer in LAYERS:
        before, after = (layers.loc[(checkpoint, layer), "radius"] for checkpoint in CHECKPOINTS)
        assert radius.loc[layer, "difference"] == pytest.approx(after - before, abs=1e-12)
        # Nothing changes in the input, whose interval has no width.
        assert (radius.loc[layer, "difference_low"] < radius.loc[layer, "difference_high"]) == (
            layer != "0_Input"
        )


def test_shuffled_labels_and_draws_of_points(finished):
    finished.configure(
        {
            "checkpoints": [0],
            "layers": {"input": False, "types": [], "names": ["features.0"]},
            "manifolds.shuffle_labels": True,
            "geometry.repeats": 2,
            "geometry.measures": ["mean_field", "glue"],
            "geometry.glue.n_samples": 20,
        }
    )
    results = finished.results
    finished.snakemake("results/summary/comparisons.csv")
    activations = np.asarray(open_layer(results / "activations" / RUN, LAYERS[1]))
    n_points = CONFIG["manifolds"]["points_per_class"]
    clouds = [activations[:, :n_points], activations[:, n_points:]]
    expected, _ = combine_draws(
        [
            measure(points, n_gaussians=40, seed=draw_seed(0, draw))
            for draw, points in enumerate(clouds)
        ]
    )
    layers = pd.read_csv(results / "summary" / "layers.csv").set_index("labels")
    assert list(layers.index) == ["original", "shuffled"]
    assert (layers["n_points"] == 4 * n_points).all()
    assert (layers["n_repeats"] == 2).all()
    for name in ("capacity", "capacity_low", "capacity_gaussian_stderr", "center_correlation"):
        assert layers.loc["original", name] == pytest.approx(expected[name], rel=1e-6)

    # The exact capacity is that of the same points, from their inner products.
    exact, of_classes = combine_glue(
        [
            measure_glue(points, n_samples=20, seed=draw_seed(0, draw))
            for draw, points in enumerate(clouds)
        ]
    )
    for name in ("glue_capacity", "glue_capacity_high", "glue_utility"):
        assert layers.loc["original", name] == pytest.approx(exact[name], rel=1e-6)
    assert layers.loc["shuffled", "glue_capacity"] < exact["glue_capacity"]
    manifolds = pd.read_csv(results / "summary" / "manifolds.csv").set_index("labels")
    assert [*manifolds.loc["original", "glue_dimension"]] == pytest.approx(
        of_classes["glue_dimension"], rel=1e-6
    )
    curves = pd.read_csv(results / "summary" / "separability.csv")
    assert curves.groupby("labels")["probability"].max().to_list() == [1, 1]

    # The control has the same points, with permuted labels.
    for draw, suffix in enumerate(("", "-draw-2")):
        name = f"{LAYERS[1]}{suffix}.npz"
        classes, shuffled = (
            Moments.load(results / "moments" / f"{RUN}{labels}" / name)
            for labels in ("", "-shuffled")
        )
        assert classes.total_trace == pytest.approx(shuffled.total_trace, rel=1e-6)
        assert classes.total_trace == pytest.approx(
            moments_from_arrays(clouds[draw]).total_trace, rel=1e-6
        )
        assert shuffled.center_norm_squared.sum() < classes.center_norm_squared.sum()

    comparisons = pd.read_csv(results / "summary" / "comparisons.csv").set_index("quantity")
    assert set(comparisons["comparison"]) == {"labels"}
    difference = layers["capacity"]["original"] - layers["capacity"]["shuffled"]
    assert comparisons.loc["capacity", "difference"] == pytest.approx(difference, rel=1e-6)


def test_wide_layers_are_measured_projected(finished):
    before = pd.read_csv(finished.results / "summary/layers.csv").query("epoch == 0")
    finished.configure({"activations.projection": 50, "checkpoints": [0]})
    finished.snakemake("results/summary/layers.csv")
    layers = pd.read_csv(finished.results / "summary/layers.csv")
    assert list(layers["n_features"]) == list(before["n_features"])
    wide = layers["n_features"] > 50
    assert 0 < wide.sum() < len(layers)
    assert (layers["projected_features"][wide] == 50).all()
    assert layers["projected_features"][~wide].isna().all()
    assert (layers["capacity"][wide].to_numpy() != before["capacity"][wide].to_numpy()).all()
    assert (layers["capacity"][~wide].to_numpy() == before["capacity"][~wide].to_numpy()).all()


def test_a_second_run_does_nothing(finished):
    before = {path: path.stat().st_mtime_ns for path in finished.results.rglob("*")}
    assert "Nothing to be done" in finished.snakemake()
    assert {path: path.stat().st_mtime_ns for path in finished.results.rglob("*")} == before


def test_a_dry_run_changes_nothing(workspace):
    def files():
        paths = workspace.folder.rglob("*")
        return {path for path in paths if not {".snakemake", "__pycache__"} & {*path.parts}}

    before = files()
    assert workspace.planned()["find_layers"] == 1
    assert files() == before


def test_the_dag_can_be_drawn(finished):
    dag = finished.snakemake("--dag")
    for rule in ("train", "extract_activations", "compute_moments", "measure_geometry"):
        assert rule in dag


@pytest.mark.parametrize(
    ("target", "rules"),
    [
        ("training", {"initial_weights", "prepare_dataset", "train"}),
        (
            "activations",
            {"initial_weights", "prepare_dataset", "train", "find_layers", "extract_activations"},
        ),
    ],
)
def test_parts_can_be_asked_for_by_name(workspace, target, rules):
    assert set(workspace.planned(target)) == rules


def test_geometry_and_summary_can_be_asked_for_by_name(finished):
    (finished.results / "summary" / "layers.csv").unlink()
    assert finished.planned("geometry") == {}
    assert finished.planned("summary")["summarize"] == 1


def test_cvxopt_agrees_with_the_active_set_and_capacity_can_be_simulated(finished):
    table = finished.results / "geometry" / RUN / f"{LAYERS[1]}.json"
    ours = json.loads(table.read_text())
    finished.configure({"geometry.solver": "cvxopt", "geometry.simulated": True})
    finished.snakemake(str(table.relative_to(finished.folder)))
    theirs = json.loads(table.read_text())
    for quantity in ("capacity", "radius", "dimension"):
        assert math.isfinite(ours[quantity])
        assert theirs[quantity] == pytest.approx(ours[quantity], rel=1e-6)
    assert "simulated_capacity" not in ours
    file = finished.results / "simulated" / RUN / table.name
    simulated = json.loads(file.read_text())["row"]
    # Four classes in few dimensions: labels that are all the same can't be separated, and the numbers are NaN.
    # The unit tests have others.
    assert {"simulated_capacity", "simulated_capacity_stderr"} == simulated.keys()
    assert simulated.keys() <= theirs.keys()
