"""Weights before training: random ones from a seed, and pretrained ones."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from manifold_capacity.datasets.download import DownloadError
from manifold_capacity.models import weights
from manifold_capacity.models.networks import build_model
from manifold_capacity.models.weights import (
    check_files,
    initial_state,
    network_options,
    pretrained_classes,
    pretrained_normalization,
    pretrained_state,
)

SMALL = {"name": "small_cnn", "n_classes": 10, "image_shape": (1, 8, 8)}


def test_network_options():
    entry = {"name": "vgg16", "weights": "trained", "weights_file": None, "image_size": 64}
    options = network_options(entry, n_classes=7, image_shape=[32, 32, 1])
    assert options == {"name": "vgg16", "n_classes": 7, "image_shape": (3, 64, 64)}
    entry["weights"] = "pretrained"
    assert network_options(entry, n_classes=7, image_shape=[32, 32, 3])["n_classes"] == 1000


def test_initial_weights_depend_on_the_seed_and_leave_the_generator_alone():
    before = torch.get_rng_state()
    first = initial_state(**SMALL, seed=3)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(10)
    again, other = initial_state(**SMALL, seed=3), initial_state(**SMALL, seed=4)
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert not any(torch.equal(first[key], other[key]) for key in first)


@pytest.fixture
def hub(tmp_path, monkeypatch, fast_init):
    """torch's cache, empty and without internet access."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "hub"))

    def offline(url, target, *, sha256, most_bytes):
        raise DownloadError(f"no network for {sha256}, at most {most_bytes:,} bytes")

    monkeypatch.setattr(weights, "download", offline)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    folder.mkdir(parents=True)
    return folder


def published(name):
    return initial_state(name, n_classes=1000, image_shape=(3, 224, 224), seed=5)


def test_published_weights_come_from_the_cache(hub):
    state = published("squeezenet1_1")
    torch.save(state, hub / "squeezenet1_1-b8a52dc0.pth")
    loaded = pretrained_state("squeezenet1_1")
    assert list(loaded) == list(state)
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert pretrained_classes("squeezenet1_1") == 1000


def test_offline_says_where_to_put_the_file(hub):
    message = r"could not be downloaded .*no network for f37072fd, at most 47,.*put the file there"
    with pytest.raises(ValueError, match=message) as e:
        pretrained_state("resnet18")
    assert str(hub / "resnet18-f37072fd.pth") in str(e.value)
    assert "https://download.pytorch.org/models/resnet18-f37072fd.pth" in str(e.value)


def test_weights_that_are_not_in_the_cache_are_downloaded_to_it(hub, monkeypatch):
    state = published("squeezenet1_1")

    def download(url, target, *, sha256, most_bytes):
        assert url == "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth"
        assert (target, sha256) == (hub / "squeezenet1_1-b8a52dc0.pth", "b8a52dc0")
        torch.save(state, target)
        assert target.stat().st_size < most_bytes < target.stat().st_size + 2**21

    monkeypatch.setattr(weights, "download", download)
    assert list(pretrained_state("squeezenet1_1")) == list(state)


def test_a_file_of_torchs_keeps_the_versions_of_its_modules(hub):
    with torch.random.fork_rng(devices=[]):
        state = build_model("mnasnet0_5", n_classes=1000, image_shape=(3, 224, 224)).state_dict()
    torch.save(state, hub / "mnasnet0.5_top1_67.823-3ffadce67e.pth")
    assert set(pretrained_state("mnasnet0_5")) == set(state)
    state._metadata[""]["version"] = 3
    torch.save(state, hub / "mnasnet0.5_top1_67.823-3ffadce67e.pth")
    with pytest.raises(ValueError, match="version should be set to 1 or 2 instead of 3"):
        pretrained_state("mnasnet0_5")


def test_old_names_in_densenets_published_weights_are_understood(hub):
    state = published("densenet121")
    old = {
        key.replace("norm1.", "norm.1.").replace("conv2.", "conv.2."): state[key] for key in state
    }
    assert set(old) != set(state)
    torch.save(old, hub / "densenet121-a639ec97.pth")
    assert set(pretrained_state("densenet121")) == set(state)


def test_auxiliary_heads_in_published_weights_are_left_out(hub):
    state = published("googlenet")
    torch.save({**state, "aux1.fc1.bias": torch.ones(3)}, hub / "googlenet-1378be20.pth")
    assert set(pretrained_state("googlenet")) == set(state)


def test_the_first_file_of_several_says_the_number_of_classes(tmp_path):
    for n_classes in (7, 8):
        state = initial_state("small_cnn", n_classes=n_classes, image_shape=(3, 32, 32), seed=1)
        save_file(state, tmp_path / f"{n_classes}.safetensors")
    files = {epoch: str(tmp_path / f"{n}.safetensors") for epoch, n in {"0": 7, "final": 8}.items()}
    entry = {"name": "small_cnn", "weights": "files", "weights_files": files, "image_size": None}
    network = network_options(entry, n_classes=10, image_shape=(32, 32, 3))
    assert network["n_classes"] == 7
    message = (
        r"^models\.weights_files\.final: .*8\.safetensors does not fit small_cnn with 7 classes"
    )
    with pytest.raises(ValueError, match=message):
        check_files(entry, network)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_from_a_file_keep_their_head(tmp_path, suffix):
    network = {"name": "small_cnn", "n_classes": 7, "image_shape": (3, 32, 32)}
    state = initial_state(**network, seed=1)
    path = tmp_path / f"weights{suffix}"
    if suffix == ".pth":
        torch.save(state, path)
    else:
        save_file(state, path)
    assert pretrained_classes("small_cnn", path) == 7
    loaded = pretrained_state("small_cnn", path, image_shape=(3, 32, 32))
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    message = r"does not fit small_cnn with 7 classes.*features\.0\.weight"
    with pytest.raises(ValueError, match=message):
        pretrained_state("small_cnn", path, image_shape=(1, 32, 32))


def test_weights_of_another_network_are_refused(tmp_path):
    save_file(initial_state(**SMALL, seed=0), tmp_path / "w.safetensors")
    message = r"has no 'fc\.bias', the head of resnet18; it holds class"
    with pytest.raises(ValueError, match=message):
        pretrained_state("resnet18", tmp_path / "w.safetensors")


class _Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-was-here"),))


def test_code_in_a_file_of_weights_is_not_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save({"state": _Evil()}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth cannot be read as weights.*state dict saved by"):
        pretrained_state("small_cnn", tmp_path / "w.pth")
    assert not (tmp_path / "evil-was-here").exists()


def test_files_that_are_no_weights(tmp_path):
    with pytest.raises(ValueError, match=r"models\.weights_file: there is no file .*missing\.pth"):
        pretrained_state("vgg16", tmp_path / "missing.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list, not a state dict"):
        pretrained_state("small_cnn", tmp_path / "list.pth")
    (tmp_path / "x.safetensors").write_bytes(b"no")
    with pytest.raises(ValueError, match=r"x\.safetensors cannot be read as weights"):
        pretrained_state("small_cnn", tmp_path / "x.safetensors")


def test_there_are_no_published_weights_of_the_small_network():
    message = r"no published weights for small_cnn; set models\.weights to"
    with pytest.raises(ValueError, match=message):
        pretrained_state("small_cnn")


def test_published_normalization_is_known_without_weights():
    mean, std = pretrained_normalization("vgg16").values()
    assert mean == [0.485, 0.456, 0.406]
    assert std == [0.229, 0.224, 0.225]
