"""Temporary stores of activations never take more disk space than `activations.max_gib`."""

import subprocess
import sys
import time

import pytest

# Two runs of the untrained network, of one layer each.
SWEEP = {
    "checkpoints": [0],
    "manifolds.splits": ["train", "test"],
    "layers": {"input": True, "types": [], "names": []},
    "activations.keep": False,
}
# Of one run: 4 classes x 12 images x 64 features x 4 bytes, and a little.
STORE_GIB = 15e3 / 2**30


@pytest.fixture(scope="module")
def limited(finished_once, tmp_path_factory):
    """A finished run that was limited to one store at once, and the largest number seen on the disk."""
    workspace = finished_once.twin(tmp_path_factory.mktemp("limited") / "run")
    workspace.delete_measurements()
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


def test_no_more_stores_at_once_than_fit(limited):
    workspace, most = limited
    assert most == 1
    assert len(list((workspace.results / "geometry").rglob("*.json"))) == 2
    assert not list(workspace.results.glob("activations/**/*.zarr"))
    assert "Nothing to be done" in workspace.snakemake("geometry")


@pytest.mark.parametrize(
    ("changes", "extractions"),
    [
        ({"activations.max_gib": 3 * STORE_GIB}, 0),
        ({"activations.max_gib": None}, 0),
        ({"activations.max_gib": STORE_GIB, "seeds": [2, 0]}, 2),
        ({"activations.max_gib": STORE_GIB, "manifolds.points_per_class": 11}, 2),
    ],
    ids=["a higher limit", "no limit", "another seed", "other points"],
)
def test_finished_runs_stay_finished(limited, tmp_path, changes, extractions):
    workspace = limited[0].twin(tmp_path / "twin")
    workspace.configure(SWEEP | changes)
    plan = workspace.planned("geometry")
    assert plan.get("extract_activations", 0) == extractions
    assert plan.get("compute_moments", 0) == extractions


def test_a_lost_file_is_made_again_for_its_run_only(limited, tmp_path):
    workspace = limited[0].twin(tmp_path / "twin")
    for file in ("moments/{}.npz", "geometry/{}.json"):
        path = file.format("small_cnn/seed-0/epoch-000/train/0_Input")
        (workspace.results / path).unlink()
    assert workspace.planned("geometry")["extract_activations"] == 1


def test_a_store_larger_than_the_limit_is_an_error(workspace):
    workspace.configure(SWEEP | {"activations.max_gib": STORE_GIB / 2})
    printed = workspace.snakemake(check=False)
    assert "activations.max_gib" in printed
    assert "one store of small_cnn takes" in printed
    assert not workspace.results.exists()
