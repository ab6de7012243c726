"""Images in memory or on the GPU, and the batches gathered from them."""

import logging

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from manifold_capacity.training import image_set
from manifold_capacity.training.image_set import ImageSet, fits_on


@pytest.mark.parametrize(
    "device",
    [
        "cpu",
        pytest.param(
            "cuda",
            marks=[
                pytest.mark.gpu,
                pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA GPU here"),
            ],
        ),
    ],
)
@pytest.mark.parametrize("resident", [True, False])
def test_a_batch_is_the_same_wherever_the_images_lie(tmp_path, monkeypatch, device, resident):
    monkeypatch.setattr(image_set, "_COPY_BYTES", 64 * 100)  # 100 images at a time
    digits = load_digits()
    images = np.round(digits.images * 255 / 16).astype(np.uint8)[..., None]
    np.save(tmp_path / "images.npy", images)
    # A read-only map of a file, as a training gets it
    mapped = np.load(tmp_path / "images.npy", mmap_mode="r")
    source = ImageSet(mapped, digits.target, torch.device(device), resident=resident)
    assert len(source) == len(images)
    rng = np.random.default_rng(0)
    for n in (1, 32, len(images)):
        chosen = rng.permutation(len(images))[:n]
        batch, answers = source.batch(chosen)
        assert batch.device.type == answers.device.type == device
        assert batch.dtype == torch.uint8
        np.testing.assert_array_equal(batch.permute(0, 2, 3, 1).cpu().numpy(), images[chosen])
        np.testing.assert_array_equal(answers.cpu().numpy(), digits.target[chosen])


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
@pytest.mark.parametrize("resident", [True, False])
def test_other_inputs_are_handed_over_as_they_are(monkeypatch, dtype, resident):
    monkeypatch.setattr(image_set, "_COPY_BYTES", 100)
    inputs = np.random.default_rng(0).integers(0, 2, (9, 3, 4)).astype(dtype)
    source = ImageSet(inputs, np.arange(9), torch.device("cpu"), resident=resident)
    batch, answers = source.batch(np.array([7, 2]))
    assert batch.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(batch.numpy(), inputs[[7, 2]])
    np.testing.assert_array_equal(answers.numpy(), [7, 2])


def test_images_stay_on_a_gpu_that_has_room(monkeypatch, caplog):
    caplog.set_level(logging.INFO, logger="manifold_capacity")
    images = np.zeros((1024, 16, 16, 4), np.uint8)  # 1 MiB
    assert not fits_on(torch.device("cpu"), images)
    assert caplog.messages == []
    for free, fits in ((8 * 2**20, True), (8 * 2**20 - 1, False)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _, free=free: (free, 2**40))
        assert fits_on(torch.device("cuda"), images, images) is fits
    assert "0.00195 GiB" in caplog.messages[0]
    assert "are kept there" in caplog.messages[0]
    assert "are kept on the host" in caplog.messages[1]
