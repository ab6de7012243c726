"""What a run prints, from Snakemake's log records and the jobs' logs."""

import io
import logging
import os
import re
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import snakemake_logger_plugin_manifold_capacity as plugin
from manifold_capacity import logs
from manifold_capacity.logs import log_to
from snakemake_logger_plugin_manifold_capacity.display import HEARTBEAT_S
from snakemake_logger_plugin_manifold_capacity.jobs import duration, read_messages
from snakemake_logger_plugin_manifold_capacity.terminal import Terminal

TRAIN = {"jobid": 7, "rule_name": "train", "wildcards": {"model": "small_cnn", "seed": "3"}}


def record(event: str | None = None, text: str = "", level: int = logging.INFO, **fields: Any):
    """A log record as Snakemake makes them."""
    made = logging.LogRecord("snakemake", level, "", 0, text, None, None)
    vars(made).update({"event": event} | fields)
    return made


def job_info(log: Path | None = None, **fields: Any) -> logging.LogRecord:
    logs = [str(log)] if log else []
    return record("job_info", **(TRAIN | {"output": ["weights"], "log": logs} | fields))


def finished(terminal: Terminal, jobid: int, done: int, total: int) -> None:
    terminal.handle(record("job_finished", job_id=jobid))
    terminal.handle(record("progress", done=done, total=total))


@pytest.fixture
def stream() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def terminal(stream):
    terminal = Terminal(stream)
    yield terminal
    terminal.close()


@pytest.fixture
def log(tmp_path) -> Path:
    return tmp_path / "train.log"


def say(path: Path, *texts: str, error: str | None = None) -> None:
    """A job that says something, and fails if an error is given."""
    with log_to(path) as logger:
        for text in texts:
            logger.info("%s", text)
        if error is not None:
            logger.error("%s", error)


def test_of_a_long_log_the_end_is_read(log):
    say(log, *(f"message {number} {'x' * 1000}" for number in range(100)))
    messages = read_messages(log)
    assert 50 < len(messages) < 100
    assert messages[-1].text.startswith("message 99 ")


def test_a_run_is_a_line_for_each_job_with_its_last_message(terminal, stream, log):
    terminal.handle(record("run_info", stats={"find_layers": 1, "train": 1, "total": 5}))
    terminal.handle(job_info(log))
    say(log, "epoch 1/2: slow", "epoch 2/2: test accuracy 0.99")
    finished(terminal, 7, 12, 13)
    terminal.handle(job_info(jobid=8, rule_name="all", output=[], wildcards=None))
    finished(terminal, 8, 13, 13)
    first, more, line, end = stream.getvalue().splitlines()  # a target has no line
    assert [first, more[:12]] == ["5 jobs, and more once the layers are known", "13 jobs, now"]
    assert line.startswith("[12/13] train")
    assert line.endswith(" s  epoch 2/2: test accuracy 0.99")
    assert end.startswith("13 jobs done in ")


def test_jobs_of_a_group_are_counted_one_by_one(terminal, stream):
    terminal.handle(job_info())
    terminal.handle(job_info(jobid=8, rule_name="draw", wildcards={}))
    for jobid in (7, 8):
        terminal.handle(record("job_finished", job_id=jobid))
    terminal.handle(record("progress", done=4, total=9))
    assert [line[:5] for line in stream.getvalue().splitlines()] == ["[3/9]", "[4/9]"]


def test_pages_and_warnings_are_shown_completely(terminal, stream, log):
    terminal.handle(job_info(log, rule_name="plan", wildcards={}))
    with log_to(log) as logger:
        logger.warning("no locks here")
        logger.info("a page\nof two lines")
    finished(terminal, 7, 1, 2)
    warning, line, *page = stream.getvalue().splitlines()
    assert warning == "plan: no locks here"
    assert "page" not in line
    assert page == ["a page", "of two lines"]


def test_messages_of_an_earlier_attempt_are_not_shown(terminal, stream, log):
    say(log, "of yesterday")
    os.utime(log, (time.time() - 3600,) * 2)
    terminal.handle(job_info(log))
    finished(terminal, 7, 1, 2)
    assert "yesterday" not in stream.getvalue()


