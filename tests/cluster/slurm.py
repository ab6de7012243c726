"""A SLURM of two nodes on this host, with all its files in one folder.

It is independent of any other SLURM of the host: it has its own configuration, ports, munge socket and key, and
accounting database. The nodes are two `slurmd`: one in a GPU partition, whose GPU is only a device file, and one in a
CPU partition. Memory limits, which a site enforces by cgroups, are enforced by polling.
"""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = (
    *("munged", "slurmctld", "slurmd", "slurmdbd", "mariadbd", "mariadb-install-db", "mariadb"),
    *("sbatch", "srun", "sacct", "sacctmgr", "scontrol", "sinfo"),
)
# With the folders of Debian's daemons, which a user's PATH may lack.
SEARCH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])

# Not the names in the profile.
ACCOUNT, CPU_PARTITION, GPU_PARTITION = "lab7", "short", "accelerated"

SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
# The minimum; a requeued job waits this long.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool.%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SwitchType=switch/none
# The nodes have the sizes given here, not those of the host.
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
SchedulerParameters=batch_sched_delay=1,bf_interval=2,sched_interval=2
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=127.0.0.1
AccountingStoragePort={dbd_port}
AccountingStoragePass={folder}/munge.socket
AccountingStorageTRES=gres/gpu
AccountingStorageEnforce=associations
MinJobAge=3600
# A lost node is noticed, and comes back, at once.
SlurmdTimeout=5
ReturnToService=2
KillWait=10
MessageTimeout=5
GresTypes=gpu
NodeName=node-gpu NodeHostname={host} NodeAddr=127.0.0.1 Port={gpu_port} CPUs=4 RealMemory=16000 Gres=gpu:1
NodeName=node-cpu NodeHostname={host} NodeAddr=127.0.0.1 Port={cpu_port} CPUs=4 RealMemory=16000
PartitionName={gpu_partition} Nodes=node-gpu MaxTime=24:00:00
PartitionName={cpu_partition} Nodes=node-cpu MaxTime=24:00:00 Default=YES
"""

GRES_CONF = """\
AutoDetect=off
NodeName=node-gpu Name=gpu File=/dev/zero
"""

SLURMDBD_CONF = """\
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
DbdHost=localhost
DbdPort={dbd_port}
SlurmUser={user}
LogFile={folder}/slurmdbd.log
PidFile={folder}/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=127.0.0.1
StoragePort={db_port}
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct
"""


def missing_programs() -> list[str]:
    """Programs of SLURM and its accounting that this host lacks."""
    return [program for program in PROGRAMS if shutil.which(program, path=SEARCH) is None]


def _free_ports(n: int) -> list[int]:
    sockets = [socket.socket() for _ in range(n)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_until(condition: Callable[[], object], what: str, *, seconds: float = 60) -> None:
    """Check a condition twice a second until it holds; a TimeoutError names it."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds:.0f} s: {what}")
        time.sleep(0.5)


@dataclass(frozen=True)
class Job:
    """A line of SLURM's accounting."""

    id: int
    comment: str  # rule_<rule or group>_wildcards_<wildcards>
    partition: str
    state: str
    allocated: str
    node: str
    time_limit: str
    folder: str
    command: str

    @property
    def targets(self) -> list[str]:
        """Snakemake's jobs in this one: ``rule:wildcards``."""
        named = self.command.partition("--target-jobs ")[2].partition(" --")[0]
        return [target.strip("'") for target in named.split()]

    @property
    def step(self) -> str:
        """The rule's name; of a group, the first word of its name."""
        name = self.comment.removeprefix("rule_").partition("_wildcards_")[0]
        for group in ("layers", "summary", "training"):
            if name.startswith((f"{group}-", f"{group}_")):
                return group
        return name

    @property
    def has_gpu(self) -> bool:
        return "gres/gpu=1" in self.allocated.split(",")

    @property
    def memory(self) -> str:
        return dict(item.split("=") for item in self.allocated.split(","))["mem"]


