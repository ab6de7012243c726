"""What a run prints: a line for every finished job, what is running, and what went wrong.

It reads the jobs' logs as they grow, so that a run looks the same whether its jobs run here or on
the nodes of a cluster. All it knows of Snakemake are the log records that it is given.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TextIO

from snakemake_logger_plugin_manifold_capacity import jobs
from snakemake_logger_plugin_manifold_capacity.display import Display
from snakemake_logger_plugin_manifold_capacity.failures import (
    cause_of,
    full_disk,
    is_exit,
    without_traceback,
)
from snakemake_logger_plugin_manifold_capacity.jobs import Job, Message, duration, first_line

_MOST_LINES = 12  # of a failed job's log that are shown
_WIDE = 110  # columns of a terminal that shows a job's message beside its name
# Messages of Snakemake's that are left out.
_NOISE = re.compile(
    r"Assuming unrestricted shared|Building DAG of jobs|Using shell: |Provided (cores|remote|resources)|"
    r"Rules claiming more threads|Conda environments: ignored|Singularity containers: ignored|"
    r"Group jobs: inactive|Job stats:|Select jobs to execute|Execute \d+ jobs|DAG of jobs will be updated|"
    r"Updating checkpoint dependencies|Complete log\(s\): |Elapsed time: |Removing temporary output|"
    r"Removing output files of failed job|Exiting because a job execution failed|"
    r"Removed empty directory|Job rate limit reached|SLURM run ID: |Cleaning up SLURM log files|"
    r"Adding \S+ \(|Loading script code for rule |Shutting down, this might take some time"
)
_SUBMITTED = re.compile(r"Job (\S+) has been submitted with SLURM jobid (\S+) \(log: ")
# A job that Ctrl-C ended, by its own message or by how it died.
_BY_CTRL_C = re.compile(r"^SIGINT: |^[Ii]nterrupted|by (SIGINT|signal 2)\.$")


class Terminal:
    """Writes to a stream what Snakemake's log records tell, with a progress bar if it is a terminal.

    `text_of` gives Snakemake's own text of a record. `quiet` is Snakemake's ``--quiet``: with
    ``progress`` no lines for finished jobs, with ``all`` nothing.
    """

    def __init__(
        self,
        stream: TextIO,
        text_of: Callable[[logging.LogRecord], str] = logging.LogRecord.getMessage,
        quiet: Collection[str] = (),
        color: bool = True,
    ) -> None:
        self.text_of, self.quiet, self.run = text_of, quiet, jobs.Run()
        self.display = Display(stream, self.run, color=color)
        self.say, self.close = self.display.say, self.display.close

    def handle(self, record: logging.LogRecord) -> None:
        if "all" in self.quiet:
            return
        event = str(getattr(record, "event", None) or "message").lower()
        if handler := getattr(self, f"_on_{event}", None):
            with self.display.lock:
                handler(record, vars(record))

    # Events of Snakemake's

    def _on_run_info(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
        self.run.total = fields["stats"].get("total", 0)
        more = ", and more once the layers are known" if "find_layers" in fields["stats"] else ""
        if "progress" not in self.quiet:
            self.say(_n_jobs(self.run.total) + more)
            self.display.start()

    def _on_job_info(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
        self.run.failed.pop(fields["jobid"], None)  # it is tried again
        self.run.running[fields["jobid"]] = Job.of(fields, record.created)

    def _on_job_finished(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
        if job := self.run.running.pop(fields["job_id"], None):
            self.run.finished.append(job)

    def _on_progress(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
        """Comes after the jobs that it counts."""
        run = self.run
        if 0 < run.total < fields["total"] and "progress" not in self.quiet:
            self.say(f"{_n_jobs(fields['total'])}, now that the layers are known")
        run.done, run.total = fields["done"], fields["total"]
        finished, run.finished = run.finished, []
        for number, job in enumerate(finished, run.done - len(finished) + 1):
            messages = job.messages()
            for message in messages:
                if message.level == "WARNING":
                    self.say(f"{job.name}: {message.text}", style="yellow")
            if not job.is_target and "progress" not in self.quiet:
                self._say_finished(job, number, messages, record.created)
        if run.done == run.total:
            self.close()
            took = duration(record.created - run.started)
            self.say(f"{_n_jobs(run.done)} done in {took}", style="bold")

    def _on_job_error(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
        if not fields.get("indent"):  # else it was reported with its group
            self._say_failed(fields)

    def _on_group_error(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
        """Reports the group's jobs whose logs say that they failed, or all of them if none does."""
        members = [job | {"aux_logs": fields["aux_logs"]} for job in fields["job_error_info"]]
        guilty = [job for job in members if self._job_of(job).messages("ERROR")]
        for job in guilty or members:
            self._say_failed(job)

    def _on_error(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
        text = self.text_of(record)
        if "At least one job did not complete successfully" in text:
            self._say_end_of_failed_run()
        elif is_exit(text, fields.get("exception", "")):
            self.run.exit_texts.append(text)  # the job's error follows, and its log says more
        else:
            self.say(without_traceback(text), style="red")

    def _on_message(self, record: logging.LogRecord, fields: Mapping[str, Any]) -> None:
        """A text without an event."""
        text = self.text_of(record)
        if text.startswith("Terminating processes on user request"):
            self._say_interrupted()
            return
        if text.startswith("Will exit after finishing currently running jobs"):
            # After SIGTERM. Snakemake says it again after every job; after a failed job, it is no news.
            if not (self.run.stopped or self.run.failed):
                self.run.stopped = True
                self.say("Told to stop (SIGTERM): waiting for the running jobs.")
            return
        if submitted := _SUBMITTED.match(text):
            number, slurm = submitted.groups()
            job = self.run.running.get(int(number)) if number.isdigit() else None
            text = f"{job.name if job else 'a group of jobs'}: submitted as SLURM job {slurm}"
        if text and text != "None" and not _NOISE.match(text.lstrip()):
            style = {"ERROR": "red", "WARNING": "yellow"}.get(record.levelname, "")
            self.say(text, style=style)

    # What is written

    def _say_finished(self, job: Job, number: int, messages: list[Message], now: float) -> None:
        counter = f"[{number:{len(str(self.run.total))}}/{self.run.total}]"
        last = messages[-1] if messages else Message("", "")
        page = last.text if "\n" in last.text else ""
        summary = "" if page or last.level == "WARNING" else last.text
        took = duration(now - job.started)
        console = self.display.console
        if console is None or console.width >= _WIDE:  # in columns
            rule, rest = f"{job.rule:21}", f" {job.wildcards:42} {took:>6}  {summary}"
            self.say((counter, "cyan"), " ", (rule, "bold"), rest.rstrip(), overflow="ellipsis")
        else:
            rest = f" {job.wildcards}  {took}  {summary}".rstrip()
            self.say((counter, "cyan"), " ", (job.rule, "bold"), rest, overflow="fold")
        self.say(page)

    def _say_failed(self, fields: Mapping[str, Any]) -> None:
        """Cause and last lines of the log of a job that failed."""
        run, job = self.run, self._job_of(fields)
        run.running.pop(fields["jobid"], None)
        exit_text = run.exit_texts.pop(0) if run.exit_texts else ""
        errors = job.messages("ERROR")
        if errors:
            cause = errors[-1].text.strip()
            if "Traceback (most recent call last)" in cause:
                cause = f"Unexpected error: {cause.splitlines()[-1]}"
        else:
            message = str(fields.get("rule_msg") or "")
            cause = full_disk(job.logs) or cause_of(job.rule, exit_text, message)
        if _BY_CTRL_C.search(
            cause
        ):  # jobs get the signal too, and may end before Snakemake says it
            self._say_interrupted()
        if run.interrupted:
            return
        run.failed[fields["jobid"]] = job, cause
        took = duration(time.time() - job.started)
        self.say(f"\nFAILED after {took}: {job.name}", style="bold red")
        self.say("\n".join(f"  {line}" for line in cause.splitlines()), style="red")
        for path in filter(job.wrote, [*job.logs, *map(Path, fields.get("aux_logs", ()))]):
            text = jobs.read_end(path).rstrip()
            if not text or (text.endswith(cause) and len(jobs.read_messages(path)) == 1):
                continue
            lines = text.splitlines()
            self.say(f"  {'the end of ' if len(lines) > _MOST_LINES else ''}{path}:")
            self.say("\n".join(f"    {line}" for line in lines[-_MOST_LINES:]), style="dim")

    def _say_interrupted(self) -> None:
        if not self.run.interrupted:
            self.run.interrupted = True
            self.close()
            self.say("Interrupted: stopping the running jobs.")

    def _say_end_of_failed_run(self) -> None:
        run = self.run
        self.close()
        took = duration(time.time() - run.started)
        if run.interrupted or (run.stopped and not run.failed):
            done = f"{run.done} of {run.total} jobs done in {took}"
            self.say(f"{done}. The same command continues from there.")
            return
        if not run.failed:
            self.say(
                f"\nThe run ended early; {run.done} of {run.total} jobs done in {took}",
                style="bold red",
            )
            self.say(
                "No job failed. If no line above says why, --verbose shows what Snakemake knows."
            )
            return
        n_left = max(0, run.total - run.done - len(run.failed))
        why = "were not started" if run.stopped else "that depend on failed jobs were not run"
        left = f", {n_left} {why}" if n_left else ""
        text = f"\n{_n_jobs(len(run.failed))} failed{left}; {run.done} done in {took}"
        self.say(text, style="bold red")
        for job, cause in run.failed.values():
            self.say(f"  {job.name}: {first_line(cause)}")
            for path in job.logs:
                self.say(f"    log: {path}", style="dim")
        self.say("Fix the error and run the same command again: finished jobs are kept.")

    def _job_of(self, fields: Mapping[str, Any]) -> Job:
        """The running job of a record, or one that did not start."""
        job = self.run.running.get(fields["jobid"])
        return job or Job(fields["rule_name"], "", [*map(Path, fields["log"])], self.run.started)


def _n_jobs(n: int) -> str:
    return f"{n} job{'s' if n != 1 else ''}"
