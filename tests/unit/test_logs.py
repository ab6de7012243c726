"""What a job writes to its log and to the terminal, and how far it says it is."""

import logging
import os
import subprocess
import sys
import warnings

import pytest

from manifold_capacity import logs
from manifold_capacity.geometry.arguments import check_solver
from manifold_capacity.logs import JOBS_ARE_SHOWN, Progress, duration, log_to

LOGGERS = ("manifold_capacity", "py.warnings")


def test_messages_and_warnings_go_to_the_file(tmp_path, capsys):
    path, loggers = tmp_path / "job.log", [*map(logging.getLogger, LOGGERS)]
    before = [[*logger.handlers] for logger in loggers]
    with log_to(path) as log, warnings.catch_warnings():
        warnings.simplefilter("always")
        log.info("hello")
        logging.getLogger("manifold_capacity.training.train").info("from a module")
        warnings.warn("watch out", UserWarning, stacklevel=1)
    text = path.read_text()
    for message in ("hello", "from a module", "watch out"):
        assert message in text
    assert capsys.readouterr().err.splitlines() == ["hello", "from a module"]
    logging.getLogger("manifold_capacity").info("too late")
    assert "too late" not in path.read_text()
    assert [logger.handlers for logger in loggers] == before


def test_an_error_that_a_user_can_act_on_is_one_message(tmp_path, capsys):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, log_to(path):
        check_solver("magic")
    assert ended.value.code == 1
    message = "solver is 'magic'; choose one of 'active_set', 'cvxopt'"
    assert path.read_text().rstrip().endswith(f"ERROR {message}")
    assert capsys.readouterr().err.splitlines() == [message]


def test_an_error_of_the_program_leaves_its_traceback_in_the_log_only(tmp_path, capsys):
    """Also a ValueError that our own code runs into: the class decides, not the place."""
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, log_to(path):
        int("no number")
    assert ended.value.code == 1
    assert "Traceback" in path.read_text()
    assert 'int("no number")' in path.read_text()
    assert capsys.readouterr().err == ""


def test_an_interruption_is_one_line(tmp_path, capsys):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, log_to(path):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; the same command continues from here\n"


def printed_by(code, folder, shown):
    """What a job prints whose log is shown in the file that it prints to, or in another."""
    printed, other = folder / "printed", folder / "other"
    with open(printed, "wb") as file, open(other, "wb") as another:
        status = os.fstat((file if shown else another).fileno())
        environment = os.environ | {JOBS_ARE_SHOWN: f"{status.st_dev}:{status.st_ino}"}
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=environment, cwd=folder, stdout=file, stderr=file)
    return done.returncode, printed.read_text()


@pytest.mark.parametrize("shown", [False, True])
def test_messages_are_not_printed_where_the_log_is_shown(tmp_path, shown):
    code = (
        "from manifold_capacity.logs import log_to\nwith log_to('job.log') as log: log.info('hi')"
    )
    assert printed_by(code, tmp_path, shown) == (0, "" if shown else "hi\n")
    assert (tmp_path / "job.log").read_text().endswith("INFO hi\n")


@pytest.mark.parametrize("shown", [False, True])
def test_ctrl_c_during_the_imports_is_silent_if_the_log_is_shown(tmp_path, shown):
    code = "from manifold_capacity import logs; raise {}"
    status, printed = printed_by(code.format("KeyboardInterrupt"), tmp_path, shown)
    assert status != 0
    assert ("Traceback" in printed) == (not shown)
    _, printed = printed_by(code.format("OSError"), tmp_path, shown)
    assert "Traceback" in printed


def test_importing_the_package_changes_nothing_in_the_process(tmp_path):
    """Only a job, which imports `logs`, sets the hook."""
    code = "import sys, manifold_capacity; assert sys.excepthook is sys.__excepthook__"
    assert printed_by(code, tmp_path, shown=True) == (0, "")


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when the test says so."""
    now = [100.0]
    monkeypatch.setattr(logs.time, "monotonic", lambda: now[0])
    return now


def test_progress_is_a_line_every_few_seconds_with_pace_and_time_left(clock, caplog):
    caplog.set_level(logging.INFO)
    progress = Progress("images.bin", 4_000_000, "MB", scale=1e6, initial=1_000_000)
    clock[0] += logs.LINE_EVERY_S - 1
    progress.update(500_000)
    assert caplog.messages == []
    clock[0] += 1
    progress.update(500_000)
    rate = 1 / logs.LINE_EVERY_S
    assert caplog.messages == [
        f"images.bin: 2 of 4 MB (50%), {rate:.3g} MB/s, {2 / rate:.0f} s left"
    ]


def test_the_pace_counts_from_where_the_job_continued(clock):
    progress = Progress("training", 60_000, "images", initial=30_000)
    assert progress.pace() == "0 images/s"
    clock[0] += 10
    progress.update(5_000)
    assert progress.pace() == "500 images/s, 50 s left"
    progress.update(25_000)
    assert progress.pace() == "3,000 images/s"


def test_an_unknown_total_is_left_out(clock):
    progress = Progress("images.bin", None, "MB", scale=1e6)
    clock[0] += 10
    progress.update(20_000_000)
    assert str(progress) == "20 MB, 2 MB/s"


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.97, "10 s"),
        (99, "99 s"),
        (100, "2 min"),
        (5940, "99 min"),
        (6000, "1 h 40 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_durations_are_short(seconds, text):
    assert duration(seconds) == text
