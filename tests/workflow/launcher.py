"""Starts Snakemake in a child of one process that has imported what takes long: seconds less for each of a hundred launches.

A child is what `python -m snakemake` is, but for the imports: its own process with the folder, environment, arguments and
output that are asked for, and nothing of this package imported. `PYTHONPATH` is read when an interpreter starts, so a launch
with another one needs a process of its own.
"""

import atexit
import functools
import gc
import json
import multiprocessing
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import NoReturn


def serve() -> None:
    """Launch whatever comes in as a line of JSON; the answer is an exit code."""
    import jsonschema  # noqa: F401
    import nbformat  # noqa: F401
    import pandas  # noqa: F401
    import scipy  # noqa: F401
    import smart_open  # noqa: F401
    import snakemake.cli
    import snakemake.report.html_reporter  # noqa: F401
    import torchvision.models  # noqa: F401

    assert not any(name.partition(".")[0] == "manifold_capacity" for name in sys.modules)
    assert threading.active_count() == 1
    # Half a million objects that no child has to look through for garbage.
    gc.collect()
    gc.freeze()
    for line in sys.stdin:
        # As such a process ends, it does not take its interpreter apart, which takes a second.
        child = multiprocessing.get_context("fork").Process(
            target=_snakemake, kwargs=json.loads(line)
        )
        child.start()
        child.join()
        print(child.exitcode, flush=True)
    os._exit(0)


def _snakemake(
    arguments: list[str], folder: str, output: str, environment: dict[str, str]
) -> NoReturn:
    import snakemake.cli

    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [str(Path(snakemake.__file__).with_name("__main__.py")), *arguments]
    sys.path[0] = folder
    for descriptor, path in enumerate((os.devnull, output, output)):
        os.dup2(os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND), descriptor)
    try:
        sys.exit(snakemake.cli.main())
    finally:
        atexit._run_exitfuncs()


@functools.cache
def _server() -> "subprocess.Popen[str]":
    server = subprocess.Popen(
        [sys.executable, __file__],
        # No threads of the linear algebra, which a fork would not have.
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    atexit.register(server.communicate)
    return server


def launch(
    arguments: tuple[str, ...], folder: Path, output: Path, environment: dict[str, str]
) -> int:
    """Run Snakemake with standard output and errors in a file; its exit code."""
    if environment.get("PYTHONPATH") != os.environ.get("PYTHONPATH"):
        command = [sys.executable, "-m", "snakemake", *arguments]
        with output.open("w") as file:
            return subprocess.run(
                command, cwd=folder, env=environment, stdout=file, stderr=file
            ).returncode
    request = {"folder": str(folder), "output": str(output)}
    request |= {"arguments": arguments, "environment": environment}
    server = _server()
    server.stdin.write(json.dumps(request) + "\n")
    server.stdin.flush()
    code = server.stdout.readline()
    assert code, f"the launcher has ended: {server.wait()}"
    return int(code)


if __name__ == "__main__":
    serve()
