"""What an interrupted training needs to continue: its saved state, a lock, and pending signals."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path

from torch import nn

from manifold_capacity.errors import UserError
from manifold_capacity.files import AGAIN, lock
from manifold_capacity.models.checkpoints import load_state, load_weights, save_state
from manifold_capacity.training.descent import Descent

logger = logging.getLogger(__name__)

# Seconds to wait for another training: a file server may hold the lock of a dead machine that long.
_PATIENCE_S = 120.0


@dataclass
class TrainingState:
    """Where a training is: `step` steps into `epoch`, with the sums so far and the rows of metrics."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_correct: int = 0
    n_seen: int = 0
    rows: list[dict[str, float | int | None]] = field(default_factory=list)


class ResumeFolder:
    """A folder with the saved state of a training and its checkpoints so far.

    A state with another digest, of everything that the final weights depend on, is not used.
    """

    def __init__(self, path: Path, digest: str) -> None:
        self.path, self.digest = path, digest
        self._state_file = path / "state.safetensors"
        self._last_save = time.monotonic()
        self.save_took_s = 0.0

    def checkpoint(self, epoch: int) -> Path:
        """Where a checkpoint is kept until the training is done."""
        return self.path / f"epoch-{epoch:03d}.safetensors"

    def unsaved_s(self) -> float:
        """Seconds since the last save."""
        return time.monotonic() - self._last_save

    def save(self, state: TrainingState, model: nn.Module, descent: Descent) -> None:
        started = time.monotonic()
        tensors = {f"model.{key}": value for key, value in model.state_dict().items()}
        tensors |= {f"momentum.{name}": value for name, value in descent.momentum.items()}
        about = {"state": asdict(state), "recipe_digest": self.digest}
        save_state(tensors, self._state_file, about)
        self._last_save = time.monotonic()
        self.save_took_s = self._last_save - started

    def restore(
        self, model: nn.Module, descent: Descent, checkpoints: Iterable[int]
    ) -> TrainingState | None:
        """Put the saved state into the network and its momentum, and return where the training was.

        None if there is no saved state, and with a warning if it is damaged or another training's. Then
        neither the network nor the optimizer is changed.
        """
        if not self._state_file.exists():
            self.clear()
            return None
        try:
            tensors, metadata = load_state(self._state_file)
            if metadata["recipe_digest"] != self.digest:
                raise UserError(
                    f"{self._state_file} is the state of a training with another recipe, seed, data, "
                    "code or device"
                )
            state = TrainingState(**metadata["state"])
            weights = {key: tensors[f"model.{key}"] for key in model.state_dict()}
            for path in (self.checkpoint(epoch) for epoch in checkpoints if epoch < state.epoch):
                if load_state(path)[1]["recipe_digest"] != self.digest:
                    raise UserError(f"{path} is of another training")
        except (ValueError, LookupError, TypeError, AttributeError, FileNotFoundError) as error:
            if isinstance(error, UserError):
                logger.warning("%s; starting over", str(error).removesuffix(f"; {AGAIN}"))
            else:
                logger.warning(
                    "%s is not a whole state (%r); starting over", self._state_file, error
                )
            self.clear()
            return None
        load_weights(model, weights)
        saved = [name for name in descent.parameters if f"momentum.{name}" in tensors]
        descent.restore({name: tensors[f"momentum.{name}"] for name in saved})
        return state

    def clear(self) -> None:
        """Remove the training's files: the state first, without which the others mean nothing."""
        if self.path.is_dir():
            self._state_file.unlink(missing_ok=True)
            for path in (*self.path.glob("*.safetensors"), *self.path.glob("*.safetensors.part")):
                path.unlink()
            if not any(self.path.iterdir()):
                self.path.rmdir()


@contextmanager
def training_lock(resume: Path) -> Iterator[None]:
    """Keep a second training, such as one that a killed Snakemake left behind, from the same files."""
    path = resume.with_name(resume.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _PATIENCE_S
    announced = False
    while True:
        with open(path, "ab", buffering=0) as file:
            opened = os.fstat(file.fileno())
            # Another training may have removed the file between `open` and `lock`.
            if lock(file) and path.exists() and os.path.samestat(opened, path.stat()):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        if time.monotonic() >= deadline:
            raise UserError(
                f"another process is training in {path.parent}, perhaps left behind by a Snakemake "
                "that was killed; wait until it has ended, or end it (`pkill -f train.py` on its "
                "machine), and run again to continue"
            )
        if not announced:
            logger.info("waiting for another process that is training in %s", path.parent)
            announced = True
        time.sleep(min(1.0, _PATIENCE_S))


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of ending at once; only possible in the main thread."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    numbers = (signal.SIGTERM, signal.SIGINT)
    before = {n: signal.signal(n, lambda number, _: received.append(number)) for n in numbers}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
