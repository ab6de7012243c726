"""Networks, built by name."""

import pytest

from manifold_capacity.models.networks import build_model, check_model, input_shape, model_names


def test_a_wrong_number_of_channels_says_so():
    with pytest.raises(ValueError, match=r"resnet18 needs images of 3 channels, but these have 4"):
        build_model("resnet18", n_classes=10, image_shape=(4, 32, 32))


def test_model_names():
    assert "vgg16" in model_names()
    assert not {"fasterrcnn_resnet50_fpn", "raft_large", "r3d_18"} & set(model_names())
    check_model("small_cnn")
    with pytest.raises(ValueError, match=r"models\.name: 'VGG-16' is not a model; nearest: vgg16"):
        check_model("VGG-16")
    with pytest.raises(ValueError, match=r"models\.name: 'resnet19'"):
        build_model("resnet19", n_classes=2, image_shape=(3, 32, 32))


def test_gray_images_are_repeated_for_torchvision_only():
    assert input_shape("resnet18", (28, 28, 1)) == (3, 28, 28)
    assert input_shape("small_cnn", (28, 28, 1)) == (1, 28, 28)
    assert input_shape("vit_b_16", (32, 32, 3), image_size=224) == (3, 224, 224)
