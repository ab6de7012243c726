"""Devices, precision and images in memory."""

import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from manifold_capacity.models.device import (
    arithmetic,
    autocast,
    check_precision,
    prefers_channels_last,
)
from manifold_capacity.training import image_set
from manifold_capacity.training.image_set import ImageSet, fits_on

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")


def digits() -> tuple[np.ndarray, np.ndarray]:
    bunch = load_digits()
    return np.round(bunch.images * 255 / 16).astype(np.uint8)[..., None], bunch.target


def mapped(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The digits as a training gets them: a read-only map of a file."""
    images, labels = digits()
    np.save(folder / "images.npy", images)
    return np.load(folder / "images.npy", mmap_mode="r"), labels


def check_batches(folder: Path, device: torch.device) -> None:
    images, labels = mapped(folder)
    resident = ImageSet(images, labels, device, resident=True)
    copied = ImageSet(images, labels, device, resident=False)
    rng = np.random.default_rng(0)
    for n in (1, 32, len(labels)):
        chosen = rng.permutation(len(labels))[:n]
        for source in (resident, copied):
            batch, answers = source.batch(chosen)
            assert batch.device.type == answers.device.type == device.type
            assert batch.dtype == torch.uint8
            np.testing.assert_array_equal(
                batch.permute(0, 2, 3, 1).cpu().numpy(), digits()[0][chosen]
            )
            np.testing.assert_array_equal(answers.cpu().numpy(), labels[chosen])


def test_a_batch_is_the_same_wherever_the_images_lie(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(image_set, "_COPY_BYTES", 64 * 100)  # 100 images at a time
    check_batches(tmp_path, CPU)


@pytest.mark.gpu
@needs_gpu
def test_a_batch_is_the_same_from_the_gpus_memory_and_from_pinned_memory(tmp_path: Path) -> None:
    check_batches(tmp_path, CUDA)


def test_images_stay_on_a_gpu_that_has_room(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="manifold_capacity")
    images = np.zeros((1024, 16, 16, 4), np.uint8)  # 1 MiB
    assert not fits_on(CPU, images)
    assert caplog.messages == []
    for free, fits in ((8 * 2**20, True), (8 * 2**20 - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 2**40))
        assert fits_on(CUDA, images, images) is fits
    assert "0.00195 GiB" in caplog.messages[0]
    assert "are kept there" in caplog.messages[0]
    assert "stay on the host" in caplog.messages[1]


def test_tf32_is_off_unless_asked_for_and_left_as_it_was() -> None:
    def switches() -> list[str]:
        backends = torch.backends
        return [b.fp32_precision for b in (backends.cuda.matmul, backends.cudnn.conv)]

    before = switches()
    for precision, expected in (("float32", "ieee"), ("bfloat16", "ieee"), ("tf32", "tf32")):
        with arithmetic(precision):
            assert switches() == [expected] * 2
        assert switches() == before


def test_bfloat16_is_automatic_mixed_precision() -> None:
    layer = torch.nn.Linear(8, 4)
    pixels = torch.ones(2, 8)
    for precision, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        with autocast(precision, CPU):
            assert layer(pixels).dtype == dtype
    assert layer.weight.dtype == torch.float32


def test_a_precision_that_a_device_does_not_have(monkeypatch: pytest.MonkeyPatch) -> None:
    check_precision("bfloat16", CPU, "training.precision")
    with pytest.raises(ValueError, match=r"^a\.b: 'half'; allowed: float32, tf32, bfloat16"):
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


def test_channels_go_last_for_tensor_cores_only() -> None:
    precisions = ("float32", "tf32", "bfloat16")
    assert [prefers_channels_last(p, CUDA) for p in precisions] == [False, True, True]
    assert not any(prefers_channels_last(p, CPU) for p in precisions)
