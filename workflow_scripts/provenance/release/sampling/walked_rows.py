"""Rows of the training order found again without the project's own machinery, and their tokens made from the texts.

Row r of a set is tokens s L .. s L + L of its stream, s = shuffle_idx[r]: all copies of its documents, shuffled by
numpy's ``RandomState(seed)``, one behind the other; the same generator then shuffles the samples (GPT-NeoX,
``megatron/data/gpt2_dataset.py``). Here that generator itself draws both, and documents are found by adding up their
lengths: no index map is read and no compiled walk. The result is compared with the row that training reads by the
stored maps. Where the release holds the texts that the data set was tokenised from, the row's tokens are those of the
tokenizer on these texts; elsewhere they are read from the shards.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from workflow_scripts.dataset.corpus.tokenizer_file import open_tokenizer, token_id
from workflow_scripts.dataset.files.token_view import TokenData, open_data
from workflow_scripts.dataset.order.set_plan import Schedule, epochs_and_samples, requested_in_paths_mode
from workflow_scripts.dataset.order.training_order import TrainingRows
from workflow_scripts.errors import DataError, PipelineError
from workflow_scripts.json_values import read_object
from workflow_scripts.provenance.release.sampling.release_files import FOREIGN, Release
from workflow_scripts.provenance.release.sampling.sample_result import Group, Item, NotChecked, Outcome, Verdict
from workflow_scripts.provenance.release.sampling.sampler import Sampler

Tokens = NDArray[np.int64]
RUN = r"results/runs/[^/]+/run\.json"
VIEW = "results/data/{suite}/{dataset}/view.json"
NUMBERS = ("sequence_length", "data_seed", "train_iterations", "batch_rows")
SHUFFLED = 5e7  # numbers that the generator shuffles in a second
PER_ROW = 0.005


@dataclass(frozen=True)
class Order:
    """What decides an order of training: a data set and the numbers of the models that read it."""

    suite: str
    dataset: str
    sequence_length: int
    seed: int
    train_iterations: int
    batch_rows: int

    @property
    def view(self) -> str:
        """Path of the view of the data set."""
        return VIEW.format(suite=self.suite, dataset=self.dataset)

    @property
    def name(self) -> str:
        """Name of the group of its rows."""
        numbers = f"{self.train_iterations} iterations of {self.batch_rows} rows of {self.sequence_length} tokens"
        return f"{self.view} {numbers}, seed {self.seed}"

    @property
    def rows(self) -> int:
        """Rows that training reads."""
        return self.train_iterations * self.batch_rows


def orders_of(release: Release) -> tuple[list[Order], list[NotChecked]]:
    """The orders that the models of a release were trained in, as its ``run.json`` lists them, and models of no order.

    Raises DataError.
    """
    found, without = set(), []
    for match in release.matching(RUN):
        if not release.has(match[0]):
            continue
        run = read_object(release.place(match[0]), "run file", FOREIGN, "suite", "models")
        for model in run["models"]:
            if absent := [name for name in (*NUMBERS, "dataset") if name not in model]:
                raise DataError(f"{match[0]}: a model has no {absent[0]}; {FOREIGN}")
            if unknown := [name for name in ("dataset", *NUMBERS) if model[name] is None]:
                reason = f"the order of its training rows is not known: {match[0]} does not say its {unknown[0]}"
                without.append(NotChecked(str(model.get("name")), 0, reason))
                continue
            found.add(Order(str(run["suite"]), str(model["dataset"]), *(int(model[name]) for name in NUMBERS)))
    return sorted(found, key=lambda order: order.name), without


@dataclass(frozen=True)
class Texts:
    """The documents of a data set as text, and how they were tokenised; ``eod`` is put behind each, if there is one."""

    corpus: Path
    tokenizer: Path
    eod: str | None

    @cached_property
    def starts(self) -> list[int]:
        """Offset of each document's line."""
        with self.corpus.open("rb") as file:
            lines = list(file)
        offsets = itertools.accumulate((len(line) for line in lines), initial=0)
        return [offset for offset, line in zip(offsets, lines, strict=False) if line.strip()]

    @cached_property
    def opened(self) -> Tokenizer:
        """The tokenizer."""
        return open_tokenizer(self.tokenizer)

    def tokens(self, document: int) -> list[int]:
        """The tokens of a document, made anew."""
        with self.corpus.open("rb") as file:
            file.seek(self.starts[document])
            text = json.loads(file.readline())["text"]
        ids = list(self.opened.encode(text, add_special_tokens=False).ids)
        return ids if self.eod is None else [*ids, token_id(self.opened, self.eod, self.tokenizer)]


