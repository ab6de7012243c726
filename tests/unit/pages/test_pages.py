"""Pages of the report: they show what is in the tables, and stay small enough to be shown."""

import base64
import gzip
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_digits

from manifold_capacity import measure
from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import given_keys, load_schema
from manifold_capacity.files import write_json
from manifold_capacity.models.layers import Layer
from manifold_capacity.pages import origin, results
from manifold_capacity.pages import page as page_module
from manifold_capacity.provenance import collect_provenance, stamp
from manifold_capacity.summary.collect import layers_table, manifolds_table
from manifold_capacity.summary.columns import MANIFOLD_IDENTITY
from manifold_capacity.summary.comparisons import COLUMNS as COMPARED
from manifold_capacity.summary.comparisons import compare
from manifold_capacity.summary.rows import layer_columns, manifold_table, select_rows

ROOT = Path(__file__).parents[3]
CLASSES = {3: "<three>", 8: "eight", 9: "nine"}
CHECKPOINTS = ("epoch-000", "epoch-015")


@pytest.fixture(scope="module")
def tables() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Digits and their squares, measured as two layers at two checkpoints; and a layer that is dead."""
    images = load_digits()
    rows: list[dict[str, Any]] = []
    classes: list[pd.DataFrame] = []
    for power, checkpoint in enumerate(CHECKPOINTS, start=1):
        identity = ("digits", "a & b", "trained", 0, checkpoint, "train", "original")
        run = dict(zip(page_module.IDENTITY, identity, strict=True))
        run["epoch"] = int(checkpoint[-3:])
        for index in range(3):
            row = run | layer_columns(Layer(index, f"features.{index}", "Conv2d", (1, 8, 8), 64))
            numbers = None
            row["status"] = "all activations are zero"
            if index < 2:
                points = images.data ** (power + index)
                clouds = np.stack([points[images.target == digit][:15] for digit in CLASSES])
                geometry = measure(clouds, n_gaussians=20)
                row |= geometry.summary() | {"status": "ok", "n_repeats": 1}
                row["solver"] = "active_set"
                numbers = geometry.columns()
            rows.append(row)
            table = manifold_table(row, {} if numbers is None else CLASSES, numbers)
            classes.append(pd.DataFrame(table))
    return layers_table(rows), manifolds_table(classes)


def unpacked(page: str) -> dict[str, Any]:
    """The data that the page's script shows."""
    (packed,) = re.findall(r'<script id="data" type="text/plain">(.*?)</script>', page, re.DOTALL)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


def write_random_logs(paths: Iterable[Path]) -> None:
    """Logs that are hard to compress."""
    for seed, path in enumerate(paths):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(np.random.default_rng(seed).bytes(2000).hex())


def column(columns: list[dict[str, Any]], label: str) -> dict[str, Any]:
    (found,) = [column for column in columns if column["label"] == label]
    return found


def test_a_line_of_the_figure_is_one_view_along_the_layers(tables, tmp_path) -> None:
    layers, manifolds = tables
    views = layers.assign(layer=layers["layer"] + "_token", view="token")
    places = [
        layers.iloc[:1].assign(layer=f"0_Conv2d_{n}", view="positions", position=str(n))
        for n in range(2)
    ]
    every = pd.concat([layers, views, *places], ignore_index=True)
    data = unpacked(results.layers_page(every, manifolds, tmp_path))
    assert data["lines"] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4]
    assert [column["label"] for column in data["classes"] if column.get("main")] == [
        "Capacity α",
        "Radius R",
        "Dimension D",
        "Center correlation ρ",
    ]


