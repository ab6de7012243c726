"""How a run looks on the terminal: a line for every finished job, what runs now, and what went wrong.

Jobs write to their logs alone; this reads the logs as they grow. So it looks the same whether a job
runs here or on a cluster's node. Of Snakemake it knows the log records that it is given.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.live import Live

__all__ = ["Message", "Terminal", "duration", "read_messages"]

# Of a long log only the end is read.
_TAIL_BYTES = 64 * 1024
# Where output is no terminal, a job's latest message is a line of its own this often.
HEARTBEAT_S = 30.0
# Running jobs that the display has room for, and lines of a failed job's log that are shown.
_MOST_RUNNING = 8
_MOST_LINES = 12
# Columns of a terminal that shows what a job said beside what the job was.
_WIDE = 110
# Clocks of this machine and of the one that a job runs on may differ by this much.
_CLOCK_S = 2.0

# What Snakemake says on the way and a reader of this display has no use for.
_NOISE = re.compile(
    r"Assuming unrestricted shared|Building DAG of jobs|Using shell: |Provided (cores|remote|resources)|"
    r"Rules claiming more threads|Conda environments: ignored|Singularity containers: ignored|"
    r"Group jobs: inactive|Job stats:|Select jobs to execute|Execute \d+ jobs|DAG of jobs will be updated|"
    r"Updating checkpoint dependencies|Complete log\(s\): |Elapsed time: |Removing temporary output|"
    r"Removing output files of failed job|Exiting because a job execution failed|"
    r"Removed empty directory|Job rate limit reached|SLURM run ID: |Cleaning up SLURM log files|"
    r"Adding \S+ \(|Loading script code for rule "
)
_RECORD = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} ([A-Z]+) ", re.MULTILINE)
_SUBMITTED = re.compile(r"Job (\S+) has been submitted with SLURM jobid (\S+) \(log: ")
_DIED = re.compile(r"died with <Signals\.(\w+)|exit status (\d+)")
_LOCATION = re.compile(r'^(\w+Error|\w+Exception)( in file "[^"]*"(, line \d+)?)?:\n')
_FRAME = re.compile(r'\n +File "[^"]*", line \d+, in .*')


class Message(NamedTuple):
    """A message of a job's log."""

    level: str
    text: str


@dataclass
class _Job:
    """A job that Snakemake has started."""

    rule: str
    about: str
    logs: list[Path]
    started: float
    is_target: bool = False
    last_line: float = 0.0
    last_text: str = ""

    @property
    def name(self) -> str:
        return f"{self.rule} {self.about}".rstrip()

    def messages(self) -> list[Message]:
        """What the job has said so far; nothing of an earlier attempt."""
        return [
            message
            for path in self.logs
            if _changed_at(path) >= self.started - _CLOCK_S
            for message in read_messages(path)
        ]

    def latest(self) -> str:
        messages = self.messages()
        return messages[-1].text if messages else ""


@dataclass
class _Failure:
    job: _Job
    cause: str


@dataclass
class _Run:
    """What has happened so far."""

    started: float
    total: int = 0
    done: int = 0
    running: dict[int, _Job] = field(default_factory=dict)
    finished: list[_Job] = field(default_factory=list)
    failed: dict[int, _Failure] = field(default_factory=dict)
    exit_texts: list[str] = field(default_factory=list)
    interrupted: bool = False


