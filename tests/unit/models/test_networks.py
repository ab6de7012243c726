"""Networks: built, weighed, stored, loaded, their layers found."""

import logging
import subprocess
import sys
import urllib.error
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from manifold_capacity.models.checkpoints import load_metadata, load_model, load_state, save_state
from manifold_capacity.models.device import resolve_device
from manifold_capacity.models.find_layers import find_layers, list_layers
from manifold_capacity.models.networks import build_model, check_model, input_shape, model_names
from manifold_capacity.models.weights import (
    initial_state,
    network_options,
    pretrained_classes,
    pretrained_normalization,
    pretrained_state,
)

SMALL: dict[str, Any] = {"name": "small_cnn", "n_classes": 10, "image_shape": (1, 8, 8)}

# What the numbers of the published notebook's layers must be.
VGG16 = {
    "Conv2d": [1, 3, 6, 8, 11, 13, 15, 18, 20, 22, 25, 27, 29],
    "Linear": [33, 36, 39],
}


def test_vgg16_layers_are_numbered_as_in_the_notebook() -> None:
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


# One of each kind of architecture; some build with tensors that the meta device can't hold.
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
def test_layers_without_weights_are_those_of_a_real_forward_pass(
    name: str, size: int, last: str
) -> None:
    shape = (3, size, size)
    table = list_layers(name, n_classes=5, image_shape=shape)
    with torch.random.fork_rng(devices=[]):
        model = build_model(name, n_classes=5, image_shape=shape)
    assert find_layers(model, shape) == table
    head = next(layer for layer in table if layer.name == last)
    assert head.n_features == 5 or name == "squeezenet1_1"
    assert len({layer.label for layer in table}) == len(table)
    assert model.training, "finding layers must leave the mode as it was"


def test_maxvit_is_built_for_the_size_of_the_images() -> None:
    head = list_layers("maxvit_t", n_classes=5, image_shape=(3, 224, 224))[-1]
    assert (head.name, head.output_shape) == ("classifier.5", (5,))


def test_a_module_that_runs_twice_is_one_layer_and_one_that_never_runs_is_none() -> None:
    resnet = {x.name: x for x in list_layers("resnet18", n_classes=5, image_shape=(3, 64, 64))}
    # Runs after bn1 and after the sum of the block: the first call's shape.
    assert resnet["layer2.0.relu"].output_shape == (128, 8, 8)
    vit = {x.name: x for x in list_layers("vit_b_16", n_classes=5, image_shape=(3, 32, 32))}
    assert not any(name.endswith("out_proj") for name in vit)
    # 2 x 2 patches and the class token
    assert vit["encoder.layers.encoder_layer_0.mlp.0"].output_shape == (5, 3072)
    assert vit["heads.head"].output_shape == (5,)


