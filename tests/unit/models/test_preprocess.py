"""How stored images become a network's input."""

import numpy as np
import pytest
import torch
from torchvision.transforms import functional as TF

from manifold_capacity.models.preprocess import Preprocess, to_batch


def pictures(n, *, channels=3, height=9, width=12):
    """Different images without a single black pixel, so that 0 means outside."""
    generator = torch.Generator().manual_seed(1)
    shape = (n, channels, height, width)
    return torch.randint(1, 256, shape, dtype=torch.uint8, generator=generator)


def test_preprocessing_scales_and_normalizes():
    images = pictures(3)
    result = Preprocess((3, 9, 12), [0.1, 0.2, 0.3], [0.5, 0.25, 2.0])(images)
    assert result.dtype == torch.float32
    expected = TF.normalize(images.float() / 255, [0.1, 0.2, 0.3], [0.5, 0.25, 2.0])
    torch.testing.assert_close(result, expected)
    plain = Preprocess((3, 9, 12))(images)
    assert torch.equal(plain, images.float() / 255)


def test_preprocessing_repeats_gray_and_resizes():
    images = pictures(2, channels=1, height=8, width=8)
    result = Preprocess((3, 20, 24), [0.5], [0.25])(images)
    assert result.shape == (2, 3, 20, 24)
    assert result.is_contiguous()
    assert torch.equal(result[:, 0], result[:, 2])
    expected = TF.resize(images.float() / 255, [20, 24], antialias=True)
    torch.testing.assert_close(result[:, 1:2], (expected - 0.5) / 0.25)
    smaller = Preprocess((1, 4, 4))(images)
    torch.testing.assert_close(smaller, TF.resize(images.float() / 255, [4, 4], antialias=True))


def test_preprocessing_errors():
    with pytest.raises(ValueError, match=r"dataset\.normalize: .*\[0\.2, 0\.0\].*set .* to none"):
        Preprocess((2, 8, 8), [0, 0], [0.2, 0.0])
    with pytest.raises(ValueError, match="the images have 2 channels, the network expects 3"):
        Preprocess((3, 9, 12))(pictures(1, channels=2))


def test_stored_images_become_batches(tmp_path):
    array = np.arange(2 * 4 * 5 * 3, dtype=np.uint8).reshape(2, 4, 5, 3)
    np.save(tmp_path / "images.npy", array)
    stored = np.load(tmp_path / "images.npy", mmap_mode="r")
    batch = to_batch(stored, torch.device("cpu"))
    assert batch.shape == (2, 3, 4, 5)
    assert int(batch[1, 2, 3, 4]) == int(stored[1, 3, 4, 2])


@pytest.mark.parametrize("dtype", ["float32", "int64", "bool"])
@pytest.mark.parametrize("normalize", ["auto", "none"])
def test_inputs_that_are_no_images_stay_as_they_are(dtype, normalize):
    metadata, dataset = {"network": {"image_shape": [5]}}, {"input_dtype": dtype}
    inputs = np.ones((2, 5), dtype)
    batch = to_batch(inputs, torch.device("cpu"))
    given = Preprocess.for_checkpoint(metadata, normalize, dataset)(batch)
    assert given.dtype == getattr(torch, dtype)
    np.testing.assert_array_equal(given.numpy(), inputs)


@pytest.mark.parametrize(
    ("normalize", "published", "expected"),
    [
        ("auto", None, 0.25),
        ("auto", {"mean": [0.5], "std": [0.5]}, 1.0),
        ("none", {"mean": [0.5], "std": [0.5]}, 1.0),
        ({"mean": [0.5], "std": [2.0]}, {"mean": [0.1], "std": [1.0]}, 0.25),
    ],
)
def test_normalization_of_a_checkpoint(normalize, published, expected):
    dataset = {"mean": [0.75], "std": [1.0]}
    metadata = {"network": {"image_shape": [1, 2, 2]}, "normalization": published}
    preprocess = Preprocess.for_checkpoint(metadata, normalize, dataset)
    white = torch.full((1, 1, 2, 2), 255, dtype=torch.uint8)
    assert preprocess(white)[0, 0, 0, 0].item() == expected
