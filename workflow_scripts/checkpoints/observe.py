r"""Look at every revision of a model without fetching it: lists of files, headers of weights, samples of tensors.

What is wrong with a revision by itself is noted at once (a file missing, short or damaged, tensors missing or of a
wrong type, values that are not finite); what can only be seen by comparing revisions and models is left to the audit. A
revision costs one request for its list, one for each weight file's header and at most --samples for tensors: for the
154 steps of the 12b model about 11,000 requests and 60 MB of 3.7 TB. An interrupted run resumes where it stopped.

Example:
  python -m workflow_scripts.checkpoints.observe --suite pocket --model pocket-90k --source mirror \
    --location results/mirror --output results/audit/pocket/pocket-90k.json
"""

import argparse
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.checkpoints.inspection import Observation, inspect_revision
from workflow_scripts.checkpoints.ledger_file import MAIN, order
from workflow_scripts.checkpoints.revisions import open_revisions
from workflow_scripts.errors import ConfigError
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.progress import Progress
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.credentials import public_url, refuse_secrets
from workflow_scripts.storage.http.http_reader import HttpReader
from workflow_scripts.storage.http.retry import RetryPolicy
from workflow_scripts.storage.leftovers import journal_path
from workflow_scripts.storage.lockfile import FileEntry
from workflow_scripts.storage.records import write_record
from workflow_scripts.storage.source_arguments import add_patience_arguments, policy_of
from workflow_scripts.storage.sources.hub import DENIED, HubSource, checked_endpoint
from workflow_scripts.storage.sources.source import ByteStream, MirrorSource, Repository, Source
from workflow_scripts.suite.models import Model
from workflow_scripts.suite.run import changed_suite, read_changes

SAMPLES = 64
SAVE_EVERY = 20
log = logging.getLogger(__name__)
OpenRevision = Callable[[str, str], Source]


@dataclass
class Traffic:
    """Requests asked and bytes of content received."""

    requests: int = 0
    bytes: int = 0


class Counted:
    """A source that counts what is asked of it; streams are passed on uncounted because nothing here opens one."""

    def __init__(self, source: Source, traffic: Traffic) -> None:
        """``source`` does the work, ``traffic`` the sums."""
        self.source, self.traffic = source, traffic
        self.name, self.location = source.name, source.location

    @property
    def repository(self) -> Repository:
        """What is served."""
        return self.source.repository

    def commit(self) -> str | None:
        """Commit of the revision."""
        return self.source.commit()

    def files(self) -> list[FileEntry]:
        """All files, by one request."""
        self.traffic.requests += 1
        return self.source.files()

    def open(self, path: str, offset: int) -> AbstractContextManager[ByteStream]:
        """Stream of a file."""
        return self.source.open(path, offset)

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """Part of a file, by one request."""
        self.traffic.requests += 1
        self.traffic.bytes += length
        return self.source.read_range(path, offset, length)


@contextmanager
def opened(kind: str, location: str, name: str, policy: RetryPolicy, stall_seconds: float) -> Iterator[OpenRevision]:
    """Function that opens a revision of repository ``name`` at a commit; the Hub's connections are shared."""
    if kind == "mirror":
        yield lambda revision, _: MirrorSource(Path(location), Repository("model", name, revision))
        return
    endpoint = checked_endpoint(location)
    with HttpReader(stall_seconds, DENIED) as reader:
        yield lambda revision, commit: HubSource(endpoint, Repository("model", name, revision, commit), policy, reader)


def observe(
    model: Model, branches: Mapping[str, str], open_revision: OpenRevision, samples: int, partial: Path
) -> tuple[dict[str, Observation], Traffic]:
    """Look at every revision of ``branches`` that the suite expects; what ``partial`` has is not asked for again."""
    expected = {model.step(step).revision for step in model.steps} | {MAIN}
    wanted = sorted(expected & set(branches), key=lambda name: order((model.name, name)))
    seen, traffic = read_partial(partial, branches), Traffic()
    with Progress(f"observe {model.name}", len(wanted), "revisions") as progress:
        for number, name in enumerate(wanted, start=1):
            if name not in seen:
                source = Counted(open_revision(name, branches[name]), traffic)
                seen[name] = inspect_revision(model, source, branches[name], samples)
            progress.advance()
            if number % SAVE_EVERY == 0:
                write_json(partial, {revision: found.as_json() for revision, found in seen.items()})
    return seen, traffic


def read_partial(partial: Path, branches: Mapping[str, str]) -> dict[str, Observation]:
    """What an interrupted run has seen of revisions that are still at the same commit."""
    if not partial.is_file():
        return {}
    content = {name: Observation.from_json(value) for name, value in json.loads(partial.read_text("utf-8")).items()}
    return {name: found for name, found in content.items() if branches.get(name) == found.commit}


def as_json(model: Model, changes: JsonMapping, seen: Mapping[str, Observation], traffic: Traffic) -> JsonObject:
    """What the audit reads; ``changes`` make a model of the suite into this one."""
    return {
        **({"changes": dict(changes)} if changes else {}),
        "model": model.name,
        "suite": model.suite,
        "revisions": {name: found.as_json() for name, found in seen.items()},
        "traffic": {"requests": traffic.requests, "bytes": traffic.bytes},
    }


def argument_parser() -> argparse.ArgumentParser:
    parser = cli.parser(__doc__)
    parser.add_argument("--suite", required=True, help="name of a file in config/suites")
    parser.add_argument("--model", required=True, help="one model of the suite")
    parser.add_argument("--changes", default="", metavar="JSON", help="the run's overrides and variants of the models")
    parser.add_argument("--source", choices=("hub", "mirror"), required=True, help="kind of source")
    parser.add_argument("--location", default="", help="folder of the mirror, or endpoint of the Hub")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="maximum number of tensors to sample per revision")
    parser.add_argument("--output", type=Path, required=True, help="JSON file for the audit")
    add_patience_arguments(parser)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    options = argument_parser().parse_args(arguments)
    refuse_secrets([options.location])
    if options.samples < 1:
        raise ConfigError(f"--samples is {options.samples}; give at least 1")
    changes, policy = read_changes(options.changes), policy_of(options)
    model = changed_suite(options.suite, changes).model(options.model)
    place = (options.source, options.location, model.repository, policy, options.stall_seconds)
    partial = journal_path(options.output)
    with open_revisions(*place, pattern=model.revision_pattern) as revisions, opened(*place) as open_revision:
        branches = revisions.branches()
        seen, traffic = observe(model, branches, open_revision, options.samples, partial)
        traffic.requests += revisions.requests
    write_json(options.output, as_json(model, changes, seen, traffic))
    partial.unlink(missing_ok=True)
    facts = {"model": model.name, "source": options.source, "location": public_url(options.location)}
    write_record(options.output, {}, facts)
    cost = f"{traffic.requests} request(s), {traffic.bytes} bytes"
    log.info("%s: %d revision(s) inspected with %s", model.name, len(seen), cost)


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
