"""Files of weights in other precisions and shapes, damaged and hostile."""

import argparse
import datetime
import logging
import os
import struct
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file
from torch import nn

from manifold_capacity.errors import UserError
from manifold_capacity.models import networks
from manifold_capacity.models.checkpoints import load_state, save_state
from manifold_capacity.models.weights import check_files, pretrained_state

SHAPE = (1, 8, 8)


class Small(nn.Sequential):
    """A network with a running mean and a count, in place of the small one."""

    def __init__(self, n_channels, n_classes):
        super().__init__(
            nn.Conv2d(n_channels, 4, 3),
            nn.BatchNorm2d(4),
            nn.Flatten(),
            nn.Linear(144, n_classes),
        )


@pytest.fixture(autouse=True)
def state(monkeypatch):
    monkeypatch.setattr(networks, "SmallCNN", Small)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Small(1, 10).state_dict()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "weights.pt"


def load(path):
    """The state of the network; an error must be one line of moderate length that names the file."""
    try:
        return pretrained_state("small_cnn", path, image_shape=SHAPE)
    except UserError as error:
        message = str(error)
        assert message.startswith(f"models.weights_file: {path} ")
        assert len(message.splitlines()) == 1
        assert len(message) < 1000
        assert "weights_only" not in message, "torch's advice to run the code in the file"
        raise


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32_and_it_is_said(tmp_path, state, suffix, dtype, caplog):
    caplog.set_level(logging.INFO)
    path = tmp_path / f"weights{suffix}"
    other = {key: tensor.to(dtype) for key, tensor in state.items()}  # the count too
    (save_file if suffix == ".safetensors" else torch.save)(other, path)
    loaded = load(path)
    for key, tensor in state.items():
        assert loaded[key].dtype == tensor.dtype
        assert torch.equal(loaded[key], other[key].to(tensor.dtype))
    kind = str(dtype).removeprefix("torch.")
    assert caplog.messages == [
        f"{path}: weights of type {kind} are converted to the network's float32"
    ]


def test_float32_is_kept_without_a_word(path, state, caplog):
    caplog.set_level(logging.INFO)
    torch.save(state, path)
    loaded = load(path)
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert caplog.messages == []


def test_views_of_one_array_can_be_saved(path, state, tmp_path):
    weights = {key: tensor for key, tensor in state.items() if tensor.is_floating_point()}
    flat = torch.cat([tensor.reshape(-1) for tensor in weights.values()])
    parts = flat.split([tensor.numel() for tensor in weights.values()])
    views = {key: part.view(weights[key].shape) for key, part in zip(weights, parts, strict=True)}
    torch.save({**state, **views}, path)
    save_state(load(path), tmp_path / "x.safetensors", {})
    saved, _ = load_state(tmp_path / "x.safetensors")
    assert all(torch.equal(saved[key], state[key]) for key in state)


