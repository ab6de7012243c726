"""Lines of text and, below them on a terminal, the running jobs and a progress bar."""

from __future__ import annotations

import functools
import os
import threading
import time
from typing import TYPE_CHECKING, Literal, TextIO

from snakemake_logger_plugin_manifold_capacity.jobs import Run, duration

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

# Seconds between two lines with a running job's latest message, where the output is not a terminal.
HEARTBEAT_S = 30.0
# Running jobs that are shown above the bar.
_MOST_RUNNING = 8


class Display:
    """Writes lines to a stream and shows what is running, if the stream is a terminal below the lines."""

    def __init__(self, stream: TextIO, run: Run, *, color: bool) -> None:
        self.stream, self.run, self.color = stream, run, color
        self.lock = threading.RLock()
        self._live: Live | None = None
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None

    @functools.cached_property
    def console(self) -> Console | None:
        """The terminal; None if the output is not one."""
        if not self.stream.isatty() or os.environ.get("TERM", "dumb") == "dumb":
            return None
        from rich.console import Console

        return Console(file=self.stream, highlight=False, no_color=None if self.color else True)

    def say(
        self,
        *parts: str | tuple[str, str],
        style: str = "",
        overflow: Literal["ellipsis", "fold"] | None = None,
    ) -> None:
        """Write a text, whose parts may have styles, above the progress bar.

        By default lines go on beyond the edge of the terminal as the terminal wraps them; `overflow`
        cuts or wraps them there.
        """
        plain = "".join(part if isinstance(part, str) else part[0] for part in parts)
        if not plain:
            return
        if self.console is None:
            print(plain, file=self.stream, flush=True)
            return
        from rich.text import Text

        self.console.print(
            Text.assemble(*parts, style=style),
            soft_wrap=overflow is None,
            no_wrap=None if overflow is None else overflow == "ellipsis",
            overflow=overflow,
        )

    def start(self) -> None:
        """Show running jobs from now on: below the lines on a terminal, as lines now and then elsewhere."""
        if self.console is not None and self._live is None:
            from rich.live import Live

            self._live = Live(
                console=self.console,
                get_renderable=self.render,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        elif self.console is None and self._watcher is None:
            self._watcher = threading.Thread(target=self._heartbeats, daemon=True)
            self._watcher.start()

    def close(self) -> None:
        """Remove what is shown below the lines."""
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._closed.set()

    def _heartbeats(self) -> None:
        while not self._closed.wait(1.0):
            with self.lock:
                self.beat(time.time())

    def beat(self, now: float) -> None:
        """Write a line for each job that has been running for long and has something new to say."""
        for job in self.run.running.values():
            if now - job.last_line >= HEARTBEAT_S:
                text = job.latest()
                if text and text != job.last_text:
                    job.last_line, job.last_text = now, text
                    self.say(f"{job.name}: {text}")

    def render(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        # No lock here: rich's thread calls this while it holds a lock of its own, which a thread that
        # writes a line (and holds ours) waits for.
        run, now = self.run, time.time()
        jobs = [job for job in list(run.running.values()) if not job.is_target]
        rows = [
            Text(
                f"  {job.name}, {duration(now - job.started)}  {job.latest()}",
                style="dim",
                no_wrap=True,
                overflow="ellipsis",
            )
            for job in jobs[:_MOST_RUNNING]
        ]
        if len(jobs) > _MOST_RUNNING:
            rows.append(Text(f"  and {len(jobs) - _MOST_RUNNING} more", style="dim"))
        bar = Table.grid(padding=(0, 1))
        bar.add_row(
            ProgressBar(total=max(run.total, 1), completed=run.done, width=30),
            Text(f"{run.done} of {run.total} jobs, {duration(now - run.started)}", style="cyan"),
        )
        return Group(*rows, bar)
