"""The same configuration gives the same bytes, whatever the order of the jobs, and says what it was made with."""

import json
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from workspaces import new_workspace

from manifold_capacity.activations.store import open_layer
from manifold_capacity.geometry.moments import Moments
from manifold_capacity.models.checkpoints import load_metadata
from manifold_capacity.provenance import config_digest, cpu_name

# A trained network, and one that computes with several threads; of the latter, layers that a pattern selects.
CONFIG = {
    "models": ["small_cnn", {"name": "resnet18", "weights": "random"}],
    "checkpoints": ["final"],
    "layers": {"input": False, "types": [], "names": ["classifier.2", "layer4.*.conv2"]},
    "activations.keep": False,
}
TABLES = ["results/summary/layers.csv", "results/summary/training.csv"]


def contents(folder: Path) -> dict[str, bytes]:
    """All files of a run, except those that hold times."""
    paths = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    timed = ("logs", "benchmarks")
    return {
        str(path): (folder / path).read_bytes()
        for path in paths
        if path.parts[0] not in timed and path.name != ".snakemake_timestamp"
    }


def made(results: Path) -> dict[str, int]:
    """When files that depend on PyTorch's arithmetic were made, in nanoseconds."""
    folders = ("moments", "geometry", "training/small_cnn/seed-0")
    paths = (path for folder in folders for path in (results / folder).glob("**/*epoch-0*/**/*"))
    weights = results / "training/small_cnn/seed-0/epoch-001.safetensors"
    return {str(path): path.stat().st_mtime_ns for path in [*paths, weights] if path.is_file()}


def test_the_number_of_cores_changes_no_byte(tmp_path):
    workspace = new_workspace(tmp_path / "run", CONFIG)
    workspace.snakemake(*TABLES, "--cores", "1")
    one, before = contents(workspace.results), made(workspace.results)
    workspace.snakemake(*TABLES, "--cores", "4", "--forcerun", "train", "extract_activations")
    other, after = contents(workspace.results), made(workspace.results)
    assert len(before) > 10
    assert before.keys() == after.keys()
    assert [path for path in before if after[path] <= before[path]] == []  # all made twice
    assert {"summary/layers.csv", "summary/manifolds.csv", "provenance.json"} < set(one)
    assert set(other) == set(one)
    assert [name for name in other if other[name] != one[name]] == []
    made_with = json.loads(one["provenance.json"])["made_with"]
    assert {about["torch_threads"] for about in made_with["activations"]} == {1, 8}

    # Every network has its own layers, and temporary stores are gone.
    layers = pd.read_csv(workspace.results / "summary/layers.csv")
    assert dict(zip(layers["layer_name"], layers["output_shape"].astype(str), strict=True)) == {
        "classifier.2": "10",
        "layer4.0.conv2": "512x1x1",
        "layer4.1.conv2": "512x1x1",
    }
    assert not list(workspace.results.rglob("*.zarr"))


def test_tables_point_to_where_their_numbers_come_from(finished_once):
    results = finished_once.results
    provenance = json.loads((results / "provenance.json").read_text())
    assert provenance["config"]["geometry"]["n_gaussians"] == 40
    assert provenance["config_digest"] == config_digest(provenance["config"])
    for table in ("layers", "manifolds", "training"):
        digests = pd.read_csv(results / f"summary/{table}.csv", dtype=str)["config_digest"]
        assert set(digests) == {provenance["config_digest"]}
    n_layers = len(pd.read_csv(results / "summary/layers.csv"))
    made_with = provenance["made_with"]
    steps = ("dataset", "weights", "activations", "moments", "geometry", "summary")
    assert set(made_with) == {*steps}
    for step in steps[2:5]:
        (about,) = made_with[step]
        assert about["n_layers"] == n_layers
        assert about["device"] == cpu_name() or about["device"].startswith("cuda: ")
    # Untrained and trained, by different code
    untrained, trained = sorted(made_with["weights"], key=lambda about: "recipe" in about)
    assert trained["recipe"]["learning_rate"] == 0.05
    assert "recipe" not in untrained
    assert untrained["packages"]["torch"] == trained["packages"]["torch"] == version("torch")


def test_every_file_carries_what_it_was_made_with(finished_once):
    results, run = finished_once.results, "small_cnn/seed-0/epoch-001"
    dataset = json.loads((results / "datasets/digits/dataset.json").read_text())["digest"]
    weights = load_metadata(results / f"training/{run}.safetensors")["provenance"]
    store = open_layer(results / f"activations/{run}/train", "1_Conv2d").attributes["provenance"]
    moments = Moments.load(results / f"moments/{run}/train/1_Conv2d.npz").provenance
    layer = json.loads((results / f"geometry/{run}/train/1_Conv2d.json").read_text())["provenance"]
    assert store["dataset"]["digest"] == dataset
    assert list(weights) == ["weights"]
    assert store == {**weights, "dataset": store["dataset"], "activations": store["activations"]}
    assert moments == {**store, "moments": moments["moments"]}
    assert layer == {**moments, "geometry": layer["geometry"]}


def test_the_summary_is_remade_when_it_would_say_something_else(finished):
    # The device is a resource and computes nothing again, but the configuration is another one.
    finished.configure({"device": "cpu"})
    plan = finished.planned()
    assert plan["summarize"] == 1
    assert "measure_geometry" not in plan
