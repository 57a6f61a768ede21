r"""The manifest of a sealed run: what was made, from what, by which rules, as one JSON file with one root hash.

    {"format": "pythia-seal", "version": 1, "run": "pocket", ..., "outputs": [...], "records": [...], "root": "..."}

``outputs`` and ``records`` list files; everything else is the header. The root is a Merkle tree hash as in RFC 6962
over the header and the files sorted by path. A leaf is ``sha256(0x00 + JSON)`` of an entry, the first leaf
``sha256(0x02 + JSON)`` of the header, an inner node ``sha256(0x01 + left + right)``; a last node without a partner
moves up as it is. JSON is written with sorted keys, without spaces, as UTF-8. So the root commits to all that the
manifest says and, through it, to every byte of the release. docs/how-to/verify-a-release.md has twenty lines of Python
that compute it.

A manifest comes from a stranger: ``parse`` accepts exactly what ``Manifest`` holds and refuses the rest by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NoReturn, TypeVar

from workflow_scripts.errors import DataError, MissingInputError
from workflow_scripts.json_values import JsonMapping, JsonObject, JsonValue
from workflow_scripts.storage.atomic import write_json
from workflow_scripts.storage.lockfile import LARGEST_SIZE, SHA256, checked_path

FORMAT = "pythia-seal"
VERSION = 1
KINDS = ("run", "published")
LARGEST_MANIFEST = 256 << 20  # bytes; the suite with all its checkpoints needs about 30 MB
LONGEST_WORD = 300  # characters of a name
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
WORD = re.compile(r"[\w.,:/+@=() -]*")
LEAF, NODE, HEADER = b"\x00", b"\x01", b"\x02"
T = TypeVar("T")


@dataclass(frozen=True, order=True)
class SealedFile:
    """A file of the release: path relative to the folder that the workflow ran in, size in bytes, sha256 in hex."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, order=True)
class Output(SealedFile):
    """A file that a rule made; ``record`` is the path of the record that tells how, None where there is none."""

    rule: str | None
    record: str | None


@dataclass(frozen=True)
class Rule:
    """What the records of a rule's outputs say: programs, parameters equal in all of them, names of the others."""

    outputs: int
    programs: tuple[str, ...]
    parameters: JsonMapping
    varying: tuple[str, ...]


@dataclass(frozen=True, order=True)
class Revision:
    """A checkpoint as it was served: ``commit`` of the repository's ``revision``, None where a folder served it."""

    model: str
    step: int
    repository: str
    revision: str
    commit: str | None


@dataclass(frozen=True)
class Manifest:
    """A sealed release; ``missing`` are outputs that the run asks for and that are not in a partial one.

    ``kind`` is ``run`` for a run of this workflow, ``published`` for results of others that were imported; ``limits``
    are sentences on what can be verified and what cannot. ``settings`` is the configuration of the run, resolved.
    ``inputs`` are files that the run read and did not make (configuration, facts of the suite), ``locks`` those that
    pin environments and data. ``code`` are the versions that the records name, ``libraries`` versions by library.
    """

    kind: str
    run: str
    suite: str
    sealed: str
    partial: bool
    missing: tuple[str, ...]
    limits: tuple[str, ...]
    settings: JsonMapping
    code: tuple[str, ...]
    libraries: Mapping[str, tuple[str, ...]]
    rules: Mapping[str, Rule]
    inputs: tuple[SealedFile, ...]
    locks: tuple[SealedFile, ...]
    ledger: tuple[Revision, ...]
    outputs: tuple[Output, ...]
    records: tuple[SealedFile, ...]

    def as_json(self) -> JsonObject:
        """The manifest as it is written, root included."""
        content = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(self)}
        return {**content, "root": merkle_root(content)}

    @cached_property
    def root(self) -> str:
        """The root hash, 64 hexadecimal digits."""
        return str(self.as_json()["root"])

    @property
    def line(self) -> str:
        """The one line for a paper."""
        return f"{FORMAT}-{VERSION} sha256:{self.root}"

    def files(self) -> list[SealedFile]:
        """Every file that the manifest names, with what was read and not made."""
        return [*self.outputs, *self.records, *self.inputs, *self.locks]


