"""A run that is interrupted while it writes: no partial file passes for a complete one, and the run can go on."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

# One layer of the untrained network, in batches of one image: long enough to be interrupted.
SLOW = {
    "checkpoints": [0],
    "layers": {"input": False, "types": [], "names": ["classifier.2"]},
    "manifolds": {"classes": 10, "points_per_class": 130},
    "activations": {"batch_size": 1},
}
RUN = "activations/small_cnn/seed-0/epoch-000/train"
STORE = f"{RUN}.part/activations.zarr"
TABLE = "geometry/small_cnn/seed-0/epoch-000/train/12_Linear.json"


@pytest.fixture
def prepared(finished):
    return finished.delete_measurements()


@pytest.fixture
def extracting(prepared):
    """A run that has begun to write activations, all its processes in one group."""
    prepared.configure(SLOW)
    process = start(prepared)
    yield prepared, process
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def start(workspace):
    with open(workspace.folder / "printed", "wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", "geometry"],
            cwd=workspace.folder,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
    # Until the store has its first shard.
    while not list((workspace.results / STORE).glob("12_Linear/c/**/0")):
        assert process.poll() is None, (workspace.folder / "printed").read_text()
        time.sleep(0.01)
    return process


def test_killed_while_writing_activations(extracting):
    workspace, process = extracting
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (workspace.results / RUN).exists()
    assert "--unlock" in workspace.snakemake("geometry", check=False)
    workspace.snakemake("--unlock")
    plan = workspace.planned("geometry")
    assert plan["extract_activations"] == 1
    assert not {"prepare_dataset", "initial_weights", "find_layers"} & set(plan)
    workspace.snakemake("geometry")
    assert not (workspace.results / STORE).exists()
    assert (workspace.results / TABLE).is_file()


@pytest.fixture
def small_disk(prepared):
    """A file system in memory for the store of activations; returns a function that sets its size."""
    folder = prepared.results / "activations"
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("mounting a small file system is not allowed here")

    def resize(n_bytes):
        subprocess.run(["mount", "-o", f"remount,size={n_bytes}", str(folder)], check=True)

    yield resize
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_stops_the_run_which_goes_on_once_there_is_space(prepared, small_disk):
    changes = {"activations": {"batch_size": 2}, "layers": {"names": ["*"]}}
    prepared.configure(SLOW | changes | {"manifolds": {"classes": 10, "points_per_class": 40}})
    too_small = prepared.snakemake("activations", check=False)
    needed = re.search(r"the store takes .*? \((\d+) bytes\), but .* free; make space", too_small)
    assert needed
    # Enough for the computed size, but this file system takes a whole page for a file of a few bytes.
    small_disk(int(needed[1]) + 2**16)
    filled_up = prepared.snakemake("activations", check=False)
    assert "the disk filled up while" in filled_up
    for printed in (too_small, filled_up):
        assert "Traceback" not in printed
    assert not list((prepared.results / "activations").rglob("zarr.json"))
    small_disk(2**30)
    prepared.snakemake("activations")
    assert (prepared.results / RUN / "activations.zarr" / "zarr.json").is_file()
