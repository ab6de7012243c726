"""Training a network: epochs, steps, evaluation, metrics and checkpoints.

Nothing random has a state: the order of the images depends on (seed, epoch), augmentation and dropout
on (seed, epoch, step). An interrupted training therefore needs only its weights, its momentum and its
place in the epoch to continue; on as many CPU threads, its final weights are identical to the bit.
"""

from __future__ import annotations

import csv
import logging
import math
import shutil
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from manifold_capacity.errors import UserError
from manifold_capacity.files import atomic_path
from manifold_capacity.logs import Progress
from manifold_capacity.models import device as devices
from manifold_capacity.models.augment import Draws, apply_draws, draw_augmentation, seeded_generator
from manifold_capacity.models.checkpoints import load_model, save_state
from manifold_capacity.models.own_networks import check_logits, check_trainable
from manifold_capacity.models.preprocess import AsTheyAre, Preprocess
from manifold_capacity.provenance import source_digest, stamp
from manifold_capacity.training import recipe as recipes
from manifold_capacity.training.descent import Descent
from manifold_capacity.training.image_set import ImageSet, fits_on
from manifold_capacity.training.resume import ResumeFolder, TrainingState, signals, training_lock

logger = logging.getLogger(__name__)

COLUMNS = ("epoch", "train_loss", "train_accuracy", "test_loss", "test_accuracy", "learning_rate")

# What each stream of random numbers is for: the last number of its seed.
_SHUFFLE, _AUGMENT, _DROPOUT = 1, 2, 3

# The end of an epoch is saved if that takes at most this share of the time since the last save.
_SAVE_SHARE = 0.05

# Steps between two looks at the loss: each look waits for the device.
_LOOK_EVERY = 50

# Bytes of network input that are prepared at a time on a GPU, for the next steps and for evaluation:
# 1,365 color images of 32 x 32 pixels. A batch of 32 is too small for a GPU to work efficiently.
_AHEAD_BYTES = 16 * 2**20


class DivergedError(UserError):
    """The loss is NaN or infinite."""


class InterruptedTrainingError(UserError, RuntimeError):
    """A signal stopped the training; its state is saved."""


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
    key: str | None = None,
    save_every_s: float = 120.0,
    images_on_device: bool | None = None,
    channels_last: bool | None = None,
    factory: str | None = None,
) -> None:
    """Train a network from a checkpoint, or continue a training that was interrupted.

    Parameters
    ----------
    initial : Path
        Checkpoint to start from; its metadata say which network it is.
    train_data, test_data : (images, labels)
        images uint8 (n_images, height, width, n_channels), may be memory-mapped, or other inputs as the
        network takes them; labels int (n_images,).
    recipe : mapping
        The resolved ``training`` section: epochs, optimizer (``sgd``), learning_rate, momentum,
        weight_decay, schedule (``constant``, or ``cosine``: the learning rate falls to 0 over the
        whole training, step by step), batch_size (a last batch of a single image is left out),
        precision (``float32``, ``tf32`` or ``bfloat16``), augment (see
        ``manifold_capacity.models.augment.draw_augmentation``).
    seed : int
        Of the order of the images, augmentation and dropout.
    preprocess : Preprocess
    checkpoints : mapping of int to Path
        Epoch (0: before training) -> file for its weights.
    metrics : Path
        CSV, a row per epoch: epoch, train_loss, train_accuracy (means over the epoch's augmented
        images, with dropout, while the weights changed; empty at epoch 0), test_loss, test_accuracy
        (after the epoch), learning_rate (of its last step). Rewritten after each epoch.
    resume : Path
        Folder for what an interrupted training needs to continue; removed after success. Neither
        ``metrics`` nor ``checkpoints`` should lie in it.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    key : str, optional
        Of the weights, for the metadata of the checkpoints.
    save_every_s : float
        Seconds between two saves within an epoch. The end of an epoch is saved sooner, if saving is
        fast.
    images_on_device : bool, optional
        Whether all images are kept in the device's memory. By default on a GPU that has room.
    channels_last : bool, optional
        Whether the channels are the innermost axis. By default of images on a GPU's tensor cores.
    factory : str, optional
        The function that makes the network, if it is a user's own.

    Raises
    ------
    DivergedError
        If the loss is NaN or infinite.
    InterruptedTrainingError
        After SIGTERM or SIGINT, once the state is saved.
    UserError
        For labels that the network has no output for, a precision that the device does not support,
        and anything else that cannot be trained; if another process is training with the same
        `resume`.
    """
    target = devices.resolve_device(device)
    model, metadata = load_model(initial, factory)
    labels = {"train": train_data[1], "test": test_data[1]}
    check_trainable(model)
    recipes.check_recipe(recipe, labels, metadata["network"]["n_classes"], checkpoints, target)
    if images_on_device is None:
        images_on_device = fits_on(target, train_data[0], test_data[0])
    if channels_last is None:
        is_tensor_core = devices.prefers_channels_last(recipe["precision"], target)
        channels_last = is_tensor_core and not isinstance(preprocess, AsTheyAre)
    digest = recipes.training_digest(
        initial,
        (*train_data, *test_data),
        recipe=dict(recipe),
        seed=seed,
        key=key,
        preprocess=vars(preprocess),
        checkpoints=sorted(checkpoints),
        torch=torch.__version__,
        device=target.type,
        code=source_digest("training.train"),
    )
    layout = torch.channels_last if channels_last else torch.contiguous_format
    run = _Run(
        model=model.to(target, memory_format=layout),  # type: ignore[call-overload]
        metadata=metadata,
        train_set=ImageSet(*train_data, target, resident=images_on_device),
        test_set=ImageSet(*test_data, target, resident=images_on_device),
        recipe=recipe,
        seed=seed,
        key=key,
        preprocess=preprocess,
        checkpoints=checkpoints,
        metrics=metrics,
        folder=ResumeFolder(resume, digest),
        device=target,
        save_every_s=save_every_s,
        layout=layout,
    )
    with (
        training_lock(resume),
        signals() as received,
        torch.random.fork_rng(devices=[target] if target.type == "cuda" else []),
        devices.arithmetic(recipe["precision"]),
    ):
        run.run(received)


