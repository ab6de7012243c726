"""Devices, precision and threads."""

import logging

import pytest
import torch

from manifold_capacity.models.device import (
    arithmetic,
    autocast,
    check_precision,
    prefers_channels_last,
    resolve_device,
)

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


def test_devices(monkeypatch, caplog):
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
    with pytest.raises(
        ValueError, match="device: 'gpu' is not supported; use one of auto, cpu, cuda"
    ):
        resolve_device("gpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    assert resolve_device("auto") == resolve_device("cuda") == torch.device("cuda")
    assert caplog.messages[1:] == ["device: Some GPU (CUDA_VISIBLE_DEVICES=3)"] * 2


def test_tf32_is_off_unless_asked_for_and_left_as_it_was():
    def switches():
        backends = torch.backends
        return [b.fp32_precision for b in (backends.cuda.matmul, backends.cudnn.conv)]

    before = switches()
    for precision, expected in (("float32", "ieee"), ("bfloat16", "ieee"), ("tf32", "tf32")):
        with arithmetic(precision):
            assert switches() == [expected] * 2
        assert switches() == before


def test_bfloat16_is_automatic_mixed_precision():
    layer = torch.nn.Linear(8, 4)
    pixels = torch.ones(2, 8)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(precision, CPU):
            assert layer(pixels).dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_a_precision_that_a_device_does_not_have(monkeypatch):
    check_precision("bfloat16", CPU, "training.precision")
    with pytest.raises(
        ValueError, match=r"^a\.b: 'half' is not supported; use one of float32, tf32, bfloat16"
    ):
        check_precision("half", CPU, "a.b")
    with pytest.raises(ValueError, match=r"^a\.b: tf32 .* on the CPU; set it to float32, or run"):
        check_precision("tf32", CPU, "a.b")
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: "Old GPU")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (7, 5))
    check_precision("float32", CUDA, "a.b")
    for precision in ("tf32", "bfloat16"):
        with pytest.raises(ValueError, match=r"8\.0 or later, Old GPU has 7\.5; set it to float32"):
            check_precision(precision, CUDA, "a.b")
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: (9, 0))
    check_precision("tf32", CUDA, "a.b")


def test_channels_go_last_for_tensor_cores_only():
    precisions = ("float32", "tf32", "bfloat16")
    assert [prefers_channels_last(p, CUDA) for p in precisions] == [False, True, True]
    assert not any(prefers_channels_last(p, CPU) for p in precisions)
