r"""Fill or update the ledger: commit, sizes and sha256 of every checkpoint that a suite's repositories serve.

The branches of each repository are listed first; only revisions that are new, or whose branch points to another commit
than the ledger says, are read. So an interrupted run resumes where it stopped, and a second run costs one request per
repository. With source git-lfs one partial clone of pointers tells everything; with source hub each new revision costs
one request, and a Hub that asks for a pause gets it. A branch that has moved is named with both commits and stops the
program; look at it, then accept it with --when-moved accept.

Examples:
  python -m workflow_scripts.checkpoints.ledger --suite pythia --models pythia-70m --source git-lfs \
    --location 'https://huggingface.co/{repository}' --ledger config/suites/locks/checkpoints.tsv
  python -m workflow_scripts.checkpoints.ledger --suite pocket --source mirror --location results/mirror \
    --ledger results/audit/pocket/ledger.tsv
"""

import argparse
import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.checkpoints.checkpoint_files import is_weight_file
from workflow_scripts.checkpoints.ledger_file import MAIN, Ledger, Revision, order, read_ledger, write_ledger
from workflow_scripts.checkpoints.revisions import Revisions, open_revisions
from workflow_scripts.errors import IntegrityError, shorten
from workflow_scripts.progress import Progress
from workflow_scripts.storage.credentials import public_url, refuse_secrets
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.source_arguments import add_patience_arguments, policy_of
from workflow_scripts.suite.models import Model, Suite
from workflow_scripts.suite.run import changed_suite, read_changes, select_models

WHEN_MOVED = ("refuse", "accept")
# Revisions read between two savings of the ledger: what an interruption may cost.
SAVE_EVERY = 25
log = logging.getLogger(__name__)


@dataclass
class Changes:
    """What an update found for one model; ``moved`` holds revision, old and new commit."""

    new: list[str] = field(default_factory=list)
    moved: list[tuple[str, str, str]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def compare(model: Model, known: dict[str, Revision], branches: dict[str, str]) -> Changes:
    """Differences between the ledger, what a repository serves, and the steps that the suite says there are."""

    def rank(name: str) -> tuple[object, ...]:
        return order((model.name, name))

    expected = {model.step(step).revision for step in model.steps} | {MAIN}
    served = sorted(branches, key=rank)
    return Changes(
        new=[name for name in served if name not in known],
        moved=[(n, known[n].commit, branches[n]) for n in served if n in known and known[n].commit != branches[n]],
        gone=sorted(set(known) - set(branches), key=rank),
        missing=sorted(expected - set(branches), key=rank),
    )


def describe(model: Model, changes: Changes) -> list[str]:
    """One line for each thing that a reader of the ledger should know."""
    lines = [f"{model.name} {name}: moved from commit {old} to {new}" for name, old, new in changes.moved]
    lines += [f"{model.name} {name}: no longer served; its lines stay in the ledger" for name in changes.gone]
    if changes.missing:
        names = shorten([name for name in changes.missing if name not in changes.gone] or changes.missing)
        lines.append(f"{model.name}: the suite lists {names}, the repository has no such revision")
    return lines


def final_differs(model: Model, ledger: Ledger) -> str:
    """Say how the last step differs from main; empty when their weights are the same, or one is not known."""
    if not model.steps:
        return ""
    name = model.step(model.steps[-1]).revision
    last, main = ledger.get(model.name, name), ledger.get(model.name, MAIN)
    if last is None or main is None:
        return ""
    ours, theirs = ({f.path: f.sha256 for f in found.files if is_weight_file(f.path)} for found in (last, main))
    names = sorted(path for path in ours.keys() | theirs.keys() if ours.get(path) != theirs.get(path))
    return f"{model.name}: {name} and main differ in {shorten(names)}" if names else ""


def update(model: Model, ledger: Ledger, revisions: Revisions, path: Path, when_moved: str) -> Changes:
    """Bring the ledger up to date for one model, saving it now and then; moved branches are taken only on request."""
    branches = revisions.branches()
    changes = compare(model, ledger.of(model.name), branches)
    wanted = [*changes.new, *([name for name, _, _ in changes.moved] if when_moved == "accept" else [])]
    with Progress(f"ledger {model.name}", len(wanted), "revisions") as progress:
        for number, name in enumerate(wanted, start=1):
            ledger.put(model.name, name, revisions.read(name, branches[name]))
            progress.advance()
            if number % SAVE_EVERY == 0:
                write_ledger(path, ledger)
    write_ledger(path, ledger)
    return changes


def models_of(suite: Suite, names: Sequence[str]) -> tuple[Model, ...]:
    """Models by name or pattern; all that a run without a choice would take when there are no names."""
    return select_models(suite, list(names) or "all")


def argument_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--suite", required=True, help="name of a file in config/suites")
    parser.add_argument("--models", nargs="+", default=[], metavar="NAME", help="models or patterns; default all")
    parser.add_argument("--changes", default="", metavar="JSON", help="the run's overrides and variants of the models")
    parser.add_argument("--source", choices=("git-lfs", "hub", "mirror"), required=True, help="kind of source")
    parser.add_argument(
        "--location", default="", help="folder of the mirror, endpoint of the Hub, or git URL with {repository}"
    )
    parser.add_argument("--ledger", type=Path, required=True, help="table to fill; created if missing")
    parser.add_argument("--when-moved", choices=WHEN_MOVED, default="refuse", help="what to do with moved branches")
    add_patience_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse, update model by model, report; moved branches that were not accepted end with an error."""
    options = argument_parser().parse_args(arguments)
    refuse_secrets([options.location])
    models = models_of(changed_suite(options.suite, read_changes(options.changes)), options.models)
    ledger = read_ledger(options.ledger) if options.ledger.is_file() else Ledger()
    policy, moved, requests = policy_of(options), 0, 0
    for model in models:
        place = (options.source, options.location, model.repository, policy, options.stall_seconds)
        with open_revisions(*place, pattern=model.revision_pattern) as revisions:
            changes = update(model, ledger, revisions, options.ledger, options.when_moved)
        requests += revisions.requests
        moved += len(changes.moved)
        for line in [*describe(model, changes), final_differs(model, ledger)]:
            if line:
                log.warning("%s", line)
        log.info("%s: %d revision(s) in the ledger, %d new", model.name, len(ledger.of(model.name)), len(changes.new))
    facts = {"suite": options.suite, "source": options.source, "location": public_url(options.location)}
    write_record(options.ledger, {}, facts)
    log.info("%s: up to date for %d model(s), %d request(s)", options.ledger, len(models), requests)
    if moved and options.when_moved == "refuse":
        raise IntegrityError(
            f"{options.ledger}: {moved} branch(es) have moved since they were recorded (see above) and were not "
            "changed; accept the new commits with --when-moved accept"
        )


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