def texts_of(release: Release, order: Order) -> Texts | None:
    """The texts behind a data set, None where the release does not hold them in one file."""
    index = f"results/corpus/{order.suite}/{order.dataset}.idx"
    corpus, tokenizer = release.input_path(index, "corpus_0"), release.input_path(index, "tokenizer")
    if corpus is None or tokenizer is None or release.input_path(index, "corpus_1") is not None:
        return None
    if not (corpus.endswith(".jsonl") and release.has(corpus) and release.has(tokenizer)):
        return None
    eod = release.record(index)["parameters"].get("eod_token")
    return Texts(release.place(corpus), release.place(tokenizer), eod)


class Walk:
    """One order, walked anew."""

    def __init__(self, release: Release, order: Order) -> None:
        self.order = order
        self.data: TokenData = open_data(release.place(order.view))
        maps = release.place(order.view).parent / "index_maps"
        self.stored = TrainingRows.open(
            release.place(order.view),
            maps if maps.is_dir() else None,
            order.sequence_length,
            order.seed,
            order.train_iterations,
            order.batch_rows,
        )
        self.texts = texts_of(release, order)
        sizes = np.asarray(self.data.index.sizes, dtype=np.int64)
        wanted = requested_in_paths_mode(Schedule(order.train_iterations, order.batch_rows).wanted()[0])
        epochs, samples = epochs_and_samples(int(sizes.sum()), order.sequence_length, wanted)
        generator = np.random.RandomState(order.seed)
        self.documents = np.tile(np.arange(len(sizes), dtype=np.int32), epochs)
        generator.shuffle(self.documents)
        self.samples = np.arange(samples, dtype=np.int64)
        generator.shuffle(self.samples)
        self.ends = np.cumsum(sizes[self.documents])

    def row(self, number: int) -> Tokens:
        """The tokens of a row, from the texts where there are any."""
        begin = int(self.samples[number]) * self.order.sequence_length
        left, tokens = self.order.sequence_length + 1, []
        entry = int(np.searchsorted(self.ends, begin, side="right"))
        while left:
            document, end = int(self.documents[entry]), int(self.ends[entry])
            content = self.document(document)
            part = content[len(content) - (end - begin) :][:left]
            tokens.append(part)
            begin, left, entry = begin + len(part), left - len(part), entry + 1
        return np.concatenate(tokens)

    def document(self, number: int) -> Tokens:
        """All tokens of a document."""
        if self.texts is not None:
            return np.asarray(self.texts.tokens(number), dtype=np.int64)
        index = self.data.index
        first = int(index.pointers[number]) // index.dtype.itemsize
        run = np.array([first]), np.array([int(index.sizes[number])])
        return np.asarray(self.data.tokens.gather(*run), dtype=np.int64)


class WalkedRows(Sampler):
    """Rows of the training order."""

    kind = "rows"
    title = "Rows of the training order, found and tokenised anew"
    unit = "tokens"

    def __init__(self, release: Release) -> None:
        self.release = release
        self.orders: dict[str, Order] = {}
        self.groups: list[Group] = []
        self.walks: dict[str, Walk] = {}
        self.not_checked: list[NotChecked]
        orders, self.not_checked = orders_of(release)
        for order in orders:
            try:
                self.add(order)
            except (PipelineError, OSError) as error:
                self.not_checked.append(NotChecked(order.name, order.rows, f"its data are not here ({error})"))

    def add(self, order: Order) -> None:
        """Take in one order."""
        index = open_data(self.release.place(order.view)).index
        shuffling = (index.n_sequences + order.rows) / SHUFFLED
        self.orders[order.name] = order
        self.groups.append(Group(order.name, order.rows, shuffling + PER_ROW))
        if texts_of(self.release, order) is None:
            reason = "the texts that the data set was tokenised from are not in the release; tokens are those stored"
            self.not_checked.append(NotChecked(f"{order.view}: tokens of the texts", 0, reason))

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Find each row anew and compare its tokens."""
        if group not in self.walks:
            self.walks[group] = Walk(self.release, self.orders[group])
        walk = self.walks[group]
        for number in numbers:
            expected, stored = walk.row(number), walk.stored.rows(number, number + 1)[0].astype(np.int64)
            wrong = int((expected != stored).sum()) if len(expected) == len(stored) else len(stored)
            item = Item(group, number)
            if not wrong:
                yield Outcome(item, Verdict.EQUAL)
                continue
            place = int(np.argmax(expected != stored)) if len(expected) == len(stored) else 0
            first = f"position {place} holds {stored[place]} and should hold {expected[place]}"
            yield Outcome(item, Verdict.WRONG, float(wrong), f"{wrong} of {len(stored)} tokens; {first}")
