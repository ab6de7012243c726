"""Temporary stores of activations never take more disk space than `activations.max_gib`."""

import subprocess
import sys
import time

import pandas
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


# Two runs of four layers, in three groups each: 12, 393, 25 and 2 kB.
IN_GROUPS = {"activations.keep": False, "activations.max_gib": 400e3 / 2**30}


@pytest.fixture(scope="module")
def in_groups(finished_once, tmp_path_factory):
    """A finished run of the shared run's configuration, whose layers were extracted in groups."""
    workspace = finished_once.twin(tmp_path_factory.mktemp("groups") / "run")
    workspace.delete_measurements()
    workspace.configure(IN_GROUPS)
    assert workspace.planned("geometry")["extract_activations"] == 6
    workspace.snakemake()
    return workspace


def test_numbers_do_not_depend_on_groups_of_layers(in_groups, finished_once):
    for table in ("layers", "manifolds", "centers"):
        one, other = (
            pandas.read_csv(workspace.results / f"summary/{table}.csv")
            for workspace in (in_groups, finished_once)
        )
        pandas.testing.assert_frame_equal(
            one.drop(columns="config_digest", errors="ignore"),
            other.drop(columns="config_digest", errors="ignore"),
            check_exact=True,
        )
    assert not list(in_groups.results.glob("activations/**/*.zarr"))


@pytest.mark.parametrize("max_gib", [None, 1, 420e3 / 2**30])
def test_another_division_repeats_nothing(in_groups, tmp_path, max_gib):
    workspace = in_groups.twin(tmp_path / "twin")
    workspace.configure(IN_GROUPS | {"activations.max_gib": max_gib})
    assert workspace.planned("geometry") == {}


def test_a_lost_layer_is_made_again_with_its_group_only(in_groups, tmp_path):
    workspace = in_groups.twin(tmp_path / "twin")
    for file in ("moments/{}.npz", "geometry/{}.json"):
        path = file.format("small_cnn/seed-0/epoch-000/train/12_Linear")
        (workspace.results / path).unlink()
    plan = workspace.planned("geometry")
    assert plan["extract_activations"] == 1
    assert plan["compute_moments"] == 2  # those of 10_Linear, which shares its store


def test_a_layer_larger_than_the_limit_is_an_error(workspace):
    workspace.configure(SWEEP | {"activations.max_gib": STORE_GIB / 2})
    printed = workspace.snakemake(check=False)
    assert "activations.max_gib" in printed
    assert "layer 0_Input (input) alone takes" in printed
    assert not workspace.results.exists()
