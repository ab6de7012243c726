"""Runs Snakemake, and its jobs' scripts, in children of one process that has imported what takes long.

That saves seconds for each of a hundred launches, and one for each of many hundred jobs. A child is what `python` with these
arguments is, but for the imports: its own process with the folder, environment and files that are asked for, and nothing of
this package imported. What a library reads from the environment as it is imported has no effect. `PYTHONPATH` is read when
an interpreter starts, so a launch with another one is a plain process, and so are its jobs. The run that most tests share is
plain too.
"""

import atexit
import functools
import gc
import json
import multiprocessing
import os
import runpy
import shlex
import socket
import subprocess
import sys
import threading
from multiprocessing.connection import wait
from pathlib import Path

from ask import ask

SNAKEMAKE = ("-m", "snakemake")


def serve() -> None:
    """Print an address, and run what is asked for there, until standard input ends."""
    import jsonschema  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import nbformat  # noqa: F401
    import numba
    import pandas  # noqa: F401
    import pyarrow.parquet  # noqa: F401
    import scipy.stats  # noqa: F401
    import smart_open  # noqa: F401
    import snakemake.cli
    import snakemake.report.html_reporter  # noqa: F401
    import torchvision.models  # noqa: F401
    import zarr  # noqa: F401
    from snakemake.script import PythonScript

    numba.njit(lambda: 0)()  # imports the compiler
    assert not any(name.partition(".")[0] == "manifold_capacity" for name in sys.modules)
    assert threading.active_count() == 1
    # Half a million objects that no child has to look through for garbage.
    gc.collect()
    gc.freeze()
    asked = socket.socket(socket.AF_UNIX)
    asked.bind(b"")  # a free name, which is no file
    asked.listen()
    address = asked.getsockname()[1:].decode()
    asking = str(Path(__file__).with_name("ask.py"))
    python = shlex.join([sys.executable, "-I", "-S", asking, address])
    PythonScript.execute_script = lambda self, fname, edit=False: self._execute_cmd(
        "{python} {fname:q}", python=python, fname=fname
    )
    print(address, flush=True)
    running = {}
    while sys.stdin not in (all_ready := wait([sys.stdin, asked, *running])):
        for ready in all_ready:
            if ready is asked:
                connection, _ = asked.accept()
                # As such a process ends, it does not take its interpreter apart, which takes a second.
                child = multiprocessing.get_context("fork").Process(target=_run, args=(connection,))
                child.start()
                running[child.sentinel] = child, connection
            else:
                child, connection = running.pop(ready)
                child.join()
                connection.send(str(child.exitcode).encode())
                connection.close()
    os._exit(0)


def _run(connection: socket.socket) -> None:
    _, files, *_ = socket.recv_fds(connection, 1, 3)
    arguments, folder, environment = json.loads(connection.makefile().readline())
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    for descriptor, file in enumerate(files):
        os.dup2(file, descriptor)
    try:
        if tuple(arguments[:2]) == SNAKEMAKE:
            sys.path[0], sys.argv = folder, arguments[1:]
            runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
        else:
            sys.path[:1] = [os.path.dirname(arguments[0]), *environment["PYTHONPATH"].split(":")]
            sys.argv = arguments
            runpy.run_path(arguments[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()


@functools.cache
def _address() -> str:
    server = subprocess.Popen(
        [sys.executable, __file__],
        # No threads of the linear algebra, which a fork would not have.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server.stdout.readline().strip()


def launch(
    arguments: tuple[str, ...], folder: Path, output: Path, environment: dict[str, str]
) -> int:
    """Run Snakemake with standard output and errors in a file; its exit code."""
    with output.open("a") as file, open(os.devnull) as nothing:
        if environment.get("PYTHONPATH") == os.environ.get("PYTHONPATH"):
            files = [nothing.fileno(), file.fileno(), file.fileno()]
            return ask(_address(), [*SNAKEMAKE, *arguments], str(folder), environment, files)
        command = [sys.executable, *SNAKEMAKE, *arguments]
        return subprocess.run(
            command, cwd=folder, env=environment, stdin=nothing, stdout=file, stderr=file
        ).returncode


if __name__ == "__main__":
    serve()