def test_a_long_job_reports_new_messages(terminal, stream, log):
    terminal.handle(job_info(log))
    say(log, "epoch 1/9: slow")
    now = time.time()
    terminal.display.beat(now)
    assert stream.getvalue() == ""
    terminal.display.beat(now + HEARTBEAT_S)
    terminal.display.beat(now + 2 * HEARTBEAT_S + 1)  # nothing new
    assert stream.getvalue() == "train small_cnn seed 3: epoch 1/9: slow\n"


def failed(terminal: Terminal, log: Path, died: str = "returned non-zero exit status 1.") -> None:
    text = (
        f'RuleException:\nCalledProcessError in file "rules/training.smk", line 91:\nCommand {died}'
    )
    terminal.handle(record("error", text, logging.ERROR, exception="RuleException"))
    fields = TRAIN | {"rule_msg": None, "log": [str(log)], "indent": False}
    terminal.handle(record("job_error", "Error in rule", logging.ERROR, **fields))


def test_a_failed_run_ends_with_causes_and_what_to_do(terminal, stream, log):
    terminal.handle(job_info(log))
    say(log, *(f"line {number}" for number in range(40)), error="diverged; lower the rate")
    failed(terminal, log)
    blank, title, cause, place, *lines = stream.getvalue().splitlines()
    assert (blank, cause) == ("", "  diverged; lower the rate")
    assert re.fullmatch("FAILED after .*: train small_cnn seed 3", title)
    assert place == f"  the end of {log}:"
    assert len(lines) == 12
    assert "RuleException" not in stream.getvalue()

    terminal.handle(record("progress", done=4, total=9))
    stream.truncate(0)
    text = "WorkflowError:\nAt least one job did not complete successfully."
    terminal.handle(record("error", text, logging.ERROR, exception="WorkflowError"))
    printed = stream.getvalue()
    assert "1 job failed, 4 that depend on failed jobs were not run; 4 done in" in printed
    assert "train small_cnn seed 3: diverged; lower the rate" in printed
    assert str(log) in printed
    assert "run the same command again: finished jobs are kept" in printed


def test_a_job_that_succeeds_when_tried_again_has_not_failed(terminal, stream, log):
    for _ in range(2):
        terminal.handle(job_info(log))
        failed(terminal, log)
    terminal.handle(job_info(log))
    finished(terminal, 7, 1, 2)
    terminal.handle(record("error", "At least one job did not complete successfully."))
    assert "No job failed." in stream.getvalue()


@pytest.mark.parametrize(
    ("died", "cause"),
    [
        ("died with <Signals.SIGKILL: 9>.", "lack of memory"),
        ("returned non-zero exit status 137.", "--set-resources train:mem_mb=..."),
        ("died with <Signals.SIGTERM: 15>.", "terminated from outside by SIGTERM"),
        ("returned non-zero exit status 143.", "terminated from outside by signal 15"),
        ("returned non-zero exit status 3.", "exit status 3, and its log does not say why"),
    ],
)
def test_the_cause_of_a_failure_that_the_log_does_not_say(terminal, stream, log, died, cause):
    terminal.handle(job_info(log))
    failed(terminal, log, died)
    assert cause in stream.getvalue()


def test_an_error_of_the_program_is_its_last_line_above_the_log(terminal, stream, log):
    terminal.handle(job_info(log))
    with pytest.raises(SystemExit), log_to(log):
        {}["radius"]
    failed(terminal, log)
    assert "\n  Unexpected error: KeyError: 'radius'\n" in stream.getvalue()
    assert "Traceback" in stream.getvalue()


def test_of_a_group_the_job_that_failed_is_named(terminal, stream, tmp_path):
    members = [TRAIN | {"jobid": 1}, TRAIN | {"jobid": 2, "wildcards": {"seed": "4"}}]
    for fields in members:
        fields["log"] = [str(tmp_path / f"{fields['jobid']}.log")]
        terminal.handle(record("job_info", **fields, output=["weights"]))
    say(tmp_path / "1.log", "fine")
    say(tmp_path / "2.log", error="diverged")
    errors = [fields | {"rule_msg": None, "indent": True} for fields in members]
    terminal.handle(record("group_error", "", aux_logs=[], job_error_info=errors))
    for fields in errors:
        terminal.handle(record("job_error", "", **fields))
    printed = stream.getvalue()
    assert printed.count("FAILED") == 1
    assert ": train seed 4\n  diverged" in printed


