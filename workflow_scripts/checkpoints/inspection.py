"""What one revision shows by itself: its list of files, the headers of its weights, samples of its tensors.

Problems that need no comparison are noted here: a file that is missing, short or long, a damaged header, tensors that
are missing, unexpected, misshapen or of a wrong type, values that are not finite. It must not read whole weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Self

from workflow_scripts.checkpoints.checkpoint_files import checkpoint_files, is_weight_file
from workflow_scripts.checkpoints.safetensors_header import Header, Tensor, read_header
from workflow_scripts.checkpoints.tensor_samples import Sample, chosen_tensors, read_samples
from workflow_scripts.errors import DataError, ModelError, shorten
from workflow_scripts.json_values import JsonMapping, JsonObject
from workflow_scripts.storage.lockfile import FileEntry, parse_lock
from workflow_scripts.storage.sources.listing import describe, read_small
from workflow_scripts.storage.sources.source import OWN_LOCK, Source
from workflow_scripts.suite.models import GPT_NEOX, Model
from workflow_scripts.training.tensor_shapes import BUFFERS, EMBED_OUT, tensor_shapes

DTYPES = {"float16": "F16", "bfloat16": "BF16", "float32": "F32"}
OTHER_HEAD = "lm_head.weight"  # what transformers 5 calls the unembedding in code; some files have it


@dataclass
class Observation:
    """One revision as it was seen; ``problems`` are pairs of a kind and what was seen.

    ``weights`` maps the name of each weight file that would be fetched to its sha256, ``samples`` tensors to samples.
    """

    commit: str
    weights: dict[str, str] = field(default_factory=dict)
    problems: list[tuple[str, str]] = field(default_factory=list)
    samples: dict[str, Sample] = field(default_factory=dict)

    def as_json(self) -> JsonObject:
        """Plain values."""
        return {
            "commit": self.commit,
            "weights": self.weights,
            "problems": [list(problem) for problem in self.problems],
            "samples": {name: sample.as_json() for name, sample in self.samples.items()},
        }

    @classmethod
    def from_json(cls, value: JsonMapping) -> Self:
        """Observation from its plain values."""
        samples = {name: Sample.from_json(sample) for name, sample in value["samples"].items()}
        problems = [(str(kind), str(detail)) for kind, detail in value["problems"]]
        return cls(str(value["commit"]), dict(value["weights"]), problems, samples)


def inspect_revision(model: Model, source: Source, commit: str, samples: int) -> Observation:
    """Look at one revision; at most ``samples`` tensors are sampled."""
    seen = Observation(commit)
    there = {entry.path: entry for entry in source.files()}
    try:
        chosen = checkpoint_files(claimed(source, there), describe(source))
    except (ModelError, DataError) as error:
        seen.problems.append(("files", str(error)))
        return seen
    weights = [entry for entry in chosen if is_weight_file(entry.path)]
    seen.weights = {entry.path: entry.sha256 or f"git-{entry.git_blob}" for entry in weights}
    seen.problems += [problem for entry in chosen if (problem := wrong_size(entry, there.get(entry.path)))]
    tensors: dict[str, tuple[str, Tensor]] = {}
    for entry in weights:
        if entry.path.endswith(".safetensors") and entry.path in there:
            tensors |= {name: (entry.path, t) for name, t in usable(source, there[entry.path], seen).tensors.items()}
    if any(entry.path.endswith(".safetensors") for entry in weights):
        seen.problems += tensor_problems(model, {name: tensor for name, (_, tensor) in tensors.items()})
        seen.samples = sampled(model, source, tensors, there, samples)
        bad = sorted(name for name, sample in seen.samples.items() if not sample.finite)
        if bad:
            seen.problems.append(("nan", f"values that are not finite in {shorten(bad, 3)}"))
    return seen


def claimed(source: Source, there: Mapping[str, FileEntry]) -> list[FileEntry]:
    """Files as the repository's own list has them, else as the source reports them."""
    if OWN_LOCK not in there:
        return list(there.values())
    return parse_lock(read_small(source, there[OWN_LOCK]), f"{describe(source)}/{OWN_LOCK}")


def wrong_size(entry: FileEntry, found: FileEntry | None) -> tuple[str, str] | None:
    """Problem with the size of a listed file, if any."""
    if found is None:
        return "size", f"{entry.path} is listed but missing"
    if entry.size is not None and found.size != entry.size:
        return "size", f"{entry.path} has {found.size} bytes, listed are {entry.size}"
    return None


def usable(source: Source, entry: FileEntry, seen: Observation) -> Header:
    """Header of a weight file, empty when it is damaged; problems are noted in ``seen``."""
    size = entry.size or 0
    try:
        header = read_header(source, entry.path, size)
    except DataError as error:
        seen.problems.append(("header", str(error)))
        return Header({}, size)
    if header.file_bytes != size:
        problem = ("size", f"{entry.path} has {size} bytes, its header describes {header.file_bytes}")
        if not any(kind == "size" for kind, _ in seen.problems):
            seen.problems.append(problem)
    return header


def tensor_problems(model: Model, tensors: Mapping[str, Tensor]) -> list[tuple[str, str]]:
    """Tensors that are missing, unexpected, misshapen or of another type than the suite says.

    Of a network that is no GPT-NeoX only the type is known beforehand.
    """
    if model.architecture == GPT_NEOX:
        expected = tensor_shapes(model.layers, model.hidden_size, model.vocab_size)
        found = {EMBED_OUT if name == OTHER_HEAD else name: tensor for name, tensor in tensors.items()}
    else:
        expected, found = {name: tensor.shape for name, tensor in tensors.items()}, dict(tensors)
    floats = {name: tensor for name, tensor in found.items() if name in expected}
    wanted = DTYPES[model.published_dtype]
    named = {
        "tensors missing": [name for name in expected if name not in found],
        "tensors unexpected": [name for name in found if name not in expected and not name.endswith(BUFFERS)],
        "tensors of another shape": [name for name, tensor in floats.items() if tensor.shape != expected[name]],
    }
    problems = [("tensors", f"{what}: {shorten(sorted(names), 3)}") for what, names in named.items() if names]
    others = sorted(name for name, tensor in floats.items() if tensor.dtype != wanted)
    if others:
        problems.append(("dtype", f"{floats[others[0]].dtype} instead of {wanted} in {shorten(others, 3)}"))
    return problems


def sampled(
    model: Model,
    source: Source,
    tensors: Mapping[str, tuple[str, Tensor]],
    there: Mapping[str, FileEntry],
    limit: int,
) -> dict[str, Sample]:
    """Samples of the most telling tensors that lie within their files."""
    whole = {name: (path, t) for name, (path, t) in tensors.items() if t.end <= (there[path].size or 0)}
    chosen: Sequence[str] = chosen_tensors(list(whole), model.layers, limit)
    samples: dict[str, Sample] = {}
    for path in sorted({whole[name][0] for name in chosen}):
        samples |= read_samples(source, path, {name: whole[name][1] for name in chosen if whole[name][0] == path})
    return samples