@dataclass
class Cluster:
    """The daemons, and SLURM's commands for them."""

    folder: Path
    daemons: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self) -> None:
        self.folder.mkdir(parents=True, mode=0o755)
        user, ports = getpass.getuser(), _free_ports(5)
        values = dict(
            zip(("ctld_port", "dbd_port", "db_port", "gpu_port", "cpu_port"), ports, strict=True)
        )
        values |= {"cpu_partition": CPU_PARTITION, "gpu_partition": GPU_PARTITION}
        values |= {"folder": self.folder, "host": socket.gethostname(), "user": user}
        for name, text in (
            ("slurm.conf", SLURM_CONF.format(**values)),
            ("gres.conf", GRES_CONF),
            ("slurmdbd.conf", SLURMDBD_CONF.format(**values)),
        ):
            (self.folder / name).write_text(text)
        (self.folder / "slurmdbd.conf").chmod(0o600)
        (self.folder / "state").mkdir()
        # The executor calls srun without any variable that begins with SLURM_, so without SLURM_CONF.
        srun = self.folder / "bin" / "srun"
        srun.parent.mkdir()
        srun.write_text(
            f'#!/bin/sh\nexport SLURM_CONF={self.folder}/slurm.conf\nexec {shutil.which("srun")} "$@"\n'
        )
        srun.chmod(0o755)
        self._start_munge()
        self._start_database(values["db_port"])
        self.daemon("slurmdbd", "-D")
        wait_until(
            lambda: self.ask("sacctmgr", "-n", "show", "cluster", check=False) is not None,
            "slurmdbd",
        )
        self.ask("sacctmgr", "-i", "add", "cluster", "test")
        self.ask("sacctmgr", "-i", "add", "account", ACCOUNT)
        self.ask("sacctmgr", "-i", "add", "user", user, f"account={ACCOUNT}")
        self.daemon("slurmctld", "-D")
        self.start_node("node-gpu")
        self.start_node("node-cpu")
        wait_until(self.ready, "two idle nodes")

    def stop(self) -> None:
        """Stop all daemons, the last one started first, and kill the jobs that are left on the nodes."""
        if "slurmctld" in self.daemons:
            self.ask("scancel", "--user", getpass.getuser(), check=False)
            for name in ("node-gpu", "node-cpu"):
                self.ask(
                    "scontrol",
                    "update",
                    f"NodeName={name}",
                    "State=DOWN",
                    "Reason=end",
                    check=False,
                )
        for process in reversed(self.daemons.values()):
            process.terminate()
        for process in self.daemons.values():
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.daemons.clear()
        for name in ("node-gpu", "node-cpu"):
            self._kill_jobs(name)

    # Daemons

    @property
    def environment(self) -> dict[str, str]:
        """Environment in which SLURM's commands use this cluster."""
        inherited = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("SLURM", "SBATCH", "SRUN", "SNAKEMAKE"))
        }
        path = os.pathsep.join([str(self.folder / "bin"), SEARCH])
        return inherited | {"SLURM_CONF": str(self.folder / "slurm.conf"), "PATH": path}

    def daemon(self, program: str, *arguments: str, name: str = "") -> None:
        name = name or program
        with open(self.folder / f"{name}.out", "ab") as out:
            self.daemons[name] = subprocess.Popen(
                [shutil.which(program, path=SEARCH) or program, *arguments],
                cwd=self.folder,  # for core dumps
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                # Ctrl-C on the tests' terminal must not stop it before `stop`.
                start_new_session=True,
            )

    def start_node(self, name: str) -> None:
        self.daemon("slurmd", "-D", "-N", name, name=name)

    def lose_node(self, name: str) -> None:
        """As after a power cut: kill the node's daemon and its jobs."""
        daemon = self.daemons.pop(name)
        daemon.kill()
        daemon.wait()
        self._kill_jobs(name)

    def _kill_jobs(self, node: str) -> None:
        for pid in self.processes_of(node):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)

    def processes_of(self, node: str) -> list[int]:
        """Processes of the jobs on a node, and the slurmstepd that started them."""
        ours = {f"SLURMD_NODENAME={node}".encode(), f"SLURM_CONF={self.folder}/slurm.conf".encode()}
        found = set()
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError, IndexError):  # it may end at any time
                if ours <= {*(process / "environ").read_bytes().split(b"\0")}:
                    found.add(int(process.name))
                    # slurmstepd itself has another environment.
                    parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
                    if b"slurmstepd" in Path("/proc", parent, "cmdline").read_bytes():
                        found.add(int(parent))
        return sorted(found)

    def _start_munge(self) -> None:
        key = self.folder / "munge.key"
        key.write_bytes(os.urandom(128))
        key.chmod(0o400)
        self.daemon(
            "munged",
            *("--foreground", "--force", f"--key-file={key}"),
            *(f"--socket={self.folder}/munge.socket", f"--pid-file={self.folder}/munged.pid"),
            *(f"--log-file={self.folder}/munged.log", f"--seed-file={self.folder}/munged.seed"),
        )
        wait_until((self.folder / "munge.socket").exists, "munged")

    def _start_database(self, port: int) -> None:
        data, user = self.folder / "mariadb", getpass.getuser()
        # The kernel's asynchronous requests are few, and others on this host may need them.
        common = (
            "--no-defaults",
            f"--datadir={data}",
            f"--user={user}",
            "--innodb-use-native-aio=0",
        )
        self.ask(
            *("mariadb-install-db", *common),
            *("--auth-root-authentication-method=normal", "--skip-test-db"),
        )
        database = f"--socket={self.folder}/mariadb.socket"
        self.daemon(
            "mariadbd",
            *(*common, database),
            *(
                f"--port={port}",
                "--bind-address=127.0.0.1",
                f"--pid-file={self.folder}/mariadb.pid",
            ),
        )
        grant = (
            "CREATE USER slurm@'127.0.0.1' IDENTIFIED BY 'slurm'; CREATE USER slurm@'localhost' "
            "IDENTIFIED BY 'slurm'; GRANT ALL ON slurm_acct.* TO slurm@'127.0.0.1'; "
            "GRANT ALL ON slurm_acct.* TO slurm@'localhost';"
        )
        client = ["mariadb", "--no-defaults", database, "--user=root", "--execute"]
        wait_until(
            lambda: subprocess.run([*client, "SELECT 1"], capture_output=True).returncode == 0,
            "mariadbd",
        )
        subprocess.run([*client, grant], check=True, capture_output=True)

    def cancel_all(self) -> None:
        """Cancel every job, and wait until the nodes are free."""
        self.ask("scancel", "--user", getpass.getuser())
        wait_until(self.ready, "two idle nodes")

    # Queries

    def ask(self, *command: str, check: bool = True) -> str | None:
        """Output of a SLURM command; None if it fails without `check`."""
        done = subprocess.run(command, env=self.environment, capture_output=True, text=True)
        if done.returncode != 0:
            if check:
                raise RuntimeError(f"{' '.join(command)}: {done.stdout}{done.stderr}")
            return None
        return done.stdout

    def ready(self) -> bool:
        states = (self.ask("sinfo", "-h", "-N", "-o", "%N %T", check=False) or "").split("\n")
        return {"node-gpu idle", "node-cpu idle"} <= set(states)

    def jobs(self) -> list[Job]:
        """Accounting of all jobs in the order of submission, with the controller's comments."""
        fields = "JobID,Partition,State,AllocTRES,NodeList,Timelimit,WorkDir,SubmitLine"
        comments = dict(
            line.split("|")
            for line in (
                self.ask("squeue", "--noheader", "--states=all", "--format=%i|%k") or ""
            ).splitlines()
        )
        jobs = []
        for line in (self.ask("sacct", "-X", "-P", "-n", "-o", fields) or "").splitlines():
            number, *rest = line.split("|", 7)
            jobs.append(Job(int(number), comments[number], *rest))
        return sorted(jobs, key=lambda job: job.id)

    def control(self, job_id: int) -> dict[str, str]:
        """State of a job in SLURM's controller: JobState, Restarts, Reason, ..."""
        printed = self.ask("scontrol", "show", "job", str(job_id)) or ""
        return dict(word.split("=", 1) for word in printed.split() if "=" in word)
