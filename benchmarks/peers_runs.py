"""Environments, processes and tables of benchmarks/peers.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import psutil

PROGRAMS = Path(__file__).parent / "peers_programs.py"


def environment(folder: Path, name: str, requirements: Sequence[str], python: str) -> Path:
    """The Python of a virtual environment that has these packages; made if it is not there yet."""
    home = (folder / "environments" / name).resolve()
    made = home / "requirements.txt"
    text = "".join(f"{requirement}\n" for requirement in requirements)
    if not (made.exists() and made.read_text() == text):
        print(f"Making {home}: {', '.join(requirements)}", file=sys.stderr, flush=True)
        subprocess.run([python, "-m", "venv", "--clear", home], check=True)
        pip = [home / "bin" / "pip", "install", "--quiet", "--disable-pip-version-check"]
        done = subprocess.run([*pip, *requirements], capture_output=True, text=True, check=False)
        if done.returncode:
            last = "\n".join(done.stderr.strip().splitlines()[-4:])
            raise SystemExit(
                f"pip could not install {' '.join(requirements)} for {python}; these versions are "
                f"for Python 3.11 (another one: --python). pip says:\n{last}"
            )
        made.write_text(text)
    return home / "bin" / "python"


def versions(python: Path, packages: Sequence[str]) -> str:
    code = (
        "import platform, sys; from importlib.metadata import version; "
        "print(', '.join([f'Python {platform.python_version()}', *(f'{p} {version(p)}' for p in sys.argv[1:])]))"
    )
    return subprocess.check_output([python, "-c", code, *packages], text=True).strip()


def commit(checkout: Path) -> str:
    """The commit of a checkout, and whether files in it differ."""
    git = ["git", "-C", str(checkout)]
    found = subprocess.check_output([*git, "rev-parse", "HEAD"], text=True).strip()
    changed = subprocess.check_output([*git, "status", "--porcelain", "-uno"], text=True).strip()
    return found + (" with changes" if changed else "")


def _resident(process: psutil.Process) -> int:
    """Bytes that a process and its children hold in memory."""
    total = 0
    for each in [process, *process.children(recursive=True)]:
        try:
            total += each.memory_info().rss
        except psutil.NoSuchProcess:
            continue
    return total


def run(
    python: Path | str, program: str, folder: Path, settings: Mapping[str, Any], threads: int
) -> dict[str, Any]:
    """Run one of `peers_programs.py`: what it returns, with the process's seconds and peak memory.

    Memory is what the process and its children hold, looked at every 0.2 s, or the most that the process
    itself says that it held, if that is more.
    """
    (folder / "settings.json").write_text(json.dumps(settings | {"threads": threads}))
    limits = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    variables = os.environ | dict.fromkeys(limits, str(threads))
    if str(python) != sys.executable:
        variables.pop("PYTHONPATH", None)
    result, log = folder / "result.json", folder / "log.txt"
    result.unlink(missing_ok=True)
    start = time.perf_counter()
    with open(log, "w") as file:
        command = [str(python), "-W", "ignore", str(PROGRAMS), program, str(folder)]
        child = subprocess.Popen(command, stdout=file, stderr=file, env=variables)
        most = 0
        ended = threading.Event()

        def watch() -> None:
            nonlocal most
            process = psutil.Process(child.pid)
            while not ended.wait(0.2):
                try:
                    most = max(most, _resident(process))
                except psutil.NoSuchProcess:
                    return

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            code = child.wait()
        finally:
            ended.set()
            watcher.join()
            if child.poll() is None:
                child.kill()
    whole = time.perf_counter() - start
    if code:
        last = "\n".join(log.read_text().strip().splitlines()[-15:])
        raise SystemExit(f"{program} in {python} ended with exit code {code}:\n{last}")
    found = json.loads(result.read_text())
    return found | {"process_s": whole, "peak_mib": max(most / 2**20, found["own_peak_mib"])}


class Table:
    """Repeated measurements by setting, alternative and quantity; notes are printed below it."""

    def __init__(self, part: str) -> None:
        self.part = part
        self.notes: list[str] = []
        self.rows: list[dict[str, Any]] = []

    def add(
        self,
        setting: str,
        who: str,
        what: str,
        values: Sequence[float],
        unit: str,
        error: float | None = None,
    ) -> None:
        """Costs: the least, beside the largest. Numbers: the mean, beside the deviation or a known error."""
        chosen = np.asarray(values, dtype=float)
        cost = unit in ("s", "us", "MiB")
        if error is None:
            error = float(chosen.std(ddof=1)) if len(chosen) > 1 else 0.0
        row = {
            "part": self.part,
            "setting": setting,
            "who": who,
            "what": what,
            "value": float(chosen.min() if cost else chosen.mean()),
            "least": float(chosen.min()),
            "largest": float(chosen.max()),
            "error": error,
            "n": len(chosen),
            "unit": unit,
            "load": round(os.getloadavg()[0], 1),
        }
        self.rows.append(row)
        print(f"{setting} | {who} | {what}: {self._cell(row)}", file=sys.stderr, flush=True)

    def _cell(self, row: Mapping[str, Any]) -> str:
        """`12 s (13), 4.0 x`: the least, the largest, and the ratio to the setting's first alternative."""
        value, unit = row["value"], row["unit"]
        text = f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"
        if unit not in ("s", "us", "MiB"):
            return f"{text} ± {row['error']:.1g}" if row["error"] > 0 else text
        if row["n"] > 1:
            text += f" ({row['largest']:,.4g})"
        same = ("setting", "what")
        first = next(r for r in self.rows if all(r[key] == row[key] for key in same))
        return text if first is row else f"{text}, {value / first['value']:.3g} x"

    def markdown(self) -> str:
        """A row for each alternative, a column for each quantity; settings with other quantities apart."""
        pages: dict[tuple[str, ...], list[str]] = {}
        for setting in dict.fromkeys(r["setting"] for r in self.rows):
            rows = [r for r in self.rows if r["setting"] == setting]
            titles = {r["what"]: f"{r['what']}, {r['unit']}".removesuffix(", ") for r in rows}
            head = f"| | | {' | '.join(titles.values())} | n |\n{'|---' * (len(titles) + 3)}|"
            page = pages.setdefault(tuple(titles), [head])
            for who in dict.fromkeys(r["who"] for r in rows):
                mine = {r["what"]: r for r in rows if r["who"] == who}
                cells = [self._cell(mine[what]) if what in mine else "" for what in titles]
                n = max(r["n"] for r in mine.values())
                page.append(f"| {setting} | {who} | {' | '.join(cells)} | {n} |")
                setting = ""
        return "\n\n".join("\n".join(page) for page in pages.values())


def write(tables: Sequence[Table], path: Path, measured_commit: str) -> None:
    """All tables as one CSV; parts that were not measured this time keep the rows that they had."""
    frame = pd.DataFrame([row for table in tables for row in table.rows])
    frame["commit"] = measured_commit
    if path.exists():
        kept = pd.read_csv(path)
        frame = pd.concat([kept[~kept["part"].isin(frame["part"])], frame])
    frame.sort_values("part", kind="stable").to_csv(path, index=False, float_format="%.6g")