@pytest.mark.parametrize("job_ends_first", [False, True])
def test_an_interruption_is_no_failure(job_ends_first, terminal, stream, log):
    terminal.handle(record("progress", done=4, total=9))
    terminal.handle(job_info(log))
    text = "Terminating processes on user request, this might take some time."
    if not job_ends_first:
        terminal.handle(record(None, text, logging.WARNING))
    failed(terminal, log, "died with <Signals.SIGINT: 2>.")
    if job_ends_first:
        terminal.handle(record(None, text, logging.WARNING))
    terminal.handle(record("error", "At least one job did not complete successfully."))
    stopped, end = stream.getvalue().splitlines()
    assert stopped == "Interrupted: stopping the running jobs."
    assert re.fullmatch(r"4 of 9 jobs done in .*\. The same command continues from there\.", end)


@pytest.mark.parametrize("job_fails", [False, True])
def test_a_run_that_was_told_to_stop_says_so(job_fails, terminal, stream, log):
    terminal.handle(record("progress", done=4, total=9))
    terminal.handle(job_info(log))
    for _ in range(2):  # Snakemake repeats it
        terminal.handle(
            record(None, "Will exit after finishing currently running jobs (scheduler).")
        )
    if job_fails:
        failed(terminal, log, "died with <Signals.SIGTERM: 15>.")
    terminal.handle(record("error", "At least one job did not complete successfully."))
    told, *_, end = stream.getvalue().splitlines()
    assert told == "Told to stop (SIGTERM): waiting for the running jobs."
    assert "depend on failed jobs" not in stream.getvalue()
    if job_fails:
        assert "1 job failed, 4 were not started; 4 done in" in stream.getvalue()
    else:
        assert re.fullmatch(
            r"4 of 9 jobs done in .*\. The same command continues from there\.", end
        )


def test_a_run_that_ends_without_a_failed_job_does_not_blame_one(terminal, stream):
    terminal.handle(record("progress", done=4, total=9))
    terminal.handle(record("error", "At least one job did not complete successfully."))
    assert "The run ended early; 4 of 9 jobs done" in stream.getvalue()
    assert "No job failed." in stream.getvalue()


@pytest.mark.parametrize(
    ("content", "shown"),
    [
        (b"a: [\n", "config.yaml is not valid YAML: while parsing a flow node expected the node"),
        (b"a: \xff\n", "config.yaml cannot be read: 'utf-8' codec can't decode byte 0xff"),
        (b"a: " + b"[" * 5000, "config.yaml cannot be read: it is nested too deeply"),
        (b"a: " + b"9" * 5000, "config.yaml cannot be read: Exceeds the limit"),
        (b"a: 1", "--configfile: nested too deeply, or an alias stands for what it is in"),
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(
    terminal, stream, tmp_path, monkeypatch, content, shown
):
    (tmp_path / "config.yaml").write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["snakemake"])
    text = "Traceback (most recent call last):\n in load_configfile\n\nRecursionError: deep\n"
    terminal.handle(record("error", text, logging.ERROR))
    assert stream.getvalue().startswith(shown)
    assert stream.getvalue().count("\n") == 1


def test_of_snakemakes_messages_only_noise_is_left_out(terminal, stream):
    for text in ("Building DAG of jobs...", "Execute 2 jobs...", "Using shell: /usr/bin/bash"):
        terminal.handle(record(None, text))
    terminal.handle(record("shellcmd", "sleep 1"))
    terminal.handle(record(None, "Nothing to be done (all requested files are present)."))
    assert stream.getvalue() == "Nothing to be done (all requested files are present).\n"


def test_jobs_submitted_to_slurm_are_named(terminal, stream):
    terminal.handle(job_info())
    text = "Job {} has been submitted with SLURM jobid 12 (log: /a/.snakemake/slurm_logs/12.log)."
    for jobid in ("7", "6c2e-1a"):
        terminal.handle(record(None, text.format(jobid)))
    assert stream.getvalue().splitlines() == [
        "train small_cnn seed 3: submitted as SLURM job 12",
        "a group of jobs: submitted as SLURM job 12",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            'WorkflowError in file "/a/rules/common.smk", line 55:\nThe configuration cannot be run:\n'
            '  - seeds: "x"\n  File "/a/rules/common.smk", line 80, in <module>\n'
            '  File "/a/rules/common.smk", line 55, in checked_config',
            'The configuration cannot be run:\n  - seeds: "x"\n',
        ),
        (
            'Traceback (most recent call last):\n\n  File "a.py", line 1, in f\n    g()\n    ^^^\n\nOSError: no\n',
            "OSError: no\n(--verbose shows the traceback)\n",
        ),
    ],
    ids=["configuration", "Snakefile"],
)
def test_an_error_before_the_run_has_no_places_in_the_code(terminal, stream, text, shown):
    terminal.handle(record("error", text, logging.ERROR, exception="WorkflowError"))
    assert stream.getvalue() == shown