def canonical(value: JsonValue) -> bytes:
    """``value`` as JSON with sorted keys and no spaces, in UTF-8.

    >>> canonical({"b": 1.5, "a": "é"}).decode()
    '{"a":"é","b":1.5}'
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.encode("utf-8")


def merkle_root(content: JsonMapping) -> str:
    """Root over a manifest as JSON; ``root`` itself is left out if it is there."""
    header = {key: value for key, value in content.items() if key not in ("outputs", "records", "root")}
    files = sorted([*content["outputs"], *content["records"]], key=lambda file: str(file["path"]))
    leaves = [hashlib.sha256(HEADER + canonical(header)).digest()]
    return tree_hash(leaves + [hashlib.sha256(LEAF + canonical(file)).digest() for file in files]).hex()


def tree_hash(level: Sequence[bytes]) -> bytes:
    """Root of the binary tree over one or more leaves, level by level."""
    while len(level) > 1:
        pairs = [
            hashlib.sha256(NODE + left + right).digest() for left, right in zip(level[::2], level[1::2], strict=False)
        ]
        level = pairs + list(level[len(pairs) * 2 :])
    return level[0]


def write_manifest(target: Path, manifest: Manifest) -> None:
    """Write ``manifest`` to ``target`` atomically, after reading it as a stranger would; raises DataError."""
    content = manifest.as_json()
    parse(json.dumps(content).encode(), str(target))
    write_json(target, content)


def content_of(path: Path) -> bytes:
    """Bytes of a manifest; raises MissingInputError, or DataError for a file that is too large to be one."""
    if not path.is_file():
        raise MissingInputError(f"{path}: no such manifest; name the file that pythia seal wrote")
    if path.stat().st_size > LARGEST_MANIFEST:
        raise DataError(f"{path}: larger than {LARGEST_MANIFEST >> 20} MiB, so not a manifest of this format")
    return path.read_bytes()


def parse(content: bytes, where: str) -> tuple[Manifest, str]:
    """The manifest in ``content`` and the root that it gives itself; raises DataError that starts with ``where``."""
    try:
        text = content.decode("utf-8")
        found = json.loads(text, object_pairs_hook=unique, parse_constant=refused, parse_float=finite)
        canonical(found)  # escapes of JSON can name half a letter, which has no bytes
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: not a manifest: {error or 'nested too deeply'}") from error
    reader = Reader(where)
    manifest = reader.manifest(reader.fields(found, "manifest"))
    return manifest, reader.digest(found["root"], "root")


def unique(pairs: list[tuple[str, JsonValue]]) -> JsonObject:
    """An object of JSON in which no key is given twice; raises ValueError."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"duplicate key {next(name for name in names if names.count(name) > 1)[:LONGEST_WORD]!r}")
    return found


def refused(name: str) -> NoReturn:
    """Refuse NaN and infinities; raises ValueError."""
    raise ValueError(f"{name} is not a number of JSON")


def finite(text: str) -> float:
    """A number that a float can hold; raises ValueError."""
    if not math.isfinite(number := float(text)):
        raise ValueError(f"number {text[:40]} is too large")
    return number


