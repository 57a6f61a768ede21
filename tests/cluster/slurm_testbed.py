"""A throw-away Slurm on the loopback interface: munged, slurmctld and slurmd of this user, without systemd.

One node that advertises more processors, memory and GPUs than this machine has; the GPUs are null devices, so that
Slurm grants and counts them and sets CUDA_VISIBLE_DEVICES. Memory limits are enforced. Needs root and Debian's
slurm-wlm and munge. Everything lies in one folder, except the link /etc/slurm/slurm.conf: Snakemake's job step drops
SLURM_CONF before it calls srun. A real file at that place is never replaced.

By hand: python tests/cluster/slurm_testbed.py up FOLDER, then `export SLURM_CONF=FOLDER/slurm.conf`, and `down FOLDER`.
"""

import os
import random
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

SYSTEM_CONF = Path("/etc/slurm/slurm.conf")
PROGRAMS = ("munged", "slurmctld", "slurmd", "squeue", "sbatch", "srun", "scontrol")
# Jobs call `python`: that of the tests, whether its environment is active or not.
SEARCH_PATH = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
NULL_DEVICE = os.makedev(1, 3)
CONFIGURATION = """\
ClusterName=testbed
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmdPort={node_port}
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/munge
AuthInfo=socket={folder}/munge.sock
SlurmUser=root
SlurmdUser=root
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
MpiDefault=none
SwitchType=switch/none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
TaskProlog={folder}/task_prolog
SlurmdParameters=config_overrides
ReturnToService=2
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
GresTypes=gpu
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
JobAcctGatherParams=OverMemoryKill
OverTimeLimit=0
KillWait=2
MinJobAge=300
InactiveLimit=0
AccountingStorageType=accounting_storage/none
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory={memory_mb} Gres=gpu:fake:{gpus} State=UNKNOWN
PartitionName=cpu Nodes={host} Default=YES MaxTime=1-00:00:00 DefaultTime=10 State=UP
PartitionName=gpu Nodes={host} MaxTime=1-00:00:00 DefaultTime=10 State=UP
"""
# Runs in the environment of each task before it: what a program of the job sees. Standard output would change it.
PROLOG = """\
#!/bin/sh
echo "$SLURM_JOB_ID ${{CUDA_VISIBLE_DEVICES-none}}" >> {seen}
"""


