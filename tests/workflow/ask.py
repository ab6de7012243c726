"""Asks the launcher to run something. A shell starts this in place of `python SCRIPT`, so it imports little."""

import json
import os
import socket
import sys
from collections.abc import Mapping, Sequence


def ask(
    address: str,
    arguments: Sequence[str],
    folder: str,
    environment: Mapping[str, str],
    files: Sequence[int],
) -> int:
    """Run a script, or `-m snakemake`, with these standard files; the exit code."""
    with socket.socket(socket.AF_UNIX) as launcher:
        launcher.connect(f"\0{address}")
        socket.send_fds(launcher, [b"-"], files)
        request = json.dumps([arguments, folder, dict(environment)])
        launcher.sendall(f"{request}\n".encode())
        return int(launcher.recv(4))


if __name__ == "__main__":
    sys.exit(ask(sys.argv[1], sys.argv[2:], os.getcwd(), os.environ, [0, 1, 2]))
