"""Published checkpoints beside the training that they came from: without this tie each could be forged by itself."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch

from workflow_scripts.json_values import read_object
from workflow_scripts.provenance.release.sampling.evaluated_files import BYTES
from workflow_scripts.provenance.release.sampling.release_files import FOREIGN
from workflow_scripts.provenance.release.sampling.sample_result import Group, Item, NotChecked, Outcome, Verdict
from workflow_scripts.provenance.release.sampling.trained_steps import OfTrainings, Training
from workflow_scripts.training.publish import model_config
from workflow_scripts.training.run import checkpoint
from workflow_scripts.training.run.warm_start import read_released

FOLDERS = r"results/(?:mirror/models/[^/]+|checkpoints)/{model}"
OF_ARM = r"{arm}/published"


class PublishedWeights(OfTrainings):
    """Checkpoints in the mirror, and fetched from it, of the trainings of the release."""

    kind = "published-weights"
    title = "Published checkpoints, held to the weights of the training"
    unit = "absolute"

    def __init__(self, trainings: Sequence[Training], not_checked: Sequence[NotChecked]) -> None:
        super().__init__(trainings, not_checked)
        self.files = {each.folder: published(each) for each in trainings}
        self.groups = [
            Group(each.folder, len(self.files[each.folder]), 8 * each.recipe.parameters / BYTES) for each in trainings
        ]

    def check(self, group: str, numbers: Sequence[int]) -> Iterator[Outcome]:
        """Round the weights of the training as they were published, and compare every bit and the configuration."""
        training = self.trainings[group]
        for number in numbers:
            step, path = self.files[group][number]
            file = training.release.place(path)
            problem, off = weight_problem(training.weights(step), read_released([file]))
            problem = problem or config_problem(training, file.parent)
            verdict = Verdict.WRONG if problem else Verdict.EQUAL
            yield Outcome(Item(group, number), verdict, off, f"{path}: {problem}" if problem else "")


def published(training: Training) -> list[tuple[int, str]]:
    """Iteration and path of each published checkpoint whose weights the training saved, sorted."""
    parts = training.folder.split("/")
    is_arm = parts[1] == "experiments"
    folder = (
        OF_ARM.format(arm=re.escape("/".join(parts[:-1]))) if is_arm else FOLDERS.format(model=re.escape(parts[-1]))
    )
    per = training.recipe.hub_steps_per_iteration
    matches = training.release.matching(rf"{folder}/step(\d+)/{checkpoint.WEIGHTS}")
    found = ((int(match[1]), match[0]) for match in matches if training.release.has(match[0]))
    return sorted((hub // per, path) for hub, path in found if hub // per in training.steps)


def weight_problem(trained: dict[str, torch.Tensor], released: dict[str, torch.Tensor]) -> tuple[str, float]:
    """What is wrong with released weights, and the largest difference; nothing where all bits are right."""
    if trained.keys() != released.keys():
        return f"other tensors than the training has, {sorted(trained.keys() ^ released.keys())[0]} among them", 0.0
    for name, tensor in released.items():
        own = trained[name].to(tensor.dtype)
        if own.shape != tensor.shape:
            return f"{name} has another shape", 0.0
        if not torch.equal(own, tensor):
            return f"{name} is not that of the training", float((own.double() - tensor.double()).abs().max())
    return "", 0.0


def config_problem(training: Training, folder: Path) -> str:
    """What is wrong with the configuration beside the weights."""
    found = read_object(folder / "config.json", "configuration", FOREIGN)
    wanted = model_config(training.recipe, str(found.get("torch_dtype")))
    different = sorted(key for key in found.keys() | wanted.keys() if found.get(key) != wanted.get(key))
    return f"{different[0]} of its configuration is not that of the recipe" if different else ""
