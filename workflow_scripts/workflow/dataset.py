"""What ``rules/dataset.smk`` looks up: the files of a data set, and what decides the order of its rows."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.dataset.cut_books import Book, read_books
from workflow_scripts.dataset.order.set_plan import Schedule, map_names
from workflow_scripts.suite import layout
from workflow_scripts.suite.models import Dataset, Suite
from workflow_scripts.suite.run import Run, given_corpus
from workflow_scripts.workflow.snakemake_types import Wildcards

PLACEHOLDER = re.compile(r"{(\w+)}")
# Called with a job's wildcards; a list where the pattern names several files.
InputFunction = Callable[[Wildcards], str | list[str]]


@dataclass(frozen=True)
class Order:
    """What decides the order of a data set's rows; all models of a run on one data set share it."""

    seq_length: int
    seed: int
    iterations: int
    batch_rows: int


def order_of(run: Run, dataset: str) -> Order:
    """Order of the rows of ``dataset``; raises StopIteration for a data set that no model of the run is trained on."""
    model = next(item for item in run.models if item.dataset == dataset)
    return Order(model.sequence_length, model.training_facts.data_seed, model.train_iterations, model.batch_rows)


def maps_of(run: Run, dataset: str) -> dict[str, tuple[str, ...]]:
    """File names of the three index maps of train, valid and test, by set."""
    order = order_of(run, dataset)
    schedule = Schedule(order.iterations, order.batch_rows)
    return map_names(run.suite.dataset(dataset).prefix, schedule, order.seq_length, order.seed)


def in_data(run: Run) -> Callable[[str], InputFunction]:
    """A function that turns a pattern into an input function: it fills in facts of the data set of a job.

    The data set is the wildcard ``{dataset}`` of the job, or that which its ``{model}`` is trained on. Beside the
    job's wildcards a pattern may have ``{suite} {dataset} {repository} {prefix} {index}``, which are one name each,
    and ``{file} {shard} {map} {train_map}``, which are as many as there are: all files of the data set, its shards,
    all its index maps, those of the training set.

    >>> from workflow_scripts import ROOT
    >>> from workflow_scripts.suite.run import load_run
    >>> from workflow_scripts.suite.safe_yaml import load_yaml
    >>> of_data = in_data(load_run(load_yaml(ROOT / "config" / "config.yaml")))
    >>> of_data("results/data/{suite}/{dataset}/raw/{index}")({"model": "pocket-1m"})
    'results/data/pocket/standard/raw/pocket_text_document.idx'
    """
    models = {model.name: model for model in run.models}

    def of_data(pattern: str) -> InputFunction:
        names = PLACEHOLDER.findall(pattern)

        def look_up(wildcards: Wildcards) -> str | list[str]:
            given = dict(wildcards.items())
            key = given["dataset"] if "dataset" in given else models[given["model"]].dataset
            return filled(pattern, names, given, data_facts(run, key))

        return look_up

    return of_data


def data_facts(run: Run, key: str) -> dict[str, str | tuple[str, ...]]:
    """What the placeholders of :func:`in_data` stand for."""
    dataset = run.suite.dataset(key)
    facts: dict[str, str | tuple[str, ...]] = {
        "suite": run.suite.name,
        "dataset": key,
        "repository": dataset.repository,
        "prefix": dataset.prefix,
        "index": dataset.index_name,
        "shard": dataset.shard_names,
        "file": dataset.file_names,
    }
    if key in run.datasets:
        maps = maps_of(run, key)
        facts |= {"train_map": maps["train"], "map": tuple(itertools.chain(*maps.values()))}
    return facts


def filled(
    pattern: str, names: Sequence[str], given: Mapping[str, str], facts: Mapping[str, str | tuple[str, ...]]
) -> str | list[str]:
    """``pattern`` with the wildcards of the job, and beside them the facts; a list where one of these is several."""
    values = {name: given.get(name, facts.get(name, "")) for name in names}
    several = {name: value for name, value in values.items() if isinstance(value, tuple)}
    if not several:
        return pattern.format(**values)
    return [pattern.format(**{**values, **dict(zip(several, row, strict=True))}) for row in product_of(several)]


