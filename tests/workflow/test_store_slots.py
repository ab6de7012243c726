"""Temporary stores of activations never take more of the disk than `activations.max_gib`."""

import subprocess
import sys
import time

import pytest
from workspaces import new_workspace

from manifold_capacity.models.layers import read_layers

# Four runs that need no training, of two layers each.
SWEEP = {
    "models": [{"name": "small_cnn", "weights": "random"}],
    "seeds": [0, 1],
    "manifolds.splits": ["train", "test"],
    "layers": {"input": True, "types": [], "names": ["classifier.2"]},
    "activations.keep": False,
}
STORE_GIB = (
    20e3 / 2**30
)  # of one run: 4 classes x 12 images x (64 + 32) features x 4 bytes, and a little


@pytest.fixture(scope="module")
def bounded(tmp_path_factory):
    """A finished run in which one store at most was on the disk, and the most that were seen there."""
    workspace = new_workspace(tmp_path_factory.mktemp("bounded") / "run")
    workspace.configure(SWEEP | {"activations.max_gib": STORE_GIB})
    command = [sys.executable, "-m", "snakemake", "geometry", "--cores", "2"]
    seen = []
    with open(workspace.folder / "printed", "w") as printed:
        running = subprocess.Popen(
            command, cwd=workspace.folder, stdout=printed, stderr=subprocess.STDOUT
        )
        while running.poll() is None:
            stores = workspace.results.glob("activations/*/*/*/*/activations.zarr")
            seen.append(len(list(stores)))
            time.sleep(0.02)
    assert running.returncode == 0, (workspace.folder / "printed").read_text()
    return workspace, max(seen)


def test_no_more_stores_at_once_than_fit(bounded):
    workspace, most = bounded
    assert most == 1
    assert len(list((workspace.results / "geometry").rglob("*.json"))) == 8
    assert not list(workspace.results.glob("activations/**/*.zarr"))
    assert "Nothing to be done" in workspace.snakemake("geometry")


@pytest.mark.parametrize(
    ("changes", "extractions"),
    [
        ({"activations.max_gib": 3 * STORE_GIB}, 0),
        ({"activations.max_gib": None}, 0),
        ({"activations.max_gib": STORE_GIB, "seeds": [2, 0, 1]}, 2),
        ({"activations.max_gib": STORE_GIB, "manifolds.points_per_class": 11}, 4),
    ],
    ids=["a wider bound", "no bound", "another seed", "other points"],
)
def test_finished_runs_stay_finished(bounded, tmp_path, changes, extractions):
    workspace = bounded[0].twin(tmp_path / "twin")
    workspace.configure(SWEEP | changes)
    plan = workspace.planned("geometry")
    assert plan.get("extract_activations", 0) == extractions
    assert plan.get("compute_moments", 0) == 2 * extractions


def test_a_lost_file_is_made_again_for_its_run_only(bounded, tmp_path):
    workspace = bounded[0].twin(tmp_path / "twin")
    (label,) = (path.stem for path in (workspace.results / "layers").glob("*.csv"))
    layer = read_layers(workspace.results / "layers" / f"{label}.csv")[0].label
    for file in (
        f"moments/{label}/seed-0/epoch-000/test/{layer}.npz",
        f"geometry/{label}/seed-0/epoch-000/test/{layer}.json",
    ):
        (workspace.results / file).unlink()
    assert workspace.planned("geometry")["extract_activations"] == 1


def test_a_store_larger_than_the_bound_is_an_error(workspace):
    workspace.configure(SWEEP | {"activations.max_gib": STORE_GIB / 2})
    printed = workspace.snakemake(check=False)
    assert "activations.max_gib" in printed
    assert "one store of small_cnn-random takes" in printed
    assert not workspace.results.exists()
