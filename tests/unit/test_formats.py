"""Files that earlier versions wrote are read with the values they have, and what 1.0 promised is there: docs/versions.md."""

from __future__ import annotations

import json
import runpy
import tarfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from manifold_capacity import geometry_from_moments, measure_layers
from manifold_capacity.activations.store import open_draw, open_layer
from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import load_schema
from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.figures.registry import FIGURES
from manifold_capacity.files import check_file, read_json
from manifold_capacity.geometry.glue import glue_from_gram
from manifold_capacity.geometry.glue_table import combine_glue
from manifold_capacity.geometry.gram import Gram, gram_from_arrays
from manifold_capacity.geometry.moments import Moments, moments_from_arrays
from manifold_capacity.models.checkpoints import load_metadata, load_model
from manifold_capacity.models.layers import read_layers
from manifold_capacity.provenance import config_digest
from manifold_capacity.summary.columns import NEEDED_COLUMNS
from manifold_capacity.summary.comparisons import compare
from manifold_capacity.summary.tables import read_table, write_table

ROOT = Path(__file__).parents[2]
FORMATS = ROOT / "tests" / "data" / "formats"
MAKE = runpy.run_path(str(FORMATS / "make.py"))
IMAGES = MAKE["images"]()
NETWORK = "training/tiny/seed-0"
LAYERS = ["0_Input", "1_Conv2d", "1_Conv2d_position_0_0", "1_Conv2d_position_1_0", "3_Linear"]
RUNS = [f"tiny/seed-0/epoch-{epoch:03d}/test" for epoch in (0, 1)]


@pytest.fixture(scope="module", params=sorted(path.name for path in FORMATS.glob("[0-9]*")))
def folder(request, tmp_path_factory):
    """What a version wrote."""
    unpacked = tmp_path_factory.mktemp("formats")
    with tarfile.open(FORMATS / request.param / "files.tar.xz") as archive:
        archive.extractall(unpacked, filter="data")
    return unpacked


@pytest.fixture(scope="module")
def run(folder):
    return folder / "run"


@pytest.fixture(scope="module")
def tables(run):
    """Its tables by their names."""
    return {path.stem: read_table(path) for path in (run / "summary").glob("*.csv")}


@pytest.fixture(scope="module")
def rows(tables):
    """Run and layer -> a row of layers.csv."""
    table = tables["layers"]
    paths = "tiny/seed-0/" + table["checkpoint"] + "/" + table["split"]
    return dict(zip(zip(paths, table["layer"], strict=True), table.to_dict("records"), strict=True))


def expected_layer(images, run, layer):
    """The untrained network's outputs for images (..., 6, 6), from its whole numbers; None for another."""
    pixels = images / 255
    if layer == "0_Input":
        return pixels.reshape(*images.shape[:-2], 36)
    if run != RUNS[0]:
        return None
    weights = (3 * np.arange(1, 55) % 7 - 3).reshape(3, 3, 6)
    rows = pixels.reshape(*images.shape[:-2], 2, 3, 6)
    conv = np.einsum("...prc,krc->...kp", rows, weights)
    if layer.startswith("1_Conv2d_position"):
        return conv[..., int(layer.split("_")[-2])]
    flat = conv.reshape(*conv.shape[:-2], 6)
    head = (3 * np.arange(1, 31) % 7 - 3).reshape(5, 6)
    return flat if layer == "1_Conv2d" else flat @ head.T + (3 * np.arange(1, 6) % 7 - 3)


def assert_same(found, row, at_least):
    """Numbers and words that two mappings share; caveats are of all measures together."""
    names = found.keys() & row.keys() - {"caveats", "caveats_text"}
    assert len(names) >= at_least
    for name in names:
        is_text = isinstance(row[name], str)
        expected = row[name] if is_text else pytest.approx(row[name], rel=1e-6, nan_ok=True)
        assert found[name] == expected, name


def test_the_dataset(run):
    for split in ("train", "test"):
        images, labels = load_split(run / "datasets/arrays", split)
        np.testing.assert_array_equal(images[:], IMAGES[f"{split}_images"])
        np.testing.assert_array_equal(labels, IMAGES[f"{split}_labels"])


