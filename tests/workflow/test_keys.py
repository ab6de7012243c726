"""After any failure, and whatever files are there, tables are those of the present configuration, or there are none."""

import fcntl
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from workspaces import Workspace, new_workspace

# One layer of the untrained network
SMALL = {"checkpoints": [0], "layers": {"input": False, "types": [], "names": ["classifier.2"]}}
TABLES = ("layers.csv", "manifolds.csv", "centers.csv", "layers.txt")


def tables(workspace: Workspace) -> list[str]:
    return [(workspace.results / "summary" / name).read_text() for name in TABLES]


def n_points(workspace: Workspace) -> list[int]:
    return list(pd.read_csv(workspace.results / "summary/layers.csv")["n_points"])


def test_a_failed_extraction_leaves_no_old_numbers_for_new_ones(finished):
    finished.configure(SMALL | {"manifolds.points_per_class": 13})
    finished.break_rules("extract_activations")
    printed = finished.snakemake("compare", check=False)
    assert "MemoryError" in printed
    (finished.folder / "break").unlink()
    printed = finished.snakemake("compare")
    assert n_points(finished) == [4 * 13], printed
    assert "Nothing to be done" in finished.snakemake("compare")


@pytest.fixture(scope="module")
def recording_once(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A finished run of one layer of external activations; shared, so not to be changed."""
    workspace = new_workspace(tmp_path_factory.mktemp("recording") / "run")
    record(workspace, 0)
    text = "activations: {path: rec.npz}\ngeometry: {n_gaussians: 20}\n"
    (workspace.folder / "config.yaml").write_text(text)
    workspace.snakemake("compare")
    return workspace


@pytest.fixture
def recording(recording_once: Workspace, tmp_path: Path) -> Workspace:
    return recording_once.twin(tmp_path / "recording")


def record(workspace: Workspace, seed: int, **options: float) -> Path:
    values = np.random.default_rng(seed).standard_normal((3, 8, 20))
    values[0, 0, 0] = options.get("first", values[0, 0, 0])
    path = workspace.folder / "rec.npz"
    np.savez(path, it=values)
    return path


def test_a_newer_recording_that_cannot_be_measured_is_an_error_each_time(recording):
    before = tables(recording)
    record(recording, 0, first=np.nan)
    for _ in range(2):
        assert "nan" in recording.snakemake("compare", check=False)
    record(recording, 0)
    recording.snakemake("compare")
    assert tables(recording) == before


def test_a_recording_counts_by_its_contents_and_not_by_its_time(recording):
    before, path = tables(recording), recording.folder / "rec.npz"
    shutil.copy2(path, recording.folder / "older.npz")
    record(recording, 1)
    recording.snakemake("compare")
    other = tables(recording)
    assert other != before
    shutil.copy2(recording.folder / "older.npz", path)  # as cp -p: an older time
    recording.snakemake("compare")
    assert tables(recording) == before
    record(recording, 1)
    os.utime(path, (2**32, 2**32))  # a clock that is wrong
    recording.snakemake("compare")
    assert tables(recording) == other
    assert "Nothing to be done" in recording.snakemake("compare")


def test_images_that_are_overwritten_in_place_are_read_again(workspace):
    for split in ("train", "test"):
        for name in ("cat", "dog"):
            folder = workspace.folder / "images" / split / name
            folder.mkdir(parents=True)
            for number in range(3):
                Image.fromarray(np.full((8, 8), 50 * number, np.uint8)).save(
                    folder / f"{number}.png"
                )
    dataset = {"name": "imagefolder", "path": "images", "image_size": 8}
    manifolds = {"classes": "all", "points_per_class": 2}
    workspace.configure(SMALL | {"dataset": dataset, "manifolds": manifolds})
    target = "results/datasets/imagefolder/dataset.json"
    workspace.snakemake(target)
    assert workspace.planned(target) == {}
    for path in (workspace.folder / "images/train/cat").iterdir():
        Image.fromarray(np.full((8, 8), 99, np.uint8)).save(path)
    assert workspace.planned(target) == {"prepare_dataset": 1}


def test_tables_of_another_configuration_are_not_taken_without_records(finished):
    shutil.move(finished.folder / ".snakemake", finished.folder / "records")
    assert finished.planned() == {}
    finished.configure({"manifolds.points_per_class": 13})
    printed = finished.snakemake("--dry-run", check=False)
    assert "are of another configuration or an earlier version" in printed
    assert "--forceall" in printed
    assert "train" in finished.planned("--forceall")
    shutil.rmtree(finished.folder / ".snakemake")
    shutil.move(finished.folder / "records", finished.folder / ".snakemake")
    assert "extract_activations" in finished.planned()
    printed = finished.snakemake("--report", "report.html", check=False)
    assert "run the same command without --report first" in printed


def test_two_runs_do_not_write_to_the_same_results(finished):
    figure = finished.results / "figures/layers.svg"
    figure.unlink()
    with (finished.results / ".lock").open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        printed = finished.snakemake(check=False)
        assert "another run writes to" in printed
        assert "Traceback" not in printed
        assert not figure.exists()
    finished.snakemake()
    assert figure.exists()
