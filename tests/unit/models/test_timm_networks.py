"""Networks of the package timm, by a small stand-in with its functions."""

import sys
import types

import pytest
import torch
from torch import nn

from manifold_capacity.errors import MissingPackageError, UserError
from manifold_capacity.models.checkpoints import load_model, save_state
from manifold_capacity.models.find_layers import list_layers
from manifold_capacity.models.weights import (
    initial_state,
    network_options,
    pretrained_normalization,
    pretrained_state,
)

PUBLISHED = {
    "num_classes": 21,
    "mean": (0.5, 0.4, 0.3),
    "std": (0.2, 0.2, 0.1),
    "classifier": "fc",
}


class Tiny(nn.Module):
    def __init__(self, num_classes, width):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3)
        self.fc = nn.Linear(width, num_classes)
        self.last = nn.BatchNorm1d(num_classes)
        self.rates = [rate.item() for rate in torch.linspace(0, 1, 3)]  # as timm's constructors do

    def forward(self, x):
        assert x.shape[2] > 8, "Input height (8) is too small"
        return self.last(self.fc(self.conv(x).mean((2, 3))))


def create_model(name, pretrained=False, num_classes=21, width=4):
    if name == "tiny_net.bad_tag":
        raise RuntimeError("Invalid pretrained tag (bad_tag) for tiny_net.")
    model = Tiny(num_classes, width)
    if pretrained:
        nn.init.ones_(model.fc.weight)
    return model


@pytest.fixture
def timm(monkeypatch):
    module = types.ModuleType("timm")
    module.create_model = create_model
    module.list_models = lambda: ["tiny_net", "vit_base"]
    module.is_model = lambda name: name.partition(".")[0] in module.list_models()
    module.get_pretrained_cfg_value = lambda name, key: PUBLISHED[key]
    monkeypatch.setitem(sys.modules, "timm", module)


def entry(name="timm/tiny_net", **changes):
    plain = {"name": name, "weights": "trained", "weights_file": None, "image_size": None}
    return plain | {"factory": None, "arguments": {}} | changes


IMAGES = {"n_classes": 10, "image_shape": (16, 16, 1)}


def test_a_network_of_timms_has_our_classes_and_three_channels(timm, tmp_path):
    network = network_options(entry(arguments={"width": 6}), **IMAGES)
    assert network == {
        **{"name": "timm/tiny_net", "n_classes": 10, "image_shape": (3, 16, 16)},
        "arguments": {"width": 6},
    }
    layers = list_layers(**network, to_train=True)
    assert [layer.label for layer in layers] == [
        *("0_Input", "1_Conv2d", "2_Linear", "3_BatchNorm1d"),
    ]
    state = initial_state(**network, seed=2)
    save_state(state, tmp_path / "x.safetensors", {"network": network, "seed": 2})
    model, _ = load_model(tmp_path / "x.safetensors")
    assert all(torch.equal(model.state_dict()[key], state[key]) for key in state)


def test_published_weights_keep_their_head_and_normalization(timm):
    network = network_options(entry(weights="pretrained"), **IMAGES)
    assert network["n_classes"] == 21
    state = pretrained_state(**network)
    assert torch.equal(state["fc.weight"], torch.ones(21, 4))
    assert pretrained_normalization("timm/tiny_net") == {
        "mean": [0.5, 0.4, 0.3],
        "std": [0.2, 0.2, 0.1],
    }


def test_a_file_says_the_number_of_classes(timm, tmp_path):
    path = tmp_path / "w.pt"
    torch.save(Tiny(7, 4).state_dict(), path)
    network = network_options(entry(weights="pretrained", weights_file=str(path)), **IMAGES)
    assert network["n_classes"] == 7
    assert pretrained_state(weights_file=path, **network)["fc.bias"].shape == (7,)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"name": "timm/tinynet"},
            "'timm/tinynet' is not one of timm's 2 models; nearest: timm/tiny_n",
        ),
        (
            {"name": "timm/tiny_net.bad_tag"},
            r"timm cannot make timm/tiny_net\.bad_tag: .* \(bad_tag\)",
        ),
        ({"arguments": {"widht": 3}}, r"timm/tiny_net with \{'widht': 3\}: TypeError: .*'widht'"),
        ({"image_size": 8}, r"models\.image_size: timm/tiny_net cannot process images of 8 x 8"),
    ],
)
def test_errors_say_what_to_change(timm, changes, message):
    with pytest.raises(UserError, match=message):
        list_layers(**network_options(entry(**changes), **IMAGES))


def test_without_timm_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    message = r"models\.name: 'timm/tiny_net' needs the package timm, .* `pip install timm`"
    with pytest.raises(MissingPackageError, match=message):
        network_options(entry(), **IMAGES)
