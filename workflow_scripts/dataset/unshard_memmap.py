r"""Join shards into one .bin, with the command line of the original unshard_memmap.py.

    python -m workflow_scripts.dataset.unshard_memmap \
        --input-file raw/pile_0.87_deduped_text_document-00000-of-00082.bin --num-shards 83 --output-dir joined

The pipeline itself does not need this: dataset.make_view reads shards in place. All shards must be there, with sizes
that fit the .idx beside them, which is checked and copied along. They are held to --lock; without it to the list of a
suite that has a data set of this name (such as config/suites/locks/pile-deduped.tsv), and to a sha256.txt beside the
shards. Where no list knows a hash the result is reported as not verified. A killed run is resumed, a finished join is
recognised by its receipt, which lists the joined files with size and sha256: storage.verify takes it as a --lock.
"""

import json
import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import ROOT, cli
from workflow_scripts.dataset.files.cutting import WrittenFile
from workflow_scripts.dataset.files.joining import Joined, JoinPlan, assembled, check_count, plan_join
from workflow_scripts.dataset.publish_shards import copy_file
from workflow_scripts.errors import IntegrityError
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.hashing import sha256_file
from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.sources.source import OWN_LOCK
from workflow_scripts.suite.registry import load_suite, suite_names

log = logging.getLogger(__name__)


def known_files(first: Path, lock: Path | None) -> dict[str, tuple[int | None, str | None]]:
    """File name -> size and sha256, from ``lock`` or from what a suite and the list beside the shards know.

    A suite's list has the last word on what it knows.
    """
    if lock is not None:
        return {Path(entry.path).name: (entry.size, entry.sha256) for entry in read_lock(lock)}
    lists = [path for path in (first.parent / OWN_LOCK, suite_lock(first)) if path is not None and path.is_file()]
    known: dict[str, tuple[int | None, str | None]] = {}
    for path in lists:
        for entry in read_lock(path):
            size, sha256 = known.get(Path(entry.path).name, (None, None))
            known[Path(entry.path).name] = (size if entry.size is None else entry.size, entry.sha256 or sha256)
    return known


def suite_lock(first: Path) -> Path | None:
    """List of the data set of a suite whose first shard has this name; None when no suite has one."""
    suites = (load_suite(name) for name in suite_names())
    datasets = (dataset for suite in suites for dataset in suite.datasets.values())
    return next((ROOT / found.lock for found in datasets if found.lock and first.name == found.shard_names[0]), None)


def copy_index(plan: JoinPlan, sha256: str | None) -> WrittenFile | None:
    """Copy the .idx to the joined file; raises IntegrityError when it has not the ``sha256`` known beforehand."""
    if plan.idx is None:
        return None
    if sha256 is not None and (seen := sha256_file(plan.idx)) != sha256:
        raise IntegrityError(f"{plan.idx}: sha256 {seen}, the list of hashes says {sha256}; fetch it again")
    return copy_file(plan.idx, plan.target.with_name(plan.idx.name))


def receipt_of(plan: JoinPlan, joined: Joined, idx: WrittenFile | None) -> JsonObject:
    """What was joined from what."""
    files = [{"path": plan.target.name, "size": plan.total, "sha256": joined.sha256}]
    if idx is not None:
        files.append({"path": idx.path.name, "size": idx.size, "sha256": idx.sha256})
    shards = [
        {"path": shard.path.name, "size": shard.size, "sha256": sha256}
        for shard, sha256 in zip(plan.shards, joined.shard_sha256, strict=True)
    ]
    return {"files": files, "shards": shards, "verified": plan.is_listed}


def finished(plan: JoinPlan, receipt: Path) -> Joined | None:
    """What an earlier run joined of the same shards, by its receipt; None unless nothing has changed since."""
    files = [plan.target, *([plan.target.with_name(plan.idx.name)] if plan.idx else [])]
    try:
        noted = json.loads(receipt.read_text("utf-8"))
        shards = [(each["path"], each["size"], each["sha256"]) for each in noted["shards"]]
        written = [(each["path"], each["size"]) for each in noted["files"]]
        found = [(path.name, path.stat().st_size) for path in files]
        changed = max(path.stat().st_mtime_ns for path in (*files, *(shard.path for shard in plan.shards)))
        joined = Joined(tuple(str(sha256) for *_, sha256 in shards), str(noted["files"][0]["sha256"]))
    except (OSError, ValueError, LookupError, TypeError):
        return None
    same = shards == [
        (shard.path.name, shard.size, shard.sha256 or sha256)
        for shard, sha256 in zip(plan.shards, joined.shard_sha256, strict=False)
    ]
    whole = same and written == found and found[0][1] == plan.total
    return joined if whole and changed <= receipt.stat().st_mtime_ns else None


def unshard(first: Path, folder: Path, lock: Path | None, receipt: Path) -> tuple[JoinPlan, Joined]:
    """Join the set of ``first`` into ``folder`` and write the receipt, unless that was done before."""
    known = known_files(first, lock)
    plan = plan_join(first, folder, known)
    if (earlier := finished(plan, receipt)) is not None:
        log.info("%s: joined before, %s says so; delete it to join again", plan.target, receipt)
        return plan, earlier
    if plan.idx is None:
        log.warning("%s: no %s.idx beside the shards; only the tokens are joined", first.parent, plan.name)
    with assembled(plan) as joined:
        # The large file gets its name last, so that where it is the pair is complete.
        idx = copy_index(plan, known.get(f"{plan.name}.idx", (None, None))[1])
    write_json(receipt, receipt_of(plan, joined, idx))
    inputs = {shard.path.name: shard.path for shard in plan.shards}
    hashes = dict(zip(inputs, joined.shard_sha256, strict=True))
    parameters = {"bytes": plan.total, "sha256": joined.sha256, "verified": plan.is_listed}
    write_record(receipt, inputs, parameters, hashes)
    return plan, joined


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("--input-file", type=Path, required=True, help="path of shard 0")
    parser.add_argument(
        "--num-shards", type=int, required=True, help="number of shards: the last number in the names + 1"
    )
    parser.add_argument("--output-dir", type=Path, required=True, help="folder for the joined .bin and .idx")
    parser.add_argument("--lock", type=Path, help="list of sizes and sha256; default: what a suite and sha256.txt know")
    parser.add_argument("--receipt", type=Path, help="JSON receipt; default: joined.json in --output-dir")
    options = parser.parse_args(arguments)
    check_count(options.input_file, options.num_shards)
    receipt = options.receipt or options.output_dir / "joined.json"
    plan, joined = unshard(options.input_file, options.output_dir, options.lock, receipt)
    log.info("%s: %d shards joined, sha256 %s", plan.target, len(plan.shards), joined.sha256)
    if not plan.is_listed:
        log.warning("%s: not verified, no list has the hashes of its shards; compare the sha256 above", plan.target)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
