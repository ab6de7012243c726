"""Why a job failed whose log does not say it, and Snakemake's errors without their tracebacks."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable
from pathlib import Path

_DIED = re.compile(r"died with <Signals\.(\w+)|exit status (\d+)")
_LOCATION = re.compile(r'^(\w+Error|\w+Exception)( in file "[^"]*"(, line \d+)?)?:\n')
_LEAST_FREE = 2**16  # bytes, for a log
_FRAME = re.compile(r'\n +File "[^"]*", line \d+, in .*')


def is_exit(text: str, exception: str) -> bool:
    """Whether an error of Snakemake's only says how a job's process ended."""
    return exception in ("RuleException", "CalledProcessError") and bool(_DIED.search(text))


def cause_of(rule: str, exit_text: str, message: str) -> str:
    """Why a job of a rule failed, from Snakemake's text on its exit and the executor's message."""
    died = _DIED.search(exit_text)
    signal, status = died.groups() if died else (None, None)
    if signal == "SIGKILL" or status == "137":
        return (
            "The job was killed (SIGKILL), most likely for lack of memory: run fewer jobs at once "
            f"(--cores), or on a cluster request more memory (--set-resources {rule}:mem_mb=...)."
        )
    if signal is None and status is not None and int(status) > 128:
        signal = f"signal {int(status) - 128}"
    if signal:
        return f"The job was terminated from outside by {signal}."
    if message:
        return message
    if status:
        return f"The job ended with exit status {status}, and its log does not say why."
    return exit_text.strip() or "Snakemake does not say why."


def full_disk(logs: Iterable[Path]) -> str:
    """Why the logs of a failed job say nothing, if their disk is full."""
    for log in logs:
        if log.parent.is_dir() and shutil.disk_usage(log.parent).free < _LEAST_FREE:
            return (
                f"The disk of {log.parent} is full: make room, or choose another `results` folder."
            )
    return ""


def without_traceback(text: str) -> str:
    """The text of an error of Snakemake's without the lines of code that it went through."""
    if "not valid JSON or YAML" in text and (problem := _yaml_problem()):
        return problem
    if text.startswith("Traceback") and "FileNotFoundError" in text and "load_configfile" in text:
        missing = text.strip().rpartition(": ")[2]
        return f"--configfile: {missing} does not exist; complete examples are config.yaml and configs/"
    if text.startswith("Traceback") and "configfile" in text:
        if problem := _yaml_problem():
            return problem
        if "RecursionError" in text:
            return "--configfile: nested too deeply, or an alias stands for what it is in"
    if text.startswith("Traceback"):
        return f"{text.strip().splitlines()[-1]}\n(--verbose shows the traceback)"
    return _FRAME.sub("", _LOCATION.sub("", text)).strip()


def _yaml_problem() -> str:
    """What is wrong in which line of the configuration files that the command names."""
    import yaml

    names = [word for word in sys.argv[1:] if word.endswith((".yaml", ".yml", ".json"))]
    for name in [*names, "config.yaml"]:
        try:
            with open(name, encoding="utf-8") as file:
                yaml.safe_load(file)
        except yaml.YAMLError as error:
            return f"{name} is not valid YAML: {' '.join(str(error).split())}"
        except RecursionError:
            return f"{name} cannot be read: it is nested too deeply"
        except (OSError, ValueError) as error:  # bytes that are no text, an integer of 5000 digits
            return f"{name} cannot be read: {error}"
    return ""
