"""Training: its recipe, its metrics, its end after any interruption."""

import csv
import fcntl
import hashlib
import json
import logging
import math
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from manifold_capacity.models.augment import Draws, draw_augmentation
from manifold_capacity.models.checkpoints import load_model, load_state, save_state
from manifold_capacity.models.preprocess import Preprocess, to_batch
from manifold_capacity.models.weights import initial_state
from manifold_capacity.training import resume
from manifold_capacity.training import train as train_module
from manifold_capacity.training.image_set import ImageSet
from manifold_capacity.training.train import DivergedError, InterruptedTrainingError, train

RECIPE: dict[str, Any] = {
    "epochs": 3,
    "optimizer": "sgd",
    "learning_rate": 0.05,
    "momentum": 0.9,
    "weight_decay": 1e-4,
    "schedule": "cosine",
    "batch_size": 16,
    "precision": "float32",
    "augment": {"crop_padding": 1, "horizontal_flip": True, "rotation_degrees": 10.0},
}


def pictures() -> tuple[np.ndarray, np.ndarray]:
    """150 noisy images of ten kinds, 8 x 8."""
    rng = np.random.default_rng(0)
    labels = np.arange(150) % 10
    kinds = rng.integers(0, 200, (10, 8, 8, 1))
    images = kinds[labels] + rng.integers(0, 56, (150, 8, 8, 1))
    return images.astype(np.uint8), labels


def run(folder: Path, **changes: Any) -> Path:
    """Train on 70 pictures from a fixed start, in `folder`; returns the final checkpoint."""
    images, labels = pictures()
    network = changes.pop(
        "network", {"name": "small_cnn", "n_classes": 10, "image_shape": (1, 8, 8)}
    )
    initial = folder / "epoch-000.safetensors"
    save_state(
        initial_state(**network, seed=0), initial, {"network": network, "seed": 0, "epoch": 0}
    )
    recipe = {**RECIPE, **changes.pop("recipe", {})}
    final = folder / f"epoch-{recipe['epochs']:03d}.safetensors"
    options: dict[str, Any] = {
        "train_data": (images[:70], labels[:70]),
        "test_data": (images[100:150], labels[100:150]),
        "seed": 1,
        "preprocess": Preprocess(network["image_shape"], [0.3], [0.4]),
        "checkpoints": {recipe["epochs"]: final},
        "metrics": folder / "metrics.csv",
        "resume": folder / "resume",
        "device": "cpu",
        **changes,
    }
    train(initial, recipe=recipe, **options)
    return final


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# The recipe


def test_training_learns_the_digits_and_leaves_nothing_else(
    tmp_path: Path, one_thread: None
) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    images = np.round(bunch.images * 255 / 16).astype(np.uint8)[..., None]
    labels = bunch.target.astype(np.int64)
    test = np.arange(len(labels)) % 6 == 0
    final = run(
        tmp_path,
        train_data=(images[~test], labels[~test]),
        test_data=(images[test], labels[test]),
        recipe={"epochs": 5, "batch_size": 32, "schedule": "constant", "augment": {}},
    )
    table = rows(tmp_path)
    assert float(table[0]["test_accuracy"]) < 0.3
    assert float(table[-1]["test_accuracy"]) >= 0.95
    assert float(table[-1]["train_accuracy"]) >= 0.97
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "epoch-000.safetensors",
        final.name,
        "metrics.csv",
    ]