def test_the_page_shows_the_numbers_of_layers_and_classes_in_the_tables(tables, tmp_path) -> None:
    layers, manifolds = tables
    data = unpacked(results.layers_page(layers, manifolds, tmp_path))
    capacity = column(data["layers"], "Capacity α")
    rows = layers.to_dict("records")
    for text, note, row in zip(capacity["texts"], capacity["notes"], rows, strict=True):
        if row["status"] == "ok":
            width = row["capacity_high"] - row["capacity_low"]
            assert float(text) == pytest.approx(row["capacity"], abs=0.1 * width)
            ends = [*map(float, note.strip(" []").split(", "))]
            assert ends == pytest.approx(
                [row["capacity_low"], row["capacity_high"]], abs=0.1 * width
            )
        else:
            assert (text, note.strip()) == ("", "")
    assert column(data["layers"], "Status")["texts"].count("all activations are zero") == 2
    for place, row in enumerate(rows):
        first, last = data["starts"][place : place + 2]
        of_layer = select_rows(manifolds, checkpoint=row["checkpoint"], layer=row["layer"])
        assert column(data["classes"], "Class")["texts"][first:last] == [*of_layer["class_name"]]
        radii = [*map(float, column(data["classes"], "Radius R")["texts"][first:last])]
        assert radii == pytest.approx([*of_layer["radius"]], rel=0.02)
    assert data["left_out"] == ""


def test_what_is_the_same_in_all_rows_is_stated_once(tables, tmp_path) -> None:
    page = results.layers_page(*tables, tmp_path)
    assert "Model: a &amp; b · " in page
    labels = [column["label"] for column in unpacked(page)["layers"]]
    assert "Checkpoint" in labels
    assert "Model" not in labels


def test_a_layer_says_whether_its_numbers_are_reliable(tables, tmp_path) -> None:
    layers, manifolds = tables
    layers = layers.copy()
    layers[["caveats", "caveats_text"]] = ""
    layers.loc[1, ["n_unconverged", "worst_gap"]] = [7, 1e-3]
    layers.loc[1, ["caveats", "caveats_text"]] = ["programs", "7 programs did not converge."]
    fit = {"stopped": "rank", "least_residual_ratio": 0.04}
    for name, value in fit.items():
        layers[f"centers_{name}"] = layers[f"centers_{name}"].astype(object)
        layers.loc[4, f"centers_{name}"] = value
    layers.loc[4, "center_rank"] = 2
    layers.loc[3, ["centers_stopped", "centers_least_residual_ratio"]] = [None, 0.06]
    trust = unpacked(results.layers_page(layers, manifolds, tmp_path))["trust"]
    assert trust[0][0].startswith("All quadratic programs converged")
    assert trust[1][0] == "Caveats: 7 programs did not converge."
    assert not any("converged:" in sentence for sentence in trust[1])
    assert trust[2] == ["No geometry: all activations are zero."]
    fit, center = trust[4][1:]
    assert fit == (
        "K = 2: so many directions that the centers share were projected out; the search for their number "
        "stopped because no directions were left."
    )
    assert center.startswith("A center keeps only 4.0% of its norm")
    assert trust[3][1:] == []


def test_a_layer_leads_to_the_logs_of_its_jobs(tables, tmp_path) -> None:
    run = "a & b/seed-0/epoch-015/train"
    said = {
        f"measure_geometry/{run}/0_Conv2d.log": "slow",
        f"measure_geometry/{run}/1_Conv2d.log": "",
        f"extract_activations/{run}.log": "9 images",
        "train/a & b/seed-0.log": "epoch 1\n" * results.LOG_CHARACTERS + "the end",
    }
    for name, text in said.items():
        path = tmp_path / "logs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    data = unpacked(results.layers_page(*tables, tmp_path / "logs"))
    texts = [
        {name: None if place is None else data["texts"][place] for name, place in of_layer}
        for of_layer in data["logs"]
    ]
    untrained = ["measure_geometry", "compute_moments", "extract_activations"]
    assert texts[0] == dict.fromkeys(untrained)
    trained = texts[3]
    assert list(trained) == [*untrained, "train"]
    assert (trained["measure_geometry"], trained["compute_moments"]) == ("slow", None)
    assert trained["extract_activations"] == "9 images"
    assert trained["train"].startswith(f"(the end; the whole log is {tmp_path}/logs/train/")
    assert trained["train"].endswith("the end")
    assert len(trained["train"]) < results.LOG_CHARACTERS + 500
    assert texts[4]["measure_geometry"] == ""
    assert len(data["texts"]) == len(said), "one text for all layers of a run"


