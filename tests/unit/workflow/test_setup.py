"""A checked configuration, and what follows from it."""

from pathlib import Path

import numpy as np
import pytest

from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import write_layers
from manifold_capacity.provenance import write_stamp
from manifold_capacity.workflow import runs
from manifold_capacity.workflow.fingerprints import Fingerprints
from manifold_capacity.workflow.setup import (
    check_cache,
    missing_downloads,
    selected_layers,
    set_up,
)
from manifold_capacity.workflow.steps import Steps

ROOT = Path(__file__).parents[3]
SCHEMA = ROOT / "schemas/config.schema.yaml"


@pytest.fixture
def given(tmp_path, layers):
    """A configuration for which an earlier run has found the layers."""
    (tmp_path / "layers").mkdir()
    table = tmp_path / "layers" / "small_cnn.csv"
    write_layers(layers, table)
    write_stamp(table.with_suffix(".json"), [table], {})
    return {
        "dataset": {"name": "digits"},
        "models": ["small_cnn"],
        "manifolds": {"classes": [3, 8], "points_per_class": 10},
        "results": str(tmp_path),
    }


def test_layers_come_from_the_table_of_an_earlier_run(given, layers):
    setup = set_up(given, SCHEMA)
    assert setup.layers == {"small_cnn": layers}
    assert setup.classes == {3: "3", 8: "8"}
    assert setup.external == {}
    assert setup.stores_at_once is None
    (part,) = setup.parts["small_cnn"]
    assert part.n_bytes > 2 * 10 * 74 * 4


def test_external_activations_need_no_store(tmp_path):
    path = tmp_path / "recording.npy"
    np.save(path, np.arange(24.0).reshape(3, 2, 4))
    setup = set_up({"activations": {"path": str(path)}}, SCHEMA)
    assert setup.external == {"external": setup.dataset}
    assert setup.parts == {}
    (layer,) = setup.dataset.layers
    manifolds = runs.external_manifolds(setup, layer.label, "external", None)
    assert manifolds["source"] == {"path": str(path), "labels": None, "groups": None}
    sample = {"classes": [0, 1, 2], "points_per_class": "all", "group": None}
    assert manifolds["sample"] == sample


def test_checkpoints_and_groups_have_a_run_each(tmp_path):
    paths = [str(tmp_path / name) for name in ("late.npz", "early.npz")]
    rng = np.random.default_rng(0)
    for path in paths:
        days = np.repeat(["day 2", "day 1"], 4)
        np.savez(path, V1=rng.random((8, 3)), labels=[0, 0, 1, 1] * 2, day=days)
    listed = [{"path": path, "epoch": epoch} for path, epoch in zip(paths, (10, 2), strict=True)]
    setup = set_up({"activations": {"path": listed, "groups": "day"}}, SCHEMA)
    found = runs.runs_of(setup.config)
    epochs = ["epoch-002", "epoch-010"]
    assert list(found) == [f"{d}/seed-0/{e}/all" for d in ("day-2", "day-1") for e in epochs]
    manifolds = runs.external_manifolds(setup, "1_V1", "epoch-010", "day 1")
    assert manifolds["source"]["path"] == paths[0]
    assert manifolds["sample"]["group"] == "day 1"
    assert setup.config["dataset"]["name"] == tmp_path.name
    steps = Steps(setup, ROOT / "scripts", Fingerprints())
    keys = {
        steps.geometry(**vars(run) | {"seed": "0", "layer": "1_V1", "labels": ""})["keys"][
            "geometry"
        ]
        for run in found.values()
    }
    assert len(keys) == 4


def test_selected_layers_follow_the_table(given, tmp_path, layers):
    table = tmp_path / "layers" / "small_cnn.csv"
    selection = {"input": True, "types": ["Linear"], "names": []}
    assert selected_layers(table, selection, "small_cnn") == layers
    assert selected_layers(table, selection | {"input": False}, "small_cnn") == layers[1:]


def test_downloads_are_missing_until_the_dataset_is_prepared(given, tmp_path):
    config = set_up(given, SCHEMA).config | {"dataset": {"name": "mnist", "url": None}}
    assert len(missing_downloads(config)) == 4
    prepared = tmp_path / "datasets" / "mnist" / "dataset.json"
    prepared.parent.mkdir(parents=True)
    prepared.touch()
    assert missing_downloads(config) == []


def test_a_cache_needs_an_absolute_path_of_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    check_cache(str(tmp_path))
    for folder in ("", tmp_path.name, str(tmp_path / "gone")):
        with pytest.raises(UserError, match="SNAKEMAKE_OUTPUT_CACHE is"):
            check_cache(folder)
