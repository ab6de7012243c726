"""The examples: their data, and networks that learn from it more than the frequencies of the classes."""

import importlib.util
import shutil
from pathlib import Path

import pytest
import torch
import yaml
from torch.nn import functional as F

from manifold_capacity import own_code
from manifold_capacity.config.resolve import resolve
from manifold_capacity.config.schema import load_schema
from manifold_capacity.datasets.prepare import prepare
from manifold_capacity.datasets.sampling import load_split
from manifold_capacity.models.find_layers import find_layers
from manifold_capacity.models.selection import select_layers

ROOT = Path(__file__).parents[2]
GPT2 = [
    *("8_network_transformer_h_0_attn", "13_network_transformer_h_0"),
    *("18_network_transformer_h_1_attn", "23_network_transformer_h_1", "25_Linear"),
]
NEEDS_TRANSFORMERS = pytest.mark.skipif(
    importlib.util.find_spec("transformers") is None, reason="transformers is not installed"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("examples")


@pytest.fixture
def one_thread():
    """These networks are too small for a second one."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def example(folder, request, monkeypatch):
    """The resolved configuration of an example, and its inputs and labels of both splits, as tensors."""
    path = ROOT / "examples" / request.param
    here = folder / path.parent.name
    shutil.copytree(path.parent, here, dirs_exist_ok=True)
    monkeypatch.chdir(here)
    schema = load_schema(ROOT / "schemas/config.schema.yaml")
    config = resolve(yaml.safe_load(path.read_text()), schema)
    if not Path("prepared").exists():
        prepare(config["dataset"], here / "prepared", here / "downloads")
    splits = [load_split(here / "prepared", split) for split in ("train", "test")]
    return config, [[torch.from_numpy(part[:]) for part in split] for split in splits]


@pytest.mark.parametrize(
    ("example", "place", "layers"),
    [
        (
            *("time_series/config.yaml", 0),
            ["0_Input", "1_Conv1d", "4_Conv1d", "4_Conv1d_mean", "8_Linear"],
        ),
        ("time_series/config.yaml", 1, ["0_Input", "1_GRU_last", "2_Linear"]),
        (
            *("text/config.yaml", 0),
            ["1_Embedding_mean", "9_blocks_0_mean", "16_blocks_1_mean", "18_Linear"],
        ),
        pytest.param(
            *("text/gpt2.yaml", 0),
            [f"{label}_mean" for label in GPT2],
            marks=NEEDS_TRANSFORMERS,
        ),
    ],
    indirect=["example"],
)
def test_a_network_learns(example, one_thread, place, layers):
    config, ((inputs, labels), (test_inputs, test_labels)) = example
    shape, n_classes = tuple(inputs.shape[1:]), int(labels.max()) + 1
    model, recipe = config["models"][place], config["training"]
    torch.manual_seed(0)
    network = own_code.call(
        model["factory"], "", model["arguments"], {"n_classes": n_classes, "input_shape": shape}
    )
    table = find_layers(network, shape, str(inputs.dtype).removeprefix("torch."))
    chosen = [layer.label for layer in select_layers(table, config["layers"])]
    assert [label for label in chosen if "_position_" not in label] == layers
    optimizer = torch.optim.SGD(
        network.parameters(), lr=recipe["learning_rate"], momentum=recipe["momentum"]
    )
    for _ in range(3):
        for batch in torch.randperm(len(labels)).split(recipe["batch_size"]):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    with torch.no_grad():
        correct = (network.eval()(test_inputs).argmax(1) == test_labels).float().mean()
    most_frequent = torch.bincount(test_labels).max() / len(test_labels)
    assert correct > 2 * most_frequent
