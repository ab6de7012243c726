"""The help of the commands."""

import re
import shlex
from pathlib import Path

import pytest

from manifold_capacity import command_line
from manifold_capacity.command_line import parser


@pytest.mark.parametrize("command", [[], ["run"], ["measure"], ["layers"], ["plot"]])
def test_the_help_has_examples_that_work(tmp_path, monkeypatch, capsys, command):
    with pytest.raises(SystemExit) as stop:
        command_line.main([*command, "--help"])
    assert stop.value.code == 0
    text = capsys.readouterr().out
    examples = re.findall(r"^ +manifold-capacity ((?:run|measure|layers|plot) .*)$", text, re.M)
    assert len(examples) >= 3
    (tmp_path / "results" / "summary").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    for example in examples:
        arguments = shlex.split(example)
        for name in arguments[1:]:
            if name.endswith((".yaml", ".npz", ".npy", "/layers.csv", "/manifolds.csv")):
                Path(name).touch()
        assert parser.build_parser().parse_args(arguments).run
