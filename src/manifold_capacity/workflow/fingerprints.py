"""Fingerprints of files from outside, for the keys of what is computed from them."""

from __future__ import annotations

import functools
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from manifold_capacity.files import file_sha256, file_state, write_text

# Contents of larger files are not hashed: that would take longer than a minute.
LARGEST_HASHED = 50 * 2**30


class Fingerprints:
    """What identifies the contents of files and folders.

    Of a file: its SHA-256, computed once and remembered with path, size, times and inode. Of a file larger
    than `LARGEST_HASHED`: size and time. Of a folder: names, sizes and times of all its files.

    Parameters
    ----------
    memory : Path
        A JSON file, made when it is needed. If it cannot be written, nothing is remembered.
    planning : bool
        True in the process that plans a run. The processes of jobs take a folder's fingerprint as that one
        remembered it: a folder of a million images is listed once, not by each job.
    """

    def __init__(
        self, memory: Path = Path(".snakemake/fingerprints.json"), *, planning: bool = True
    ) -> None:
        self._memory, self._planning = memory, planning

    def of(self, path: str | os.PathLike[str]) -> str:
        """The fingerprint of a file or folder; it says what it was made of."""
        return self._of(os.path.abspath(path))

    @functools.cache  # noqa: B019  one object per process
    def _of(self, path: str) -> str:
        state, remembered = None, self._remembered.get(path)
        if remembered is None or self._planning or not os.path.isdir(path):
            state = file_state(path)
        if remembered and state in (None, remembered["state"]):
            return str(remembered["fingerprint"])
        assert state is not None
        self._remembered[path] = {"state": state, "fingerprint": _fingerprint(path, state)}
        if self._planning:
            with suppress(OSError):
                self._memory.parent.mkdir(parents=True, exist_ok=True)
                write_text(self._memory, json.dumps(self._remembered, indent=1))
        return str(self._remembered[path]["fingerprint"])

    @functools.cached_property
    def _remembered(self) -> dict[str, dict[str, Any]]:
        try:
            found = json.loads(self._memory.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}


def _fingerprint(path: str, state: list[int | str]) -> str:
    if os.path.isdir(path):
        return f"names, sizes and times: {state[0]}"
    if os.path.getsize(path) > LARGEST_HASHED:
        return f"size and time: {state[0]} {state[1]}"
    return f"sha256: {file_sha256(Path(path))}"
