"""The plan: one file that holds every token to run, every log-probability wanted and how to turn them into metrics.

Layout: safetensors with the arrays of :class:`Plan` and one metadata entry ``header``, a JSON object with sorted keys.
``header["identity"]`` is the sha256 over the rest of the header and all arrays, so a plan made from other data, another
tokenizer or another lm-eval has another identity. Needs numpy and safetensors only; lm-eval is needed to make a plan,
never to use one.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import EvaluationError, MissingInputError
from workflow_scripts.evaluation.planning.prefix_trees import Forest
from workflow_scripts.evaluation.scoring.metrics import TaskRequests
from workflow_scripts.json_values import JsonMapping
from workflow_scripts.storage.atomic import write_bytes

FORMAT = "pythia-workflow evaluation plan 1"


@dataclass(frozen=True)
class RequestTable:
    """Numbers per request and per document, over all tasks of the plan in order.

    Per request (R): ``document`` int32, ``gold`` bool, ``characters`` and ``bytes`` int32 (length of the choice; 0
    where there are no choices). Per document (D): ``words`` and ``text_bytes`` int32 (0 unless the task is rolling).
    Per piece (Q, see :class:`Forest`): ``piece_request`` int32.
    """

    document: NDArray[np.int32]
    gold: NDArray[np.bool_]
    characters: NDArray[np.int32]
    bytes: NDArray[np.int32]
    words: NDArray[np.int32]
    text_bytes: NDArray[np.int32]
    piece_request: NDArray[np.int32]


@dataclass(frozen=True)
class Plan:
    """Header, packed rows and request table of one plan."""

    header: JsonMapping
    forest: Forest
    table: RequestTable

    @property
    def identity(self) -> str:
        """sha256 that names this plan."""
        return str(self.header["identity"])

    @property
    def requests(self) -> int:
        """Number of requests R."""
        return len(self.table.document)

    def task_requests(self, task: JsonMapping) -> TaskRequests:
        """What the metrics of ``task`` (an entry of ``header["tasks"]``) need."""
        return TaskRequests.of_task(self.table, task)


def arrays_of(forest: Forest, table: RequestTable) -> dict[str, NDArray[Any]]:
    """All arrays by file name."""
    named = {f"forest.{item.name}": getattr(forest, item.name) for item in fields(Forest)}
    return named | {f"table.{item.name}": getattr(table, item.name) for item in fields(RequestTable)}


def make_plan(header: JsonMapping, forest: Forest, table: RequestTable) -> Plan:
    """Plan with its identity computed from everything in it."""
    complete = {"format": FORMAT, **header, "counts": {**forest.counts, "requests": len(table.document)}}
    return Plan({**complete, "identity": identity_of(complete, arrays_of(forest, table))}, forest, table)


def identity_of(header: JsonMapping, arrays: Mapping[str, NDArray[Any]]) -> str:
    """sha256 over the header (without identity) and name, type, shape and bytes of each array."""
    digest = hashlib.sha256(json.dumps(header, sort_keys=True, allow_nan=False).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def write_plan(path: Path, plan: Plan) -> None:
    """Write atomically; equal plans give equal bytes."""
    from safetensors.numpy import save

    arrays = {name: np.ascontiguousarray(array) for name, array in arrays_of(plan.forest, plan.table).items()}
    write_bytes(path, save(arrays, {"header": json.dumps(plan.header, sort_keys=True, allow_nan=False)}))


def read_plan(path: Path) -> Plan:
    """Read and check a plan; :class:`EvaluationError` names the file when it is damaged or of another format."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise MissingInputError(f"{path}: no such plan; make it with python -m workflow_scripts.evaluation.build_plan")
    try:
        with safe_open(str(path), framework="np") as file:
            header = json.loads((file.metadata() or {}).get("header", "{}"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise EvaluationError(f"{path}: not an evaluation plan ({error}); rebuild it") from error
    if header.get("format") != FORMAT:
        raise EvaluationError(f"{path}: format is {header.get('format')!r}, not {FORMAT!r}; rebuild the plan")
    return check(path, header, arrays)


def check(path: Path, header: JsonMapping, arrays: Mapping[str, NDArray[Any]]) -> Plan:
    """Plan from what was read, refused when content and identity differ."""
    rest = {key: value for key, value in header.items() if key != "identity"}
    if identity_of(rest, arrays) != header.get("identity"):
        raise EvaluationError(f"{path}: content and identity differ; the plan is damaged, rebuild it")
    forest = Forest(**{item.name: arrays[f"forest.{item.name}"] for item in fields(Forest)})
    table = RequestTable(**{item.name: arrays[f"table.{item.name}"] for item in fields(RequestTable)})
    return Plan(header, forest, table)
