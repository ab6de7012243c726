"""External activations: the walk-through of docs/own_data.md, and what is run again after a change."""

import re
import shlex
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import yaml
from sklearn.datasets import load_digits
from workspaces import ROOT, SUMMARY, Workspace, new_workspace

from manifold_capacity import measure

BLOCKS = re.findall(
    r"^```(python|yaml|console)\n(.*?)^```", (ROOT / "docs/own_data.md").read_text(), re.M | re.S
)


@pytest.fixture(scope="module")
def walked_once(tmp_path_factory):
    """A folder in which everything in docs/own_data.md was done; shared, so not to be changed."""
    workspace = new_workspace(tmp_path_factory.mktemp("own") / "run")
    (workspace.folder / "config.yaml").unlink()
    # The files that thingsvision saves, for real images.
    features = workspace.folder / "features"
    features.mkdir()
    digits = load_digits()
    np.save(features / "features.npy", digits.data[:40].astype(np.float32))
    names = [
        f"images/{target}/{index}.png\n" for index, target in enumerate(digits.target[:40] % 2)
    ]
    (features / "file_names.txt").write_text("".join(names))
    for language, text in BLOCKS:
        if language == "yaml":
            name = re.match(r"# (\w+\.yaml)\n", text)[1]
            (workspace.folder / name).write_text(text)
        elif language == "python":
            done = subprocess.run(
                [sys.executable, "-"],
                input=text,
                cwd=workspace.folder,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert done.returncode == 0, done.stdout
        else:
            for line in text.splitlines():
                program, *arguments = shlex.split(line)
                assert program == "snakemake"
                workspace.snakemake(*arguments)
    return workspace


@pytest.fixture
def walked(walked_once, tmp_path):
    """A copy of it, to be changed and run again."""
    return walked_once.twin(tmp_path / "walked")


def planned(workspace: Workspace, changes: dict | None = None) -> dict[str, int]:
    """Jobs that `recording.yaml` with some changes would start."""
    config = yaml.safe_load((workspace.folder / "recording.yaml").read_text())
    for section, values in (changes or {}).items():
        config[section] = {**config.get(section, {}), **values}
    (workspace.folder / "changed.yaml").write_text(yaml.safe_dump(config))
    return workspace.planned("--configfile", "changed.yaml")


def test_every_block_of_the_walk_through_was_run(walked_once):
    text = (ROOT / "docs/own_data.md").read_text()
    assert text.count("```") == 2 * len(BLOCKS)
    folder = walked_once.folder
    assert "recording.npz" in (folder / "results/recording/report.html").read_text()
    assert (folder / "hooked/0.npy").is_file()
    assert (folder / "features/labels.npy").is_file()


def test_the_tables_name_the_recording(walked_once):
    summary = walked_once.folder / "results/recording/summary"
    layers = pd.read_csv(summary / "layers.csv")
    assert list(layers["layer"]) == ["1_V1", "2_V4", "3_IT"]
    assert list(layers["layer_name"]) == ["V1", "V4", "IT"]
    assert list(layers["n_features"]) == [200, 100, 50]
    assert list(layers["output_shape"].astype(str)) == ["200", "100", "50"]
    assert layers["epoch"].isna().all()
    shared = {
        "dataset": "recording.npz",
        "model": "recording",
        "weights": "external",
        "seed": 0,
        "checkpoint": "external",
        "split": "all",
        "status": "ok",
        "n_manifolds": 5,
    }
    for column, value in shared.items():
        assert (layers[column] == value).all(), column
    assert "external activations, no split" in (summary / "layers.txt").read_text()
    manifolds = pd.read_csv(summary / "manifolds.csv")
    assert list(manifolds["class_name"][:5]) == ["four", "one", "three", "two", "zero"]
    assert list(manifolds["class_index"][:5]) == [0, 1, 2, 3, 4]


def test_the_numbers_are_those_of_the_library(walked_once):
    recording = np.load(walked_once.folder / "recording.npz")
    labels = recording["labels"]
    manifolds = pd.read_csv(walked_once.folder / "results/recording/summary/manifolds.csv")
    for area in ("V1", "IT"):
        geometry = measure([recording[area][labels == name] for name in np.unique(labels)])
        mine = manifolds[manifolds["layer_name"] == area]
        assert mine["capacity"].to_numpy() == pytest.approx(geometry.capacity, rel=1e-9)
        sizes = [int((labels == name).sum()) for name in np.unique(labels)]
        assert list(mine["n_points"]) == sizes
        assert len(set(sizes)) > 1


def test_a_second_run_does_nothing_and_a_margin_needs_no_activations(walked_once):
    assert planned(walked_once) == {}
    plan = planned(walked_once, {"geometry": {"margin": 0.1}})
    assert plan == {"measure_geometry": 3, **SUMMARY}
    # Another draw of samples.
    assert planned(walked_once, {"manifolds": {"points_per_class": 30}})["compute_moments"] == 3


def test_a_changed_file_reruns_its_layers(walked):
    recording = np.load(walked.folder / "recording.npz")
    folder = walked.folder / "areas"
    folder.mkdir()
    for name in recording:
        np.save(folder / f"{name}.npy", recording[name])
    as_folder = {
        "activations": {"path": "areas", "name": "recording"},
        "manifolds": {"classes": ["one", "two"], "points_per_class": 8},
        "geometry": {"n_gaussians": 20},
    }
    planned(walked, as_folder)
    walked.snakemake("geometry", "--configfile", "changed.yaml")
    assert walked.planned("geometry", "--configfile", "changed.yaml") == {}
    np.save(folder / "V4.npy", recording["V4"] + 1)
    assert walked.planned("geometry", "--configfile", "changed.yaml") == {
        "compute_moments": 1,
        "measure_geometry": 1,
    }
    np.save(folder / "labels.npy", recording["labels"][::-1])
    assert walked.planned("geometry", "--configfile", "changed.yaml")["compute_moments"] == 3


def test_a_missing_value_names_its_place_and_stops_one_layer(walked):
    recording = dict(np.load(walked.folder / "recording.npz"))
    recording["V4"][17, 3] = np.nan
    np.savez(walked.folder / "recording.npz", **recording)
    printed = walked.snakemake(
        "geometry", "--configfile", "recording.yaml", "--keep-going", check=False
    )
    name = recording["labels"][17]
    assert f"layer 'V4', class '{name}', sample 17, feature 3 is nan" in printed
    moments = walked.folder / "results/recording/moments"
    assert sorted(path.stem for path in moments.rglob("*.npz")) == ["1_V1", "3_IT"]


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("activations", {"path": "gone.npz"}, "activations.path: there is no file or folder /"),
        (
            "layers",
            {"names": ["V2"]},
            "layers.names: 'V2' is not in recording.npz; there are V1, V4, IT",
        ),
        ("manifolds", {"points_per_class": 999}, "manifolds.points_per_class: 999, but recording"),
        (
            "dataset",
            {"name": "digits"},
            "activations.path: 'recording.npz' names external activations",
        ),
    ],
)
def test_a_mistake_stops_the_run_before_any_job(walked_once, section, values, message):
    config = yaml.safe_load((walked_once.folder / "recording.yaml").read_text())
    config[section] = {**config.get(section, {}), **values}
    path = walked_once.folder / "mistaken.yaml"
    path.write_text(yaml.safe_dump(config))
    printed = walked_once.snakemake("-n", "--configfile", path.name, check=False)
    assert message in printed
    assert "Traceback" not in printed