def reason_to_skip() -> str:
    """Why no Slurm can be started here; empty when it can."""
    missing = [name for name in PROGRAMS if not shutil.which(name, path=SEARCH_PATH)]
    if missing:
        return f"{missing[0]} is missing: apt-get install --no-install-recommends slurm-wlm munge"
    if os.geteuid() != 0:
        return "a throw-away Slurm needs root, to make its null devices and to start jobs"
    if SYSTEM_CONF.exists() and not SYSTEM_CONF.is_symlink():
        return f"{SYSTEM_CONF} is a real cluster's file and stays as it is"
    return ""


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on now, below those that the kernel gives to the near end of a connection.

    A program that retries to reach a stopped controller would be given the controller's port for its own end one day,
    and the controller would not come back.
    """
    candidates = random.sample(range(20_000, 32_000), 200)
    return [port for port in candidates if is_free(port)][:count]


def is_free(port: int) -> bool:
    """Whether a server could listen on ``port`` of this machine."""
    with socket.socket() as trial:
        return trial.connect_ex(("127.0.0.1", port)) != 0


class SlurmTestbed:
    """The daemons in ``folder``; a short path, because the length of a socket's name is limited."""

    def __init__(self, folder: Path, cpus: int = 8, memory_mb: int = 64_000, gpus: int = 2) -> None:
        self.folder = folder
        self.shape = {"cpus": cpus, "memory_mb": memory_mb, "gpus": gpus}
        self.conf = folder / "slurm.conf"
        self.seen_by_jobs = folder / "seen_by_jobs"
        self.environment = {**os.environ, "PATH": SEARCH_PATH, "SLURM_CONF": str(self.conf)}

    def ask(self, *command: str, timeout: float = 90) -> str:
        """Standard output of a Slurm command; empty when it failed."""
        outcome = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=timeout)
        return outcome.stdout if outcome.returncode == 0 else ""

    def start(self) -> None:
        """Start everything and wait until the node takes jobs."""
        for name in ("state", "spool", "devices"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        self.folder.chmod(0o755)
        self.write_files()
        self.start_munge()
        self.link_configuration()
        self.start_controller()
        self.daemon("slurmd", "-f", str(self.conf))
        self.wait(lambda: self.ask("sinfo", "-h", "-N", "-o", "%T").startswith("idle"), "the node")

    def start_controller(self) -> None:
        """Start the controller, or bring it back with what it saved."""
        self.daemon("slurmctld", "-f", str(self.conf))
        self.wait(lambda: "is UP" in self.ask("scontrol", "ping"), "slurmctld")

    def stop_controller(self) -> None:
        """End the controller as for maintenance; jobs continue."""
        self.end(self.folder / "slurmctld.pid")

    def write_files(self) -> None:
        """Configuration and fake GPUs."""
        host = socket.gethostname().split(".")[0]
        controller_port, node_port = free_ports(2)
        text = CONFIGURATION.format(
            host=host, folder=self.folder, controller_port=controller_port, node_port=node_port, **self.shape
        )
        self.conf.write_text(text)
        prolog = self.folder / "task_prolog"
        prolog.write_text(PROLOG.format(seen=self.seen_by_jobs))
        prolog.chmod(0o755)
        lines = []
        for index in range(self.shape["gpus"]):
            device = self.folder / "devices" / f"gpu{index}"
            os.mknod(device, stat.S_IFCHR | 0o666, NULL_DEVICE)
            lines.append(f"NodeName={host} Name=gpu Type=fake File={device}\n")
        (self.folder / "gres.conf").write_text("".join(lines))

    def start_munge(self) -> None:
        """The authentication daemon, with a key of its own."""
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(1024))
        options = {"socket": "munge.sock", "key-file": key.name, "pid-file": "munged.pid"}
        options |= {"log-file": "munged.log", "seed-file": "munge.seed"}
        self.daemon("munged", *(f"--{name}={self.folder / file}" for name, file in options.items()))

    def link_configuration(self) -> None:
        """Let programs that lost SLURM_CONF find this Slurm."""
        SYSTEM_CONF.parent.mkdir(exist_ok=True)
        SYSTEM_CONF.unlink(missing_ok=True)
        SYSTEM_CONF.symlink_to(self.conf)

    def daemon(self, *command: str) -> None:
        """Start a program that goes into the background by itself."""
        subprocess.run(command, env=self.environment, check=True, timeout=60, stdout=subprocess.DEVNULL)

    def wait(self, ready, what: str, seconds: float = 180) -> None:
        """Wait until ``ready()``."""
        deadline = time.monotonic() + seconds
        while not ready():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} did not come up in {seconds:.0f} s; logs in {self.folder}")
            time.sleep(0.1)

    def visible_gpus(self) -> dict[str, str]:
        """CUDA_VISIBLE_DEVICES by number of job, as a program of the job sees it; ``none`` where it is not set."""
        lines = self.seen_by_jobs.read_text().splitlines()
        return dict(line.split() for line in lines)

    def stop(self) -> None:
        """End all jobs and daemons, and remove the folder."""
        self.ask("scancel", "--user", "root")
        for name in ("slurmd", "slurmctld", "munged"):  # a client before what it needs
            self.end(self.folder / f"{name}.pid")
        if SYSTEM_CONF.is_symlink() and SYSTEM_CONF.readlink() == self.conf:
            SYSTEM_CONF.unlink()
        shutil.rmtree(self.folder, ignore_errors=True)

    def end(self, pid_file: Path) -> None:
        """End the process that a pid file names; insist after five seconds."""
        try:
            pid = int(pid_file.read_text())
            os.kill(pid, signal.SIGTERM)
            for _ in range(50):
                time.sleep(0.1)
                os.kill(pid, 0)
            os.kill(pid, signal.SIGKILL)
        except (FileNotFoundError, ProcessLookupError, ValueError):
            return


if __name__ == "__main__":
    action, folder = sys.argv[1], Path(sys.argv[2])
    if reason := reason_to_skip():
        sys.exit(reason)
    {"up": SlurmTestbed.start, "down": SlurmTestbed.stop}[action](SlurmTestbed(folder))