def product_of(several: Mapping[str, tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Every combination of the values."""
    return list(itertools.product(*several.values()))


def file_names(suite: Suite) -> list[str]:
    """Names of all files of all data sets of a suite."""
    return sorted({name for dataset in suite.datasets.values() for name in dataset.file_names})


def prefixes(suite: Suite) -> list[str]:
    """Base names of the data sets of a suite."""
    return sorted({dataset.prefix for dataset in suite.datasets.values()})


def task_files(suite: Suite) -> list[str]:
    """Evaluation data that is made here, one file for each split of each task."""
    return [
        f"results/mirror/datasets/{task.repository}/default/{split}.parquet"
        for task in suite.tasks.values()
        for split in task.splits
    ]


def books_of(run: Run) -> dict[str, Book]:
    """Texts that the run's corpus is cut from, by file name; none where the run or the suite brings a file of text.

    Raises MissingInputError or DataError for the table that names them.
    """
    corpus = run.suite.corpus or {}
    if corpus.get("source") != "jsonl" or given_corpus(run.suite, run.settings) is not None:
        return {}
    return {book.path: book for book in read_books(Path(corpus["texts"]))}


def book_location(run: Run) -> str:
    """Address under which the texts of books lie as ORG/NAME/COMMIT/PATH."""
    return str(run.section("corpus").get("location") or "https://raw.githubusercontent.com")


def corpus_of(run: Run) -> str:
    """The file of text that is imported: what the run or the suite brings, else what is cut from the suite's texts."""
    given = given_corpus(run.suite, run.settings)
    return cut_corpus(run.suite) if given is None else str(given)


def cut_corpus(suite: Suite) -> str:
    """Documents that are cut from the texts of a suite."""
    return f"results/corpus/{suite.name}/books.jsonl"


def lock_of(suite: Suite) -> InputFunction:
    """Input function: the list of sizes and hashes known beforehand, in the repository; empty where there is none."""

    def look_up(wildcards: Wildcards) -> str | list[str]:
        dataset: Dataset = suite.dataset(wildcards.dataset)
        return dataset.lock or []

    return look_up


def data_files(run: Run) -> list[str]:
    """Every file of the data stage, for the data sets that the run's models are trained on."""
    found = corpus_files(run) if run.suite.is_made_here else []
    names = ["view.json", "verified.json", "index_maps/index_maps.json", "batches/samples.jsonl"]
    for key in run.datasets:
        facts, folder = data_facts(run, key), layout.dataset_folder(run.suite.name, key)
        raw, maps = facts["file"], facts["map"]
        found += [*(f"{folder}/raw/{name}" for name in raw), *(f"{folder}/index_maps/{name}" for name in maps)]
        found += [f"{folder}/{name}" for name in names]
        if run.suite.is_made_here:
            mirror = f"{layout.MIRROR}/datasets/{run.suite.dataset(key).repository}"
            found += [f"{mirror}/{name}" for name in (*raw, "sha256.txt")]
        else:
            found.append(f"{folder}/files.tsv")
        if run.section("dataset").get("joined"):
            found += [f"{folder}/joined/{facts['prefix']}.{end}" for end in ("bin", "idx", "joined.json")]
    return found


def corpus_files(run: Run) -> list[str]:
    """Text, tokens and tokenizer of a corpus that is made here, and the tasks that are made from its world."""
    suite, folder = run.suite, f"results/corpus/{run.suite.name}"
    books = [f"{folder}/texts/{name}" for name in books_of(run)]
    fetched = [*books, cut_corpus(suite)] if books else []
    held_out = (suite.corpus or {}).get("source") == "jsonl"
    parts = [*suite.datasets, *(["validation"] if held_out else [])]
    texts = [f"{folder}/{part}.{end}" for part in parts for end in ("jsonl", "bin", "idx")]
    world = [] if held_out else [f"{folder}/world.json"]
    return [*fetched, *texts, *world, f"{folder}/tokenizer.json", *task_files(suite)]
