"""The key of a step changes with what its result depends on, and with nothing else."""

import inspect
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifold_capacity.models.layers import write_layers
from manifold_capacity.provenance import write_stamp
from manifold_capacity.workflow.fingerprints import Fingerprints
from manifold_capacity.workflow.setup import set_up
from manifold_capacity.workflow.steps import Steps

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "schemas/config.schema.yaml"
RUN = {"model": "small_cnn", "seed": "0", "checkpoint": "epoch-001", "split": "train"}
JOB = {**RUN, "labels": "", "layer": "1_Linear"}
# In the order of the data.
NAMES = ("dataset", "layers", "initial_weights", "trained_weights", "activations", "moments")
NAMES += ("gram", "glue", "simulated", "geometry", "summary", "comparisons", "training", "figure")


@pytest.fixture
def keys(tmp_path, layers):
    """Each step's key, for a configuration with changes."""
    (tmp_path / "layers").mkdir()
    table = tmp_path / "layers/small_cnn.csv"
    write_layers(layers, table)
    write_stamp(table.with_suffix(".json"), [table], {})

    def keys_of(given: dict[str, Any] | None = None, **job: str) -> dict[str, str]:
        config = {
            "dataset": {"name": "digits"},
            "models": ["small_cnn"],
            "manifolds": {"classes": [3, 8], "points_per_class": 10},
            "results": str(tmp_path),
            "training": {"epochs": 1},
            "layers": {"names": ["*"], "types": []},
        }
        for section, values in (given or {}).items():
            whole = not isinstance(values, dict)
            config[section] = values if whole else {**config.get(section, {}), **values}
        prints = Fingerprints(tmp_path / "prints.json")
        steps = Steps(set_up(config, SCHEMA), ROOT / "scripts", prints)
        found = {}
        for name in NAMES:
            method = getattr(steps, name)
            wants = inspect.signature(method).parameters
            arguments = {"name": "layers"} if name == "figure" else {**JOB, **job} if wants else {}
            found[name] = list(method(**arguments)["keys"].values())[-1]
        return found

    return keys_of


# What follows from the tables, and what from the geometry, and so on.
TABLES = {"summary", "comparisons", "training", "figure"}
GEOMETRY = TABLES | {"geometry"}
ACTIVATIONS = GEOMETRY | {"activations", "moments", "simulated", "gram", "glue"}
TRAINING = ACTIVATIONS | {"trained_weights"}


@pytest.mark.parametrize(
    ("given", "changed"),
    [
        ({"results": "elsewhere"}, set()),
        ({"device": "cpu"}, TABLES),  # which have the configuration's digest
        ({"activations": {"keep": False}}, TABLES),
        ({"activations": {"keep": False, "max_gib": 1e-5}}, TABLES),
        ({"activations": {"projection": 50}}, ACTIVATIONS),
        ({"geometry": {"margin": 0.5}}, GEOMETRY),
        ({"geometry": {"simulated": True}}, GEOMETRY),
        ({"geometry": {"measures": ["mean_field", "glue"]}}, GEOMETRY),
        (
            {"geometry": {"measures": ["mean_field", "glue"], "glue": {"labels": "balanced"}}},
            GEOMETRY | {"glue"},
        ),
        ({"geometry": {"repeats": 2}}, ACTIVATIONS),
        ({"manifolds": {"points_per_class": 11}}, ACTIVATIONS),
        ({"manifolds": {"classes": [3, 9]}}, ACTIVATIONS),
        ({"activations": {"dtype": "float16"}}, ACTIVATIONS),
        ({"layers": {"input": False}}, ACTIVATIONS),
        ({"training": {"learning_rate": 0.02}}, TRAINING),
        ({"dataset": {"normalize": "none"}}, TRAINING),
        ({"dataset": {"name": "cifar10"}}, set(NAMES)),
    ],
)
def test_a_change_counts_for_what_follows_from_it(keys, given, changed):
    before, after = keys(), keys(given)
    assert {name for name in NAMES if before[name] != after[name]} == changed


def test_layers_and_draws_of_a_run_share_a_key_but_runs_and_labels_do_not(keys):
    one = keys()
    assert keys(layer="0_Input") == one
    for job in ({"seed": "1"}, {"checkpoint": "epoch-000"}, {"split": "test"}):
        assert keys(**job)["activations"] != one["activations"]
        assert keys(**job)["geometry"] != one["geometry"]
    shuffled = keys(labels="-shuffled")
    assert shuffled["activations"] == one["activations"]
    assert shuffled["moments"] != one["moments"]


def test_contents_of_external_files_count(tmp_path):
    path, found = tmp_path / "rec.npz", []
    config = {"activations": {"path": str(path)}, "results": str(tmp_path)}
    job = {"model": "rec", "seed": "0", "checkpoint": "external", "split": "all", "labels": ""}
    for value in (0, 1, 0):
        np.savez(path, a=np.full((2, 10, 3), value), b=np.zeros((2, 10, 3)))
        prints = Fingerprints(tmp_path / "prints.json")
        steps = Steps(set_up(config, SCHEMA), ROOT / "scripts", prints)
        found.append((steps.geometry(**job, layer="1_a")["keys"], steps.summary()["keys"]))
    assert found[0] == found[2]
    geometry, tables = zip(*found, strict=True)
    assert all(geometry[0][step] != geometry[1][step] for step in ("moments", "geometry"))
    assert all(tables[0][step] != tables[1][step] for step in ("geometry", "summary"))


def test_the_code_of_a_script_counts_for_its_step(keys, tmp_path, monkeypatch):
    before, scripts = keys(), tmp_path / "scripts"
    shutil.copytree(ROOT / "scripts", scripts)
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    compare = scripts / "compare.py"
    text = compare.read_text()
    compare.write_text(f"# A comment\n{text}")
    assert keys() == before
    compare.write_text(f"{text}\nONE = 1\n")
    assert {name for name in NAMES if keys()[name] != before[name]} == {"comparisons"}
