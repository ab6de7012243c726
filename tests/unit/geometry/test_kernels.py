"""Compiled kernels: points from a Gram matrix, and the cache of compiled code."""

import importlib
import os
import pkgutil
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numba.extending import is_jitted

import manifold_capacity.geometry
from manifold_capacity.geometry import kernels
from manifold_capacity.geometry.anchors import points_from_gram


def centered_points(dimension):
    points = np.random.default_rng(1).standard_normal((10, dimension))
    points -= points.mean(0)
    return points / np.linalg.norm(points, axis=1).max()


@pytest.mark.parametrize("dimension", [9, 10])
def test_points_from_gram(dimension):
    points = centered_points(30)
    found = points_from_gram(points @ points.T, dimension, tolerance=1e-14)
    assert found.shape == (10, dimension)
    np.testing.assert_allclose(found @ found.T, points @ points.T, atol=1e-14)
    rng = np.random.default_rng(2)
    for _ in range(30):  # the last two points are a tie, which rounding must not decide
        order = rng.permutation(10)
        rotated = points[order] @ np.linalg.qr(rng.standard_normal((30, 30)))[0]
        permuted = points_from_gram(rotated @ rotated.T, dimension, tolerance=1e-14)
        np.testing.assert_allclose(permuted, found[order], atol=1e-12)


def test_points_from_gram_of_duplicates():
    """Each repeated, the points keep their coordinates; those beyond the rank are 0."""
    points = centered_points(4)
    once = points_from_gram(points @ points.T, 4, tolerance=1e-14)
    twice = np.repeat(points, 2, axis=0)
    found = points_from_gram(twice @ twice.T, 20, tolerance=1e-14)
    np.testing.assert_allclose(found[:, :4], np.repeat(once, 2, axis=0), atol=1e-12)
    assert (found[:, 4:] == 0).all()


def in_a_process(environment, code, *options, arguments=()):
    command = [sys.executable, *options, "-c", code, *arguments]
    return subprocess.run(command, env=environment, text=True, capture_output=True, check=True)


def misses_of_a_process(environment, *options):
    """How often the compiled code was not found in the cache, by a process of its own."""
    code = (
        "import numpy as np, manifold_capacity.geometry.anchors as a, manifold_capacity.geometry.kernels as k;"
        "a.points_from_gram(np.eye(3), 3, 0.0);"
        "print(sum(k.pivoted_cholesky.stats.cache_misses.values()))"
    )
    return in_a_process(environment, code, *options)


def copy_of_package(tmp_path):
    """The geometry's folder in a copy, and the environment of a process that imports it."""
    site = tmp_path / "site"
    source = Path(manifold_capacity.__file__).parent
    shutil.copytree(source, site / source.name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("NUMBA_", "XDG_"))}
    environment |= {"PYTHONPATH": str(site), "HOME": str(tmp_path / "home")}
    return site / source.name / "geometry", environment


def install_without_writable_folder(tmp_path):
    """A copy of the package where numba can make no folder, as root or anyone."""
    geometry, environment = copy_of_package(tmp_path)
    (geometry / "__pycache__").touch()
    return environment


def test_compiled_code_is_cached(tmp_path):
    """A second process compiles nothing, of a read-only install either: the user's cache serves."""
    environment = install_without_writable_folder(tmp_path)
    first = misses_of_a_process(environment)
    assert first.stdout == "1\n"
    assert first.stderr.count("compiling the solver, once on this machine") == 1
    again = misses_of_a_process(environment, "-W", "error")
    assert (again.stdout, again.stderr) == ("0\n", "")


def test_a_job_says_in_its_log_that_it_compiles(tmp_path):
    _, environment = copy_of_package(tmp_path)
    code = (
        "import sys, numpy as np; from manifold_capacity import logs, measure\n"
        "with logs.log_to(sys.argv[1]): measure(np.random.default_rng(0).normal(size=(5, 9, 20)))"
    )
    for times in (1, 0):
        in_a_process(environment, code, arguments=[tmp_path / "log"])
        assert (tmp_path / "log").read_text().count("INFO compiling the solver") == times


def test_no_folder_for_compiled_code(tmp_path):
    """Without any folder to write to it works, and says what to do about the compile time."""
    (tmp_path / "home").touch()
    result = misses_of_a_process(install_without_writable_folder(tmp_path))
    assert result.stdout == "1\n"
    assert result.stderr.count("set NUMBA_CACHE_DIR to a folder that is") == 1


def test_edit_of_a_kernel(tmp_path):
    """The next process has the new numbers, although the calling function's file is the same."""
    geometry, environment = copy_of_package(tmp_path)
    code = (
        "import numpy as np, manifold_capacity.geometry.certificates as c;"
        "samples = c.samples_of_weights(np.eye(2), np.eye(2), np.eye(2, 3), 0.0, 1.0);"
        "print(samples.squared_deviation, sum(c._find_anchors.stats.cache_misses.values()))"
    )
    assert in_a_process(environment, code).stdout == "[0.5 0.5] 1\n"
    assert in_a_process(environment, code).stdout == "[0.5 0.5] 0\n"
    file = geometry / "kernels.py"
    source = file.read_text()
    line = "out[j] += w0 * matrix[i0, j]\n"  # of `add_rows`
    assert source.count(line) == 1
    file.write_text(source.replace(line, line.replace("w0", "2.0 * w0")))
    assert in_a_process(environment, code).stdout == "[2. 2.] 1\n"


def test_stored_functions_depend_on_the_kernels():
    """Compiled functions call those of their own file and of kernels.py only, and have its digest."""
    stored = set()
    for info in pkgutil.iter_modules(manifold_capacity.geometry.__path__):
        module = importlib.import_module(f"manifold_capacity.geometry.{info.name}")
        for function in filter(is_jitted, vars(module).values()):
            assert function.py_func.__module__ in (module.__name__, kernels.__name__)
            if function.stats.cache_path and function.py_func.__module__ != kernels.__name__:
                assert function.py_func.__defaults__ == (kernels.DIGEST,)
                stored.add(function.py_func.__name__)
    assert {"_solve_all", "_find_anchors", "_bound"} <= stored
