"""What a job leaves in its log."""

import logging
import warnings

import pytest

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


def test_an_error_stands_in_the_log_and_goes_on(tmp_path, capsys):
    path = tmp_path / "job.log"
    with pytest.raises(ValueError, match="broken"), log_to(path):
        raise ValueError("broken")
    assert "ValueError: broken" in path.read_text()
    assert capsys.readouterr().err == ""  # Python prints it when the job ends
