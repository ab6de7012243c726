"""Whatever the arguments are, the command ends with a documented exit code and whole lines."""

import contextlib
import io
import json
import os
import warnings

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manifold_capacity import command_line

fuzz = settings(settings.get_profile("fuzz"))

FILES = [
    "good.npz",
    "plain.npy",
    "labels.npy",
    "dead.npz",
    "lost.npz",
    "text.npy",
    "store",
    "gone.npz",
    "",
]
TABLES = ["out.csv", "out.json", "out.parquet", "store", "no/out.csv", "out.xlsx", "folder.csv", ""]
NUMBERS = [
    "-1",
    "0",
    "0.5",
    "1",
    "2",
    "5",
    "1e200",
    "1e-300",
    "nan",
    "inf",
    "auto",
    "all",
    "",
    "x",
    "٣",
]
NUMBERS += ["9" * 30, "9" * 5000, "1000000001", "-0", "1_0", " 1"]
VALUES = {
    "--labels": st.sampled_from(FILES),
    "--layers": st.sampled_from(["a", "*", ",", "", "[", "a,b", "labels", "\n", "b*"]),
    "-o": st.sampled_from(TABLES),
    "--manifolds": st.sampled_from(TABLES),
    **dict.fromkeys(
        ["--points-per-class", "--margin", "--seed", "--threads"], st.sampled_from(NUMBERS)
    ),
    **dict.fromkeys(["--n-gaussians", "--relative-error"], st.sampled_from(NUMBERS)),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    points, labels = np.random.default_rng(0).standard_normal((12, 5)), np.arange(12) % 3
    np.savez(folder / "good.npz", a=points, b=points**2, labels=labels)
    np.savez(folder / "dead.npz", a=points * 0, b=points, labels=labels)
    points[3, 2] = np.nan
    np.savez(folder / "lost.npz", a=points, labels=labels)
    np.save(folder / "plain.npy", points[:3].reshape(3, 5, 1))
    np.save(folder / "labels.npy", labels)
    (folder / "text.npy").write_text("no array")
    (folder / "store").mkdir()
    (folder / "folder.csv").mkdir()
    return folder


def run(arguments, folder):
    """Exit code, output and messages."""
    printed, said = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        contextlib.redirect_stdout(printed),
        contextlib.redirect_stderr(said),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("default")
        try:
            code = command_line.main(arguments)
        except SystemExit as stop:  # argparse's own
            code = stop.code
    return code, printed.getvalue(), said.getvalue()


def check(code, said, arguments):
    assert code in (0, 1, 2), arguments
    assert "please report" not in said, (arguments, said)
    assert "Traceback" not in said
    lines = said.splitlines()
    assert all(lines), (arguments, said)
    if code:
        assert lines[-1].startswith("manifold-capacity: error: "), (arguments, said)
        assert len(lines[-1]) < 9000, (arguments, said)


@fuzz
@given(
    files=st.lists(st.sampled_from(FILES), min_size=1, max_size=2),
    options=st.lists(st.sampled_from(list(VALUES)), max_size=3, unique=True),
    data=st.data(),
)
def test_measure(folder, files, options, data):
    (folder / "all.json").unlink(missing_ok=True)
    values = {name: data.draw(VALUES[name]) for name in options}
    arguments = [
        part
        for name, value in values.items()
        for part in (f"{name}={value}" if name != "-o" else f"-o{value}",)
    ]
    if "--n-gaussians" not in options:
        arguments.append("--n-gaussians=3")
    if "--manifolds" not in options:
        arguments.append("--manifolds=all.json")
    code, printed, said = run(["measure", *files, *arguments], folder)
    check(code, said, (files, arguments))
    assert bool(printed) == os.path.exists(folder / "all.json") or "--manifolds" in options
    if printed and "--manifolds" not in options:
        for row in json.loads((folder / "all.json").read_text()):
            numbers = [row[name] for name in ("capacity", "radius", "dimension")]
            assert all(isinstance(number, float | int) or number == "inf" for number in numbers)
    assert (folder / "store").is_dir()
    assert (folder / "folder.csv").is_dir()


WORDS = [
    "measure",
    "layers",
    "plot",
    "-h",
    "--help",
    "--version",
    "--",
    "-",
    "--output",
    "-o",
    "--figure",
]
WORDS += [
    "--margin",
    "small_cnn",
    "\udcff",
    "\0",
    "é",
    "-o=x",
    "--seed=",
    *FILES,
    *TABLES,
    *NUMBERS,
]


@fuzz
@given(st.lists(st.sampled_from(WORDS), max_size=5))
@example(["layers", "small_cnn", "9" * 5000, "9" * 5000])
def test_any_words(folder, words):
    code, _, said = run(words, folder)
    check(code, said, words)


@fuzz
@given(
    st.binary(max_size=60) | st.text('abc,\n"1.e-', max_size=60).map(str.encode),
    st.sampled_from([".csv", ".parquet"]),
)
def test_plot_of_any_table(folder, content, ending):
    columns = b"model,seed,checkpoint,split,labels,layer,capacity\n"
    for head in (b"", columns):
        (folder / f"any{ending}").write_bytes(head + content)
        code, _, said = run(["plot", f"any{ending}", "-o", "any.svg"], folder)
        check(code, said, content)
        assert code
