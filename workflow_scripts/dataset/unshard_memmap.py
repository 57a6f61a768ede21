r"""Join shards into one .bin, with the command line of the original unshard_memmap.py.

    python -m workflow_scripts.dataset.unshard_memmap \
        --input_file raw/pile_0.87_deduped_text_document-00000-of-00082.bin --num_shards 83 --output_dir joined

The pipeline itself does not need this: dataset.make_view reads shards in place. All shards must be there with sizes
that fit the .idx beside them, which is checked and copied along. Hashes are compared with --lock, or with a sha256.txt
beside the shards. A killed run goes on where it was. The receipt lists the joined files with size and sha256.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.dataset.files.cutting import WrittenFile
from workflow_scripts.dataset.files.joining import Joined, JoinPlan, check_count, join, plan_join
from workflow_scripts.dataset.publish_shards import copy_file
from workflow_scripts.json_values import JsonObject
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.sources.source import OWN_LOCK

log = logging.getLogger(__name__)


def known_hashes(lock: Path | None, folder: Path) -> dict[str, tuple[int | None, str | None]]:
    """File name -> size and sha256 from ``lock``, or from the list beside the shards if there is one."""
    path = lock or folder / OWN_LOCK
    if lock is None and not path.is_file():
        return {}
    return {Path(entry.path).name: (entry.size, entry.sha256) for entry in read_lock(path)}


def receipt_of(plan: JoinPlan, joined: Joined, idx: WrittenFile | None) -> JsonObject:
    """What was joined from what."""
    files = [{"path": plan.target.name, "size": plan.total, "sha256": joined.sha256}]
    if idx is not None:
        files.append({"path": idx.path.name, "size": idx.size, "sha256": idx.sha256})
    shards = [
        {"path": shard.path.name, "size": shard.size, "sha256": sha256}
        for shard, sha256 in zip(plan.shards, joined.shard_sha256, strict=True)
    ]
    return {"files": files, "shards": shards}


def unshard(first: Path, folder: Path, lock: Path | None, receipt: Path) -> Joined:
    """Join the set of ``first`` into ``folder`` and write the receipt."""
    plan = plan_join(first, folder, known_hashes(lock, first.parent))
    if plan.idx is None:
        log.warning("%s: no %s.idx beside the shards; only the tokens are joined", first.parent, plan.name)
    # The small file first: when the large one appears, the pair is complete.
    idx = copy_file(plan.idx, folder / plan.idx.name) if plan.idx is not None else None
    joined = join(plan)
    content = receipt_of(plan, joined, idx)
    write_json(receipt, content)
    inputs = {shard.path.name: shard.path for shard in plan.shards}
    hashes = dict(zip(inputs, joined.shard_sha256, strict=True))
    write_record(receipt, inputs, {"bytes": plan.total, "sha256": joined.sha256}, hashes)
    return joined


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse arguments and join."""
    parser = cli.parser(__doc__)
    parser.add_argument("--input_file", type=Path, required=True, help="path of shard 0")
    parser.add_argument(
        "--num_shards", type=int, required=True, help="number of shards: the last number in the names + 1"
    )
    parser.add_argument("--output_dir", type=Path, required=True, help="folder for the joined .bin and .idx")
    parser.add_argument("--lock", type=Path, help="list of sha256; default: sha256.txt beside the shards, if any")
    parser.add_argument("--receipt", type=Path, help="JSON receipt; default: joined.json in --output_dir")
    options = parser.parse_args(arguments)
    check_count(options.input_file, options.num_shards)
    receipt = options.receipt or options.output_dir / "joined.json"
    joined = unshard(options.input_file, options.output_dir, options.lock, receipt)
    log.info("joined %d shards, sha256 %s", len(joined.shard_sha256), joined.sha256)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
