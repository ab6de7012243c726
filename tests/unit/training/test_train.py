"""Training: what it learns, its metrics and its checkpoints."""

import logging
import math
import re
import threading
from unittest import mock

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torch.nn import functional as F

from manifold_capacity.errors import UserError
from manifold_capacity.models.augment import draw_augmentation, seeded_generator
from manifold_capacity.models.checkpoints import load_metadata, load_model, load_state
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.training import train as train_module
from manifold_capacity.training.descent import Descent
from manifold_capacity.training.train import DivergedError

PREPROCESS = Preprocess((1, 8, 8), [0.3], [0.4])
CPU = torch.device("cpu")


def weights(path):
    return load_state(path)[0]


def equal(state, other):
    return [torch.equal(state[key], other[key]) for key in state]


def test_training_learns_the_digits_and_leaves_nothing_else(run, tmp_path):
    bunch = load_digits()
    images = np.round(bunch.images * 255 / 16).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    test = np.arange(len(labels)) % 6 == 0
    final = run(
        train_data=(images[~test], labels[~test]),
        test_data=(images[test], labels[test]),
        recipe={"epochs": 5, "batch_size": 32, "schedule": "constant", "augment": {}},
    )
    table = run.rows()
    assert float(table[0]["test_accuracy"]) < 0.3
    assert float(table[-1]["test_accuracy"]) >= 0.95
    assert float(table[-1]["train_accuracy"]) >= 0.97
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["epoch-000.safetensors", final.name, "metrics.csv"]


