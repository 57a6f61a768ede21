r"""Say where a figure, a table or a number comes from: records of all inputs, down to the raw ones.

    python -m workflow_scripts.provenance.why results/runs/pocket/figures/scores_over_training.svg
    python -m workflow_scripts.provenance.why results/runs/pocket/tables/scores.parquet --only pocket-1m/step600

Each line is a file with the first digits of its sha256 as recorded, then how it was made: program, code, and the
libraries where they are not those of the output that was asked about.
"changed since" means that the file is no longer what went into the output. A file without a record is a raw input,
or, below results/, one whose program left no record; both are said.
"""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts import cli
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.provenance.lineage import Link, Node, trace

SHORT = 12  # digits of a hash
MOST_SHOWN = 12  # inputs of one output
LONGEST_LINE = 160  # characters
MADE_HERE = "results"
# Results of the drawing itself; the figure shows them.
NOT_SHOWN = ("title", "caption", "alternative", "sha256")


@dataclass
class Tree:
    """Lines of the tree; a file that was shown before is named again without what is behind it."""

    root: Path
    only: str = ""
    libraries: str = ""
    shown: set[Path] = field(default_factory=set)
    explained: set[Path] = field(default_factory=set)

    def lines(self, node: Node, head: str, indent: str = "") -> Iterator[str]:
        """``head`` and all that is behind ``node``."""
        if node.where in self.explained:
            yield f"{head} {'(see above)' if node.path in self.shown else '(made together with a file above)'}"
            return
        self.shown.add(node.path)
        self.explained |= {node.where} if node.where else set()
        yield head
        for text in self.making(node.record) if node.record else ():
            yield f"{indent}{'│ ' if node.links else '  '}{text}"
        links = self.chosen(node.links)
        for number, link in enumerate(links[:MOST_SHOWN]):
            last = number == len(links) - 1
            branch, below = ("└─ ", "   ") if last else ("├─ ", "│  ")
            yield from self.lines(link.node, f"{indent}{branch}{self.described(link)}", indent + below)
        if len(links) > MOST_SHOWN:
            yield f"{indent}└─ and {len(links) - MOST_SHOWN} more inputs; --only TEXT chooses among them"

    def making(self, record: JsonMapping) -> Iterator[str]:
        """How an output was made: command, code, libraries, parameters."""
        yield f"made by {cut(shlex.join(record.get('command', [])))}"
        libraries = ", ".join(f"{name} {version}" for name, version in record.get("versions", {}).items())
        own = f"; {libraries}" if libraries != self.libraries else ""
        self.libraries = self.libraries or libraries
        yield f"code {record.get('code_version', 'unknown')}{own}"
        parameters = {key: value for key, value in record.get("parameters", {}).items() if key not in NOT_SHOWN}
        if parameters:
            yield f"with {cut(', '.join(f'{key}={value}' for key, value in parameters.items()))}"

    def chosen(self, links: Sequence[Link]) -> Sequence[Link]:
        """Links whose name or path holds the wanted text; all where none does."""
        wanted = [link for link in links if self.only in link.name or self.only in str(link.node.path)]
        return wanted or links

    def described(self, link: Link) -> str:
        """One line about an input: name, place, hash and state."""
        path = link.node.path
        place = path.relative_to(self.root) if path.is_relative_to(self.root) else path
        digits = f"  sha256 {link.sha256[:SHORT]}" if link.sha256 else ""
        return f"{link.name}: {place}{digits}{state(link, str(place))}"


def state(link: Link, place: str) -> str:
    """What must be said about an input beyond its hash."""
    words = []
    if not link.node.path.exists():
        words.append("no longer there")
    elif link.sha256 and link.node.path.is_file() and link.node.sha256 not in (None, link.sha256):
        words.append(f"changed since, now {str(link.node.sha256)[:SHORT]}")
    if link.node.record is None:
        made_here = place.split("/", 1)[0] == MADE_HERE
        words.append("no record: its program left none" if made_here else "raw input, no record")
    return f"  [{'; '.join(words)}]" if words else ""


def cut(text: str) -> str:
    """``text``, shortened to a line."""
    return text if len(text) <= LONGEST_LINE else f"{text[:LONGEST_LINE]} ..."


def explain(path: Path, root: Path, only: str = "") -> str:
    """The tree behind ``path`` as text; raises MissingInputError or DataError."""
    node = trace(path, root)
    digits = f"  sha256 {node.sha256[:SHORT]}" if node.sha256 else ""
    note = "" if node.record else "  [no record: a raw input, or its program left none]"
    return "\n".join(Tree(root, only).lines(node, f"{path}{digits}{note}"))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = cli.parser(__doc__)
    parser.add_argument("file", type=Path, help="a figure, table, score file or page")
    parser.add_argument("--only", default="", metavar="TEXT", help="of many inputs show those with this in their path")
    parser.add_argument("--root", type=Path, default=Path(), help="folder that the workflow ran in")
    options = parser.parse_args(arguments)
    cli.say(explain(options.file, options.root, options.only))


if __name__ == "__main__":
    raise SystemExit(cli.run(main))
