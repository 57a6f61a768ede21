r"""Seal a finished run: hash everything that it made and write one manifest with one line for the paper.

    pythia seal --run pocket
    pythia seal --run pocket --sign ~/.ssh/id_ed25519

The manifest names each output, its record, the configuration, the locks, the revisions of the checkpoints and the
code; ``pythia verify`` checks a release against it. A run that is unfinished, or made by other code than the present,
is refused; --partial seals what is there and says so. --sign takes the file of an ssh key, or the name of a gpg key,
and puts the signature beside the manifest. docs/how-to/seal-a-release.md tells what to publish.
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts import ROOT, cli
from workflow_scripts.provenance.release.manifest import write_manifest
from workflow_scripts.provenance.release.published_results import seal_published
from workflow_scripts.provenance.release.sealing import seal_run
from workflow_scripts.provenance.release.signatures import sign
from workflow_scripts.published.show_scores import CARRIED
from workflow_scripts.suite.layout import run_folder

logger = logging.getLogger(__name__)
MANIFEST = "seal.json"


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--run", help="name of the run, a folder of results/runs")
    what.add_argument("--published", action="store_true", help="the authors' results in config/suites/published")
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the workflow ran in")
    parser.add_argument("--output", type=Path, help=f"manifest to write (results/runs/RUN/{MANIFEST})")
    parser.add_argument("--sign", metavar="KEY", help="file of an ssh key, or name of a gpg key, to sign with")
    parser.add_argument("--partial", action="store_true", help="seal what is there of a run that is not finished")
    options = parser.parse_args(arguments)
    start = time.monotonic()
    if options.published:
        manifest, place = seal_published(options.root), CARRIED.relative_to(ROOT).with_suffix(".seal.json")
    else:
        manifest = seal_run(options.run, options.root, partial=options.partial)
        place = Path(run_folder(options.run)) / MANIFEST
    target = options.output or options.root / place
    write_manifest(target, manifest)
    size = sum(file.bytes for file in manifest.files())
    counts = f"{len(manifest.outputs)} outputs, {len(manifest.records)} records, {size / 1e6:.1f} MB"
    logger.info("%s: %s, in %.1f s", target, counts, time.monotonic() - start)
    if options.sign:
        logger.info("signed: %s", sign(target, options.sign))
    if manifest.partial:
        logger.warning("partial: %d outputs of the run are missing", len(manifest.missing))
    cli.say(manifest.line)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
