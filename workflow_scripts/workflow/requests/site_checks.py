"""The site's file beside the cluster itself: limits that are too high; missing partitions, accounts and QOS."""

from __future__ import annotations

import getpass
import math
import os
from collections.abc import Mapping, Sequence

from workflow_scripts.workflow.requests import slurm_facts
from workflow_scripts.workflow.requests.cluster_site import Site, minutes_of

ANEW = "workflow.tools.write_site writes the file anew"


def disagreements(site: Site, seen: Mapping[str, slurm_facts.Seen]) -> list[str]:
    """What the site's file promises and the cluster does not have."""
    found = []
    for each in site.partitions:
        real = seen.get(each.name)
        if real is None:
            found.append(f"the cluster has no partition {each.name}, only {', '.join(sorted(seen))}; {ANEW}")
            continue
        limit = math.inf if real.time_limit == "infinite" else minutes_of(real.time_limit)
        per_node = max(real.gpus.values(), default=0)
        values = {
            "max_runtime": (each.minutes, limit),
            "max_mem_mb": (each.memory_mb, real.memory_mb),
            "max_cpus_per_task": (each.cpus, real.cpus),
            "max_gpu": (each.gpus, per_node * (real.max_nodes or real.nodes)),
        }
        values |= {"per_node": (each.per_node, per_node)} if each.gpus else {}
        found += [
            f"{each.name}: {key} is {mine:,.0f}, the cluster has {theirs:,.0f}; {ANEW}"
            for key, (mine, theirs) in values.items()
            if math.isfinite(mine) and mine > theirs
        ]
        if missing := sorted(each.constraints - real.features):
            found.append(f"{each.name}: no node has the feature {', '.join(missing)}")
    return found


def refused_users(site: Site, seen: Sequence[slurm_facts.Seen]) -> list[str]:
    """Partitions whose accounts or QOS leave this user out, as far as the cluster's accounting says."""
    answer = slurm_facts.ask("sacctmgr", "-nP", "show", "assoc", f"user={getpass.getuser()}", "format=account,qos")
    accounts = slurm_facts.associations(answer)
    account = os.environ.get("SBATCH_ACCOUNT")
    needed = "associations" in slurm_facts.enforced(slurm_facts.ask(*slurm_facts.SETTINGS))
    found = []
    if needed and not accounts:
        found.append("jobs need an account and you have none: ask your site")
    if account and accounts and account not in accounts:
        found.append(f"SBATCH_ACCOUNT is {account}, your accounts are {', '.join(sorted(accounts))}")
    used = {each.name for each in site.partitions}
    mine = {account} if account else set(accounts)
    for each in seen:
        if each.name in used and each.accounts != "ALL" and mine and not mine & set(each.accounts.split(",")):
            found.append(f"{each.name} takes the accounts {each.accounts}: export SBATCH_ACCOUNT, see docs/cluster.md")
        levels = frozenset().union(*accounts.values()) if accounts else frozenset()
        if each.name in used and each.qos != "ALL" and levels and not levels & set(each.qos.split(",")):
            found.append(f"{each.name} takes the QOS {each.qos}, yours are {', '.join(sorted(levels))}: see slurm-qos")
    return found
