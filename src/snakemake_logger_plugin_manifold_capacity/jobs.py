"""The jobs of a run, and the messages in their logs."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

_TAIL_BYTES = 64 * 1024  # of a longer log, the end is read
_CLOCK_S = 2.0  # by which the clocks of this machine and of a job's node may differ
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) ", re.MULTILINE)


class Message(NamedTuple):
    level: str
    text: str


@dataclass
class Job:
    """A job that Snakemake has started."""

    rule: str
    wildcards: str
    logs: list[Path]
    started: float
    is_target: bool = False
    last_line: float = 0.0
    last_text: str = ""

    @classmethod
    def of(cls, fields: Mapping[str, Any], started: float) -> Job:
        """The job of a log record of Snakemake's."""
        wildcards = " ".join(
            f"{name} {value}" if value.isdigit() else value.strip("-")
            for name, value in (fields.get("wildcards") or {}).items()
            if value
        )
        is_target = not fields.get("output") and not fields["log"]
        logs = [*map(Path, fields["log"])]
        return cls(fields["rule_name"], wildcards, logs, started, is_target, last_line=started)

    @property
    def name(self) -> str:
        return f"{self.rule} {self.wildcards}".rstrip()

    def wrote(self, path: Path) -> bool:
        """Whether a file is this attempt's, not an earlier one's."""
        try:
            return path.stat().st_mtime >= self.started - _CLOCK_S
        except OSError:
            return False

    def messages(self, level: str = "") -> list[Message]:
        """Messages so far, of one level or of all."""
        logs = filter(self.wrote, self.logs)
        found = (message for path in logs for message in read_messages(path))
        return [message for message in found if level in ("", message.level)]

    def latest(self) -> str:
        """First line of the last message."""
        messages = self.messages()
        return first_line(messages[-1].text) if messages else ""


@dataclass
class Run:
    """What has happened so far."""

    started: float = field(default_factory=time.time)
    total: int = 0
    done: int = 0
    running: dict[int, Job] = field(default_factory=dict)
    finished: list[Job] = field(default_factory=list)
    failed: dict[int, tuple[Job, str]] = field(default_factory=dict)  # and the causes
    exit_texts: list[str] = field(default_factory=list)
    interrupted: bool = False  # by Ctrl-C
    stopped: bool = False  # by SIGTERM


def read_messages(path: Path) -> list[Message]:
    """Messages of a log that :func:`manifold_capacity.logs.log_to` wrote; of a long one, the last."""
    # Before the first message: the rest of one that was cut, or nothing.
    _, *parts = _RECORD.split(read_end(path))
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return [Message(level, text.rstrip("\n")) for level, text in pairs]


def read_end(path: Path) -> str:
    """The end of a file; empty if it cannot be read."""
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def duration(seconds: float) -> str:
    """A time as text, as `manifold_capacity.logs.duration` writes it."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60:02} min"
