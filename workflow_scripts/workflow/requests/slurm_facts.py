"""What a Slurm controller says about itself: partitions with their nodes and GPUs, settings, accounts.

The answers of sinfo, scontrol and sacctmgr are read by pure functions; :func:`ask` is the only one that asks.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass

NODES = ("sinfo", "--noheader", "--Node", "--format", "%R|%l|%c|%m|%G|%f|%N")
PARTITIONS = ("scontrol", "show", "partition", "--oneliner")
SETTINGS = ("scontrol", "show", "config")
SILENCE = 20.0
# How long the controller remembers a job that has ended. squeue is asked every 40 s and must see each of them.
LEAST_JOB_AGE = 120


@dataclass(frozen=True)
class Seen:
    """A partition of the cluster: time limit as Slurm writes it, the largest node, GPUs of a node by model."""

    name: str
    time_limit: str
    memory_mb: int
    cpus: int
    nodes: int
    gpu_nodes: int
    gpus: Mapping[str, int]
    features: frozenset[str] = frozenset()
    max_nodes: int | None = None
    accounts: str = "ALL"
    qos: str = "ALL"


def ask(*command: str) -> str:
    """Standard output of a Slurm command; empty where it is missing, fails or does not answer in 20 seconds."""
    try:
        answer = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SILENCE)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return answer.stdout if answer.returncode == 0 else ""


def partitions_seen(nodes: str, partitions: str = "") -> list[Seen]:
    """The partitions in the answers to :data:`NODES` and :data:`PARTITIONS`, by name (sinfo orders them anew)."""
    rows: dict[str, list[list[str]]] = {}
    for line in nodes.splitlines():
        cells = line.strip().split("|")
        if len(cells) == 7 and cells[2].isdigit() and cells[3].isdigit():
            rows.setdefault(cells[0], []).append(cells)
    said = {each.get("PartitionName", ""): each for each in map(words_of, partitions.splitlines())}
    return [partition_seen(name, lines, said.get(name, {})) for name, lines in sorted(rows.items())]


def partition_seen(name: str, rows: list[list[str]], said: Mapping[str, str]) -> Seen:
    """One partition from its nodes' lines."""
    gpus: dict[str, int] = {}
    for row in rows:
        for model, number in gpus_of(row[4]).items():
            gpus[model] = max(gpus.get(model, 0), number)
    most = said.get("MaxNodes", "UNLIMITED")
    return Seen(
        name=name,
        time_limit=rows[0][1],
        memory_mb=max(int(row[3]) for row in rows),
        cpus=max(int(row[2]) for row in rows),
        nodes=len(rows),
        gpu_nodes=sum(1 for row in rows if gpus_of(row[4])),
        gpus=gpus,
        features=frozenset(feature for row in rows for feature in row[5].split(",") if feature not in ("", "(null)")),
        max_nodes=int(most) if most.isdigit() else None,
        accounts=said.get("AllowAccounts", "ALL"),
        qos=said.get("AllowQos", "ALL"),
    )


def words_of(line: str) -> dict[str, str]:
    """``key=value`` words of one line of scontrol.

    >>> words_of("PartitionName=gpu MaxNodes=2 TRES=cpu=8,mem=4G")
    {'PartitionName': 'gpu', 'MaxNodes': '2', 'TRES': 'cpu=8,mem=4G'}
    """
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def gpus_of(gres: str) -> dict[str, int]:
    """GPUs of a node by model, which is empty where Slurm has no name for it.

    >>> gpus_of("gpu:h100:8(S:0-1),shard:h100:32"), gpus_of("gpu:2"), gpus_of("(null)")
    ({'h100': 8}, {'': 2}, {})
    """
    found = re.findall(r"(?:^|,)gpu(?::([A-Za-z0-9_.-]+?))?:(\d+)(?=$|[,(])", gres)
    return {model: int(number) for model, number in found}


def job_age(settings: str) -> int | None:
    """Seconds for which the controller remembers an ended job; None where the answer does not say."""
    match = re.search(r"^MinJobAge\s*=\s*(\d+)", settings, re.MULTILINE)
    return int(match[1]) if match else None


def enforced(settings: str) -> frozenset[str]:
    """What the accounting enforces: associations, limits, qos and others."""
    match = re.search(r"^AccountingStorageEnforce\s*=\s*(\S+)", settings, re.MULTILINE)
    return frozenset(match[1].lower().split(",")) - {"none"} if match else frozenset()


def associations(answer: str) -> dict[str, frozenset[str]]:
    """Accounts of a user with their QOS, from ``sacctmgr -nP show assoc user=... format=account,qos``."""
    pairs = (line.split("|") for line in answer.splitlines() if line.count("|") == 1)
    return {account: frozenset(filter(None, qos.split(","))) for account, qos in pairs}
