"""What a job leaves in its log."""

import logging
import warnings

import numpy as np
import pytest

from manifold_capacity.anchors import check_solver
from manifold_capacity.logs import log_to


def test_messages_and_warnings_go_to_the_file(tmp_path, capsys):
    path = tmp_path / "job.log"
    with log_to(path) as log, warnings.catch_warnings():
        warnings.simplefilter("always")
        log.info("hello")
        logging.getLogger("manifold_capacity.training").info("from a module")
        warnings.warn("watch out", UserWarning, stacklevel=1)
    text = path.read_text()
    for message in ("hello", "from a module", "watch out"):
        assert message in text
    assert capsys.readouterr().err.splitlines() == ["hello", "from a module"]
    logging.getLogger("manifold_capacity").info("too late")
    assert "too late" not in path.read_text()


def test_an_error_raised_on_purpose_is_one_message(tmp_path, capsys):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, log_to(path):
        check_solver("magic")
    assert ended.value.code == 1
    message = "solver is 'magic'; choose one of 'active_set', 'cvxopt'"
    assert path.read_text().rstrip().endswith(f"ERROR {message}")
    assert capsys.readouterr().err.splitlines() == [message]


def test_a_mistake_in_the_program_leaves_its_traceback_in_the_log(tmp_path):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, log_to(path):
        np.zeros(2) @ np.zeros(3)
    assert ended.value.code == 1
    assert "Traceback" in path.read_text()
    assert "np.zeros(2) @ np.zeros(3)" in path.read_text()


def test_an_interruption_is_one_line(tmp_path, capsys):
    path = tmp_path / "job.log"
    with pytest.raises(SystemExit) as ended, log_to(path):
        raise KeyboardInterrupt
    assert ended.value.code == 130
    assert capsys.readouterr().err == "interrupted; the same command goes on\n"