class _Odd(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Linear(3, 3)
        self.rnn = nn.GRU(4, 2, batch_first=True)
        self.fold = nn.Flatten(0, 1)
        self.head = nn.Linear(2, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        states, _ = self.rnn(x)
        self.fold(states)
        return self.head(states[:, -1])


def test_only_one_tensor_per_image_makes_a_layer_but_every_leaf_counts() -> None:
    table = find_layers(_Odd().eval(), (7, 4))
    assert [layer.label for layer in table] == ["0_Input", "4_Linear"]


def test_images_too_small_for_a_network_say_what_to_set() -> None:
    with pytest.raises(
        ValueError,
        match=r"models\.image_size: vgg16 can't take images of 8 x 8 pixels.* such as 32",
    ):
        list_layers("vgg16", n_classes=10, image_shape=(3, 8, 8))
    with pytest.raises(ValueError, match=r"models\.image_size: vit_b_16 can't take .* 30 x 30"):
        list_layers("vit_b_16", n_classes=10, image_shape=(3, 30, 30))
    with pytest.raises(ValueError, match=r"models\.image_size: maxvit_t can't take .* 50 x 50"):
        list_layers("maxvit_t", n_classes=10, image_shape=(3, 50, 50))


def test_a_wrong_number_of_channels_says_so() -> None:
    with pytest.raises(ValueError, match=r"resnet18 takes images of 3 channels, these have 4"):
        build_model("resnet18", n_classes=10, image_shape=(4, 32, 32))


def test_model_names() -> None:
    assert "vgg16" in model_names()
    assert not {"fasterrcnn_resnet50_fpn", "raft_large", "r3d_18"} & set(model_names())
    check_model("small_cnn")
    with pytest.raises(ValueError, match=r"models\.name: 'VGG-16' is not a model; nearest: vgg16"):
        check_model("VGG-16")
    with pytest.raises(ValueError, match=r"models\.name: 'resnet19'"):
        build_model("resnet19", n_classes=2, image_shape=(3, 32, 32))


def test_gray_images_are_repeated_for_torchvision_only() -> None:
    assert input_shape("resnet18", (28, 28, 1)) == (3, 28, 28)
    assert input_shape("small_cnn", (28, 28, 1)) == (1, 28, 28)
    assert input_shape("vit_b_16", (32, 32, 3), image_size=224) == (3, 224, 224)


def test_network_options() -> None:
    entry = {"name": "vgg16", "weights": "trained", "weights_file": None, "image_size": 64}
    options = network_options(entry, n_classes=7, image_shape=[32, 32, 1])
    assert options == {"name": "vgg16", "n_classes": 7, "image_shape": (3, 64, 64)}
    entry["weights"] = "pretrained"
    assert network_options(entry, n_classes=7, image_shape=[32, 32, 3])["n_classes"] == 1000


def test_initial_weights_depend_on_the_seed_and_leave_the_generator_alone() -> None:
    before = torch.get_rng_state()
    first = initial_state(**SMALL, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(10)
    again, other = initial_state(**SMALL, seed=3), initial_state(**SMALL, seed=4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


def test_a_checkpoint_comes_back_as_the_same_network(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "epoch-000.safetensors"
    state = initial_state(**SMALL, seed=0)
    save_state(state, path, {"network": SMALL, "epoch": 0})
    model, metadata = load_model(path)
    assert metadata == {"network": {**SMALL, "image_shape": [1, 8, 8]}, "epoch": 0}
    assert not model.training
    loaded = model.state_dict()
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("name", ["regnet_x_400mf", "swin_v2_t", "mnasnet0_5"])
def test_a_rebuilt_network_computes_the_same(tmp_path: Path, name: str) -> None:
    network: dict[str, Any] = {"name": name, "n_classes": 3, "image_shape": (3, 64, 64)}
    state = initial_state(**network, seed=0)
    save_state(state, tmp_path / "x.safetensors", {"network": network})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        original = build_model(**network)
    rebuilt, _ = load_model(tmp_path / "x.safetensors")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(original.eval()(images), rebuilt(images))


def test_the_same_checkpoint_is_the_same_bytes_in_every_process(tmp_path: Path) -> None:
    # More than one entry of metadata is written in an order that changes from process to process.
    program = (
        "import sys, torch; from pathlib import Path; from manifold_capacity.models.checkpoints import save_state;"
        "state = {'b': torch.arange(5.0), 'a': torch.ones(2, dtype=torch.int64)};"
        "metadata = {'z': 1, 'model': 'm', 'seed': 0, 'epoch': 3, 'more': [1, 2]};"
        "save_state(state, Path(sys.argv[1]), metadata)"
    )
    subprocess.run([sys.executable, "-c", program, str(tmp_path / "there")], check=True)
    state = {"a": torch.ones(2, dtype=torch.int64), "b": torch.arange(5.0)}
    metadata = {"epoch": 3, "more": [1, 2], "model": "m", "z": 1, "seed": 0}
    save_state(state, tmp_path / "here", metadata)
    assert (tmp_path / "here").read_bytes() == (tmp_path / "there").read_bytes()


def test_a_truncated_or_foreign_checkpoint_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_state(initial_state(**SMALL, seed=0), path, {"network": SMALL})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"x\.safetensors is not a whole safetensors file"):
        load_state(path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="its metadata are missing"):
        load_metadata(path)


# Pretrained weights


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of torch's, without a network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    def offline(*_: object, **__: object) -> None:
        raise urllib.error.URLError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", offline)
    return Path(torch.hub.get_dir()) / "checkpoints"


def published(name: str) -> dict[str, torch.Tensor]:
    return initial_state(name, n_classes=1000, image_shape=(3, 224, 224), seed=5)


def test_published_weights_come_from_the_cache(hub: Path) -> None:
    state = published("squeezenet1_1")
    hub.mkdir(parents=True)
    torch.save(state, hub / "squeezenet1_1-b8a52dc0.pth")
    loaded = pretrained_state("squeezenet1_1")
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert pretrained_classes("squeezenet1_1") == 1000


def test_offline_says_where_to_put_the_file(hub: Path) -> None:
    with pytest.raises(
        ValueError, match=r"could not be downloaded.*put the file at that place"
    ) as e:
        pretrained_state("resnet18")
    assert str(hub / "resnet18-f37072fd.pth") in str(e.value)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(e.value)


def test_a_file_of_torchs_keeps_the_versions_of_its_modules(hub: Path) -> None:
    with torch.random.fork_rng(devices=[]):
        state = build_model("mnasnet0_5", n_classes=1000, image_shape=(3, 224, 224)).state_dict()
    hub.mkdir(parents=True)
    torch.save(state, hub / "mnasnet0.5_top1_67.823-3ffadce67e.pth")
    assert set(pretrained_state("mnasnet0_5")) == set(state)
    state._metadata[""]["version"] = 3
    torch.save(state, hub / "mnasnet0.5_top1_67.823-3ffadce67e.pth")
    with pytest.raises(ValueError, match="version should be set to 1 or 2 instead of 3"):
        pretrained_state("mnasnet0_5")


def test_old_names_in_densenets_published_weights_are_understood(hub: Path) -> None:
    state = published("densenet121")
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): state[key] for key in state
    }
    assert set(old) != set(state)
    hub.mkdir(parents=True)
    torch.save(old, hub / "densenet121-a639ec97.pth")
    assert set(pretrained_state("densenet121")) == set(state)


def test_auxiliary_heads_in_published_weights_are_left_out(hub: Path) -> None:
    state = published("googlenet")
    hub.mkdir(parents=True)
    torch.save({**state, "aux1.fc1.bias": torch.ones(3)}, hub / "googlenet-1378be20.pth")
    assert set(pretrained_state("googlenet")) == set(state)


def test_googlenets_published_weights_bring_their_normalization(tmp_path: Path) -> None:
    network: dict[str, Any] = {"name": "googlenet", "n_classes": 3, "image_shape": (3, 64, 64)}
    state = initial_state(**network, seed=0)
    for weights, expected in (("pretrained", True), ("trained", False)):
        save_state(state, tmp_path / "x.safetensors", {"network": network, "weights": weights})
        assert load_model(tmp_path / "x.safetensors")[0].transform_input is expected


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_keep_their_head(tmp_path: Path, suffix: str) -> None:
    network: dict[str, Any] = {"name": "small_cnn", "n_classes": 7, "image_shape": (3, 32, 32)}
    state = initial_state(**network, seed=1)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    assert pretrained_classes("small_cnn", path) == 7
    loaded = pretrained_state("small_cnn", path, image_shape=(3, 32, 32))
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    with pytest.raises(
        ValueError, match=r"does not fit small_cnn with 7 classes.*features\.0\.weight"
    ):
        pretrained_state("small_cnn", path, image_shape=(1, 32, 32))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    save_file(initial_state(**SMALL, seed=0), tmp_path / "w.safetensors")
    with pytest.raises(
        ValueError, match=r"has no 'fc\.bias', the head of resnet18; it holds class"
    ):
        pretrained_state("resnet18", tmp_path / "w.safetensors")


class _Evil:
    def __reduce__(self) -> tuple:
        return (Path.touch, (Path("evil-was-here"),))


def test_code_in_a_file_of_weights_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state": _Evil()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth can't be read as weights.*state dict saved by"):
        pretrained_state("small_cnn", tmp_path / "w.pth")
    assert not (tmp_path / "evil-was-here").exists()


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"models\.weights_file: there is no file .*missing\.pth"):
        pretrained_state("vgg16", tmp_path / "missing.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list, not a state dict"):
        pretrained_state("small_cnn", tmp_path / "list.pth")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"x\.safetensors can't be read as weights"):
        pretrained_state("small_cnn", tmp_path / "x.safetensors")


def test_there_are_no_published_weights_of_the_small_network() -> None:
    with pytest.raises(
        ValueError, match=r"no published weights for small_cnn; set models\.weights to"
    ):
        pretrained_state("small_cnn")


def test_published_normalization_is_known_without_weights() -> None:
    mean, std = pretrained_normalization("vgg16").values()
    assert mean == [0.485, 0.456, 0.406]
    assert std == [0.229, 0.224, 0.225]


def test_devices(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="manifold_capacity")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert resolve_device("auto") == resolve_device("cpu") == torch.device("cpu")
    assert caplog.messages == ["device: no CUDA GPU found: CPU"]
    with pytest.raises(
        ValueError, match=r"device: cuda, but torch .* sees no CUDA GPU; .*auto or cpu"
    ):
        resolve_device("cuda")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(ValueError, match=r"sees no CUDA GPU \(CUDA_VISIBLE_DEVICES=\); run on"):
        resolve_device("cuda")
    with pytest.raises(ValueError, match="device: 'gpu' is not known; allowed: auto, cpu, cuda"):
        resolve_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert caplog.messages[1:] == ["device: Some GPU (CUDA_VISIBLE_DEVICES=3)"] * 2