def test_the_steps_are_those_of_a_plain_loop(tmp_path: Path, one_thread: None) -> None:
    """The same training written out, with torch's own schedule and optimizer."""
    images, labels = pictures()
    final = run(tmp_path, recipe={"augment": {}})
    model, _ = load_model(tmp_path / "epoch-000.safetensors")
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-4)
    n_steps = 5  # 70 images in batches of 16, the last one of 6
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=3 * n_steps)
    preprocess = Preprocess((1, 8, 8), [0.3], [0.4])
    losses, correct = [], []
    for epoch in (1, 2, 3):
        order = np.random.default_rng([1, epoch, 0, 1]).permutation(70)
        assert sorted(order) == list(range(70))
        losses.append(0.0)
        correct.append(0)
        model.train()
        for start in range(0, 70, 16):
            chosen = order[start : start + 16]
            outputs = model(preprocess(to_batch(images[chosen], torch.device("cpu"))))
            target = torch.from_numpy(labels[chosen])
            loss = F.cross_entropy(outputs, target)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
            losses[-1] += loss.item() * len(chosen) / 70
            correct[-1] += int((outputs.argmax(1) == target).sum())
    model.eval()
    outputs = model(preprocess(to_batch(images[100:150], torch.device("cpu"))))
    test_loss = F.cross_entropy(outputs, torch.from_numpy(labels[100:150])).item()

    state, metadata = load_state(final)
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(state[key], tensor, rtol=1e-4, atol=1e-6)
    table = rows(tmp_path)
    assert [int(row["epoch"]) for row in table] == [0, 1, 2, 3]
    assert table[0]["train_loss"] == table[0]["train_accuracy"] == table[0]["learning_rate"] == ""
    for row, loss_of_epoch, n_correct in zip(table[1:], losses, correct, strict=True):
        assert float(row["train_loss"]) == pytest.approx(loss_of_epoch, rel=1e-4)
        assert float(row["train_accuracy"]) == pytest.approx(n_correct / 70)
    assert float(table[-1]["test_loss"]) == pytest.approx(test_loss, rel=1e-4)
    last = 0.05 * 0.5 * (1 + math.cos(math.pi * 14 / 15))
    assert float(table[-1]["learning_rate"]) == pytest.approx(last)
    assert metadata["epoch"] == 3
    assert metadata["weights"] == "trained"
    assert metadata["network"]["name"] == "small_cnn"


def test_augmentation_reaches_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    calls = []

    def spy(n_images: int, generator: torch.Generator, **options: Any) -> Draws:
        calls.append((n_images, generator.initial_seed(), options))
        return draw_augmentation(n_images, generator, **options)

    monkeypatch.setattr(train_module, "draw_augmentation", spy)
    run(tmp_path, recipe={"epochs": 2})
    assert [n for n, _, _ in calls] == [16, 16, 16, 16, 6] * 2
    assert len({seed for _, seed, _ in calls}) == 10, "each step has its own draws"
    assert all(options == RECIPE["augment"] for _, _, options in calls)


def test_the_seed_is_all_that_matters(tmp_path: Path, one_thread: None) -> None:
    first = run(tmp_path / "a")
    before = torch.get_rng_state()
    again = run(tmp_path / "b")
    assert torch.equal(before, torch.get_rng_state())
    other = run(tmp_path / "c", seed=2)
    assert digest(first) == digest(again)
    assert (tmp_path / "a/metrics.csv").read_bytes() == (tmp_path / "b/metrics.csv").read_bytes()
    state, changed = load_state(first)[0], load_state(other)[0]
    assert not any(torch.equal(state[key], changed[key]) for key in state)


def test_checkpoints_are_the_weights_after_their_epochs(tmp_path: Path, one_thread: None) -> None:
    paths = {epoch: tmp_path / f"at-{epoch}.safetensors" for epoch in (0, 2, 3)}
    run(tmp_path, checkpoints=paths, recipe={"schedule": "constant"})
    initial, _ = load_state(tmp_path / "epoch-000.safetensors")
    state, metadata = load_state(paths[0])
    assert all(torch.equal(state[key], initial[key]) for key in state)
    assert metadata["epoch"] == 0
    shorter = run(tmp_path / "short", recipe={"epochs": 2, "schedule": "constant"})
    state, short = load_state(paths[2])[0], load_state(shorter)[0]
    assert all(torch.equal(state[key], short[key]) for key in state)
    state = load_state(paths[3])[0]
    assert not any(torch.equal(state[key], short[key]) for key in state)


def test_a_last_batch_of_one_image_is_left_out(tmp_path: Path, one_thread: None) -> None:
    images, labels = pictures()
    run(tmp_path / "65", train_data=(images[:65], labels[:65]), recipe={"epochs": 1})
    assert float(rows(tmp_path / "65")[1]["train_accuracy"]) * 64 == pytest.approx(
        round(float(rows(tmp_path / "65")[1]["train_accuracy"]) * 64)
    )


# What a GPU does otherwise, as far as a CPU can do it too


def test_steps_prepared_ahead_are_the_same_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    expected = run(tmp_path / "step by step")
    monkeypatch.setattr(train_module._Run, "_n_at_once", lambda self, least: 3 * least + 1)
    ahead = run(tmp_path / "ahead", images_on_device=True)
    state, other = load_state(expected)[0], load_state(ahead)[0]
    for key, tensor in state.items():
        torch.testing.assert_close(other[key], tensor, rtol=0, atol=0)
    for row, expected_row in zip(
        rows(tmp_path / "ahead"), rows(tmp_path / "step by step"), strict=True
    ):
        # The sum over other batches rounds otherwise
        assert float(row.pop("test_loss")) == pytest.approx(
            float(expected_row.pop("test_loss")), rel=1e-6
        )
        assert row == expected_row
    with interrupted(7):  # while steps 1 to 3 of epoch 2 are prepared
        run(tmp_path / "parts", images_on_device=True)
    assert digest(run(tmp_path / "parts", images_on_device=True)) == digest(ahead)


