"""Networks that a user's function makes: built from the seed, found, saved and made again, whatever they do."""

import textwrap

import pytest
import torch

from manifold_capacity.errors import UserError
from manifold_capacity.models.checkpoints import load_model, save_state
from manifold_capacity.models.find_layers import list_layers
from manifold_capacity.models.networks import build_model
from manifold_capacity.models.weights import initial_state, network_options, pretrained_state

NETS = """
import numpy as np
import random
import torch
from torch import nn

def plain(n_classes, input_shape, width=4):
    size = (input_shape[1] - 2) * (input_shape[2] - 2)
    return nn.Sequential(
        nn.Conv2d(input_shape[0], width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Flatten(),
        nn.Linear(width * size, n_classes),
    )

def without_parameters():
    return nn.Sequential(nn.AvgPool2d(2), nn.Flatten())

def lazy(n_classes):
    return nn.Sequential(nn.LazyConv2d(3, 3), nn.LazyBatchNorm2d(), nn.Flatten(), nn.LazyLinear(n_classes))

class ByHand(nn.Module):
    # What torch's meta device cannot do: values decide, and NumPy computes.
    def __init__(self, n_classes=10):
        super().__init__()
        self.head = nn.Linear(64, n_classes)
        scale = self.head.weight.std().item()
        self.offset = torch.full((64,), scale + float(np.random.rand()) + random.random())
        self.noise = torch.randn(64)

    def forward(self, x):
        x = torch.from_numpy(np.sqrt(x.flatten(1).numpy()))
        if x.sum() > 10:
            x = x * 2
        return self.head(x + self.offset + self.noise)

class Tied(nn.Module):
    def __init__(self):
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.second = nn.Linear(64, 64)
        self.second.weight = self.first.weight

    def forward(self, x):
        return self.second(self.first(x.flatten(1)))

class Counting(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.tensor(0))
        self.mask = nn.Parameter(torch.ones(2, 1) > 0, requires_grad=False)
        self.relu = nn.ReLU()

    def forward(self, x):
        return self.relu(x.flatten(1))

class Tokens(nn.Module):
    def __init__(self, n_classes, input_shape):
        super().__init__()
        self.embed = nn.Embedding(5, 3)
        self.head = nn.Linear(3 * input_shape[0], n_classes)

    def forward(self, x):
        return self.head(self.embed(x).flatten(1))

class Double(nn.Module):
    def __init__(self):
        super().__init__()
        self.head = nn.Linear(64, 10).double()

    def forward(self, x):
        return self.head(x.flatten(1))

class Stateful(nn.Linear):
    def get_extra_state(self):
        return "text"

def stateful():
    return Stateful(2, 2)

def no_module():
    return [1, 2]

def fails():
    raise RuntimeError("no such thing\\nand more")

def fails_in_forward():
    return nn.Sequential(nn.Flatten(), nn.Linear(5, 10))

class Pair(nn.Linear):
    def __init__(self):
        super().__init__(8, 10)

    def forward(self, x):
        return super().forward(x[:, 0, 0]), x

def frozen(n_classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes)).requires_grad_(False)

def trained_before(n_classes):
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, n_classes))
    nn.init.constant_(net[1].weight, 7.0)
    return net

def flat():
    return nn.Flatten()
"""

SIZES = {"n_classes": 10, "image_shape": (1, 8, 8)}


@pytest.fixture
def nets(tmp_path):
    """A function: the arguments of `build_model` for a network of the file."""
    (tmp_path / "nets.py").write_text(textwrap.dedent(NETS))

    def network(function, **changes):
        return {"name": "mine", **SIZES, "factory": f"{tmp_path}/nets.py:{function}", **changes}

    return network


def test_the_entry_of_a_configuration_gives_the_arguments():
    entry = {"name": "mine", "weights": "trained", "weights_file": None, "image_size": None}
    entry |= {"factory": "nets.py:make", "arguments": {"width": 3}}
    options = network_options(entry, n_classes=7, image_shape=[32, 30, 4])
    assert options == {
        **{"name": "mine", "n_classes": 7, "image_shape": (4, 32, 30)},
        **{"factory": "nets.py:make", "arguments": {"width": 3}},
    }
    entry["arguments"] = {}
    tokens = network_options(entry, n_classes=7, image_shape=[4, 4, 1], input_dtype="int64")
    assert tokens.keys() == {"name", "n_classes", "image_shape", "factory", "input_dtype"}


def test_a_function_gets_what_it_asks_for(nets):
    wide = build_model(**nets("plain", arguments={"width": 6}))
    assert (wide[0].out_channels, wide[-1].out_features) == (6, 10)
    assert build_model(**nets("plain", arguments={"n_classes": 3}))[-1].out_features == 3


