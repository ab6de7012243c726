"""The layers that a network runs, found without weights."""

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor, nn

from manifold_capacity.models.find_layers import find_layers, list_layers
from manifold_capacity.models.networks import build_model

# What the numbers of the published notebook's layers must be.
VGG16 = {
    "Conv2d": [1, 3, 6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29],
    "Linear": [33, 36, 39],
}


def test_vgg16_layers_are_numbered_as_in_the_notebook():
    table = list_layers("vgg16", n_classes=100, image_shape=(3, 32, 32))
    for kind, indices in VGG16.items():
        assert [layer.index for layer in table if layer.type == kind] == indices
    by_label = {layer.label: layer for layer in table}
    assert by_label["0_Input"].output_shape == (3, 32, 32)
    assert by_label["1_Conv2d"].name == "features.0"
    assert by_label["1_Conv2d"].output_shape == (64, 32, 32)
    assert by_label["1_Conv2d"].n_features == 65536
    assert by_label["32_AdaptiveAvgPool2d"].name == "avgpool"
    assert by_label["39_Linear"].name == "classifier.6"
    assert by_label["39_Linear"].output_shape == (100,)


# One of each kind of architecture; some build with tensors that the meta device cannot hold.
@pytest.mark.parametrize(
    ("name", "size", "last"),
    [
        ("small_cnn", 28, "classifier.2"),
        ("alexnet", 224, "classifier.6"),
        ("resnet18", 32, "fc"),
        ("densenet121", 32, "classifier"),
        ("googlenet", 64, "fc"),
        ("inception_v3", 96, "fc"),
        ("mobilenet_v3_small", 32, "classifier.3"),
        ("regnet_x_400mf", 32, "fc"),
        ("squeezenet1_1", 32, "classifier.3"),
        ("swin_v2_t", 64, "head"),
        ("vit_b_16", 32, "heads.head"),
    ],
)
def test_layers_without_weights_are_those_of_a_real_forward_pass(fast_init, name, size, last):
    shape = (3, size, size)
    table = list_layers(name, n_classes=5, image_shape=shape)
    with torch.random.fork_rng(devices=[]):
        model = build_model(name, n_classes=5, image_shape=shape)
    assert find_layers(model, shape) == table
    head = next(layer for layer in table if layer.name == last)
    assert head.n_features == 5 or name == "squeezenet1_1"
    assert len({layer.label for layer in table}) == len(table)
    assert model.training, "finding layers must leave the mode as it was"


def test_maxvit_is_built_for_the_size_of_the_images():
    *_, head, classifier = list_layers("maxvit_t", n_classes=5, image_shape=(3, 224, 224))
    assert (head.name, head.output_shape) == ("classifier.5", (5,))
    assert (classifier.name, classifier.label) == ("classifier", "487_classifier")


def test_every_call_has_a_row_and_a_module_that_never_runs_has_none():
    table = list_layers("resnet50", n_classes=5, image_shape=(3, 64, 64))
    # It runs three times in a block, where channels and strides differ.
    calls = [layer for layer in table if layer.name == "layer2.0.relu"]
    shapes = [(128, 16, 16), (128, 8, 8), (512, 8, 8)]
    assert [(layer.call, layer.output_shape) for layer in calls] == [*enumerate(shapes, start=1)]
    assert [layer.label for layer in calls] == ["34_ReLU", "34_ReLU_call_2", "34_ReLU_call_3"]
    vit = {x.name: x for x in list_layers("vit_b_16", n_classes=5, image_shape=(3, 32, 32))}
    assert not any(name.endswith("out_proj") for name in vit)
    # 2 x 2 patches and the class token
    assert vit["encoder.layers.encoder_layer_0.mlp.0"].output_shape == (5, 3072)
    assert vit["heads.head"].output_shape == (5,)


class _Odd(nn.Module):
    def __init__(self):
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.rnn = nn.GRU(4, 2, batch_first=True)
        self.fold = nn.Flatten(0, 1)
        self.head = nn.Linear(2, 3)

    def forward(self, x):
        states, _ = self.rnn(x)
        self.fold(states)
        return self.head(states[:, -1])


def test_tensors_with_the_batch_first_make_layers_and_every_leaf_counts():
    table = find_layers(_Odd().eval(), (7, 4))
    # The last states have the batch as their second axis; folding merges batch and steps.
    labels = ["0_Input", "2_GRU", "2_GRU_output_0", "4_Linear"]
    assert [layer.label for layer in table] == labels
    assert [layer.channel_axis for layer in table] == [1, 1, 1, None]


def test_blocks_come_after_their_last_leaf_and_inner_ones_first():
    table = list_layers("resnet18", n_classes=5, image_shape=(3, 32, 32))
    at = [layer.label for layer in table if layer.index == 14]
    assert at == ["14_BatchNorm2d", "14_layer1_1", "14_layer1"]


def test_channels_are_where_the_last_known_module_has_them():
    table = list_layers("swin_t", n_classes=5, image_shape=(3, 64, 64))
    axes = {layer.name: layer.channel_axis for layer in table}
    assert axes["features.0.0"] == 0  # a convolution
    assert axes["features.0.2"] == axes["features.1.0.mlp.1"] == axes["features.1.0"] == 2
    time = nn.Sequential(nn.Conv1d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7, 3))
    assert [layer.channel_axis for layer in find_layers(time, (2, 9))] == [1, 0, 0, None, None]


@dataclass
class _Answer:
    scores: Tensor
    states: list[Tensor]


class _Rich(nn.Module):
    def __init__(self):
        super().__init__()
        self.part = nn.Identity()

    def forward(self, x):
        return {"mask": x > 0, "answer": _Answer(x[:, 0], [self.part(x), x[:, :2]])}


def test_outputs_of_any_kind_have_keys():
    table = find_layers(nn.Sequential(_Rich()), (7, 4))
    found = {layer.output: layer.output_shape for layer in table if layer.name == "0"}
    assert found == {
        "": (4,),  # the first of numbers
        "mask": (7, 4),
        "answer.scores": (4,),
        "answer.states.0": (7, 4),
        "answer.states.1": (2, 4),
    }


@pytest.mark.parametrize(
    ("name", "size", "message"),
    [
        ("vgg16", 8, r"vgg16 cannot process images of 8 x 8 pixels.* such as 32"),
        ("vit_b_16", 30, r"vit_b_16 cannot process images of 30 x 30"),
        ("maxvit_t", 50, r"maxvit_t cannot process images of 50 x 50 .* such as 224"),
    ],
)
def test_images_of_an_unfit_size_say_what_to_set(name, size, message):
    with pytest.raises(ValueError, match=rf"models\.image_size: {message}"):
        list_layers(name, n_classes=10, image_shape=(3, size, size))