def test_a_gpu_prepares_and_evaluates_many_images_at_a_time() -> None:
    self = mock.Mock(device=torch.device("cuda"))
    for shape, expected in (((3, 32, 32), 1365), ((3, 224, 224), 32), ((1, 2048, 2048), 32)):
        self.preprocess.image_shape = shape
        assert train_module._Run._n_at_once(self, 32) == expected
    self.device = torch.device("cpu")
    assert train_module._Run._n_at_once(self, 32) == 32


@pytest.mark.parametrize("change", ["bfloat16", "channels_last"])
def test_other_arithmetic_learns_the_same_and_resumes_to_the_bit(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    plain = run(tmp_path / "plain")
    sgd = torch.optim.SGD
    # The fused step of a GPU, which insists on one layout of weights, gradients and momentum
    monkeypatch.setattr(torch.optim, "SGD", lambda *a, **k: sgd(*a, **{**k, "fused": True}))
    changes: dict[str, Any] = {
        "bfloat16": {"recipe": {"precision": "bfloat16"}},
        "channels_last": {"channels_last": True},
    }[change]
    expected = run(tmp_path / "whole", **changes)
    state = load_state(expected)[0]
    assert all(tensor.dtype == torch.float32 for tensor in state.values())
    weights = load_state(plain)[0]["features.0.weight"]
    difference = (state["features.0.weight"] - weights).abs().max() / weights.abs().max()
    # bfloat16 has 8 bits of mantissa; another order of sums changes the last of 24.
    low, high = {"bfloat16": (1e-6, 0.1), "channels_last": (0.0, 1e-3)}[change]
    assert low <= difference < high
    losses = [float(rows(tmp_path / name)[-1]["test_loss"]) for name in ("plain", "whole")]
    assert losses[1] == pytest.approx(losses[0], rel=high)
    for call in (3, 5):
        with interrupted(call):
            run(tmp_path / "parts", **changes)
    assert digest(run(tmp_path / "parts", **changes)) == digest(expected)


needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA GPU here")
GPU: dict[str, Any] = {"device": "cuda"}


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("images_on_device", [True, False])
def test_a_gpu_learns_what_a_cpu_learns(
    tmp_path: Path, images_on_device: bool, one_thread: None
) -> None:
    expected = load_state(run(tmp_path / "cpu"))[0]
    state = load_state(run(tmp_path / "gpu", images_on_device=images_on_device, **GPU))[0]
    for key, tensor in state.items():
        torch.testing.assert_close(tensor, expected[key], rtol=1e-2, atol=1e-4)
    for row, expected_row in zip(rows(tmp_path / "gpu"), rows(tmp_path / "cpu"), strict=True):
        assert float(row["test_loss"]) == pytest.approx(float(expected_row["test_loss"]), rel=1e-3)


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16"])
def test_an_interrupted_training_on_a_gpu_goes_on(
    tmp_path: Path, precision: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    changes = {"recipe": {"precision": precision}, **GPU}
    run(tmp_path / "whole", **changes)
    # All draws of an epoch are made before its first step
    for call in (3, 8):
        with interrupted(call):
            run(tmp_path / "parts", **changes)
    run(tmp_path / "parts", **changes)
    assert caplog.text.count("resuming from") == 2
    # Kernels may add in another order each time
    losses = [float(rows(tmp_path / name)[-1]["test_loss"]) for name in ("parts", "whole")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-3 if precision == "float32" else 0.1)


# Errors


def test_divergence_stops_with_the_learning_rate(tmp_path: Path, one_thread: None) -> None:
    with pytest.raises(
        DivergedError,
        match=r"loss is (nan|inf) in epoch \d .*lower training\.learning_rate \(now 1e\+20",
    ):
        run(tmp_path, recipe={"learning_rate": 1e20, "schedule": "constant"})
    assert not (tmp_path / "epoch-003.safetensors").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": {"precision": "tf32"}}, r"training\.precision: tf32 is .* set it to float32"),
        ({"recipe": {"optimizer": "adam"}}, r"training\.optimizer: 'adam'; allowed: sgd"),
        (
            {"recipe": {"schedule": "step"}},
            r"training\.schedule: 'step'; allowed: constant, cosine",
        ),
        (
            {"train_data": (np.zeros((4, 8, 8, 1), np.uint8), np.array([0, 1, 2, 10]))},
            r"train labels run from 0 to 10, but the network has 10 outputs, for labels 0 to 9",
        ),
        (
            {"test_data": (np.zeros((1, 8, 8, 1), np.uint8), np.array([0]))},
            r"the test split has 1 images; training needs at least 2",
        ),
        (
            {"checkpoints": {4: Path("x")}},
            r"checkpoints: 4, but training\.epochs is 3; allowed: 0 to 3",
        ),
    ],
)
def test_what_cannot_be_trained_says_why(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, **changes)


