"""A run that is cut off while it writes: nothing half-made is taken for whole, and it goes on when it can."""

import os
import signal
import subprocess
import sys
import time

import pytest

# One layer of the untrained network, image by image: long enough to be interrupted.
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
def extracting(workspace):
    """A run that has begun to write activations, all its processes in one group."""
    workspace.configure(SLOW)
    process = start(workspace)
    yield workspace, process
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
    # The first of the store's shards, of the image that came first.
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
