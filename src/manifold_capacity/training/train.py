"""Training: the recipe as data, a table of metrics, checkpoints, and a run that survives its end.

Nothing random has a state: the order of the images depends on (seed, epoch), augmentation and dropout
on (seed, epoch, step). A run that was killed therefore needs only the weights, the momentum and its
place in the epoch to go on as if nothing had happened; on the CPU, with the same number of threads,
its final weights are the same to the bit.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import logging
import math
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from manifold_capacity.errors import UserError
from manifold_capacity.logs import Progress
from manifold_capacity.models.augment import Draws, apply_draws, draw_augmentation, seeded_generator
from manifold_capacity.models.checkpoints import (
    load_metadata,
    load_model,
    load_state,
    load_weights,
    save_state,
)
from manifold_capacity.models.device import (
    arithmetic,
    autocast,
    check_precision,
    device_name,
    prefers_channels_last,
    resolve_device,
)
from manifold_capacity.models.preprocess import Preprocess
from manifold_capacity.provenance import source_digest, stamp
from manifold_capacity.training.image_set import ImageSet, fits_on
from manifold_capacity.training.resume import STATE_FILE, TrainingState, signals, training_lock

logger = logging.getLogger(__name__)


COLUMNS = (
    "epoch",
    "train_loss",
    "train_accuracy",
    "test_loss",
    "test_accuracy",
    "learning_rate",
)


# What each stream of random numbers is for; the last word of its key.
_SHUFFLE, _AUGMENT, _DROPOUT = 1, 2, 3


# The end of an epoch is saved if that takes at most this share of the time since the last save.
_SAVE_SHARE = 0.05


# Steps between two looks at the loss: each look waits for the device.
_LOOK_EVERY = 50


# Bytes of network input that are made at a time on a GPU, for the steps to come and for evaluation:
# 1,365 images of 32 x 32 pixels in color. A batch of 32 is too little for a GPU to be worth the calls.
_AHEAD_BYTES = 16 * 2**20


class DivergedError(UserError):
    """The loss is no longer a number."""


class InterruptedTrainingError(UserError, RuntimeError):
    """A signal asked the run to stop; what it had reached is saved."""


def train(
    initial: Path,
    train_data: tuple[np.ndarray, np.ndarray],
    test_data: tuple[np.ndarray, np.ndarray],
    *,
    recipe: Mapping[str, Any],
    seed: int,
    preprocess: Preprocess,
    checkpoints: Mapping[int, Path],
    metrics: Path,
    resume: Path,
    device: str = "auto",
    save_every_s: float = 120.0,
    images_on_device: bool | None = None,
    channels_last: bool | None = None,
) -> None:
    """Train a network from a checkpoint, or go on with a training that was interrupted.

    Parameters
    ----------
    initial : Path
        Checkpoint to start from; its metadata say which network it is.
    train_data, test_data : (images, labels)
        images uint8 (n_images, height, width, n_channels), may be memory-mapped; labels int
        (n_images,).
    recipe : mapping
        The resolved ``training`` section: epochs, optimizer (``sgd``), learning_rate, momentum,
        weight_decay, schedule (``constant``, or ``cosine``: the learning rate falls to 0 over the
        whole training, step by step), batch_size, precision (``float32``, ``tf32`` or
        ``bfloat16``), augment (see ``manifold_capacity.models.augment.augment_batch``).
    seed : int
        Of the order of the images, augmentation and dropout.
    preprocess : Preprocess
    checkpoints : mapping of int to Path
        Epoch (0: before training) to the file its weights go to.
    metrics : Path
        CSV, a row per epoch: epoch, train_loss, train_accuracy (means over the epoch as the images
        were seen: augmented, with dropout, while the weights moved; empty at epoch 0), test_loss,
        test_accuracy (after the epoch), learning_rate (of its last step). Rewritten after each epoch.
    resume : Path
        Folder for what an interrupted run needs to go on; removed after success. Neither
        ``metrics`` nor ``checkpoints`` should lie in it.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    save_every_s : float
        Seconds between two saves in mid-epoch. The end of an epoch is saved sooner, if cheap.
    images_on_device : bool, optional
        Whether all images are kept in the device's memory. By default on a GPU that has room.
    channels_last : bool, optional
        Whether convolutions have the channels innermost. By default on a GPU's tensor cores.

    Raises
    ------
    DivergedError
        If the loss is NaN or infinite.
    InterruptedTrainingError
        After SIGTERM or SIGINT, once the state is saved.
    ValueError
        For labels that the network has no output for, a precision that the device doesn't have,
        and whatever else can't be trained; if another process trains with the same `resume`.

    Notes
    -----
    A last batch of a single image is left out: batch normalization can't normalize one value.
    """
    run = _Run(
        initial=initial,
        train_data=train_data,
        test_data=test_data,
        recipe=recipe,
        seed=seed,
        preprocess=preprocess,
        checkpoints=checkpoints,
        metrics=metrics,
        resume=resume,
        device=resolve_device(device),
        save_every_s=save_every_s,
        images_on_device=images_on_device,
        channels_last=channels_last,
    )
    cuda = [run.device] if run.device.type == "cuda" else []
    with (
        training_lock(resume),
        signals() as received,
        torch.random.fork_rng(devices=cuda),
        arithmetic(recipe["precision"]),
    ):
        run.to_the_end(received)


class _Run:
    def __init__(
        self,
        *,
        initial: Path,
        train_data: tuple[np.ndarray, np.ndarray],
        test_data: tuple[np.ndarray, np.ndarray],
        recipe: Mapping[str, Any],
        seed: int,
        preprocess: Preprocess,
        checkpoints: Mapping[int, Path],
        metrics: Path,
        resume: Path,
        device: torch.device,
        save_every_s: float,
        images_on_device: bool | None,
        channels_last: bool | None,
    ) -> None:
        self.recipe, self.seed, self.preprocess = recipe, seed, preprocess
        self.checkpoints, self.metrics, self.resume = checkpoints, metrics, resume
        self.device, self.save_every_s = device, save_every_s
        self.images, self.labels = train_data
        self.test_images, self.test_labels = test_data
        model, self.metadata = load_model(initial)
        self._check()
        if images_on_device is None:
            images_on_device = fits_on(device, self.images, self.test_images)
        if channels_last is None:
            channels_last = prefers_channels_last(recipe["precision"], device)
        self.layout = torch.channels_last if channels_last else torch.contiguous_format
        self.train_set = ImageSet(*train_data, device, resident=images_on_device)
        self.test_set = ImageSet(*test_data, device, resident=images_on_device)
        self.model = model.to(device)
        if channels_last:
            self.model = self.model.to(memory_format=torch.channels_last)
        self.optimizer = torch.optim.SGD(
            self.model.parameters(),
            lr=recipe["learning_rate"],
            momentum=recipe["momentum"],
            weight_decay=recipe["weight_decay"],
            # All weights in one kernel. On the CPU it would add in another order than it always has.
            fused=True if device.type == "cuda" else None,
        )
        self.batch_size: int = recipe["batch_size"]
        n_images = len(self.labels)
        self.n_steps = math.ceil(n_images / self.batch_size)
        if n_images % self.batch_size == 1:
            self.n_steps -= 1
        self.digest = self._digest(initial)
        self.state = TrainingState()
        self.last_save = time.monotonic()
        self.save_took = 0.0

    def _check(self) -> None:
        recipe, n_classes = self.recipe, self.metadata["network"]["n_classes"]
        if recipe["optimizer"] != "sgd":
            raise UserError(f"training.optimizer: {recipe['optimizer']!r}; allowed: sgd")
        if recipe["schedule"] not in ("constant", "cosine"):
            raise UserError(f"training.schedule: {recipe['schedule']!r}; allowed: constant, cosine")
        for split, labels in (("train", self.labels), ("test", self.test_labels)):
            if len(labels) < 2:
                raise UserError(
                    f"the {split} split has {len(labels)} images; training needs at least 2"
                )
            if labels.min() < 0 or labels.max() >= n_classes:
                raise UserError(
                    f"the {split} labels run from {labels.min()} to {labels.max()}, but the network "
                    f"has {n_classes} outputs, for labels 0 to {n_classes - 1}"
                )
        late = [epoch for epoch in self.checkpoints if not 0 <= epoch <= recipe["epochs"]]
        check_precision(recipe["precision"], self.device, "training.precision")
        if late:
            raise UserError(
                f"checkpoints: {late[0]}, but training.epochs is {recipe['epochs']}; "
                f"allowed: 0 to {recipe['epochs']}"
            )

    def _digest(self, initial: Path) -> str:
        """Everything that the final weights depend on, and what an earlier state must agree with."""
        digest = hashlib.sha256()
        about = {
            "recipe": dict(self.recipe),
            "seed": self.seed,
            "preprocess": vars(self.preprocess),
            "checkpoints": sorted(self.checkpoints),
            "torch": torch.__version__,
            "device": self.device.type,
            "code": source_digest("training.train"),
        }
        digest.update(json.dumps(about, sort_keys=True).encode())
        with open(initial, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
        for array in (self.images, self.labels, self.test_images, self.test_labels):
            digest.update(repr((array.shape, array.dtype.str)).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()[:16]

    # The run

    def to_the_end(self, received: list[int]) -> None:
        self._restore()
        state, epochs = self.state, self.recipe["epochs"]
        per_epoch = min(self.n_steps * self.batch_size, len(self.labels))
        seen = max(0, state.epoch - 1) * per_epoch + state.n_seen
        progress = Progress("training", epochs * per_epoch, "images", initial=seen)
        while state.epoch <= epochs:
            if state.epoch > 0:
                self._train_epoch(progress, received)
            row = self._evaluate(received)
            state.rows.append(row)
            self._write_metrics()
            logger.info("%s", _line(row, epochs, progress))
            if state.epoch in self.checkpoints:
                self._save_checkpoint(self._kept(state.epoch))
            state.epoch, state.step = state.epoch + 1, 0
            state.loss_sum, state.n_correct, state.n_seen = 0.0, 0, 0
            if state.epoch <= epochs and self.save_took <= _SAVE_SHARE * self._unsaved_s():
                self._save()
            self._stop_if_asked(received)
        self._deliver()

    def _train_epoch(self, progress: Progress, received: list[int]) -> None:
        state = self.state
        self.model.train()
        loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=self.device)
        n_correct = torch.tensor(state.n_correct, device=self.device)

        def settle() -> None:
            state.loss_sum, state.n_correct = loss_sum.item(), int(n_correct.item())
            if not math.isfinite(state.loss_sum):
                raise DivergedError(
                    f"training diverged: the loss is {state.loss_sum} in epoch {state.epoch} by step "
                    f"{state.step} of {self.n_steps}; lower training.learning_rate "
                    f"(now {self.recipe['learning_rate']}), or check the images' normalization"
                )

        for images, labels in self._batches():
            loss, correct = self._step(images, labels)
            loss_sum += loss.double() * len(labels)
            n_correct += correct
            state.step += 1
            state.n_seen += len(labels)
            progress.update(len(labels), f"epoch {state.epoch}/{self.recipe['epochs']}")
            due = self._unsaved_s() >= self.save_every_s
            if received or due or state.step % _LOOK_EVERY == 0 or state.step == self.n_steps:
                settle()
            if due:
                self._save()
            self._stop_if_asked(received)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """What is left of the epoch, batch by batch: (what the network gets, labels)."""
        epoch, size = self.state.epoch, self.batch_size
        rng = np.random.default_rng([self.seed, epoch, 0, _SHUFFLE])
        order = rng.permutation(len(self.labels))
        n_ahead = max(1, self._n_at_once(size) // size)
        for first in range(self.state.step, self.n_steps, n_ahead):
            steps = range(first, min(first + n_ahead, self.n_steps))
            chosen = order[first * size : steps.stop * size]
            draws = [
                draw_augmentation(
                    min(size, len(order) - step * size),
                    seeded_generator(self.seed, epoch, step, _AUGMENT),
                    **self.recipe["augment"],
                )
                for step in steps
            ]
            images, labels = self.train_set.batch(chosen)
            pixels = self._network_input(apply_draws(images, Draws.join(draws)))
            yield from zip(pixels.split(size), labels.split(size), strict=True)

    def _n_at_once(self, least: int) -> int:
        """Images to prepare or to evaluate together: `least` on the CPU, many on a GPU."""
        if self.device.type == "cpu":
            return least
        channels, height, width = self.preprocess.image_shape
        return max(least, _AHEAD_BYTES // (4 * channels * height * width))

    def _network_input(self, images: Tensor) -> Tensor:
        return self.preprocess(images).contiguous(memory_format=self.layout)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step of gradient descent on a batch: (mean loss, number of correct answers)."""
        state = self.state
        dropout = seeded_generator(self.seed, state.epoch, state.step, _DROPOUT).initial_seed()
        torch.default_generator.manual_seed(dropout)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(dropout)
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.zero_grad()
        outputs = self._outputs(images)
        loss = F.cross_entropy(outputs, labels)
        loss.backward()
        self.optimizer.step()
        return loss.detach(), (outputs.argmax(1) == labels).sum()

    def _outputs(self, images: Tensor) -> Tensor:
        """The network's answers in float32, whatever it computes in."""
        with autocast(self.recipe["precision"], self.device):
            outputs: Tensor = self.model(images)
        return outputs.float()

    def _learning_rate(self) -> float:
        """The learning rate of the step that comes next."""
        rate: float = self.recipe["learning_rate"]
        if self.recipe["schedule"] == "constant":
            return rate
        done = (self.state.epoch - 1) * self.n_steps + self.state.step
        return rate * 0.5 * (1 + math.cos(math.pi * done / (self.recipe["epochs"] * self.n_steps)))

    def _evaluate(self, received: list[int]) -> dict[str, float | int | None]:
        """The row of the metrics for the epoch that is done."""
        state = self.state
        self.model.eval()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        n_correct = torch.zeros((), dtype=torch.long, device=self.device)
        # Without gradients, twice the batch that training holds takes less memory than training.
        size = self._n_at_once(2 * self.batch_size)
        n_images = len(self.test_labels)
        with torch.no_grad():
            for start in range(0, n_images, size):
                chosen = np.arange(start, min(start + size, n_images))
                images, labels = self.test_set.batch(chosen)
                outputs = self._outputs(self._network_input(images))
                loss_sum += F.cross_entropy(outputs, labels, reduction="sum").double()
                n_correct += (outputs.argmax(1) == labels).sum()
                self._stop_if_asked(received)
        trained = state.epoch > 0
        if trained:
            state.step -= 1
            learning_rate = self._learning_rate()
            state.step += 1
        return {
            "epoch": state.epoch,
            "train_loss": state.loss_sum / state.n_seen if trained else None,
            "train_accuracy": state.n_correct / state.n_seen if trained else None,
            "test_loss": loss_sum.item() / len(self.test_labels),
            "test_accuracy": n_correct.item() / len(self.test_labels),
            "learning_rate": learning_rate if trained else None,
        }

    # What it leaves behind

    def _kept(self, epoch: int) -> Path:
        """A checkpoint's place until the run is done."""
        return self.resume / f"epoch-{epoch:03d}.safetensors"

    def _save_checkpoint(self, path: Path) -> None:
        metadata = {
            **self.metadata,
            "weights": "trained" if self.state.epoch else self.metadata.get("weights", "random"),
            "epoch": self.state.epoch,
            "seed": self.seed,
            "recipe_digest": self.digest,
            "torch": torch.__version__,
            "provenance": {
                "weights": stamp(
                    "weights",
                    code=source_digest("training.train"),
                    device=device_name(self.device),
                    torch_threads=torch.get_num_threads(),
                    recipe=dict(self.recipe),
                )
            },
        }
        save_state(self.model.state_dict(), path, metadata)

    def _write_metrics(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.state.rows)
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.metrics.with_name(self.metrics.name + ".tmp")
        temporary.write_text(text.getvalue())
        os.replace(temporary, self.metrics)

    def _deliver(self) -> None:
        """Put everything in its place, then forget how to resume: in this order, for a kill between."""
        self._write_metrics()
        for epoch, path in self.checkpoints.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(path.name + ".tmp")
            shutil.copyfile(self._kept(epoch), temporary)
            os.replace(temporary, path)
        self._forget()

    # What it needs to go on

    def _unsaved_s(self) -> float:
        return time.monotonic() - self.last_save

    def _save(self) -> None:
        started = time.monotonic()
        tensors = {f"model.{key}": value for key, value in self.model.state_dict().items()}
        for name, parameter in self.model.named_parameters():
            momentum = self.optimizer.state.get(parameter, {}).get("momentum_buffer")
            if momentum is not None:
                tensors[f"momentum.{name}"] = momentum
        save_state(
            tensors,
            self.resume / STATE_FILE,
            {"state": asdict(self.state), "recipe_digest": self.digest},
        )
        self.last_save = time.monotonic()
        self.save_took = self.last_save - started

    def _restore(self) -> None:
        """Go on from the saved state if it is one of this very run; start over, aloud, if not."""
        path = self.resume / STATE_FILE
        if not path.exists():
            self._forget()
            return
        try:
            tensors, metadata = load_state(path)
            if metadata["recipe_digest"] != self.digest:
                raise UserError(
                    f"{path} is the state of a training with another recipe, seed, data, code or device"
                )
            kept = [epoch for epoch in self.checkpoints if epoch < metadata["state"]["epoch"]]
            for epoch in kept:
                if load_metadata(self._kept(epoch))["recipe_digest"] != self.digest:
                    raise UserError(f"{self._kept(epoch)} belongs to another training")
        except ValueError as error:
            logger.warning("%s; starting over", error)
            self._forget()
            return
        momentum = {
            key.removeprefix("momentum."): tensors.pop(key)
            for key in list(tensors)
            if key.startswith("momentum.")
        }
        load_weights(self.model, {key.removeprefix("model."): t for key, t in tensors.items()})
        for name, parameter in self.model.named_parameters():
            if name in momentum:
                # In the layout of the weights, on which a fused step insists
                buffer = torch.empty_like(parameter, requires_grad=False).copy_(momentum[name])
                self.optimizer.state[parameter]["momentum_buffer"] = buffer
        self.state = TrainingState(**metadata["state"])
        logger.info(
            "resuming from %s: epoch %d, step %d of %d",
            path,
            self.state.epoch,
            self.state.step,
            self.n_steps,
        )

    def _forget(self) -> None:
        """Remove the folder's files of ours; the state first, without which the others mean nothing."""
        if self.resume.is_dir():
            for pattern in (STATE_FILE, "*.safetensors", "*.safetensors.tmp"):
                for path in self.resume.glob(pattern):
                    path.unlink()
            if not any(self.resume.iterdir()):
                self.resume.rmdir()

    def _stop_if_asked(self, received: list[int]) -> None:
        if received:
            self._save()
            name = signal.Signals(received[0]).name
            raise InterruptedTrainingError(
                f"{name}: stopped in epoch {self.state.epoch} after step {self.state.step} of "
                f"{self.n_steps}; the state is saved in {self.resume}, run again to go on"
            )


def _line(row: Mapping[str, Any], epochs: int, progress: Progress) -> str:
    text = f"epoch {row['epoch']}/{epochs}: "
    if row["train_loss"] is not None:
        text += f"train loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}; "
    text += f"test loss {row['test_loss']:.4f}, accuracy {row['test_accuracy']:.4f}; "
    return text + progress.pace()
