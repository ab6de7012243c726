"""Prepared datasets are read back whole, and the points of manifolds are drawn from them."""

import os
import shutil

import numpy as np
import pytest

from manifold_capacity.datasets.sampling import load_split, sample_manifolds
from manifold_capacity.errors import UserError


def test_images_are_verified_when_they_are_read(digits, tmp_path):
    whole = np.load(digits / "train_images.npy")
    images, _ = load_split(digits, "train")
    assert (len(images), images.shape, images.nbytes) == (len(whole), whole.shape, whole.nbytes)
    for places in (slice(3, 700), np.array([9, 2, 2]), np.array([[1, 2], [8, 0]]), 5):
        np.testing.assert_array_equal(images[places], whole[places])
    folder = tmp_path / "damaged"
    shutil.copytree(digits, folder)
    with (folder / "train_images.npy").open("rb+") as file:
        file.seek(-64, os.SEEK_END)  # the last image has so many bytes
        file.write(bytes([(whole[-1, 0, 0, 0] ^ 1)]))
    images, _ = load_split(folder, "train")
    np.testing.assert_array_equal(images[:-1], whole[:-1])
    with pytest.raises(UserError, match=r"train_images.npy was damaged .* of image 1351 does not"):
        images[np.array([0, -1])]


def test_incomplete_folders(digits, tmp_path):
    with pytest.raises(UserError, match=r"nowhere holds no complete dataset .*prepare it again"):
        load_split(tmp_path / "nowhere", "train")
    for name in ("dataset.json", "train_images.npy", "train_labels.npy", "train_images.crc32"):
        folder = tmp_path / name
        shutil.copytree(digits, folder)
        (folder / name).write_bytes((digits / name).read_bytes()[:-100])
        with pytest.raises(UserError, match=rf"{name}.*again"):
            load_split(folder, "train")
        (folder / name).unlink()
        with pytest.raises(UserError, match=r"no complete dataset .*prepare it again"):
            load_split(folder, "train")


def test_files_that_do_not_belong_together(digits, tmp_path):
    shutil.copytree(digits, tmp_path / "mixed")
    shutil.copy(digits / "test_labels.npy", tmp_path / "mixed" / "train_labels.npy")
    with pytest.raises(UserError, match=r"train_labels.npy was damaged or changed: its SHA-256 is"):
        load_split(tmp_path / "mixed", "train")
    shutil.copytree(digits, tmp_path / "other")
    shutil.copy(digits / "test_images.npy", tmp_path / "other" / "train_images.npy")
    with pytest.raises(UserError, match=r"has shape \(445, 8, 8, 1\) .* must be \(1352, 8, 8, 1\)"):
        load_split(tmp_path / "other", "train")


LABELS = np.random.default_rng(3).permutation(np.repeat(np.arange(5), [60, 50, 55, 70, 40]))


def draw(classes, points, seed=0, split="train"):
    return sample_manifolds(LABELS, classes, points, seed, split)


def test_sample_is_of_the_classes_asked_for_without_repetition():
    sample = draw([3, 0, 4], 40)
    assert sample.shape == (3, 40)
    assert sample.dtype == np.int64
    np.testing.assert_array_equal(LABELS[sample], np.repeat([[3], [0], [4]], 40, axis=1))
    assert len(np.unique(sample)) == 120
    np.testing.assert_array_equal(np.sort(sample[2]), np.flatnonzero(LABELS == 4))


def test_a_sample_depends_on_seed_split_and_class_alone():
    sample = draw([0, 1], 20)
    np.testing.assert_array_equal(draw([0, 1], 20), sample)
    assert (draw([0, 1], 20, seed=1) != sample).any(axis=1).all()
    assert (draw([0, 1], 20, split="test") != sample).any(axis=1).all()
    np.testing.assert_array_equal(draw([4, 1, 2], 7)[1], sample[1, :7])  # the first of more points


def test_every_image_is_drawn_as_often_as_any_other():
    """Of 40 images 20 are drawn; over 400 seeds each 200 times, give or take 10 (one sigma)."""
    times = np.bincount(np.concatenate([draw([4], 20, seed)[0] for seed in range(400)]))
    times = times[LABELS[: len(times)] == 4]
    assert len(times) == 40
    assert abs(times - 200).max() < 50


@pytest.mark.parametrize(
    ("classes", "points", "message"),
    [
        ([0, 4], 41, r"manifolds\.points_per_class: 41, but class 4 has 40 train images; use at"),
        ([7], 1, r"points_per_class: 1, but class 7 has 0 train images"),
        ([-1], 1, r"class -1 has 0 train images"),
        ([0], 0, r"manifolds\.points_per_class: 0; it must be at least 1"),
        ([0, 1, 0], 2, r"classes \[0, 1, 0\]: each may be given once"),
    ],
)
def test_samples_that_cannot_be_drawn(classes, points, message):
    with pytest.raises(UserError, match=message):
        draw(classes, points)


def test_other_split(digits):
    for call in (lambda: draw([0], 1, split="val"), lambda: load_split(digits, "val")):
        with pytest.raises(UserError, match="split 'val' is neither 'train' nor 'test'"):
            call()