# Interruptions


@contextmanager
def interrupted(
    call: int,
    name: str = "draw_augmentation",
    *,
    of: Any = train_module,
    match: str = "SIGTERM: stopped",
) -> Iterator[None]:
    """Send this process SIGTERM in its n-th call of a function of the training, which must raise."""
    function: Callable[..., Any] = getattr(of, name)
    calls = 0

    def counting(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), signal.SIGTERM)
        return function(*args, **options)

    with (
        mock.patch.object(of, name, counting),
        pytest.raises(InterruptedTrainingError, match=match),
    ):
        yield


def test_a_signal_saves_and_the_next_run_goes_on_with_the_same_bits(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one_thread: None
) -> None:
    # With batch normalization (running means) and dropout (random numbers in the forward pass)
    images = np.random.default_rng(0).integers(0, 256, (30, 32, 32, 3), dtype=np.uint8)
    labels = np.arange(30) % 3
    changes: dict[str, Any] = {
        "network": {"name": "mobilenet_v3_small", "n_classes": 3, "image_shape": (3, 32, 32)},
        "train_data": (images, labels),
        "test_data": (images[:10], labels[:10]),
        "recipe": {"epochs": 2, "batch_size": 8},
    }
    expected = run(tmp_path / "whole", **changes)
    # Measured without dropout and with the running means
    with torch.no_grad():
        pixels = Preprocess((3, 32, 32), [0.3], [0.4])(to_batch(images[:10], torch.device("cpu")))
        outputs = load_model(expected)[0](pixels)
    test_loss = F.cross_entropy(outputs, torch.from_numpy(labels[:10])).item()
    assert float(rows(tmp_path / "whole")[-1]["test_loss"]) == pytest.approx(test_loss, rel=1e-5)
    caplog.set_level(logging.INFO)
    for call in (2, 4, 1):
        message = r"SIGTERM: stopped in epoch \d after step \d of 4; .*run again to go on"
        with interrupted(call, match=message):
            run(tmp_path / "parts", **changes)
        assert not (tmp_path / "parts" / expected.name).exists()
    final = run(tmp_path / "parts", **changes)
    assert digest(final) == digest(expected)
    assert (tmp_path / "parts/metrics.csv").read_bytes() == (
        tmp_path / "whole/metrics.csv"
    ).read_bytes()
    assert not (tmp_path / "parts/resume").exists()
    resumed = [r.getMessage() for r in caplog.records if "resuming" in r.getMessage()]
    assert [message.split(": ")[1] for message in resumed] == [
        "epoch 1, step 2 of 4",
        "epoch 2, step 2 of 4",
        "epoch 2, step 3 of 4",
    ]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_an_interrupted_evaluation_is_done_again(tmp_path: Path, one_thread: None) -> None:
    expected = run(tmp_path / "whole")
    # Batches are made by the evaluation of epoch 0 (2 of them), then 5 by training, then 2 again.
    with interrupted(8, "batch", of=ImageSet, match="in epoch 1 after step 5 of 5"):
        run(tmp_path / "parts")
    assert [row["epoch"] for row in rows(tmp_path / "parts")] == ["0"]
    assert digest(run(tmp_path / "parts")) == digest(expected)
    assert rows(tmp_path / "parts") == rows(tmp_path / "whole")


@pytest.mark.parametrize(
    "change",
    [
        {"recipe": {"learning_rate": 0.01}},
        {"seed": 3},
        {"checkpoints": {1: Path("one"), 3: Path("x")}},
    ],
)
def test_a_state_of_another_training_is_refused_aloud(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    change: dict[str, Any],
    one_thread: None,
) -> None:
    monkeypatch.chdir(tmp_path)
    with interrupted(7):
        run(tmp_path)
    run(tmp_path, **change)
    assert "is the state of a training with another recipe" in caplog.text
    assert "starting over" in caplog.text
    assert len(rows(tmp_path)) == 4