@pytest.mark.parametrize(
    ("function", "labels"),
    [
        ("plain", ["1_Conv2d", "2_BatchNorm2d", "3_ReLU", "4_Flatten", "5_Linear"]),
        ("without_parameters", ["1_AvgPool2d", "2_Flatten"]),
        ("lazy", ["1_Conv2d", "2_BatchNorm2d", "3_Flatten", "4_Linear"]),
        ("ByHand", ["1_Linear"]),
        ("Tied", ["1_Linear", "2_Linear"]),
        ("Counting", ["1_ReLU"]),
    ],
)
@pytest.mark.filterwarnings("ignore:Lazy modules")
def test_any_network_comes_back_as_it_was(nets, tmp_path, function, labels):
    network = nets(function)
    assert [layer.label for layer in list_layers(**network)] == ["0_Input", *labels]
    state = initial_state(**network, seed=5)
    save_state(state, tmp_path / "x.safetensors", {"network": network, "seed": 5})
    loaded, _ = load_model(tmp_path / "x.safetensors", network["factory"])
    assert list(loaded.state_dict()) == list(state)
    images = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    again, _ = load_model(tmp_path / "x.safetensors", network["factory"])
    with torch.no_grad():
        outputs = loaded(images)
        assert outputs.isfinite().all()
        # Also numbers that are not in the state, as the seed drew them.
        assert torch.equal(outputs, again(images))
    assert all(torch.equal(loaded.state_dict()[key], state[key]) for key in state)


def test_pretrained_weights_without_a_file_are_those_that_the_function_gives(nets, tmp_path):
    entry = {"name": "mine", "weights": "pretrained", "weights_file": None, "image_size": None}
    entry |= {"factory": f"{nets('x')['factory'].rpartition(':')[0]}:trained_before"}
    network = network_options(entry, n_classes=10, image_shape=(8, 8, 1))
    assert network["n_classes"] == 10
    state = pretrained_state(**network)
    assert torch.equal(state["1.weight"], torch.full((10, 64), 7.0))


def test_tied_weights_stay_tied(nets, tmp_path):
    network = nets("Tied")
    save_state(
        initial_state(**network, seed=0),
        tmp_path / "x.safetensors",
        {"network": network, "seed": 0},
    )
    model, _ = load_model(tmp_path / "x.safetensors", network["factory"])
    assert model.second.weight is model.first.weight


def test_what_is_drawn_depends_on_the_seed_alone(nets, tmp_path):
    network = nets("ByHand")
    outputs = []
    for seed in (3, 3, 4):
        torch.rand(10)
        path = tmp_path / "x.safetensors"
        save_state(initial_state(**network, seed=seed), path, {"network": network, "seed": seed})
        outputs.append(load_model(path, network["factory"])[0](torch.zeros(1, 1, 8, 8)))
    assert torch.equal(outputs[0], outputs[1])
    assert not torch.equal(outputs[0], outputs[2])


def test_integers_for_an_embedding(nets):
    network = nets("Tokens", image_shape=(7,), input_dtype="int64")
    layers = list_layers(**network, to_train=True)
    assert [(layer.label, layer.output_shape) for layer in layers] == [
        ("0_Input", (7,)),
        ("1_Embedding", (7, 3)),
        ("2_Linear", (10,)),
    ]


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("missing", r"nets.py:missing': missing does not exist in .*nets.py$"),
        ("plane", r"plane does not exist in .*; nearest: plain$"),
        ("no_module", r"no_module' returned a list, but must return a torch\.nn\.Module$"),
        ("fails", r"fails' failed: RuntimeError: no such thing \(nets\.py, line \d+\)$"),
        (
            "fails_in_forward",
            r"fails on a batch of shape \(3, 1, 8, 8\) \(float32\): RuntimeError: .*mat1",
        ),
        ("Double", r"fails on a batch of shape \(3, 1, 8, 8\) \(float32\): RuntimeError: .* dtype"),
        ("stateful", r"the network's state has a str as '_extra_state', but only tensors can be"),
    ],
)
def test_errors_are_one_line_that_names_the_key(nets, function, message):
    with pytest.raises(UserError, match=message) as caught:
        list_layers(**nets(function))
    assert str(caught.value).startswith("models.factory: '")
    assert "\n" not in str(caught.value)


def test_arguments_that_do_not_fit(nets):
    with pytest.raises(
        UserError, match=r"unexpected keyword argument 'wide'; its arguments are n_"
    ):
        list_layers(**nets("plain", arguments={"wide": 3}))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (
            "Pair",
            r"for 3 samples is a tuple; to be trained it must be logits, .* \(3, 10\): return",
        ),
        ("flat", r"no parameters that can be trained; set it to random"),
        ("frozen", r"no parameters that can be trained"),
        ("Tied", r"is a tensor of shape \(3, 64\) \(float32\); to be trained"),
    ],
)
def test_networks_that_cannot_be_trained_can_be_measured(nets, function, message):
    assert list_layers(**nets(function))[0].label == "0_Input"
    with pytest.raises(UserError, match=rf"^models\.weights: trained, but the network.*{message}"):
        list_layers(**nets(function), to_train=True)
