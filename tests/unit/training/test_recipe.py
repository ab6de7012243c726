"""What a recipe may hold, its steps and learning rates, and what makes another training."""

from pathlib import Path

import numpy as np
import pytest
import torch

from manifold_capacity.training.recipe import steps_per_epoch, training_digest


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"precision": "tf32"}}, r"training\.precision: tf32 is .* set it to float32"),
        (
            {"recipe": {"optimizer": "adam"}},
            r"training\.optimizer: 'adam' is not supported; use sgd",
        ),
        (
            {"recipe": {"schedule": "step"}},
            r"training\.schedule: 'step' .* one of constant, cosine",
        ),
        (
            {"train_data": (np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 2, 10]))},
            r"train labels are 0 to 10, but the network has 10 outputs, for labels 0 to 9",
        ),
        (
            {"test_data": (np.zeros((2, 8, 8, 1), np.uint8), np.array([-1, 0]))},
            r"test labels are -1 to 0, but",
        ),
        (
            {"test_data": (np.zeros((1, 8, 8, 1), np.uint8), np.array([0]))},
            r"the test split has 1 images; training needs at least 2",
        ),
        ({"checkpoints": {4: Path("x")}}, r"checkpoints: 4, but .* is 3; allowed: 0 to 3"),
        ({"checkpoints": {-1: Path("x")}}, r"checkpoints: -1, but .* is 3; allowed: 0 to 3"),
    ],
)
def test_a_recipe_that_cannot_be_used_is_refused(run, changes, message):
    with pytest.raises(ValueError, match=message):
        run(**changes)


def test_a_last_batch_of_one_image_is_not_a_step():
    assert [steps_per_epoch(n, 16) for n in (16, 17, 18, 32, 33)] == [1, 1, 2, 2, 2]


def test_the_digest_covers_the_start_the_data_and_everything_else(tmp_path):
    path = tmp_path / "initial"
    data = [np.arange(6), np.ones(3)]

    def digest(start=b"weights", arrays=data, **about):
        path.write_bytes(start)
        return training_digest(
            path, arrays, **{"seed": 1, "device": torch.device("cpu").type} | about
        )

    others = {
        digest(start=b"other"),
        digest(arrays=[np.arange(6)[::-1], data[1]]),
        digest(arrays=[np.arange(6).reshape(2, 3), data[1]]),
        digest(arrays=[np.arange(6).astype(np.int32), data[1]]),
        digest(seed=2),
    }
    assert len(others) == 5
    assert digest() == digest(device="cpu")
    assert digest() not in others
