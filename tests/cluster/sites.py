"""Copies of the working tree whose profile is set up for the tests' SLURM."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from slurm import ACCOUNT, CPU_PARTITION, GPU_PARTITION, Cluster, Job
from workspaces import Workspace, new_workspace

# A user's command with shorter waits: this cluster has no network file system, and its jobs are short.
COMMAND = [
    *(sys.executable, "-m", "snakemake", "--profile", "profiles/slurm", "--latency-wait", "5"),
    *("--slurm-init-seconds-before-status-checks", "2"),
]


@dataclass
class Site(Workspace):
    """A copy of the working tree on the cluster's login node."""

    cluster: Cluster

    def snakemake(self, *arguments: str, check: bool = True) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=self.folder,
            env=self.cluster.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert (done.returncode == 0) == check, done.stdout
        return done.stdout

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Snakemake in the background; what it prints goes to `printed`."""
        with open(self.folder / "printed", "wb") as out:
            return subprocess.Popen(
                [*COMMAND, *arguments],
                cwd=self.folder,
                env=self.cluster.environment,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    def jobs(self, step: str | None = None) -> list[Job]:
        """The SLURM jobs of this copy, of all rules or of one rule or group."""
        mine = [job for job in self.cluster.jobs() if job.folder == str(self.folder)]
        return [job for job in mine if step in (None, job.step)]


def kill(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and its group."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def new_site(folder: Path, cluster: Cluster, changes: dict[str, Any] | None = None) -> Site:
    """Set up as docs/cluster.md says, with three values in the profile."""
    # The node's GPU is only a device file.
    new_workspace(folder, {"device": "cpu", **(changes or {})})
    site = Site(folder, cluster)
    profile = "profiles/slurm/config.yaml"
    site.edit(profile, "  account: mylab", f"  account: {ACCOUNT}")
    site.edit(profile, "  cpu_partition: cpu", f"  cpu_partition: {CPU_PARTITION}")
    site.edit(profile, "  gpu_partition: gpu", f"  gpu_partition: {GPU_PARTITION}")
    return site
