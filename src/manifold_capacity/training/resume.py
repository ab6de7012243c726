"""What lets a training go on after an interruption: its saved state, its lock, its signals."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType

from manifold_capacity.errors import UserError
from manifold_capacity.files import lock

logger = logging.getLogger(__name__)

# So long a file server may hold a lock of a machine that has died.
_PATIENCE_S = 120.0


STATE_FILE = "state.safetensors"


@dataclass
class TrainingState:
    """Where a run is: in `epoch`, of which `step` steps are done, with these sums so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    n_correct: int = 0
    n_seen: int = 0
    rows: list[dict[str, float | int | None]] = field(default_factory=list)


@contextmanager
def training_lock(resume: Path) -> Iterator[None]:
    """Keep a second training from writing the same files: one that a killed Snakemake left behind, say."""
    path = resume.with_name(resume.name + ".lock")
    path.parent.mkdir(parents=True, exist_ok=True)
    deadline = time.monotonic() + _PATIENCE_S
    said = False
    while True:
        with open(path, "ab", buffering=0) as file:
            # Or else one that has just ended removed the file in between.
            if (
                lock(file)
                and path.exists()
                and os.path.samestat(os.fstat(file.fileno()), path.stat())
            ):
                try:
                    yield
                finally:
                    path.unlink(missing_ok=True)
                return
        if time.monotonic() >= deadline:
            raise UserError(
                f"another process trains into {path.parent}, left behind perhaps by a Snakemake that "
                "was killed; wait until it has ended, or end it (`pkill -f train.py` on its machine), "
                "and run again to go on"
            )
        if not said:
            logger.info("waiting for another process that trains into %s", path.parent)
            said = True
        time.sleep(min(1.0, _PATIENCE_S))


@contextmanager
def signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of dying of them; only a process's main thread can."""
    received: list[int] = []

    def note(number: int, _frame: FrameType | None) -> None:
        received.append(number)

    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    before = {number: signal.signal(number, note) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield received
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