def ones(*shape, dtype=torch.float32, value=1.0):
    return torch.full(shape, value, dtype=dtype)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"0.bias": ones(4, value=torch.nan)},
            r"has '0\.bias' with values that are NaN, infinite or",
        ),
        (
            {"1.running_var": ones(4, value=-torch.inf)},
            r"has '1\.running_var' with values that are",
        ),
        ({"0.bias": ones(4, dtype=torch.float64, value=1e300)}, "or too large for float32; save"),
        ({"0.bias": ones(4, dtype=torch.int8)}, r"'0\.bias' of type int8, but float32 is needed"),
        ({"0.bias": ones(4, dtype=torch.complex64)}, "of type complex64, but float32"),
        ({"1.num_batches_tracked": torch.tensor(1.5)}, "tracked' with values that are no int64"),
        (
            {"1.num_batches_tracked": torch.tensor(torch.nan)},
            "tracked' with values that are no int64",
        ),
        ({"0.bias": ones(5)}, r"does not fit small_cnn .*: size mismatch for 0\.bias: .*\[5\]"),
        ({"0.bias": None}, r'does not fit small_cnn .*: Missing key\(s\) in state_dict: "0\.bias"'),
        ({"more": ones(1, value=torch.nan)}, r'does not fit .*: Unexpected key.*"more"'),
        ({"x" * 100_000: ones(1)}, "Unexpected key.*xxx"),
        ({f"key{n}\n": ones(1) for n in range(1000)}, "Unexpected key.*key1"),
        ({"3.bias": None, "3.weight": None, "y" * 100_000: ones(1)}, "has no '3.bias', the head"),
        (
            {"3.bias": torch.tensor(1.0)},
            r"'3\.bias', the head of small_cnn, of shape \(\); its first",
        ),
        ({"3.bias": ones(0)}, r"of shape \(0,\); its first axis must be the classes"),
        ({3: ones(1)}, r"has the name 3, which is not text; it is not a state dict"),
        ({"epoch": 3}, "has a int as 'epoch'; it is not a state dict"),
        ({"model": {"0.bias": ones(4)}}, "has no '3.bias', the head of small_cnn; it holds 0.bias"),
        ({"ema": {"0.bias": ones(4)}}, "has a dict as 'ema'; it is not a state dict"),
        ({"0.bias": ones(4).to_sparse()}, r"'0\.bias', which is not a plain array"),
        ({"0.bias": torch.ones(4, device="meta")}, r"'0\.bias', which is not a plain array"),
        ({"0.bias": ones(1).expand(10**9)}, r"of shape \(1000000000,\), but fewer numbers"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*sparse tensor")
def test_states_that_do_not_fit(path, state, changes, message):
    state = {key: value for key, value in {**state, **changes}.items() if value is not None}
    torch.save(state, path)
    with pytest.raises(UserError, match=message):
        load(path)


OPTIONS = argparse.Namespace(lr=0.1, output=Path("x"))
BESIDE = {"epoch": 3, "best": np.float64(0.9), "args": OPTIONS, "lr": 0.1, "when": None}
MOMENTUM = {
    "state": {0: {"momentum_buffer": ones(4)}},
    "param_groups": [{"lr": 0.1, "params": [0]}],
}


@pytest.mark.parametrize(
    ("wrapped", "said"),
    [
        (
            lambda state: {"model": state, "optimizer": MOMENTUM, **BESIDE},
            ["its entry 'model'; not read: optimizer, epoch, best, args, lr, when"],
        ),
        (lambda state: {"model_state_dict": state}, ["its entry 'model_state_dict'"]),
        (
            lambda state: {
                "pytorch-lightning_version": "2.5",
                "state_dict": {f"model.{k}": v for k, v in state.items()}
                | {"loss.weight": ones(3)},
                "optimizer_states": [MOMENTUM],
            },
            [
                "its entry 'state_dict'; not read: pytorch-lightning_version, optimizer_states",
                "names without their prefix 'model.'; not read: loss.weight",
            ],
        ),
        (
            lambda state: {f"module._orig_mod.{k}": v for k, v in state.items()},
            ["names without their prefix 'module._orig_mod.'"],
        ),
        (lambda state: {"net": {"state_dict": state}}, ["entry 'net'", "entry 'state_dict'"]),
    ],
)
def test_wrappers_are_taken_off_and_it_is_said(path, state, wrapped, said, caplog):
    caplog.set_level(logging.INFO)
    torch.save(wrapped(state), path)
    loaded = load(path)
    assert all(torch.equal(loaded[key], state[key]) for key in state)
    assert len(caplog.messages) == len(said)
    for message, expected in zip(caplog.messages, said, strict=True):
        assert message.startswith(f"{path}: ")
        assert expected in message


def test_a_prefix_that_the_network_has_itself_stays(path, monkeypatch):
    class Inside(nn.Module):
        def __init__(self, n_channels, n_classes):
            super().__init__()
            self.model = Small(n_channels, n_classes)

    monkeypatch.setattr(networks, "SmallCNN", Inside)
    state = Inside(1, 10).state_dict()
    torch.save({f"model.{key}": tensor for key, tensor in state.items()}, path)
    assert list(load(path)) == list(state)


def test_versions_of_modules_follow_their_names(path, state):
    """A batch normalization of version 1 had no count."""
    del state["1.num_batches_tracked"]
    state._metadata["1"]["version"] = 1
    inside = OrderedDict((f"module.{key}", tensor) for key, tensor in state.items())
    inside._metadata = {"": {"version": 1}, "module": {"version": 1}}
    inside._metadata |= {f"module.{key}": v for key, v in state._metadata.items() if key}
    torch.save(inside, path)
    assert load(path)["1.num_batches_tracked"] == 0


def test_an_object_of_a_class_says_what_to_save(path, state):
    torch.save({"model": state, "when": datetime.date(2026, 1, 1)}, path)
    message = (
        r"\(Unsupported global: GLOBAL datetime\.date .*save it anew with torch\.save\(model\.st"
    )
    with pytest.raises(UserError, match=message):
        load(path)


def test_a_file_that_holds_itself(path):
    endless = {}
    endless["model"] = endless
    torch.save(endless, path)
    with pytest.raises(UserError, match="has a dict as 'model'"):
        load(path)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, None),
        ({"0.bias": ones(5)}, r"does not fit small_cnn .*: size mismatch for 0\.bias"),
        ({"more": ones(1)}, "does not fit .*: Unexpected key"),
        ({"0.bias": ones(4, value=torch.nan)}, None),  # values are for the job to read
    ],
)
def test_names_and_shapes_are_checked_without_values(path, state, changes, message):
    torch.save({**state, **changes}, path)
    entry = {"weights": "files", "weights_files": {"10": str(path)}}
    network = {"name": "small_cnn", "n_classes": 10, "image_shape": SHAPE}
    if message is None:
        check_files(entry, network)
        return
    with pytest.raises(UserError, match=rf"^models\.weights_files\.10: {path} {message}"):
        check_files(entry, network)


