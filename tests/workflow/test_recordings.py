"""The walk-through of docs/recordings.md: groups of samples, their comparisons, and how many trials are enough."""

import contextlib
import re
import shlex
import warnings

import pandas as pd
import pytest
import yaml
from workspaces import ROOT, new_workspace

from manifold_capacity import command_line
from manifold_capacity.errors import CaveatWarning

PAGE = (ROOT / "docs/recordings.md").read_text()
BLOCKS = re.findall(r"^```(python|yaml|console)\n(.*?)^```", PAGE, re.M | re.S)


@pytest.fixture(scope="module")
def walked(tmp_path_factory):
    """A folder in which everything was done, and the names that Python has at the end."""
    workspace = new_workspace(tmp_path_factory.mktemp("recordings") / "run")
    (workspace.folder / "config.yaml").unlink()
    names = {}
    with contextlib.chdir(workspace.folder), warnings.catch_warnings():
        warnings.simplefilter("ignore", CaveatWarning)  # few trials
        for language, text in BLOCKS:
            if language == "yaml":
                (workspace.folder / re.match(r"# (\w+\.yaml)\n", text)[1]).write_text(text)
            elif language == "python":
                exec(text, names)
            else:
                for line in text.splitlines():
                    program, *arguments = shlex.split(line)
                    if program == "snakemake":
                        workspace.snakemake(*arguments)
                    else:
                        assert command_line.main(arguments) == 0
    return workspace, names


def test_every_block_of_the_walk_through_was_run(walked):
    assert PAGE.count("```") == 2 * len(BLOCKS)


def test_days_are_compared_with_each_other_and_with_their_controls(walked):
    workspace, _ = walked
    found = pd.read_csv(workspace.folder / "results/days/summary/comparisons.csv")
    pairs = found[found["quantity"] == "capacity"].groupby("comparison")
    assert pairs.size().to_dict() == {"labels": 4, "model": 2}  # two areas
    controls = pairs.get_group("labels")
    assert (controls["difference_low"] > 0).all()
    layers = pd.read_csv(workspace.folder / "results/days/summary/layers.csv")
    assert (layers["group"] == layers["model"]).all()
    assert layers["n_points"].nunique() == 1  # of both days, as many


def test_the_order_of_areas_holds_for_every_number_of_trials_and_capacity_falls(walked):
    _, names = walked
    every = names["simulated"]["capacity"].agg(["min", "max"]).unstack()
    assert (every["min", "IT"] > every["max", "V1"]).all()
    means = names["simulated"][["capacity", "radius", "dimension"]].mean().unstack()
    assert (means["capacity"].diff().dropna() < 0).all(axis=None)
    # The table of the page.
    for line in re.findall(r"^\| (\d+ \|.*) \|$", PAGE, re.M):
        trials, *numbers = map(float, line.split("|"))
        shown = means.loc[int(trials)]
        for place, quantity in enumerate(("capacity", "radius", "dimension")):
            of_areas = shown[quantity][["V1", "IT"]]
            assert numbers[2 * place : 2 * place + 2] == pytest.approx(list(of_areas), rel=0.15)


def test_checkpoints_have_a_figure_over_epochs(walked):
    workspace, names = walked
    listed = []
    for epoch in (0, 2, 10):
        file = workspace.folder / f"epoch{epoch}.npz"
        names["np"].savez(
            file, V1=names["areas"]["V1"] + epoch * names["areas"]["V1"] ** 2, labels=names["shown"]
        )
        listed.append({"path": file.name, "epoch": epoch})
    config = {"results": "results/epochs", "activations": {"path": listed[::-1], "name": "net"}}
    (workspace.folder / "epochs.yaml").write_text(yaml.safe_dump(config))
    workspace.snakemake("--configfile", "epochs.yaml")
    layers = pd.read_csv(workspace.folder / "results/epochs/summary/layers.csv")
    assert layers[["model", "epoch", "checkpoint"]].to_numpy().tolist() == [
        ["net", 0, "epoch-000"],
        ["net", 2, "epoch-002"],
        ["net", 10, "epoch-010"],
    ]
    found = pd.read_csv(workspace.folder / "results/epochs/summary/comparisons.csv")
    assert set(found["comparison"] + found["reference"]) == {"checkpointepoch-000"}
    assert (workspace.folder / "results/epochs/figures/dynamics.svg").is_file()