@dataclass(frozen=True)
class Reader:
    """Turns JSON from a stranger into dataclasses; every method raises DataError that starts with ``where``."""

    where: str

    def fault(self, text: str) -> DataError:
        """An error of this file."""
        return DataError(f"{self.where}: {text}")

    def fields(self, value: JsonValue, kind: str, names: Iterable[str] | None = None) -> JsonObject:
        """An object with exactly the keys ``names``; those of a manifest where none are given."""
        if not isinstance(value, dict):
            raise self.fault(f"{kind} is not a JSON object")
        own = [field.name for field in dataclasses.fields(Manifest)]
        if names is None:
            if value.get("format") != FORMAT:
                raise self.fault(f"not a manifest: its format is {str(value.get('format'))[:40]!r}, not {FORMAT!r}")
            if value.get("version") is True or value.get("version") != VERSION:
                raise self.fault(f"version {str(value.get('version'))[:40]} of the format; this reads {VERSION}")
        known = {*own, "format", "version", "root"} if names is None else set(names)
        if strange := sorted(value.keys() - known):
            raise self.fault(f"{kind} has the unknown key {strange[0][:80]!r}")
        if lacking := sorted(known - value.keys()):
            raise self.fault(f"{kind} lacks {', '.join(lacking)}")
        return value

    def manifest(self, found: JsonObject) -> Manifest:
        """All fields, and that the files among them fit together."""
        kind = self.word(found["kind"], "kind")
        if kind not in KINDS:
            raise self.fault(f"kind {kind!r}; allowed are {', '.join(KINDS)}")
        if not isinstance(found["partial"], bool):
            raise self.fault("partial is not true or false")
        if not (isinstance(found["sealed"], str) and TIME.fullmatch(found["sealed"])):
            raise self.fault("sealed is not a time such as 2026-01-31T12:00:00Z")
        manifest = Manifest(
            kind=kind,
            run=self.word(found["run"], "run"),
            suite=self.word(found["suite"], "suite"),
            sealed=found["sealed"],
            partial=found["partial"],
            missing=self.several(found["missing"], "missing", self.path),
            limits=self.several(found["limits"], "limits", self.text),
            settings=self.named(found["settings"], "settings", lambda value, _: value),
            code=self.several(found["code"], "code", self.word),
            libraries=self.named(
                found["libraries"], "libraries", lambda value, kind: self.several(value, kind, self.word)
            ),
            rules=self.named(found["rules"], "rules", self.rule),
            inputs=self.several(found["inputs"], "inputs", self.file),
            locks=self.several(found["locks"], "locks", self.file),
            ledger=self.several(found["ledger"], "ledger", self.revision),
            outputs=self.several(found["outputs"], "outputs", self.output),
            records=self.several(found["records"], "records", self.file),
        )
        self.fits(manifest)
        return manifest

    def fits(self, manifest: Manifest) -> None:
        """No path is listed twice, every record and rule that an output names is listed, nothing missing is there."""
        paths: set[str] = set()
        for path in [file.path for file in manifest.files()] + list(manifest.missing):
            if path in paths:
                raise self.fault(f"{path!r} is listed twice")
            paths.add(path)
        records = {file.path for file in manifest.records}
        for output in manifest.outputs:
            if output.record is not None and output.record not in records:
                raise self.fault(f"{output.path!r} names the record {output.record!r}, which is not listed")
            if output.rule is not None and output.rule not in manifest.rules:
                raise self.fault(f"{output.path!r} names the rule {output.rule!r}, which is not listed")
        if manifest.missing and not manifest.partial:
            raise self.fault("outputs are missing, and the manifest does not say that it is partial")

    def several(self, value: JsonValue, kind: str, read: Callable[[JsonValue, str], T]) -> tuple[T, ...]:
        """A list of one kind of things."""
        if not isinstance(value, list):
            raise self.fault(f"{kind} is not a list")
        return tuple(read(each, f"{kind}[{number}]") for number, each in enumerate(value))

    def named(self, value: JsonValue, kind: str, read: Callable[[JsonValue, str], T]) -> dict[str, T]:
        """An object whose keys are names."""
        if not isinstance(value, dict):
            raise self.fault(f"{kind} is not a JSON object")
        return {self.word(name, f"a name in {kind}"): read(each, f"{kind}.{name}") for name, each in value.items()}

    def text(self, value: JsonValue, kind: str) -> str:
        """A sentence."""
        if not isinstance(value, str) or len(value) > LONGEST_WORD:
            raise self.fault(f"{kind} is not a text of at most {LONGEST_WORD} characters")
        return value

    def word(self, value: JsonValue, kind: str) -> str:
        """A name without control characters and quotes."""
        if not WORD.fullmatch(self.text(value, kind)):
            raise self.fault(f"{kind} has characters that no name has")
        return str(value)

    def path(self, value: JsonValue, kind: str) -> str:
        """A plain relative path."""
        if not isinstance(value, str):
            raise self.fault(f"{kind} is not a path")
        return checked_path(value, self.where)

    def size(self, value: JsonValue, kind: str) -> int:
        """A count, at most what a file system can express."""
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_SIZE:
            raise self.fault(f"{kind} is not a whole number from 0 to {LARGEST_SIZE}")
        return value

    def digest(self, value: JsonValue, kind: str) -> str:
        """A sha256."""
        if not (isinstance(value, str) and SHA256.fullmatch(value)):
            raise self.fault(f"{kind} is not 64 hexadecimal digits in lower case")
        return value

    def file(self, value: JsonValue, kind: str) -> SealedFile:
        """An entry of inputs, locks and records."""
        found = self.fields(value, kind, ("path", "bytes", "sha256"))
        return SealedFile(
            self.path(found["path"], kind), self.size(found["bytes"], kind), self.digest(found["sha256"], kind)
        )

    def output(self, value: JsonValue, kind: str) -> Output:
        """An entry of outputs."""
        found = self.fields(value, kind, ("path", "bytes", "sha256", "rule", "record"))
        own = self.file({name: found[name] for name in ("path", "bytes", "sha256")}, kind)
        rule = None if found["rule"] is None else self.word(found["rule"], f"{kind}.rule")
        record = None if found["record"] is None else self.path(found["record"], f"{kind}.record")
        return Output(own.path, own.bytes, own.sha256, rule, record)

    def rule(self, value: JsonValue, kind: str) -> Rule:
        """An entry of rules."""
        found = self.fields(value, kind, ("outputs", "programs", "parameters", "varying"))
        return Rule(
            self.size(found["outputs"], f"{kind}.outputs"),
            self.several(found["programs"], f"{kind}.programs", self.word),
            self.named(found["parameters"], f"{kind}.parameters", lambda each, _: each),
            self.several(found["varying"], f"{kind}.varying", self.word),
        )

    def revision(self, value: JsonValue, kind: str) -> Revision:
        """An entry of the ledger."""
        found = self.fields(value, kind, ("model", "step", "repository", "revision", "commit"))
        names = {name: self.word(found[name], f"{kind}.{name}") for name in ("model", "repository", "revision")}
        commit = None if found["commit"] is None else self.word(found["commit"], f"{kind}.commit")
        return Revision(step=self.size(found["step"], f"{kind}.step"), commit=commit, **names)
