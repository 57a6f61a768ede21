"""Opens the test vectors that were made by running the original code."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import corpusgen

from workflow_scripts.dataset.build_index_maps import (
    Recipe,
    build_index_maps,
    plans_in_paths_mode,
    plans_in_split_mode,
)
from workflow_scripts.dataset.files.token_view import TokenData, open_data
from workflow_scripts.dataset.order.batch_layout import BatchLayout
from workflow_scripts.dataset.order.blended_rows import BlendedRows
from workflow_scripts.dataset.order.set_plan import Schedule
from workflow_scripts.dataset.order.training_order import TrainingRows

NAMES = [
    "p01_tiny_docs",
    "p02_huge_docs",
    "p03_len1_docs",
    "p04_empty_docs_inside",
    "p05_int32",
    "p06_two_epochs",
    "p07_many_epochs",
    "p08_pythia_shape",
    "p09_seed1",
    "p10_seed0",
    "p11_seed_max",
    "p12_doc_group3",
    "p13_exact_fit",
    "p14_one_short",
    "p15_dp4_gas2_rank1",
    "p16_dp4_gas2_rank3",
    "p17_resume",
    "p18_resume_gas2",
    "p19_split_mode",
    "p20_split_small",
    "p21_blend",
    "p22_first_last_empty",
    "p23_single_doc",
    "p24_uint8",
]


@dataclass
class Vector:
    """One vector with its corpora written to a folder."""

    facts: dict
    prefixes: list[Path]

    @classmethod
    def load(cls, shared: Path, name: str, folder: Path) -> Vector:
        facts = json.loads((shared / "vectors" / f"{name}.json").read_text())
        prefixes = [
            corpusgen.write_corpus(corpus["params"], folder / f"c{number}")
            for number, corpus in enumerate(facts["corpora"])
        ]
        return cls(facts, prefixes)

    @property
    def options(self) -> dict:
        return self.facts["options"]

    @property
    def data(self) -> list[TokenData]:
        return [open_data(prefix) for prefix in self.prefixes]

    @property
    def weights(self) -> tuple[float, ...]:
        return tuple(float(weight) for weight in self.options.get("weights", "").split(",") if weight)

    @property
    def recipe(self) -> Recipe:
        split = self.options.get("split", "969, 30, 1") if self.options.get("mode") == "split" else None
        schedule = Schedule(self.options["train_iters"], self.options["batch_size"])
        return Recipe(schedule, self.options["seq_length"], self.options["seed"], split, self.weights)

    @property
    def layout(self) -> BatchLayout:
        return BatchLayout(self.options["batch_size"], self.options.get("world", 1), self.options.get("gas", 1))

    def build(self, folder: Path) -> Path:
        pairs = [(data.name, data.index) for data in self.data]
        build_index_maps(pairs, self.recipe, folder, folder / "index_maps.json")
        return folder

    def arguments(self, folder: Path) -> list[str]:
        options = {
            "--seq-length": "seq_length",
            "--seed": "seed",
            "--train-iters": "train_iters",
            "--batch-size": "batch_size",
        }
        words = ["--prefix", *map(str, self.prefixes), "--output-dir", str(folder)]
        for option, key in options.items():
            words += [option, str(self.options[key])]
        if self.recipe.split is not None:
            words += ["--split", self.recipe.split]
        if self.weights:
            words += ["--weights", *map(str, self.weights)]
        return words

    def rows(self, which: str, maps_dir: Path | None) -> TrainingRows | BlendedRows:
        parts, recipe = [], self.recipe
        for number, data in enumerate(self.data):
            if recipe.split is None:
                plans = plans_in_paths_mode(recipe, number, len(self.prefixes), data.index.sizes)
            else:
                plans = plans_in_split_mode(recipe, recipe.split, data.index.sizes)
            plan = next(plan for plan in plans if plan.label.startswith(which))
            parts.append(TrainingRows(data, plan, recipe.seq_length, recipe.seed, maps_dir))
        return parts[0] if len(parts) == 1 else BlendedRows(parts, self.weights)