def test_a_layer_leads_to_the_log_of_its_group(tables, tmp_path) -> None:
    folder = tmp_path / "logs/extract_activations/a & b/seed-0/epoch-015"
    folder.mkdir(parents=True)
    (folder / "train-layers-1-1.log").write_text("to be written to x:\n0_Conv2d  3 x 15\n")
    (folder / "train-layers-2-2.log").write_text("to be written to y:\n1_Conv2d  3 x 15\n")
    data = unpacked(results.layers_page(*tables, tmp_path / "logs"))
    places = [dict(of_layer)["extract_activations"] for of_layer in data["logs"]]
    texts = [None if place is None else data["texts"][place][17:18] for place in places]
    assert texts == [None, None, None, "x", "y", None]


def test_the_jobs_that_a_layer_depends_on(tables, tmp_path) -> None:
    layers, manifolds = tables
    layers = layers.assign(simulated_capacity=0.5)
    layers.loc[0, "n_repeats"] = 3
    layers.loc[1, "labels"] = "shuffled"
    layers.loc[3, "weights"] = "external"
    logs = unpacked(results.layers_page(layers, manifolds, tmp_path))["logs"]
    jobs = [[name for name, _ in of_layer] for of_layer in logs]
    first, simulated, last = ["measure_geometry", "compute_moments"], "simulate_capacity", "train"
    draws = [f"compute_moments, draw {draw}" for draw in (2, 3)]
    assert jobs[0] == [*first, *draws, simulated, "extract_activations"]
    assert jobs[1] == [*first, "extract_activations"]
    assert jobs[3] == [*first, simulated]
    assert jobs[4] == [*first, simulated, "extract_activations", last]


def test_classes_that_do_not_fit_are_those_of_early_checkpoints(tables, tmp_path, monkeypatch):
    runs = [tmp_path / f"measure_geometry/a & b/seed-0/{name}/train" for name in CHECKPOINTS]
    write_random_logs(run / f"{index}_Conv2d.log" for run in runs for index in range(3))
    whole = results.layers_page(*tables, tmp_path)
    monkeypatch.setattr(page_module, "MOST_BYTES", len(whole.encode()) - 8000)
    page = results.layers_page(*tables, tmp_path)
    assert len(page.encode()) <= page_module.MOST_BYTES
    data = unpacked(page)
    detailed = np.array(data["detailed"])
    n = detailed.sum()
    assert 0 < n < 4
    last_checkpoints_first = detailed[[3, 4, 5, 0, 1, 2]]
    assert last_checkpoints_first.tolist() == [True] * n + [False] * (6 - n)
    shown = np.diff(data["starts"])
    assert (shown[~detailed] == 0).all()
    assert shown.sum() == 3 * detailed[[0, 1, 3, 4]].sum()
    assert f"of {n} of 6 layers, last checkpoints first" in data["left_out"]
    assert "manifolds.csv" in data["left_out"]


