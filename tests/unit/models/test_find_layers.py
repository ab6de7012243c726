"""The layers that a network runs, found without weights."""

import pytest
import torch
from torch import nn

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
    head = list_layers("maxvit_t", n_classes=5, image_shape=(3, 224, 224))[-1]
    assert (head.name, head.output_shape) == ("classifier.5", (5,))


def test_a_module_that_runs_twice_is_one_layer_and_one_that_never_runs_is_none():
    resnet = {x.name: x for x in list_layers("resnet18", n_classes=5, image_shape=(3, 64, 64))}
    # Runs after bn1 and after the sum of the block: the first call's shape.
    assert resnet["layer2.0.relu"].output_shape == (128, 8, 8)
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


def test_only_one_tensor_per_image_makes_a_layer_but_every_leaf_counts():
    table = find_layers(_Odd().eval(), (7, 4))
    assert [layer.label for layer in table] == ["0_Input", "4_Linear"]


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