def test_a_damaged_state_is_refused_aloud(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, one_thread: None
) -> None:
    expected = run(tmp_path / "whole")
    with interrupted(7):
        run(tmp_path)
    state = tmp_path / "resume/state.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    assert digest(run(tmp_path)) == digest(expected)
    assert "is not a whole safetensors file" in caplog.text
    assert "starting over" in caplog.text


def test_a_checkpoint_reached_before_the_interruption_is_delivered(
    tmp_path: Path, one_thread: None
) -> None:
    paths = {epoch: tmp_path / f"out/at-{epoch}.safetensors" for epoch in (1, 3)}
    with interrupted(12):
        run(tmp_path, checkpoints=paths)
    assert not (tmp_path / "out").exists(), "a workflow engine would delete them"
    run(tmp_path, checkpoints=paths)
    assert load_state(paths[1])[1]["epoch"] == 1
    whole = {epoch: tmp_path / f"whole/at-{epoch}.safetensors" for epoch in (1, 3)}
    run(tmp_path / "whole", checkpoints=whole)
    assert all(digest(paths[epoch]) == digest(whole[epoch]) for epoch in (1, 3))


def test_other_files_in_the_resume_folder_are_left_alone(tmp_path: Path, one_thread: None) -> None:
    (tmp_path / "resume").mkdir()
    (tmp_path / "resume/notes.txt").write_text("mine")
    run(tmp_path, recipe={"epochs": 1})
    assert [path.name for path in (tmp_path / "resume").iterdir()] == ["notes.txt"]


def test_training_works_in_a_thread_which_gets_no_signals(tmp_path: Path, one_thread: None) -> None:
    thread = threading.Thread(target=run, args=(tmp_path,), kwargs={"recipe": {"epochs": 1}})
    thread.start()
    thread.join()
    assert len(rows(tmp_path)) == 2


PROGRAM = """
import json, logging, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
logging.basicConfig(level=logging.INFO, format="%(message)s")
import torch
torch.set_num_threads(1)
from test_train import run
run(Path(sys.argv[2]), save_every_s=0.02, recipe=json.loads(sys.argv[3]))
"""


def test_killed_at_any_moment_it_ends_with_the_same_weights(
    tmp_path: Path, one_thread: None
) -> None:
    recipe = {"epochs": 40, "batch_size": 8}
    expected = run(tmp_path / "whole", recipe=recipe)
    folder = tmp_path / "killed"
    command = [
        sys.executable,
        "-c",
        PROGRAM,
        str(Path(__file__).parent),
        str(folder),
        json.dumps(recipe),
    ]
    state = folder / "resume/state.safetensors"
    moments = random.Random(0)
    reached = []
    for number, kill in enumerate((signal.SIGKILL, signal.SIGKILL, signal.SIGTERM)):
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        if number == 0:
            while not state.exists():
                assert process.poll() is None
                time.sleep(0.01)
        else:
            while "resuming" not in process.stderr.readline():
                assert process.poll() is None
        time.sleep(moments.uniform(0.0, 0.3))
        process.send_signal(kill)
        _, errors = process.communicate()
        if kill == signal.SIGTERM:
            assert process.returncode == 1
            assert "InterruptedTrainingError: SIGTERM: stopped in epoch" in errors
        else:
            assert process.returncode == -signal.SIGKILL
        saved = load_state(state)[1]["state"]
        reached.append((saved["epoch"], saved["step"]))
    assert reached == sorted(set(reached)), "each part got further than the one before"
    assert reached[-1] < (40, 9)
    final = run(folder, recipe=recipe)
    assert digest(final) == digest(expected)
    assert (folder / "metrics.csv").read_bytes() == (tmp_path / "whole/metrics.csv").read_bytes()


def test_progress_is_plain_lines_in_a_log(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    capsys: pytest.CaptureFixture[str],
    one_thread: None,
) -> None:
    caplog.set_level(logging.INFO, logger="manifold_capacity")
    run(tmp_path, recipe={"epochs": 1})
    lines = [record.getMessage() for record in caplog.records]
    assert lines[0].startswith("epoch 0/1: test loss ")
    assert lines[1].startswith("epoch 1/1: train loss ")
    assert re.search(r"; [\d,]+ images/s$", lines[1])
    assert capsys.readouterr().err == ""


def test_a_second_training_does_not_write_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    monkeypatch.setattr(resume, "_PATIENCE_S", 0.1)
    holder = tmp_path / "resume.lock"
    with open(holder, "ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(ValueError, match="another process trains into"):
            run(tmp_path, recipe={"epochs": 1})
    run(tmp_path, recipe={"epochs": 1})
    assert not holder.exists()