def test_the_steps_are_those_of_a_plain_loop(run, tmp_path):
    """The same training written out, with torch's own schedule and optimizer."""
    images, labels = run.images, run.labels
    final = run(recipe={"augment": {}})
    model, _ = load_model(tmp_path / "epoch-000.safetensors")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    n_steps = 5  # 70 images in batches of 16, the last one of 6
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3 * n_steps)
    losses, correct = [0.0] * 3, [0] * 3
    model.train()
    for epoch in range(3):
        order = np.random.default_rng([1, epoch + 1, 0, 1]).permutation(70)
        for start in range(0, 70, 16):
            chosen = order[start : start + 16]
            outputs = model(PREPROCESS(to_batch(images[chosen], CPU)))
            target = torch.from_numpy(labels[chosen])
            loss = F.cross_entropy(outputs, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses[epoch] += loss.item() * len(chosen) / 70
            correct[epoch] += int((outputs.argmax(1) == target).sum())
    model.eval()
    outputs = model(PREPROCESS(to_batch(images[100:], CPU)))
    target = torch.from_numpy(labels[100:])

    state, metadata = load_state(final)
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(state[key], tensor, rtol=1e-4, atol=1e-6)
    table = run.rows()
    assert [int(row["epoch"]) for row in table] == [0, 1, 2, 3]
    assert table[0]["train_loss"] == table[0]["train_accuracy"] == table[0]["learning_rate"] == ""
    for row, loss_of_epoch, n_correct in zip(table[1:], losses, correct, strict=True):
        assert float(row["train_loss"]) == pytest.approx(loss_of_epoch, rel=1e-4)
        assert float(row["train_accuracy"]) == pytest.approx(n_correct / 70)
    test_loss, last = F.cross_entropy(outputs, target).item(), table[-1]
    assert float(last["test_loss"]) == pytest.approx(test_loss, rel=1e-4)
    assert float(last["test_accuracy"]) == (outputs.argmax(1) == target).double().mean().item()
    rate = 0.05 * 0.5 * (1 + math.cos(math.pi * 14 / 15))
    assert float(last["learning_rate"]) == pytest.approx(rate)
    assert (metadata["epoch"], metadata["weights"], metadata["seed"]) == (3, "trained", 1)
    assert metadata["network"]["name"] == "small_cnn"


def test_augmentation_reaches_the_images(run, monkeypatch):
    calls = []

    def spy(n_images, generator, **options):
        calls.append((n_images, options))
        return draw_augmentation(n_images, generator, **options)

    monkeypatch.setattr(train_module, "draw_augmentation", spy)
    augmented = run("augmented", recipe={"epochs": 2})
    assert calls == [(n, run.recipe["augment"]) for n in [16, 16, 16, 16, 6] * 2]
    plain = run("plain", recipe={"epochs": 2, "augment": {}})
    assert not any(equal(weights(augmented), weights(plain)))


def test_each_step_has_its_own_random_numbers(run, monkeypatch):
    keys = []

    def spy(*key):
        keys.append(key)
        return seeded_generator(*key)

    monkeypatch.setattr(train_module, "seeded_generator", spy)
    run(recipe={"epochs": 2})
    # Of augmentation and of dropout, in 5 steps of 2 epochs
    assert len(keys) == len(set(keys)) == 20
    assert {key[0] for key in keys} == {1}, "the training's seed"


def test_the_seed_is_all_that_matters(run):
    first = run("a")
    before = torch.get_rng_state()
    again = run("b")
    assert torch.equal(before, torch.get_rng_state())
    assert first.read_bytes() == again.read_bytes()
    assert run.rows("a") == run.rows("b")
    assert not any(equal(weights(first), weights(run("c", seed=2))))


def test_checkpoints_are_the_weights_after_their_epochs(run, tmp_path):
    paths = {epoch: tmp_path / f"at-{epoch}.safetensors" for epoch in (0, 2, 3)}
    run(checkpoints=paths, recipe={"schedule": "constant"})
    assert all(equal(weights(paths[0]), weights(tmp_path / "epoch-000.safetensors")))
    about = [load_metadata(path) for path in paths.values()]
    assert [metadata["epoch"] for metadata in about] == [0, 2, 3]
    assert [metadata["weights"] for metadata in about] == ["random", "trained", "trained"]
    shorter = weights(run("short", recipe={"epochs": 2, "schedule": "constant"}))
    assert all(equal(weights(paths[2]), shorter))
    assert not any(equal(weights(paths[3]), shorter))


# What a GPU does otherwise, as far as a CPU can do it too


def test_steps_prepared_ahead_are_the_same_steps(run, monkeypatch):
    expected = run("step by step")
    monkeypatch.setattr(train_module._Run, "_n_at_once", lambda self, least: 3 * least + 1)
    ahead = run("ahead", images_on_device=True)
    assert all(equal(weights(expected), weights(ahead)))
    for row, expected_row in zip(run.rows("ahead"), run.rows("step by step"), strict=True):
        # The sum over other batches rounds otherwise
        loss, expected_loss = float(row.pop("test_loss")), float(expected_row.pop("test_loss"))
        assert loss == pytest.approx(expected_loss, rel=1e-6)
        assert row == expected_row
    with run.interrupted(7):  # while steps 1 to 3 of epoch 2 are prepared
        run("parts", images_on_device=True)
    assert run("parts", images_on_device=True).read_bytes() == ahead.read_bytes()


@pytest.mark.parametrize(
    ("device", "shape", "expected"),
    [
        ("cuda", (3, 32, 32), 1365),
        ("cuda", (3, 224, 224), 32),
        ("cuda", (1, 2048, 2048), 32),
        ("cpu", (3, 32, 32), 32),
    ],
)
def test_a_gpu_prepares_and_evaluates_many_images_at_a_time(device, shape, expected):
    run = mock.Mock(device=torch.device(device), preprocess=mock.Mock(input_shape=shape))
    assert train_module._Run._n_at_once(run, 32) == expected


@pytest.mark.parametrize(
    # bfloat16 has 8 bits of mantissa; another order of sums changes the last of 24.
    ("changes", "low", "high"),
    [
        ({"recipe": {"precision": "bfloat16"}}, 1e-6, 0.1),
        ({"channels_last": True}, 0.0, 1e-3),
    ],
    ids=["bfloat16", "channels_last"],
)
def test_other_arithmetic_learns_the_same_and_resumes_to_the_bit(
    run, monkeypatch, changes, low, high
):
    plain = weights(run("plain"))["features.0.weight"]
    # The fused step of a GPU, which requires one layout of weights, gradients and momentum
    monkeypatch.setattr(
        train_module, "Descent", lambda *arguments, fused: Descent(*arguments, fused=True)
    )
    expected = run("whole", **changes)
    state = weights(expected)
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    difference = (state["features.0.weight"] - plain).abs().max() / plain.abs().max()
    assert low <= difference < high
    losses = [float(run.rows(name)[-1]["test_loss"]) for name in ("plain", "whole")]
    assert losses[1] == pytest.approx(losses[0], rel=high)
    for call in (3, 5):
        with run.interrupted(call):
            run("parts", **changes)
    assert run("parts", **changes).read_bytes() == expected.read_bytes()


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("images_on_device", [True, False])
def test_a_gpu_learns_what_a_cpu_learns(run, images_on_device):
    expected = weights(run("cpu"))
    state = weights(run("gpu", images_on_device=images_on_device, device="cuda"))
    for key, tensor in state.items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-2, atol=1e-4)
    for row, expected_row in zip(run.rows("gpu"), run.rows("cpu"), strict=True):
        assert float(row["test_loss"]) == pytest.approx(float(expected_row["test_loss"]), rel=1e-3)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_an_interrupted_training_on_a_gpu_goes_on(run, precision, caplog):
    caplog.set_level(logging.INFO)
    changes = {"recipe": {"precision": precision}, "device": "cuda"}
    run("whole", **changes)
    # All draws of an epoch are made before its first step
    for call in (3, 8):
        with run.interrupted(call):
            run("parts", **changes)
    run("parts", **changes)
    assert caplog.text.count("resuming from") == 2
    # Kernels may add in another order each time
    losses = [float(run.rows(name)[-1]["test_loss"]) for name in ("parts", "whole")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3 if precision == "float32" else 0.1)


