"""The output of a run on a terminal and in a file."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pyte
import pytest
from workspaces import LAYERS


class Watched:
    """Snakemake in a pseudo-terminal of 120 columns, and what it shows there."""

    def __init__(self, folder, *arguments):
        self.ours, theirs = pty.openpty()
        fcntl.ioctl(self.ours, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        # pytest may set the size of a terminal; this one has its own.
        environment = {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "snakemake", *arguments],
            cwd=folder,
            env=environment | {"TERM": "xterm-256color"},
            stdin=theirs,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
            # Its controlling terminal, where Ctrl-C is a signal to all processes.
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(theirs)
        self.screen = pyte.HistoryScreen(120, 40, history=1000)
        self.stream = pyte.ByteStream(self.screen)

    def lines(self):
        """The lines on the screen, and those that have scrolled away."""
        above = [
            "".join(line[column].data for column in range(120)) for line in self.screen.history.top
        ]
        return [line.rstrip() for line in [*above, *self.screen.display]]

    def shows(self, pattern):
        return re.search(pattern, "\n".join(self.lines()))

    def until(self, pattern=None, seconds=300):
        """Watch until a pattern appears, or to the end."""
        deadline = time.monotonic() + seconds
        while pattern is None or not self.shows(pattern):
            assert time.monotonic() < deadline, self.lines()
            if select.select([self.ours], [], [], 1)[0]:
                try:
                    self.stream.feed(os.read(self.ours, 65536))
                except OSError:  # all its other ends are closed
                    assert pattern is None, self.lines()
                    break

    def close(self):
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        os.close(self.ours)


@pytest.fixture
def watch():
    """Starts Snakemake in a pseudo-terminal."""
    watched = []

    def start(workspace, *arguments):
        watched.append(Watched(workspace.folder, *arguments))
        return watched[-1]

    yield start
    for each in watched:
        each.close()


def test_on_a_terminal_there_is_a_line_for_every_job_above_a_bar(finished, watch):
    for lost in LAYERS[:2]:
        (finished.results / f"geometry/small_cnn/seed-0/epoch-001/train/{lost}.json").unlink()
    watched = watch(finished, "--cores", "2")
    watched.until(r"━.* \d+ of \d+ jobs, ")
    watched.until(r"\n  measure_geometry small_cnn seed 0 .*, \d")  # one that runs
    watched.until()
    assert watched.process.wait() == 0
    lines = watched.lines()
    measured = [line for line in lines if re.match(r"\[ *\d+/\d+\] measure_geometry ", line)]
    assert len(measured) == 2
    assert all("  capacity 0." in line or "  capacity 1." in line for line in measured)
    assert not watched.screen.cursor.hidden
    assert "━" not in "".join(lines)
    table = (finished.results / "summary" / "layers.txt").read_text()
    assert table in "\n".join(lines)
    assert any(line.startswith("Figures: results/figures/") for line in lines[-45:])


def test_ctrl_c_on_a_terminal_is_two_lines(finished, watch):
    finished.configure({"training.epochs": 10_000, "checkpoints": [10_000]})
    watched = watch(finished, "training", "--cores", "1")
    watched.until(r"epoch \d+/10000: train loss")
    os.write(watched.ours, b"\x03")
    watched.until()
    assert watched.process.wait() != 0
    seen = "\n".join(watched.lines()).rstrip()
    after = seen.rpartition("Interrupted: ")[2]  # before it, the terminal may echo ^C
    assert re.fullmatch(
        r"stopping the running jobs\.\n"
        r"0 of 2 jobs done in .*\. The same command continues from there\.",
        after,
    ), seen
    assert not watched.screen.cursor.hidden
    assert list((finished.results / "training").rglob("resume/*"))


def test_in_a_file_it_is_plain_lines(finished_once):
    printed = (finished_once.folder / "printed").read_text()
    assert "\x1b" not in printed
    assert "━" not in printed
    (trained,) = (line for line in printed.splitlines() if re.match(r"\[.*\] train ", line))
    assert re.search(r"epoch (\d+)/\1: train loss .* images/s$", trained)
    assert "Select jobs" not in printed


def test_an_error_comes_alone(finished):
    finished.configure({"training.learning_rate": 1e9, "training.momentum": 0.999})
    printed = finished.snakemake("training", check=False)
    assert printed.count("FAILED") == 1
    cause = "training diverged: the loss is "
    assert re.search(rf"FAILED after .*: train small_cnn seed 0\n  {cause}", printed)
    assert "lower training.learning_rate" in printed
    for noise in ("Traceback", "RuleException", "CalledProcessError", "WorkflowError"):
        assert noise not in printed
    assert printed.rstrip().endswith("finished jobs are kept.")


def test_a_configuration_file_that_is_not_there_or_no_yaml(workspace):
    missing = workspace.snakemake("--configfile", "mine.yaml", check=False)
    assert "'mine.yaml' does not exist" in missing
    (workspace.folder / "mine.yaml").write_text("seeds: [1\nmodels: small_cnn\n")
    wrong = workspace.snakemake("--configfile", "mine.yaml", check=False)
    assert re.search(r"mine.yaml is not valid YAML:.*line 2", wrong, re.DOTALL)
    for printed in (missing, wrong):
        assert "Traceback" not in printed