@pytest.mark.parametrize("epoch", [0, 1])
def test_the_checkpoints(folder, run, epoch):
    path = run / NETWORK / f"epoch-{epoch:03d}.safetensors"
    assert load_metadata(path)["epoch"] == epoch
    model, _ = load_model(path, f"{folder}/net.py:make")
    weights = model.conv.weight.detach().numpy().ravel()
    untrained = 3 * np.arange(1, 55) % 7 - 3
    assert (weights == untrained).all() == (epoch == 0)
    np.testing.assert_allclose(weights, untrained, atol=0.5)  # 2 steps


@pytest.mark.parametrize("path", RUNS)
def test_the_stores_of_activations(run, path):
    places = sample_manifolds(IMAGES["test_labels"], range(5), 6, seed=0, split="test")
    images = IMAGES["test_images"][places][..., 0].astype(float)
    store = run / "activations" / path
    for layer in LAYERS:
        stored = open_draw(store, layer, 0, 1)[:, :, :]
        expected = expected_layer(images, path, layer)
        if expected is not None:
            np.testing.assert_allclose(stored, expected, rtol=1e-5, atol=1e-5)
    assert open_layer(store, "1_Conv2d").attributes["class_names"] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", RUNS)
def test_moments_and_gram_matrices(run, path, layer):
    activations = open_draw(run / "activations" / path, layer, 0, 1)
    moments = Moments.load(run / "moments" / path / f"{layer}.npz")
    again = moments_from_arrays(activations)
    assert moments.n_features == again.n_features
    for name in ("center_gram", "center_deviation", "deviation_gram", "n_points"):
        np.testing.assert_allclose(getattr(moments, name), getattr(again, name), rtol=1e-9)
    gram = Gram.load(run / "gram" / path / f"{layer}.npz")
    np.testing.assert_allclose(gram.matrix, gram_from_arrays(activations).matrix, rtol=1e-9)
    assert "activations" in moments.provenance
    assert "activations" in gram.provenance


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", RUNS)
def test_moments_measured_again_have_the_numbers_of_the_table(run, rows, path, layer):
    row = rows[path, layer]
    moments = Moments.load(run / "moments" / path / f"{layer}.npz")
    found = geometry_from_moments(moments, n_gaussians=20, seed=0).summary()
    assert_same(found, row, at_least=25)
    gram = Gram.load(run / "gram" / path / f"{layer}.npz")
    exact, _ = combine_glue([glue_from_gram(gram, n_samples=20, seed=0)], disjoint=True)
    assert_same(exact, row, at_least=25)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("path", RUNS)
def test_results_of_a_layer(run, rows, tables, path, layer):
    row = rows[path, layer]
    stamp = run / "geometry" / path / f"{layer}.json"
    results = read_json(stamp)
    assert results["capacity"] == row["capacity"]
    assert set(results["provenance"]) >= {"dataset", "weights", "activations", "moments"}
    for ending, name in (
        (".csv", "manifolds"),
        (".centers.csv", "centers"),
        (".separability.csv", "separability"),
    ):
        part = stamp.with_suffix(ending)
        check_file(part, stamp)
        whole = tables[name]
        of_layer = (whole["layer"] == layer) & (whole["checkpoint"] == row["checkpoint"])
        values = {"manifolds": "capacity", "centers": "variance_share"}.get(name, "probability")
        np.testing.assert_array_equal(
            read_table(part)[values].astype(float), whole[of_layer][values].astype(float)
        )
    for kind in ("glue", "simulated"):
        assert_same(read_json(run / kind / path / f"{layer}.json")["row"], row, at_least=2)


