"""Records of a release against its files, against each other and against what the manifest says of the rules."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from workflow_scripts.errors import DataError, PipelineError
from workflow_scripts.json_values import JsonMapping, JsonObject, read_object
from workflow_scripts.provenance.lineage import read_record
from workflow_scripts.provenance.release.manifest import Manifest
from workflow_scripts.provenance.release.record_facts import code_versions, library_versions, rules_of
from workflow_scripts.provenance.release.release_findings import Part
from workflow_scripts.storage.hashing import sha256_text
from workflow_scripts.storage.lockfile import read_lock
from workflow_scripts.storage.records import RECORD_SUFFIX
from workflow_scripts.suite.layout import HASH_LIST, run_folder

SHORT = 12
SCORES = re.compile(r"results/scores/([^/]+)/(step\d+)/[^/]+(?<!\.record)\.json", re.ASCII)
WEIGHTS = ("model.safetensors", "pytorch_model.bin")


@dataclass
class RecordChecks:
    """``places`` says where the files lie that are here and are what was sealed."""

    manifest: Manifest
    places: Mapping[str, Path]
    part: Part

    @cached_property
    def sealed(self) -> dict[str, str]:
        """sha256 by path."""
        return {file.path: file.sha256 for file in self.manifest.files()}

    @cached_property
    def records(self) -> dict[str, JsonMapping]:
        """Records that are here, by path; those that cannot be read are wrong."""
        found = {}
        for file in self.manifest.records:
            if file.path in self.places:
                try:
                    found[file.path] = checked_record(self.places[file.path])
                except PipelineError as error:
                    self.part.hold(file.path, False, str(error))
        return found

    def run(self) -> Part:
        """All comparisons."""
        for path, record in self.records.items():
            self.own_output(path, record)
            self.inputs(path, record)
        self.parameters()
        for output in self.manifest.outputs:
            if PurePosixPath(output.path).name == HASH_LIST and output.path in self.places:
                self.hash_list(output.path)
            if (scored := SCORES.fullmatch(output.path)) and output.path in self.places:
                self.scored_weights(output.path, f"results/checkpoints/{scored[1]}/{scored[2]}")
        if self.records.keys() == {file.path for file in self.manifest.records}:
            self.summary()
        self.settings()
        return self.part

    def agree(self, where: str, path: str, sha256: str, role: str) -> None:
        """Compare a hash that ``where`` gives a file with the sealed one."""
        if path in self.sealed:
            text = f"{where} gives {role} {path} the sha256 {sha256[:SHORT]}, sealed is {self.sealed[path][:SHORT]}"
            self.part.hold(where, sha256 == self.sealed[path], text)

    def own_output(self, path: str, record: JsonMapping) -> None:
        """The record's output, and the files of a figure."""
        output = path.removesuffix(RECORD_SUFFIX)
        if isinstance(sha256 := record.get("output_sha256"), str):
            self.agree(path, output, sha256, "its output")
        kinds = record["parameters"].get("sha256")
        for kind, sha256 in kinds.items() if isinstance(kinds, dict) else ():
            self.agree(path, f"{output}.{kind}", str(sha256), "its output")

    def inputs(self, path: str, record: JsonMapping) -> None:
        """Inputs, which are outputs of other records or were there before."""
        for name, entry in record["inputs"].items():
            source, sha256 = str(entry["path"]), str(entry["sha256"])
            if source in self.sealed:
                self.agree(path, source, sha256, f"its input {name}")
            elif (identity := self.identity(source)) is not None:
                text = f"{path} was made from weights {sha256[:SHORT]} in {source}, sealed are {identity[:SHORT]}"
                self.part.hold(path, sha256 == identity, text)
            else:
                self.part.leave(source, "is an input of a record and is not sealed")

    def identity(self, folder: str) -> str | None:
        """What records call the sha256 of a checkpoint's folder, from the sealed hashes of its files."""
        names = [name for name in WEIGHTS if f"{folder}/{name}" in self.sealed][:1]
        names = names or sorted(self.inside(folder))
        wanted = ["config.json", *names]
        if len(wanted) == 1 or any(f"{folder}/{name}" not in self.sealed for name in wanted):
            return None
        return sha256_text("\n".join(f"{self.sealed[f'{folder}/{name}']}  {name}" for name in wanted))

    def inside(self, folder: str) -> Iterator[str]:
        """Weight files of a folder in several pieces."""
        for ending in (".safetensors", ".bin"):
            found = [path for path in self.sealed if path.startswith(f"{folder}/") and path.endswith(ending)]
            yield from (path.removeprefix(f"{folder}/") for path in found)

    def parameters(self) -> None:
        """What the manifest says of all records of a rule is true of each that is here."""
        for output in self.manifest.outputs:
            if output.rule is None or output.record not in self.records:
                continue
            said = self.records[output.record]["parameters"]
            for name, value in self.manifest.rules[output.rule].parameters.items():
                text = f"parameter {name} of rule {output.rule} is sealed as {value!r}, {output.record} says otherwise"
                self.part.hold(output.record, name in said and said[name] == value, text)

    def hash_list(self, path: str) -> None:
        """A list of the files beside it."""
        try:
            entries = read_lock(self.places[path])
        except PipelineError as error:
            self.part.hold(path, False, str(error))
            return
        for entry in entries:
            if entry.sha256 is not None:
                self.agree(path, (PurePosixPath(path).parent / entry.path).as_posix(), entry.sha256, "the file")

    def scored_weights(self, path: str, folder: str) -> None:
        """The weights that a scores file names, from which nothing can be recomputed where they are others."""
        if (identity := self.identity(folder)) is None:
            return
        try:
            config = read_object(self.places[path], "scores file", "restore it as it was sealed", "config")["config"]
        except PipelineError as error:
            self.part.hold(path, False, str(error))
            return
        said = str(config.get("weights_sha256")) if isinstance(config, dict) else "none"
        text = f"says that weights {said[:SHORT]} were scored, sealed in {folder} are {identity[:SHORT]}"
        self.part.hold(path, said == identity, text)

    def summary(self) -> None:
        """What the manifest says of rules, code and libraries is what the records say together."""
        told = (
            ("rules", dict(self.manifest.rules), rules_of(self.manifest.outputs, self.records)),
            ("code", self.manifest.code, code_versions(self.records)),
            ("libraries", dict(self.manifest.libraries), library_versions(self.records)),
        )
        for name, sealed, recorded in told:
            self.part.hold(name, sealed == recorded, f"the manifest's {name} are not those of its records")

    def settings(self) -> None:
        """The configuration in the manifest is that of the run."""
        path = f"{run_folder(self.manifest.run)}/run.json"
        if path in self.places and path in {output.path for output in self.manifest.outputs}:
            try:
                run: JsonObject = read_object(self.places[path], "run", "restore it as it was sealed", "settings")
            except PipelineError as error:
                self.part.hold(path, False, str(error))
                return
            text = "the manifest's settings are not those of the run"
            self.part.hold(path, run["settings"] == dict(self.manifest.settings), text)


def checked_record(path: Path) -> JsonMapping:
    """A record whose parts are of the kinds that they should be; raises DataError."""
    record = read_record(path)
    kinds = {"parameters": dict, "command": list, "versions": dict}
    if wrong := [name for name, kind in kinds.items() if not isinstance(record.get(name), kind)]:
        raise DataError(f"{path.name}: not a record: {', '.join(wrong)} missing or of another kind")
    return record
