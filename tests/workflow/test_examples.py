"""An example runs as it is: inputs that are no images, from a function, in a network of one's own."""

import json
import shutil

import pandas as pd
import yaml
from workspaces import ROOT

VIEWS = ("", "_mean", "_position_13")
COUNTED = """

made = load


def load():
    with open("calls", "a") as file:
        file.write("x")
    return made()
"""


def test_waves_in_a_network_with_convolutions_along_time(workspace):
    folder = workspace.folder
    shutil.copytree(ROOT / "examples/time_series", folder, dirs_exist_ok=True)
    config = yaml.safe_load((folder / "config.yaml").read_text())
    # One of the two networks and its layers, for less time.
    config |= {"models": config["models"][:1], "checkpoints": ["final"]}
    config["layers"]["types"].remove("GRU")
    del config["layers"]["views"]["recurrent"]
    config["training"]["epochs"] = 4
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    with open(folder / "data.py", "a") as file:
        file.write(COUNTED)
    run = "convolutional/seed-0/epoch-004/test"
    files = [f"results/time_series/geometry/{run}/4_Conv1d{view}.json" for view in VIEWS]
    workspace.snakemake(*files)
    results = folder / "results/time_series"
    metrics = pd.read_csv(results / "training/convolutional/seed-0/metrics.csv")
    assert metrics["test_accuracy"].iloc[-1] > 0.5  # one of eight classes
    measured = json.loads((results / f"geometry/{run}/4_Conv1d.json").read_text())
    assert (measured["n_manifolds"], measured["n_points"]) == (8, 800)
    assert measured["output_shape"] == "32x32"
    mean, position = (json.loads((folder / file).read_text()) for file in files[1:])
    assert mean["output_shape"] == position["output_shape"] == "32"
    assert (mean["view"], position["view"], position["position"]) == ("mean", "positions-4", "13")
    # The mean over time, which the readout takes after the ReLU, tells more than one moment of 32 numbers.
    assert mean["capacity"] > position["capacity"]
    assert measured["capacity"] > 2 * 2 / 100  # twice what the number of points gives by itself
    files = {path.name for path in (results / "datasets/waves").iterdir()}
    assert {"train_inputs.npy", "test_inputs.npy", "dataset.json"} < files
    # Once to check the configuration, which every job does, and once to write the arrays.
    assert (folder / "calls").read_text() == "xx"
