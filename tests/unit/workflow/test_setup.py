"""A checked configuration, and what follows from it."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifold_capacity.errors import UserError
from manifold_capacity.models.layers import write_layers
from manifold_capacity.workflow import runs
from manifold_capacity.workflow.setup import (
    check_cache,
    dataset_sources,
    missing_downloads,
    selected_layers,
    set_up,
)

SCHEMA = Path(__file__).parents[3] / "schemas" / "config.schema.yaml"


@pytest.fixture
def given(tmp_path, layers):
    """A configuration for which an earlier run has found the layers."""
    (tmp_path / "layers").mkdir()
    write_layers(layers, tmp_path / "layers" / "small_cnn.csv")
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
    assert setup.external is None
    assert setup.stores_at_once is None
    assert setup.store_bytes["small_cnn"] > 2 * 10 * 74 * 4


def test_external_activations_need_no_store(tmp_path):
    path = tmp_path / "recording.npy"
    np.save(path, np.arange(24.0).reshape(3, 2, 4))
    setup = set_up({"activations": {"path": str(path)}}, SCHEMA)
    assert setup.dataset is setup.external
    assert setup.store_bytes == {}
    (layer,) = setup.external.layers
    manifolds = runs.external_manifolds(setup, layer.label)
    assert manifolds["source"] == {"path": str(path), "labels": None}
    assert manifolds["sample"] == {"classes": [0, 1, 2], "points_per_class": "all"}


def test_networks_have_no_external_manifolds(given):
    assert runs.external_manifolds(set_up(given, SCHEMA), "0_Input") is None


def test_selected_layers_follow_the_table(given, tmp_path, layers):
    table = tmp_path / "layers" / "small_cnn.csv"
    selection = {"input": True, "types": ["Linear"], "names": []}
    assert selected_layers(table, selection, "small_cnn") == layers
    assert selected_layers(table, selection | {"input": False}, "small_cnn") == layers[1:]


def test_sources_of_image_folders_and_array_files(tmp_path):
    for folder in ("train/cat", "train/dog", "test/cat"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "train" / "notes.txt").touch()
    sources = dataset_sources({"name": "imagefolder", "path": str(tmp_path)})
    assert [Path(path).name for path in sources] == ["cat", "cat", "dog"]
    assert dataset_sources({"name": "arrays", "path": "a.npz"}) == ["a.npz"]
    assert dataset_sources({"name": "digits", "path": None}) == []


def test_downloads_are_missing_until_the_dataset_is_prepared(given, tmp_path):
    config = set_up(given, SCHEMA).config | {"dataset": {"name": "mnist", "url": None}}
    assert len(missing_downloads(config)) == 4
    prepared = tmp_path / "datasets" / "mnist" / "dataset.json"
    prepared.parent.mkdir(parents=True)
    prepared.touch()
    assert missing_downloads(config) == []


def test_a_cache_needs_an_absolute_path_of_a_folder(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path.parent)
    setup = set_up(given, SCHEMA)
    check_cache(setup, str(tmp_path))
    for folder in ("", tmp_path.name, str(tmp_path / "gone")):
        with pytest.raises(UserError, match="SNAKEMAKE_OUTPUT_CACHE is"):
            check_cache(setup, folder)


def test_an_image_folder_cannot_be_cached(given, tmp_path):
    (tmp_path / "layers" / "small_cnn.csv").unlink()
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = tmp_path / "images" / split / name
            folder.mkdir(parents=True)
            for i in range(2):
                Image.fromarray(np.full((8, 8), 100 * i, np.uint8)).save(folder / f"{i}.png")
    dataset = {"name": "imagefolder", "path": str(tmp_path / "images"), "image_size": 8}
    manifolds = {"classes": "all", "points_per_class": 2}
    setup = set_up(given | {"dataset": dataset, "manifolds": manifolds}, SCHEMA)
    with pytest.raises(UserError, match=r"--cache: dataset\.name is 'imagefolder'"):
        check_cache(setup, str(tmp_path))