def test_the_tables(run, tables):
    assert set(tables) == {*NEEDED_COLUMNS}
    for name, table in tables.items():
        assert set(table) >= NEEDED_COLUMNS[name]
    for name in ("layers", "manifolds"):
        parquet = read_table(run / "summary" / f"{name}.parquet")
        pd.testing.assert_frame_equal(parquet, tables[name], check_dtype=False)
    again = compare(tables["layers"], tables["manifolds"])
    pd.testing.assert_frame_equal(again, tables["comparisons"], check_dtype=False, rtol=1e-6)
    assert len(tables["training"]) == 2
    assert [layer.name for layer in read_layers(run / "layers/tiny.csv")] == [
        "input",
        "conv",
        "flatten",
        "head",
    ]


def test_figures_are_drawn_of_the_tables(run, tables, tmp_path):
    drawn = sorted(path.stem for path in (run / "figures").glob("*.csv"))
    assert len(drawn) == 8
    for name in drawn:
        now = tmp_path / f"{name}.csv"
        write_table(FIGURES[name].values(tables[FIGURES[name].table]), now)
        before = read_table(run / "figures" / f"{name}.csv")
        pd.testing.assert_frame_equal(read_table(now)[[*before]], before, rtol=1e-9)


def test_the_configuration_and_where_the_numbers_come_from(folder, run, tables, monkeypatch):
    provenance = read_json(run / "provenance.json")
    assert provenance["config_digest"] == config_digest(provenance["config"])
    assert set(tables["layers"]["config_digest"]) == {provenance["config_digest"]}
    for file in provenance["files"]:
        check_file(run / file, run / "provenance.json")
    monkeypatch.chdir(folder)
    given = yaml.safe_load((folder / "run.yaml").read_text())
    resolved = resolve(given, load_schema(ROOT / "schemas/config.schema.yaml"))
    assert kept(provenance["config"], resolved) == []


def test_tables_of_the_library_and_of_the_command(folder):
    layers = {name: IMAGES[f"{split}_images"].astype(float) for name, split in AREAS.items()}
    options = {"measures": ["mean_field", "glue"], "glue": {"n_samples": 20}}
    again = measure_layers(layers, IMAGES["train_labels"], n_gaussians=20, **options)
    for name in ("layers", "manifolds", "centers", "separability"):
        before = read_table(folder / "tables" / f"{name}.csv")
        now = pd.DataFrame(again if name == "layers" else getattr(again, name))[[*before]]
        pd.testing.assert_frame_equal(now, before, check_dtype=False, rtol=1e-6)
    for name in ("command", "classes"):
        csv = read_table(folder / "tables" / f"{name}.csv")
        parquet = read_table(folder / "tables" / f"{name}.parquet")
        pd.testing.assert_frame_equal(parquet, csv, check_dtype=False)
        rows = json.loads((folder / "tables" / f"{name}.json").read_text())
        assert [row["capacity"] for row in rows] == csv["capacity"].tolist()


AREAS = {"V1": "train", "IT": "test"}


def kept(before, now, where=""):
    """What there was before and is gone or has changed; a list may have become longer."""
    if isinstance(before, dict) and isinstance(now, dict):
        return [
            lost
            for key, value in before.items()
            for lost in kept(value, now.get(key, "gone"), f"{where}.{key}")
        ]
    same = before == now
    if isinstance(before, list) and isinstance(now, list):
        same = all(value in now for value in before)
    return [] if same else [f"{where}: {before}, now {now}"]


@pytest.mark.parametrize("version", sorted(path.parent.name for path in FORMATS.glob("*/*.json")))
def test_what_a_version_promised_is_there(version):
    """Keys, words and defaults, columns, figures, functions and their parameters, options, targets, exit codes."""
    promised = json.loads((FORMATS / version / "interface.json").read_text())
    present = json.loads(json.dumps(MAKE["interface"]()))
    before, now = promised.pop("python"), present.pop("python")
    assert kept(promised, present) == []
    # A parameter in brackets must be given: one that is new, or was not in brackets, may not be.
    optional = {name: [each.strip("<>") for each in now.get(name, ["gone"])] for name in before}
    assert kept({k: [each.strip("<>") for each in v] for k, v in before.items()}, optional) == []
    required = {
        k: [each for each in now[k] if "<" in each and each not in before[k]] for k in before
    }
    assert [*filter(None, required.values())] == []