# Errors and logs


def test_divergence_stops_with_the_learning_rate(run, tmp_path):
    message = r"loss is (nan|inf) in epoch \d after .*lower training\.learning_rate \(now 1e\+20"
    with pytest.raises(DivergedError, match=message):
        run(recipe={"learning_rate": 1e20, "schedule": "constant"})
    assert not (tmp_path / "epoch-003.safetensors").exists()


def test_training_works_in_a_thread_which_gets_no_signals(run):
    thread = threading.Thread(target=run, kwargs={"recipe": {"epochs": 1}})
    thread.start()
    thread.join()
    assert len(run.rows()) == 2


def test_progress_is_plain_lines_in_a_log(run, caplog, capsys):
    caplog.set_level(logging.INFO, logger="manifold_capacity")
    run(recipe={"epochs": 1})
    lines = caplog.messages
    assert lines[0].startswith("epoch 0/1: test loss ")
    assert lines[1].startswith("epoch 1/1: train loss ")
    assert re.search(r"; [\d,]+ images/s$", lines[1])
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (
            "nn.Sequential(nn.Flatten(), nn.Linear(64, 4))",
            r"32 samples is .* \(32, 4\).*shape \(32, 10",
        ),
        ("nn.Flatten()", "no parameters that can be trained; set it to random"),
    ],
)
def test_a_users_network_that_cannot_be_trained(run, tmp_path, code, message):
    (tmp_path / "own.py").write_text(f"from torch import nn\ndef make():\n    return {code}\n")
    network = {"name": "own", "n_classes": 10, "image_shape": (1, 8, 8)}
    with pytest.raises(UserError, match=rf"^models\.weights: trained, but .*{message}"):
        run(network={**network, "factory": f"{tmp_path}/own.py:make"})