def test_versions_that_are_none(path, state):
    odd = OrderedDict(state)
    odd._metadata = 5
    torch.save(odd, path)
    with pytest.raises(UserError, match="does not fit small_cnn"):
        load(path)


class _Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-was-here"),))


@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_run(path, monkeypatch, zipped):
    monkeypatch.chdir(path.parent)
    torch.save({"a": _Evil()}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(
        UserError, match=r"cannot be read as weights \(Unsupported global: GLOBAL getattr "
    ):
        load(path)
    assert os.listdir() == [path.name]


def test_damage_is_found_by_the_checksum(path, state):
    torch.save(state, path)
    content = bytearray(path.read_bytes())
    content[content.index(state["3.weight"].numpy().tobytes()) + 100] ^= 1
    path.write_bytes(content)
    with pytest.raises(UserError, match=r"cannot be read as weights \(wrong checksum of .*data/"):
        load(path)


def test_a_compressed_file_is_not_unpacked(path):
    torch.save({"3.bias": torch.zeros(10**7)}, path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    assert path.stat().st_size < 10**5
    with pytest.raises(UserError, match=r"\(it is compressed, which torch\.save never does\)"):
        load(path)


def safetensors(header, data=b""):
    return struct.pack("<Q", len(header)) + header + data


GOOD = save({"3.bias": torch.zeros(10)})


@pytest.mark.parametrize(
    "content",
    [
        b"",
        GOOD[:5],
        GOOD[:-1],
        GOOD + b"x",
        struct.pack("<Q", 2**63) + GOOD[8:],
        safetensors(b"[]"),
        safetensors(
            b'{"3.bias": {"dtype": "F32", "shape": [10], "data_offsets": [0, 80]}}', bytes(40)
        ),
        safetensors(
            b'{"3.bias": {"dtype": "F32", "shape": [-10], "data_offsets": [0, 40]}}', bytes(40)
        ),
        safetensors(
            b'{"3.bias": {"dtype": "X9", "shape": [10], "data_offsets": [0, 40]}}', bytes(40)
        ),
        safetensors(b'{"3.bias": {"dtype": "F32", "shape": [10]}}', bytes(40)),
        safetensors(b'{"a\xff": 1}'),
    ],
)
def test_damaged_safetensors(tmp_path, content):
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read as weights"):
        load(path)


@pytest.mark.parametrize("content", [b"", b"text" * 99, b"PK\x03\x04", b"\x80\x02}q\x00."])
def test_files_that_torch_did_not_write(path, content):
    path.write_bytes(content)
    with pytest.raises(UserError):
        load(path)
