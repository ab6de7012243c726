"""Install the packages of requirements.lock and this package into the environment whose Python runs this file.

    .venv/bin/python envs/install.py

uv installs them, from where pip is set up to find packages. Where uv is not to be had or fails, pip does.
"""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
UV = [str(Path(sys.executable).with_name("uv")), "pip"]
LOCKED = ["install", "--require-hashes", "-r", "requirements.lock"]
PACKAGE = ["install", "--no-deps", "--no-build-isolation", "--editable", "."]

# uv does not read pip's settings. These are what it calls them, and what stands between several values.
SETTINGS = {
    "index-url": ("UV_DEFAULT_INDEX", " "),
    "extra-index-url": ("UV_INDEX", " "),
    "find-links": ("UV_FIND_LINKS", ","),
    "trusted-host": ("UV_INSECURE_HOST", " "),
    "proxy": ("ALL_PROXY", " "),
    "cert": ("SSL_CERT_FILE", " "),
    "client-cert": ("SSL_CLIENT_CERT", " "),
}


def settings_of_pip() -> dict[str, str]:
    """pip's settings as environment variables of uv."""
    listed = subprocess.check_output([*PIP, "config", "list"], text=True, cwd=ROOT)
    found = {}
    for section in ("global", "install", ":env:"):  # the last counts
        for name, value in re.findall(rf"^{section}\.([a-z-]+)=(.*)$", listed, re.MULTILINE):
            if name in SETTINGS:
                variable, separator = SETTINGS[name]
                found[variable] = separator.join(str(ast.literal_eval(value)).split())
    # As pip does, take a package from any of several indexes: its hash says that it is the right one.
    return found | {"UV_INDEX_STRATEGY": "unsafe-best-match"}


def run(*command: str, **options: object) -> subprocess.CompletedProcess[str]:
    """Run a command in the repository; without a terminal, on which its progress could show, quietly."""
    quiet = [] if sys.stderr.isatty() else ["--quiet"]
    return subprocess.run([*command, *quiet], cwd=ROOT, text=True, **options)


def install_with_uv() -> str:
    """Install everything with uv; returns what kept it from that, or nothing."""
    pinned = ["install", "--require-hashes", "--only-binary", ":all:", "-r", "requirements-uv.lock"]
    got = run(*PIP, *pinned, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if got.returncode:
        (why, *_) = [*re.findall("^ERROR: (.*)", got.stderr, re.MULTILINE), "pip failed"]
        return f"uv cannot be installed ({why.partition('. ')[0]})"
    environment = settings_of_pip() | os.environ
    for arguments in (LOCKED, PACKAGE):
        done = run(*UV, *arguments, "--python", sys.executable, env=environment)
        if done.returncode:
            return f"uv failed with status {done.returncode}"
    return ""


def say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


say("Packages of requirements.lock: up to 3 GB to download, then half a minute to install")
if problem := install_with_uv():
    say(f"{problem}; pip installs instead, one package after the other: about three minutes")
    for arguments in (LOCKED, PACKAGE):
        if status := run(*PIP, *arguments).returncode:
            sys.exit(status)