@pytest.mark.parametrize("quiet", ["progress", "all"])
def test_quiet_is_quiet(stream, quiet, log):
    terminal = Terminal(stream, quiet={quiet})
    terminal.handle(record("run_info", stats={"total": 13}))
    terminal.handle(job_info(log))
    finished(terminal, 7, 1, 13)
    assert stream.getvalue() == ""
    failed(terminal, log)
    assert ("FAILED" in stream.getvalue()) == (quiet == "progress")


@pytest.fixture
def screen(monkeypatch):
    """A stream that is a terminal of 60 columns."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "60")
    screen = io.StringIO()
    monkeypatch.setattr(screen, "isatty", lambda: True, raising=False)
    return screen


def test_on_a_terminal_running_jobs_and_a_bar_stand_below_the_lines(screen, log):
    terminal = Terminal(screen)
    try:
        terminal.handle(record("run_info", stats={"total": 13}))
        terminal.handle(job_info(log))
        say(log, "epoch 1/9: slow " + "and " * 30)
        deadline = time.monotonic() + 30
        while "epoch 1/9" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.05)
        assert "train small_cnn seed 3" in screen.getvalue()
        assert "epoch 1/9: slow" in screen.getvalue()
        assert "and and and and and and and and" not in screen.getvalue()  # cut at the edge
        assert "0 of 13 jobs" in screen.getvalue()
        finished(terminal, 7, 13, 13)
        assert "[13/13]" in screen.getvalue()
        assert "13 jobs done in " in screen.getvalue().rpartition("\x1b[?25h")[2]  # cursor is back
    finally:
        terminal.close()


def test_on_a_narrow_terminal_a_message_is_wrapped(screen, log):
    terminal = Terminal(screen)
    terminal.handle(job_info(log))
    say(log, "capacity 0.5 " + "and so on " * 8 + "to the end")
    finished(terminal, 7, 1, 2)
    terminal.close()
    assert "to the end" in screen.getvalue().replace("\n", " ")
    lines = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", screen.getvalue()).splitlines()
    assert max(map(len, lines)) <= 60


def test_drawing_never_waits_for_a_line_that_is_being_written(screen):
    terminal = Terminal(screen)
    drawing = threading.Thread(target=terminal.display.render, daemon=True)
    with terminal.display.lock:
        drawing.start()
        drawing.join(timeout=30)
    assert not drawing.is_alive()


@pytest.mark.parametrize("details", [None, "dryrun", "printshellcmds", "verbose"])
def test_where_details_are_asked_for_snakemakes_own_text_is_shown(monkeypatch, tmp_path, details):
    flags = ("stdout", "verbose", "debug_dag", "dryrun", "printshellcmds", "nocolor", "quiet")
    settings = SimpleNamespace(**{flag: flag == details for flag in flags})
    monkeypatch.setenv(plugin.JOBS_ARE_SHOWN, "nowhere")
    with open(tmp_path / "printed", "w+") as printed:
        monkeypatch.setattr(sys, "stderr", printed)
        handler = plugin.LogHandler(settings, None)
        handler.emit(record(None, "Building DAG of jobs..."))
        handler.close()
        here = os.fstat(printed.fileno())
        assert (printed.seek(0), printed.read() != "") == (0, details is not None)
    assert handler.has_filter == (details is None)
    shown_here = os.environ[plugin.JOBS_ARE_SHOWN] == f"{here.st_dev}:{here.st_ino}"
    assert shown_here == (details is None)


def test_what_the_plugin_and_the_package_both_have_is_the_same():
    for seconds in (0.04, 9.97, 99, 100, 5940, 360_000):
        assert duration(seconds) == logs.duration(seconds)
    assert plugin.JOBS_ARE_SHOWN == logs.JOBS_ARE_SHOWN