class Terminal:
    """Shows log records of Snakemake as a run to be watched.

    Parameters
    ----------
    stream : file
        Where to write. A progress bar is drawn if it is a terminal.
    fallback : callable
        Snakemake's own text of a record.
    quiet : collection of str
        Snakemake's ``--quiet``: with ``progress`` no line for finished jobs, with ``all`` nothing.
    color : bool
        Whether a terminal gets colors.
    """

    def __init__(
        self,
        stream: TextIO,
        *,
        fallback: Callable[[logging.LogRecord], str] = logging.LogRecord.getMessage,
        quiet: Collection[str] = (),
        color: bool = True,
    ) -> None:
        self.stream, self.fallback, self.quiet = stream, fallback, quiet
        self.color = color
        self.interactive = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
        self._run = _Run(time.time())
        self._console: Console | None = None
        self._live: Live | None = None
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._watcher: threading.Thread | None = None

    # What comes in

    def handle(self, record: logging.LogRecord) -> None:
        """Show what is worth showing of a record."""
        if "all" in self.quiet:
            return
        event = str(getattr(record, "event", None) or "").lower()
        with self._lock:
            handler = getattr(self, f"_on_{event}", None)
            if handler is not None:
                handler(record)
            elif not event:
                self._on_message(record)

    def _on_run_info(self, record: logging.LogRecord) -> None:
        counts: Mapping[str, int] = record.stats  # type: ignore[attr-defined]
        self._run.total = counts.get("total", 0)
        text = f"{self._run.total} jobs" if self._run.total != 1 else "1 job"
        if "find_layers" in counts:
            text += ", and more once the layers are known"
        if "progress" not in self.quiet:
            self.say(text)
            self._watch()

    def _on_job_info(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        self._run.failed.pop(fields["jobid"], None)  # it is tried again
        self._run.running[fields["jobid"]] = _Job(
            rule=fields["rule_name"],
            about=_about(fields["wildcards"]),
            logs=[Path(log) for log in fields["log"]],
            started=record.created,
            is_target=not fields["output"] and not fields["log"],
            last_line=record.created,
        )

    def _on_job_finished(self, record: logging.LogRecord) -> None:
        job = self._run.running.pop(record.job_id, None)  # type: ignore[attr-defined]
        if job is not None:
            self._run.finished.append(job)

    def _on_progress(self, record: logging.LogRecord) -> None:
        """Comes after the jobs that it counts."""
        run = self._run
        run.done, run.total = vars(record)["done"], vars(record)["total"]
        finished, run.finished = run.finished, []
        for number, job in enumerate(finished, run.done - len(finished) + 1):
            messages = job.messages()
            for message in messages:
                if message.level == "WARNING":
                    self.say(f"{job.name}: {message.text}", style="yellow")
            if not job.is_target:
                self._say_finished(job, number, messages, record.created)
        if run.done == run.total:
            self._end_display()
            took = duration(record.created - run.started)
            self.say(
                f"{run.done} {'job' if run.done == 1 else 'jobs'} done in {took}", style="bold"
            )

    def _on_job_error(self, record: logging.LogRecord) -> None:
        fields = vars(record)
        if not fields.get("indent"):  # of a group, the group has said it
            self._fail(fields)

    def _on_group_error(self, record: logging.LogRecord) -> None:
        """Of the group's jobs, those whose logs say that they failed; all of them if none does."""
        fields = vars(record)
        members = [job | {"aux_logs": fields["aux_logs"]} for job in fields["job_error_info"]]
        guilty = [job for job in members if self._errors(self._job_of(job))]
        for job in guilty or members:
            self._fail(job)

    def _on_error(self, record: logging.LogRecord) -> None:
        text = self.fallback(record)
        exception = vars(record).get("exception", "")
        if "At least one job did not complete successfully" in text:
            self._say_failures()
        elif exception in ("RuleException", "CalledProcessError") and _DIED.search(text):
            self._run.exit_texts.append(text)  # the job's error follows, and its log says more
        else:
            self.say(_without_traceback(text), style="red")

    def _on_message(self, record: logging.LogRecord) -> None:
        text = self.fallback(record)
        if text.startswith("Terminating processes on user request"):
            self._run.interrupted = True
            self._end_display()
            text = "Interrupted: the jobs that are running are being stopped."
        submitted = _SUBMITTED.match(text)
        if submitted:
            job = self._run.running.get(int(submitted[1])) if submitted[1].isdigit() else None
            text = (
                f"{job.name if job else 'a group of jobs'}: submitted as SLURM job {submitted[2]}"
            )
        if text and text != "None" and not _NOISE.match(text.lstrip()):
            style = {"ERROR": "red", "WARNING": "yellow"}.get(record.levelname, "")
            self.say(text, style=style)

    # What goes out

    def say(self, text: str, style: str = "") -> None:
        """Write a text as it is, above the progress bar if there is one."""
        if not text:
            return
        console = self._console_of()
        if console is None:
            print(text, file=self.stream, flush=True)
        else:
            from rich.text import Text

            console.print(Text(text, style=style), soft_wrap=True)

    def _say_finished(self, job: _Job, number: int, messages: list[Message], now: float) -> None:
        if "progress" in self.quiet:
            return
        width = len(str(self._run.total))
        counter = f"[{number:{width}}/{self._run.total}]"
        last = messages[-1].text if messages else ""
        page = last if "\n" in last else ""
        took = duration(now - job.started)
        summary = "" if page or not messages or messages[-1].level == "WARNING" else last
        console = self._console_of()
        # Columns, where there is room for them and for what a job said; or else as many lines as it takes.
        wide = console is None or console.width >= _WIDE
        rule, about = (
            (f"{job.rule:21}", f"{job.about:42} ") if wide else (job.rule, f"{job.about}  ")
        )
        rest = f" {about}{took:>{6 if wide else 0}}  {summary}".rstrip()
        if console is None:
            print(f"{counter} {rule}{rest}", file=self.stream, flush=True)
        else:
            from rich.text import Text

            text = Text.assemble((counter, "cyan"), " ", (rule, "bold"), rest)
            console.print(text, no_wrap=wide, overflow="ellipsis" if wide else "fold")
        self.say(page)

    def _fail(self, fields: Mapping[str, Any]) -> None:
        """Cause, last lines of the log and remedy of a job that failed."""
        run = self._run
        job = self._job_of(fields)
        run.running.pop(fields["jobid"], None)
        exit_text = run.exit_texts.pop(0) if run.exit_texts else ""
        errors = self._errors(job)
        if errors:
            cause = errors[-1].text.strip()
            if "Traceback (most recent call last)" in cause:
                cause = f"An error of the program: {cause.splitlines()[-1]}"
        else:
            cause = _cause_of(job.rule, exit_text, str(fields.get("rule_msg") or ""))
        if run.interrupted:
            return
        run.failed[fields["jobid"]] = _Failure(job, cause)
        took = duration(time.time() - job.started)
        self.say(f"\nFAILED after {took}: {job.name}", style="bold red")
        self.say("\n".join(f"  {line}" for line in cause.splitlines()), style="red")
        for path in [*job.logs, *map(Path, fields.get("aux_logs", ()))]:
            if _changed_at(path) < job.started - _CLOCK_S:
                continue
            text = _tail(path).rstrip()
            lines = text.splitlines()
            shown = lines[-_MOST_LINES:]
            if not lines or (text.endswith(cause) and len(read_messages(path)) == 1):
                continue
            more = "" if len(shown) == len(lines) else "the end of "
            self.say(f"  {more}{path}:")
            self.say("\n".join(f"    {line}" for line in shown), style="dim")

    def _say_failures(self) -> None:
        run = self._run
        self._end_display()
        n, n_left = len(run.failed), max(0, run.total - run.done - len(run.failed))
        took = duration(time.time() - run.started)
        if run.interrupted:
            self.say(
                f"{run.done} of {run.total} jobs done in {took}. The same command goes on from there."
            )
            return
        text = f"\n{n} {'job' if n == 1 else 'jobs'} failed"
        if n_left:
            text += f", {n_left} that need what is missing were not run"
        self.say(f"{text}; {run.done} done in {took}", style="bold red")
        for failure in run.failed.values():
            self.say(f"  {failure.job.name}: {_first_line(failure.cause)}")
            for path in failure.job.logs:
                self.say(f"    log: {path}", style="dim")
        self.say("Mend the cause and give the same command again: what is done is kept.")

    # What is known of a job

    def _job_of(self, fields: Mapping[str, Any]) -> _Job:
        job = self._run.running.get(fields["jobid"])
        if job is None:
            logs = [Path(log) for log in fields["log"]]
            job = _Job(fields["rule_name"], "", logs, self._run.started)
        return job

    @staticmethod
    def _errors(job: _Job) -> list[Message]:
        return [message for message in job.messages() if message.level == "ERROR"]

    # The display of what runs now

    def _console_of(self) -> Console | None:
        """The terminal; None where output is none."""
        if self.interactive and self._console is None:
            from rich.console import Console

            self._console = Console(
                file=self.stream, highlight=False, no_color=True if not self.color else None
            )
        return self._console

    def _watch(self) -> None:
        """Show running jobs from now on: below the lines on a terminal, as lines now and then elsewhere."""
        console = self._console_of()
        if console is not None and self._live is None:
            from rich.live import Live

            self._live = Live(
                console=console,
                get_renderable=self._display,
                refresh_per_second=4,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._live.start()
        elif console is None and self._watcher is None:
            self._watcher = threading.Thread(target=self._heartbeats, daemon=True)
            self._watcher.start()

    def _heartbeats(self) -> None:
        while not self._closed.wait(1.0):
            with self._lock:
                self.beat(time.time())

    def beat(self, now: float) -> None:
        """A line for each job that runs for long and has something new to say."""
        for job in self._run.running.values():
            if now - job.last_line >= HEARTBEAT_S:
                text = _first_line(job.latest())
                if text and text != job.last_text:
                    job.last_line, job.last_text = now, text
                    self.say(f"{job.name}: {text}")

    def _display(self) -> RenderableType:
        from rich.console import Group
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        # Called by the thread that draws, which holds a lock that writing a line waits for. To wait here
        # for the one that is held while a line is written would be a wait without end.
        run, now = self._run, time.time()
        jobs = [job for job in list(run.running.values()) if not job.is_target]
        done, total = run.done, run.total
        rows = [
            Text(
                f"  {job.name}, {duration(now - job.started)}  {_first_line(job.latest())}",
                style="dim",
                no_wrap=True,
                overflow="ellipsis",
            )
            for job in jobs[:_MOST_RUNNING]
        ]
        if len(jobs) > _MOST_RUNNING:
            rows.append(Text(f"  and {len(jobs) - _MOST_RUNNING} more", style="dim"))
        bar = Table.grid(padding=(0, 1))
        elapsed = duration(now - run.started)
        bar.add_row(
            ProgressBar(total=max(total, 1), completed=done, width=30),
            Text(f"{done} of {total} jobs, {elapsed}", style="cyan"),
        )
        return Group(*rows, bar)

    def _end_display(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None
        self._closed.set()

    def close(self) -> None:
        """Take the display away; what was written stays."""
        self._end_display()


def read_messages(path: Path) -> list[Message]:
    """Messages of a job's log as :func:`manifold_capacity.logs.log_to` writes it; its end, if it is long."""
    parts = _RECORD.split(_tail(path))
    # Before the first message: the rest of one that was cut, or nothing.
    pairs = zip(parts[1::2], parts[2::2], strict=True)
    return [Message(level, text.rstrip("\n")) for level, text in pairs]


def _tail(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _TAIL_BYTES))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def duration(seconds: float) -> str:
    """A time to read: ``4.2 s``, ``38 min``, ``2 h 05 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60:,} h {minutes % 60:02} min"


def _first_line(text: str) -> str:
    return text.strip().partition("\n")[0]


def _changed_at(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return -1.0


def _about(wildcards: Mapping[str, str] | None) -> str:
    """What a job is of: its wildcards as they come in its paths."""
    return " ".join(
        f"{name} {value}" if value.isdigit() else value.strip("-")
        for name, value in (wildcards or {}).items()
        if value
    )


def _cause_of(rule: str, exit_text: str, message: str) -> str:
    """Why a job failed whose log does not say it."""
    died = _DIED.search(exit_text)
    signal, status = died.groups() if died else (None, None)
    if signal == "SIGKILL" or status == "137":
        return (
            "The job was killed (SIGKILL). The usual reason is too little memory: run fewer jobs at "
            f"once (--cores), or on a cluster ask for more (--set-resources {rule}:mem_mb=...)."
        )
    if signal is None and status is not None and int(status) > 128:
        signal = f"signal {int(status) - 128}"
    if signal:
        return f"The job was ended by {signal} from outside."
    if message:
        return message
    if status:
        return f"The job ended with status {status} and its log does not say why."
    return exit_text.strip() or "Snakemake does not say why."


def _without_traceback(text: str) -> str:
    """Snakemake's error without the places in its code and ours that it went through."""
    problem = _yaml_problem() if "not valid JSON or YAML" in text else ""
    if problem:
        return problem
    if text.startswith("Traceback") and "FileNotFoundError" in text and "load_configfile" in text:
        missing = text.strip().rpartition(": ")[2]
        return f"--configfile: {missing} does not exist; complete examples are config.yaml and configs/"
    if text.startswith("Traceback"):
        return f"{text.strip().splitlines()[-1]}\n(--verbose shows where in the code that is)"
    return _FRAME.sub("", _LOCATION.sub("", text)).strip()


def _yaml_problem() -> str:
    """What is wrong in which line of the configuration files that the command names."""
    import yaml

    names = [word for word in sys.argv[1:] if word.endswith((".yaml", ".yml", ".json"))]
    for name in [*names, "config.yaml"]:
        try:
            with open(name, encoding="utf-8") as file:
                yaml.safe_load(file)
        except yaml.YAMLError as error:
            return f"{name} is not valid YAML: {error}"
        except (OSError, UnicodeDecodeError) as error:
            return f"{name} cannot be read: {error}"
    return ""