def test_a_page_says_which_rows_it_leaves_out(tables, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(page_module, "MOST_ROWS", 2)
    layers, manifolds = tables
    page = results.layers_page(layers, manifolds, tmp_path)
    assert "The first 2 of 6 rows; all are in summary/layers.csv." in page
    data = unpacked(page)
    assert column(data["layers"], "Layer")["texts"] == ["0 Conv2d", "1 Conv2d"]
    assert data["starts"] == [0, 3, 6]
    page = results.comparisons_page(compare(layers, manifolds))
    assert "The first 2 of 8 rows; all are in summary/comparisons.csv." in page


def test_differences_are_shown_with_their_intervals(tables) -> None:
    table = compare(*tables)  # of three classes: no difference is certain
    table.loc[1, ["difference", "difference_low", "difference_high"]] = [-0.5, -0.6, -0.4]
    table.loc[2, ["difference", "difference_low", "difference_high"]] = [0.5, 0.4, 0.6]
    table.loc[2, ["simultaneous_low", "simultaneous_high"]] = [0.3, 0.7]
    columns = unpacked(results.comparisons_page(table))["columns"]
    differences = column(columns, "Difference [95 % interval]")
    answers = column(columns, "Interval without 0")["texts"]
    for place, row in enumerate(table.to_dict("records")):
        width = row["difference_high"] - row["difference_low"]
        assert float(differences["texts"][place]) == pytest.approx(row["difference"], abs=width)
        ends = [*map(float, re.findall(r"[-\d.e]+", differences["notes"][place]))]
        expected = [row["difference_low"], row["difference_high"]]
        assert ends == pytest.approx(expected, abs=max(width, 1e-9))
        without = row["difference_low"] > 0 or row["difference_high"] < 0
        together = row["simultaneous_low"] > 0 or row["simultaneous_high"] < 0
        assert answers[place] == ("together too" if together else "alone" if without else "no")
    assert {*answers} == {"together too", "alone", "no"}
    empty = results.comparisons_page(pd.DataFrame(columns=[*COMPARED]))
    assert column(unpacked(empty)["columns"], "Layer")["texts"] == []


def test_a_page_without_rows(tmp_path) -> None:
    empty = layers_table([]), pd.DataFrame(columns=[*MANIFOLD_IDENTITY])
    data = unpacked(results.layers_page(*empty, tmp_path))
    assert data["starts"] == [0]


def test_training_is_shown_with_the_logs_of_its_jobs(tmp_path) -> None:
    training = pd.DataFrame(
        {"model": "a", "seed": [0, 0, 1], "epoch": [0, 1, 0], "test_loss": [2.3, 0.1234567, 2.4]}
    )
    (tmp_path / "train/a").mkdir(parents=True)
    (tmp_path / "train/a/seed-1.log").write_text("device: CPU\n")
    page = results.training_page(training, tmp_path)
    assert "Model: a" in page
    data = unpacked(page)
    assert [column["label"] for column in data["columns"]] == ["Epoch", "Seed", "Test loss"]
    assert column(data["columns"], "Test loss")["texts"] == ["2.300", "0.1235", "2.400"]
    assert data["logs"] == [["train a, seed 0", None], ["train a, seed 1", 0]]
    assert data["texts"] == ["device: CPU"]
    assert "has room" not in page


def test_the_page_says_how_many_logs_it_leaves_out(tmp_path, monkeypatch) -> None:
    training = pd.DataFrame({"model": "a", "seed": range(4), "epoch": 0, "test_loss": 2.3})
    write_random_logs(tmp_path / f"train/a/seed-{seed}.log" for seed in range(4))
    whole = results.training_page(training, tmp_path)
    monkeypatch.setattr(page_module, "MOST_BYTES", len(whole.encode()) - 1000)
    page = results.training_page(training, tmp_path)
    assert len(page.encode()) <= page_module.MOST_BYTES
    n = len(unpacked(page)["logs"])
    assert 0 < n < 4
    assert f"This page has room for the logs of {n} of 4 trainings" in page


@pytest.mark.parametrize("path", [ROOT / "config.yaml", *(ROOT / "configs").glob("*.yaml")])
def test_the_configuration_as_it_is_shown_makes_the_same_run(path: Path) -> None:
    given = yaml.safe_load(path.read_text())
    resolved = resolve(given, load_schema(ROOT / "schemas" / "config.schema.yaml"))
    lines = [*origin.yaml_lines(resolved)]
    assert yaml.safe_load("\n".join(line for _, line in lines)) == resolved
    keys = given_keys(given)
    ours = {line.strip().partition(":")[0].removeprefix("- ") for key, line in lines if key in keys}
    assert {"dataset", "name", "models", "points_per_class"} <= ours
    written = {key for section in given.values() if isinstance(section, dict) for key in section}
    assert written <= ours
    assert not {"weights_file", "relative_error", "device"} & ours


def test_of_several_models_each_key_is_shown_as_given_or_default() -> None:
    models = [{"name": "a", "weights": "random"}, {"name": "b", "weights": "random"}]
    provenance = collect_provenance([], {"models": models})
    page = origin.origin_page(provenance, {"models", "models[1].weights"}, None)
    (shown,) = re.findall("<pre>(.*?)</pre>", page, re.DOTALL)
    first, *defaults, last = shown.splitlines()
    assert (first, last) == ("models:", "    weights: &quot;random&quot;")
    assert len(defaults) == 3
    assert all(re.fullmatch("<span class=default>.*</span>", line) for line in defaults)


def test_the_origin_names_every_step_and_escapes_what_it_quotes(tmp_path) -> None:
    layer = tmp_path / "layer.json"
    step = stamp("geometry", code="1234abcd", recipe={"augment": {"flip": True}})
    write_json(layer, {"provenance": {"dataset": {"digest": "d1"}, "geometry": step}})
    provenance = collect_provenance([layer], {"dataset": {"path": "/<data> & more"}})
    provenance["made_with"]["summary"] = [stamp("summary", code="5678")]  # of all layers
    dataset = {
        "name": "digits",
        "image_shape": [8, 8, 1],
        "class_names": [f"class {number}" for number in range(30)],
        "counts": {"train": [10, 20], "test": [5]},
        "source": {"bundled_with": "scikit-learn"},
        "digest": "d1",
    }
    page = origin.origin_page(provenance, [], dataset)
    for text in ("1234abcd", "augment.flip True", "numpy", "... and 10 more", "bundled with"):
        assert text in page
    assert "/&lt;data&gt; &amp; more" in page
    assert "<data>" not in page
    assert re.findall("<h3>(.*?)</h3>", page) == ["Dataset", "Geometry", "Summary"]
    assert "Images" not in origin.origin_page(provenance, [], None)
    del dataset["image_shape"]
    dataset |= {"input_shape": [3, 50], "input_dtype": "float32"}
    page = origin.origin_page(provenance, [], dataset)
    assert "<th scope=row>Inputs</th><td>3×50 of float32</td>" in page
    assert "<th scope=row>Train inputs</th><td>30</td>" in page


def test_no_text_of_a_user_is_html(tables, tmp_path) -> None:
    layers, manifolds = (table.copy() for table in tables)
    for table in (layers, manifolds):
        table["dataset"] = table["model"] = "<img src=x>"
    manifolds["class_name"] = layers["status"] = "<img src=x>"
    training = pd.DataFrame({"model": ["<img src=x>"], "seed": 0, "epoch": 1, "loss": 0.5})
    provenance = {
        "config": {"results": "<img src=x>", "<img src=x>": ["<img src=x>"]},
        "config_digest": "<img src=x>",
        "code": {"version": "<img src=x>", "commit": None},
        "platform": "<img src=x>",
        "made_with": {"<img src=x>": [{"<img src=x>": {"a": "<img src=x>"}}], "dataset": [{}]},
    }
    dataset = dict.fromkeys(("name", "digest"), "<img src=x>") | {"image_shape": [8, 8, 1]}
    dataset |= {"class_names": ["<img src=x>"], "source": {"<img src=x>": "<img src=x>"}}
    dataset["counts"] = {"<img src=x>": [1]}
    for page in (
        results.layers_page(layers, manifolds, tmp_path / "<img src=x>"),
        results.training_page(training, tmp_path / "<img src=x>"),
        origin.origin_page(provenance, [], dataset),
    ):
        assert "<img" not in page.lower()
        assert "&lt;img src=x&gt;" in page