@dataclass
class _Run:
    model: nn.Module
    metadata: Mapping[str, Any]
    train_set: ImageSet
    test_set: ImageSet
    recipe: Mapping[str, Any]
    seed: int
    key: str | None
    preprocess: Preprocess
    checkpoints: Mapping[int, Path]
    metrics: Path
    folder: ResumeFolder
    device: torch.device
    save_every_s: float
    layout: torch.memory_format

    def __post_init__(self) -> None:
        # On the CPU, one kernel for all weights would change the order of sums.
        self.descent = Descent(self.model, self.recipe, fused=self.device.type == "cuda")
        self.epochs: int = self.recipe["epochs"]
        self.batch_size: int = self.recipe["batch_size"]
        self.n_steps = recipes.steps_per_epoch(len(self.train_set), self.batch_size)

    def run(self, received: list[int]) -> None:
        saved = self.folder.restore(self.model, self.descent, self.checkpoints)
        state = self.state = saved or TrainingState()
        if saved:
            logger.info("resuming from %s: %s", self.folder.path, self._place())
        per_epoch = min(self.n_steps * self.batch_size, len(self.train_set))
        seen = max(0, state.epoch - 1) * per_epoch + state.n_seen
        progress = Progress("training", self.epochs * per_epoch, "images", initial=seen)
        while state.epoch <= self.epochs:
            if state.epoch > 0:
                self._train_epoch(progress, received)
            row = self._evaluate(received)
            state.rows.append(row)
            self._write_metrics()
            logger.info("%s", _line(row, self.epochs, progress))
            if state.epoch in self.checkpoints:
                self._save_checkpoint()
            state = self.state = TrainingState(state.epoch + 1, rows=state.rows)
            unsaved_s = self.folder.unsaved_s()
            if state.epoch <= self.epochs and self.folder.save_took_s <= _SAVE_SHARE * unsaved_s:
                self._save()
            self._stop_if_asked(received)
        # In this order, since the process may be killed in between
        self._write_metrics()
        for epoch, path in self.checkpoints.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with atomic_path(path) as part:
                shutil.copyfile(self.folder.checkpoint(epoch), part)
        self.folder.clear()

    def _train_epoch(self, progress: Progress, received: list[int]) -> None:
        state = self.state
        self.model.train()
        loss_sum = torch.tensor(state.loss_sum, dtype=torch.float64, device=self.device)
        n_correct = torch.tensor(state.n_correct, device=self.device)
        for images, labels in self._batches():
            loss, correct = self._step(images, labels)
            loss_sum += loss.double() * len(labels)
            n_correct += correct
            state.step += 1
            state.n_seen += len(labels)
            progress.update(len(labels), f"epoch {state.epoch}/{self.epochs}")
            due = self.folder.unsaved_s() >= self.save_every_s
            if received or due or state.step % _LOOK_EVERY == 0 or state.step == self.n_steps:
                state.loss_sum, state.n_correct = loss_sum.item(), int(n_correct.item())
                if not math.isfinite(state.loss_sum):
                    raise DivergedError(
                        f"training diverged: the loss is {state.loss_sum} in {self._place()}; lower "
                        f"training.learning_rate (now {self.recipe['learning_rate']}), or check the "
                        "inputs' normalization"
                    )
            if due:
                self._save()
            self._stop_if_asked(received)

    def _batches(self) -> Iterator[tuple[Tensor, Tensor]]:
        """The rest of the epoch, batch by batch: (network input, labels)."""
        epoch, size = self.state.epoch, self.batch_size
        rng = np.random.default_rng([self.seed, epoch, 0, _SHUFFLE])
        order = rng.permutation(len(self.train_set))
        n_ahead = max(1, self._n_at_once(size) // size)
        for first in range(self.state.step, self.n_steps, n_ahead):
            steps = range(first, min(first + n_ahead, self.n_steps))
            draws = [
                draw_augmentation(
                    min(size, len(order) - step * size),
                    seeded_generator(self.seed, epoch, step, _AUGMENT),
                    **self.recipe["augment"],
                )
                for step in steps
            ]
            images, labels = self.train_set.batch(order[first * size : steps.stop * size])
            if not isinstance(self.preprocess, AsTheyAre):
                images = apply_draws(images, Draws.join(draws))
            pixels = self._network_input(images)
            yield from zip(pixels.split(size), labels.split(size), strict=True)

    def _n_at_once(self, least: int) -> int:
        """Images to prepare or to evaluate together: `least` on the CPU, many on a GPU."""
        if self.device.type == "cpu":
            return least
        return max(least, _AHEAD_BYTES // (4 * math.prod(self.preprocess.input_shape)))

    def _network_input(self, images: Tensor) -> Tensor:
        return self.preprocess(images).contiguous(memory_format=self.layout)

    def _step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """One step of gradient descent on a batch: (mean loss, number of correct answers)."""
        state = self.state
        dropout = seeded_generator(self.seed, state.epoch, state.step, _DROPOUT).initial_seed()
        torch.default_generator.manual_seed(dropout)
        if self.device.type == "cuda":
            torch.cuda.manual_seed(dropout)
        self.model.zero_grad()
        outputs = self._outputs(images)
        loss = F.cross_entropy(outputs, labels)
        loss.backward()
        self.descent.step(self._learning_rate(state.step))
        return loss.detach(), (outputs.argmax(1) == labels).sum()

    def _outputs(self, images: Tensor) -> Tensor:
        """The network's outputs in float32, whatever precision it computes in."""
        with devices.autocast(self.recipe["precision"], self.device):
            outputs = self.model(images)
        return check_logits(outputs, len(images), self.metadata["network"]["n_classes"]).float()

    def _learning_rate(self, step: int) -> float:
        """The learning rate of a step of the present epoch."""
        done = (self.state.epoch - 1) * self.n_steps + step
        return recipes.learning_rate(self.recipe, done, self.epochs * self.n_steps)

    def _evaluate(self, received: list[int]) -> dict[str, float | int | None]:
        """The row of the metrics for the epoch that is done."""
        state = self.state
        self.model.eval()
        loss_sum = torch.zeros((), dtype=torch.float64, device=self.device)
        n_correct = torch.zeros((), dtype=torch.long, device=self.device)
        # Without gradients, twice the batch of training needs less memory than training.
        size, n_images = self._n_at_once(2 * self.batch_size), len(self.test_set)
        with torch.no_grad():
            for start in range(0, n_images, size):
                chosen = np.arange(start, min(start + size, n_images))
                images, labels = self.test_set.batch(chosen)
                outputs = self._outputs(self._network_input(images))
                loss_sum += F.cross_entropy(outputs, labels, reduction="sum").double()
                n_correct += (outputs.argmax(1) == labels).sum()
                self._stop_if_asked(received)
        trained = state.epoch > 0
        return {
            "epoch": state.epoch,
            "train_loss": state.loss_sum / state.n_seen if trained else None,
            "train_accuracy": state.n_correct / state.n_seen if trained else None,
            "test_loss": loss_sum.item() / n_images,
            "test_accuracy": n_correct.item() / n_images,
            "learning_rate": self._learning_rate(self.n_steps - 1) if trained else None,
        }

    def _save_checkpoint(self) -> None:
        epoch = self.state.epoch
        provenance = stamp(
            "weights",
            code=source_digest("training.train"),
            key=self.key,
            device=devices.device_name(self.device),
            torch_threads=torch.get_num_threads(),
            recipe=dict(self.recipe),
        )
        metadata = {
            **self.metadata,
            "weights": "trained" if epoch else self.metadata.get("weights", "random"),
            "epoch": epoch,
            "seed": self.seed,
            "recipe_digest": self.folder.digest,
            "torch": torch.__version__,
            "provenance": {"weights": provenance},
        }
        save_state(self.model.state_dict(), self.folder.checkpoint(epoch), metadata)

    def _write_metrics(self) -> None:
        self.metrics.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(self.metrics) as part, open(part, "w", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.state.rows)

    def _save(self) -> None:
        self.folder.save(self.state, self.model, self.descent)

    def _stop_if_asked(self, received: list[int]) -> None:
        if received:
            self._save()
            raise InterruptedTrainingError(
                f"{signal.Signals(received[0]).name}: stopped in {self._place()}; the state is saved "
                f"in {self.folder.path}, run again to continue"
            )

    def _place(self) -> str:
        return f"epoch {self.state.epoch} after step {self.state.step} of {self.n_steps}"


def _line(row: Mapping[str, Any], epochs: int, progress: Progress) -> str:
    text = f"epoch {row['epoch']}/{epochs}: "
    if row["train_loss"] is not None:
        text += f"train loss {row['train_loss']:.4f}, accuracy {row['train_accuracy']:.4f}; "
    text += f"test loss {row['test_loss']:.4f}, accuracy {row['test_accuracy']:.4f}; "
    return text + progress.pace()
