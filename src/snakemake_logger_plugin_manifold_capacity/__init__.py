"""What a run prints: the logger plugin `--logger manifold-capacity`, which profiles/default selects.

Snakemake finds this package by its name and imports it before it reads the Snakefile. It must not
import `manifold_capacity`: the Snakefile decides which copy of that a run uses (rules/common.smk).
"""

from __future__ import annotations

import logging
import os
import sys

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_manifold_capacity.terminal import Terminal

__all__ = ["JOBS_ARE_SHOWN", "LogHandler"]

# Tells `manifold_capacity.logs` the file or terminal where jobs' logs are shown: jobs must not write there.
JOBS_ARE_SHOWN = "MANIFOLD_CAPACITY_JOBS_ARE_SHOWN"


class LogHandler(LogHandlerBase):
    """A line for every finished job and a progress bar; Snakemake's own output if details are asked for."""

    writes_to_stream = True
    writes_to_file = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        settings = self.common_settings
        stream = sys.stdout if settings.stdout else sys.stderr
        self._with_tracebacks = settings.verbose or settings.debug_dag
        self._details = self._with_tracebacks or settings.dryrun or settings.printshellcmds
        self._terminal = Terminal(
            stream,
            fallback=self.format,
            quiet={str(getattr(kind, "value", kind)) for kind in settings.quiet or ()},
            color=not settings.nocolor,
        )
        if not self._details:
            try:
                shown_in = os.fstat(stream.fileno())
            except (OSError, ValueError):  # a Python object, which no job can write to
                return
            os.environ[JOBS_ARE_SHOWN] = f"{shown_in.st_dev}:{shown_in.st_ino}"

    def emit(self, record: logging.LogRecord) -> None:
        """Show what matters of a record of Snakemake's."""
        try:
            is_error = getattr(record, "event", None) == LogEvent.ERROR
            if self._with_tracebacks or (self._details and not is_error):
                self._terminal.say(self.format(record))
            else:
                self._terminal.handle(record)
        except BrokenPipeError:
            raise
        except Exception:
            self.handleError(record)

    def close(self) -> None:
        """Remove the progress bar."""
        self._terminal.close()
        super().close()

    @property
    def has_filter(self) -> bool:
        """Where details are asked for, Snakemake's own filter applies."""
        return not self._details
