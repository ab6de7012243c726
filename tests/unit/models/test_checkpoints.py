"""Checkpoints: written, read, and made into the same network."""

import pytest
import torch
from safetensors.torch import save_file

from manifold_capacity.errors import UserError
from manifold_capacity.models.checkpoints import load_metadata, load_model, load_state, save_state
from manifold_capacity.models.networks import build_model
from manifold_capacity.models.weights import initial_state

SMALL = {"name": "small_cnn", "n_classes": 10, "image_shape": (1, 8, 8)}


def test_a_checkpoint_comes_back_as_the_same_network(tmp_path):
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
def test_a_rebuilt_network_computes_the_same(tmp_path, fast_init, name):
    network = {"name": name, "n_classes": 3, "image_shape": (3, 64, 64)}
    state = initial_state(**network, seed=0)
    save_state(state, tmp_path / "x.safetensors", {"network": network})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        original = build_model(**network)
    rebuilt, _ = load_model(tmp_path / "x.safetensors")
    images = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(original.eval()(images), rebuilt(images))


def test_the_same_checkpoint_is_the_same_bytes(tmp_path):
    # safetensors writes several entries of metadata in an order that changes from call to call.
    state = {"b": torch.arange(5.0), "a": torch.ones(2, dtype=torch.int64)}
    metadata = {"z": 1, "model": "m", "seed": 0, "epoch": 3, "more": [1, 2]}
    written = set()
    for _ in range(8):
        save_state(state, tmp_path / "x", metadata)
        written.add((tmp_path / "x").read_bytes())
        state, metadata = (dict(reversed(each.items())) for each in (state, metadata))
    assert len(written) == 1


def test_a_truncated_or_foreign_checkpoint_is_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    save_state(initial_state(**SMALL, seed=0), path, {"network": SMALL})
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"x\.safetensors is not a complete safetensors file"):
        load_state(path)
    save_file({"a": torch.ones(1)}, path)
    with pytest.raises(ValueError, match="it has no metadata; delete"):
        load_metadata(path)


def test_a_file_names_no_code_to_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.safetensors"
    network = {**SMALL, "factory": "os:mkdir", "arguments": {"path": "evil-was-here"}}
    save_state(initial_state(**SMALL, seed=0), path, {"network": network})
    with pytest.raises(
        UserError, match=r"a function makes its network, 'os:mkdir'; .*give the func"
    ):
        load_model(path)
    (tmp_path / "nets.py").write_text(
        "from manifold_capacity.models.networks import SmallCNN\n"
        "def make(path):\n    return SmallCNN(1, 10)\n"
    )
    model, _ = load_model(path, "nets.py:make")
    assert model.classifier[2].out_features == 10
    assert not (tmp_path / "evil-was-here").exists()


# Pretrained weights


def test_googlenets_published_weights_bring_their_normalization(tmp_path, fast_init):
    network = {"name": "googlenet", "n_classes": 3, "image_shape": (3, 64, 64)}
    state = initial_state(**network, seed=0)
    for weights, expected in (("pretrained", True), ("trained", False)):
        save_state(state, tmp_path / "x.safetensors", {"network": network, "weights": weights})
        assert load_model(tmp_path / "x.safetensors")[0].transform_input is expected
