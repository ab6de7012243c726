"""Networks of one's own: the page's example is trained here, and measured from files of weights."""

import copy
import re
import shlex
import subprocess
import sys

import pandas as pd
import pytest
import yaml
from test_documentation import blocks
from workspaces import Workspace, new_workspace

from manifold_capacity.models.checkpoints import load_model, load_state
from manifold_capacity.models.layers import Layer
from manifold_capacity.models.selection import select_layers

PAGE = "docs/models.md"
NETS, ELSEWHERE, MEMORY = blocks(PAGE, "python")
TRAINED, FILES, LAYERS = (yaml.safe_load(block) for block in blocks(PAGE, "yaml"))


@pytest.fixture(scope="module")
def ran_once(tmp_path_factory) -> Workspace:
    """Every block of the page, in its order; shared, so not to be changed."""
    workspace = new_workspace(tmp_path_factory.mktemp("networks") / "run")
    (workspace.folder / "nets.py").write_text(NETS)
    for text in blocks(PAGE, "yaml")[:2]:
        name = text.partition("\n")[0].removeprefix("# ")
        (workspace.folder / name).write_text(text)
    for program in (ELSEWHERE, MEMORY):
        subprocess.run(
            [sys.executable, "-"], input=program, cwd=workspace.folder, text=True, check=True
        )
    for line in "".join(blocks(PAGE, "console")).splitlines():
        program, *arguments = shlex.split(line)
        assert program == "snakemake"
        workspace.snakemake(*arguments)
    return workspace


@pytest.fixture
def ran(ran_once, tmp_path) -> Workspace:
    return ran_once.twin(tmp_path / "ran")


def table(workspace: Workspace, config: dict) -> pd.DataFrame:
    return pd.read_csv(workspace.folder / config["results"] / "summary/layers.csv")


def test_every_block_of_the_page_was_run(ran_once):
    trained, files = table(ran_once, TRAINED), table(ran_once, FILES)
    assert [*trained["checkpoint"].unique()] == ["epoch-000", "epoch-002"]
    assert [*files["checkpoint"].unique()] == ["epoch-000", "final"]
    assert files["epoch"].isna().tolist() == (files["checkpoint"] == "final").tolist()
    assert {*files["model"]} == {"mynet-files"}
    assert trained["capacity"].notna().all()
    # Both files hold the same weights, and the first layer's points are the same images.
    by_checkpoint = [of["capacity"].tolist() for _, of in files.groupby("checkpoint")]
    assert by_checkpoint[0] == by_checkpoint[1]


def test_the_layers_of_the_page_can_be_chosen():
    table = [
        *(
            Layer(1, "conv1", "Conv2d", (8, 4, 4), 128, channel_axis=0, call=call)
            for call in (1, 2)
        ),
        Layer(2, "layer1", "Sequential", (8, 4, 4), 128, is_block=True, channel_axis=0),
        *(Layer(3, "x.attn", "Attention", (8,), 8, output=key) for key in ("", "0")),
        Layer(4, "fc", "Linear", (10,), 10),
    ]
    selection = {"input": False, **LAYERS["layers"]}
    chosen = [
        "1_Conv2d",
        "1_Conv2d_call_2",
        "2_layer1",
        "2_layer1_mean",
        "3_Attention_output_0",
        "4_Linear",
    ]
    assert [layer.label for layer in select_layers(table, selection)] == chosen


def test_a_checkpoint_knows_its_network_and_the_log_its_files(ran_once):
    folder = ran_once.folder / TRAINED["results"]
    path = folder / "training/mynet/seed-0/epoch-002.safetensors"
    metadata = load_state(path)[1]
    assert metadata["network"].keys() == {
        "name",
        "n_classes",
        "image_shape",
        "factory",
        "arguments",
    }
    model, _ = load_model(path, f"{ran_once.folder}/nets.py:make")
    assert model[0].out_channels == TRAINED["models"][0]["arguments"]["width"]
    for log in ("find_layers/mynet", "train/mynet/seed-0"):
        assert "nets.py (" in (folder / f"logs/{log}.log").read_text()
    logs = ran_once.folder / FILES["results"] / "logs/pretrained_weights/mynet-files/seed-0"
    given = (logs / "final.log").read_text()
    assert "those of its entry 'model'; not read: epoch" in given
    # The last line is the one that a run shows.
    assert re.search(r"INFO weights of last\.pt, \d+ tensors\n$", given)
    drawn = (folder / "logs/initial_weights/mynet/seed-0.log").read_text()
    assert re.search(r"INFO [\d,]+ weights in \d+ tensors, seed 0\n$", drawn)


def test_an_edit_of_the_function_trains_again_and_a_new_file_measures_one_more(ran):
    assert ran.planned("--configfile", "mynet.yaml") == {}
    (ran.folder / "ten.pt").write_bytes((ran.folder / "last.pt").read_bytes())
    config = copy.deepcopy(FILES)
    config["models"][0]["weights_files"]["10"] = "ten.pt"
    (ran.folder / "more.yaml").write_text(yaml.safe_dump(config))
    planned = ran.planned("--configfile", "more.yaml")
    assert planned["pretrained_weights"] == planned["extract_activations"] == 1
    assert "find_layers" not in planned
    ran.edit("nets.py", "nn.ReLU()", "nn.Tanh()")
    planned = ran.planned("--configfile", "mynet.yaml")
    assert {"find_layers", "initial_weights", "train"} <= planned.keys()
    assert "prepare_dataset" not in planned


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": "nets.py:mak"}, "mak does not exist in nets.py; nearest: make"),
        (
            {"weights_files": {0: "gone.pt"}},
            "models: mynet-files: weights_files.0: there is no file",
        ),
        (
            {"arguments": {"width": 4}},
            "models.weights_files.0: init.pt does not fit the network of",
        ),
    ],
)
def test_what_does_not_fit_stops_before_any_job(ran_once, tmp_path, changes, message):
    config = {
        **FILES,
        "models": [{**FILES["models"][0], **changes}],
        "results": str(tmp_path / "r"),
    }
    (ran_once.folder / "wrong.yaml").write_text(yaml.safe_dump(config))
    printed = ran_once.snakemake("--configfile", "wrong.yaml", check=False)
    assert message in printed
    assert "Traceback" not in printed
    assert not (tmp_path / "r").exists()
